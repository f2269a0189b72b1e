//! `GET`, `DELETE /api/admin/users/{id}/sessions` and `DELETE /api/admin/users/{id}/sessions/{session}`: where somebody is
//! signed in, and no longer.

use axum::{
    Json,
    extract::{RawQuery, State},
    http::StatusCode,
};
use kado_shared::problem::Code;
use serde_json::json;

use super::{load, read::no_user};
use crate::{
    api::{
        auth::sessions::{SessionView, page_of_user},
        openapi::parameters::{IdInPath as IdInPathParameter, PageQuery, SessionOfUserInPath},
        page::Page,
    },
    audit,
    database::DatabaseError,
    http::{
        authentication::Administrator,
        extract::{IdInPath, TwoIdsInPath},
        failure::Failure,
    },
    identity::session,
    service::App,
};

const REASON: &str = "administrator";

/// Where a user is signed in.
#[utoipa::path(get, path = "/api/admin/users/{id}/sessions", operation_id = "get_sessions_of_user",
    params(IdInPathParameter, PageQuery),
    responses((status = 200, description = "A page.", body = Page<SessionView>)))]
pub(crate) async fn get_sessions(
    State(app): State<App>,
    Administrator(principal): Administrator,
    IdInPath(id): IdInPath,
    RawQuery(query): RawQuery,
) -> Result<Json<Page<SessionView>>, Failure> {
    let mut transaction = app.database.begin(principal.caller.tenant).await?;
    load(transaction.connection(), id).await?.ok_or_else(no_user)?;
    transaction.commit().await?;
    Ok(Json(page_of_user(&app, &principal, id, query.as_deref()).await?))
}

/// Ends every session of a user.
#[utoipa::path(delete, path = "/api/admin/users/{id}/sessions", operation_id = "delete_sessions_of_user",
    params(IdInPathParameter), responses((status = 204, description = "They are ended; the edges know within 5 s.")))]
pub(crate) async fn delete_sessions(
    State(app): State<App>,
    Administrator(principal): Administrator,
    IdInPath(id): IdInPath,
) -> Result<StatusCode, Failure> {
    let mut transaction = app.database.begin(principal.caller.tenant).await?;
    load(transaction.connection(), id).await?.ok_or_else(no_user)?;
    let ended = session::end_others(transaction.connection(), id, None, REASON, app.clock.now()).await?;
    let mut entry = principal.entry(&app, "users.sessions-end");
    entry.target = Some(id.to_string());
    entry.before = Some(json!({ "sessions": ended }));
    entry.after = Some(json!({ "sessions": 0 }));
    audit::record(transaction.connection(), entry).await?;
    transaction.commit().await?;
    app.metrics.session("ended", ended);
    Ok(StatusCode::NO_CONTENT)
}

/// Ends one session of a user.
#[utoipa::path(delete, path = "/api/admin/users/{id}/sessions/{session}", operation_id = "delete_session_of_user",
    params(SessionOfUserInPath), responses((status = 204, description = "It is ended; the edges know within 5 s.")))]
pub(crate) async fn delete_session(
    State(app): State<App>,
    Administrator(principal): Administrator,
    TwoIdsInPath(id, named): TwoIdsInPath,
) -> Result<StatusCode, Failure> {
    let mut transaction = app.database.begin(principal.caller.tenant).await?;
    let theirs = sqlx::query_scalar!(
        r#"select exists (select from sessions where id = $1 and user_id = $2 and ended_at is null) as "theirs!""#,
        named,
        id,
    )
    .fetch_one(transaction.connection())
    .await
    .map_err(DatabaseError::from)?;
    if !theirs || !session::end(transaction.connection(), named, REASON, app.clock.now()).await? {
        return Err(Failure::new(
            Code::NotFound,
            "The user has no session with this identifier",
        ));
    }
    let mut entry = principal.entry(&app, "users.session-end");
    entry.target = Some(named.to_string());
    entry.before = Some(json!({ "userId": id, "ended": false }));
    entry.after = Some(json!({ "userId": id, "ended": true }));
    audit::record(transaction.connection(), entry).await?;
    transaction.commit().await?;
    app.metrics.session("ended", 1);
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use crate::api::testing::{TestApp, unsigned};
    use serde_json::json;

    #[tokio::test(flavor = "multi_thread")]
    async fn an_administrator_ends_somebodys_sessions_and_the_edges_hear_of_it() {
        let Some(app) = TestApp::start().await else { return };
        let (admin, first) = (app.admin_token().await, app.user_token("user@localhost").await);
        let login = json!({"email": "user@localhost", "password": TestApp::PASSWORD});
        let second = app.post("/api/auth/login", &login).await.json()["token"].clone();
        let second = second.as_str().unwrap();
        let users = app.get_as(&admin, "/api/admin/users?email=user").await.json();
        let id = users["items"][0]["id"].as_str().unwrap();
        let target = format!("/api/admin/users/{id}/sessions");
        let listed = app.get_as(&admin, &target).await.json();
        let items = listed["items"].as_array().unwrap();
        assert_eq!((items.len(), &items[0]["current"]), (2, &json!(false)));

        let mine = app.get_as(&first, "/api/auth/sessions").await.json();
        let current = mine["items"].as_array().unwrap().iter();
        let current = current.clone().find(|item| item["current"] == true).unwrap();
        let one = format!("{target}/{}", current["id"].as_str().unwrap());
        assert_eq!(app.delete_as(&admin, &one).await.status, 204);
        assert_eq!(app.delete_as(&admin, &one).await.status, 404);
        assert_eq!(app.get_as(&first, "/api/auth/me").await.status, 401);
        assert_eq!(app.get_as(second, "/api/auth/me").await.status, 200);
        assert_eq!(app.get_as(second, &target).await.status, 403);
        assert_eq!(app.delete_as(&admin, &target).await.status, 204);
        assert_eq!(app.get_as(second, "/api/auth/me").await.status, 401);
        assert_eq!(app.get_as(&admin, "/api/auth/me").await.status, 200);
        let snapshot = app.internal("GET", "/internal/edge-config?host=localhost").await.json();
        assert_eq!(snapshot["revoked"].as_array().unwrap().len(), 2);
        for action in ["users.session-end", "users.sessions-end"] {
            let sql = format!("select count(*) from audit_logs where action = '{action}' and before is not null");
            assert_eq!(app.count(&sql).await, 1, "{action}");
        }
        let metrics = crate::metrics::router(crate::service::App::clone(&app.service));
        let told = TestApp::read(metrics, unsigned("GET", "/metrics")).await.text();
        assert!(
            told.contains("kado_origin_sessions_total{event=\"ended\"} 2\n"),
            "{told}"
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_not_there_or_anothers_is_404() {
        let Some(app) = TestApp::start().await else { return };
        let admin = app.admin_token().await;
        let me = app.get_as(&admin, "/api/auth/sessions").await.json();
        let mine = me["items"][0]["id"].as_str().unwrap();
        let nobody = "6f1c1b9e-7c0a-4d8e-9d51-0b8f5a1f2e3d";
        let target = format!("/api/admin/users/{nobody}/sessions");
        assert_eq!(app.get_as(&admin, &target).await.status, 404);
        assert_eq!(app.delete_as(&admin, &target).await.status, 404);
        for session in [mine, nobody, "none"] {
            assert_eq!(
                app.delete_as(&admin, &format!("{target}/{session}")).await.status,
                404,
                "{session}"
            );
        }
    }
}
