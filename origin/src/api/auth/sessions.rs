//! `GET /api/auth/sessions` and `DELETE /api/auth/sessions/{id}`: where the caller is signed in, and no longer.

use axum::{
    Json,
    extract::{RawQuery, State},
    http::StatusCode,
};
use kado_shared::problem::Code;
use serde::Serialize;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::{
    api::{
        openapi::parameters::{IdInPath as IdInPathParameter, PageQuery},
        page::{Cursor, Page, parse_page, timestamp},
    },
    audit,
    database::DatabaseError,
    http::{
        authentication::{Principal, SignedIn, SignedInAtAll},
        extract::IdInPath,
        failure::Failure,
    },
    identity::session,
    service::App,
};

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Session)]
pub(crate) struct SessionView {
    id: Uuid,
    /// `User-Agent` of the sign-in.
    device: Option<String>,
    ip: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    last_seen_at: String,
    /// When it ends if nothing more is heard of it.
    #[schema(format = DateTime)]
    expires_at: String,
    /// Seconds until then.
    expires_in: i64,
    /// Whether it is the one that asks.
    current: bool,
}

/// Where the caller is signed in.
#[utoipa::path(get, path = "/api/auth/sessions", params(PageQuery),
    responses((status = 200, description = "A page.", body = Page<SessionView>)))]
pub(crate) async fn get_sessions(
    State(app): State<App>,
    SignedIn(principal): SignedIn,
    RawQuery(query): RawQuery,
) -> Result<Json<Page<SessionView>>, Failure> {
    let page = page_of_user(&app, &principal, principal.user, query.as_deref()).await?;
    Ok(Json(page))
}

/// Where a user of the caller's tenant is signed in.
pub(crate) async fn page_of_user(
    app: &App,
    principal: &Principal,
    user: Uuid,
    query: Option<&str>,
) -> Result<Page<SessionView>, Failure> {
    let (limit, after) = parse_page(query)?;
    let now = app.clock.now();
    let mut transaction = app.database.begin(principal.caller.tenant).await?;
    let settings = app
        .settings
        .of_revision(transaction.connection(), principal.caller.tenant, principal.revision)
        .await?;
    let seconds = |name| Duration::seconds(i64::try_from(settings.integer(name)).unwrap_or(0));
    let (idle, whole) = (seconds("sessionTimeout"), seconds("sessionMaxAge"));
    let rows = sqlx::query!(
        "select s.id, s.user_agent, s.client_ip, s.created_at, s.last_seen_at
         from sessions s join tenants t on t.id = s.tenant_id cross join edge_state e
         where s.user_id = $1 and s.ended_at is null and s.epoch >= e.epoch + t.epoch
           and s.last_seen_at >= $2 and s.created_at >= $3
           and ($4::timestamptz is null or (s.created_at, s.id) > ($4, $5::uuid))
         order by s.created_at, s.id limit $6",
        user,
        now - idle,
        now - whole,
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
    Ok(page.map(|row| {
        let ends: OffsetDateTime = (row.last_seen_at + idle).min(row.created_at + whole);
        SessionView {
            current: Some(row.id) == principal.session,
            id: row.id,
            device: row.user_agent,
            ip: row.client_ip,
            created_at: timestamp(row.created_at),
            last_seen_at: timestamp(row.last_seen_at),
            expires_at: timestamp(ends),
            expires_in: (ends - now).whole_seconds(),
        }
    }))
}

/// Ends one of the caller's sessions.
#[utoipa::path(delete, path = "/api/auth/sessions/{id}", params(IdInPathParameter),
    responses((status = 204, description = "It has ended.")))]
pub(crate) async fn delete_session(
    State(app): State<App>,
    SignedInAtAll(principal): SignedInAtAll,
    IdInPath(id): IdInPath,
) -> Result<StatusCode, Failure> {
    let mut transaction = app.database.begin(principal.caller.tenant).await?;
    let own = sqlx::query_scalar!(
        r#"select exists (select from sessions where id = $1 and user_id = $2 and ended_at is null) as "own!""#,
        id,
        principal.user,
    )
    .fetch_one(transaction.connection())
    .await
    .map_err(DatabaseError::from)?;
    if !own || !session::end(transaction.connection(), id, "deleted", app.clock.now()).await? {
        return Err(Failure::new(Code::NotFound, "You have no session with this identifier"));
    }
    let mut entry = principal.entry(&app, "auth.session-end");
    entry.target = Some(id.to_string());
    audit::record(transaction.connection(), entry).await?;
    transaction.commit().await?;
    app.metrics.session("ended", 1);
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use crate::api::testing::TestApp;
    use time::Duration;
    use uuid::Uuid;

    #[tokio::test]
    async fn sessions_are_listed_and_ended_one_by_one() {
        let Some(app) = TestApp::start().await else { return };
        let idle = app.admin_token().await;
        app.clock.advance(Duration::minutes(31));
        let (one, two) = (app.admin_token().await, app.admin_token().await);
        assert_eq!(app.get_as(&idle, "/api/auth/me").await.status, 401);
        let list = app.get_as(&one, "/api/auth/sessions").await.json();
        let items = list["items"].as_array().unwrap();
        assert_eq!(items.len(), 2, "{list}");
        assert_eq!(items.iter().filter(|item| item["current"] == true).count(), 1);
        assert_eq!(items[0]["expiresIn"], 1800);
        let other = items.iter().find(|item| item["current"] == false).unwrap()["id"]
            .as_str()
            .unwrap();
        let target = format!("/api/auth/sessions/{other}");
        assert_eq!(app.delete_as(&one, &target).await.status, 204);
        assert_eq!(app.delete_as(&one, &target).await.status, 404);
        assert_eq!(app.get_as(&two, "/api/auth/me").await.status, 401);
        let page = app.get_as(&one, "/api/auth/sessions?limit=1").await.json();
        assert_eq!(
            (page["items"].as_array().unwrap().len(), &page["nextCursor"]),
            (1, &serde_json::Value::Null)
        );
    }

    #[tokio::test]
    async fn another_users_session_is_not_there() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        app.execute("insert into users (tenant_id, id, email, password_hash) select tenant_id, gen_random_uuid(), 'b@localhost', password_hash from users").await;
        app.execute("insert into sessions (tenant_id, id, user_id, epoch, key_id, issued_at, created_at, last_seen_at) select tenant_id, '00000000-0000-4000-8000-000000000009', id, 1, '', now(), now(), now() from users where email = 'b@localhost'").await;
        for id in [Uuid::from_u128(0x00000000_0000_4000_8000_000000000009), Uuid::nil()] {
            let answer = app.delete_as(&token, &format!("/api/auth/sessions/{id}")).await;
            assert_eq!(answer.status, 404, "{id}");
        }
        assert_eq!(app.delete_as(&token, "/api/auth/sessions/none").await.status, 404);
    }
}
