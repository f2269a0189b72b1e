//! `PATCH /api/admin/presets/{name}`: changes what it names of a preset; what it does not name stays.

use axum::{
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use kado_shared::problem::{Code, FieldError};
use serde::Deserialize;

use super::{Content, PresetView, Row, tell_cdn};
use crate::{
    api::openapi::parameters::{IfMatch, PresetInPath},
    audit,
    database::DatabaseError,
    http::{
        authentication::Administrator,
        conditional::if_match,
        extract::{JsonBody, NameInPath, given},
        failure::Failure,
    },
    service::App,
};

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PresetChange)]
pub(crate) struct Change {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required = false, max_length = 2_000)]
    options: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required = false, pattern = r"^[\t-\r \u0085]*[^\u0000-\u001f\u007f-\u009f]{0,100}[\t-\r \u0085]*$")]
    title: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required = false, pattern = r"^[\t-\r \u0085]*[^\u0000-\u0009\u000b-\u001f\u007f-\u009f]{0,500}[\t-\r \u0085]*$")]
    description: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = bool, required = false)]
    branding: Option<bool>,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error("there is no such preset")]
    Missing,
    #[error("the preset has changed since it was read")]
    Stale,
    #[error("the fields are not valid")]
    Fields(Vec<FieldError>),
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl IntoResponse for ChangeError {
    fn into_response(self) -> Response {
        let failure = match self {
            Self::Missing => Failure::new(Code::NotFound, "There is no such preset"),
            Self::Stale => Failure::new(
                Code::PreconditionFailed,
                "The preset has changed since it was read: read it again and repeat the change",
            ),
            Self::Fields(errors) => Failure::fields(errors),
            Self::Database(error) => error.into(),
        };
        failure.into_response()
    }
}

/// Changes what it names of a preset; what it does not name stays.
///
/// Every edge knows it within 5 s.
#[utoipa::path(patch, path = "/api/admin/presets/{name}", params(PresetInPath, IfMatch), request_body = Change,
    responses(
        (status = 200, description = "The preset as it is now.", body = PresetView, headers(("ETag" = String, description = "For `If-Match`."))),
        (status = 412, description = "It has changed since it was read."),
    ))]
pub(crate) async fn patch_preset(
    State(app): State<App>,
    Administrator(principal): Administrator,
    NameInPath(name): NameInPath,
    headers: HeaderMap,
    JsonBody(change): JsonBody<Change>,
) -> Result<Response, ChangeError> {
    let (tenant, now) = (principal.caller.tenant, app.clock.now());
    let mut transaction = app.database.begin(tenant).await?;
    let row = sqlx::query_as!(
        Row,
        "select id, name, options, title, description, branding, created_at, updated_at from presets
         where name = $1 for update",
        name
    )
    .fetch_optional(transaction.connection())
    .await
    .map_err(DatabaseError::from)?
    .ok_or(ChangeError::Missing)?;
    let (id, before) = (row.id, row.view());
    if !if_match(&headers, &before.etag()) {
        return Err(ChangeError::Stale);
    }
    let old = Content {
        options: before.options.clone(),
        title: before.title.clone(),
        description: before.description.clone(),
        branding: before.branding,
    };
    let new = Content {
        options: change.options.unwrap_or_else(|| old.options.clone()),
        title: change.title.unwrap_or_else(|| old.title.clone()),
        description: change.description.unwrap_or_else(|| old.description.clone()),
        branding: change.branding.unwrap_or(old.branding),
    };
    let new = new.check().map_err(ChangeError::Fields)?;
    if new == old {
        transaction.commit().await?;
        return Ok(before.answer().into_response());
    }
    let row = sqlx::query_as!(
        Row,
        "update presets set options = $2, title = $3, description = $4, branding = $5, updated_at = $6 where id = $1
         returning id, name, options, title, description, branding, created_at, updated_at",
        id,
        new.options,
        new.title,
        new.description,
        new.branding,
        now,
    )
    .fetch_one(transaction.connection())
    .await
    .map_err(DatabaseError::from)?;
    if (&new.options, new.branding) != (&old.options, old.branding) {
        tell_cdn(transaction.connection(), tenant, &name, now).await?;
    }
    let after = row.view();
    let mut entry = principal.entry(&app, "presets.update");
    entry.target = Some(name);
    entry.before = Some(before.audited());
    entry.after = Some(after.audited());
    audit::record(transaction.connection(), entry).await?;
    transaction.commit().await?;
    Ok(after.answer().into_response())
}

#[cfg(test)]
mod tests {
    use crate::api::testing::TestApp;
    use serde_json::json;
    use time::Duration;

    const ADDRESS: &str = "/api/admin/presets/card";

    async fn start() -> Option<(TestApp, String)> {
        let app = TestApp::start().await?;
        let token = app.admin_token().await;
        let body = json!({"name": "card", "options": "w=400", "title": "Card"});
        let created = app.post_as(&token, "/api/admin/presets", &body).await;
        assert_eq!(created.status, 201, "{}", created.text());
        app.clock.advance(Duration::seconds(1));
        Some((app, token))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_named_changes_and_is_audited_and_told() {
        let Some((app, token)) = start().await else { return };
        app.execute("insert into system_settings values (null, 'cdnPurgeUrl', '\"https://cdn.example/purge\"')")
            .await;
        let changed = app
            .patch_as(&token, ADDRESS, &json!({"options": "w=500,q=80"}), None)
            .await;
        let view = changed.json();
        assert_eq!(
            (changed.status, &view["options"], &view["title"]),
            (200, &json!("quality=80,width=500"), &json!("Card")),
            "{}",
            changed.text()
        );
        assert_ne!(view["createdAt"], view["updatedAt"]);
        let told = app.internal("GET", "/internal/edge-config?host=localhost").await.json();
        assert_eq!(
            told["tenant"]["presetOptions"]["card"],
            json!({"options": "quality=80,width=500", "branding": false})
        );
        let (before, after): (serde_json::Value, serde_json::Value) =
            sqlx::query_as("select before, after from audit_logs where action = 'presets.update' and target = 'card'")
                .fetch_one(app.database().superuser())
                .await
                .unwrap();
        assert_eq!(
            (&before["options"], &after["options"]),
            (&json!("width=400"), &json!("quality=80,width=500"))
        );
        let tags = format!("{{kado-{}-p-card}}", app.tenant.0.simple());
        let deliveries = format!("select count(*) from purge_deliveries where tags = '{tags}'");
        assert_eq!(app.count(&deliveries).await, 2);
        // Another title makes no other pictures, and what changes nothing is no change.
        assert_eq!(
            app.patch_as(&token, ADDRESS, &json!({"title": "Cards"}), None)
                .await
                .status,
            200
        );
        assert_eq!(
            app.patch_as(&token, ADDRESS, &json!({"options": "q=80,w=500"}), None)
                .await
                .status,
            200
        );
        assert_eq!(app.count(&deliveries).await, 2);
        assert_eq!(
            app.count("select count(*) from audit_logs where action = 'presets.update'")
                .await,
            2
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_wrong_is_named_and_changes_nothing() {
        let Some((app, token)) = start().await else { return };
        for (body, field) in [
            (json!({"options": "w=0"}), "options.width"),
            (json!({"options": null}), "options"),
            (json!({"name": "other"}), "name"),
            (json!({"title": "x".repeat(101)}), "title"),
            (json!({"options": "branding=true"}), "options.branding"),
        ] {
            let answer = app.patch_as(&token, ADDRESS, &body, None).await;
            assert_eq!(
                (answer.status, &answer.json()["errors"][0]["field"]),
                (400, &json!(field)),
                "{}",
                answer.text()
            );
        }
        let both = json!({"options": "branding=true,w=400", "branding": true});
        assert_eq!(app.patch_as(&token, ADDRESS, &both, None).await.status, 200);
        // Now the options ask for what would no longer be allowed.
        let answer = app.patch_as(&token, ADDRESS, &json!({"branding": false}), None).await;
        assert_eq!(answer.json()["errors"][0]["field"], "options.branding");
        assert_eq!(
            app.patch_as(&token, "/api/admin/presets/nowhere", &json!({}), None)
                .await
                .status,
            404
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_changes_made_at_once_with_one_tag_one_is_made() {
        let Some((app, token)) = start().await else { return };
        let tag = app.get_as(&token, ADDRESS).await.header("etag").unwrap().to_owned();
        let change = |width: u32| {
            let (app, token, tag) = (&app, &token, &tag);
            async move {
                let body = json!({"options": format!("w={width}")});
                app.patch_as(token, ADDRESS, &body, Some(tag)).await.status
            }
        };
        let mut statuses = futures_util::future::join_all((1..6).map(change)).await;
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 412, 412, 412, 412]);
    }
}
