//! Turning pixels into one of the eight orientations.

use super::Raster;
use crate::{ImageError, Orientation};

/// Turns a picture. Upright pictures are passed on; the others need a second buffer.
pub(crate) fn turn(source: Raster, orientation: Orientation) -> Result<Raster, ImageError> {
    if orientation == Orientation::UPRIGHT {
        return Ok(source);
    }
    let (transpose, mirror_x, mirror_y) = orientation.parts();
    let (width, height) = orientation.size((source.width, source.height));
    let mut turned = Raster::zeroed(width, height, source.channels)?;
    let channels = source.channels.count();
    let stride = source.stride();
    // Steps in the source for one step to the right and one step down in the result.
    let (right, down) = if transpose {
        (stride, channels)
    } else {
        (channels, stride)
    };
    let (columns, rows) = (width as usize, height as usize);
    for (y, row) in turned.data.chunks_exact_mut((columns * channels).max(1)).enumerate() {
        let start = down * if mirror_y { rows - 1 - y } else { y };
        if !transpose && !mirror_x {
            if let Some(from) = source.data.get(start..start + row.len()) {
                row.copy_from_slice(from);
            }
            continue;
        }
        for (x, pixel) in row.chunks_exact_mut(channels).enumerate() {
            let at = start + right * if mirror_x { columns - 1 - x } else { x };
            if let Some(from) = source.data.get(at..at + channels) {
                pixel.copy_from_slice(from);
            }
        }
    }
    Ok(turned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pixels::Channels;

    #[test]
    fn all_eight_orientations_turn_as_exif_says() {
        let stored = || Raster::from_data(3, 2, Channels::Grey, b"abcdef".to_vec()).unwrap();
        for (value, expected) in [
            (1, "abc/def"),
            (2, "cba/fed"),
            (3, "fed/cba"),
            (4, "def/abc"),
            (5, "ad/be/cf"),
            (6, "da/eb/fc"),
            (7, "fc/eb/da"),
            (8, "cf/be/ad"),
        ] {
            let turned = turn(stored(), Orientation::from_exif(value)).unwrap();
            let rows: Vec<_> = turned
                .data
                .chunks(turned.width as usize)
                .map(|row| std::str::from_utf8(row).unwrap())
                .collect();
            assert_eq!(rows.join("/"), expected, "orientation {value}");
        }
    }

    #[test]
    fn turning_twice_is_turning_by_both() {
        for first in 1..=8 {
            for second in 1..=8 {
                let (first, second) = (Orientation::from_exif(first), Orientation::from_exif(second));
                let stored = Raster::from_data(3, 2, Channels::Rgb, (0..18).collect()).unwrap();
                let one_by_one = turn(turn(stored.clone(), first).unwrap(), second).unwrap();
                assert_eq!(
                    one_by_one,
                    turn(stored, first.then(second)).unwrap(),
                    "{first:?} {second:?}"
                );
            }
        }
    }
}
