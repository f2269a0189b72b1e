//! Finding a border of one colour around a picture.

use super::Raster;
use crate::options::Color;

/// What is inside a border, in pixels of the picture: left, top, width, height.
pub(crate) type Inside = (u32, u32, u32, u32);

/// Premultiplied, so that what is invisible is alike.
fn visible([r, g, b, a]: [u8; 4]) -> [u8; 4] {
    let part = |value: u8| ((u32::from(value) * u32::from(a) + 127) / 255) as u8;
    [part(r), part(g), part(b), a]
}

fn pixel(bytes: &[u8]) -> [u8; 4] {
    match bytes {
        [grey] => [*grey, *grey, *grey, 255],
        [r, g, b] => [*r, *g, *b, 255],
        [r, g, b, a] => [*r, *g, *b, *a],
        _ => [0; 4],
    }
}

/// The smallest rectangle that holds every pixel whose colour is further from the border's than `tolerance`, in the
/// channel that differs most; `None` where there is none. Without a colour the border's is that of the pixel at `corner`.
pub(crate) fn inside(raster: &Raster, color: Option<Color>, corner: (u32, u32), tolerance: u8) -> Option<Inside> {
    let count = raster.channels.count();
    let at = (corner.1 as usize * raster.width as usize + corner.0 as usize) * count;
    let border = visible(match color {
        Some(color) => [color.r, color.g, color.b, color.a],
        None => pixel(raster.data.get(at..at + count)?),
    });
    let differs = |bytes: &[u8]| {
        let channels = visible(pixel(bytes)).into_iter().zip(border);
        channels.map(|(a, b)| a.abs_diff(b)).max() > Some(tolerance)
    };
    let rows = || raster.data.chunks_exact(raster.stride().max(1));
    let top = rows().position(|row| row.chunks_exact(count).any(differs))?;
    let bottom = rows().rposition(|row| row.chunks_exact(count).any(differs))?;
    let (mut left, mut right) = (raster.width as usize, 0);
    for row in rows().take(bottom + 1).skip(top) {
        // Only what may still lie outside of what was found is looked at.
        if let Some(first) = row.chunks_exact(count).take(left).position(differs) {
            left = first;
        }
        let pixels = row.chunks_exact(count).rev();
        let beyond = (raster.width as usize).saturating_sub(right);
        if let Some(last) = pixels.take(beyond).position(differs) {
            right = raster.width as usize - last;
        }
    }
    let (left, right, top) = (left as u32, right as u32, top as u32);
    Some((left, top, right.saturating_sub(left), bottom as u32 + 1 - top))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pixels::Channels;
    use proptest::prelude::*;

    #[test]
    fn a_plain_picture_has_no_inside() {
        let plain = Raster::from_data(3, 2, Channels::Rgb, [7, 8, 9].repeat(6)).unwrap();
        assert_eq!(inside(&plain, None, (0, 0), 0), None);
        assert_eq!(inside(&plain, Some(Color::WHITE), (0, 0), 5), Some((0, 0, 3, 2)));
        assert_eq!(inside(&plain, Some(Color::WHITE), (0, 0), 248), None);
    }

    #[test]
    fn what_is_invisible_is_alike() {
        let mut data = vec![0; 5 * 4];
        data[..3].copy_from_slice(&[200, 100, 50]);
        data[8..12].copy_from_slice(&[10, 10, 10, 255]);
        let raster = Raster::from_data(5, 1, Channels::Rgba, data).unwrap();
        assert_eq!(inside(&raster, None, (4, 0), 10), Some((2, 0, 1, 1)));
    }

    proptest! {
        #[test]
        fn what_was_framed_is_found(
            sides in [0u32..9, 0u32..9, 0u32..9, 0u32..9], size in (1u32..9, 1u32..9), paper in 0u8..=255, noise in 0u8..=5,
        ) {
            let [left, top, right, bottom] = sides;
            let (width, height) = (left + size.0 + right, top + size.1 + bottom);
            let mut raster = Raster::zeroed(width, height, Channels::Grey).unwrap();
            for (index, value) in raster.data.iter_mut().enumerate() {
                let (x, y) = (index as u32 % width, index as u32 / width);
                let is_inside = (left..left + size.0).contains(&x) && (top..top + size.1).contains(&y);
                let shift = if is_inside { 100 } else { noise * (index % 2) as u8 };
                *value = if paper > 127 { paper - shift } else { paper + shift };
            }
            let color = Color { r: paper, g: paper, b: paper, a: 255 };
            prop_assert_eq!(inside(&raster, Some(color), (0, 0), 5), Some((left, top, size.0, size.1)));
        }
    }
}
