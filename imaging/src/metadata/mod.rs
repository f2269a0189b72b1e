//! What of a source's metadata goes into the answer: EXIF and XMP, by the option `metadata`.
//!
//! Nothing here is believed: offsets, counts and markup come from whoever made the file. What is damaged is left out, and is
//! no reason to refuse a picture. Colour profiles are not metadata, answers being sRGB; the orientation is in the pixels.

mod exif;
mod iptc;
mod xmp;

use crate::probe::metadata_blocks;
use crate::{Format, ImageError, Limits, Plan, Source, options};

/// Metadata as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Metadata {
    /// EXIF from its TIFF header on; at most [`exif::MOST_BYTES`].
    pub(crate) exif: Option<Vec<u8>>,
    /// XMP, UTF-8; at most [`xmp::MOST_BYTES`].
    pub(crate) xmp: Option<String>,
}

impl Metadata {
    /// What a plan's answer carries. To be read before the pixels, whose decoders release the bytes behind them.
    ///
    /// # Errors
    /// Errors of the source.
    pub(crate) fn of(source: &dyn Source, plan: &Plan, limits: &Limits) -> Result<Self, ImageError> {
        let policy = plan.encoding.metadata;
        let carried = matches!(plan.encoding.format, Format::Jpeg | Format::Png | Format::WebP);
        if policy == options::Metadata::None || !carried {
            return Ok(Self::default());
        }
        let raw = metadata_blocks(source, plan.info.format, limits)?;
        Ok(match policy {
            options::Metadata::None => Self::default(),
            options::Metadata::Copyright => {
                let credit = xmp::Credit::read(&raw.xmp);
                Self {
                    exif: exif::Notice::read(&raw.exif)
                        .or(iptc::notice(&raw.iptc))
                        .or(credit.notice())
                        .write(),
                    xmp: credit.write(),
                }
            }
            options::Metadata::Keep => Self {
                exif: exif::kept(&raw.exif),
                xmp: xmp::kept(&raw.xmp),
            },
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.exif.is_none() && self.xmp.is_none()
    }
}

#[cfg(test)]
mod tests;
