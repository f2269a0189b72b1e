//! Lists by pages: `?limit=1..200&cursor=`, ordered by time of creation and identifier.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use kado_shared::problem::FieldError;
use serde::Serialize;
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};
use uuid::Uuid;

use crate::http::{extract::query_pairs, failure::Failure};

const DEFAULT_LIMIT: i64 = 50;
const LIMITS: std::ops::RangeInclusive<i64> = 1..=200;

/// A page of a list.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Page<T> {
    items: Vec<T>,
    /// For the next page; `null` on the last one.
    next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// A page of rows, of which one more than `limit` was asked for.
    pub(crate) fn of(mut rows: Vec<T>, limit: i64, position: impl Fn(&T) -> Cursor) -> Self {
        let kept = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = rows.len() > kept;
        rows.truncate(kept);
        let next_cursor = rows.last().filter(|_| more).map(|row| position(row).to_string());
        Self {
            items: rows,
            next_cursor,
        }
    }

    /// The same page, its rows as clients see them.
    pub(crate) fn map<U>(self, view: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(view).collect(),
            next_cursor: self.next_cursor,
        }
    }
}

/// How many rows are asked for, and after which one.
pub(crate) fn parse_page(query: Option<&str>) -> Result<(i64, Option<Cursor>), Failure> {
    let [limit, cursor] = query_pairs(query, ["limit", "cursor"])?;
    page_of(limit, cursor)
}

/// The same of parameters that were read already, for lists that take further ones.
pub(crate) fn page_of(limit: Option<String>, cursor: Option<String>) -> Result<(i64, Option<Cursor>), Failure> {
    let limit = limit.map_or(Ok(DEFAULT_LIMIT), |text| parse_limit(&text))?;
    Ok((limit, cursor.map(|text| Cursor::parse(&text)).transpose()?))
}

/// A moment as clients write it.
pub(crate) fn parse_moment(field: &str, text: &str) -> Result<OffsetDateTime, FieldError> {
    OffsetDateTime::parse(text, &Rfc3339)
        .ok()
        .filter(|moment| (1..=9999).contains(&moment.to_offset(UtcOffset::UTC).year()))
        .ok_or_else(|| FieldError {
            field: field.to_owned(),
            detail: "must be an RFC 3339 time such as 2027-01-15T08:00:00Z".to_owned(),
        })
}

/// Yes or no as clients write it.
pub(crate) fn parse_flag(field: &str, text: &str) -> Result<bool, FieldError> {
    text.parse().map_err(|_| FieldError {
        field: field.to_owned(),
        detail: "must be true or false".to_owned(),
    })
}

/// A moment as clients read it.
pub(crate) fn timestamp(moment: OffsetDateTime) -> String {
    moment.format(&Rfc3339).unwrap_or_default()
}

fn parse_limit(text: &str) -> Result<i64, Failure> {
    let limit = text.parse().ok().filter(|limit| LIMITS.contains(limit));
    limit.ok_or_else(|| {
        Failure::field(
            "limit",
            format!("must be a whole number from {} to {}", LIMITS.start(), LIMITS.end()),
        )
    })
}

/// Position after which a page begins: microseconds and identifier, in a form that clients need not understand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) created_at: OffsetDateTime,
    pub(crate) id: Uuid,
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut bytes = [0; 24];
        let micros = i64::try_from(self.created_at.unix_timestamp_nanos() / 1000).unwrap_or(0);
        bytes[..8].copy_from_slice(&micros.to_be_bytes());
        bytes[8..].copy_from_slice(self.id.as_bytes());
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl Cursor {
    fn parse(text: &str) -> Result<Self, Failure> {
        let parse = || {
            let bytes: [u8; 24] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
            let (time, id) = bytes.split_at(8);
            let micros = i64::from_be_bytes(time.try_into().ok()?);
            let created_at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000).ok()?;
            // PostgreSQL's timestamps end long before the type's do.
            let storable = (0..=9999).contains(&created_at.year());
            storable.then_some(Self {
                created_at,
                id: Uuid::from_slice(id).ok()?,
            })
        };
        parse().ok_or_else(|| Failure::field("cursor", "must be the nextCursor of an earlier page"))
    }
}

#[cfg(test)]
mod tests {
    use super::Cursor;
    use proptest::prelude::{any, prop_assert_eq, proptest};
    use time::{Duration, OffsetDateTime};
    use uuid::Uuid;

    proptest! {
        #[test]
        fn a_cursor_comes_back(micros in 0_i64..4_000_000_000_000_000, id in any::<u128>(), text in any::<String>()) {
            let created_at = OffsetDateTime::UNIX_EPOCH + Duration::microseconds(micros);
            let cursor = Cursor { created_at, id: Uuid::from_u128(id) };
            prop_assert_eq!(Cursor::parse(&cursor.to_string()).unwrap(), cursor);
            let _ = Cursor::parse(&text);
        }
    }
}
