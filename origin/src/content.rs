//! Content of a tenant's own pages: what an item may be.
//!
//! Administrators change it in `api/admin/content`; everybody reads it at `api/content`.

use kado_shared::problem::FieldError;
use serde::{Deserialize, Serialize};
use url::Url;

/// Most items of a tenant.
pub(crate) const MOST: i64 = 2_000;
/// Most items of a section: they are answered together.
pub(crate) const MOST_IN_SECTION: i64 = 100;
/// Most bytes of the values of a section.
pub(crate) const MOST_BYTES_IN_SECTION: i64 = 1024 * 1024;
/// Longest section and key, in characters.
const LONGEST_NAME: usize = 64;
/// Longest text, in bytes.
const LONGEST_TEXT: usize = 10_000;
/// Longest HTML or JSON, in bytes: with its escapes it has to fit into a request's body.
const LONGEST_DOCUMENT: usize = 48 * 1024;
/// Longest address, in bytes.
const LONGEST_ADDRESS: usize = 2_048;
/// Longest label, in characters.
const LONGEST_LABEL: usize = 200;
/// Places within a section.
const PLACES: std::ops::RangeInclusive<i32> = 0..=1_000_000;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schema(as = ContentType)]
pub(crate) enum Kind {
    Text,
    Html,
    Url,
    Image,
    Json,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Text, Self::Html, Self::Url, Self::Image, Self::Json];

    /// Its name, as it is stored.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "TEXT",
            Self::Html => "HTML",
            Self::Url => "URL",
            Self::Image => "IMAGE",
            Self::Json => "JSON",
        }
    }

    /// The kind of a stored name, which the table has checked.
    pub(crate) fn from_name(name: &str) -> Self {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == name)
            .unwrap_or(Self::Text)
    }

    /// Whether this can be such a value; otherwise what would be right.
    fn check(self, value: &str) -> Result<(), String> {
        let longest = match self {
            Self::Text => LONGEST_TEXT,
            Self::Html | Self::Json => LONGEST_DOCUMENT,
            Self::Url | Self::Image => LONGEST_ADDRESS,
        };
        if value.len() > longest {
            return Err(format!("may have {longest} bytes as {}", self.as_str()));
        }
        match self {
            Self::Text | Self::Html => {
                let hostile = |character: char| character.is_control() && !matches!(character, '\n' | '\r' | '\t');
                if value.chars().any(hostile) {
                    return Err("must have no control characters but tabs and newlines".to_owned());
                }
            }
            Self::Url if !is_address(value) => {
                return Err("must be an absolute address: http:// or https://, a host, no user name".to_owned());
            }
            Self::Image if !is_address(value) && !is_path(value) => {
                let detail = "must be an address: http:// or https://, or a path of this site that begins with one /";
                return Err(detail.to_owned());
            }
            Self::Json => {
                // Read to the same depth as clients read it.
                serde_json::from_str::<serde_json::Value>(value).map_err(|error| format!("must be JSON: {error}"))?;
            }
            Self::Url | Self::Image => {}
        }
        Ok(())
    }
}

/// An absolute http or https address, as it stands: readers of addresses forgive what is around them.
fn is_address(text: &str) -> bool {
    let written = text.starts_with("http://") || text.starts_with("https://");
    let plain = !text
        .chars()
        .any(|character| character.is_control() || character.is_whitespace() || character == '\\');
    written
        && plain
        && Url::parse(text).is_ok_and(|url| url.has_host() && url.username().is_empty() && url.password().is_none())
}

/// A path of the site itself: `//host` would be another one.
fn is_path(text: &str) -> bool {
    let plain = !text
        .chars()
        .any(|character| character.is_control() || character.is_whitespace() || character == '\\');
    plain && text.starts_with('/') && !text.starts_with("//")
}

/// Whether this is the name of a section or a key.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=LONGEST_NAME).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

/// What administrators decide about an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) section: String,
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) kind: Kind,
    /// For people.
    pub(crate) label: String,
    /// Place within the section; items of one place are ordered by key.
    pub(crate) order: i32,
}

impl Item {
    /// The same with its label trimmed, or every fault.
    pub(crate) fn check(mut self) -> Result<Self, Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut complain = |field: &str, detail: String| {
            errors.push(FieldError {
                field: field.to_owned(),
                detail,
            });
        };
        for (field, name) in [("section", &self.section), ("key", &self.key)] {
            if !is_name(name) {
                let detail = format!("must be 1 to {LONGEST_NAME} of A-Z, a-z, 0-9, _, . and -, no sign first");
                complain(field, detail);
            }
        }
        if let Err(detail) = self.kind.check(&self.value) {
            complain("value", detail);
        }
        self.label = self.label.trim().to_owned();
        if self.label.chars().count() > LONGEST_LABEL || self.label.chars().any(char::is_control) {
            let detail = format!("must have at most {LONGEST_LABEL} characters, no control characters among them");
            complain("label", detail);
        }
        if !PLACES.contains(&self.order) {
            complain("order", format!("must be {} to {}", PLACES.start(), PLACES.end()));
        }
        if errors.is_empty() { Ok(self) } else { Err(errors) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Item, Kind, LONGEST_ADDRESS, LONGEST_DOCUMENT, LONGEST_TEXT, is_name};
    use proptest::prelude::{any, prop_assert, proptest};

    #[test]
    fn each_kind_takes_its_values_and_no_others() {
        let long = |longest: usize| "x".repeat(longest + 1);
        for (kind, good, bad) in [
            (
                Kind::Text,
                vec!["", "two\nlines\t"],
                vec!["\u{1b}[0m".to_owned(), long(LONGEST_TEXT)],
            ),
            (
                Kind::Html,
                vec!["<b onclick=\"x\">", ""],
                vec!["\u{7f}".to_owned(), long(LONGEST_DOCUMENT)],
            ),
            (
                Kind::Url,
                vec!["https://a.example/b?c#d", "http://[::1]:8787/"],
                [
                    "",
                    "/a",
                    "a.example",
                    "ftp://a.example/",
                    "javascript:alert(1)",
                    "https:/a.example",
                    "https://",
                    " https://a.example",
                    "https://a.example/ b",
                    "https://a.example\\b",
                    "https://user@a.example/",
                    "https://:secret@a.example/",
                ]
                .map(str::to_owned)
                .into_iter()
                .chain([format!("https://a.example/{}", long(LONGEST_ADDRESS))])
                .collect(),
            ),
            (
                Kind::Image,
                vec!["https://a.example/b.png", "/img/w=40/u/1", "/"],
                [
                    "",
                    "a.png",
                    "//a.example/b.png",
                    "/\\a.example",
                    "/a b",
                    "data:image/png;base64,",
                ]
                .map(str::to_owned)
                .to_vec(),
            ),
            (
                Kind::Json,
                vec!["null", "{\"a\": [1, 2]}"],
                vec!["".to_owned(), "{a: 1}".to_owned(), "1 2".to_owned(), "[".repeat(10_000)],
            ),
        ] {
            for value in good {
                assert_eq!(kind.check(value), Ok(()), "{kind:?} {value}");
            }
            for value in bad {
                assert!(kind.check(&value).is_err(), "{kind:?} {value}");
            }
            assert_eq!(Kind::from_name(kind.as_str()), kind);
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }

    #[test]
    fn names_are_safe_in_addresses() {
        assert!(["home", "heroTitle", "faq.1", "a-b_c"].into_iter().all(is_name));
        assert!(
            ["", ".", "..", "-a", "a b", "a/b", "ä", &"a".repeat(65)]
                .into_iter()
                .all(|name| !is_name(name))
        );
    }

    proptest! {
        #[test]
        fn any_item_is_answered(section in any::<String>(), value in any::<String>(), order in any::<i32>()) {
            for kind in Kind::ALL {
                let item = Item {
                    section: section.clone(),
                    key: section.clone(),
                    value: value.clone(),
                    kind,
                    label: value.clone(),
                    order,
                };
                match item.check() {
                    Ok(item) => prop_assert!(is_name(&item.key) && item.clone().check() == Ok(item)),
                    Err(errors) => prop_assert!(!errors.is_empty()),
                }
            }
        }
    }
}
