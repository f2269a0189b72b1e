//! libwebp as a C library; rav1d and rav1e.
#![expect(
    unsafe_code,
    reason = "calls into C; every pointer handed over outlives its call, and what C allocates is freed once, by `Drop`"
)]

mod avif;

use super::{Av1Layout, Av1Picture, Av1Plane, AvifSettings, CodecError, Codecs, WebpSettings};
use core::ffi::c_void;
use libwebp_sys::{
    WebPConfig, WebPEncode, WebPImageHint, WebPMemoryWrite, WebPMemoryWriter, WebPMemoryWriterClear,
    WebPMemoryWriterInit, WebPPicture, WebPPictureFree, WebPPictureImportRGBA, WebPValidateConfig,
};

/// The C libraries that this build is linked with.
#[derive(Clone, Copy, Debug, Default)]
pub struct NativeCodecs;

/// A picture of libwebp's that frees its planes.
struct Picture(WebPPicture);

impl Drop for Picture {
    fn drop(&mut self) {
        // SAFETY: the picture was initialised, and freeing one without planes does nothing.
        unsafe { WebPPictureFree(&raw mut self.0) }
    }
}

/// A growing buffer of libwebp's that frees its memory.
struct Writer(WebPMemoryWriter);

impl Writer {
    fn new() -> Self {
        let mut writer = core::mem::MaybeUninit::uninit();
        // SAFETY: the call fills all fields of the struct it is pointed to.
        unsafe {
            WebPMemoryWriterInit(writer.as_mut_ptr());
            Self(writer.assume_init())
        }
    }

    fn bytes(&self) -> &[u8] {
        if self.0.mem.is_null() {
            return &[];
        }
        // SAFETY: libwebp keeps `size` initialised bytes at `mem`, which live until the writer is cleared.
        unsafe { core::slice::from_raw_parts(self.0.mem, self.0.size) }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // SAFETY: the writer was initialised, and is not used afterwards.
        unsafe { WebPMemoryWriterClear(&raw mut self.0) }
    }
}

fn config(settings: &WebpSettings) -> Result<WebPConfig, CodecError> {
    let mut config = WebPConfig::new().map_err(|()| CodecError::Failed("libwebp has another ABI".to_owned()))?;
    config.quality = settings.quality;
    config.target_size = settings.target_size;
    config.target_PSNR = settings.target_psnr;
    config.method = settings.method;
    config.sns_strength = settings.sns_strength;
    config.filter_strength = settings.filter_strength;
    config.filter_sharpness = settings.filter_sharpness;
    config.filter_type = settings.filter_type;
    config.partitions = settings.partitions;
    config.segments = settings.segments;
    config.pass = settings.pass;
    config.show_compressed = settings.show_compressed;
    config.preprocessing = settings.preprocessing;
    config.autofilter = settings.autofilter;
    config.partition_limit = settings.partition_limit;
    config.alpha_compression = settings.alpha_compression;
    config.alpha_filtering = settings.alpha_filtering;
    config.alpha_quality = settings.alpha_quality;
    config.lossless = settings.lossless;
    config.exact = settings.exact;
    config.image_hint = match settings.image_hint {
        1 => WebPImageHint::WEBP_HINT_PICTURE,
        2 => WebPImageHint::WEBP_HINT_PHOTO,
        3 => WebPImageHint::WEBP_HINT_GRAPH,
        _ => WebPImageHint::WEBP_HINT_DEFAULT,
    };
    config.emulate_jpeg_size = settings.emulate_jpeg_size;
    config.thread_level = settings.thread_level;
    config.low_memory = settings.low_memory;
    config.near_lossless = settings.near_lossless;
    config.use_delta_palette = settings.use_delta_palette;
    config.use_sharp_yuv = settings.use_sharp_yuv;
    config.qmin = 0;
    config.qmax = 100;
    // SAFETY: reads a complete struct.
    if unsafe { WebPValidateConfig(&raw const config) } == 0 {
        return Err(CodecError::Failed("libwebp refuses the settings".to_owned()));
    }
    Ok(config)
}

impl Codecs for NativeCodecs {
    fn webp(&self, rgba: &[u8], width: u32, height: u32, settings: &WebpSettings) -> Result<Vec<u8>, CodecError> {
        let failed = |what: &str| CodecError::Failed(what.to_owned());
        let config = config(settings)?;
        let side = |side: u32| i32::try_from(side).map_err(|_| failed("a side is too long"));
        let (columns, rows) = (side(width)?, side(height)?);
        if rgba.len() as u64 != u64::from(width) * u64::from(height) * 4
            || columns > 16_383
            || rows > 16_383
            || columns * rows == 0
        {
            return Err(failed("the size is not one that WebP has, or not that of the pixels"));
        }
        let mut picture = Picture(WebPPicture::new().map_err(|()| failed("libwebp has another ABI"))?);
        let mut writer = Writer::new();
        // Lossy encoding from YUV, as the WASM module does: ARGB is kept only where it is needed.
        picture.0.use_argb =
            i32::from(settings.lossless != 0 || settings.use_sharp_yuv != 0 || settings.preprocessing > 0);
        picture.0.width = columns;
        picture.0.height = rows;
        picture.0.writer = Some(WebPMemoryWrite);
        picture.0.custom_ptr = (&raw mut writer.0).cast::<c_void>();
        // SAFETY: `rgba` holds `rows` rows of `columns * 4` bytes, which was checked; it is copied before the call ends.
        if unsafe { WebPPictureImportRGBA(&raw mut picture.0, rgba.as_ptr(), columns * 4) } == 0 {
            return Err(failed("there is not enough memory for the picture"));
        }
        // SAFETY: configuration and picture are initialised, and the writer lives until after the call.
        if unsafe { WebPEncode(&raw const config, &raw mut picture.0) } == 0 {
            return Err(CodecError::Failed(format!("libwebp: {:?}", picture.0.error_code)));
        }
        Ok(writer.bytes().to_vec())
    }

    fn avif(&self, rgba: &[u8], width: u32, height: u32, settings: &AvifSettings) -> Result<Vec<u8>, CodecError> {
        avif::encode(rgba, width, height, settings)
    }

    fn av1(&self, data: &[u8], most_bytes: usize) -> Result<Av1Picture, CodecError> {
        let picture = kado_av1::Picture::decode(data, most_bytes).map_err(|error| match error {
            kado_av1::Error::Refused => CodecError::Refused(error.to_string()),
            kado_av1::Error::Memory => CodecError::Failed(error.to_string()),
        })?;
        let mut planes = Vec::new();
        for (bytes, stride) in (0..picture.planes()).filter_map(|index| picture.plane(index)) {
            let mut data = Vec::new();
            data.try_reserve_exact(bytes.len())
                .map_err(|_| CodecError::Failed(kado_av1::Error::Memory.to_string()))?;
            data.extend_from_slice(bytes);
            planes.push(Av1Plane { data, stride });
        }
        let ((width, height), coding) = (picture.size(), picture.coding());
        Ok(Av1Picture {
            width,
            height,
            layout: match picture.layout() {
                kado_av1::Layout::Grey => Av1Layout::Grey,
                kado_av1::Layout::Quarter => Av1Layout::Quarter,
                kado_av1::Layout::Half => Av1Layout::Half,
                kado_av1::Layout::Full => Av1Layout::Full,
            },
            depth: picture.depth(),
            matrix: coding.matrix,
            full_range: coding.full_range,
            planes,
        })
    }
}

/// The planes of a lossy picture, as libwebp decodes them; `None` where it refuses.
#[cfg(test)]
pub(crate) fn decode_yuv(bytes: &[u8]) -> Option<[Vec<u8>; 3]> {
    use libwebp_sys::{WebPDecodeYUV, WebPFree};
    let (mut width, mut height, mut stride, mut chroma_stride) = (0, 0, 0, 0);
    let (mut blue, mut red) = (core::ptr::null_mut(), core::ptr::null_mut());
    // SAFETY: the pointers lead to places for what is returned, and the bytes outlive the call.
    let luma = unsafe {
        WebPDecodeYUV(
            bytes.as_ptr(),
            bytes.len(),
            &raw mut width,
            &raw mut height,
            &raw mut blue,
            &raw mut red,
            &raw mut stride,
            &raw mut chroma_stride,
        )
    };
    if luma.is_null() {
        return None;
    }
    let plane = |start: *const u8, stride: i32, width: i32, height: i32| {
        // SAFETY: the rows of each plane lie in the buffer that was returned, which is freed below.
        let row = |y: i32| unsafe { core::slice::from_raw_parts(start.offset((y * stride) as isize), width as usize) };
        (0..height).flat_map(row).copied().collect()
    };
    let half = ((width + 1) / 2, (height + 1) / 2);
    let planes = [
        plane(luma, stride, width, height),
        plane(blue, chroma_stride, half.0, half.1),
        plane(red, chroma_stride, half.0, half.1),
    ];
    // SAFETY: libwebp allocated the buffer, in one piece, and nothing refers to it any more.
    unsafe { WebPFree(luma.cast()) };
    Some(planes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn pixels_survive_lossless() {
        let rgba = samples::scene_rgba(37, 23);
        let bytes = NativeCodecs
            .webp(
                &rgba,
                37,
                23,
                &WebpSettings {
                    lossless: 1,
                    exact: 1,
                    ..WebpSettings::default()
                },
            )
            .unwrap();
        let mut decoder = image_webp::WebPDecoder::new(std::io::Cursor::new(bytes)).unwrap();
        let mut back = vec![0; decoder.output_buffer_size().unwrap()];
        decoder.read_image(&mut back).unwrap();
        assert_eq!(back, rgba);
    }

    #[test]
    fn wrong_sizes_and_settings_are_errors() {
        let settings = WebpSettings::default();
        assert!(NativeCodecs.webp(&[0; 15], 2, 2, &settings).is_err());
        assert!(NativeCodecs.webp(&[], 0, 0, &settings).is_err());
        assert!(NativeCodecs.webp(&vec![0; 4 * 16_384], 16_384, 1, &settings).is_err());
        assert!(
            NativeCodecs
                .webp(&[0; 4], 1, 1, &WebpSettings { method: 9, ..settings })
                .is_err()
        );
    }
}
