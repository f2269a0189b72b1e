//! `GET /api/admin/api-keys?limit=1..200&cursor=`: the tenant's keys, oldest first, without what they open things with.

use axum::{
    Json,
    extract::{RawQuery, State},
};

use super::{KeyView, Row};
use crate::{
    api::{
        openapi::parameters::PageQuery,
        page::{Cursor, Page, parse_page},
    },
    database::DatabaseError,
    http::{authentication::Administrator, failure::Failure},
    service::App,
};

/// The tenant's keys, oldest first, without what they open things with.
#[utoipa::path(get, path = "/api/admin/api-keys", params(PageQuery),
    responses((status = 200, description = "A page.", body = Page<KeyView>)))]
pub(crate) async fn get_api_keys(
    State(app): State<App>,
    Administrator(principal): Administrator,
    RawQuery(query): RawQuery,
) -> Result<Json<Page<KeyView>>, Failure> {
    let (limit, after) = parse_page(query.as_deref())?;
    let mut transaction = app.database.begin(principal.caller.tenant).await?;
    let rows = sqlx::query_as!(
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
    let now = app.clock.now();
    let page = Page::of(rows, limit, |row| Cursor {
        created_at: row.created_at,
        id: row.id,
    });
    Ok(Json(page.map(|row| row.view(now))))
}
