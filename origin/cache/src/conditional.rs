//! Conditional requests against a stored response (RFC 9110, section 13).

use http::{HeaderMap, HeaderValue, header};

use crate::freshness::http_date;

/// Whether the client's copy is still good: 304.
pub(crate) fn not_modified(request: &HeaderMap, stored: &HeaderMap) -> bool {
    if request.contains_key(header::IF_NONE_MATCH) {
        // If-None-Match decides alone where it is present.
        return request
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .any(|list| matches_any(list, stored));
    }
    let (Some(since), Some(modified)) = (
        request.get(header::IF_MODIFIED_SINCE).and_then(http_date),
        stored.get(header::LAST_MODIFIED).and_then(http_date),
    ) else {
        return false;
    };
    modified <= since
}

/// Whether a `Range` may be answered: no `If-Range`, or one that names exactly what is stored.
pub(crate) fn range_applies(request: &HeaderMap, stored: &HeaderMap) -> bool {
    let Some(condition) = request.get(header::IF_RANGE) else {
        return true;
    };
    if condition.as_bytes().ends_with(b"\"") {
        // Strong comparison: a weak tag never matches.
        return !condition.as_bytes().starts_with(b"W/") && stored.get(header::ETAG) == Some(condition);
    }
    http_date(condition).is_some() && stored.get(header::LAST_MODIFIED) == Some(condition)
}

/// Weak comparison of a list of entity tags with the stored one.
fn matches_any(list: &HeaderValue, stored: &HeaderMap) -> bool {
    let Ok(list) = list.to_str() else { return false };
    if list.trim() == "*" {
        return true;
    }
    let Some(tag) = stored.get(header::ETAG).and_then(|v| v.to_str().ok()).map(opaque) else {
        return false;
    };
    tags(list).any(|candidate| candidate == tag)
}

fn opaque(tag: &str) -> &str {
    let tag = tag.trim();
    tag.strip_prefix("W/").unwrap_or(tag)
}

/// Quoted tags of a list. A comma may stand inside a tag, so quotes are counted.
fn tags(list: &str) -> impl Iterator<Item = &str> {
    let mut rest = list;
    std::iter::from_fn(move || {
        let start = rest.find('"')?;
        let tail = rest.get(start + 1..)?;
        let end = tail.find('"')?;
        let tag = rest.get(start..start + end + 2)?;
        rest = tail.get(end + 1..)?;
        Some(tag)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(list: &[(&'static str, &str)]) -> HeaderMap {
        list.iter()
            .map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap()))
            .collect()
    }

    const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    #[test]
    fn tags_match_weakly_and_in_lists() {
        let stored = map(&[("etag", "\"a,b\"")]);
        for list in ["\"a,b\"", "W/\"a,b\"", "\"x\", \"a,b\"", "*"] {
            assert!(not_modified(&map(&[("if-none-match", list)]), &stored), "{list}");
        }
        for list in ["\"a\"", "a,b", "", "\"x\",\"b\"", "\"a,b"] {
            assert!(!not_modified(&map(&[("if-none-match", list)]), &stored), "{list}");
        }
        assert!(not_modified(
            &map(&[("if-none-match", "\"w\"")]),
            &map(&[("etag", "W/\"w\"")])
        ));
    }

    #[test]
    fn a_tag_that_differs_wins_over_a_date_that_agrees() {
        let stored = map(&[("etag", "\"a\""), ("last-modified", MODIFIED)]);
        assert!(!not_modified(
            &map(&[("if-none-match", "\"b\""), ("if-modified-since", MODIFIED)]),
            &stored
        ));
    }

    #[test]
    fn dates_are_compared() {
        let stored = map(&[("last-modified", MODIFIED)]);
        assert!(not_modified(&map(&[("if-modified-since", MODIFIED)]), &stored));
        assert!(not_modified(
            &map(&[("if-modified-since", "Sunday, 06-Nov-94 08:49:38 GMT")]),
            &stored
        ));
        assert!(!not_modified(
            &map(&[("if-modified-since", "Sun, 06 Nov 1994 08:49:36 GMT")]),
            &stored
        ));
        assert!(!not_modified(&map(&[("if-modified-since", "yesterday")]), &stored));
        assert!(!not_modified(&map(&[("if-modified-since", MODIFIED)]), &map(&[])));
    }

    #[test]
    fn if_range_compares_strongly() {
        let stored = map(&[("etag", "\"a\""), ("last-modified", MODIFIED)]);
        assert!(range_applies(&map(&[]), &stored));
        assert!(range_applies(&map(&[("if-range", "\"a\"")]), &stored));
        assert!(range_applies(&map(&[("if-range", MODIFIED)]), &stored));
        for other in ["\"b\"", "W/\"a\"", "Sun, 06 Nov 1994 08:49:38 GMT", "a"] {
            assert!(!range_applies(&map(&[("if-range", other)]), &stored), "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_list_is_read_without_panic(list in "[ -~]{0,60}") {
            not_modified(&map(&[("if-none-match", &list)]), &map(&[("etag", "\"a\"")]));
        }
    }
}
