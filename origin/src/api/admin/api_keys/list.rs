//! `GET /api/admin/api-keys?limit=1..200&cursor=`: the tenant's keys, oldest first, without what they open things with.

use axum::{
    Json,
    extract::{RawQuery, State},
};
use serde::Serialize;

use super::{KeyView, Row};
use crate::{
    api::images::list::{Cursor, DEFAULT_LIMIT, parse_limit},
    database::DatabaseError,
    http::{authentication::Administrator, extract::query_pairs, failure::Failure},
    service::App,
};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Page {
    items: Vec<KeyView>,
    next_cursor: Option<String>,
}

pub(crate) async fn get_api_keys(
    State(app): State<App>,
    Administrator(principal): Administrator,
    RawQuery(query): RawQuery,
) -> Result<Json<Page>, Failure> {
    let [limit, cursor] = query_pairs(query.as_deref(), ["limit", "cursor"])?;
    let limit = limit.map_or(Ok(DEFAULT_LIMIT), |text| parse_limit(&text))?;
    let after = cursor.map(|text| Cursor::parse(&text)).transpose()?;
    let mut transaction = app.database.begin(principal.caller.tenant).await?;
    let mut rows = sqlx::query_as!(
        Row,
        "select id, name, prefix, scopes, rate_limit, user_id, created_at, expires_at, last_used_at from api_keys
         where $1::timestamptz is null or (created_at, id) > ($1, $2::uuid)
         order by created_at, id limit $3",
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
    let now = app.clock.now();
    Ok(Json(Page {
        items: rows.into_iter().map(|row| row.view(now)).collect(),
        next_cursor,
    }))
}
