//! How long a rendering counts, and what it may stand in for afterwards.
//!
//! An entry is fresh, then stale (shown while it is made anew), then expired: made anew before it is shown, but kept, so
//! that it can stand in while its source fails.

use crate::{problem::Code, settings::Settings};

/// Longest time that an entry is kept, in seconds, whatever it is: purges are remembered for as long.
pub const LONGEST: u64 = 604_800;

/// Times of a stored rendering, in seconds from when it began to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// It is shown as it is.
    pub fresh: u64,
    /// After that, it is shown while it is made anew.
    pub stale: u64,
}

/// What an entry of some age is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Shown as it is.
    Fresh,
    /// Shown, and made anew behind the request.
    Stale,
    /// Made anew first; shown where that fails in a way that says nothing about the picture.
    Expired,
    /// Of no use.
    Gone,
}

impl Lifetime {
    /// The source's `max-age`, clamped to the settings; an immutable source is kept for as long as the settings allow.
    ///
    /// A source that forbids caching is kept for the least time the settings allow: a picture that is rendered anew for
    /// every request would let one page take all the time there is.
    #[must_use]
    pub fn of(settings: &Settings, source_cache_control: Option<&str>, immutable: bool) -> Self {
        let (least, most) = (settings.integer("imageMinTtl"), settings.integer("imageMaxTtl"));
        let wanted = if immutable {
            most
        } else {
            source_cache_control.map_or_else(
                || settings.integer("imageDefaultTtl"),
                |value| said(value, settings.integer("imageDefaultTtl")),
            )
        };
        let fresh = wanted.min(most).max(least.min(most)).min(LONGEST);
        Self {
            fresh,
            stale: settings.integer("imageStaleTtl").min(LONGEST - fresh),
        }
    }

    /// What an entry of this age is good for.
    #[must_use]
    pub const fn at(self, age_s: u64) -> Condition {
        match age_s {
            age if age >= LONGEST => Condition::Gone,
            age if age < self.fresh => Condition::Fresh,
            age if age < self.fresh.saturating_add(self.stale) => Condition::Stale,
            _ => Condition::Expired,
        }
    }
}

/// Whether a failure to make a picture anew says nothing about the picture itself, so that an older one may stand in.
///
/// What the source or the tenant decided is told: a picture that is gone, forbidden, or no picture any more.
#[must_use]
pub const fn may_stand_in(failure: Code) -> bool {
    matches!(
        failure,
        Code::SourceFailed | Code::SourceTimeout | Code::Busy | Code::Unavailable | Code::Internal | Code::RateLimited
    )
}

/// What a `Cache-Control` says for a shared cache, in seconds.
fn said(value: &str, default: u64) -> u64 {
    let directives = || {
        value
            .split(',')
            .map(|directive| directive.trim().split_once('=').unwrap_or((directive.trim(), "")))
    };
    if directives().any(|(name, _)| {
        ["no-store", "no-cache", "private"]
            .iter()
            .any(|word| name.eq_ignore_ascii_case(word))
    }) {
        return 0;
    }
    let seconds = |wanted: &str| {
        directives()
            .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .and_then(|(_, value)| value.trim_matches('"').parse::<u64>().ok())
    };
    seconds("s-maxage").or_else(|| seconds("max-age")).unwrap_or(default)
}

#[cfg(test)]
mod tests {
    use super::{Condition, LONGEST, Lifetime, may_stand_in};
    use crate::{problem::Code, settings::Settings};
    use proptest::prelude::{any, prop_assert, proptest};

    fn of(cache_control: Option<&str>, immutable: bool) -> Lifetime {
        Lifetime::of(&Settings::default(), cache_control, immutable)
    }

    #[test]
    fn the_source_says_and_the_settings_clamp() {
        assert_eq!(
            of(None, false),
            Lifetime {
                fresh: 86_400,
                stale: 86_400
            }
        );
        for (value, expected) in [
            ("max-age=3600", 3600),
            ("public, s-maxage=7200, max-age=3600", 7200),
            ("max-age=1", 300),
            ("max-age=99999999", 604_800),
            ("no-store, max-age=3600", 300),
            ("Private", 300),
            ("max-age=\"900\"", 900),
            ("max-age=soon", 86_400),
            ("", 86_400),
        ] {
            assert_eq!(of(Some(value), false).fresh, expected, "{value}");
        }
        assert_eq!(
            of(Some("no-store"), true),
            Lifetime {
                fresh: 604_800,
                stale: 0
            }
        );
    }

    #[test]
    fn age_decides() {
        let lifetime = Lifetime { fresh: 10, stale: 5 };
        for (age, condition) in [
            (0, Condition::Fresh),
            (9, Condition::Fresh),
            (10, Condition::Stale),
            (14, Condition::Stale),
            (15, Condition::Expired),
            (LONGEST - 1, Condition::Expired),
            (LONGEST, Condition::Gone),
        ] {
            assert_eq!(lifetime.at(age), condition, "{age}");
        }
    }

    #[test]
    fn what_the_source_decided_is_told() {
        for told in [
            Code::SourceNotFound,
            Code::SourceNotAllowed,
            Code::NotAnImage,
            Code::CorruptImage,
            Code::TooLarge,
            Code::Expired,
            Code::BadSignature,
        ] {
            assert!(!may_stand_in(told), "{told:?}");
        }
        assert!(may_stand_in(Code::SourceFailed) && may_stand_in(Code::Unavailable));
    }

    proptest! {
        #[test]
        fn nothing_lives_longer_than_purges_are_remembered(value in any::<String>(), immutable in any::<bool>()) {
            let lifetime = of(Some(&value), immutable);
            prop_assert!(lifetime.fresh + lifetime.stale <= LONGEST);
        }
    }
}
