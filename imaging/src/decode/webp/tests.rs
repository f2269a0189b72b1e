use super::vp8::transform::overflow;
use super::*;
use crate::codecs::{Codecs, decode_yuv};
use crate::decode::decode_whole;
use crate::pixels::Raster;
use crate::source::Forgetful;
use crate::{Limits, NativeCodecs, Resolved, WebpSettings, plan, probe, samples};
use core::cell::Cell;
use proptest::prelude::*;

/// Pixels of a kind that exercises some of the modes more than others.
fn picture(kind: u8, width: u32, height: u32, alpha: bool) -> Vec<u8> {
    let mut rgba = samples::scene_rgba(width, height);
    for (index, pixel) in (0u32..).zip(rgba.as_chunks_mut::<4>().0) {
        let (x, y) = (index % width, index / width);
        let noise = index
            .wrapping_mul(0x9e37_79b9)
            .rotate_left(11)
            .wrapping_mul(0x85eb_ca6b)
            >> 16;
        let [r, g, b, a] = pixel;
        match kind {
            0 => {}
            1 => (*r, *g, *b) = (noise as u8, (noise >> 3) as u8, (noise >> 5) as u8),
            2 => (*r, *g, *b) = (200, 40, 90),
            3 => (*r, *g, *b) = ((x * 3) as u8, (y * 5) as u8, (x + y) as u8),
            // Lines in every direction, at full contrast.
            4 => {
                let is_line = (x + 2 * y) % 9 < 2 || (3 * x).wrapping_sub(y).is_multiple_of(11);
                [*r, *g, *b] = [if is_line { 255 } else { 0 }; 3];
            }
            _ => (*r, *g, *b) = (128 ^ (noise & 3) as u8, 128, (x / 16 * 40) as u8),
        }
        *a = match (alpha, kind) {
            (false, _) => 255,
            (true, 1) => (noise >> 2) as u8,
            (true, 2) => 77,
            _ => (x * 7 + y * 3) as u8,
        };
    }
    rgba
}

fn encode(kind: u8, (width, height): (u32, u32), alpha: bool, settings: &WebpSettings) -> Vec<u8> {
    NativeCodecs
        .webp(&picture(kind, width, height, alpha), width, height, settings)
        .unwrap()
}

fn with_job<T>(
    source: &dyn Source,
    cancel: &dyn Fn() -> bool,
    run: impl FnOnce(&Job<'_>) -> Result<T, ImageError>,
) -> Result<T, ImageError> {
    let limits = Limits {
        pixels: 4_000_000,
        ..Limits::EDGE
    };
    let plan = plan(
        &probe(source, &limits)?,
        &Resolved::parse("format=png").unwrap(),
        &limits,
    )?;
    run(&Job {
        source,
        plan: &plan,
        limits: &limits,
        cancel,
        observe: &|_| (),
        codecs: &crate::NoCodecs,
        overlays: &crate::draw::Overlays::default(),
    })
}

/// The planes, and nothing of the alpha.
fn yuv(source: &dyn Source) -> Result<[Vec<u8>; 3], ImageError> {
    with_job(source, &|| false, |job| {
        let info = &job.plan.info;
        match riff::content(source)? {
            Content::Lossy { frame, .. } => Ok(Yuv::decode(job, frame, (info.width, info.height))?.planes),
            Content::Other => panic!("not lossy"),
        }
    })
}

fn pixels(bytes: &[u8]) -> Result<Raster, ImageError> {
    with_job(&bytes, &|| false, decode_whole)
}

fn by_library(bytes: &[u8]) -> Vec<u8> {
    let mut decoder = image_webp::WebPDecoder::new(std::io::Cursor::new(bytes)).unwrap();
    let mut pixels = vec![0; decoder.output_buffer_size().unwrap()];
    decoder.read_image(&mut pixels).unwrap();
    pixels
}

fn settings() -> impl Strategy<Value = WebpSettings> {
    let numbers = (
        0u8..=100,
        0i32..=6,
        0i32..=100,
        0i32..=7,
        0i32..=1,
        0i32..=3,
        1i32..=4,
        0i32..=100,
    );
    numbers.prop_map(
        |(quality, method, filter, sharpness, kind, partitions, segments, shaping)| WebpSettings {
            quality: quality.into(),
            method,
            filter_strength: filter,
            filter_sharpness: sharpness,
            filter_type: kind,
            partitions,
            segments,
            sns_strength: shaping,
            ..WebpSettings::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn planes_are_libwebp_s_byte_for_byte(kind in 0u8..6, size in (1u32..70, 1u32..70), settings in settings()) {
        let bytes = encode(kind, size, false, &settings);
        let theirs = decode_yuv(&bytes).unwrap();
        prop_assert!(yuv(&bytes).unwrap() == theirs, "{} of {:?}, {:?}", kind, size, settings);
    }

    #[test]
    fn pixels_with_alpha_are_the_library_s(
        kind in 0u8..6, size in (1u32..50, 1u32..50), compression in 0i32..=1, filtering in 0i32..=2, quality in 0i32..=100,
    ) {
        let settings = WebpSettings { alpha_compression: compression, alpha_filtering: filtering, alpha_quality: quality, ..WebpSettings::default() };
        let bytes = encode(kind, size, true, &settings);
        let raster = pixels(&bytes).unwrap();
        prop_assert_eq!(raster.data, by_library(&bytes));
    }

    #[test]
    fn damaged_frames_are_answered_as_libwebp_answers(
        kind in 0u8..6, settings in settings(), flips in proptest::collection::vec((0.0f64..1.0, any::<u8>()), 1..6), cut in 0.5f64..1.5,
    ) {
        let mut bytes = encode(kind, (67, 45), false, &settings);
        for (place, value) in flips {
            // Behind the tag and the size, which the plan is made of.
            let place = 30 + (place * (bytes.len() - 30) as f64) as usize;
            bytes[place] = value;
        }
        bytes.truncate(((bytes.len() as f64 * cut) as usize).max(40));
        let length = (bytes.len() as u32 - 8).to_le_bytes();
        bytes[4..8].copy_from_slice(&length);
        let _of_other_cases = overflow::take();
        match (yuv(&bytes), decode_yuv(&bytes)) {
            (Ok(_), Some(_)) if overflow::take() => {}
            (Ok(ours), Some(theirs)) => prop_assert!(ours == theirs),
            (Err(ImageError::Corrupt { offset, .. }), None) => prop_assert!(offset <= bytes.len() as u64),
            (ours, theirs) => prop_assert!(false, "{:?} and {}", ours.map(|_| ()), theirs.is_some()),
        }
    }
}

#[test]
fn larger_pictures_go_through_several_windows() {
    for partitions in [0, 3] {
        let settings = WebpSettings {
            quality: 98.0,
            partitions,
            ..WebpSettings::default()
        };
        let bytes = encode(1, (700, 500), false, &settings);
        assert!(bytes.len() > 300_000);
        let source = Forgetful::new(bytes.clone());
        assert!(yuv(&source).unwrap() == decode_yuv(&bytes).unwrap());
        assert_eq!(source.forgotten(), bytes.len() as u64, "what was read is released");
    }
}

#[test]
fn cancelling_is_asked_for_every_row_of_macroblocks() {
    let bytes = encode(0, (40, 170), false, &WebpSettings::default());
    let asked = Cell::new(0);
    let cancel = || {
        asked.set(asked.get() + 1);
        asked.get() > 4
    };
    let result = with_job(&bytes, &cancel, decode_whole);
    assert_eq!(result.map(|_| ()), Err(ImageError::Cancelled));
    assert_eq!(asked.get(), 5);
}

#[test]
fn opaque_pictures_have_the_colours_that_the_library_finds() {
    let bytes = encode(
        0,
        (61, 47),
        false,
        &WebpSettings {
            quality: 95.0,
            ..WebpSettings::default()
        },
    );
    let (ours, theirs) = (pixels(&bytes).unwrap(), by_library(&bytes));
    // The two make chroma finer in different ways.
    let apart = ours
        .data
        .iter()
        .zip(&theirs)
        .map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2));
    assert!(apart.sum::<f64>() / (theirs.len() as f64) < 8.0);
}

#[test]
fn a_jpeg_made_of_the_planes_has_the_colours_of_the_pixels() {
    for quality in [80, 95] {
        let settings = WebpSettings {
            quality: 95.0,
            ..WebpSettings::default()
        };
        let bytes = encode(0, (96, 64), false, &settings);
        let resolved = Resolved::parse(&format!("format=jpeg,quality={quality}")).unwrap();
        let output = crate::process(&bytes, &resolved, &Limits::EDGE, &NativeCodecs, &|| false).unwrap();
        let ours = jpeg_decoder::Decoder::new(&output.bytes[..]).decode().unwrap();
        let mean = |pixels: &[u8]| pixels.iter().map(|value| f64::from(*value)).sum::<f64>() / pixels.len() as f64;
        let theirs = by_library(&bytes);
        let apart = ours.iter().zip(&theirs).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2));
        // Of limited range, the values would be 30 apart at either end.
        assert!(apart.sum::<f64>() / (theirs.len() as f64) < 60.0, "quality {quality}");
        assert!((mean(&ours) - mean(&theirs)).abs() < 1.0, "quality {quality}");
    }
}

#[test]
fn what_is_made_half_as_large_looks_alike_without_the_filter() {
    let settings = WebpSettings {
        quality: 60.0,
        filter_strength: 60,
        ..WebpSettings::default()
    };
    let bytes = encode(0, (240, 160), false, &settings);
    let of_width = |source: &Vec<u8>, width: u32| {
        let resolved = Resolved::parse(&format!("format=png,width={width}")).unwrap();
        let plan = plan(&probe(source, &Limits::EDGE).unwrap(), &resolved, &Limits::EDGE).unwrap();
        let png = crate::process(source, &resolved, &Limits::EDGE, &NativeCodecs, &|| false).unwrap();
        (is_filtered(&plan), pixels_of_png(&png.bytes))
    };
    // What was encoded, and the same picture filtered as a whole.
    let whole = |data: &[u8]| samples::png_of(240, 160, png::ColorType::Rgb, png::BitDepth::Eight, data);
    let original: Vec<u8> = picture(0, 240, 160, false)
        .as_chunks::<4>()
        .0
        .iter()
        .flat_map(|[r, g, b, _]| [*r, *g, *b])
        .collect();
    let [original, smoothed] = [original, pixels(&bytes).unwrap().data].map(|data| whole(&data));
    let [(filtered, ours), (_, smoothed), (_, wanted)] =
        [bytes.clone(), smoothed, original].map(|file| of_width(&file, 120));
    assert!(!filtered && of_width(&bytes, 121).0);
    let error = |pixels: &[u8]| -> u64 {
        let apart = pixels
            .iter()
            .zip(&wanted)
            .map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2));
        apart.sum()
    };
    assert_eq!((ours.len(), smoothed.len()), (wanted.len(), wanted.len()));
    assert!(
        error(&ours) < error(&smoothed) * 13 / 10,
        "{} and {}",
        error(&ours),
        error(&smoothed)
    );
}

fn pixels_of_png(bytes: &[u8]) -> Vec<u8> {
    let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    pixels
}
