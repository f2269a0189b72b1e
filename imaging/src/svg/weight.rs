//! What a document draws, in elements: one that is referred to counts as often as it is drawn.
//!
//! A few dozen elements that each use another ten times draw more than there are atoms. So every element is weighed once,
//! its references with it, before the renderer copies any.

use super::corrupt;
use super::document::{MAX_DEPTH, MAX_ELEMENTS, too_deep, too_many};
use super::names;
use super::style::references;
use crate::ImageError;
use resvg::usvg::roxmltree::{Document, Node};
use std::collections::HashMap;

/// Refuses a sanitised document that draws too much.
///
/// # Errors
/// [`ImageError::TooLarge`], and [`ImageError::Corrupt`] for an element that refers to itself.
pub(super) fn check(tree: &Document<'_>) -> Result<(), ImageError> {
    let mut scale = Scale {
        ids: HashMap::new(),
        known: HashMap::new(),
    };
    for node in tree.descendants() {
        if let Some(id) = node.attribute("id") {
            scale.ids.entry(id).or_insert(node);
        }
    }
    let weight = scale.weigh(tree.root_element(), 1)?;
    match weight.drawn.max(weight.copied) {
        value if value > MAX_ELEMENTS => Err(too_many(value)),
        _ => Ok(()),
    }
}

/// What an element draws with everything in it.
#[derive(Clone, Copy, Default)]
struct Weight {
    /// Elements once `use` has put in copies, whether they are drawn or not: the renderer makes them all.
    copied: u64,
    /// Elements that are drawn, with patterns, masks, clips, markers and filters.
    drawn: u64,
    /// Shapes among them that are filled, with the fill that they inherit.
    shapes: u64,
    /// Corners of these, each of which may have a marker.
    corners: u64,
    /// How deep it goes.
    height: u32,
}

impl Weight {
    /// With another one inside.
    fn add(&mut self, other: Self) {
        self.copied = self.copied.saturating_add(other.copied);
        self.drawn = self.drawn.saturating_add(other.drawn);
        self.shapes = self.shapes.saturating_add(other.shapes);
        self.corners = self.corners.saturating_add(other.corners);
        self.height = self.height.max(other.height + 1);
    }

    /// With another one drawn so many times.
    fn draw(&mut self, other: Self, times: u64) {
        self.drawn = self.drawn.saturating_add(other.drawn.saturating_mul(times));
        self.height = self.height.max(other.height + 1);
    }
}

/// What is known of an element.
enum Known {
    /// It is being weighed: who meets it now goes in a circle.
    Open,
    Done(Weight),
}

struct Scale<'a, 'input> {
    ids: HashMap<&'a str, Node<'a, 'input>>,
    known: HashMap<Node<'a, 'input>, Known>,
}

impl<'a, 'input> Scale<'a, 'input> {
    /// Calls itself for children and references, `depth` times at most.
    fn weigh(&mut self, node: Node<'a, 'input>, depth: u32) -> Result<Weight, ImageError> {
        if depth > MAX_DEPTH {
            return Err(too_deep());
        }
        match self.known.get(&node) {
            Some(Known::Done(weight)) if weight.height + depth > MAX_DEPTH => return Err(too_deep()),
            Some(Known::Done(weight)) => return Ok(*weight),
            Some(Known::Open) => return Err(corrupt(0, "an element refers to itself, directly or through others")),
            None => {}
        }
        self.known.insert(node, Known::Open);
        let weight = self.whole(node, depth)?;
        self.known.insert(node, Known::Done(weight));
        Ok(weight)
    }

    fn whole(&mut self, node: Node<'a, 'input>, depth: u32) -> Result<Weight, ImageError> {
        let name = node.tag_name().name();
        let mut weight = Weight {
            copied: 1,
            drawn: 1,
            ..Weight::default()
        };
        if names::is_shape(name) {
            weight.shapes = 1;
            weight.corners = ["d", "points"]
                .iter()
                .filter_map(|data| node.attribute(*data))
                .map(numbers)
                .sum();
        }
        for child in node.children().filter(Node::is_element) {
            let inside = self.weigh(child, depth + 1)?;
            if names::is_drawn_by_reference(child.tag_name().name()) {
                weight.copied = weight.copied.saturating_add(inside.copied);
            } else {
                weight.add(inside);
            }
        }
        let target = node.attribute("href").and_then(|href| href.trim().strip_prefix('#'));
        if let Some(target) = target.and_then(|id| self.ids.get(id)).copied() {
            let other = self.weigh(target, depth + 1)?;
            if name == "use" {
                weight.add(other);
            } else {
                weight.draw(other, 1);
            }
        }
        let (shapes, corners) = (weight.shapes, weight.corners);
        for (property, value) in properties(node) {
            for id in references(value) {
                let Some(target) = self.ids.get(id).copied() else {
                    continue;
                };
                let other = self.weigh(target, depth + 1)?;
                match property {
                    // These are inherited by all that is drawn inside.
                    "fill" | "stroke" if other.drawn > 0 && is_paint_of_color(target) => {}
                    "fill" | "stroke" => weight.draw(other, shapes),
                    "marker" => weight.draw(other, corners.saturating_mul(3)),
                    "marker-start" | "marker-mid" | "marker-end" => weight.draw(other, corners),
                    _ => weight.draw(other, 1),
                }
            }
        }
        Ok(weight)
    }
}

/// A gradient costs no more than a colour does.
fn is_paint_of_color(node: Node<'_, '_>) -> bool {
    matches!(node.tag_name().name(), "linearGradient" | "radialGradient")
}

/// The attributes of an element, those inside `style` among them.
fn properties<'a>(node: Node<'a, '_>) -> impl Iterator<Item = (&'a str, &'a str)> {
    let plain = node.attributes().filter(|attribute| attribute.name() != "style");
    let style = node.attribute("style").into_iter().flat_map(|style| style.split(';'));
    plain
        .map(|attribute| (attribute.name(), attribute.value()))
        .chain(style.filter_map(|declaration| declaration.split_once(':')))
}

/// Numbers in path data, of which every corner takes one at least.
fn numbers(data: &str) -> u64 {
    let mut count = 0;
    let (mut last, mut before) = (' ', ' ');
    for c in data.chars() {
        if c.is_ascii_digit() && !last.is_ascii_digit() && !(last == '.' && before.is_ascii_digit()) {
            count += 1;
        }
        (before, last) = (last, c);
    }
    count
}
