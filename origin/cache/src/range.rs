//! One byte range of a stored body (RFC 9110, section 14).

use std::ops::Range;

/// What a `Range` field asks of a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// No range, several, another unit, or bad syntax: the whole body (a server may ignore the field).
    Whole,
    /// This part; not empty and inside the body.
    Part(Range<usize>),
    /// Well-formed, but outside the body: 416.
    Unsatisfiable,
}

/// Reads the field against a body of `len` bytes.
pub(crate) fn select(field: &str, len: usize) -> Selection {
    let Some((unit, set)) = field.split_once('=') else {
        return Selection::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Selection::Whole;
    }
    let Some((first, last)) = set.trim().split_once('-') else {
        return Selection::Whole;
    };
    match (position(first), position(last)) {
        (Number::Absent, Number::Value(suffix)) => match suffix.min(len) {
            0 => Selection::Unsatisfiable,
            n => Selection::Part(len - n..len),
        },
        (Number::Value(start), Number::Absent) if start < len => Selection::Part(start..len),
        (Number::Value(start), Number::Value(end)) if start <= end && start < len => {
            Selection::Part(start..end.saturating_add(1).min(len))
        }
        (Number::Value(start), Number::Value(end)) if start > end => Selection::Whole,
        (Number::Value(_), Number::Absent | Number::Value(_)) => Selection::Unsatisfiable,
        _ => Selection::Whole,
    }
}

enum Number {
    Absent,
    Value(usize),
    Bad,
}

fn position(text: &str) -> Number {
    let text = text.trim();
    if text.is_empty() {
        return Number::Absent;
    }
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Number::Bad;
    }
    Number::Value(text.parse().unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn closed_open_and_suffix_ranges() {
        assert_eq!(select("bytes=0-0", 14), Selection::Part(0..1));
        assert_eq!(select("bytes=2-5", 14), Selection::Part(2..6));
        assert_eq!(select("bytes=2-500", 14), Selection::Part(2..14));
        assert_eq!(select("bytes=5-", 14), Selection::Part(5..14));
        assert_eq!(select("bytes=-3", 14), Selection::Part(11..14));
        assert_eq!(select("bytes=-300", 14), Selection::Part(0..14));
        assert_eq!(select("bytes=0-99999999999999999999999", 14), Selection::Part(0..14));
    }

    #[test]
    fn outside_the_body_is_unsatisfiable() {
        for field in ["bytes=14-", "bytes=14-20", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(select(field, 14), Selection::Unsatisfiable, "{field}");
        }
        assert_eq!(select("bytes=0-", 0), Selection::Unsatisfiable);
        assert_eq!(select("bytes=-1", 0), Selection::Unsatisfiable);
    }

    #[test]
    fn what_is_not_one_byte_range_is_ignored() {
        for field in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5-2",
            "bytes=0-1,3-4",
            "items=0-1",
            "bytes=a-b",
            "bytes=+1-2",
        ] {
            assert_eq!(select(field, 14), Selection::Whole, "{field}");
        }
    }

    proptest! {
        #[test]
        fn a_part_is_never_empty_and_never_outside(field in "bytes=[0-9]{0,5}-[0-9]{0,5}", len in 0_usize..100_000) {
            if let Selection::Part(part) = select(&field, len) {
                prop_assert!(part.start < part.end && part.end <= len);
            }
        }

        #[test]
        fn any_field_is_read_without_panic(field in "[ -~]{0,40}", len: usize) {
            select(&field, len);
        }
    }
}
