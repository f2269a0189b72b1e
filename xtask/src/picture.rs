//! A landscape drawn by formula: the sample of `cargo xtask up`, and large photographs for measurements.
//!
//! It has what a photograph has and a flat drawing lacks: soft gradients, edges and grain, so that its JPEG weighs
//! about as much as a camera's. The same size always gives the same bytes.

use std::thread;

use anyhow::{Context, Result};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

/// Bytes per pixel: red, green, blue.
const CHANNELS: usize = 3;
/// The largest scene that is drawn, width and height in pixels.
const TILE: (usize, usize) = (2000, 1500);

/// The landscape as a JPEG (4:2:0, quality 88). Sides are 1..=65,535 pixels.
///
/// # Errors
/// When a side is 0, which JPEG does not allow.
pub fn jpeg(width: u16, height: u16) -> Result<Vec<u8>> {
    let pixels = draw(width, height);
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, 88);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    encoder
        .encode(&pixels, width, height, ColorType::Rgb)
        .context("encoding the drawn picture")?;
    Ok(file)
}

/// Rows of RGB pixels, top to bottom. What is larger than [`TILE`] repeats it: for measuring a decoder the same scene
/// many times is as good as one large scene, and is there at once.
fn draw(width: u16, height: u16) -> Vec<u8> {
    let (width, height) = (usize::from(width), usize::from(height));
    let tile = (width.min(TILE.0), height.min(TILE.1));
    let drawn = draw_tile(tile);
    let mut pixels = Vec::with_capacity(width * height * CHANNELS);
    let repeats = width.div_ceil(tile.0.max(1));
    for row in drawn.chunks_exact((tile.0 * CHANNELS).max(1)).cycle().take(height) {
        pixels.extend_from_slice(&row.repeat(repeats)[..width * CHANNELS]);
    }
    pixels
}

/// The scene once, on all cores.
fn draw_tile((width, height): (usize, usize)) -> Vec<u8> {
    let row_bytes = width * CHANNELS;
    let mut pixels = vec![0; row_bytes * height];
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let rows_each = height.div_ceil(threads).max(1);
    thread::scope(|scope| {
        for (band, rows) in pixels.chunks_mut((rows_each * row_bytes).max(1)).enumerate() {
            scope.spawn(move || {
                for (offset, row) in rows.chunks_exact_mut(row_bytes.max(1)).enumerate() {
                    let y = band * rows_each + offset;
                    for (x, pixel) in row.chunks_exact_mut(CHANNELS).enumerate() {
                        pixel.copy_from_slice(&colour(x, y, width, height));
                    }
                }
            });
        }
    });
    pixels
}

/// One pixel of the scene.
fn colour(x: usize, y: usize, width: usize, height: usize) -> [u8; 3] {
    let (across, down) = (fraction(x, width), fraction(y, height));
    let mut rgb = sky(across, down);
    for (depth, ridge) in [(0.25_f32, 0.46_f32), (0.5, 0.56), (0.75, 0.68), (1.0, 0.8)] {
        let crest = ridge + skyline(across, depth);
        if down > crest {
            let lit = (1.0 - (down - crest) * 3.0).clamp(0.35, 1.0);
            let near = [0.10, 0.22, 0.16];
            let far = [0.62, 0.60, 0.72];
            rgb = std::array::from_fn(|channel| (far[channel] + (near[channel] - far[channel]) * depth) * lit);
        }
    }
    let grain = (noise(x, y) - 0.5) * 0.05;
    rgb.map(|value| quantise(value + grain))
}

fn sky(across: f32, down: f32) -> [f32; 3] {
    let (high, low) = ([0.18, 0.38, 0.72], [0.98, 0.80, 0.58]);
    let glow = (1.0 - 7.0 * ((across - 0.68).powi(2) + ((down - 0.34) * 0.75).powi(2)).sqrt()).max(0.0);
    let towards = (down * 1.7).min(1.0);
    std::array::from_fn(|channel| {
        let base = high[channel] + (low[channel] - high[channel]) * towards;
        base + (1.0 - base) * glow * glow
    })
}

/// How far a ridge's crest rises or falls at a place, in picture heights; nearer ridges are rougher.
fn skyline(across: f32, depth: f32) -> f32 {
    let waves = [
        (3.1, 0.045),
        (7.3, 0.022),
        (17.0, 0.010),
        (41.0, 0.005 * depth),
        (97.0, 0.003 * depth),
    ];
    waves
        .iter()
        .map(|(frequency, height)| height * (across * frequency * 2.0 + depth * 9.0).sin())
        .sum()
}

/// White noise in 0..1, the same for the same pixel.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "mixing bits, and 24 of them fit"
)]
fn noise(x: usize, y: usize) -> f32 {
    let mut bits = (x as u32).wrapping_mul(0x9E37_79B1) ^ (y as u32).wrapping_mul(0x85EB_CA77);
    bits = (bits ^ (bits >> 15)).wrapping_mul(0x2C1B_3C6D);
    bits = (bits ^ (bits >> 12)).wrapping_mul(0x297A_2D39);
    ((bits ^ (bits >> 15)) >> 8) as f32 / 16_777_216.0
}

#[expect(clippy::cast_precision_loss, reason = "sides are at most 65,535 pixels")]
fn fraction(position: usize, of: usize) -> f32 {
    position as f32 / of.max(1) as f32
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to 0..=255 before"
)]
fn quantise(value: f32) -> u8 {
    (value.clamp(0.0, 1.0) * 255.0 + 0.5) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_size_gives_the_same_picture_of_a_photographs_weight() {
        let file = jpeg(640, 480).unwrap();
        assert_eq!(file, jpeg(640, 480).unwrap());
        assert_eq!(&file[..3], [0xFF, 0xD8, 0xFF]);
        let bits_per_pixel = file.len() * 8 / (640 * 480);
        assert!((1..6).contains(&bits_per_pixel), "{} bytes", file.len());
    }

    #[test]
    fn sky_is_above_and_ground_below() {
        let [_, _, blue_above] = colour(10, 1, 400, 300);
        let [_, _, blue_below] = colour(10, 298, 400, 300);
        assert!(blue_above > 120 && blue_below < 120);
    }

    #[test]
    fn a_large_picture_is_whole_and_repeats_the_scene() {
        let pixels = draw(2003, 1502);
        let row = 2003 * CHANNELS;
        assert_eq!(pixels.len(), row * 1502);
        assert_eq!(pixels[..row], pixels[1500 * row..1501 * row]);
        assert_eq!(pixels[..CHANNELS], pixels[2000 * CHANNELS..2001 * CHANNELS]);
    }

    #[test]
    fn a_picture_without_pixels_is_an_error() {
        assert!(jpeg(0, 100).is_err());
    }
}
