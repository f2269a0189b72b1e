//! Texts, shaped and set in the embedded fonts.

use crate::ImageError;
use crate::options::{Color, Draw, Fit, Gravity};
use crate::pixels::Raster;
use crate::plan::Drawing;
use crate::svg::{escape, paint, reading};
use core::fmt::Write;
use resvg::tiny_skia::{Rect, Transform};
use resvg::usvg::{Group, Node, Tree, roxmltree};

/// Height of the letters in the units of the document that a text is set in.
const EM: f32 = 100.0;

/// From one line to the next, in the same.
const LINE: f32 = 1.4 * EM;

/// Room on the left and right of a text, and half as much above and below it: it keeps clear of the picture's edges, and
/// of itself where it is repeated.
const ROOM: f32 = 0.5 * EM;

/// A text at its size, on nothing; `None` where it has no glyph to show.
pub(super) fn render(text: &str, drawing: &Drawing) -> Result<Option<Raster>, ImageError> {
    let document = document(text, &drawing.draw);
    let failed = |_| ImageError::Internal("a text made no document");
    let xml = roxmltree::Document::parse(&document).map_err(failed)?;
    let tree =
        Tree::from_xmltree(&xml, &reading()).map_err(|_| ImageError::Internal("the document of a text was refused"))?;
    let Some(bounds) = bounds(tree.root()) else {
        return Ok(None);
    };
    let (left, top) = (bounds.left() - ROOM, bounds.top() - ROOM / 2.0);
    let (width, height) = (
        f64::from(bounds.width() + 2.0 * ROOM),
        f64::from(bounds.height() + ROOM),
    );
    let (x, y) = scale((width, height), drawing);
    let side = |length: f64, scale: f64, most: u32| ((length * scale).round() as u32).clamp(1, most);
    let size = (side(width, x, drawing.room.0), side(height, y, drawing.room.1));
    let transform = Transform::from_scale(x as f32, y as f32).pre_translate(-left, -top);
    paint(&tree, transform, size).map(Some)
}

/// How the document's units become pixels: the text fills its box as far as its shape lets it, and without a box it has
/// the size that the picture gives it, as long as it fits there.
fn scale((width, height): (f64, f64), drawing: &Drawing) -> (f64, f64) {
    let (x, y) = (f64::from(drawing.room.0) / width, f64::from(drawing.room.1) / height);
    match drawing.line() {
        None if drawing.draw.fit == Fit::Squeeze => (x, y),
        None => (x.min(y), x.min(y)),
        Some(line) => {
            let scale = (line / f64::from(EM)).min(x).min(y);
            (scale, scale)
        }
    }
}

/// The text as a document, a line below the other, on the side that it will be on.
fn document(text: &str, draw: &Draw) -> String {
    let color = draw.color.unwrap_or(Color::WHITE);
    let anchor = match draw.gravity {
        Gravity::Point { x, .. } if x.is_zero() => "start",
        Gravity::Point { x, .. } if x == crate::options::Decimal::ONE => "end",
        _ => "middle",
    };
    let mut document = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1\" height=\"1\"><g font-size=\"{EM}\" text-anchor=\"{anchor}\" \
         fill=\"rgb({},{},{})\" fill-opacity=\"{}\" xml:space=\"preserve\">",
        color.r,
        color.g,
        color.b,
        f32::from(color.a) / 255.0
    );
    for (index, line) in text.lines().enumerate() {
        let _infallible = write!(document, "<text y=\"{}\">", index as f32 * LINE);
        escape(line, &mut document);
        document.push_str("</text>");
    }
    document + "</g></svg>"
}

/// What all lines take, by the font's measures and by their glyphs.
fn bounds(group: &Group) -> Option<Rect> {
    group.children().iter().fold(None, |all, node| {
        let own = match node {
            Node::Group(group) => bounds(group),
            Node::Text(text) => join(text.abs_bounding_box(), text.abs_stroke_bounding_box()),
            Node::Path(_) | Node::Image(_) => None,
        };
        match (all, own) {
            (Some(all), Some(own)) => join(all, own),
            (all, own) => all.or(own),
        }
    })
}

fn join(one: Rect, other: Rect) -> Option<Rect> {
    Rect::from_ltrb(
        one.left().min(other.left()),
        one.top().min(other.top()),
        one.right().max(other.right()),
        one.bottom().max(other.bottom()),
    )
}
