//! Everything that can go wrong with a picture, in the terms of the contract.

use crate::{CodecError, Format, OptionError, SourceError};

/// What passed a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LimitKind {
    /// Bytes of the source.
    SourceBytes,
    /// Pixels of the source, all frames together where it has several.
    Pixels,
    /// Longer side of the source, in pixels.
    Side,
    /// Frames of an animation.
    Frames,
    /// Scans of a JPEG.
    Scans,
    /// Bytes of metadata in front of the pixels.
    MetadataBytes,
    /// Bytes of the colour profile.
    ProfileBytes,
    /// Pixels of the answer.
    OutputPixels,
    /// Longer side of the answer, in pixels.
    OutputSide,
    /// Bytes of the answer.
    OutputBytes,
    /// Bytes of memory that the work would take.
    Memory,
    /// Elements of an SVG document, those that are referred to as often as they are drawn.
    Elements,
    /// Elements of an SVG document within each other.
    Depth,
    /// Work for the style sheets of an SVG document.
    Styles,
    /// Pixels that an SVG document paints, as often as it does.
    Painted,
    /// Pixels from an SVG document's corner to the farthest side of a shape.
    Distance,
}

impl LimitKind {
    /// Name as it stands in problem documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SourceBytes => "bytes",
            Self::Pixels => "pixels",
            Self::Side => "side",
            Self::Frames => "frames",
            Self::Scans => "scans",
            Self::MetadataBytes => "metadata bytes",
            Self::ProfileBytes => "color profile bytes",
            Self::OutputPixels => "output pixels",
            Self::OutputSide => "output side",
            Self::OutputBytes => "output bytes",
            Self::Memory => "memory",
            Self::Elements => "elements",
            Self::Depth => "depth",
            Self::Styles => "style rules",
            Self::Painted => "painted pixels",
            Self::Distance => "pixels to a shape",
        }
    }
}

/// Why a picture could not be transformed.
///
/// [`ImageError::code`] is the contract's code; the display text is for the client and says what, where, and what would
/// be right. It never holds bytes of the source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// The options are wrong, or ask for what the engine does not do.
    #[error("{}", crate::options::describe(.0))]
    BadOptions(Vec<OptionError>),
    /// The bytes are no picture.
    #[error("the source is not an image of a known kind")]
    NotAnImage,
    /// A picture of a kind, or with a feature, that cannot be read or written.
    #[error("{format}: {what}")]
    UnsupportedFormat {
        /// Kind of the picture.
        format: Format,
        /// What about it is not supported.
        what: String,
    },
    /// More than a limit allows.
    #[error("{}", over(*.what, *.limit, *.value))]
    TooLarge {
        /// What passed the limit.
        what: LimitKind,
        /// The limit.
        limit: u64,
        /// The value that passed it.
        value: u64,
    },
    /// The picture is truncated or damaged.
    #[error("{format}: {detail}, near byte {offset}")]
    Corrupt {
        /// Kind of the picture.
        format: Format,
        /// How far into the source the decoder had read, in bytes.
        offset: u64,
        /// What was wrong there.
        detail: String,
    },
    /// The source could not be read.
    #[error("the source could not be read: {0}")]
    Source(#[from] SourceError),
    /// The picture that is drawn over another one cannot be.
    #[error("the picture to draw: {0}")]
    Overlay(Box<Self>),
    /// The caller's cancellation hook said so.
    #[error("the transform was cancelled")]
    Cancelled,
    /// An injected codec failed.
    #[error("the encoder failed: {0}")]
    Codec(#[from] CodecError),
    /// The engine contradicted itself; always a defect of ours.
    #[error("internal error: {0}")]
    Internal(&'static str),
}

impl ImageError {
    /// The contract's code, as it ends a problem's `type`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::BadOptions(_) => "bad-options",
            Self::NotAnImage => "not-an-image",
            Self::UnsupportedFormat { .. } => "unsupported-format",
            Self::TooLarge { .. } => "too-large",
            Self::Corrupt { .. } => "corrupt-image",
            Self::Source(_) => "source-failed",
            Self::Overlay(error) => error.code(),
            Self::Cancelled => "busy",
            Self::Codec(_) | Self::Internal(_) => "internal",
        }
    }

    /// HTTP status that belongs to [`Self::code`].
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::BadOptions(_) => 400,
            Self::NotAnImage | Self::UnsupportedFormat { .. } => 415,
            Self::TooLarge { .. } => 413,
            Self::Corrupt { .. } => 422,
            Self::Source(_) => 502,
            Self::Overlay(error) => error.status(),
            Self::Cancelled => 503,
            Self::Codec(_) | Self::Internal(_) => 500,
        }
    }

    /// Whether only this lane's memory stands in the way, so that a lane with more of it may try.
    #[must_use]
    pub const fn is_heavy(&self) -> bool {
        match self {
            Self::TooLarge { what, .. } => matches!(what, LimitKind::Memory),
            Self::Overlay(error) => error.is_heavy(),
            _ => false,
        }
    }

    pub(crate) fn corrupt(format: Format, offset: u64, detail: impl Into<String>) -> Self {
        Self::Corrupt {
            format,
            offset,
            detail: detail.into(),
        }
    }

    pub(crate) fn unsupported(format: Format, what: impl Into<String>) -> Self {
        Self::UnsupportedFormat {
            format,
            what: what.into(),
        }
    }
}

fn over(what: LimitKind, limit: u64, value: u64) -> String {
    let what = what.as_str();
    if value == u64::MAX {
        format!("more {what} than can be counted, over the limit of {limit}")
    } else {
        format!("{what} {value} is over the limit of {limit}")
    }
}
