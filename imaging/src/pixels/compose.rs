//! Backgrounds, padding and borders.

use super::{Channels, Raster};
use crate::ImageError;
use crate::options::{Color, Sides};

/// `over` in straight alpha: a pixel over a colour. Returns straight RGBA.
fn over(pixel: [u8; 4], under: Color) -> [u8; 4] {
    let [r, g, b, a] = pixel.map(u32::from);
    let under_alpha = u32::from(under.a);
    // Everything in units of 1/255 of 1/255.
    let above = a * 255;
    let below = under_alpha * (255 - a);
    let alpha = above + below;
    if alpha == 0 {
        return [0; 4];
    }
    let channel = |top: u32, bottom: u8| ((top * above + u32::from(bottom) * below + alpha / 2) / alpha) as u8;
    [
        channel(r, under.r),
        channel(g, under.g),
        channel(b, under.b),
        ((alpha + 127) / 255) as u8,
    ]
}

/// Puts a colour under a picture; without alpha nothing changes.
pub(crate) fn flatten(raster: &mut Raster, color: Color) {
    if raster.channels != Channels::Rgba {
        return;
    }
    for pixel in raster.data.chunks_exact_mut(4) {
        if let [r, g, b, a] = pixel
            && *a != 255
        {
            [*r, *g, *b, *a] = over([*r, *g, *b, *a], color);
        }
    }
}

/// Puts a picture on a larger canvas of a colour.
pub(crate) fn pad(
    raster: Raster,
    (width, height): (u32, u32),
    (left, top): (u32, u32),
    color: Color,
) -> Result<Raster, ImageError> {
    if (width, height) == (raster.width, raster.height) {
        return Ok(raster);
    }
    let raster = if color.is_opaque() {
        raster.colored()?
    } else {
        raster.with_alpha()?
    };
    let channels = raster.channels.count();
    let mut canvas = Raster::zeroed(width, height, raster.channels)?;
    let paint = [color.r, color.g, color.b, color.a];
    for pixel in canvas.data.chunks_exact_mut(channels) {
        pixel.copy_from_slice(paint.get(..channels).unwrap_or_default());
    }
    let (stride, inset) = (canvas.stride(), left as usize * channels);
    let rows = canvas.data.chunks_exact_mut(stride).skip(top as usize);
    for (row, from) in rows.zip(raster.data.chunks_exact(raster.stride())) {
        if let Some(to) = row.get_mut(inset..inset + from.len()) {
            to.copy_from_slice(from);
        }
    }
    Ok(canvas)
}

/// Draws one picture over another, from a point on that may lie outside of it, and again beside itself along either axis.
///
/// Grey pictures stay as they are.
pub(crate) fn cover(
    raster: &mut Raster,
    overlay: &Raster,
    (left, top): (i64, i64),
    (across, down): (bool, bool),
    opacity: u8,
) {
    let (count, stride) = (raster.channels.count(), raster.stride());
    let of = overlay.channels.count();
    // Where the overlay's pixel for this one lies along an axis.
    let within = |at: usize, start: i64, length: u32, repeated: bool| {
        let length = i64::from(length);
        let offset = at as i64 - start;
        let offset = if repeated { offset.rem_euclid(length) } else { offset };
        (0..length).contains(&offset).then_some(offset as usize)
    };
    let columns = |at: usize| within(at, left, overlay.width, across);
    for (y, row) in raster.data.chunks_exact_mut(stride.max(1)).enumerate() {
        let Some(line) = within(y, top, overlay.height, down) else {
            continue;
        };
        let from = overlay.data.get(line * overlay.stride()..).unwrap_or_default();
        for (x, pixel) in row.chunks_exact_mut(count).enumerate() {
            let above = columns(x).and_then(|column| from.get(column * of..(column + 1) * of));
            let above = match above {
                Some([r, g, b, a]) => [*r, *g, *b, *a],
                Some([r, g, b]) => [*r, *g, *b, 255],
                Some([grey]) => [*grey, *grey, *grey, 255],
                _ => continue,
            };
            let [r, g, b, a] = above;
            let a = ((u32::from(a) * u32::from(opacity) + 127) / 255) as u8;
            if a == 0 {
                continue;
            }
            match pixel {
                [red, green, blue, alpha] => {
                    let under = Color {
                        r: *red,
                        g: *green,
                        b: *blue,
                        a: *alpha,
                    };
                    [*red, *green, *blue, *alpha] = over([r, g, b, a], under);
                }
                [red, green, blue] => {
                    let under = Color {
                        r: *red,
                        g: *green,
                        b: *blue,
                        a: 255,
                    };
                    [*red, *green, *blue, _] = over([r, g, b, a], under);
                }
                _ => {}
            }
        }
    }
}

/// Adds a frame around a picture.
pub(crate) fn add_border(raster: Raster, sides: Sides, color: Color) -> Result<Raster, ImageError> {
    let size = (
        raster.width + sides.left + sides.right,
        raster.height + sides.top + sides.bottom,
    );
    pad(raster, size, (sides.left, sides.top), color)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_background_shows_as_much_as_transparency_lets_it() {
        let white = Color::WHITE;
        assert_eq!(over([10, 20, 30, 255], white), [10, 20, 30, 255]);
        assert_eq!(over([10, 20, 30, 0], white), [255, 255, 255, 255]);
        assert_eq!(over([0, 0, 0, 128], white), [127, 127, 127, 255]);
        assert_eq!(over([9, 9, 9, 0], Color::TRANSPARENT), [0; 4]);
        assert_eq!(over([255, 0, 0, 128], Color { a: 128, ..Color::WHITE })[3], 192);
    }

    #[test]
    fn padding_keeps_the_picture_where_it_was_put() {
        let raster = Raster::from_data(1, 1, Channels::Rgb, vec![1, 2, 3]).unwrap();
        let padded = pad(
            raster,
            (3, 2),
            (1, 1),
            Color {
                r: 9,
                g: 8,
                b: 7,
                a: 255,
            },
        )
        .unwrap();
        assert_eq!(padded.data, [9, 8, 7, 9, 8, 7, 9, 8, 7, 9, 8, 7, 1, 2, 3, 9, 8, 7]);
    }

    #[test]
    fn a_translucent_border_brings_alpha() {
        let raster = Raster::from_data(1, 1, Channels::Grey, vec![5]).unwrap();
        let framed = add_border(
            raster,
            Sides {
                top: 0,
                right: 1,
                bottom: 0,
                left: 0,
            },
            Color::TRANSPARENT,
        )
        .unwrap();
        assert_eq!(
            (framed.channels, framed.data.as_slice()),
            (Channels::Rgba, [5, 5, 5, 255, 0, 0, 0, 0].as_slice())
        );
    }
}
