//! Resampling with Lanczos3 in sRGB values, alpha premultiplied.

use super::{Channels, Raster};
use crate::{ImageError, Region};
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::{U8, U8x3, U8x4};
use fast_image_resize::{FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer};

/// Resamples a region of `source` to a size. Pixels beside the region are seen by the filter at its edges.
pub(crate) fn resample(mut source: Raster, region: Region, (width, height): (u32, u32)) -> Result<Raster, ImageError> {
    let (full_width, full_height) = (f64::from(source.width), f64::from(source.height));
    let region = within(region, full_width, full_height);
    let whole = (region.left, region.top, region.width, region.height) == (0.0, 0.0, full_width, full_height);
    if whole && (width, height) == (source.width, source.height) {
        return Ok(source);
    }
    // A cut at whole pixels moves them and changes none; through premultiplication it would.
    let moves_only = (region.width, region.height) == (f64::from(width), f64::from(height))
        && region.left.fract() == 0.0
        && region.top.fract() == 0.0;
    let premultiplied = source.channels == Channels::Rgba && !moves_only;
    if premultiplied {
        premultiply(&mut source.data);
    }
    let mut resampled = Raster::zeroed(width, height, source.channels)?;
    // With the pixels' type left open, the library's kernels for all its types come along.
    match source.channels {
        Channels::Grey => convolve::<U8>(&source, region, &mut resampled),
        Channels::Rgb => convolve::<U8x3>(&source, region, &mut resampled),
        Channels::Rgba => convolve::<U8x4>(&source, region, &mut resampled),
    }?;
    if premultiplied {
        unpremultiply(&mut resampled.data);
    }
    Ok(resampled)
}

fn convolve<P: PixelTrait>(source: &Raster, region: Region, target: &mut Raster) -> Result<(), ImageError> {
    let internal = |_| ImageError::Internal("the resampler was given buffers of the wrong size");
    let from = TypedImageRef::<P>::from_buffer(source.width, source.height, &source.data).map_err(internal)?;
    let mut to = TypedImage::<P>::from_buffer(target.width, target.height, &mut target.data).map_err(internal)?;
    // The library's own alpha handling is left off: rustc 1.95 miscompiles its division for SIMD128.
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3))
        .crop(region.left, region.top, region.width, region.height)
        .use_alpha(false);
    Resizer::new()
        .resize_typed(&from, &mut to, &options)
        .map_err(|_| ImageError::Internal("the resampler refused the region"))
}

/// The part of a region that lies in the picture. Rounding may leave an edge a hair outside, which the resampler refuses.
fn within(region: Region, full_width: f64, full_height: f64) -> Region {
    let side = |start: f64, length: f64, full: f64| {
        let start = start.clamp(0.0, full);
        let length = length.min(full - start);
        (
            start,
            if start + length > full {
                length.next_down()
            } else {
                length
            },
        )
    };
    let (left, width) = side(region.left, region.width, full_width);
    let (top, height) = side(region.top, region.height, full_height);
    Region {
        left,
        top,
        width,
        height,
    }
}

/// `x / 255`, rounded, for `x` up to `255 * 255`.
fn divide_by_255(x: u32) -> u8 {
    ((x + 128 + ((x + 128) >> 8)) >> 8) as u8
}

pub(super) fn premultiply(rgba: &mut [u8]) {
    for pixel in rgba.chunks_exact_mut(4) {
        if let [r, g, b, a] = pixel {
            let alpha = u32::from(*a);
            for channel in [r, g, b] {
                *channel = divide_by_255(u32::from(*channel) * alpha);
            }
        }
    }
}

pub(crate) fn unpremultiply(rgba: &mut [u8]) {
    for pixel in rgba.chunks_exact_mut(4) {
        if let [r, g, b, a] = pixel {
            let alpha = u32::from(*a);
            if alpha == 255 {
                continue;
            }
            for channel in [r, g, b] {
                // The filter's overshoot can leave a channel above its alpha.
                *channel = (u32::from(*channel) * 255 + alpha / 2)
                    .checked_div(alpha)
                    .map_or(0, |value| value.min(255) as u8);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_region_of_a_picture_is_resampled(
            size in (1u32..60, 1u32..60), to in (1u32..20, 1u32..20), corner in (0.0f64..1.0, 0.0f64..1.0), part in (0.01f64..1.1, 0.01f64..1.1),
        ) {
            let (width, height) = (f64::from(size.0), f64::from(size.1));
            let (left, top) = (corner.0 * width, corner.1 * height);
            let region = Region { left, top, width: (width - left) * part.0, height: (height - top) * part.1 };
            let white = Raster { data: vec![255; (size.0 * size.1) as usize], ..Raster::zeroed(size.0, size.1, Channels::Grey).unwrap() };
            let result = resample(white, region, to).unwrap();
            prop_assert_eq!((result.width, result.height), to);
            prop_assert!(result.data.iter().all(|value| *value >= 254));
        }
    }

    #[test]
    fn premultiplication_is_the_rounded_product() {
        for value in 0..=255u8 {
            for alpha in 0..=255u8 {
                let mut pixel = [value, 0, 255, alpha];
                premultiply(&mut pixel);
                let exact = (f64::from(value) * f64::from(alpha) / 255.0).round() as u8;
                assert_eq!(pixel, [exact, 0, alpha, alpha]);
            }
        }
    }

    #[test]
    fn what_shows_comes_back_from_premultiplication() {
        for alpha in [255u8, 254, 128] {
            for value in 0..=255u8 {
                let mut pixel = [value, value, value, alpha];
                premultiply(&mut pixel);
                unpremultiply(&mut pixel);
                assert!(pixel[0].abs_diff(value) <= 1, "{value} at {alpha}");
            }
        }
        let mut clear = [9, 9, 9, 0];
        unpremultiply(&mut clear);
        assert_eq!(clear, [0; 4]);
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
            source,
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
            source.clone(),
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
}
