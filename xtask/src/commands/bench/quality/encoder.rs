//! The encoders of the engine, by the options that choose them.

use anyhow::Result;
use serde_json::json;

use super::studio::{Picture, Scored, Studio};

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Jpeg,
    SmallJpeg,
    WebP,
    SmallWebP,
    /// The Worker's.
    Libaom,
    /// The native engine's.
    Rav1e,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "JPEG",
            Self::SmallJpeg => "JPEG, `compression=small`",
            Self::WebP => "WebP",
            Self::SmallWebP => "WebP, `compression=small`",
            Self::Libaom => "AVIF (libaom)",
            Self::Rav1e => "AVIF (rav1e)",
        }
    }

    /// A picture at our quality.
    pub(super) fn answer(self, studio: &mut Studio, picture: &Picture, quality: u8) -> Result<Scored> {
        let options = match self {
            Self::Libaom => return studio.libaom(picture, quality, None),
            Self::Jpeg => "format=jpeg",
            Self::SmallJpeg => "format=jpeg,compression=small",
            Self::WebP => "format=webp",
            Self::SmallWebP => "format=webp,compression=small",
            Self::Rav1e => "format=avif",
        };
        studio.ours(picture, &format!("{options},quality={quality}"))
    }

    /// The score at a number of the encoder's own, where that is not our quality.
    pub(super) fn score_at(self, studio: &mut Studio, picture: &Picture, number: u8) -> Result<f64> {
        let answer = match self {
            Self::Libaom => studio.libaom(picture, 80, Some(number)),
            Self::WebP => studio.theirs(picture, "webp", &json!({ "quality": number, "effort": 4 })),
            _ => self.answer(studio, picture, number),
        };
        Ok(answer?.score)
    }
}
