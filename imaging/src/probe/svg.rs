//! SVG: a document whose root element is `svg`, and the size that it says it has.

use super::ImageInfo;
use super::peek::{Peek, Stopped};
use crate::svg::{Prolog, prolog};
use crate::{Format, ImageError};

/// How far the root element may reach: comments and a prolog come before it, and editors give it many attributes.
const HEAD: usize = 16 * 1024;

/// Size of a picture that says none, as browsers have it.
const DEFAULT_SIZE: (f64, f64) = (300.0, 150.0);

/// The first text of a document; what is cut in the middle of a character ends before it.
fn text(head: &[u8]) -> &str {
    match core::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) => head
            .get(..error.valid_up_to())
            .and_then(|valid| core::str::from_utf8(valid).ok())
            .unwrap_or_default(),
    }
}

/// What follows `<svg` in a document, if that is its root.
fn root(head: &[u8]) -> Option<&str> {
    let text = text(head);
    let at = match prolog(text) {
        Prolog::Ends(at) => at,
        // To be refused by who reads it, as the picture that it says it is.
        Prolog::Declares(at) => at + text.get(at..)?.find("<svg")?,
        Prolog::Endless => return None,
    };
    let tag = text.get(at..)?.strip_prefix("<svg")?;
    tag.starts_with([' ', '\t', '\r', '\n', '>', '/']).then_some(tag)
}

pub(super) fn is_svg(peek: &mut Peek<'_>) -> Result<bool, Stopped> {
    Ok(root(peek.up_to(0, HEAD)?).is_some())
}

/// Whether the bytes are gzip, in which SVG is sometimes kept.
pub(super) fn is_compressed(start: &[u8]) -> bool {
    start.starts_with(&[0x1f, 0x8b, 8])
}

/// What is said to who sends compressed documents.
pub(super) fn compressed() -> Stopped {
    Stopped::Failed(ImageError::unsupported(
        Format::Svg,
        "a compressed document (SVGZ) is not read; uncompressed it is",
    ))
}

/// The attributes of a tag, and whether its end is there.
fn attributes(tag: &str) -> (Vec<(&str, &str)>, bool) {
    let mut found = Vec::new();
    let mut rest = tag;
    loop {
        rest = rest.trim_start();
        if rest.starts_with(['>', '/']) {
            return (found, true);
        }
        let read = || {
            let (name, after) = rest.split_once('=')?;
            let after = after.trim_start();
            let quote = after.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
            let (value, after) = after.get(1..)?.split_once(quote)?;
            Some((name.trim_end(), value, after))
        };
        let Some((name, value, after)) = read() else {
            return (found, false);
        };
        found.push((name, value));
        rest = after;
    }
}

/// CSS pixels of a length; a percentage has none of its own.
fn pixels(value: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 9] = [
        ("px", 1.0),
        ("pt", 96.0 / 72.0),
        ("pc", 16.0),
        ("mm", 96.0 / 25.4),
        ("cm", 96.0 / 2.54),
        ("in", 96.0),
        ("Q", 96.0 / 101.6),
        ("em", 16.0),
        ("ex", 8.0),
    ];
    let value = value.trim();
    let (number, unit) = UNITS
        .iter()
        .find_map(|(name, unit)| value.strip_suffix(name).map(|number| (number, *unit)))
        .unwrap_or((value, 1.0));
    number
        .trim()
        .parse::<f64>()
        .ok()
        .map(|number| number * unit)
        .filter(|pixels| pixels.is_finite() && *pixels > 0.0)
}

/// Width and height of a `viewBox`.
fn view_box(value: &str) -> Option<(f64, f64)> {
    let mut numbers = value
        .split([' ', ',', '\t', '\r', '\n'])
        .filter(|part| !part.is_empty())
        .map(|part| part.parse::<f64>().ok().filter(|number| number.is_finite()));
    let (_, _) = (numbers.next()??, numbers.next()??);
    let (width, height) = (numbers.next()??, numbers.next()??);
    (width > 0.0 && height > 0.0).then_some((width, height))
}

/// Width and height in CSS pixels: as given; a missing one by the view box's shape; none as the view box has them.
fn size(tag: &str) -> (f64, f64) {
    let (attributes, _) = attributes(tag);
    let of = |name: &str| {
        attributes
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| *value)
    };
    let given = (of("width").and_then(pixels), of("height").and_then(pixels));
    let shape = of("viewBox").and_then(view_box);
    match (given, shape) {
        ((Some(width), Some(height)), _) => (width, height),
        ((Some(width), None), Some(shape)) => (width, width * shape.1 / shape.0),
        ((None, Some(height)), Some(shape)) => (height * shape.0 / shape.1, height),
        ((None, None), Some(shape)) => shape,
        ((width, height), None) => (width.unwrap_or(DEFAULT_SIZE.0), height.unwrap_or(DEFAULT_SIZE.1)),
    }
}

pub(super) fn read(peek: &mut Peek<'_>) -> Result<ImageInfo, Stopped> {
    let partial = peek.is_partial();
    let head = peek.up_to(0, HEAD)?;
    let tag = root(head).unwrap_or_default();
    if partial && head.len() < HEAD && !attributes(tag).1 {
        return Err(Stopped::NeedMore(HEAD as u64));
    }
    let (width, height) = size(tag);
    // `as` saturates, and what is too large is refused by its size.
    let whole = |number: f64| number.round().max(1.0) as u32;
    Ok(ImageInfo {
        alpha: true,
        components: 4,
        decodable: true,
        ..ImageInfo::new(Format::Svg, whole(width), whole(height))
    })
}
