//! Options about the file that is written.

use super::{
    decimal::Decimal,
    value::{OptionValue, whole, words},
};
use core::fmt;

/// Perceived quality, the same over formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Quality(u8);

impl Quality {
    /// What applies when none is given.
    pub const DEFAULT: Self = Self(85);

    /// 1 to 100.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Multiplied, half up, and within its range.
    pub(crate) fn times(self, factor: Decimal) -> Self {
        let product = factor.scale(u32::from(self.0)).clamp(1, 100);
        Self(u8::try_from(product).unwrap_or(100))
    }
}

impl fmt::Display for Quality {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

// The default is not dropped: a given quality permits a palette in PNG, none does not.
impl OptionValue for Quality {
    const ALLOWED: &'static str = "1 to 100, high, medium-high, medium-low or low";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "high" => Some(Self(90)),
            "medium-high" => Some(Self(80)),
            "medium-low" => Some(Self(65)),
            "low" => Some(Self(50)),
            number => whole(number, 1, 100)
                .and_then(|value| u8::try_from(value).ok())
                .map(Self),
        }
    }
}

words! {
    /// Format that is asked for.
    OutputFormat, "auto, avif, webp, jpeg, baseline-jpeg, png, png-force, gif, svg, json, blurhash or thumbhash", default None, {
        /// The best that the client takes.
        Auto = "auto",
        /// AVIF.
        Avif = "avif",
        /// WebP.
        WebP = "webp",
        /// JPEG, progressive where that pays.
        Jpeg = "jpeg" | "jpg",
        /// JPEG, never progressive.
        BaselineJpeg = "baseline-jpeg",
        /// PNG.
        Png = "png",
        /// PNG, and never something else that would be smaller.
        PngForce = "png-force",
        /// GIF.
        Gif = "gif",
        /// SVG, sanitised; only from SVG.
        Svg = "svg",
        /// The picture's facts.
        Json = "json",
        /// A BlurHash placeholder.
        Blurhash = "blurhash",
        /// A ThumbHash placeholder.
        Thumbhash = "thumbhash",
    }
}

words! {
    /// What of the source's metadata is kept.
    Metadata, "copyright, keep or none", default Some(Metadata::Copyright), {
        /// Only who made it.
        Copyright = "copyright",
        /// All but the place it was taken at.
        Keep = "keep",
        /// Nothing.
        None = "none",
    }
}

words! {
    /// How much effort goes into the file's size.
    Compression, "fast or small", default None, {
        /// Little.
        Fast = "fast",
        /// Much: fewer bytes of the same look, or of the same pixels.
        Small = "small",
    }
}

words! {
    /// What is answered when the transform fails.
    OnError, "redirect", default None, {
        /// A redirect to the source.
        Redirect = "redirect",
    }
}

/// Bytes that the answer may have at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MaxBytes(u64);

impl MaxBytes {
    /// Bytes, from 1 to 100 MiB.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for MaxBytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl OptionValue for MaxBytes {
    const ALLOWED: &'static str = "1 to 104857600";

    fn parse(text: &str) -> Option<Self> {
        whole(text, 1, 100 * 1024 * 1024).map(Self)
    }
}
