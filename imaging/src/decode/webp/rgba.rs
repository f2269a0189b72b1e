//! Planes with alpha as pixels, chroma made finer as libwebp does it.

use super::Yuv;
use crate::ImageError;
use crate::pixels::{Channels, Raster, limited_to_rgb, zeroed_of};

/// Joins planes and alpha; without one, nothing is transparent.
pub(super) fn rgba(yuv: &Yuv, alpha: Option<&[u8]>) -> Result<Raster, ImageError> {
    let mut raster = Raster::zeroed(yuv.width, yuv.height, Channels::Rgba)?;
    let width = (yuv.width as usize).max(1);
    let half = width.div_ceil(2);
    let [luma, blue, red] = &yuv.planes;
    let mut blended = [zeroed_of(half)?, zeroed_of(half)?];
    let rows = raster.data.chunks_exact_mut(4 * width).zip(luma.chunks_exact(width));
    for (y, (pixels, luma)) in rows.enumerate() {
        for (blended, plane) in blended.iter_mut().zip([blue, red]) {
            blend(blended, plane, y);
        }
        let [blue, red] = &blended;
        for (x, (pixel, luma)) in pixels.as_chunks_mut().0.iter_mut().zip(luma).enumerate() {
            let [r, g, b] = limited_to_rgb([*luma, finer(blue, x), finer(red, x)]);
            *pixel = [r, g, b, 255];
        }
    }
    if let Some(alpha) = alpha {
        for ([.., to], alpha) in raster.data.as_chunks_mut::<4>().0.iter_mut().zip(alpha) {
            *to = *alpha;
        }
    }
    Ok(raster)
}

/// Four times the samples of a plane at the height of a row of pixels, which lies between two of the plane's, nearer to
/// one of them. At the edges they are one.
fn blend(blended: &mut [u16], plane: &[u8], y: usize) {
    let row = |index: usize| plane.chunks_exact(blended.len().max(1)).nth(index);
    let Some(near) = row(y / 2) else { return };
    let far = neighbour(y).and_then(row).unwrap_or(near);
    for ((blended, near), far) in blended.iter_mut().zip(near).zip(far) {
        *blended = 3 * u16::from(*near) + u16::from(*far);
    }
}

/// The same across.
fn finer(blended: &[u16], x: usize) -> u8 {
    let near = blended.get(x / 2).copied().unwrap_or(0);
    let far = neighbour(x).and_then(|x| blended.get(x)).copied().unwrap_or(near);
    ((3 * near + far + 8) >> 4) as u8
}

/// The sample of a plane of half the size that is second nearest to a pixel.
const fn neighbour(pixel: usize) -> Option<usize> {
    if pixel % 2 == 1 {
        Some(pixel / 2 + 1)
    } else {
        (pixel / 2).checked_sub(1)
    }
}
