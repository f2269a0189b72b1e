//! Content of a tenant's own pages: what an item may be, and how many there may be.
//!
//! Administrators change it in `api/admin/content`, operators by `kado import yuki` and at psql; everybody reads it at
//! `api/content`. What is written at psql never comes by here: the function `content_fault` and the trigger `check_content` of
//! migration 0080 have the same rules, and `database/content_by_hand_tests.rs` compares them.

use kado_shared::{problem::FieldError, tenant::TenantId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;
use url::Url;
use uuid::Uuid;

use crate::database::DatabaseError;

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

    /// The kind of a name.
    pub(crate) fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The kind of a stored name, which the table has checked.
    pub(crate) fn from_name(name: &str) -> Self {
        Self::find(name).unwrap_or(Self::Text)
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
                serde_json::from_str::<Value>(value).map_err(|error| format!("must be JSON: {error}"))?;
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

    /// For the audit log.
    pub(crate) fn audited(&self) -> Value {
        json!({
            "section": self.section, "key": self.key, "value": self.value, "type": self.kind, "label": self.label,
            "order": self.order,
        })
    }
}

/// What there is too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    #[error("There are {MOST} items, which is the most: delete those that nobody uses")]
    Tenant,
    #[error("The section has {MOST_IN_SECTION} items, which is the most: use another one")]
    Section,
    #[error(
        "The values of a section may have {MOST_BYTES_IN_SECTION} bytes in all: use another one, or shorter values"
    )]
    Bytes,
}

/// Holds off other changes of the tenant's content until the transaction ends, so that nothing grows past what is counted.
pub(crate) async fn lock(connection: &mut PgConnection, tenant: TenantId) -> Result<(), DatabaseError> {
    sqlx::query!(
        r#"select pg_advisory_xact_lock(hashtextextended('kado content ' || $1, 0))::text as "locked""#,
        tenant.to_string()
    )
    .fetch_one(connection)
    .await?;
    Ok(())
}

/// What there is too much of when this item, which is a new one where it has no `id` yet, is where it is to be.
pub(crate) async fn full(
    connection: &mut PgConnection,
    tenant: TenantId,
    id: Option<Uuid>,
    item: &Item,
) -> Result<Option<Full>, DatabaseError> {
    let others = sqlx::query!(
        r#"select count(*) as "all!", count(*) filter (where section = $3) as "section!",
                  coalesce(sum(octet_length(value)) filter (where section = $3), 0) as "bytes!"
           from site_contents where tenant_id = $1 and ($2::uuid is null or id <> $2)"#,
        tenant.0,
        id,
        item.section,
    )
    .fetch_one(connection)
    .await?;
    let bytes = others
        .bytes
        .saturating_add(i64::try_from(item.value.len()).unwrap_or(i64::MAX));
    Ok(if others.all >= MOST {
        Some(Full::Tenant)
    } else if others.section >= MOST_IN_SECTION {
        Some(Full::Section)
    } else if bytes > MOST_BYTES_IN_SECTION {
        Some(Full::Bytes)
    } else {
        None
    })
}

#[cfg(test)]
pub(crate) mod testing {
    use super::{Kind, LONGEST_ADDRESS, LONGEST_DOCUMENT, LONGEST_TEXT};

    /// Values that each kind takes, and values that it does not.
    pub(crate) fn values() -> Vec<(Kind, Vec<String>, Vec<String>)> {
        let owned = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
        let long = |longest: usize| "x".repeat(longest + 1);
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        let with = |values: &[&str], more: String| [owned(values), vec![more]].concat();
        let not_addresses = [
            "",
            "a.example",
            "ftp://a.example/",
            "javascript:alert(1)",
            "https:/a.example",
            "https://",
            "https:///",
            "https://?a",
            " https://a.example",
            "https://a.example/ b",
            "https://a.example/\u{a0}",
            "https://a.example/\n",
            "https://a.example\\b",
            "https://user@a.example/",
            "https://a@b@c.example/",
            "https://:secret@a.example/",
            "https://a.example:65536/",
            "https://a.example:8o/",
            "https://[::1/",
            "https://a<b/",
        ];
        let addresses = [
            "https://a.example/b?c#d",
            "http://[::1]:8787/",
            "https://a.example:65535",
            "https://a.example?at=@&b=[]",
            "https://ä.example/ö",
            "http:///a.example",
        ];
        vec![
            (
                Kind::Text,
                with(&["", "two\nlines\t\r", "ü"], "x".repeat(LONGEST_TEXT)),
                with(&["\u{1b}[0m", "\u{85}", "\u{7f}"], long(LONGEST_TEXT)),
            ),
            (
                Kind::Html,
                with(&["<b onclick=\"x\">", ""], "x".repeat(LONGEST_DOCUMENT)),
                with(&["\u{7f}", "\u{b}"], long(LONGEST_DOCUMENT)),
            ),
            (
                Kind::Url,
                owned(&addresses),
                with(
                    &[&not_addresses[..], &["/a"]].concat(),
                    format!("https://a.example/{}", long(LONGEST_ADDRESS)),
                ),
            ),
            (
                Kind::Image,
                owned(&[&addresses[..], &["/img/w=40/u/1", "/"]].concat()),
                owned(
                    &[
                        &not_addresses[..],
                        &[
                            "a.png",
                            "//a.example/b.png",
                            "/\\a.example",
                            "/a b",
                            "data:image/png;base64,",
                        ],
                    ]
                    .concat(),
                ),
            ),
            (
                Kind::Json,
                with(
                    &[
                        "null",
                        "{\"a\": [1, 2.5e-3]}",
                        " \"[[[[\\\"[\" ",
                        r#""\u0000 \ud83d\ude00 \\ud800""#,
                    ],
                    nested(127),
                ),
                [
                    owned(&[
                        "",
                        "{a: 1}",
                        "1 2",
                        "01",
                        "[1,]",
                        "\"\n\"",
                        "\u{feff}1",
                        r#""\ud800""#,
                        r#""\ude00\ud83d""#,
                    ]),
                    vec![
                        nested(128),
                        "[".repeat(10_000),
                        format!("\"{}\"", long(LONGEST_DOCUMENT)),
                    ],
                ]
                .concat(),
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::{Item, Kind, is_name, testing::values};
    use proptest::prelude::{any, prop_assert, proptest};

    #[test]
    fn each_kind_takes_its_values_and_no_others() {
        for (kind, good, bad) in values() {
            for value in good {
                assert_eq!(kind.check(&value), Ok(()), "{kind:?} {value}");
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
