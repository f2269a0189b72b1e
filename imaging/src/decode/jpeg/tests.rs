use super::*;
use crate::decode::decode_whole;
use crate::pixels::Raster;
use crate::samples::{JpegColor, JpegSample};
use crate::{Limits, Resolved, plan, probe};
use proptest::prelude::*;

/// Decodes at a scale, whatever a plan would choose.
fn at_scale(bytes: &[u8], scale: u8, full_chroma: bool) -> Result<Raster, ImageError> {
    let source = bytes.to_vec();
    let info = probe(&source, &Limits::EDGE)?;
    let mut plan = plan(&info, &Resolved::parse("format=png").unwrap(), &Limits::EDGE)?;
    plan.decode_scale = scale;
    plan.full_chroma = full_chroma;
    decode_whole(&Job {
        source: &source,
        plan: &plan,
        limits: &Limits::EDGE,
        codecs: &crate::NativeCodecs,
        cancel: &|| false,
        observe: &|_| (),
        overlays: &crate::draw::Overlays::default(),
    })
}

/// The same by an independent decoder.
fn reference(bytes: &[u8]) -> Vec<u8> {
    jpeg_decoder::Decoder::new(bytes).decode().unwrap()
}

fn psnr(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    let sum: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum();
    10.0 * (65025.0 * a.len() as f64 / sum.max(1e-9)).log10()
}

/// Means of squares of pixels, what a scale of the transform comes close to.
fn boxed(raster: &Raster, scale: usize) -> Vec<u8> {
    let (width, height, count) = (raster.width as usize, raster.height as usize, raster.channels.count());
    let mut means = Vec::new();
    for y in 0..height.div_ceil(scale) {
        for x in 0..width.div_ceil(scale) {
            for channel in 0..count {
                let (mut sum, mut n) = (0, 0);
                for row in y * scale..((y + 1) * scale).min(height) {
                    for column in x * scale..((x + 1) * scale).min(width) {
                        sum += usize::from(raster.data[(row * width + column) * count + channel]);
                        n += 1;
                    }
                }
                means.push((sum / n) as u8);
            }
        }
    }
    means
}

fn kinds() -> Vec<(String, JpegSample)> {
    let mut kinds = Vec::new();
    for color in [
        JpegColor::Grey,
        JpegColor::Color(1, 1),
        JpegColor::Color(2, 1),
        JpegColor::Color(1, 2),
        JpegColor::Color(2, 2),
        JpegColor::Color(4, 1),
        JpegColor::Color(4, 2),
    ] {
        for progressive_scans in [0, 2, 5] {
            for restart_interval in [0, 1, 7] {
                let sample = JpegSample {
                    color,
                    progressive_scans,
                    restart_interval,
                    ..JpegSample::default()
                };
                kinds.push((
                    format!("{color:?}, {progressive_scans} scans, restarts {restart_interval}"),
                    sample,
                ));
            }
        }
    }
    kinds
}

#[test]
fn full_size_is_what_another_decoder_reads() {
    for (name, sample) in kinds() {
        for (width, height) in [(64, 64), (67, 45), (16, 129), (1, 1), (9, 1)] {
            let bytes = sample.encode(width, height);
            let ours = at_scale(&bytes, 1, true).unwrap_or_else(|error| panic!("{name}: {error}"));
            let theirs = reference(&bytes);
            let exact = matches!(sample.color, JpegColor::Grey | JpegColor::Color(1, 1));
            // Where chroma is reduced, the two fill the gaps between its samples in different ways.
            let close = if exact { 50.0 } else { 27.0 };
            let found = psnr(&ours.data, &theirs);
            assert!(found > close, "{name}, {width}x{height}: {found} dB");
        }
    }
}

#[test]
fn each_scale_is_close_to_the_mean_of_the_pixels() {
    for (name, sample) in kinds() {
        let bytes = sample.encode(200, 136);
        let full = at_scale(&bytes, 1, true).unwrap();
        for scale in [2, 4, 8] {
            for full_chroma in [false, true] {
                let small = at_scale(&bytes, scale, full_chroma).unwrap();
                assert_eq!(
                    (small.width, small.height),
                    (200u32.div_ceil(scale.into()), 136u32.div_ceil(scale.into()))
                );
                let found = psnr(&small.data, &boxed(&full, scale.into()));
                assert!(found > 30.0, "{name}, 1/{scale}, {full_chroma}: {found} dB");
            }
        }
    }
}

#[test]
fn inks_become_their_light() {
    for color in [JpegColor::Cmyk, JpegColor::Ycck] {
        let white = JpegSample {
            color,
            quality: 100,
            ..JpegSample::default()
        }
        .encode_pixels(&[255; 3 * 256], 16, 16);
        let raster = at_scale(&white, 1, true).unwrap();
        assert!(
            raster.data.iter().all(|value| *value > 250),
            "{color:?}: {:?}",
            &raster.data[..3]
        );
        let red: Vec<u8> = [200, 30, 40].repeat(256);
        let red = JpegSample {
            color,
            quality: 100,
            ..JpegSample::default()
        }
        .encode_pixels(&red, 16, 16);
        let raster = at_scale(&red, 1, true).unwrap();
        for (value, wanted) in raster.data.iter().zip([200, 30, 40].iter().cycle()) {
            assert!(value.abs_diff(*wanted) < 6, "{color:?}: {value} for {wanted}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn damaged_bytes_never_panic(
        kind in 0usize..63, flips in proptest::collection::vec((0.0f64..1.0, any::<u8>()), 1..12), scale in prop_oneof![Just(1u8), Just(2), Just(4), Just(8)], cut in 0.0f64..2.0,
    ) {
        let mut bytes = kinds()[kind].1.encode(83, 61);
        for (place, value) in flips {
            let place = (place * bytes.len() as f64) as usize;
            bytes[place] = value;
        }
        bytes.truncate((cut * bytes.len() as f64) as usize);
        match at_scale(&bytes, scale, true) {
            Ok(raster) => prop_assert!(!raster.data.is_empty()),
            Err(ImageError::Internal(what)) => prop_assert!(false, "{what}"),
            Err(_) => {}
        }
    }
}

#[test]
fn a_scan_cut_short_and_closed_is_damage() {
    for (name, sample) in kinds() {
        let mut bytes = sample.encode(160, 120);
        let keep = bytes.len() * 2 / 3;
        bytes.truncate(keep);
        while bytes.last() == Some(&0xff) {
            bytes.pop();
        }
        bytes.extend([0xff, 0xd9]);
        let result = at_scale(&bytes, 1, true);
        assert!(
            matches!(result, Err(ImageError::Corrupt { .. })) || sample.progressive_scans > 0,
            "{name}"
        );
    }
}
