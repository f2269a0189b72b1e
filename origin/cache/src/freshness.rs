//! What may be stored, and for how long. Pure: headers and the time in, a decision out.

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::cache_control::{CacheControl, delta_seconds};

/// How long a response is fresh.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lifetime {
    /// Age in seconds that it already had when it came.
    pub(crate) initial_age: u64,
    /// Seconds from now during which it may be served; at least 1.
    pub(crate) remaining: u64,
    /// Fields that must not be stored with it.
    pub(crate) withheld: Vec<HeaderName>,
}

/// Why a response is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// 1xx, 206 or 304: not a whole response.
    Status,
    /// `Vary: *`.
    VaryAny,
    /// `Set-Cookie`.
    SetCookie,
    /// `Cache-Control: no-store`, or one that cannot be read.
    NoStore,
    /// `Cache-Control: private`.
    Private,
    /// `Cache-Control: no-cache`: we have no way to validate.
    NoCache,
    /// Neither `s-maxage` nor `max-age` nor `Expires`.
    NoLifetime,
    /// A lifetime that is over.
    Stale,
}

/// Decides about a response at `now` (unix milliseconds).
pub(crate) fn assess(status: StatusCode, headers: &HeaderMap, now_ms: u64) -> Result<Lifetime, Refusal> {
    if status.is_informational() || status == StatusCode::PARTIAL_CONTENT || status == StatusCode::NOT_MODIFIED {
        return Err(Refusal::Status);
    }
    if headers
        .get_all(header::VARY)
        .iter()
        .any(|v| v.as_bytes().split(|b| *b == b',').any(|t| t.trim_ascii() == b"*"))
    {
        return Err(Refusal::VaryAny);
    }
    let control = CacheControl::of(headers);
    if control.no_store {
        return Err(Refusal::NoStore);
    }
    if control.private {
        return Err(Refusal::Private);
    }
    if control.no_cache {
        return Err(Refusal::NoCache);
    }
    if headers.contains_key(header::SET_COOKIE) && !control.withheld.contains(&header::SET_COOKIE) {
        return Err(Refusal::SetCookie);
    }
    let lifetime = match (control.s_maxage, control.max_age, headers.get(header::EXPIRES)) {
        (Some(seconds), _, _) | (None, Some(seconds), _) => seconds,
        (None, None, Some(expires)) => {
            let sent = headers.get(header::DATE).and_then(http_date).unwrap_or(now_ms / 1000);
            // An unreadable date, the customary `0` among them, is in the past (RFC 9111, section 5.3).
            http_date(expires).unwrap_or(0).saturating_sub(sent)
        }
        (None, None, None) => return Err(Refusal::NoLifetime),
    };
    let initial_age = headers
        .get(header::AGE)
        .and_then(|v| v.to_str().ok())
        .map_or(0, |v| delta_seconds(v.trim()));
    match lifetime.saturating_sub(initial_age) {
        0 => Err(Refusal::Stale),
        remaining => Ok(Lifetime {
            initial_age,
            remaining,
            withheld: control.withheld,
        }),
    }
}

/// Unix seconds of an HTTP date in any of its three forms.
pub(crate) fn http_date(value: &HeaderValue) -> Option<u64> {
    let at = httpdate::parse_http_date(value.to_str().ok()?).ok()?;
    at.duration_since(UNIX_EPOCH).ok().as_ref().map(Duration::as_secs)
}

impl Refusal {
    /// Every reason, in the order of the statistics.
    pub(crate) const ALL: [Self; 8] = [
        Self::Status,
        Self::VaryAny,
        Self::SetCookie,
        Self::NoStore,
        Self::Private,
        Self::NoCache,
        Self::NoLifetime,
        Self::Stale,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::VaryAny => "vary-any",
            Self::SetCookie => "set-cookie",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::NoCache => "no-cache",
            Self::NoLifetime => "no-lifetime",
            Self::Stale => "stale",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW_MS: u64 = 1_800_000_000_000;

    fn headers(list: &[(&str, &str)]) -> HeaderMap {
        list.iter()
            .map(|(n, v)| (n.parse::<HeaderName>().unwrap(), v.parse::<HeaderValue>().unwrap()))
            .collect()
    }

    fn decide(status: u16, list: &[(&str, &str)]) -> Result<u64, Refusal> {
        assess(StatusCode::from_u16(status).unwrap(), &headers(list), NOW_MS).map(|l| l.remaining)
    }

    fn date(unix: u64) -> String {
        httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(unix))
    }

    #[test]
    fn a_lifetime_comes_from_s_maxage_then_max_age_then_expires() {
        let expires = date(NOW_MS / 1000 + 30);
        assert_eq!(
            decide(
                200,
                &[("cache-control", "max-age=60, s-maxage=120"), ("expires", &expires)]
            ),
            Ok(120)
        );
        assert_eq!(
            decide(200, &[("cache-control", "max-age=60"), ("expires", &expires)]),
            Ok(60)
        );
        assert_eq!(decide(200, &[("expires", &expires)]), Ok(30));
        let sent = date(NOW_MS / 1000 - 10);
        assert_eq!(decide(200, &[("expires", &expires), ("date", &sent)]), Ok(40));
    }

    #[test]
    fn what_must_not_be_shared_is_refused() {
        let fresh = ("cache-control", "max-age=60");
        assert_eq!(decide(200, &[fresh, ("set-cookie", "a=b")]), Err(Refusal::SetCookie));
        assert_eq!(
            decide(200, &[("cache-control", "private, max-age=60")]),
            Err(Refusal::Private)
        );
        assert_eq!(
            decide(200, &[("cache-control", "no-store, max-age=60")]),
            Err(Refusal::NoStore)
        );
        assert_eq!(
            decide(200, &[("cache-control", "no-cache, max-age=60")]),
            Err(Refusal::NoCache)
        );
        assert_eq!(decide(200, &[fresh, ("vary", "accept, *")]), Err(Refusal::VaryAny));
        assert_eq!(decide(206, &[fresh]), Err(Refusal::Status));
        assert_eq!(decide(304, &[fresh]), Err(Refusal::Status));
    }

    #[test]
    fn a_cookie_may_be_withheld_by_name() {
        let list = [
            ("cache-control", "private=\"Set-Cookie\", max-age=60"),
            ("set-cookie", "a=b"),
        ];
        let lifetime = assess(StatusCode::OK, &headers(&list), NOW_MS).unwrap();
        assert_eq!(lifetime.withheld, [header::SET_COOKIE]);
    }

    #[test]
    fn without_a_lifetime_nothing_is_stored() {
        assert_eq!(decide(200, &[]), Err(Refusal::NoLifetime));
        assert_eq!(decide(200, &[("cache-control", "public")]), Err(Refusal::NoLifetime));
        assert_eq!(decide(200, &[("cache-control", "max-age=0")]), Err(Refusal::Stale));
        assert_eq!(
            decide(200, &[("cache-control", "s-maxage=0, max-age=60")]),
            Err(Refusal::Stale)
        );
        assert_eq!(decide(200, &[("expires", "0")]), Err(Refusal::Stale));
    }

    #[test]
    fn an_age_is_taken_off() {
        assert_eq!(decide(200, &[("cache-control", "max-age=60"), ("age", "59")]), Ok(1));
        assert_eq!(
            decide(200, &[("cache-control", "max-age=60"), ("age", "60")]),
            Err(Refusal::Stale)
        );
    }

    #[test]
    fn other_whole_answers_are_stored_with_an_explicit_lifetime() {
        for status in [200, 203, 204, 301, 404, 410, 500] {
            assert_eq!(decide(status, &[("cache-control", "max-age=5")]), Ok(5), "{status}");
        }
    }

    proptest! {
        #[test]
        fn what_is_stored_is_fresh_and_never_longer_than_announced(max_age in 0_u64..1_000_000, age in 0_u64..1_000_000) {
            let cc = format!("max-age={max_age}");
            match decide(200, &[("cache-control", &cc), ("age", &age.to_string())]) {
                Ok(remaining) => prop_assert!(remaining > 0 && remaining + age == max_age),
                Err(refusal) => prop_assert!(refusal == Refusal::Stale && age >= max_age),
            }
        }

        #[test]
        fn no_store_wins_over_everything(rest in "[a-z=0-9, -]{0,40}") {
            let cc = format!("{rest}, no-store");
            prop_assert!(decide(200, &[("cache-control", &cc)]).is_err());
        }
    }
}
