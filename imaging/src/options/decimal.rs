//! Decimal option values in ten-thousandths: exact to compare, hash and print, unlike floats.

use core::fmt;

/// A non-negative decimal with at most four places. Further places are rounded, half up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Decimal(u32);

impl Decimal {
    const UNIT: u32 = 10_000;

    /// 0.
    pub const ZERO: Self = Self(0);
    /// 1.
    pub const ONE: Self = Self(Self::UNIT);

    /// A whole number; saturates far above every option's range.
    #[must_use]
    pub const fn whole(value: u32) -> Self {
        Self(value.saturating_mul(Self::UNIT))
    }

    /// A number of thousandths.
    #[must_use]
    pub const fn thousandths(value: u32) -> Self {
        Self(value.saturating_mul(Self::UNIT / 1_000))
    }

    /// Reads digits with at most one point and at least one digit: no sign, exponent or space.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (whole, places) = text.split_once('.').unwrap_or((text, ""));
        if (whole.is_empty() && places.is_empty())
            || !whole.bytes().chain(places.bytes()).all(|byte| byte.is_ascii_digit())
        {
            return None;
        }
        let whole: u32 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let mut fraction = 0;
        for place in 0..4 {
            fraction = fraction * 10 + places.as_bytes().get(place).map_or(0, |digit| u32::from(digit - b'0'));
        }
        let round_up = places.as_bytes().get(4).is_some_and(|digit| *digit >= b'5');
        whole
            .checked_mul(Self::UNIT)?
            .checked_add(fraction + u32::from(round_up))
            .map(Self)
    }

    /// Whether it is 0.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Half of it, rounded down to a ten-thousandth.
    #[must_use]
    pub const fn half(self) -> Self {
        Self(self.0 / 2)
    }

    /// The nearest `f64`.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        f64::from(self.0) / f64::from(Self::UNIT)
    }

    /// `value` times this, rounded half up: whole pixels out of whole pixels.
    #[must_use]
    pub fn scale(self, value: u32) -> u32 {
        let scaled = (u64::from(value) * u64::from(self.0) + u64::from(Self::UNIT / 2)) / u64::from(Self::UNIT);
        u32::try_from(scaled).unwrap_or(u32::MAX)
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0 / Self::UNIT, self.0 % Self::UNIT);
        if fraction == 0 {
            return write!(formatter, "{whole}");
        }
        let places = format!("{fraction:04}");
        write!(formatter, "{whole}.{}", places.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::Decimal;

    #[test]
    fn reads_and_prints_the_shortest_form() {
        for (given, printed) in [
            ("1", "1"),
            ("1.0", "1"),
            ("0.50", "0.5"),
            (".25", "0.25"),
            ("2.", "2"),
            ("1.00005", "1.0001"),
            ("007.1", "7.1"),
        ] {
            assert_eq!(Decimal::parse(given).unwrap().to_string(), printed, "{given}");
        }
        for given in [
            "",
            ".",
            "-1",
            "+1",
            "1e3",
            "1.2.3",
            " 1",
            "NaN",
            "inf",
            "99999999999",
            "1,5",
            "١",
        ] {
            assert_eq!(Decimal::parse(given), None, "{given}");
        }
    }

    #[test]
    fn scales_pixels_half_up() {
        assert_eq!(Decimal::parse("1.5").unwrap().scale(333), 500);
        assert_eq!(Decimal::parse("0.1").unwrap().scale(4), 0);
        assert_eq!(Decimal::whole(3).scale(u32::MAX), u32::MAX);
    }
}
