//! `GET /api/images`: the caller's originals, oldest first, by pages.

use axum::{
    Json,
    extract::{RawQuery, State},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{ImageView, Links, timestamp};
use crate::{
    database::DatabaseError,
    http::{authentication::SignedIn, extract::query_pairs, failure::Failure},
    service::App,
};

/// Items of a page where nobody says how many.
pub(crate) const DEFAULT_LIMIT: i64 = 50;
const LIMITS: std::ops::RangeInclusive<i64> = 1..=200;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Page {
    items: Vec<ImageView>,
    next_cursor: Option<String>,
}

pub(crate) async fn get_images(
    State(app): State<App>,
    SignedIn(principal): SignedIn,
    RawQuery(query): RawQuery,
) -> Result<Json<Page>, Failure> {
    let [limit, cursor] = query_pairs(query.as_deref(), ["limit", "cursor"])?;
    let limit = limit.map_or(Ok(DEFAULT_LIMIT), |text| parse_limit(&text))?;
    let after = cursor.map(|text| Cursor::parse(&text)).transpose()?;
    let mut transaction = app.database.begin(principal.caller.tenant).await?;
    let mut rows = sqlx::query!(
        "select i.id, i.width, i.height, i.format, i.created_at, b.bytes
         from images i join blobs b on b.tenant_id = i.tenant_id and b.sha256 = i.sha256
         where i.user_id = $1 and ($2::timestamptz is null or (i.created_at, i.id) > ($2, $3::uuid))
         order by i.created_at, i.id limit $4",
        principal.user,
        after.map(|cursor| cursor.created_at),
        after.map(|cursor| cursor.id),
        limit + 1,
    )
    .fetch_all(transaction.connection())
    .await
    .map_err(DatabaseError::from)?;
    transaction.commit().await?;

    let kept = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > kept;
    rows.truncate(kept);
    let next_cursor = rows.last().filter(|_| more).map(|row| {
        Cursor {
            created_at: row.created_at,
            id: row.id,
        }
        .to_string()
    });
    let items = rows.into_iter().map(|row| ImageView {
        id: row.id,
        width: row.width,
        height: row.height,
        format: row.format,
        bytes: row.bytes,
        created_at: timestamp(row.created_at),
        links: Links::of(row.id),
    });
    Ok(Json(Page {
        items: items.collect(),
        next_cursor,
    }))
}

/// How many items of a page are wished for.
pub(crate) fn parse_limit(text: &str) -> Result<i64, Failure> {
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
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
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
    use crate::api::testing::{TestApp, png};
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

    #[tokio::test]
    async fn pages_hold_each_picture_once_and_in_order() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let mut ids = Vec::new();
        for n in 0..5 {
            // Two share a moment: the identifier decides then.
            app.clock.advance(Duration::seconds(n % 2));
            ids.push(
                app.upload(&token, png(4, 4)).await.json()["id"]
                    .as_str()
                    .unwrap()
                    .to_owned(),
            );
        }
        let (mut found, mut cursor) = (Vec::new(), String::new());
        for page in 0.. {
            let answer = app.get_as(&token, &format!("/api/images?limit=2{cursor}")).await;
            let body = answer.json();
            assert_eq!(answer.status, 200, "{body}");
            found.extend(
                body["items"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|item| item["id"].as_str().unwrap().to_owned()),
            );
            let Some(next) = body["nextCursor"].as_str() else {
                assert_eq!(page, 2);
                break;
            };
            cursor = format!("&cursor={next}");
        }
        let (mut once, mut all) = (found.clone(), ids);
        once.sort();
        all.sort();
        assert_eq!(once, all);
    }

    #[tokio::test]
    async fn bad_parameters_are_named() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        for (query, field) in [
            ("limit=0", "limit"),
            ("limit=201", "limit"),
            ("limit=x", "limit"),
            ("cursor=x", "cursor"),
            ("offset=1", "offset"),
        ] {
            let answer = app.get_as(&token, &format!("/api/images?{query}")).await;
            assert_eq!(
                (answer.status, answer.json()["errors"][0]["field"].as_str()),
                (400, Some(field)),
                "{query}"
            );
        }
    }
}
