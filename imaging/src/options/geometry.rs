//! Options that say where pixels go: size, fit, gravity, rotation.

use super::Decimal;
use super::value::{OptionValue, amounts, decimal, whole, words};
use core::fmt;

/// Longest side that can be asked for, in pixels.
pub const MAX_SIDE: u32 = 12_000;

/// Width of the upright picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Width {
    /// Pixels, 1 to [`MAX_SIDE`].
    Pixels(u32),
    /// By client hints, then device class.
    Auto,
}

impl fmt::Display for Width {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pixels(pixels) => pixels.fmt(formatter),
            Self::Auto => formatter.write_str("auto"),
        }
    }
}

impl OptionValue for Width {
    const ALLOWED: &'static str = "1 to 12000, or auto";

    fn parse(text: &str) -> Option<Self> {
        if text == "auto" {
            Some(Self::Auto)
        } else {
            Height::parse(text).map(|height| Self::Pixels(height.get()))
        }
    }
}

/// Height of the upright picture, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Height(u32);

impl Height {
    /// So many pixels, kept in the range.
    pub(crate) fn of(pixels: u32) -> Self {
        Self(pixels.clamp(1, MAX_SIDE))
    }

    /// Pixels, 1 to [`MAX_SIDE`].
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Height {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl OptionValue for Height {
    const ALLOWED: &'static str = "1 to 12000";

    fn parse(text: &str) -> Option<Self> {
        whole(text, 1, u64::from(MAX_SIDE))
            .and_then(|value| u32::try_from(value).ok())
            .map(Self)
    }
}

amounts! {
    /// Device pixels per CSS pixel.
    Dpr, "0.1 to 3", Decimal::thousandths(100), Decimal::whole(3), none [Decimal::ONE];
    /// How closely `gravity=auto` crops.
    Zoom, "0 to 1", Decimal::ZERO, Decimal::ONE, none [Decimal::ZERO];
}

words! {
    /// How the picture meets the box of `width` and `height`.
    Fit, "scale-down, contain, cover, crop, aspect-crop, pad, squeeze or scale-up", default Some(Fit::ScaleDown), {
        /// Fits inside, never enlarged.
        ScaleDown = "scale-down",
        /// Fits inside, enlarged where needed.
        Contain = "contain",
        /// Fills the box exactly; what sticks out is cut.
        Cover = "cover",
        /// As `cover`, never enlarged.
        Crop = "crop",
        /// As `crop`, and the aspect ratio is always the box's.
        AspectCrop = "aspect-crop",
        /// As `contain`, with `background` up to the box.
        Pad = "pad",
        /// Exactly the box, distorted.
        Squeeze = "squeeze",
        /// Covers as `contain` does, never shrunk.
        ScaleUp = "scale-up",
    }
}

words! {
    /// Rotation, clockwise, before the resize.
    Rotate, "0, 90, 180 or 270", default Some(Rotate::None), {
        /// As it is.
        None = "0",
        /// A quarter.
        Quarter = "90",
        /// A half.
        Half = "180",
        /// Three quarters.
        ThreeQuarters = "270",
    }
}

words! {
    /// Mirroring, before the rotation.
    Flip, "h, v or hv", default None, {
        /// Left and right change places.
        Horizontal = "h",
        /// Top and bottom change places.
        Vertical = "v",
        /// Both.
        Both = "hv" | "vh",
    }
}

words! {
    /// How enlarging makes new pixels.
    Upscale, "interpolate", default Some(Upscale::Interpolate), {
        /// By the resampling filter.
        Interpolate = "interpolate",
    }
}

/// Where `cover` and `crop` keep, and `pad` puts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gravity {
    /// That relative point of the output lies on that relative point of the source: 0 is left or top, 1 right or bottom.
    Point {
        /// 0 to 1.
        x: Decimal,
        /// 0 to 1.
        y: Decimal,
    },
    /// The salient part; `face` means the same.
    Auto,
    /// The part with the most entropy.
    Entropy,
}

const HALF: Decimal = Decimal::thousandths(500);

/// Words for points; the first of each point is its normal form.
const NAMED: [(&str, Decimal, Decimal); 13] = [
    ("center", HALF, HALF),
    ("left", Decimal::ZERO, HALF),
    ("right", Decimal::ONE, HALF),
    ("top", HALF, Decimal::ZERO),
    ("bottom", HALF, Decimal::ONE),
    ("top-left", Decimal::ZERO, Decimal::ZERO),
    ("top-right", Decimal::ONE, Decimal::ZERO),
    ("bottom-left", Decimal::ZERO, Decimal::ONE),
    ("bottom-right", Decimal::ONE, Decimal::ONE),
    ("left-top", Decimal::ZERO, Decimal::ZERO),
    ("right-top", Decimal::ONE, Decimal::ZERO),
    ("left-bottom", Decimal::ZERO, Decimal::ONE),
    ("right-bottom", Decimal::ONE, Decimal::ONE),
];

impl Gravity {
    /// The middle.
    pub const CENTER: Self = Self::Point { x: HALF, y: HALF };
}

impl fmt::Display for Gravity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::Entropy => formatter.write_str("entropy"),
            Self::Point { x, y } => match NAMED.iter().find(|(_, known_x, known_y)| (known_x, known_y) == (x, y)) {
                Some((name, ..)) => formatter.write_str(name),
                None => write!(formatter, "{x}x{y}"),
            },
        }
    }
}

impl OptionValue for Gravity {
    const ALLOWED: &'static str = "center, left, right, top, bottom, top-left, top-right, bottom-left, bottom-right, auto, entropy, face, or XxY with both 0 to 1";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "auto" | "face" => return Some(Self::Auto),
            "entropy" => return Some(Self::Entropy),
            _ => {}
        }
        if let Some((_, x, y)) = NAMED.iter().find(|(name, ..)| *name == text) {
            return Some(Self::Point { x: *x, y: *y });
        }
        let (x, y) = text.split_once('x')?;
        let part = |text| decimal(text, Decimal::ZERO, Decimal::ONE);
        Some(Self::Point {
            x: part(x)?,
            y: part(y)?,
        })
    }

    fn is_default(&self) -> bool {
        *self == Self::CENTER
    }
}
