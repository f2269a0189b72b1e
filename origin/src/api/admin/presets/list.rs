//! `GET /api/admin/presets?limit=1..200&cursor=`: the tenant's presets, oldest first.

use axum::{
    Json,
    extract::{RawQuery, State},
};

use super::{PresetView, Row};
use crate::{
    api::{
        openapi::parameters::PageQuery,
        page::{Cursor, Page, parse_page},
    },
    database::DatabaseError,
    http::{authentication::Administrator, failure::Failure},
    service::App,
};

/// The tenant's presets, oldest first.
#[utoipa::path(get, path = "/api/admin/presets", params(PageQuery),
    responses((status = 200, description = "A page.", body = Page<PresetView>)))]
pub(crate) async fn get_presets(
    State(app): State<App>,
    Administrator(principal): Administrator,
    RawQuery(query): RawQuery,
) -> Result<Json<Page<PresetView>>, Failure> {
    let (limit, after) = parse_page(query.as_deref())?;
    let mut transaction = app.database.begin(principal.caller.tenant).await?;
    let rows = sqlx::query_as!(
        Row,
        "select id, name, options, title, description, branding, created_at, updated_at from presets
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
    let page = Page::of(rows, limit, |row| Cursor {
        created_at: row.created_at,
        id: row.id,
    });
    Ok(Json(page.map(Row::view)))
}

#[cfg(test)]
mod tests {
    use crate::{api::testing::TestApp, clock::Clock, presets};

    #[tokio::test]
    async fn a_new_tenants_presets_come_in_their_order_and_by_pages() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let mut connection = app.database().superuser().acquire().await.unwrap();
        presets::seed(&mut connection, app.tenant, app.clock.now())
            .await
            .unwrap();
        drop(connection);
        let (mut names, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = app
                .get_as(&token, &format!("/api/admin/presets?limit=4{cursor}"))
                .await
                .json();
            let items = page["items"].as_array().unwrap();
            names.extend(items.iter().map(|item| item["name"].as_str().unwrap().to_owned()));
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(
            names,
            [
                "gofood",
                "grabfood",
                "grabfood_cover",
                "shopeefood",
                "instagram",
                "general"
            ]
        );
    }
}
