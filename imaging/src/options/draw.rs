//! `draw`: a picture or a text over the picture.

use super::geometry::{Fit, Gravity};
use super::value::{OptionValue, decimal, whole};
use super::{Color, Decimal};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use core::fmt;

/// Longest text, in the address's base64url.
const MAX_TEXT: usize = 2048;

/// What is drawn.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Overlay {
    /// A stored picture, by its id.
    Picture(String),
    /// A text; in the address it is base64url of UTF-8, without padding.
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

impl Draw {
    /// A text in the middle.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(Overlay::Text(text.into()))
    }

    /// An overlay as it is where nothing more is said.
    fn new(overlay: Overlay) -> Self {
        Self {
            overlay,
            width: None,
            height: None,
            opacity: Decimal::ONE,
            gravity: Gravity::CENTER,
            fit: Fit::ScaleDown,
            repeat: None,
            color: None,
        }
    }
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
            Overlay::Text(text) => write!(formatter, "t:{}", URL_SAFE_NO_PAD.encode(text))?,
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

/// A side, a corner or a point: nothing is looked for in the picture to draw on.
fn point(text: &str) -> Option<Gravity> {
    Gravity::parse(text).filter(|gravity| matches!(gravity, Gravity::Point { .. }))
}

fn decoded(encoded: &str) -> Option<String> {
    if encoded.is_empty() || encoded.len() > MAX_TEXT {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(encoded).ok()?;
    String::from_utf8(bytes).ok()
}

fn stored(text: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    ((1..=64).contains(&text.len()) && text.bytes().all(plain)).then(|| text.to_owned())
}

impl OptionValue for Draw {
    const ALLOWED: &'static str = "u:<id> or t:<UTF-8 text in base64url, at most 2048 characters>, then any of ;width= ;height= (pixels or a \
        fraction below 1) ;opacity= (0 to 1) ;gravity= (a side, a corner or XxY) ;fit= ;repeat= (true, x or y) ;color= (of a text), each at \
        most once";

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(';');
        let subject = parts.next()?;
        let overlay = match subject.split_once(':')? {
            ("u", id) => Overlay::Picture(stored(id)?),
            ("t", encoded) => Overlay::Text(decoded(encoded)?),
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
                "gravity" => set(&mut gravity, point(value))?,
                "fit" => set(&mut fit, Fit::parse(value))?,
                "color" if matches!(overlay, Overlay::Text(_)) => set(&mut color, Color::parse(value))?,
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
        let plain = Self::new(overlay);
        Some(Self {
            width,
            height,
            opacity: opacity.unwrap_or(plain.opacity),
            gravity: gravity.unwrap_or(plain.gravity),
            fit: fit.unwrap_or(plain.fit),
            repeat,
            color,
            ..plain
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(value: &str) -> Option<String> {
        Draw::parse(value).map(|draw| draw.to_string())
    }

    #[test]
    fn a_text_is_utf_8_in_base64url() {
        // "Grüße", then what is no UTF-8, no base64url, padded, too long, or nothing.
        let draw = Draw::parse("t:R3LDvMOfZQ").unwrap();
        assert_eq!(draw.overlay, Overlay::Text("Grüße".to_owned()));
        assert_eq!(draw, Draw::text("Grüße"));
        assert_eq!(draw.to_string(), "t:R3LDvMOfZQ");
        for bad in ["t:gA", "t:R3L+", "t:R3LDvMOfZQ==", "t:", "t:R"] {
            assert_eq!(printed(bad), None, "{bad}");
        }
        assert!(printed(&format!("t:{}", "QUJD".repeat(512))).is_some());
        assert_eq!(printed(&format!("t:{}", "QUJD".repeat(513))), None);
    }

    #[test]
    fn one_draw_has_one_spelling() {
        assert_eq!(
            printed("u:logo;width=0.250;repeat=x;gravity=right-bottom;opacity=1.0;fit=scale-down;height=20").as_deref(),
            Some("u:logo;gravity=bottom-right;height=20;repeat=x;width=0.25")
        );
        assert_eq!(printed("t:QQ;color=red").as_deref(), Some("t:QQ;color=#ff0000"));
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for bad in [
            "u:a;gravity=auto",
            "u:a;gravity=entropy",
            "u:a;color=red",
            "u:a;width=0",
            "u:a;width=12001",
            "u:a;opacity=1.1",
            "u:a;width=3;width=4",
            "u:a;repeat=false",
            "u:a/b",
            "x:a",
        ] {
            assert_eq!(printed(bad), None, "{bad}");
        }
    }
}
