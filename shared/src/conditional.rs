//! Conditional and range requests for a representation with a strong entity tag (RFC 9110, sections 13 and 14).

use std::ops::Range;

/// Whether an `If-None-Match` names this tag, or anything: the client has these very bytes.
///
/// Comparison is weak, as the RFC wants it here; a comma may stand inside a tag.
#[must_use]
pub fn none_match_names(if_none_match: &str, etag: &str) -> bool {
    if if_none_match.trim() == "*" {
        return true;
    }
    let opaque = |tag: &'_ str| tag.trim().trim_start_matches("W/").to_owned();
    let wanted = opaque(etag);
    let mut rest = if_none_match;
    while let Some(start) = rest.find('"') {
        let Some(tail) = rest.get(start + 1..) else {
            return false;
        };
        let Some(end) = tail.find('"') else { return false };
        if rest.get(start..start + end + 2) == Some(wanted.as_str()) {
            return true;
        }
        rest = tail.get(end + 1..).unwrap_or_default();
    }
    false
}

/// Whether a `Range` counts beside this `If-Range`: it names exactly this strong tag. A date never does, because no date
/// is told.
#[must_use]
pub fn range_applies(if_range: Option<&str>, etag: Option<&str>) -> bool {
    match if_range.map(str::trim) {
        None => true,
        Some(tag) => !tag.starts_with("W/") && etag.is_some_and(|etag| etag == tag),
    }
}

/// What a `Range` asks of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// No range, several, another unit, or bad syntax: the whole body (a server may ignore the field).
    Whole,
    /// This part; not empty and inside the body.
    Part(Range<u64>),
    /// Well-formed, but outside the body: 416.
    Unsatisfiable,
}

/// Reads a `Range` against a body of `length` bytes.
#[must_use]
pub fn select(range: &str, length: u64) -> Selection {
    let Some((unit, set)) = range.split_once('=') else {
        return Selection::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Selection::Whole;
    }
    let Some((first, last)) = set.trim().split_once('-') else {
        return Selection::Whole;
    };
    match (position(first), position(last)) {
        (Position::Absent, Position::At(suffix)) => match suffix.min(length) {
            0 => Selection::Unsatisfiable,
            suffix => Selection::Part(length - suffix..length),
        },
        (Position::At(start), Position::At(end)) if start > end => Selection::Whole,
        (Position::At(start), Position::Absent | Position::At(_)) if start >= length => Selection::Unsatisfiable,
        (Position::At(start), Position::Absent) => Selection::Part(start..length),
        (Position::At(start), Position::At(end)) => Selection::Part(start..end.saturating_add(1).min(length)),
        _ => Selection::Whole,
    }
}

enum Position {
    Absent,
    At(u64),
    Bad,
}

fn position(text: &str) -> Position {
    let text = text.trim();
    if text.is_empty() {
        Position::Absent
    } else if text.bytes().all(|byte| byte.is_ascii_digit()) {
        // What does not fit lies behind every body.
        Position::At(text.parse().unwrap_or(u64::MAX))
    } else {
        Position::Bad
    }
}

#[cfg(test)]
mod tests {
    use super::{Selection, none_match_names, range_applies, select};
    use proptest::prelude::{any, prop_assert, proptest};

    #[test]
    fn tags_match_weakly_in_lists_and_by_a_star() {
        for list in ["\"a,b\"", "W/\"a,b\"", "\"x\", \"a,b\"", "*", " * ", "\"x\",W/\"a,b\""] {
            assert!(none_match_names(list, "\"a,b\""), "{list}");
        }
        for list in ["\"a\"", "a,b", "", "\"x\",\"b\"", "\"a,b", "\"*\""] {
            assert!(!none_match_names(list, "\"a,b\""), "{list}");
        }
    }

    #[test]
    fn if_range_compares_strongly() {
        assert!(range_applies(None, Some("\"a\"")) && range_applies(None, None));
        assert!(range_applies(Some("\"a\""), Some("\"a\"")));
        for other in ["\"b\"", "W/\"a\"", "Sun, 06 Nov 1994 08:49:37 GMT", ""] {
            assert!(!range_applies(Some(other), Some("\"a\"")), "{other}");
        }
        assert!(!range_applies(Some("\"a\""), None));
    }

    #[test]
    fn one_range_is_cut_out() {
        for (range, expected) in [
            ("bytes=0-0", 0..1),
            ("bytes=2-5", 2..6),
            ("Bytes = 2-500", 2..14),
            ("bytes=5-", 5..14),
            ("bytes=-3", 11..14),
            ("bytes=-300", 0..14),
            ("bytes=0-99999999999999999999999", 0..14),
        ] {
            assert_eq!(select(range, 14), Selection::Part(expected), "{range}");
        }
        for range in ["bytes=14-", "bytes=14-20", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(select(range, 14), Selection::Unsatisfiable, "{range}");
        }
        for range in [
            "",
            "bytes",
            "items=0-1",
            "bytes=0-1,3-4",
            "bytes=5-2",
            "bytes=a-b",
            "bytes=-",
            "bytes=+1-2",
        ] {
            assert_eq!(select(range, 14), Selection::Whole, "{range}");
        }
        assert_eq!(select("bytes=0-", 0), Selection::Unsatisfiable);
    }

    proptest! {
        #[test]
        fn any_field_is_survived_and_a_part_lies_inside(text in any::<String>(), length in any::<u64>()) {
            let _ = none_match_names(&text, "\"a\"");
            for range in [text.clone(), format!("bytes={text}")] {
                if let Selection::Part(part) = select(&range, length) {
                    prop_assert!(part.start < part.end && part.end <= length);
                }
            }
        }
    }
}
