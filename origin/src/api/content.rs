//! `GET /api/content/{section}`: what administrators have written for the tenant's pages, for everybody.
//!
//! HTML is a text among others here: it is a page only where somebody makes one of it.

use axum::{
    Extension,
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use kado_shared::problem::Code;
use serde::Serialize;

use crate::{
    api::openapi::parameters::{IfNoneMatch, SectionInPath},
    content::Kind,
    database::DatabaseError,
    http::{
        conditional::{entity_tag, is_known},
        edge::Caller,
        extract::NameInPath,
        failure::Failure,
    },
    service::App,
};

/// How soon a change is seen where an earlier answer is kept.
const CACHE_CONTROL: &str = "public, max-age=60";

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = ContentSection)]
struct Section {
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    section: String,
    items: Vec<Item>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = PublishedContent)]
struct Item {
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    key: String,
    #[serde(rename = "type")]
    kind: Kind,
    /// Always a text; HTML is not made safe.
    value: String,
    label: String,
    #[schema(minimum = 0, maximum = 1_000_000)]
    order: i32,
}

/// A section of the tenant's content, by `order`, then `key`.
#[utoipa::path(get, path = "/api/content/{section}", operation_id = "get_content_section", params(SectionInPath, IfNoneMatch),
    responses(
        (status = 200, description = "The section.", body = Section,
            headers(("ETag" = String, description = "Strong entity tag."), ("Cache-Control" = String, description = "`public`, for a minute."))),
        (status = 304, description = "The client has it."),
        (status = 404, description = "The section has no items."),
    ))]
pub(crate) async fn get_content(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    NameInPath(section): NameInPath,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let mut transaction = app.database.begin(caller.tenant).await?;
    let rows = sqlx::query!(
        "select key, type as kind, value, label, position from site_contents where section = $1 order by position, key",
        section
    )
    .fetch_all(transaction.connection())
    .await
    .map_err(DatabaseError::from)?;
    transaction.commit().await?;
    if rows.is_empty() {
        return Err(Failure::new(Code::NotFound, "There is no such section"));
    }
    let items = rows.into_iter().map(|row| Item {
        key: row.key,
        kind: Kind::from_name(&row.kind),
        value: row.value,
        label: row.label,
        order: row.position,
    });
    let section = Section {
        section,
        items: items.collect(),
    };
    let document = serde_json::to_vec(&section).map_err(|error| Failure::internal(&error))?;
    let etag = entity_tag(&document);
    let response = if is_known(&headers, &etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let media_type = HeaderValue::from_static("application/json");
        ([(header::CONTENT_TYPE, media_type)], Bytes::from(document)).into_response()
    };
    let etag = HeaderValue::from_str(&etag).map_err(|error| Failure::internal(&error))?;
    let headers = [
        (header::CACHE_CONTROL, HeaderValue::from_static(CACHE_CONTROL)),
        (header::ETAG, etag),
    ];
    Ok((headers, response).into_response())
}

#[cfg(test)]
mod tests {
    use crate::api::testing::TestApp;
    use serde_json::json;

    async fn write(app: &TestApp, token: &str, item: serde_json::Value) -> String {
        let created = app.post_as(token, "/api/admin/content", &item).await;
        assert_eq!(created.status, 201, "{}", created.text());
        created.header("location").unwrap().to_owned()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn everybody_reads_a_section_in_its_order_as_json() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        for (key, value, kind, order) in [
            ("last", "{\"a\": 1}", "JSON", 9),
            ("b", "<script>alert(1)</script>", "HTML", 1),
            ("a", "Hello", "TEXT", 1),
        ] {
            let item = json!({"section": "home", "key": key, "value": value, "type": kind, "order": order});
            write(&app, &token, item).await;
        }
        let answer = app.get("/api/content/home").await;
        assert_eq!(
            (
                answer.status,
                answer.header("content-type"),
                answer.header("cache-control"),
                answer.header("x-content-type-options")
            ),
            (
                200,
                Some("application/json"),
                Some("public, max-age=60"),
                Some("nosniff")
            ),
            "{}",
            answer.text()
        );
        assert_eq!(
            answer.json(),
            json!({"section": "home", "items": [
                {"key": "a", "type": "TEXT", "value": "Hello", "label": "", "order": 1},
                {"key": "b", "type": "HTML", "value": "<script>alert(1)</script>", "label": "", "order": 1},
                {"key": "last", "type": "JSON", "value": "{\"a\": 1}", "label": "", "order": 9},
            ]})
        );
        for nowhere in [
            "/api/content/faq",
            "/api/content/HOME",
            "/api/content/a%20b",
            "/api/content/%00",
        ] {
            assert_eq!(app.get(nowhere).await.status, 404, "{nowhere}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_has_it_already_is_told_so_until_it_changes() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let item = json!({"section": "home", "key": "a", "value": "Hello", "type": "TEXT"});
        let address = write(&app, &token, item).await;
        let tag = app.get("/api/content/home").await.header("etag").unwrap().to_owned();
        let ask = async || {
            let request = app.signed("GET", "/api/content/home").header("if-none-match", &tag);
            app.send(request.body("".into()).unwrap()).await
        };
        let known = ask().await;
        assert_eq!(
            (
                known.status,
                known.body.len(),
                known.header("etag"),
                known.header("cache-control")
            ),
            (304, 0, Some(tag.as_str()), Some("public, max-age=60"))
        );
        app.patch_as(&token, &address, &json!({"value": "Good day"}), None)
            .await;
        let changed = ask().await;
        assert_eq!(
            (changed.status, &changed.json()["items"][0]["value"]),
            (200, &json!("Good day"))
        );
        assert_eq!(app.delete_as(&token, &address).await.status, 204);
        assert_eq!(app.delete_as(&token, &address).await.status, 404);
        assert_eq!(ask().await.status, 404);
        assert_eq!(
            app.count(
                "select count(*) from audit_logs where action = 'content.delete' and before ->> 'value' = 'Good day'"
            )
            .await,
            1
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn no_tenant_reads_anothers() {
        let Some(app) = TestApp::start().await else { return };
        app.execute("insert into tenants (name) values ('other')").await;
        app.execute(
            "insert into site_contents (tenant_id, id, section, key, value, type, created_at, updated_at)
             select id, gen_random_uuid(), 'theirs', 'a', 'b', 'TEXT', now(), now() from tenants where name = 'other'",
        )
        .await;
        assert_eq!(app.get("/api/content/theirs").await.status, 404);
        let token = app.admin_token().await;
        assert_eq!(
            app.get_as(&token, "/api/admin/content").await.json()["items"],
            json!([])
        );
    }
}
