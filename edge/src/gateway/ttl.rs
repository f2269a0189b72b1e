//! How long a rendering is kept. Pure.

use kado_shared::settings::Settings;

/// Times of a stored rendering, in seconds from when it was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lifetime {
    /// It is shown as it is.
    pub(crate) fresh: u64,
    /// After that, it is shown while it is made anew.
    pub(crate) stale: u64,
}

/// An entry lives 7 days at most, fresh and stale together: purges are remembered for as long.
const LONGEST: u64 = 604_800;

/// The source's `max-age`, clamped to the settings; an immutable source is kept for as long as the settings allow.
///
/// A source that forbids caching is kept for the least time the settings allow: a picture that is rendered anew for
/// every request would let one page take all the time there is.
pub(crate) fn of(settings: &Settings, source_cache_control: Option<&str>, immutable: bool) -> Lifetime {
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
    Lifetime {
        fresh,
        stale: settings.integer("imageStaleTtl").min(LONGEST - fresh),
    }
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
    use super::{Lifetime, of};
    use kado_shared::settings::Settings;

    fn fresh(cache_control: Option<&str>, immutable: bool) -> u64 {
        of(&Settings::default(), cache_control, immutable).fresh
    }

    #[test]
    fn the_source_says_and_the_settings_clamp() {
        assert_eq!(
            of(&Settings::default(), None, false),
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
            assert_eq!(fresh(Some(value), false), expected, "{value}");
        }
        let immutable = of(&Settings::default(), Some("no-store"), true);
        assert_eq!(
            immutable,
            Lifetime {
                fresh: 604_800,
                stale: 0
            }
        );
    }
}
