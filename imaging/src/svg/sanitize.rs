//! From a document of anybody's to one of ours: only what is known is written, and nothing leads outside of it.

use super::document::Document;
use super::names;
use super::style::{Styles, is_plain};
use crate::ImageError;
use crate::transform::stop_if;
use resvg::usvg::roxmltree::{Attribute, Node};

const SVG: &str = "http://www.w3.org/2000/svg";
const XLINK: &str = "http://www.w3.org/1999/xlink";
const XML: &str = "http://www.w3.org/XML/1998/namespace";

/// Kinds of pictures that may stand in a document, as data of its own.
const PICTURES: [&str; 4] = ["image/gif", "image/jpeg", "image/png", "image/webp"];

/// Writes what is known of a document.
///
/// # Errors
/// [`ImageError::Corrupt`] for what is not well-formed or not SVG, [`ImageError::TooLarge`] for too many elements, too
/// deep ones, and style sheets beyond reason.
pub(super) fn sanitize(document: &Document, cancel: &dyn Fn() -> bool) -> Result<String, ImageError> {
    let tree = document.parse()?;
    let root = tree.root_element();
    if known(root) != Some("svg") {
        return Err(super::corrupt(0, "the root element is not svg"));
    }
    let sheets = tree
        .descendants()
        .filter(|node| is_svg(*node) && node.tag_name().name() == "style")
        .flat_map(|style| style.children())
        .filter_map(|child| child.text());
    let mut writer = Writer {
        styles: Styles::new(sheets)?,
        cancel,
        text: String::new(),
    };
    writer.element(root, "svg")?;
    Ok(writer.text)
}

fn is_svg(node: Node<'_, '_>) -> bool {
    node.is_element() && matches!(node.tag_name().namespace(), None | Some(SVG))
}

/// The name that an element is written under, if it is.
fn known(node: Node<'_, '_>) -> Option<&'static str> {
    is_svg(node).then(|| names::element(node.tag_name().name())).flatten()
}

struct Writer<'a> {
    styles: Styles<'a>,
    cancel: &'a dyn Fn() -> bool,
    text: String,
}

impl Writer<'_> {
    /// Calls itself for children, which are not deeper than the document was let to be.
    fn element(&mut self, node: Node<'_, '_>, name: &'static str) -> Result<(), ImageError> {
        stop_if(self.cancel)?;
        self.text.push('<');
        self.text.push_str(name);
        if node.parent_element().is_none() {
            self.attribute("xmlns", SVG);
        }
        for attribute in node.attributes() {
            if let Some(name) = kept(node, name, &attribute) {
                self.attribute(name, attribute.value());
            }
        }
        let style = self.styles.of(node)?;
        if !style.is_empty() {
            self.attribute("style", &style);
        }
        let tag = self.text.len();
        self.text.push('>');
        for child in node.children() {
            if let Some(text) = child.text().filter(|_| child.is_text() && names::has_text(name)) {
                self.escape(text);
            } else if let Some(name) = known(child) {
                self.element(child, name)?;
            }
        }
        if self.text.len() == tag + 1 {
            self.text.truncate(tag);
            self.text.push_str("/>");
        } else {
            self.text.push_str("</");
            self.text.push_str(name);
            self.text.push('>');
        }
        Ok(())
    }

    fn attribute(&mut self, name: &str, value: &str) {
        self.text.push(' ');
        self.text.push_str(name);
        self.text.push_str("=\"");
        self.escape(value);
        self.text.push('"');
    }

    fn escape(&mut self, text: &str) {
        escape(text, &mut self.text);
    }
}

/// Adds text as data: whatever it holds, it is no markup, and every parser reads it back as it was.
pub(crate) fn escape(text: &str, escaped: &mut String) {
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // A parser makes spaces of them, in attributes.
            '\t' | '\n' | '\r' => {
                escaped.push_str("&#");
                escaped.push_str(&u32::from(c).to_string());
                escaped.push(';');
            }
            // No XML document may have these.
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
}

/// The name that an attribute is written under, if it is.
fn kept(node: Node<'_, '_>, element: &str, attribute: &Attribute<'_, '_>) -> Option<&'static str> {
    let (name, value) = (attribute.name(), attribute.value());
    let plain = |name: &str| {
        let is_plain = |other: Attribute<'_, '_>| other.namespace().is_none() && other.name() == name;
        node.attributes().any(is_plain)
    };
    match attribute.namespace() {
        None if name == "href" => leads_inside(element, value).then_some("href"),
        // The plain one counts where both are there.
        Some(XLINK) if name == "href" && !plain("href") => leads_inside(element, value).then_some("href"),
        Some(XML) if name == "space" => Some("xml:space"),
        None => names::attribute(name).filter(|_| is_plain(value)),
        Some(_) => None,
    }
}

/// Whether a reference stays in the document: an element of it, or a picture that is written out in it.
fn leads_inside(element: &str, value: &str) -> bool {
    let value = value.trim();
    match element {
        "g" => false,
        "image" | "feImage" => {
            let kind = value
                .strip_prefix("data:")
                .and_then(|data| data.split([';', ',']).next());
            kind.is_some_and(|kind| PICTURES.contains(&kind)) || (element == "feImage" && value.starts_with('#'))
        }
        _ => value.starts_with('#'),
    }
}
