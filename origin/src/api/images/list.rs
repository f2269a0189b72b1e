//! `GET /api/images`: the caller's originals, oldest first, by pages.

use axum::{
    Json,
    extract::{RawQuery, State},
};

use super::{ImageView, Links};
use crate::{
    api::{
        openapi::parameters::PageQuery,
        page::{Cursor, Page, parse_page, timestamp},
    },
    database::DatabaseError,
    http::{authentication::SignedIn, failure::Failure},
    service::App,
};

/// The caller's originals, oldest first.
#[utoipa::path(get, path = "/api/images", params(PageQuery),
    responses((status = 200, description = "A page.", body = Page<ImageView>)))]
pub(crate) async fn get_images(
    State(app): State<App>,
    SignedIn(principal): SignedIn,
    RawQuery(query): RawQuery,
) -> Result<Json<Page<ImageView>>, Failure> {
    let (limit, after) = parse_page(query.as_deref())?;
    let mut transaction = app.database.begin(principal.caller.tenant).await?;
    let rows = sqlx::query!(
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

    let page = Page::of(rows, limit, |row| Cursor {
        created_at: row.created_at,
        id: row.id,
    });
    Ok(Json(page.map(|row| ImageView {
        id: row.id,
        width: row.width,
        height: row.height,
        format: row.format,
        bytes: row.bytes,
        created_at: timestamp(row.created_at),
        links: Links::of(row.id),
    })))
}

#[cfg(test)]
mod tests {
    use crate::api::testing::{TestApp, png};
    use time::Duration;

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
