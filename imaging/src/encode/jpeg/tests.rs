use super::{Picture, encode};
use crate::metadata::Metadata;
use crate::options::Compression;
use crate::pixels::{Channels, Raster};
use crate::{Encoding, Format, ImageError, samples};
use core::cell::Cell;
use proptest::prelude::*;
use ssimulacra2::{ColorPrimaries, LinearRgb, Rgb, TransferCharacteristic};
use std::num::NonZeroUsize;

fn settings(quality: u8, progressive: bool) -> Encoding {
    Encoding {
        format: Format::Jpeg,
        quality,
        quality_given: true,
        progressive,
        compression: None,
        metadata: crate::options::Metadata::None,
        max_bytes: None,
    }
}

fn written(raster: &Raster, quality: u8, progressive: bool) -> Vec<u8> {
    encoded(raster, &settings(quality, progressive), &|| false).unwrap()
}

fn encoded(raster: &Raster, encoding: &Encoding, cancel: &dyn Fn() -> bool) -> Result<Vec<u8>, ImageError> {
    encode(Picture::Raster(raster), encoding, &Metadata::default(), cancel)
}

fn small(quality: u8, progressive: bool) -> Encoding {
    Encoding {
        compression: Some(Compression::Small),
        ..settings(quality, progressive)
    }
}

/// Another decoder's opinion.
fn read(bytes: &[u8]) -> (usize, usize, Vec<u8>) {
    let mut decoder = jpeg_decoder::Decoder::new(bytes);
    let pixels = decoder.decode().unwrap();
    let info = decoder.info().unwrap();
    (usize::from(info.width), usize::from(info.height), pixels)
}

fn decibels(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    let error: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum();
    10.0 * (255.0f64.powi(2) * a.len() as f64 / error.max(1e-9)).log10()
}

#[test]
fn pictures_come_back() {
    for (width, height) in [(160, 120), (161, 121), (1, 1), (1, 70), (70, 1), (17, 8)] {
        let scene = samples::scene(width, height);
        let grey: Vec<u8> = scene.chunks_exact(3).map(|pixel| pixel[1]).collect();
        let raster = Raster::from_data(width, height, Channels::Rgb, scene.clone()).unwrap();
        let grey_raster = Raster::from_data(width, height, Channels::Grey, grey.clone()).unwrap();
        for (quality, least) in [(100, 38.0), (90, 30.0), (80, 25.0)] {
            let (w, h, pixels) = read(&written(&raster, quality, false));
            assert_eq!((w, h), (width as usize, height as usize));
            let score = decibels(&pixels, &scene);
            assert!(score > least, "{width}x{height} at {quality}: {score:.1} dB");
            let score = decibels(&read(&written(&grey_raster, quality, false)).2, &grey);
            assert!(score > least, "grey {width}x{height} at {quality}: {score:.1} dB");
        }
    }
}

#[test]
fn a_progressive_file_has_the_same_pixels() {
    let raster = Raster::from_data(301, 203, Channels::Rgb, samples::scene(301, 203)).unwrap();
    for quality in [30, 75, 92] {
        let (baseline, progressive) = (written(&raster, quality, false), written(&raster, quality, true));
        assert_eq!(read(&baseline), read(&progressive), "{quality}");
        // Ten scans have tables of some thirty bytes each.
        assert!(
            progressive.len() < baseline.len() + 400,
            "{} of {}",
            progressive.len(),
            baseline.len()
        );
    }
}

#[test]
fn quality_is_paid_for_in_bytes() {
    let raster = Raster::from_data(200, 150, Channels::Rgb, samples::scene(200, 150)).unwrap();
    let sizes: Vec<usize> = (1..=100)
        .step_by(9)
        .map(|quality| written(&raster, quality, false).len())
        .collect();
    assert!(sizes.is_sorted(), "{sizes:?}");
}

/// SSIMULACRA2 of pixels of one or three channels.
fn score(a: &[u8], b: &[u8], (width, height): (usize, usize)) -> f64 {
    let linear = |pixels: &[u8]| {
        let channels = pixels.len() / (width * height);
        let color = |pixel: &[u8]| core::array::from_fn(|at| f32::from(pixel[at % channels]) / 255.0);
        let pixels: Vec<[f32; 3]> = pixels.chunks_exact(channels).map(color).collect();
        let side = |side: usize| NonZeroUsize::new(side).unwrap().into();
        let (transfer, primaries) = (TransferCharacteristic::SRGB, ColorPrimaries::BT709);
        LinearRgb::try_from(Rgb::new(pixels, side(width), side(height), transfer, primaries).unwrap()).unwrap()
    };
    ssimulacra2::compute_frame_ssimulacra2(linear(a), linear(b)).unwrap()
}

#[test]
fn small_is_smaller_and_looks_the_same() {
    let mut all_saved = Vec::new();
    let (width, height) = (400, 300);
    let scene = samples::scene(width, height);
    let grey: Vec<u8> = scene.chunks_exact(3).map(|pixel| pixel[1]).collect();
    for (channels, pixels) in [(Channels::Rgb, scene), (Channels::Grey, grey)] {
        let raster = Raster::from_data(width, height, channels, pixels.clone()).unwrap();
        let judged = |bytes: &[u8]| score(&pixels, &read(bytes).2, (width as usize, height as usize));
        for (quality, progressive) in [(30, true), (50, true), (80, true), (80, false), (92, true), (100, true)] {
            let plain = written(&raster, quality, progressive);
            let small = encoded(&raster, &small(quality, progressive), &|| false).unwrap();
            let saved = 1.0 - small.len() as f64 / plain.len() as f64;
            let lost = judged(&plain) - judged(&small);
            assert!(
                saved > 0.0 && lost < 0.5,
                "{channels:?} at {quality}: {saved:.3} saved, {lost:.2} lost"
            );
            all_saved.push(saved);
        }
    }
    let mean = all_saved.iter().sum::<f64>() / all_saved.len() as f64;
    assert!(mean > 0.02, "{all_saved:.3?}");
}

#[test]
fn small_has_the_same_pixels_in_one_scan_and_in_many() {
    let raster = Raster::from_data(301, 203, Channels::Rgb, samples::scene(301, 203)).unwrap();
    for quality in [10, 75, 92, 100] {
        let [baseline, progressive] =
            [false, true].map(|progressive| encoded(&raster, &small(quality, progressive), &|| false).unwrap());
        assert_eq!(read(&baseline), read(&progressive), "{quality}");
        assert!(progressive.len() <= written(&raster, quality, true).len(), "{quality}");
    }
}

#[test]
fn it_stops_wherever_it_is_told_to() {
    let raster = Raster::from_data(160, 120, Channels::Rgb, samples::scene(160, 120)).unwrap();
    for (encoding, rows) in [(settings(80, true), 8), (small(80, true), 16), (small(92, false), 30)] {
        let asked = Cell::new(0);
        let after = |most: u32| {
            asked.set(0);
            encoded(&raster, &encoding, &|| {
                asked.set(asked.get() + 1);
                asked.get() > most
            })
        };
        assert!(after(u32::MAX).is_ok());
        let times = asked.get();
        assert!(times >= rows, "asked {times} times");
        for most in 0..times {
            assert!(
                matches!(after(most), Err(ImageError::Cancelled)),
                "after {most} of {times}"
            );
        }
    }
}

#[test]
fn chroma_is_the_mean_of_its_pixels() {
    // Columns of red and blue: the mean of the two, not one of them, is what is left of the colour.
    let pixels = [[255u8, 0, 0], [0, 0, 255]].concat().repeat(32 * 16);
    let raster = Raster::from_data(64, 16, Channels::Rgb, pixels).unwrap();
    let (_, _, decoded) = read(&written(&raster, 89, false));
    let mean = |channel: usize| {
        let values = decoded.iter().skip(channel).step_by(3);
        values.map(|value| f64::from(*value)).sum::<f64>() / (64.0 * 16.0)
    };
    assert!(
        (mean(0) - 127.5).abs() < 12.0 && (mean(2) - 127.5).abs() < 12.0,
        "{} {}",
        mean(0),
        mean(2)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn baseline_and_progressive_agree_on_noise(
        width in 50u32..70, height in 50u32..70, kind in 0usize..3, quality in 1u8..=100, seed in any::<u32>(), spread in 1u32..=256,
    ) {
        let channels = [Channels::Grey, Channels::Rgb, Channels::Rgba][kind];
        let mut state = seed | 1;
        let data: Vec<u8> = (0..(width * height) as usize * channels.count())
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 16).wrapping_rem(spread) as u8
            })
            .collect();
        let raster = Raster::from_data(width, height, channels, data).unwrap();
        let (baseline, progressive) = (written(&raster, quality, false), written(&raster, quality, true));
        prop_assert_eq!(read(&baseline), read(&progressive));
    }
}
