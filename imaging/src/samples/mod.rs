//! Test pictures, drawn in code: no binary lies in the repository, and every size is at hand.
#![expect(
    clippy::expect_used,
    reason = "encoders of samples fail only for sizes that the caller chose wrong, and a test should stop there"
)]

mod avif;
mod document;
mod headers;
mod scene;

pub use avif::{AvifSample, AvifSampling};
pub use document::svg;
pub use headers::{bmp_with_data, jpeg_claiming, png_claiming, png_interlaced, png_with_data, with_orientation};
pub use scene::{scene, scene_rgba};

use jpeg_encoder::{ChromaSubsamplingMethod, ColorType, Encoder, SamplingFactor};
use png::{BitDepth, Compression};

/// Colour of a sample JPEG.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JpegColor {
    /// One component.
    Grey,
    /// YCbCr with the given sampling: 4:4:4, 4:2:2, 4:4:0 or 4:2:0 as (horizontal, vertical).
    Color(u8, u8),
    /// Four components, with Adobe's marker.
    Cmyk,
    /// Four components in YCCK, with Adobe's marker.
    Ycck,
}

/// How a sample JPEG is coded.
#[derive(Clone, Copy, Debug)]
pub struct JpegSample {
    /// 1 to 100.
    pub quality: u8,
    /// Components and sampling.
    pub color: JpegColor,
    /// Scans per component of a progressive file, 2 to 64, or 0 for a baseline one.
    pub progressive_scans: u8,
    /// MCUs between restart markers, or 0.
    pub restart_interval: u16,
    /// EXIF orientation, or 0 for no EXIF.
    pub orientation: u16,
}

impl Default for JpegSample {
    fn default() -> Self {
        Self {
            quality: 88,
            color: JpegColor::Color(2, 2),
            progressive_scans: 0,
            restart_interval: 0,
            orientation: 0,
        }
    }
}

impl JpegSample {
    /// The scene at this size, as stored.
    #[must_use]
    pub fn encode(&self, width: u16, height: u16) -> Vec<u8> {
        self.encode_pixels(&scene(u32::from(width), u32::from(height)), width, height)
    }

    /// Any RGB pixels.
    #[must_use]
    pub fn encode_pixels(&self, rgb: &[u8], width: u16, height: u16) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, self.quality);
        encoder.set_chroma_subsampling_method(ChromaSubsamplingMethod::Average);
        if self.progressive_scans > 0 {
            encoder.set_progressive_scans(self.progressive_scans);
        }
        encoder.set_restart_interval(self.restart_interval);
        let (data, color) = match self.color {
            JpegColor::Grey => (
                rgb.chunks_exact(3).filter_map(|pixel| pixel.get(1).copied()).collect(),
                ColorType::Luma,
            ),
            JpegColor::Color(horizontal, vertical) => {
                encoder.set_sampling_factor(
                    SamplingFactor::from_factors(horizontal, vertical).expect("a sampling that JPEG has"),
                );
                (rgb.to_vec(), ColorType::Rgb)
            }
            JpegColor::Cmyk => (ink(rgb), ColorType::Cmyk),
            JpegColor::Ycck => (ink(rgb), ColorType::CmykAsYcck),
        };
        encoder
            .encode(&data, width, height, color)
            .expect("a size that JPEG has");
        if self.orientation == 0 {
            bytes
        } else {
            with_orientation(&bytes, self.orientation)
        }
    }
}

/// RGB as ink without black.
fn ink(rgb: &[u8]) -> Vec<u8> {
    rgb.chunks_exact(3)
        .flat_map(|pixel| pixel.iter().map(|light| 255 - light).chain([0]))
        .collect()
}

/// A PNG of any kind, from samples as the kind has them (16-bit ones big-endian).
#[must_use]
pub fn png_of(width: u32, height: u32, color: png::ColorType, depth: BitDepth, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(color);
    encoder.set_depth(depth);
    encoder.set_compression(Compression::Fast);
    if color == png::ColorType::Indexed {
        let entries = 1usize << (depth as usize).min(8);
        encoder.set_palette(
            (0..entries)
                .flat_map(|index| [index as u8, (index * 3) as u8, 255 - index as u8])
                .collect::<Vec<u8>>(),
        );
    }
    let mut writer = encoder.write_header().expect("a size that PNG has");
    writer.write_image_data(data).expect("as much data as the size needs");
    writer.finish().expect("memory to write to");
    bytes
}

/// The scene as an opaque PNG.
#[must_use]
pub fn png_rgb(width: u32, height: u32) -> Vec<u8> {
    png_of(
        width,
        height,
        png::ColorType::Rgb,
        BitDepth::Eight,
        &scene(width, height),
    )
}

/// The scene as a PNG with alpha.
#[must_use]
pub fn png_rgba(width: u32, height: u32) -> Vec<u8> {
    png_of(
        width,
        height,
        png::ColorType::Rgba,
        BitDepth::Eight,
        &scene_rgba(width, height),
    )
}

/// The scene as a BMP of 24 bits.
#[must_use]
pub fn bmp(width: u32, height: u32) -> Vec<u8> {
    let mut rows = Vec::new();
    for row in scene(width, height).chunks_exact(width.max(1) as usize * 3).rev() {
        rows.extend(row.chunks_exact(3).flat_map(|pixel| pixel.iter().rev()));
        rows.resize(rows.len().next_multiple_of(4), 0);
    }
    bmp_with_data((width as i32, height as i32), 24, 0, &[], &rows)
}

/// The scene as a TIFF.
#[must_use]
pub fn tiff(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    tiff::encoder::TiffEncoder::new(&mut bytes)
        .and_then(|encoder| {
            encoder
                .with_compression(tiff::encoder::Compression::Lzw)
                .write_image::<tiff::encoder::colortype::RGB8>(width, height, &scene(width, height))
        })
        .expect("a size that TIFF has");
    bytes.into_inner()
}

/// The scene as lossless WebP, with or without alpha.
#[must_use]
pub fn webp_lossless(width: u32, height: u32, alpha: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (data, color) = if alpha {
        (scene_rgba(width, height), image_webp::ColorType::Rgba8)
    } else {
        (scene(width, height), image_webp::ColorType::Rgb8)
    };
    image_webp::WebPEncoder::new(&mut bytes)
        .encode(&data, width, height, color)
        .expect("a size that WebP has");
    bytes
}

/// A GIF of plain frames in different colours, the first one smaller than the screen and with a transparent corner.
#[must_use]
pub fn gif(width: u16, height: u16, frames: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let palette = [0, 0, 0, 230, 40, 40, 40, 200, 60, 30, 60, 220];
    let mut encoder = gif::Encoder::new(&mut bytes, width, height, &palette).expect("a palette that GIF has");
    for index in 0..frames {
        let pixels = usize::from(width) * usize::from(height);
        let mut buffer = vec![1 + index % 3; pixels];
        if let Some(corner) = buffer.first_mut() {
            *corner = 0;
        }
        let frame = gif::Frame {
            width,
            height,
            buffer: buffer.into(),
            transparent: Some(0),
            delay: 10,
            ..gif::Frame::default()
        };
        encoder.write_frame(&frame).expect("memory to write to");
    }
    drop(encoder);
    bytes
}
