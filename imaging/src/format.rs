//! Kinds of pictures.

use core::fmt;

/// A kind of picture, decided by content, never by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// JPEG (ITU-T T.81) in any process.
    Jpeg,
    /// PNG, APNG included.
    Png,
    /// WebP: lossy, lossless, animated.
    WebP,
    /// GIF.
    Gif,
    /// AVIF: an ISO base media file with AV1 inside.
    Avif,
    /// HEIC: an ISO base media file with HEVC inside.
    Heic,
    /// Windows bitmap.
    Bmp,
    /// TIFF.
    Tiff,
    /// SVG.
    Svg,
    /// Not a picture but its facts as JSON: an answer only.
    Json,
    /// A BlurHash: text, an answer only.
    Blurhash,
    /// A ThumbHash in base64: text, an answer only.
    Thumbhash,
}

impl Format {
    /// Media type for `Content-Type`.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::WebP => "image/webp",
            Self::Gif => "image/gif",
            Self::Avif => "image/avif",
            Self::Heic => "image/heic",
            Self::Bmp => "image/bmp",
            Self::Tiff => "image/tiff",
            Self::Svg => "image/svg+xml",
            Self::Json => "application/json",
            Self::Blurhash | Self::Thumbhash => "text/plain; charset=utf-8",
        }
    }

    /// Short lower-case name, as in options, keys and headers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::Png => "png",
            Self::WebP => "webp",
            Self::Gif => "gif",
            Self::Avif => "avif",
            Self::Heic => "heic",
            Self::Bmp => "bmp",
            Self::Tiff => "tiff",
            Self::Svg => "svg",
            Self::Json => "json",
            Self::Blurhash => "blurhash",
            Self::Thumbhash => "thumbhash",
        }
    }

    /// Usual file name extension, without the dot.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Blurhash | Self::Thumbhash => "txt",
            other => other.as_str(),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
