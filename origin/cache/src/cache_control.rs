//! `Cache-Control` of a response (RFC 9111, section 5.2.2), as far as a shared cache needs it.

use http::{HeaderMap, HeaderName, header};

/// Longest lifetime that is kept, in seconds: the largest value caches must understand (RFC 9111, section 1.2.2).
pub(crate) const MAX_DELTA_SECONDS: u64 = 1 << 31;

/// The directives that decide about storing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct CacheControl {
    pub(crate) no_store: bool,
    pub(crate) no_cache: bool,
    pub(crate) private: bool,
    /// Seconds. The smallest where it occurs twice; 0 where the value is not a number.
    pub(crate) max_age: Option<u64>,
    /// Seconds, as `max_age`.
    pub(crate) s_maxage: Option<u64>,
    /// Fields named by `private="..."` or `no-cache="..."`: the response may be stored without them.
    pub(crate) withheld: Vec<HeaderName>,
}

impl CacheControl {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        for value in headers.get_all(header::CACHE_CONTROL) {
            // A value that is not text cannot be understood, and what is not understood is not stored.
            match value.to_str() {
                Ok(text) => Directives { rest: text }.for_each(|(name, argument)| found.add(name, argument)),
                Err(_) => found.no_store = true,
            }
        }
        found
    }

    fn add(&mut self, name: &str, argument: Option<String>) {
        match name.to_ascii_lowercase().as_str() {
            "no-store" => self.no_store = true,
            "no-cache" => self.no_cache |= !self.withhold(argument),
            "private" => self.private |= !self.withhold(argument),
            "max-age" => lower(&mut self.max_age, argument.as_deref()),
            "s-maxage" => lower(&mut self.s_maxage, argument.as_deref()),
            _ => {}
        }
    }

    /// Takes over a list of field names. False when there is none, or one of them is no field name.
    fn withhold(&mut self, argument: Option<String>) -> bool {
        let Some(list) = argument else { return false };
        let names: Result<Vec<HeaderName>, _> = list
            .split(',')
            .map(str::trim)
            .filter(|n| !n.is_empty())
            .map(str::parse)
            .collect();
        match names {
            Ok(names) if !names.is_empty() => {
                self.withheld.extend(names);
                true
            }
            _ => false,
        }
    }
}

fn lower(slot: &mut Option<u64>, argument: Option<&str>) {
    let seconds = argument.map_or(0, delta_seconds);
    *slot = Some(slot.map_or(seconds, |known| known.min(seconds)));
}

/// A number of seconds; 0 when it is none, the limit when it is larger.
pub(crate) fn delta_seconds(text: &str) -> u64 {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return 0;
    }
    text.parse::<u64>()
        .map_or(MAX_DELTA_SECONDS, |n| n.min(MAX_DELTA_SECONDS))
}

/// Splits `name`, `name=token` and `name="quoted, \"string\""`.
struct Directives<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Directives<'a> {
    type Item = (&'a str, Option<String>);

    fn next(&mut self) -> Option<Self::Item> {
        self.rest = self.rest.trim_start_matches([',', ' ', '\t']);
        if self.rest.is_empty() {
            return None;
        }
        let end = self.rest.find(['=', ',']).unwrap_or(self.rest.len());
        let (name, after) = self.rest.split_at(end);
        let Some(after) = after.strip_prefix('=') else {
            self.rest = after;
            return Some((name.trim(), None));
        };
        let after = after.trim_start();
        let argument = match after.strip_prefix('"') {
            Some(quoted) => {
                let (text, rest) = unquote(quoted);
                // Whatever follows the closing quote up to the comma belongs to no grammar.
                self.rest = rest.split_once(',').map_or("", |(_, r)| r);
                text
            }
            None => {
                let (token, rest) = after.split_once(',').unwrap_or((after, ""));
                self.rest = rest;
                token.trim().to_owned()
            }
        };
        Some((name.trim(), Some(argument)))
    }
}

/// Reads up to the closing quote. Without one, everything is the text.
fn unquote(quoted: &str) -> (String, &str) {
    let mut text = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (text, quoted.get(at + 1..).unwrap_or("")),
            '\\' => text.extend(chars.next().map(|(_, c)| c)),
            c => text.push(c),
        }
    }
    (text, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(values: &[&str]) -> CacheControl {
        let mut map = HeaderMap::new();
        for v in values {
            map.append(header::CACHE_CONTROL, v.parse().unwrap());
        }
        CacheControl::of(&map)
    }

    #[test]
    fn directives_are_read_in_any_case_and_over_several_fields() {
        let cc = parse(&["Public, MAX-AGE=60", "s-maxage=\"120\", , must-revalidate"]);
        assert_eq!((cc.max_age, cc.s_maxage), (Some(60), Some(120)));
        assert!(!cc.private && !cc.no_store && !cc.no_cache);
    }

    #[test]
    fn a_quoted_comma_does_not_split() {
        let cc = parse(&["private=\"set-cookie, x-a\", max-age=5"]);
        assert_eq!(cc.withheld, ["set-cookie", "x-a"]);
        assert_eq!((cc.private, cc.max_age), (false, Some(5)));
        let hidden = parse(&["ext=\"no-store, max-age=9\""]);
        assert_eq!(hidden, CacheControl::default());
    }

    #[test]
    fn a_list_that_is_no_list_of_fields_counts_as_the_bare_directive() {
        assert!(parse(&["private=\"\""]).private);
        assert!(parse(&["private=\"a b\""]).private);
        assert!(parse(&["no-cache"]).no_cache);
    }

    #[test]
    fn bad_numbers_are_stale_and_huge_ones_are_cut() {
        assert_eq!(parse(&["max-age=ten"]).max_age, Some(0));
        assert_eq!(parse(&["max-age"]).max_age, Some(0));
        assert_eq!(parse(&["max-age=-1"]).max_age, Some(0));
        assert_eq!(
            parse(&["max-age=99999999999999999999999"]).max_age,
            Some(MAX_DELTA_SECONDS)
        );
        assert_eq!(parse(&["max-age=60, max-age=5"]).max_age, Some(5));
    }

    #[test]
    fn bytes_that_are_no_text_forbid_storing() {
        let mut map = HeaderMap::new();
        map.insert(
            header::CACHE_CONTROL,
            http::HeaderValue::from_bytes(b"max-age=60\xff").unwrap(),
        );
        assert!(CacheControl::of(&map).no_store);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "[ -~]{0,80}") {
            parse(&[&text]);
        }

        #[test]
        fn a_lone_directive_is_found_wherever_it_stands(before in "[a-z]{1,8}(=[0-9]{1,3})?", after in "[a-z]{1,8}") {
            prop_assume!(!["max-age", "s-maxage"].contains(&before.as_str()));
            let cc = parse(&[&format!("{before} ,no-store,{after}")]);
            prop_assert!(cc.no_store);
        }
    }
}
