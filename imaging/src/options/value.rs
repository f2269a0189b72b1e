//! What every option value has: a reading, a printing, and a sentence about what is allowed.

use super::Decimal;
use core::fmt;

/// A value of one option.
///
/// `Display` prints the normal form: different spellings of one value print alike, and what it prints parses to itself.
pub(crate) trait OptionValue: Sized + fmt::Display {
    /// What the option accepts, for people.
    const ALLOWED: &'static str;

    /// Reads a percent-decoded value.
    fn parse(text: &str) -> Option<Self>;

    /// Whether giving this value is the same as giving none.
    fn is_default(&self) -> bool {
        false
    }
}

pub(super) fn whole(text: &str, min: u64, max: u64) -> Option<u64> {
    if text.is_empty() || text.len() > 20 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|value| (min..=max).contains(value))
}

pub(super) fn decimal(text: &str, min: Decimal, max: Decimal) -> Option<Decimal> {
    Decimal::parse(text).filter(|value| (min..=max).contains(value))
}

/// An enumeration whose values are words; the first is the default unless the list begins with `no default`.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident, $allowed:literal, default $default:expr, { $($(#[$variant_meta:meta])* $variant:ident = $word:literal $(| $alias:literal)*,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_meta])* $variant,)* }

        impl $name {
            /// The word in the address.
            #[must_use]
            pub const fn as_str(self) -> &'static str { match self { $(Self::$variant => $word,)* } }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result { formatter.write_str(self.as_str()) }
        }

        impl $crate::options::value::OptionValue for $name {
            const ALLOWED: &'static str = $allowed;

            fn parse(text: &str) -> Option<Self> { match text { $($word $(| $alias)* => Some(Self::$variant),)* _ => None } }

            fn is_default(&self) -> bool {
                const DEFAULT: Option<$name> = $default;
                DEFAULT == Some(*self)
            }
        }
    };
}
pub(super) use words;

/// A newtype over [`Decimal`] with a range and a value that means "none".
macro_rules! amounts {
    ($($(#[$meta:meta])* $name:ident, $allowed:literal, $min:expr, $max:expr, none [$($none:expr),*];)*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Decimal);

        impl $name {
            /// The value; always in range.
            #[must_use]
            pub const fn get(self) -> Decimal { self.0 }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result { self.0.fmt(formatter) }
        }

        impl OptionValue for $name {
            const ALLOWED: &'static str = $allowed;

            fn parse(text: &str) -> Option<Self> { super::value::decimal(text, $min, $max).map(Self) }

            fn is_default(&self) -> bool {
                const NONE: &[Decimal] = &[$($none),*];
                NONE.contains(&self.0)
            }
        }
    )*};
}
pub(super) use amounts;

/// `true` or `false`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Switch<const DEFAULT: bool>(pub bool);

impl<const DEFAULT: bool> fmt::Display for Switch<DEFAULT> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl<const DEFAULT: bool> OptionValue for Switch<DEFAULT> {
    const ALLOWED: &'static str = "true or false";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "true" => Some(Self(true)),
            "false" => Some(Self(false)),
            _ => None,
        }
    }

    fn is_default(&self) -> bool {
        self.0 == DEFAULT
    }
}
