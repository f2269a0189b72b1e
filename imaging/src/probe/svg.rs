//! SVG: a document whose root element is `svg`, and the size it says it has.

use super::ImageInfo;
use super::peek::{Peek, Stopped};
use crate::Format;

/// How far the root element may be from the start: comments and a prolog come before it.
const HEAD: usize = 4096;

/// Size of a picture that says none, as browsers have it.
const DEFAULT_SIZE: (u32, u32) = (300, 150);

fn root(head: &[u8]) -> Option<&str> {
    let text = match core::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) => core::str::from_utf8(head.get(..error.valid_up_to())?).ok()?,
    };
    let mut rest = text.trim_start_matches('\u{feff}').trim_start();
    loop {
        let end = if rest.starts_with("<!--") {
            rest.find("-->")? + 3
        } else if rest.starts_with("<?") {
            rest.find("?>")? + 2
        } else if rest.starts_with("<!DOCTYPE") {
            rest.find('>')? + 1
        } else {
            break;
        };
        rest = rest.get(end..)?.trim_start();
    }
    let tag = rest.strip_prefix("<svg")?;
    tag.starts_with([' ', '\t', '\r', '\n', '>', '/'])
        .then(|| tag.split('>').next().unwrap_or(tag))
}

pub(super) fn is_svg(peek: &mut Peek<'_>) -> Result<bool, Stopped> {
    Ok(root(peek.up_to(0, HEAD)?).is_some())
}

/// Value of an attribute of the root element, as a number of pixels.
fn attribute(tag: &str, name: &str) -> Option<f64> {
    let (_, value) = tag
        .split_once(&format!(" {name}="))
        .or_else(|| tag.split_once(&format!("\n{name}=")))?;
    let quote = value.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    let value = value.get(1..)?.split(quote).next()?.trim();
    value
        .strip_suffix("px")
        .unwrap_or(value)
        .parse::<f64>()
        .ok()
        .filter(|number| number.is_finite() && *number > 0.0)
}

pub(super) fn read(peek: &mut Peek<'_>) -> Result<ImageInfo, Stopped> {
    let head = peek.up_to(0, HEAD)?;
    let (width, height) = root(head).map_or((None, None), |tag| (attribute(tag, "width"), attribute(tag, "height")));
    // `as` saturates.
    let pixels = |number: f64| number.round().max(1.0) as u32;
    let (width, height) = (
        width.map_or(DEFAULT_SIZE.0, pixels),
        height.map_or(DEFAULT_SIZE.1, pixels),
    );
    Ok(ImageInfo {
        alpha: true,
        components: 4,
        ..ImageInfo::new(Format::Svg, width, height)
    })
}
