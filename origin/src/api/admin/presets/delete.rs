//! `DELETE /api/admin/presets/{name}`: addresses that name it are refused from then on.

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
};
use kado_shared::problem::Code;

use super::{Row, tell_cdn};
use crate::{
    api::openapi::parameters::{IfMatch, PresetInPath},
    audit,
    database::DatabaseError,
    http::{authentication::Administrator, conditional::if_match, extract::NameInPath, failure::Failure},
    service::App,
};

/// Deletes a preset: addresses that name it are refused from then on.
#[utoipa::path(delete, path = "/api/admin/presets/{name}", params(PresetInPath, IfMatch),
    responses(
        (status = 204, description = "It is gone."),
        (status = 412, description = "It has changed since it was read."),
    ))]
pub(crate) async fn delete_preset(
    State(app): State<App>,
    Administrator(principal): Administrator,
    NameInPath(name): NameInPath,
    headers: HeaderMap,
) -> Result<StatusCode, Failure> {
    let tenant = principal.caller.tenant;
    let mut transaction = app.database.begin(tenant).await?;
    let deleted = sqlx::query_as!(
        Row,
        "delete from presets where name = $1
         returning id, name, options, title, description, branding, created_at, updated_at",
        name
    )
    .fetch_optional(transaction.connection())
    .await
    .map_err(DatabaseError::from)?
    .ok_or_else(|| Failure::new(Code::NotFound, "There is no such preset"))?
    .view();
    if !if_match(&headers, &deleted.etag()) {
        let detail = "The preset has changed since it was read: read it again before it is deleted";
        return Err(Failure::new(Code::PreconditionFailed, detail));
    }
    tell_cdn(transaction.connection(), tenant, &name, app.clock.now()).await?;
    let mut entry = principal.entry(&app, "presets.delete");
    entry.target = Some(name);
    entry.before = Some(deleted.audited());
    audit::record(transaction.connection(), entry).await?;
    transaction.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use crate::api::testing::TestApp;
    use serde_json::json;

    #[tokio::test(flavor = "multi_thread")]
    async fn it_is_gone_here_and_at_the_edges_and_its_end_is_audited() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let body = json!({"name": "card", "options": "w=400"});
        assert_eq!(app.post_as(&token, "/api/admin/presets", &body).await.status, 201);
        let request = app.signed("DELETE", "/api/admin/presets/card");
        let request = request
            .header("authorization", format!("Bearer {token}"))
            .header("if-match", "\"old\"");
        assert_eq!(app.send(request.body("".into()).unwrap()).await.status, 412);
        assert_eq!(app.count("select count(*) from presets").await, 1);
        assert_eq!(app.delete_as(&token, "/api/admin/presets/card").await.status, 204);
        assert_eq!(app.delete_as(&token, "/api/admin/presets/card").await.status, 404);
        let told = app.internal("GET", "/internal/edge-config?host=localhost").await.json();
        assert_eq!(told["tenant"]["presetOptions"], json!({}));
        let before: serde_json::Value =
            sqlx::query_scalar("select before from audit_logs where action = 'presets.delete' and target = 'card'")
                .fetch_one(app.database().superuser())
                .await
                .unwrap();
        assert_eq!(before["options"], "width=400");
    }
}
