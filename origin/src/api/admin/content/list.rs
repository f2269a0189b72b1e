//! `GET /api/admin/content?section=&limit=1..200&cursor=`: the tenant's items, or those of one section, oldest first.

use axum::{
    Json,
    extract::{RawQuery, State},
};

use super::{ItemView, Row};
use crate::{
    api::{
        openapi::parameters::{ContentFilters, PageQuery},
        page::{Cursor, Page, page_of},
    },
    database::DatabaseError,
    http::{authentication::Administrator, extract::query_pairs, failure::Failure},
    service::App,
};

/// The tenant's content, oldest first.
#[utoipa::path(get, path = "/api/admin/content", params(ContentFilters, PageQuery),
    responses((status = 200, description = "A page.", body = Page<ItemView>)))]
pub(crate) async fn get_content(
    State(app): State<App>,
    Administrator(principal): Administrator,
    RawQuery(query): RawQuery,
) -> Result<Json<Page<ItemView>>, Failure> {
    let [section, limit, cursor] = query_pairs(query.as_deref(), ["section", "limit", "cursor"])?;
    let (limit, after) = page_of(limit, cursor)?;
    let mut transaction = app.database.begin(principal.caller.tenant).await?;
    let rows = sqlx::query_as!(
        Row,
        "select id, section, key, value, type as kind, label, position, created_at, updated_at from site_contents
         where ($1::timestamptz is null or (created_at, id) > ($1, $2::uuid)) and ($3::text is null or section = $3)
         order by created_at, id limit $4",
        after.map(|cursor| cursor.created_at),
        after.map(|cursor| cursor.id),
        section,
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
    use crate::api::testing::TestApp;
    use serde_json::json;

    #[tokio::test(flavor = "multi_thread")]
    async fn items_come_by_section_and_by_pages() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        for (section, key) in [("home", "a"), ("faq", "b"), ("home", "c")] {
            let body = json!({"section": section, "key": key, "value": "x", "type": "TEXT"});
            assert_eq!(app.post_as(&token, "/api/admin/content", &body).await.status, 201);
            app.clock.advance(time::Duration::SECOND);
        }
        let keys = async |query: &str| {
            let answer = app.get_as(&token, &format!("/api/admin/content{query}")).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let body = answer.json();
            let keys: Vec<_> = body["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["key"].as_str().unwrap().to_owned())
                .collect();
            (keys.concat(), body["nextCursor"].as_str().map(str::to_owned))
        };
        assert_eq!(keys("").await, ("abc".to_owned(), None));
        assert_eq!(keys("?section=faq").await, ("b".to_owned(), None));
        assert_eq!(keys("?section=nowhere").await, (String::new(), None));
        let (first, cursor) = keys("?section=home&limit=1").await;
        assert_eq!(first, "a");
        assert_eq!(
            keys(&format!("?section=home&limit=1&cursor={}", cursor.unwrap())).await,
            ("c".to_owned(), None)
        );
        for bad in ["?limit=0", "?section=a&section=b", "?key=a"] {
            let answer = app.get_as(&token, &format!("/api/admin/content{bad}")).await;
            assert_eq!(answer.status, 400, "{bad}");
        }
    }
}
