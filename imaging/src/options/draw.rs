//! `draw`: a picture or a text over the picture.

use super::geometry::{Fit, Gravity};
use super::value::{OptionValue, decimal, whole};
use super::{Color, Decimal};
use core::fmt;

/// What is drawn.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Overlay {
    /// A stored picture, by its id.
    Picture(String),
    /// A text, in base64url as it was given.
    Text(String),
}

/// Size of an overlay along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extent {
    /// Pixels.
    Pixels(u32),
    /// Part of the picture under it, above 0 and below 1.
    Fraction(Decimal),
}

/// Along which axes an overlay is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Repeat {
    /// Along both.
    Both,
    /// From left to right.
    X,
    /// From top to bottom.
    Y,
}

/// An overlay and where it goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Draw {
    /// What is drawn.
    pub overlay: Overlay,
    /// Its width.
    pub width: Option<Extent>,
    /// Its height.
    pub height: Option<Extent>,
    /// 0 to 1.
    pub opacity: Decimal,
    /// Where it goes.
    pub gravity: Gravity,
    /// How it meets its own box.
    pub fit: Fit,
    /// Whether it is repeated.
    pub repeat: Option<Repeat>,
    /// Colour of a text.
    pub color: Option<Color>,
}

impl fmt::Display for Extent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pixels(pixels) => pixels.fmt(formatter),
            Self::Fraction(fraction) => fraction.fmt(formatter),
        }
    }
}

impl fmt::Display for Draw {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.overlay {
            Overlay::Picture(id) => write!(formatter, "u:{id}")?,
            Overlay::Text(text) => write!(formatter, "t:{text}")?,
        }
        if let Some(color) = self.color {
            write!(formatter, ";color={color}")?;
        }
        if !self.fit.is_default() {
            write!(formatter, ";fit={}", self.fit)?;
        }
        if !self.gravity.is_default() {
            write!(formatter, ";gravity={}", self.gravity)?;
        }
        if let Some(height) = self.height {
            write!(formatter, ";height={height}")?;
        }
        if self.opacity != Decimal::ONE {
            write!(formatter, ";opacity={}", self.opacity)?;
        }
        match self.repeat {
            Some(Repeat::Both) => write!(formatter, ";repeat=true")?,
            Some(Repeat::X) => write!(formatter, ";repeat=x")?,
            Some(Repeat::Y) => write!(formatter, ";repeat=y")?,
            None => {}
        }
        self.width.map_or(Ok(()), |width| write!(formatter, ";width={width}"))
    }
}

fn extent(text: &str) -> Option<Extent> {
    if let Some(pixels) = whole(text, 1, 12_000) {
        return u32::try_from(pixels).ok().map(Extent::Pixels);
    }
    decimal(text, Decimal::ZERO, Decimal::ONE)
        .filter(|value| *value != Decimal::ZERO && *value != Decimal::ONE)
        .map(Extent::Fraction)
}

fn set<T>(slot: &mut Option<T>, value: Option<T>) -> Option<()> {
    if slot.is_some() {
        return None;
    }
    *slot = Some(value?);
    Some(())
}

impl OptionValue for Draw {
    const ALLOWED: &'static str = "u:<id> or t:<base64url text>, then any of ;width= ;height= (pixels or a fraction below 1) ;opacity= (0 to 1) \
        ;gravity= ;fit= ;repeat= (true, x or y) ;color=, each at most once";

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(';');
        let subject = parts.next()?;
        let word = |text: &str, max: usize| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
            ((1..=max).contains(&text.len()) && text.bytes().all(plain)).then(|| text.to_owned())
        };
        let overlay = match subject.split_once(':')? {
            ("u", id) => Overlay::Picture(word(id, 64)?),
            ("t", text) => Overlay::Text(word(text, 2048)?),
            _ => return None,
        };
        let (mut width, mut height, mut opacity, mut gravity) = (None, None, None, None);
        let (mut fit, mut repeat, mut color) = (None, None, None);
        for part in parts {
            let (name, value) = part.split_once('=')?;
            match name {
                "width" => set(&mut width, extent(value))?,
                "height" => set(&mut height, extent(value))?,
                "opacity" => set(&mut opacity, decimal(value, Decimal::ZERO, Decimal::ONE))?,
                "gravity" => set(&mut gravity, Gravity::parse(value))?,
                "fit" => set(&mut fit, Fit::parse(value))?,
                "color" => set(&mut color, Color::parse(value))?,
                "repeat" => {
                    let axes = match value {
                        "true" => Some(Repeat::Both),
                        "x" => Some(Repeat::X),
                        "y" => Some(Repeat::Y),
                        _ => None,
                    };
                    set(&mut repeat, axes)?;
                }
                _ => return None,
            }
        }
        Some(Self {
            overlay,
            width,
            height,
            opacity: opacity.unwrap_or(Decimal::ONE),
            gravity: gravity.unwrap_or(Gravity::CENTER),
            fit: fit.unwrap_or(Fit::ScaleDown),
            repeat,
            color,
        })
    }
}
