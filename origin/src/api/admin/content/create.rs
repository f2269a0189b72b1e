//! `POST /api/admin/content`: a new item.

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use kado_shared::problem::{Code, FieldError};
use serde::Deserialize;

use super::{ItemView, Row};
use crate::{
    api::openapi::parameters::IdempotencyKey,
    audit,
    content::{Full, Item, Kind, full, lock},
    database::DatabaseError,
    http::{authentication::Administrator, failure::Failure},
    idempotency::{KeyedJson, NotFirst},
    service::App,
};

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewContent)]
pub(crate) struct NewItem {
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    section: String,
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    key: String,
    /// A text, whatever the type: of `TEXT` at most 10,000 bytes, of `URL` and `IMAGE` an address of at most 2,048, of `HTML`
    /// and `JSON` at most 49,152.
    #[schema(max_length = 49_152, pattern = r"^[^\u0000]*$")]
    value: String,
    #[serde(rename = "type")]
    kind: Kind,
    /// For people.
    #[serde(default)]
    #[schema(
        pattern = r"^[\t-\r \u0085]*[^\u0000-\u001f\u007f-\u009f]{0,200}[\t-\r \u0085]*$",
        default = ""
    )]
    label: String,
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1_000_000, default = 0)]
    order: i32,
}

/// Why there is no new item.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CreateError {
    #[error("the fields are not valid")]
    Fields(Vec<FieldError>),
    #[error("{0}")]
    Full(Full),
    #[error("the section has this key")]
    Taken,
    #[error("the item's address or entity tag is no header")]
    Header,
    #[error(transparent)]
    NotFirst(#[from] NotFirst),
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl IntoResponse for CreateError {
    fn into_response(self) -> Response {
        let failure = match self {
            Self::Fields(errors) => Failure::fields(errors),
            Self::Full(full) => full.into(),
            Self::Taken => Failure::new(
                Code::Conflict,
                "The section has an item of this key: change that one, or choose another key",
            ),
            Self::NotFirst(answer) => return answer.into_response(),
            Self::Database(error) => error.into(),
            defect @ Self::Header => Failure::internal(&defect),
        };
        failure.into_response()
    }
}

/// Makes an item of the content.
///
/// At most 2,000 items of a tenant, 100 items and 1,048,576 bytes of a section.
#[utoipa::path(post, path = "/api/admin/content", params(IdempotencyKey), request_body = NewItem,
    responses(
        (status = 201, description = "The item. Where the answer is repeated, there is no `ETag`.", body = ItemView,
            headers(("ETag" = String, description = "For `If-Match`."))),
        (status = 409, description = "The section has the key, there is too much already, or a request with this Idempotency-Key is under way."),
    ))]
pub(crate) async fn post_content(
    State(app): State<App>,
    Administrator(principal): Administrator,
    KeyedJson(attempt, body): KeyedJson<NewItem>,
) -> Result<Response, CreateError> {
    let item = Item {
        section: body.section,
        key: body.key,
        value: body.value,
        kind: body.kind,
        label: body.label,
        order: body.order,
    };
    let item = item.check().map_err(CreateError::Fields)?;
    let (tenant, now) = (principal.caller.tenant, app.clock.now());
    let mut transaction = app.database.begin(tenant).await?;
    let claim = attempt.claim(transaction.connection(), &principal, now).await?;
    lock(transaction.connection(), tenant).await?;
    if let Some(full) = full(transaction.connection(), tenant, None, &item).await? {
        return Err(CreateError::Full(full));
    }
    let view = sqlx::query_as!(
        Row,
        "insert into site_contents (tenant_id, id, section, key, value, type, label, position, created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9) on conflict (tenant_id, section, key) do nothing
         returning id, section, key, value, type as kind, label, position, created_at, updated_at",
        tenant.0,
        app.entropy.uuid(),
        item.section,
        item.key,
        item.value,
        item.kind.as_str(),
        item.label,
        item.order,
        now,
    )
    .fetch_optional(transaction.connection())
    .await
    .map_err(DatabaseError::from)?
    .ok_or(CreateError::Taken)?
    .view();
    let mut entry = principal.entry(&app, "content.create");
    entry.target = Some(view.id.to_string());
    entry.after = Some(view.audited());
    audit::record(transaction.connection(), entry).await?;
    let location = format!("/api/admin/content/{}", view.id);
    claim
        .keep(
            transaction.connection(),
            &principal,
            StatusCode::CREATED,
            &location,
            &view,
            now,
        )
        .await?;
    transaction.commit().await?;
    let header = |text: &str| HeaderValue::from_str(text).map_err(|_| CreateError::Header);
    let headers = [
        (header::LOCATION, header(&location)?),
        (header::ETAG, header(&view.etag())?),
    ];
    Ok((StatusCode::CREATED, headers, Json(view)).into_response())
}

#[cfg(test)]
mod tests {
    use crate::{
        api::testing::TestApp,
        content::{MOST, MOST_IN_SECTION},
    };
    use serde_json::{Value, json};

    const ADDRESS: &str = "/api/admin/content";

    #[tokio::test(flavor = "multi_thread")]
    async fn an_item_is_made_as_given_and_audited() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let body = json!({
            "section": "home", "key": "hero", "value": "<b>Kado</b><script>1</script>", "type": "HTML",
            "label": "Headline", "order": 3,
        });
        let created = app.post_as(&token, ADDRESS, &body).await;
        assert_eq!(created.status, 201, "{}", created.text());
        let view = created.json();
        for (name, value) in body.as_object().unwrap() {
            assert_eq!(&view[name], value, "{name}");
        }
        let address = created.header("location").unwrap().to_owned();
        let read = app.get_as(&token, &address).await;
        assert_eq!((read.status, read.json()), (200, view));
        assert_eq!(read.header("etag"), created.header("etag"));
        let after: Value = sqlx::query_scalar("select after from audit_logs where action = 'content.create'")
            .fetch_one(app.database().superuser())
            .await
            .unwrap();
        assert_eq!(after, body);
        let again = app.post_as(&token, ADDRESS, &body).await;
        assert_eq!((again.status, &again.json()["code"]), (409, &json!("conflict")));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn every_bad_field_is_named() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        for (body, fields) in [
            (
                json!({"section": "a/b", "key": "", "value": "ftp://a", "type": "URL", "label": "\n.\u{1}", "order": -1}),
                vec!["section", "key", "value", "label", "order"],
            ),
            (
                json!({"section": "a", "key": "b", "value": "{", "type": "JSON"}),
                vec!["value"],
            ),
            (
                json!({"section": "a", "key": "b", "value": "//b/c.png", "type": "IMAGE"}),
                vec!["value"],
            ),
            (
                json!({"section": "a", "key": "b", "value": "x".repeat(10_001), "type": "TEXT"}),
                vec!["value"],
            ),
            (
                json!({"section": "a", "key": "b", "value": "", "type": "html"}),
                vec!["type"],
            ),
            (json!({"section": "a", "key": "b", "type": "TEXT"}), vec!["value"]),
            (
                json!({"section": "a", "key": "b", "value": "", "type": "TEXT", "id": 1}),
                vec!["id"],
            ),
        ] {
            let answer = app.post_as(&token, ADDRESS, &body).await;
            assert_eq!(answer.status, 400, "{}", answer.text());
            let errors = answer.json()["errors"].as_array().unwrap().clone();
            let named: Vec<_> = errors.iter().map(|error| error["field"].as_str().unwrap()).collect();
            assert_eq!(named, fields);
        }
        let huge = json!({"section": "a", "key": "b", "value": "x".repeat(70_000), "type": "HTML"});
        assert_eq!(app.post_as(&token, ADDRESS, &huge).await.status, 413);
        assert_eq!(app.count("select count(*) from site_contents").await, 0);
        let user = app.user_token("user@localhost").await;
        assert_eq!(app.get_as(&user, ADDRESS).await.status, 403);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn sections_and_tenants_have_their_most_also_at_once() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let fill = |section: &'static str, from: i64, to: i64, bytes: i64| {
            let app = &app;
            async move {
                app.execute(&format!(
                    "insert into site_contents (tenant_id, id, section, key, value, type, created_at, updated_at)
                     select id, gen_random_uuid(), '{section}', 'k' || n, repeat('x', {bytes}), 'TEXT', now(), now()
                     from tenants, generate_series({from}, {to}) n"
                ))
                .await;
            }
        };
        let create = |section: &'static str, key: String| {
            let (app, token) = (&app, &token);
            async move {
                let body = json!({"section": section, "key": key, "value": "value", "type": "TEXT"});
                app.post_as(token, ADDRESS, &body).await.status
            }
        };
        fill("home", 1, MOST_IN_SECTION - 1, 0).await;
        let at_once = (0..4).map(|index| create("home", format!("new{index}")));
        let mut statuses = futures_util::future::join_all(at_once).await;
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409, 409, 409]);
        fill("heavy", 1, 32, 32 * 1024).await;
        assert_eq!(create("heavy", "a".into()).await, 409);
        fill("other", 1, MOST - MOST_IN_SECTION - 32 - 1, 0).await;
        assert_eq!(create("last", "a".into()).await, 201);
        assert_eq!(create("last", "b".into()).await, 409);
    }
}
