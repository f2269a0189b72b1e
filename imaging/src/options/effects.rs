//! Options that change the colours of the resized picture.

use super::Decimal;
use super::value::{OptionValue, amounts};
use core::fmt;

amounts! {
    /// Gaussian blur; sigma is half of it.
    Blur, "1 to 250", Decimal::ONE, Decimal::whole(250), none [];
    /// Amount of an unsharp mask of sigma 1.
    Sharpen, "0 to 10", Decimal::ZERO, Decimal::whole(10), none [Decimal::ZERO];
    /// Factor on lightness. 0 is ignored, as at Cloudflare.
    Brightness, "0 to 10", Decimal::ZERO, Decimal::whole(10), none [Decimal::ZERO, Decimal::ONE];
    /// Factor on the distance from middle grey. 0 is ignored.
    Contrast, "0 to 10", Decimal::ZERO, Decimal::whole(10), none [Decimal::ZERO, Decimal::ONE];
    /// Factor on chroma; 0 is greyscale.
    Saturation, "0 to 10", Decimal::ZERO, Decimal::whole(10), none [Decimal::ONE];
    /// Exponent: below 1 darkens, above 1 lightens. 0 is ignored.
    Gamma, "0 to 10", Decimal::ZERO, Decimal::whole(10), none [Decimal::ZERO, Decimal::ONE];
}

/// A named look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FilterName(&'static str);

impl FilterName {
    /// The names that there are.
    pub const ALL: &'static [&'static str] = FILTERS;

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for FilterName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }
}

/// Filters by name, and the effects that take no argument, as photon-rs calls them.
const FILTERS: &[&str] = &[
    "bluechrome",
    "cali",
    "diamante",
    "dramatic",
    "duotone_horizon",
    "duotone_lilac",
    "duotone_ochre",
    "duotone_violette",
    "emboss",
    "firenze",
    "flagblue",
    "golden",
    "grayscale",
    "halftone",
    "invert",
    "islands",
    "laplace",
    "liquid",
    "lix",
    "lofi",
    "marine",
    "mauve",
    "monochrome",
    "neue",
    "normalize",
    "obsidian",
    "oceanic",
    "oil",
    "pastel_pink",
    "perfume",
    "pixelize",
    "primary",
    "radio",
    "rosetint",
    "ryo",
    "seagreen",
    "sepia",
    "serenity",
    "sobel_global",
    "solarize",
    "twenties",
    "vintage",
];

impl OptionValue for FilterName {
    const ALLOWED: &'static str = "bluechrome, cali, diamante, dramatic, duotone_horizon, duotone_lilac, duotone_ochre, duotone_violette, \
        emboss, firenze, flagblue, golden, grayscale, halftone, invert, islands, laplace, liquid, lix, lofi, marine, mauve, monochrome, neue, \
        normalize, obsidian, oceanic, oil, pastel_pink, perfume, pixelize, primary, radio, rosetint, ryo, seagreen, sepia, serenity, \
        sobel_global, solarize, twenties or vintage";

    fn parse(text: &str) -> Option<Self> {
        FILTERS.iter().find(|name| **name == text).copied().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::{FILTERS, FilterName};
    use crate::options::value::OptionValue;

    #[test]
    fn the_sentence_names_every_filter() {
        for name in FILTERS {
            assert!(FilterName::ALLOWED.contains(name), "{name}");
        }
    }
}
