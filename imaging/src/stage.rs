//! Where a transform stands, for whoever wants to know how long each part took: the clock is the caller's.

use core::fmt;

/// A part of the work, in the order in which they begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// From bytes to pixels, at the plan's decode scale.
    Decode,
    /// To the plan's size.
    Resample,
    /// EXIF orientation, `flip`, `rotate`, and the background under transparency.
    Turn,
    /// Changes of colour.
    Effects,
    /// Padding and border.
    Compose,
    /// From pixels to bytes.
    Encode,
}

impl Stage {
    /// Short lower-case name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Resample => "resample",
            Self::Turn => "turn",
            Self::Effects => "effects",
            Self::Compose => "compose",
            Self::Encode => "encode",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}
