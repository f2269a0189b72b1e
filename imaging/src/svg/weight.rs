//! What a document draws, in elements: one that is referred to counts as often as it is drawn.
//!
//! A few dozen elements that each use another ten times draw more than there are atoms. So every element is weighed once,
//! its references with it, before the renderer copies any.

use super::corrupt;
use super::document::{MAX_DEPTH, MAX_ELEMENTS, too_deep, too_many};
use super::names;
use super::style::references;
use crate::{ImageError, LimitKind};
use resvg::usvg::roxmltree::{Document, Node};
use std::collections::HashMap;

/// Bytes that the renderer keeps for an element, for a number of its data, for one of an arc's seven, and for a character's
/// glyph.
const ELEMENT: u64 = 1_000;
const NUMBER: u64 = 12;
const NUMBER_OF_ARC: u64 = 180;
const GLYPH: u64 = 600;

/// The largest number of a shape's geometry. An arc is made of more curves the larger it is, the sixth root of its radius:
/// 50 for this one, and for one of 10^100 more than there is memory for.
const MAX_NUMBER: f64 = 1e9;
/// Attributes that hold such numbers.
const GEOMETRY: [&str; 14] = [
    "cx", "cy", "d", "height", "points", "r", "rx", "ry", "viewBox", "width", "x", "x1", "x2", "y",
];

/// Refuses a sanitised document that draws too much, and says how many bytes the renderer's copy of it takes at most.
///
/// # Errors
/// [`ImageError::TooLarge`], and [`ImageError::Corrupt`] for an element that refers to itself.
pub(super) fn check(tree: &Document<'_>) -> Result<u64, ImageError> {
    let mut scale = Scale {
        ids: HashMap::new(),
        known: HashMap::new(),
    };
    for node in tree.descendants() {
        if let Some(id) = node.attribute("id") {
            scale.ids.entry(id).or_insert(node);
        }
        for data in GEOMETRY.iter().filter_map(|name| node.attribute(*name)) {
            check_numbers(data)?;
        }
    }
    let weight = scale.weigh(tree.root_element(), 1)?;
    match weight.drawn.max(weight.copied) {
        value if value > MAX_ELEMENTS => Err(too_many(value)),
        _ => Ok(weight.bytes),
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
    /// What the renderer keeps of all copies.
    bytes: u64,
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
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.height = self.height.max(other.height + 1);
    }

    /// With another one drawn so many times.
    fn draw(&mut self, other: Self, times: u64) {
        self.drawn = self.drawn.saturating_add(other.drawn.saturating_mul(times));
        self.bytes = self.bytes.saturating_add(other.bytes.saturating_mul(times));
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
        let data = ["d", "points"].iter().filter_map(|data| node.attribute(*data));
        let (numbers, of_arcs) = data
            .map(numbers)
            .fold((0, 0), |sum, data| (sum.0 + data.0, sum.1 + data.1));
        let characters: u64 = node
            .children()
            .filter(|_| names::is_shape(name))
            .filter_map(|child| child.text())
            .map(|text| text.len() as u64)
            .sum();
        let mut weight = Weight {
            copied: 1,
            // A glyph is a shape, and most are simple ones.
            drawn: 1 + characters / 4,
            shapes: u64::from(names::is_shape(name)),
            corners: if name == "line" { 2 } else { numbers },
            bytes: ELEMENT
                + numbers.saturating_mul(NUMBER)
                + of_arcs.saturating_mul(NUMBER_OF_ARC)
                + characters.saturating_mul(GLYPH),
            height: 0,
        };
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
        for (property, value) in properties(node) {
            self.refer(&mut weight, property, value, depth)?;
        }
        if names::is_drawn_by_reference(name) {
            // What is inside inherits from where it is written, not from where it is drawn.
            for (property, value) in node.ancestors().skip(1).flat_map(properties) {
                if is_inherited(property) {
                    self.refer(&mut weight, property, value, depth)?;
                }
            }
        }
        Ok(weight)
    }

    /// Adds what a property refers to, as often as it is drawn.
    fn refer(&mut self, weight: &mut Weight, property: &str, value: &str, depth: u32) -> Result<(), ImageError> {
        let times = match property {
            "fill" | "stroke" => weight.shapes,
            "marker" => weight.corners.saturating_mul(3),
            "marker-start" | "marker-mid" | "marker-end" => weight.corners,
            _ => 1,
        };
        for id in references(value) {
            if let Some(target) = self.ids.get(id).copied()
                && !is_paint_of_color(target)
            {
                let other = self.weigh(target, depth + 1)?;
                weight.draw(other, times);
            }
        }
        Ok(())
    }
}

/// Whether everything inside an element has the property too.
fn is_inherited(property: &str) -> bool {
    matches!(property, "fill" | "stroke") || property.starts_with("marker")
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

/// Numbers in path data, of which every corner takes one at least, and how many of them are those of arcs: at least five of
/// one's seven, since its flags need nothing around them.
fn numbers(data: &str) -> (u64, u64) {
    let (mut count, mut of_arcs) = (0, 0);
    let (mut last, mut before, mut command) = (' ', ' ', ' ');
    for c in data.chars() {
        if c.is_ascii_digit() && !last.is_ascii_digit() && !(last == '.' && before.is_ascii_digit()) {
            count += 1;
            of_arcs += u64::from(command == 'a');
        }
        if c.is_ascii_alphabetic() && !c.eq_ignore_ascii_case(&'e') {
            command = c.to_ascii_lowercase();
        }
        (before, last) = (last, c);
    }
    (count, of_arcs)
}

/// Refuses numbers beyond [`MAX_NUMBER`].
fn check_numbers(data: &str) -> Result<(), ImageError> {
    let is_part = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-');
    for token in data.split(|c| !is_part(c)) {
        // Numbers may follow each other without anything between them: the largest part of it that is one is as large as any.
        let number = largest(token);
        if number > MAX_NUMBER {
            return Err(ImageError::TooLarge {
                what: LimitKind::Distance,
                limit: MAX_NUMBER as u64,
                value: number as u64,
            });
        }
    }
    Ok(())
}

/// The largest number in digits, points, signs and exponents, without its sign; never smaller than what a parser may read.
fn largest(token: &str) -> f64 {
    let mut largest = 0.0_f64;
    let mut number = String::new();
    let mut read = |number: &mut String| {
        // What is no number by itself, `1e`, is one to a parser that leaves the exponent out.
        let value = number
            .trim_end_matches(['e', '-', '+'])
            .parse::<f64>()
            .unwrap_or_default();
        largest = largest.max(value.abs());
        number.clear();
    };
    for c in token.chars() {
        let c = c.to_ascii_lowercase();
        let in_exponent = number.ends_with('e');
        let begins = match c {
            '+' | '-' => !in_exponent,
            '.' => number.contains(['.', 'e']),
            'e' => number.contains('e'),
            _ => false,
        };
        if begins {
            read(&mut number);
        }
        number.push(c);
    }
    read(&mut number);
    largest
}

#[cfg(test)]
mod tests {
    use super::{largest, numbers};

    #[test]
    fn numbers_are_counted_and_those_of_arcs_apart() {
        assert_eq!(numbers("M10 80.5C40,2 1.5-3 4 5"), (8, 0));
        assert_eq!(numbers("M1 2A3 4 5 0 1 6 7 8 9 1 0 1 2 3L1e2 5"), (19, 14));
    }

    #[test]
    fn the_largest_number_is_found_however_they_stand() {
        for (token, value) in [
            ("", 0.0),
            ("12", 12.0),
            ("-3", 3.0),
            ("1.5.75-20", 20.0),
            ("1e3", 1000.0),
            ("2E+3-5e9", 5e9),
            ("1e-3", 0.001),
            ("2e", 2.0),
            ("1e400", f64::INFINITY),
            ("-.5", 0.5),
        ] {
            assert!(
                (largest(token) - value).abs() < 1e-9 || largest(token) == value,
                "{token}: {}",
                largest(token)
            );
        }
    }
}
