//! AVIF through rav1e.
//!
//! What the Worker's libaom is told is translated: its quality into a quantiser of rav1e's that looks alike, its speeds into
//! rav1e's fastest ones.

use super::super::{AvifSettings, CodecError};
use avif_serialize::Aviffy;
use avif_serialize::constants::MatrixCoefficients;
use rav1e::color;
use rav1e::prelude::{
    ChromaSampling, ColorDescription, Config, EncoderConfig, EncoderStatus, Frame, PixelRange, Plane, SpeedSettings,
};

/// rav1e's quantiser for libaom's quality, between whose points it is a straight line: those of equal SSIMULACRA2, in the
/// mean of eight photographs of 768 x 512, with libaom at speed 8 and rav1e at 9. At the points from 42 to 90 the files differ
/// by -15, -9, -6, -4, 0 and +5 % in size.
const QUANTIZER: [(u8, u8); 8] = [
    (0, 255),
    (42, 167),
    (52, 138),
    (58, 123),
    (67, 106),
    (79, 72),
    (90, 31),
    (100, 1),
];

pub(super) fn encode(rgba: &[u8], width: u32, height: u32, settings: &AvifSettings) -> Result<Vec<u8>, CodecError> {
    let failed = |what: &str| CodecError::Failed(what.to_owned());
    if rgba.len() as u64 != u64::from(width) * u64::from(height) * 4 || rgba.is_empty() {
        return Err(failed("the size is not that of the pixels"));
    }
    let size = (width as usize, height as usize);
    let halved = settings.subsample == 3;
    let sampling = if halved {
        ChromaSampling::Cs420
    } else {
        ChromaSampling::Cs444
    };
    let planes = planes(rgba, size, halved);
    let colors = still(&config(size, sampling, settings), |frame| {
        for (to, from) in frame.planes.iter_mut().zip(&planes) {
            fill(to, &from.0, from.1);
        }
    })?;
    let has_alpha = rgba
        .chunks_exact(4)
        .any(|pixel| pixel.last().is_some_and(|alpha| *alpha != 255));
    let alpha = if has_alpha {
        let plane: Vec<u8> = rgba.iter().skip(3).step_by(4).copied().collect();
        let coded = still(&config(size, ChromaSampling::Cs400, settings), |frame| {
            if let Some(to) = frame.planes.first_mut() {
                fill(to, &plane, size.0);
            }
        })?;
        Some(coded)
    } else {
        None
    };
    let mut file = Vec::new();
    Aviffy::new()
        .set_matrix_coefficients(MatrixCoefficients::Bt601)
        .set_full_color_range(true)
        .set_chroma_subsampling((halved, halved))
        .write(&mut file, &colors, alpha.as_deref(), width, height, 8)
        .map_err(|error| CodecError::Failed(error.to_string()))?;
    Ok(file)
}

fn config((width, height): (usize, usize), chroma_sampling: ChromaSampling, settings: &AvifSettings) -> Config {
    // libaom's 8, 9 and 10 are quicker than what rav1e has to offer; its two last are what comes near.
    let mut speed_settings = SpeedSettings::from_preset(if settings.speed < 10 { 9 } else { 10 });
    speed_settings.rdo_lookahead_frames = 1;
    speed_settings.multiref = false;
    let quantizer = usize::from(super::super::along(&QUANTIZER, settings.quality.min(100)));
    let is_color = chroma_sampling != ChromaSampling::Cs400;
    let encoder = EncoderConfig {
        width,
        height,
        bit_depth: 8,
        chroma_sampling,
        pixel_range: PixelRange::Full,
        color_description: is_color.then_some(ColorDescription {
            color_primaries: color::ColorPrimaries::BT709,
            transfer_characteristics: color::TransferCharacteristics::SRGB,
            matrix_coefficients: color::MatrixCoefficients::BT601,
        }),
        still_picture: true,
        quantizer,
        min_quantizer: quantizer.min(255) as u8,
        speed_settings,
        ..EncoderConfig::default()
    };
    Config::new().with_encoder_config(encoder)
}

/// The OBUs of one frame.
fn still(config: &Config, fill: impl FnOnce(&mut Frame<u8>)) -> Result<Vec<u8>, CodecError> {
    let failed = |error: &dyn std::fmt::Display| CodecError::Failed(format!("rav1e: {error}"));
    let mut context = config.new_context::<u8>().map_err(|error| failed(&error))?;
    let mut frame = context.new_frame();
    fill(&mut frame);
    context.send_frame(frame).map_err(|error| failed(&error))?;
    context.flush();
    let mut bytes = Vec::new();
    loop {
        match context.receive_packet() {
            Ok(packet) => bytes.extend(packet.data),
            Err(EncoderStatus::Encoded) => {}
            Err(EncoderStatus::LimitReached) => return Ok(bytes),
            Err(status) => return Err(failed(&status)),
        }
    }
}

fn fill(plane: &mut Plane<u8>, from: &[u8], width: usize) {
    plane.copy_from_raw_u8(from, width, 1);
}

/// Luminance and chroma by BT.601 in full range, and the width of each. Where chroma is halved, it is the mean of four
/// pixels, or of those of them that there are.
fn planes(rgba: &[u8], (width, height): (usize, usize), halved: bool) -> [(Vec<u8>, usize); 3] {
    let step = if halved { 2 } else { 1 };
    let (columns, rows) = (width.div_ceil(step), height.div_ceil(step));
    let mut luma = Vec::with_capacity(width * height);
    let mut chroma = [Vec::with_capacity(columns * rows), Vec::with_capacity(columns * rows)];
    let mut sums = vec![[0.0f32; 3]; columns];
    for (row, pixels) in rgba.chunks_exact(width * 4).enumerate() {
        for (index, pixel) in pixels.chunks_exact(4).enumerate() {
            let [r, g, b, _] = *pixel else { continue };
            let [y, cb, cr] = ycc(r, g, b);
            luma.push((y + 0.5) as u8);
            if let Some(sum) = sums.get_mut(index / step) {
                *sum = [sum[0] + cb, sum[1] + cr, sum[2] + 1.0];
            }
        }
        if (row + 1) % step == 0 || row + 1 == height {
            for sum in &mut sums {
                let [cb, cr, count] = core::mem::take(sum);
                let [first, second] = &mut chroma;
                first.push((cb / count + 128.5) as u8);
                second.push((cr / count + 128.5) as u8);
            }
        }
    }
    let [first, second] = chroma;
    [(luma, width), (first, columns), (second, columns)]
}

/// Luminance from 0 on, chroma around 0.
fn ycc(r: u8, g: u8, b: u8) -> [f32; 3] {
    let [r, g, b] = [r, g, b].map(f32::from);
    let y = 0.299 * r + 0.587 * g + 0.114 * b;
    [y, (b - y) / 1.772, (r - y) / 1.402]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Codecs, Limits, NativeCodecs, Resolved, process, samples};

    fn back(file: &[u8]) -> Vec<u8> {
        let resolved = Resolved::parse("format=png").unwrap();
        let png = process(&file, &resolved, &Limits::HEAVY, &NativeCodecs, &|| false).unwrap();
        let mut decoder = png::Decoder::new(std::io::Cursor::new(png.bytes));
        decoder.set_transformations(png::Transformations::normalize_to_color8() | png::Transformations::ALPHA);
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        pixels
    }

    /// Mean difference of a channel.
    fn distance(a: &[u8], b: &[u8]) -> f64 {
        assert_eq!(a.len(), b.len());
        let sum: u64 = a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        sum as f64 / a.len() as f64
    }

    #[test]
    fn what_is_written_is_read_back_alike() {
        for (width, height) in [(1, 1), (2, 3), (17, 9), (67, 45), (200, 130)] {
            for subsample in [1, 3] {
                let rgba = samples::scene_rgba(width, height);
                let settings = AvifSettings {
                    quality: 90,
                    subsample,
                    ..AvifSettings::default()
                };
                let file = NativeCodecs.avif(&rgba, width, height, &settings).unwrap();
                let again = NativeCodecs.avif(&rgba, width, height, &settings).unwrap();
                assert_eq!(file, again);
                let difference = distance(&back(&file), &rgba);
                // Of a few pixels half the chroma is next to none.
                let most = if width < 20 { 16.0 } else { 6.0 };
                assert!(difference < most, "{width} x {height}, {subsample}: {difference}");
            }
        }
    }

    #[test]
    fn quality_is_followed() {
        let rgba = samples::scene_rgba(128, 96);
        let sizes: Vec<usize> = [10, 50, 67, 90, 100]
            .into_iter()
            .map(|quality| {
                let settings = AvifSettings {
                    quality,
                    ..AvifSettings::default()
                };
                NativeCodecs.avif(&rgba, 128, 96, &settings).unwrap().len()
            })
            .collect();
        assert!(sizes.is_sorted(), "{sizes:?}");
    }

    #[test]
    fn wrong_sizes_are_errors() {
        let settings = AvifSettings::default();
        assert!(NativeCodecs.avif(&[0; 15], 2, 2, &settings).is_err());
        assert!(NativeCodecs.avif(&[], 0, 0, &settings).is_err());
    }
}
