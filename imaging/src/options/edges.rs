//! Options about the picture's edges: `trim` before the resize, `border` after it.

use super::Color;
use super::geometry::MAX_SIDE;
use super::value::{OptionValue, whole, words};
use core::fmt;

/// Pixels on each side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sides {
    /// Top, in pixels.
    pub top: u32,
    /// Right, in pixels.
    pub right: u32,
    /// Bottom, in pixels.
    pub bottom: u32,
    /// Left, in pixels.
    pub left: u32,
}

impl Sides {
    /// The same of each side.
    #[must_use]
    pub fn map(self, side: impl Fn(u32) -> u32) -> Self {
        Self {
            top: side(self.top),
            right: side(self.right),
            bottom: side(self.bottom),
            left: side(self.left),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text
            .split(';')
            .map(|part| whole(part, 0, u64::from(MAX_SIDE)).and_then(|value| u32::try_from(value).ok()));
        let mut side = || parts.next().flatten();
        let sides = Self {
            top: side()?,
            right: side()?,
            bottom: side()?,
            left: side()?,
        };
        parts.next().is_none().then_some(sides)
    }
}

impl fmt::Display for Sides {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{};{};{};{}", self.top, self.right, self.bottom, self.left)
    }
}

/// What is cut off before everything but orientation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trim {
    /// So many pixels on each side.
    Sides(Sides),
    /// A border of one colour, found in the picture.
    Border,
}

impl fmt::Display for Trim {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sides(sides) => sides.fmt(formatter),
            Self::Border => formatter.write_str("border"),
        }
    }
}

impl OptionValue for Trim {
    const ALLOWED: &'static str = "top;right;bottom;left, each 0 to 12000, or border";

    fn parse(text: &str) -> Option<Self> {
        if text == "border" {
            Some(Self::Border)
        } else {
            Sides::parse(text).map(Self::Sides)
        }
    }

    fn is_default(&self) -> bool {
        matches!(
            self,
            Self::Sides(Sides {
                top: 0,
                right: 0,
                bottom: 0,
                left: 0
            })
        )
    }
}

/// A number of pixels from `MIN` to [`MAX_SIDE`], or to 255 where it is a tolerance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pixels<const MIN: u32>(u32);

impl<const MIN: u32> Pixels<MIN> {
    /// The number; always in range.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl<const MIN: u32> fmt::Display for Pixels<MIN> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl<const MIN: u32> OptionValue for Pixels<MIN> {
    const ALLOWED: &'static str = if MIN == 0 { "0 to 12000" } else { "1 to 12000" };

    fn parse(text: &str) -> Option<Self> {
        whole(text, u64::from(MIN), u64::from(MAX_SIDE))
            .and_then(|value| u32::try_from(value).ok())
            .map(Self)
    }
}

/// How far a colour may be from another to count as the same, in steps of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tolerance<const MAX: u64>(u8);

impl<const MAX: u64> Tolerance<MAX> {
    /// The number; always in range.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl<const MAX: u64> fmt::Display for Tolerance<MAX> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl<const MAX: u64> OptionValue for Tolerance<MAX> {
    const ALLOWED: &'static str = if MAX == 60 { "0 to 60" } else { "0 to 255" };

    fn parse(text: &str) -> Option<Self> {
        whole(text, 0, MAX).and_then(|value| u8::try_from(value).ok()).map(Self)
    }

    fn is_default(&self) -> bool {
        MAX == 60 && self.0 == 12
    }
}

/// A frame of one colour, added after the resize.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Border {
    /// How wide on each side.
    pub sides: Sides,
    /// Of which colour.
    pub color: Color,
}

impl fmt::Display for Border {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sides {
            top,
            right,
            bottom,
            left,
        } = self.sides;
        if top == right && right == bottom && bottom == left {
            write!(formatter, "{top}:{}", self.color)
        } else {
            write!(formatter, "{}:{}", self.sides, self.color)
        }
    }
}

impl OptionValue for Border {
    const ALLOWED: &'static str = "width:color or top;right;bottom;left:color, each width 0 to 12000";

    fn parse(text: &str) -> Option<Self> {
        let (widths, color) = text.split_once(':')?;
        let sides = if widths.contains(';') {
            Sides::parse(widths)?
        } else {
            let width = Pixels::<0>::parse(widths)?.get();
            Sides {
                top: width,
                right: width,
                bottom: width,
                left: width,
            }
        };
        Some(Self {
            sides,
            color: Color::parse(color)?,
        })
    }

    fn is_default(&self) -> bool {
        self.sides
            == Sides {
                top: 0,
                right: 0,
                bottom: 0,
                left: 0,
            }
    }
}

impl OptionValue for Color {
    const ALLOWED: &'static str = "a CSS colour, percent-encoded: %23f28c28, white, rgb%28240%2C40%2C145%29";

    fn parse(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

words! {
    /// What is kept when the background is removed.
    Segment, "foreground", default None, {
        /// What stands before a plain light background.
        Foreground = "foreground",
    }
}
