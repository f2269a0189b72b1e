//! `PATCH /api/admin/content/{id}`: changes what it names of an item; what it does not name stays.

use axum::{
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use kado_shared::problem::{Code, FieldError};
use serde::Deserialize;

use super::{ItemView, Row};
use crate::{
    api::openapi::parameters::{IdInPath as IdInPathParameter, IfMatch},
    audit,
    content::{Full, Item, Kind, full, lock},
    database::DatabaseError,
    http::{
        authentication::Administrator,
        conditional::if_match,
        extract::{IdInPath, JsonBody, given},
        failure::Failure,
    },
    service::App,
};

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ContentChange)]
pub(crate) struct Change {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required = false, pattern = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    section: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required = false, pattern = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    key: Option<String>,
    /// As the type wants it, be that named here or not.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required = false, max_length = 49_152, pattern = r"^[^\u0000]*$")]
    value: Option<String>,
    #[serde(default, rename = "type", deserialize_with = "given")]
    #[schema(value_type = Kind, required = false)]
    kind: Option<Kind>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required = false, pattern = r"^[\t-\r \u0085]*[^\u0000-\u001f\u007f-\u009f]{0,200}[\t-\r \u0085]*$")]
    label: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = i32, required = false, minimum = 0, maximum = 1_000_000)]
    order: Option<i32>,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error("there is no such item")]
    Missing,
    #[error("the item has changed since it was read")]
    Stale,
    #[error("the fields are not valid")]
    Fields(Vec<FieldError>),
    #[error("{0}")]
    Full(Full),
    #[error("the section has this key")]
    Taken,
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl IntoResponse for ChangeError {
    fn into_response(self) -> Response {
        let failure = match self {
            Self::Missing => Failure::new(Code::NotFound, "There is no such item"),
            Self::Stale => Failure::new(
                Code::PreconditionFailed,
                "The item has changed since it was read: read it again and repeat the change",
            ),
            Self::Fields(errors) => Failure::fields(errors),
            Self::Full(full) => full.into(),
            Self::Taken => Failure::new(
                Code::Conflict,
                "The section has another item of this key: choose another key",
            ),
            Self::Database(error) => error.into(),
        };
        failure.into_response()
    }
}

/// Changes what it names of an item; what it does not name stays.
#[utoipa::path(patch, path = "/api/admin/content/{id}", params(IdInPathParameter, IfMatch), request_body = Change,
    responses(
        (status = 200, description = "The item as it is now.", body = ItemView, headers(("ETag" = String, description = "For `If-Match`."))),
        (status = 409, description = "The section has another item of the key, or too much already."),
        (status = 412, description = "It has changed since it was read."),
    ))]
pub(crate) async fn patch_content(
    State(app): State<App>,
    Administrator(principal): Administrator,
    IdInPath(id): IdInPath,
    headers: HeaderMap,
    JsonBody(change): JsonBody<Change>,
) -> Result<Response, ChangeError> {
    let tenant = principal.caller.tenant;
    let mut transaction = app.database.begin(tenant).await?;
    lock(transaction.connection(), tenant).await?;
    let before = sqlx::query_as!(
        Row,
        "select id, section, key, value, type as kind, label, position, created_at, updated_at from site_contents where id = $1",
        id
    )
    .fetch_optional(transaction.connection())
    .await
    .map_err(DatabaseError::from)?
    .ok_or(ChangeError::Missing)?
    .view();
    if !if_match(&headers, &before.etag()) {
        return Err(ChangeError::Stale);
    }
    let old = before.item();
    let new = changed(change, old.clone()).check().map_err(ChangeError::Fields)?;
    if new == old {
        transaction.commit().await?;
        return Ok(before.answer().into_response());
    }
    if let Some(full) = full(transaction.connection(), tenant, Some(id), &new).await? {
        return Err(ChangeError::Full(full));
    }
    let after = sqlx::query_as!(
        Row,
        "update site_contents
         set section = $2, key = $3, value = $4, type = $5, label = $6, position = $7, updated_at = $8 where id = $1
         returning id, section, key, value, type as kind, label, position, created_at, updated_at",
        id,
        new.section,
        new.key,
        new.value,
        new.kind.as_str(),
        new.label,
        new.order,
        app.clock.now(),
    )
    .fetch_one(transaction.connection())
    .await
    .map_err(|error| {
        let error = DatabaseError::from(error);
        if error.is_unique_violation() {
            ChangeError::Taken
        } else {
            error.into()
        }
    })?
    .view();
    let mut entry = principal.entry(&app, "content.update");
    entry.target = Some(id.to_string());
    entry.before = Some(before.audited());
    entry.after = Some(after.audited());
    audit::record(transaction.connection(), entry).await?;
    transaction.commit().await?;
    Ok(after.answer().into_response())
}

fn changed(change: Change, old: Item) -> Item {
    Item {
        section: change.section.unwrap_or(old.section),
        key: change.key.unwrap_or(old.key),
        value: change.value.unwrap_or(old.value),
        kind: change.kind.unwrap_or(old.kind),
        label: change.label.unwrap_or(old.label),
        order: change.order.unwrap_or(old.order),
    }
}

#[cfg(test)]
mod tests {
    use crate::api::testing::TestApp;
    use serde_json::{Value, json};

    const ADDRESS: &str = "/api/admin/content";

    /// An item in the section `home`; answers its address.
    async fn item(app: &TestApp, token: &str, key: &str) -> String {
        let body = json!({"section": "home", "key": key, "value": "https://a.example/", "type": "URL"});
        let created = app.post_as(token, ADDRESS, &body).await;
        assert_eq!(created.status, 201, "{}", created.text());
        created.header("location").unwrap().to_owned()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_named_changes_and_is_audited() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let address = item(&app, &token, "link").await;
        let changed = app
            .patch_as(
                &token,
                &address,
                &json!({"value": "/a.png", "type": "IMAGE", "order": 2}),
                None,
            )
            .await;
        let view = changed.json();
        assert_eq!(
            (changed.status, &view["value"], &view["key"], &view["order"]),
            (200, &json!("/a.png"), &json!("link"), &json!(2)),
            "{}",
            changed.text()
        );
        assert_eq!(
            app.patch_as(&token, &address, &json!({"order": 2}), None).await.status,
            200
        );
        let audited: Vec<(Value, Value)> =
            sqlx::query_as("select before, after from audit_logs where action = 'content.update'")
                .fetch_all(app.database().superuser())
                .await
                .unwrap();
        let [(before, after)] = audited.as_slice() else {
            panic!("what changes nothing is no change: {audited:?}");
        };
        assert_eq!(
            (&before["type"], &after["type"], &after["value"]),
            (&json!("URL"), &json!("IMAGE"), &json!("/a.png"))
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_whole_is_judged_and_nothing_is_changed_in_part() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let address = item(&app, &token, "link").await;
        item(&app, &token, "taken").await;
        for (body, status, field) in [
            (json!({"type": "JSON"}), 400, json!("value")),
            (json!({"value": null}), 400, json!("value")),
            (json!({"section": "a b", "order": 1}), 400, json!("section")),
            (json!({"id": "x"}), 400, json!("id")),
            (json!({"key": "taken"}), 409, Value::Null),
        ] {
            let answer = app.patch_as(&token, &address, &body, None).await;
            assert_eq!(
                (answer.status, &answer.json()["errors"][0]["field"]),
                (status, &field),
                "{body}: {}",
                answer.text()
            );
        }
        assert_eq!(app.get_as(&token, &address).await.json()["order"], 0);
        let nowhere = format!("{ADDRESS}/6f1c1b9e-7c0a-4d8e-9d51-0b8f5a1f2e3d");
        assert_eq!(app.patch_as(&token, &nowhere, &json!({}), None).await.status, 404);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_changes_made_at_once_with_one_tag_one_is_made() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let address = item(&app, &token, "link").await;
        let tag = app.get_as(&token, &address).await.header("etag").unwrap().to_owned();
        let change = |order: u32| {
            let (app, token, address, tag) = (&app, &token, &address, &tag);
            async move {
                app.patch_as(token, address, &json!({ "order": order }), Some(tag))
                    .await
                    .status
            }
        };
        let mut statuses = futures_util::future::join_all((1..6).map(change)).await;
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 412, 412, 412, 412]);
    }
}
