//! Palettes of pictures that have more colours than one: what `quality` means for PNG.

use super::palette::Indexed;
use crate::ImageError;
use crate::pixels::{Channels, Raster, premultiply, reserved, unpremultiply};
use color_quant::NeuQuant;
use quantette::deps::palette::{Srgb, cast};
use quantette::dither::FloydSteinberg;
use quantette::{ImageRef, PaletteSize, Pipeline};

/// From this quality on a palette has all the colours that it may have.
const FULL: u32 = 80;

/// Fewer look like posters.
const LEAST: u32 = 8;

/// Colours of a palette.
pub(super) fn colors(quality: u8) -> u16 {
    (u32::from(quality) * 256 / FULL).clamp(LEAST, 256) as u16
}

/// Bytes for a pixel beside the pixel itself: its colour in floating point, and its index.
pub(crate) const BYTES_PER_INDEX: u64 = 3 * 4 + 2;

/// A picture in so many colours. `fast` leaves out the dither.
pub(super) fn quantised(raster: &Raster, colors: u16, fast: bool) -> Result<Indexed, ImageError> {
    match raster.channels {
        Channels::Grey => opaque(&raster.copy()?.colored()?, colors, fast),
        Channels::Rgb => opaque(raster, colors, fast),
        Channels::Rgba => translucent(raster, colors),
    }
}

/// Cuts after Wu in Oklab, and the error diffused: nobody sees the palette of a photograph.
fn opaque(raster: &Raster, colors: u16, fast: bool) -> Result<Indexed, ImageError> {
    let internal = |_| ImageError::Internal("a palette was asked of a picture of the wrong size");
    let pixels: &[Srgb<u8>] = cast::from_component_slice(&raster.data);
    let image = ImageRef::new(raster.width, raster.height, pixels)
        .map_err(|_| ImageError::Internal("a picture has another size than its pixels"))?;
    let size = PaletteSize::try_from(colors).map_err(internal)?;
    let (colors, indices) = Pipeline::new()
        .palette_size(size)
        .ditherer((!fast).then(FloydSteinberg::new))
        // A table of all colours would have no bound but the picture.
        .dedup(false)
        .input_image(image)
        .output_srgb8_indexed_image()
        .into_parts();
    Ok(Indexed {
        colors: colors
            .iter()
            .map(|color| [color.red, color.green, color.blue, 255])
            .collect(),
        indices,
    })
}

/// Pixels that the palette is made from; more of them change it no more.
const SAMPLED: usize = 60_000;

/// One in so many of those trains the network.
const EVERY: i32 = 3;

/// Colours whose place was found last, by the lowest bits of a product of theirs.
const REMEMBERED: u32 = 12;

/// A network trained with colours as much as they show, and their alpha. Soft edges have few colours of many alphas, where
/// a dither would be seen.
fn translucent(raster: &Raster, colors: u16) -> Result<Indexed, ImageError> {
    let mut raster = raster.copy()?;
    premultiply(&mut raster.data);
    let pixels = || raster.data.as_chunks::<4>().0.iter();
    let step = (pixels().len() / SAMPLED).max(1);
    let samples: Vec<u8> = pixels()
        .filter(|pixel| pixel[3] > 0)
        .step_by(step)
        .flatten()
        .copied()
        .collect();
    // What does not show has one place, the first.
    let mut palette = vec![[0; 4]];
    let network = NeuQuant::new(EVERY, usize::from(colors - 1), &samples);
    let mut shown = network.color_map_rgba();
    unpremultiply(&mut shown);
    palette.extend(shown.as_chunks::<4>().0);
    let mut remembered = vec![([0; 4], 0u8); 1 << REMEMBERED];
    let mut indices = reserved(pixels().len())?;
    for pixel in pixels() {
        if pixel[3] == 0 {
            indices.push(0);
            continue;
        }
        let slot = u32::from_le_bytes(*pixel).wrapping_mul(0x9e37_79b1) >> (32 - REMEMBERED);
        let Some((color, index)) = remembered.get_mut(slot as usize) else {
            continue;
        };
        if color != pixel {
            *color = *pixel;
            *index = u8::try_from(network.index_of(pixel) + 1).unwrap_or(u8::MAX);
        }
        indices.push(*index);
    }
    Ok(Indexed {
        colors: palette,
        indices,
    }
    .in_order())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    fn distance(raster: &Raster, indexed: &Indexed) -> f64 {
        let count = raster.channels.count();
        // As much as it shows.
        let seen = |color: &[u8], channel: usize| {
            f64::from(color[channel]) * f64::from(color.get(3).copied().unwrap_or(255)) / 255.0
        };
        let error: f64 = raster
            .data
            .chunks_exact(count)
            .zip(&indexed.indices)
            .flat_map(|(pixel, index)| {
                let color = indexed.colors[usize::from(*index)];
                (0..3).map(move |channel| (seen(pixel, channel) - seen(&color, channel)).powi(2))
            })
            .sum();
        (error / raster.data.len() as f64).sqrt()
    }

    #[test]
    fn more_colours_come_nearer() {
        let opaque = Raster::from_data(160, 120, Channels::Rgb, samples::scene(160, 120)).unwrap();
        let soft = Raster::from_data(160, 120, Channels::Rgba, samples::scene_rgba(160, 120)).unwrap();
        for raster in [opaque, soft] {
            let errors = [8, 32, 256].map(|colors| {
                let indexed = quantised(&raster, colors, true).unwrap();
                assert!(indexed.colors.len() <= usize::from(colors));
                assert_eq!(indexed.indices.len(), 160 * 120);
                distance(&raster, &indexed)
            });
            assert!(
                errors.is_sorted_by(|few, more| few > more) && errors[2] < 9.0,
                "{errors:?}"
            );
        }
    }

    /// Means of squares of 8 pixels, as an eye sees them from afar.
    fn from_afar(pixel: impl Fn(usize, usize) -> [u8; 3]) -> Vec<f64> {
        let mut means = Vec::new();
        for (row, column) in (0..15).flat_map(|row| (0..20).map(move |column| (row, column))) {
            for channel in 0..3 {
                let sum: u32 = (0..64)
                    .map(|at| u32::from(pixel(column * 8 + at % 8, row * 8 + at / 8)[channel]))
                    .sum();
                means.push(f64::from(sum) / 64.0);
            }
        }
        means
    }

    #[test]
    fn a_dither_is_right_from_afar() {
        let raster = Raster::from_data(160, 120, Channels::Rgb, samples::scene(160, 120)).unwrap();
        let wanted = from_afar(|x, y| *raster.data[(y * 160 + x) * 3..].first_chunk().unwrap());
        let [plain, dithered] = [true, false].map(|fast| {
            let indexed = quantised(&raster, 16, fast).unwrap();
            let seen = from_afar(|x, y| {
                *indexed.colors[usize::from(indexed.indices[y * 160 + x])]
                    .first_chunk()
                    .unwrap()
            });
            wanted.iter().zip(seen).map(|(a, b)| (a - b).powi(2)).sum::<f64>()
        });
        assert!(dithered < 0.7 * plain, "{dithered} instead of {plain}");
    }

    #[test]
    fn what_does_not_show_stays_hidden() {
        let mut raster = Raster::from_data(60, 40, Channels::Rgba, samples::scene_rgba(60, 40)).unwrap();
        raster
            .data
            .as_chunks_mut::<4>()
            .0
            .iter_mut()
            .step_by(3)
            .for_each(|pixel| pixel[3] = 0);
        let indexed = quantised(&raster, 64, false).unwrap();
        for (pixel, index) in raster.data.as_chunks::<4>().0.iter().zip(&indexed.indices) {
            assert_eq!(pixel[3] == 0, indexed.colors[usize::from(*index)][3] == 0);
        }
    }

    #[test]
    fn quality_is_a_number_of_colours() {
        assert_eq!([1, 10, 40, 79, 80, 100].map(colors), [8, 32, 128, 252, 256, 256]);
    }
}
