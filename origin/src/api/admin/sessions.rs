//! `POST /api/admin/sessions/revoke-all`: every session of the tenant ends, the caller's too.

use axum::{Json, extract::State};
use serde::Serialize;
use serde_json::json;

use crate::{
    audit,
    http::{authentication::Administrator, failure::Failure},
    identity::session,
    service::App,
};

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RevokedSessions)]
pub(crate) struct Revoked {
    /// Tokens of an older epoch do not count any more.
    epoch: i64,
}

/// Ends every session of the tenant, the caller's too.
#[utoipa::path(post, path = "/api/admin/sessions/revoke-all", operation_id = "post_revoke_all",
    responses((status = 200, description = "They have ended.", body = Revoked)))]
pub(crate) async fn post_revoke_all(
    State(app): State<App>,
    Administrator(principal): Administrator,
) -> Result<Json<Revoked>, Failure> {
    let mut transaction = app.database.begin(principal.caller.tenant).await?;
    let epoch = session::raise_tenants_epoch(transaction.connection(), principal.caller.tenant).await?;
    let mut entry = principal.entry(&app, "sessions.revoke-all");
    entry.before = Some(json!({ "epoch": epoch - 1 }));
    entry.after = Some(json!({ "epoch": epoch }));
    audit::record(transaction.connection(), entry).await?;
    transaction.commit().await?;
    Ok(Json(Revoked { epoch }))
}

#[cfg(test)]
mod tests {
    use crate::api::testing::TestApp;
    use serde_json::json;

    #[tokio::test]
    async fn everybodys_sessions_of_the_tenant_end_and_no_others() {
        let Some(app) = TestApp::start().await else { return };
        app.execute("insert into tenants (name) values ('other')").await;
        let (admin, user) = (app.admin_token().await, app.user_token("user@localhost").await);
        assert_eq!(
            app.post_as(&user, "/api/admin/sessions/revoke-all", &json!({}))
                .await
                .status,
            403
        );
        let before = app.count("select revision from edge_state").await;
        let answer = app.post_as(&admin, "/api/admin/sessions/revoke-all", &json!({})).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        for dead in [&admin, &user] {
            assert_eq!(app.get_as(dead, "/api/auth/me").await.status, 401);
        }
        assert!(
            app.count("select revision from edge_state").await > before,
            "the edges are told"
        );
        assert_eq!(app.count("select epoch from tenants where name = 'other'").await, 0);
        let anew = app.admin_token().await;
        assert_eq!(app.get_as(&anew, "/api/auth/me").await.status, 200);
        let snapshot = app.internal("GET", "/internal/edge-config?host=localhost").await.json();
        assert_eq!(snapshot["global"]["epoch"], 2);
    }
}
