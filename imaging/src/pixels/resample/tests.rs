use super::*;
use proptest::prelude::*;

/// The same in double precision, without any short cut.
fn reference(source: &Raster, region: Region, (width, height): (u32, u32)) -> Vec<f64> {
    let channels = source.channels.count();
    let across = Taps::new(source.width, region.left, region.width, width).unwrap();
    let down = Taps::new(source.height, region.top, region.height, height).unwrap();
    let mut result = Vec::new();
    for y in &down.windows {
        for x in &across.windows {
            for channel in 0..channels {
                let mut sum = 0.0;
                for (row, weight_y) in (y.start..).zip(down.of(*y)) {
                    for (column, weight_x) in (x.start..).zip(across.of(*x)) {
                        let sample = source.data[(row * source.width as usize + column) * channels + channel];
                        sum += weight_x * weight_y * f64::from(sample);
                    }
                }
                result.push(sum.clamp(0.0, 255.0));
            }
        }
    }
    result
}

fn noise(width: u32, height: u32, channels: Channels) -> Raster {
    let mut raster = Raster::zeroed(width, height, channels).unwrap();
    let mut state = 12_345u32;
    for byte in &mut raster.data {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (state >> 24) as u8;
    }
    raster
}

proptest! {
    #[test]
    fn every_sample_is_what_the_kernel_gives(
        size in (1u32..90, 1u32..90), to in (1u32..60, 1u32..60), corner in (0.0f64..1.0, 0.0f64..1.0), part in (0.01f64..1.0, 0.01f64..1.0), color: bool,
    ) {
        let (width, height) = (f64::from(size.0), f64::from(size.1));
        let (left, top) = (corner.0 * width, corner.1 * height);
        let region = Region { left, top, width: (width - left) * part.0, height: (height - top) * part.1 };
        let source = noise(size.0, size.1, if color { Channels::Rgb } else { Channels::Grey });
        let expected = reference(&source, region, to);
        let result = resample(&source, region, to).unwrap();
        for (at, (got, expected)) in result.data.iter().zip(&expected).enumerate() {
            prop_assert!((f64::from(*got) - expected).abs() < 0.55, "{} instead of {} at {}", got, expected, at);
        }
    }
}

proptest! {
    #[test]
    fn any_region_of_a_picture_is_resampled(
        size in (1u32..60, 1u32..60), to in (1u32..20, 1u32..20), corner in (0.0f64..1.0, 0.0f64..1.0), part in (0.01f64..1.1, 0.01f64..1.1),
    ) {
        let (width, height) = (f64::from(size.0), f64::from(size.1));
        let (left, top) = (corner.0 * width, corner.1 * height);
        let region = Region { left, top, width: (width - left) * part.0, height: (height - top) * part.1 };
        let white = Raster { data: vec![255; (size.0 * size.1) as usize], ..Raster::zeroed(size.0, size.1, Channels::Grey).unwrap() };
        let result = resample(&white, region, to).unwrap();
        prop_assert_eq!((result.width, result.height), to);
        prop_assert!(result.data.iter().all(|value| *value >= 254));
    }
}

#[test]
fn transparent_pixels_lend_no_colour() {
    // Left half opaque red, right half transparent green: no green may bleed into the edge.
    let mut source = Raster::zeroed(64, 16, Channels::Rgba).unwrap();
    for (index, pixel) in source.data.chunks_exact_mut(4).enumerate() {
        pixel.copy_from_slice(if index % 64 < 32 {
            &[255, 0, 0, 255]
        } else {
            &[0, 255, 0, 0]
        });
    }
    let small = resample(
        &source,
        Region {
            left: 0.0,
            top: 0.0,
            width: 64.0,
            height: 16.0,
        },
        (15, 4),
    )
    .unwrap();
    assert!(small.data.chunks_exact(4).any(|pixel| pixel[3] > 0 && pixel[3] < 255));
    assert!(small.data.chunks_exact(4).all(|pixel| pixel[1] == 0));
}

#[test]
fn a_cut_at_whole_pixels_changes_none() {
    let mut source = Raster::zeroed(10, 10, Channels::Rgba).unwrap();
    for (index, byte) in source.data.iter_mut().enumerate() {
        *byte = (index * 7 % 256) as u8;
    }
    let cut = resample(
        &source,
        Region {
            left: 3.0,
            top: 2.0,
            width: 5.0,
            height: 4.0,
        },
        (5, 4),
    )
    .unwrap();
    assert_eq!(cut.data[..20], source.data[(2 * 10 + 3) * 4..(2 * 10 + 8) * 4]);
}
