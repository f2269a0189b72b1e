//! Codecs that the caller brings: libraries natively, WASM modules at the edge.

#[cfg(feature = "native-codecs")]
mod native;

#[cfg(feature = "native-codecs")]
pub use native::NativeCodecs;
#[cfg(all(test, feature = "native-codecs"))]
pub(crate) use native::decode_yuv;

use serde::Serialize;

/// Why an injected codec gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// This build or this caller has no such codec.
    #[error("there is no {0} codec here")]
    Missing(&'static str),
    /// A decoder was given data that it does not take.
    #[error("{0}")]
    Refused(String),
    /// The codec failed or ran out of memory.
    #[error("{0}")]
    Failed(String),
}

/// Codecs outside this crate. Synchronous: whoever has to load a module first does so after planning
/// ([`crate::Plan::codecs`] says which) and before [`crate::transform()`].
pub trait Codecs {
    /// Encodes straight-alpha RGBA rows, top to bottom, without gaps: `width * height * 4` bytes.
    ///
    /// An opaque picture is given as RGBA with alpha 255; libwebp then writes no alpha channel.
    ///
    /// # Errors
    /// [`CodecError`] where there is no encoder or it fails.
    fn webp(&self, rgba: &[u8], width: u32, height: u32, settings: &WebpSettings) -> Result<Vec<u8>, CodecError>;

    /// Encodes the same pixels as AVIF.
    ///
    /// # Errors
    /// [`CodecError`] where there is no encoder, which is the default, or it fails.
    fn avif(&self, rgba: &[u8], width: u32, height: u32, settings: &AvifSettings) -> Result<Vec<u8>, CodecError> {
        let _ = (rgba, width, height, settings);
        Err(CodecError::Missing("avif"))
    }

    /// Decodes the AV1 picture of `data`, which are OBUs of one frame. One whose samples take more than `most_bytes` is
    /// refused.
    ///
    /// # Errors
    /// [`CodecError`] where there is no decoder, which is the default, or it fails; [`CodecError::Refused`] for damaged
    /// data.
    fn av1(&self, data: &[u8], most_bytes: usize) -> Result<Av1Picture, CodecError> {
        let _ = (data, most_bytes);
        Err(CodecError::Missing("av1"))
    }
}

/// A decoded AV1 picture, as it is coded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Av1Picture {
    /// Width of luminance, in samples.
    pub width: u32,
    /// Height of luminance, in samples.
    pub height: u32,
    /// How chroma is stored.
    pub layout: Av1Layout,
    /// Bits of a sample: 8, 10 or 12. Above 8 a sample is two bytes, the low one first.
    pub depth: u8,
    /// `MatrixCoefficients` of ITU-T H.273, by the sequence header.
    pub matrix: u8,
    /// Whether samples use all of their range, by the sequence header.
    pub full_range: bool,
    /// Luminance, and in all layouts but one the two of chroma.
    pub planes: Vec<Av1Plane>,
}

/// How chroma is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Av1Layout {
    /// Not at all: 4:0:0.
    Grey,
    /// Half of the columns and half of the rows: 4:2:0.
    Quarter,
    /// Half of the columns: 4:2:2.
    Half,
    /// All: 4:4:4.
    Full,
}

/// One plane's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Av1Plane {
    /// The bytes.
    pub data: Vec<u8>,
    /// Bytes from one row to the next, which may be more than a row has.
    pub stride: usize,
}

/// No codec at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCodecs;

impl Codecs for NoCodecs {
    fn webp(&self, _: &[u8], _: u32, _: u32, _: &WebpSettings) -> Result<Vec<u8>, CodecError> {
        Err(CodecError::Missing("webp"))
    }
}

/// What libaom is told, under the names the npm module's options have; all of them have to be there.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AvifSettings {
    /// 0 to 100.
    pub quality: u8,
    /// 0 to 100, or -1 for the same.
    pub quality_alpha: i8,
    /// Film grain in place of noise, 0 to 50.
    pub denoise_level: u8,
    /// Whether libavif chooses the tiles.
    pub auto_tiling: bool,
    /// log2 of the number of tile columns.
    pub tile_cols_log2: u8,
    /// log2 of the number of tile rows.
    pub tile_rows_log2: u8,
    /// 0 (small files) to 10 (fast).
    pub speed: u8,
    /// 1 for 4:4:4, 3 for 4:2:0.
    pub subsample: u8,
    /// Whether chroma has a quantiser of its own.
    #[serde(rename = "chromaDeltaQ")]
    pub chroma_delta_q: bool,
    /// 0 to 7.
    pub sharpness: u8,
    /// 0 leaves the metric to the encoder.
    pub tune: u8,
    /// Whether the conversion to YUV is the slow and exact one.
    #[serde(rename = "sharpYUV")]
    pub sharp_yuv: bool,
    /// Bits of a channel.
    pub bit_depth: u8,
}

impl Default for AvifSettings {
    fn default() -> Self {
        Self {
            quality: 50,
            quality_alpha: -1,
            denoise_level: 0,
            auto_tiling: false,
            tile_cols_log2: 0,
            tile_rows_log2: 0,
            speed: 9,
            subsample: 3,
            chroma_delta_q: false,
            sharpness: 0,
            tune: 0,
            sharp_yuv: false,
            bit_depth: 8,
        }
    }
}

/// libwebp's `WebPConfig`, field for field, under the names the npm module's configuration object has.
///
/// Serialised it is that object. Both sides being the same library with the same numbers, they write the same bytes.
/// What is not here stays at libwebp's default on both sides, except `qmin` and `qmax`, which are 0 and 100.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct WebpSettings {
    /// 0 to 100; effort where `lossless`.
    pub quality: f32,
    /// Wanted bytes, or 0.
    pub target_size: i32,
    /// Wanted PSNR in dB, or 0.
    #[serde(rename = "target_PSNR")]
    pub target_psnr: f32,
    /// Effort, 0 (fast) to 6.
    pub method: i32,
    /// Spatial noise shaping, 0 to 100.
    pub sns_strength: i32,
    /// Deblocking, 0 to 100.
    pub filter_strength: i32,
    /// Deblocking sharpness, 0 (sharpest) to 7.
    pub filter_sharpness: i32,
    /// 0 simple, 1 strong.
    pub filter_type: i32,
    /// log2 of the number of token partitions.
    pub partitions: i32,
    /// Segments, 1 to 4.
    pub segments: i32,
    /// Passes of entropy analysis, 1 to 10.
    pub pass: i32,
    /// Whether to export the compressed picture.
    pub show_compressed: i32,
    /// 0 none, 1 segment smooth, 2 dithering.
    pub preprocessing: i32,
    /// Whether the filter strength is searched.
    pub autofilter: i32,
    /// Quality degradation allowed to fit the first partition, 0 to 100.
    pub partition_limit: i32,
    /// 0 raw, 1 lossless compression of the alpha channel.
    pub alpha_compression: i32,
    /// 0 none, 1 fast, 2 best.
    pub alpha_filtering: i32,
    /// 0 to 100; 100 is lossless.
    pub alpha_quality: i32,
    /// 1 for VP8L.
    pub lossless: i32,
    /// 1 keeps the colour under full transparency.
    pub exact: i32,
    /// `WebPImageHint`.
    pub image_hint: i32,
    /// Whether sizes are made like a JPEG's of this quality.
    pub emulate_jpeg_size: i32,
    /// Threads; 0 everywhere, so that all lanes write the same bytes.
    pub thread_level: i32,
    /// Whether memory is saved at the cost of time.
    pub low_memory: i32,
    /// 0 to 100 (off).
    pub near_lossless: i32,
    /// Reserved by libwebp.
    pub use_delta_palette: i32,
    /// 1 for the slow and exact conversion to YUV.
    pub use_sharp_yuv: i32,
}

impl Default for WebpSettings {
    fn default() -> Self {
        Self {
            quality: 75.0,
            target_size: 0,
            target_psnr: 0.0,
            method: 4,
            sns_strength: 50,
            filter_strength: 60,
            filter_sharpness: 0,
            filter_type: 1,
            partitions: 0,
            segments: 4,
            pass: 1,
            show_compressed: 0,
            preprocessing: 0,
            autofilter: 0,
            partition_limit: 0,
            alpha_compression: 1,
            alpha_filtering: 1,
            alpha_quality: 100,
            lossless: 0,
            exact: 0,
            image_hint: 0,
            emulate_jpeg_size: 0,
            thread_level: 0,
            low_memory: 0,
            near_lossless: 100,
            use_delta_palette: 0,
            use_sharp_yuv: 0,
        }
    }
}

/// One codec's quality for another's, 0 to 100, along a table of points that begins at or below the least.
pub(crate) fn along(table: &[(u8, u8)], quality: u8) -> u8 {
    let line = |[(x0, y0), (x1, y1)]: [(u8, u8); 2]| {
        let part = f32::from(quality - x0) / f32::from(x1 - x0);
        (f32::from(y0) + part * (f32::from(y1) - f32::from(y0))).round() as u8
    };
    let segments = table.iter().zip(table.iter().skip(1));
    segments
        .map(|(from, to)| [*from, *to])
        .find(|[from, to]| (from.0..=to.0).contains(&quality))
        .map_or(quality, line)
}
