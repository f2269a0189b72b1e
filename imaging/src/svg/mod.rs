//! SVG: sanitised, measured, and only then drawn.
//!
//! A document is a program that draws. So nothing of it is believed: `sanitize` writes a document of its own that has
//! only known elements and attributes, no script and no reference to the outside; `weight` counts what its references
//! draw again before anything is drawn; `cost` adds up layers and painted pixels before memory is taken. The renderer
//! sees nothing but what has passed all three.

mod cost;
mod document;
mod fonts;
mod names;
mod picture;
mod sanitize;
mod style;
mod weight;

pub(crate) use document::{Document, Prolog, prolog};
pub(crate) use picture::Vector;
pub(crate) use sanitize::escape;

use crate::pixels::{Channels, Raster, unpremultiply};
use crate::{Format, ImageError};
use resvg::tiny_skia::{PixmapMut, Transform};
use resvg::usvg;

/// A document that is no well-formed SVG.
fn corrupt(offset: usize, detail: impl Into<String>) -> ImageError {
    ImageError::corrupt(Format::Svg, offset as u64, detail)
}

/// Draws a tree on a transparent raster of this size.
pub(crate) fn paint(
    tree: &usvg::Tree,
    transform: Transform,
    (width, height): (u32, u32),
) -> Result<Raster, ImageError> {
    let mut raster = Raster::zeroed(width, height, Channels::Rgba)?;
    let mut pixels = PixmapMut::from_bytes(&mut raster.data, width, height).ok_or(ImageError::Internal(
        "the renderer was given a canvas of the wrong size",
    ))?;
    resvg::render(tree, transform, &mut pixels);
    unpremultiply(&mut raster.data);
    Ok(raster)
}

/// How the renderer reads documents: with the embedded fonts, and without files.
pub(crate) fn reading() -> usvg::Options<'static> {
    usvg::Options {
        font_family: fonts::FAMILY.to_owned(),
        fontdb: fonts::database(),
        font_resolver: fonts::resolver(),
        image_href_resolver: usvg::ImageHrefResolver {
            resolve_data: Box::new(|_, _, _| None),
            resolve_string: Box::new(|_, _| None),
        },
        ..usvg::Options::default()
    }
}

#[cfg(test)]
mod tests;
