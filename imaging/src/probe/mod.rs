//! What a picture is, from its header alone: kind by content, size, orientation. No pixel is decoded here.

mod blocks;
mod bmp;
mod exif;
mod gif;
mod isobmff;
mod jpeg;
mod peek;
mod png;
mod profile;
mod svg;
mod tiff;
mod webp;

pub(crate) use blocks::metadata_blocks;
pub(crate) use bmp::{BmpCoding, BmpHeader, bmp_header};
use exif::Exif;
pub(crate) use exif::{Entry, Tiff};
pub(crate) use isobmff::{AvifPicture, Extent, Part, avif_picture};
use peek::{Peek, Stopped};
pub(crate) use profile::{Declared, declared};

use crate::{Format, ImageError, LimitKind, Limits, Orientation, Source};

/// What the header tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageInfo {
    /// Kind, by content.
    pub format: Format,
    /// Width as stored, before orientation, in pixels; at least 1.
    pub width: u32,
    /// Height as stored, before orientation, in pixels; at least 1.
    pub height: u32,
    /// How the stored pixels have to be turned.
    pub orientation: Orientation,
    /// Bytes of the whole source; 0 where only a head was probed.
    pub bytes: u64,
    /// Frames, where they could be counted: 1 for still pictures, `None` where the whole source would have to be read.
    pub frames: Option<u32>,
    /// Whether the coding is progressive (JPEG) or interlaced (PNG, GIF).
    pub progressive: bool,
    /// Channels as coded, alpha included; a palette counts as the colours in it.
    pub components: u8,
    /// Bits of a channel.
    pub bit_depth: u8,
    /// Whether pixels may be transparent.
    pub alpha: bool,
    /// Whether a colour profile is embedded.
    pub color_profile: bool,
    /// Bytes of that profile as stored, which in PNG is compressed; 0 where there is none.
    pub profile_bytes: u64,
    /// Bytes that the decoder takes beside the picture: its largest frame and metadata (GIF), tables (TIFF). They follow from
    /// what the file says, which need not be true.
    pub auxiliary_bytes: u64,
    /// Samples that the coder stores per pixel, in quarters: 4:2:0 has 6, 4:4:4 has 12, grey 4.
    pub samples_per_pixel_quarters: u8,
    /// Pixels that the coder stores, where those are more than are shown (AVIF); else 0.
    pub coded_pixels: u64,
    /// Whether the coding is one this engine decodes.
    pub decodable: bool,
    /// Whether a CMYK JPEG stores light instead of ink, as Adobe's programs do.
    pub inverted_cmyk: bool,
}

impl ImageInfo {
    pub(crate) fn new(format: Format, width: u32, height: u32) -> Self {
        Self {
            format,
            width,
            height,
            orientation: Orientation::UPRIGHT,
            bytes: 0,
            frames: Some(1),
            progressive: false,
            components: 3,
            bit_depth: 8,
            alpha: false,
            color_profile: false,
            profile_bytes: 0,
            auxiliary_bytes: 0,
            samples_per_pixel_quarters: 12,
            coded_pixels: 0,
            decodable: false,
            inverted_cmyk: false,
        }
    }

    fn with_exif(self, exif: Exif) -> Self {
        Self {
            orientation: exif.orientation,
            ..self
        }
    }

    /// Width and height as people see it.
    #[must_use]
    pub fn upright_size(&self) -> (u32, u32) {
        self.orientation.size((self.width, self.height))
    }

    /// Refuses what passes the limits that the header can tell.
    ///
    /// # Errors
    /// [`ImageError::TooLarge`] with the limit and the value.
    pub fn check(&self, limits: &Limits) -> Result<(), ImageError> {
        let refuse = |what, value: u64, limit: u64| {
            if value > limit {
                Err(ImageError::TooLarge { what, limit, value })
            } else {
                Ok(())
            }
        };
        refuse(LimitKind::SourceBytes, self.bytes, limits.source_bytes)?;
        refuse(LimitKind::ProfileBytes, self.profile_bytes, limits.profile_bytes)?;
        refuse(
            LimitKind::Side,
            u64::from(self.width.max(self.height)),
            u64::from(limits.side),
        )?;
        let pixels = (u64::from(self.width) * u64::from(self.height)).max(self.coded_pixels);
        refuse(LimitKind::Pixels, pixels, limits.pixels)?;
        let frames = self.frames.unwrap_or(1);
        refuse(LimitKind::Frames, u64::from(frames), u64::from(limits.frames))?;
        refuse(
            LimitKind::Pixels,
            pixels.saturating_mul(u64::from(frames)),
            limits.pixels,
        )
    }
}

/// What the beginning of a picture told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Enough.
    Info(ImageInfo),
    /// Not enough: at least so many bytes from the start are needed. Always more than were given.
    NeedMore(u64),
}

/// Probes the first bytes of a picture whose rest has not arrived.
///
/// Frames are not counted, and what stands at the end of a file (EXIF in WebP) is not waited for.
///
/// # Errors
/// [`ImageError::NotAnImage`], [`ImageError::Corrupt`], and [`ImageError::TooLarge`] for metadata without end.
pub fn probe_head(head: &[u8], limits: &Limits) -> Result<Probe, ImageError> {
    match read(&mut Peek::head(&head), limits) {
        Ok(info) => Ok(Probe::Info(info)),
        Err(Stopped::NeedMore(bytes)) => Ok(Probe::NeedMore(bytes.max(head.len() as u64 + 1))),
        Err(Stopped::Failed(error)) => Err(error),
    }
}

/// Probes a whole picture and refuses what passes the limits.
///
/// # Errors
/// [`ImageError::NotAnImage`], [`ImageError::Corrupt`], [`ImageError::TooLarge`], [`ImageError::Source`].
pub fn probe(source: &dyn Source, limits: &Limits) -> Result<ImageInfo, ImageError> {
    let bytes = source.len();
    if bytes > limits.source_bytes {
        return Err(ImageError::TooLarge {
            what: LimitKind::SourceBytes,
            limit: limits.source_bytes,
            value: bytes,
        });
    }
    match read(&mut Peek::whole(&source), limits) {
        Ok(info) => {
            let info = ImageInfo { bytes, ..info };
            info.check(limits)?;
            Ok(info)
        }
        Err(Stopped::NeedMore(_)) => Err(ImageError::NotAnImage),
        Err(Stopped::Failed(error)) => Err(error),
    }
}

/// Kind of a picture by its first bytes. `None` where they are of none that we know.
fn detect(peek: &mut Peek<'_>) -> Result<Option<Format>, Stopped> {
    let start = peek.up_to(0, 32)?;
    let at = |offset: usize, magic: &[u8]| start.get(offset..offset + magic.len()) == Some(magic);
    Ok(if at(0, b"\xff\xd8\xff") {
        Some(Format::Jpeg)
    } else if at(0, b"\x89PNG\r\n\x1a\n") {
        Some(Format::Png)
    } else if at(0, b"RIFF") && at(8, b"WEBP") {
        Some(Format::WebP)
    } else if at(0, b"GIF87a") || at(0, b"GIF89a") {
        Some(Format::Gif)
    } else if at(4, b"ftyp") {
        isobmff::brand(peek)?
    } else if at(0, b"BM") {
        Some(Format::Bmp)
    } else if at(0, b"II*\0") || at(0, b"MM\0*") {
        Some(Format::Tiff)
    } else if svg::is_svg(peek)? {
        Some(Format::Svg)
    } else {
        None
    })
}

fn read(peek: &mut Peek<'_>, limits: &Limits) -> Result<ImageInfo, Stopped> {
    if svg::is_compressed(peek.up_to(0, 3)?) {
        return Err(svg::compressed());
    }
    let Some(format) = detect(peek)? else {
        // A head too short to tell is not a picture of another kind.
        return Err(if peek.is_partial() && peek.len() < 1024 {
            Stopped::NeedMore(1024)
        } else {
            Stopped::Failed(ImageError::NotAnImage)
        });
    };
    peek.set_format(format, limits.metadata_bytes);
    let info = match format {
        Format::Jpeg => jpeg::read(peek),
        Format::Png => png::read(peek),
        Format::WebP => webp::read(peek),
        Format::Gif => gif::read(peek, limits),
        Format::Avif | Format::Heic => isobmff::read(peek, format),
        Format::Bmp => bmp::read(peek),
        Format::Tiff => tiff::read(peek),
        Format::Svg => svg::read(peek),
        Format::Json | Format::Blurhash | Format::Thumbhash => Err(Stopped::Failed(ImageError::NotAnImage)),
    }?;
    if info.width == 0 || info.height == 0 {
        return Err(peek.corrupt(0, format!("the picture is {} x {} pixels", info.width, info.height)));
    }
    Ok(info)
}

#[cfg(test)]
mod tests;
