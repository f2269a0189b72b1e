//! Style sheets and `style` attributes, brought down to the declarations that hold for one element.
//!
//! A sheet is worked out here and not left to whoever reads the document: it could import, name addresses, and make
//! matching as slow as it likes.

use super::names;
use crate::{ImageError, LimitKind};
use core::cell::Cell;
use resvg::usvg::roxmltree::Node;
use simplecss::{AttributeOperator, Declaration, DeclarationTokenizer, Element, PseudoClass, StyleSheet};

/// Selectors times declarations. The parser copies a rule's declarations for each of its selectors.
const MAX_RULES: u64 = 400_000;

/// Elements that all selectors together look at.
const MAX_STEPS: u64 = 5_000_000;

/// All the sheets of a document.
pub(super) struct Styles<'a> {
    sheet: StyleSheet<'a>,
    steps: Cell<u64>,
}

fn too_much(limit: u64, value: u64) -> ImageError {
    ImageError::TooLarge {
        what: LimitKind::Styles,
        limit,
        value,
    }
}

impl<'a> Styles<'a> {
    /// Reads sheets, the later ones after the earlier ones.
    ///
    /// # Errors
    /// [`ImageError::TooLarge`] where they could mean more than a picture needs.
    pub(super) fn new(sheets: impl Iterator<Item = &'a str> + Clone) -> Result<Self, ImageError> {
        let count = |wanted: char| {
            let one = |sheet: &str| sheet.matches(wanted).count() as u64;
            1 + sheets.clone().map(one).sum::<u64>()
        };
        let rules = (count(',') + count('{')).saturating_mul(count(';'));
        if rules > MAX_RULES {
            return Err(too_much(MAX_RULES, rules));
        }
        let mut sheet = StyleSheet::new();
        for text in sheets {
            sheet.parse_more(text);
        }
        Ok(Self {
            sheet,
            steps: Cell::new(0),
        })
    }

    /// The declarations for an element as a `style` attribute has them: the last one of a property holds.
    ///
    /// # Errors
    /// [`ImageError::TooLarge`] where the selectors have looked at too much.
    pub(super) fn of(&self, node: Node<'_, '_>) -> Result<String, ImageError> {
        let mut declarations: Vec<Declaration<'_>> = Vec::new();
        let element = Candidate {
            node,
            steps: &self.steps,
        };
        for rule in &self.sheet.rules {
            element.step(1);
            if rule.selector.matches(&element) {
                element.step(rule.declarations.len() as u64);
                declarations.extend(&rule.declarations);
            }
            if self.steps.get() > MAX_STEPS {
                return Err(too_much(MAX_STEPS, self.steps.get()));
            }
        }
        declarations.extend(node.attribute("style").into_iter().flat_map(DeclarationTokenizer::from));
        // What is important goes last, and in its order.
        declarations.sort_by_key(|declaration| declaration.important);
        let mut held: Vec<(&str, &str)> = Vec::new();
        for declaration in declarations.iter().rev() {
            if let Some(name) = names::property(declaration.name)
                && is_plain(declaration.value)
                && !held.iter().any(|(known, _)| *known == name)
            {
                held.push((name, declaration.value.trim()));
            }
        }
        let parts: Vec<String> = held
            .iter()
            .rev()
            .map(|(name, value)| format!("{name}:{value}"))
            .collect();
        Ok(parts.join(";"))
    }
}

/// Whether a value is one of its own, and leads nowhere but to an element of the same document. A backslash could spell
/// anything; what is taken over from somewhere else by a keyword could not be weighed.
pub(super) fn is_plain(value: &str) -> bool {
    const LEADS: [&str; 5] = ["src(", "image(", "image-set(", "expression(", "script:"];
    let lower = value.to_ascii_lowercase();
    let addresses = lower.matches("url(").count();
    !value.contains(['\\', '@', ';', '{', '}', '<'])
        && !lower.contains("/*")
        && !LEADS.iter().any(|word| lower.contains(word))
        && !lower.contains("context-")
        && !lower.trim().starts_with("inherit")
        && references(value).count() == addresses
}

/// The elements that a value names by `url(#id)`.
pub(super) fn references(value: &str) -> impl Iterator<Item = &str> {
    value.split("url(").skip(1).filter_map(|rest| {
        let quote = |c: char| c.is_ascii_whitespace() || matches!(c, '"' | '\'');
        let inside = rest.split(')').next()?;
        inside.trim_matches(quote).strip_prefix('#')
    })
}

/// An element as selectors see it.
struct Candidate<'a, 'input, 'steps> {
    node: Node<'a, 'input>,
    steps: &'steps Cell<u64>,
}

impl Candidate<'_, '_, '_> {
    fn step(&self, count: u64) {
        self.steps.set(self.steps.get().saturating_add(count));
    }

    /// Another element, unless enough have been looked at: then the document is refused anyway.
    fn other(&self, node: Option<Self>) -> Option<Self> {
        self.step(1);
        node.filter(|_| self.steps.get() <= MAX_STEPS)
    }
}

impl<'a, 'input, 'steps> Element for Candidate<'a, 'input, 'steps> {
    fn parent_element(&self) -> Option<Self> {
        let parent = self.node.parent_element();
        self.other(parent.map(|node| Self { node, ..*self }))
    }

    fn prev_sibling_element(&self) -> Option<Self> {
        let sibling = self.node.prev_sibling_element();
        self.other(sibling.map(|node| Self { node, ..*self }))
    }

    fn has_local_name(&self, name: &str) -> bool {
        self.node.tag_name().name() == name
    }

    fn attribute_matches(&self, local_name: &str, operator: AttributeOperator<'_>) -> bool {
        self.node
            .attribute(local_name)
            .is_some_and(|value| operator.matches(value))
    }

    fn pseudo_class_matches(&self, class: PseudoClass<'_>) -> bool {
        matches!(class, PseudoClass::FirstChild) && self.node.prev_sibling_element().is_none()
    }
}
