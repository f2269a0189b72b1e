use crate::pixels::{Channels, Raster};
use crate::samples::{AvifSample, AvifSampling, scene_rgba};
use crate::{Codec, Codecs, ImageError, Limits, NativeCodecs, Resolved, plan, probe};
use core::cell::Cell;
use proptest::prelude::*;
use std::sync::LazyLock;

fn decoded_by(file: &[u8], codecs: &dyn Codecs, cancel: &dyn Fn() -> bool) -> Result<Raster, ImageError> {
    let source = file.to_vec();
    let limits = Limits::EDGE;
    let info = probe(&source, &limits)?;
    let plan = plan(&info, &Resolved::parse("format=png").unwrap(), &limits)?;
    assert!(plan.codecs().eq([Codec::Av1]));
    let job = crate::decode::Job {
        source: &source,
        plan: &plan,
        limits: &limits,
        codecs,
        cancel,
        observe: &|_| (),
        overlays: &crate::draw::Overlays::default(),
    };
    crate::decode::decode_whole(&job)
}

fn decoded(file: &[u8]) -> Result<Raster, ImageError> {
    decoded_by(file, &NativeCodecs, &|| false)
}

/// Mean difference of a channel from the scene.
fn distance(raster: &Raster, expected: &[u8]) -> f64 {
    let rgba = raster.clone().with_alpha().unwrap().data;
    assert_eq!(rgba.len(), expected.len());
    let sum: u64 = rgba.iter().zip(expected).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / rgba.len() as f64
}

fn opaque(mut rgba: Vec<u8>) -> Vec<u8> {
    rgba.iter_mut().skip(3).step_by(4).for_each(|alpha| *alpha = 255);
    rgba
}

#[test]
fn every_coding_comes_out_as_the_scene() {
    let (width, height) = (67, 45);
    let scene = opaque(scene_rgba(width, height));
    for sampling in [AvifSampling::Quarter, AvifSampling::Half, AvifSampling::Full] {
        for depth in [8, 10, 12] {
            for (full_range, matrix) in [(true, 6), (false, 1), (false, 9), (true, 0)] {
                if matrix == 0 && sampling != AvifSampling::Full {
                    continue;
                }
                let sample = AvifSample {
                    sampling,
                    depth,
                    full_range,
                    matrix,
                    ..AvifSample::default()
                };
                let raster = decoded(&sample.encode(width, height)).unwrap();
                assert_eq!(raster.channels, Channels::Rgb);
                // Chroma of fewer samples is not the scene's, whose edges are sharp.
                let most = if sampling == AvifSampling::Full { 1.5 } else { 6.0 };
                let found = distance(&raster, &scene);
                assert!(found < most, "{sample:?}: {found}");
            }
        }
    }
}

#[test]
fn grey_is_luminance() {
    let sample = AvifSample {
        sampling: AvifSampling::Grey,
        ..AvifSample::default()
    };
    let raster = decoded(&sample.encode(40, 30)).unwrap();
    assert_eq!(raster.channels, Channels::Grey);
    let luma: Vec<u8> = scene_rgba(40, 30)
        .chunks_exact(4)
        .flat_map(|pixel| {
            let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(f32::from);
            let grey = (0.299 * r + 0.587 * g + 0.114 * b + 0.5) as u8;
            [grey, grey, grey, 255]
        })
        .collect();
    assert!(distance(&raster, &luma) < 1.5);
}

#[test]
fn alpha_is_a_picture_of_its_own() {
    let scene = scene_rgba(50, 40);
    for (premultiplied, sampling) in [
        (false, AvifSampling::Full),
        (true, AvifSampling::Full),
        (false, AvifSampling::Grey),
    ] {
        let sample = AvifSample {
            alpha: true,
            premultiplied,
            sampling,
            ..AvifSample::default()
        };
        let raster = decoded(&sample.encode(50, 40)).unwrap();
        assert_eq!(raster.channels, Channels::Rgba);
        let differences = raster.data.iter().zip(&scene).skip(3).step_by(4);
        assert!(differences.map(|(a, b)| a.abs_diff(*b)).max() < Some(12), "{sample:?}");
        if sampling == AvifSampling::Full {
            // Where alpha is small, colours that were multiplied by it are coarse.
            let shown = raster
                .data
                .chunks_exact(4)
                .zip(scene.chunks_exact(4))
                .filter(|(pixel, _)| pixel[3] > 64);
            let worst = shown
                .flat_map(|(a, b)| (0..3).map(|index| a[index].abs_diff(b[index])))
                .max();
            assert!(
                worst < Some(if premultiplied { 40 } else { 24 }),
                "{sample:?}: {worst:?}"
            );
        }
    }
}

#[test]
fn grids_are_put_together_and_cut() {
    let (width, height) = (101, 67);
    let scene = scene_rgba(width, height);
    for alpha in [false, true] {
        let sample = AvifSample {
            grid: (3, 2),
            alpha,
            ..AvifSample::default()
        };
        let raster = decoded(&sample.encode(width, height)).unwrap();
        assert_eq!((raster.width, raster.height), (width, height));
        let expected = if alpha { scene.clone() } else { opaque(scene.clone()) };
        let found = distance(&raster, &expected);
        assert!(found < 2.5, "{found}");
    }
    let shown = AvifSample {
        grid: (3, 2),
        shown: Some((20, 10, 60, 40)),
        ..AvifSample::default()
    };
    let raster = decoded(&shown.encode(width, height)).unwrap();
    assert_eq!((raster.width, raster.height), (60, 40));
    let cut: Vec<u8> = opaque(scene)
        .chunks_exact(width as usize * 4)
        .skip(10)
        .take(40)
        .flat_map(|row| row[20 * 4..80 * 4].to_vec())
        .collect();
    assert!(distance(&raster, &cut) < 2.5);
}

#[test]
fn the_container_says_how_it_lies() {
    let orientation = |turned, mirrored| {
        let sample = AvifSample {
            turned,
            mirrored,
            ..AvifSample::default()
        };
        let info = probe(&sample.encode(24, 16), &Limits::EDGE).unwrap();
        assert_eq!((info.width, info.height), (24, 16));
        info.orientation.exif()
    };
    // As libavif writes EXIF's orientations.
    for (turned, mirrored, exif) in [
        (0, None, 1),
        (0, Some(1), 2),
        (2, None, 3),
        (0, Some(0), 4),
        (1, Some(0), 5),
        (3, None, 6),
        (1, Some(1), 7),
        (1, None, 8),
    ] {
        assert_eq!(orientation(turned, mirrored), exif, "{turned} {mirrored:?}");
    }
}

#[test]
fn colours_of_other_spaces_are_converted() {
    let pixel = |colors| {
        let sample = AvifSample {
            colors,
            ..AvifSample::default()
        };
        let resolved = Resolved::parse("format=png,width=8").unwrap();
        crate::process(&sample.encode(40, 30), &resolved, &Limits::EDGE, &NativeCodecs, &|| {
            false
        })
        .unwrap()
        .bytes
    };
    let srgb = pixel((1, 13));
    assert_eq!(pixel((2, 2)), srgb);
    for colors in [(12, 13), (9, 14), (1, 8), (9, 16), (9, 18)] {
        assert_ne!(pixel(colors), srgb, "{colors:?}");
    }
}

#[test]
fn memory_is_planned_from_the_header() {
    let info = |depth, sampling, alpha| {
        let sample = AvifSample {
            depth,
            sampling,
            alpha,
            ..AvifSample::default()
        };
        probe(&sample.encode(64, 48), &Limits::EDGE).unwrap()
    };
    let small = info(8, AvifSampling::Quarter, false);
    assert_eq!(
        (small.bit_depth, small.samples_per_pixel_quarters, small.alpha),
        (8, 6, false)
    );
    let large = info(12, AvifSampling::Full, true);
    assert_eq!(
        (large.bit_depth, large.samples_per_pixel_quarters, large.alpha),
        (12, 12, true)
    );
    let peak = |info: &crate::ImageInfo| {
        let info = crate::ImageInfo {
            width: 3000,
            height: 2000,
            ..info.clone()
        };
        let limits = Limits::HEAVY;
        plan(&info, &Resolved::parse("format=jpeg,width=64").unwrap(), &limits)
            .unwrap()
            .memory
            .peak
    };
    assert!(peak(&large) > 2 * peak(&small));
}

#[test]
fn what_the_data_say_has_to_be_what_the_header_says() {
    let small = AvifSample::default().encode(40, 30);
    // The size of the item, and of the whole, by the header alone.
    let claim = |width: u32, height: u32| {
        let mut file = small.clone();
        let ispe = [40u32.to_be_bytes(), 30u32.to_be_bytes()].concat();
        let starts: Vec<usize> = file
            .windows(8)
            .enumerate()
            .filter(|(_, bytes)| *bytes == ispe)
            .map(|(at, _)| at)
            .collect();
        for at in starts {
            file[at..at + 8].copy_from_slice(&[width.to_be_bytes(), height.to_be_bytes()].concat());
        }
        decoded(&file)
    };
    assert!(claim(40, 30).is_ok());
    for (width, height) in [(39, 30), (30, 40), (41, 30), (4, 3), (80, 60)] {
        assert_eq!(
            claim(width, height).unwrap_err().code(),
            "corrupt-image",
            "{width} x {height}"
        );
    }
    assert_eq!(claim(0, 30).unwrap_err().code(), "corrupt-image");
    // The data are of more samples than the header's coding.
    let mut file = small.clone();
    let coding = file.windows(4).position(|bytes| bytes == b"av1C").unwrap() + 6;
    file[coding] |= 0x0c;
    assert_eq!(decoded(&file).unwrap_err().code(), "corrupt-image");
}

#[test]
fn without_a_decoder_it_is_said() {
    let error = decoded_by(&AvifSample::default().encode(16, 16), &crate::NoCodecs, &|| false).unwrap_err();
    assert_eq!(error.code(), "internal");
}

#[test]
fn it_stops_between_parts() {
    let sample = AvifSample {
        grid: (3, 2),
        ..AvifSample::default()
    };
    let asked = Cell::new(0);
    let cancel = || {
        asked.set(asked.get() + 1);
        asked.get() > 3
    };
    let result = decoded_by(&sample.encode(60, 40), &NativeCodecs, &cancel);
    assert_eq!(result.unwrap_err(), ImageError::Cancelled);
}

#[test]
fn a_file_that_ends_early_is_damaged() {
    let file = AvifSample::default().encode(40, 30);
    for end in [file.len() - 1, file.len() - 20, file.len() / 2, 100, 40] {
        let code = decoded(&file[..end]).unwrap_err().code();
        assert!(matches!(code, "corrupt-image" | "not-an-image"), "{end}: {code}");
    }
}

static SEEDS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let sample = |sampling, depth, alpha, grid| {
        let sample = AvifSample {
            sampling,
            depth,
            alpha,
            grid,
            shown: Some((1, 2, 20, 10)),
            exif: b"MM\0*\0\0\0\x08\0\0\0\0\0\0".to_vec(),
            ..AvifSample::default()
        };
        sample.encode(33, 21)
    };
    vec![
        sample(AvifSampling::Quarter, 8, true, (1, 1)),
        sample(AvifSampling::Full, 10, false, (2, 2)),
        sample(AvifSampling::Half, 12, true, (1, 1)),
        sample(AvifSampling::Grey, 8, false, (3, 1)),
    ]
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn damaged_files_are_errors_or_pictures(
        seed in 0usize..4,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut file = SEEDS[seed].clone();
        for (at, value) in changes {
            let at = at.index(file.len());
            file[at] = value;
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()));
        }
        if let Ok(raster) = decoded(&file) {
            let bytes = u64::from(raster.width) * u64::from(raster.height) * raster.channels.count() as u64;
            prop_assert_eq!(raster.data.len() as u64, bytes);
        }
    }
}
