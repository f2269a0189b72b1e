//! `POST /api/auth/rotate`: the successor of a token, which counts from now on in its place.
//!
//! An expired token may be rotated while its session lives. Of requests that race, one gets a successor and the others the
//! same; a token that comes back long after it was superseded ends the session ([`kado_shared::rotation`]).

use axum::{
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use kado_shared::{
    claims::{AccessClaims, TokenError, sign},
    rotation::{self, Decision, Presented},
};
use std::sync::Arc;
use time::OffsetDateTime;

use super::{
    UserView,
    token::{self, Issued, SessionMode},
};
use crate::{
    audit::{self, Actor, Entry},
    database::{DatabaseError, TenantTransaction},
    http::{
        authentication::{SignedToken, invalid_token, lifetimes},
        context::Observation,
        failure::Failure,
    },
    idempotency,
    identity::{
        keyring::KeyringError,
        session::{self, Stored},
    },
    service::App,
};

/// Why there is no successor.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RotateError {
    #[error("the Idempotency-Key is none")]
    Key(Failure),
    #[error(transparent)]
    Refused(#[from] session::Refusal),
    #[error("a token that was superseded long ago came back: its session has ended")]
    Replay,
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    #[error("the token could not be signed")]
    Mint(#[from] TokenError),
}

impl IntoResponse for RotateError {
    fn into_response(self) -> Response {
        let failure = match self {
            Self::Key(failure) => failure,
            // Neither thief nor owner is told which of them was noticed.
            Self::Refused(_) | Self::Replay => invalid_token(&self),
            Self::Database(error) => error.into(),
            Self::Keyring(error) => error.into(),
            Self::Mint(error) => Failure::internal(&error),
        };
        failure.into_response()
    }
}

/// The successor of a token, also of an expired one while its session lives.
///
/// Whoever presents a superseded one within `rotationReuseSeconds`, or with the same `Idempotency-Key` within 60 s, gets the
/// same successor; later the session ends.
#[utoipa::path(post, path = "/api/auth/rotate",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same answer again, within 60 s.",
        min_length = 1, max_length = 255, pattern = "^[!-~]{1,255}$")),
    responses((status = 200, description = "The successor, in the form that the token came in.", body = Issued,
        headers(("Set-Cookie" = String, description = "`__Host-kado`, in cookie mode.")))))]
pub(crate) async fn post_rotate(
    State(app): State<App>,
    token: SignedToken,
    axum::Extension(observation): axum::Extension<Arc<Observation>>,
    headers: HeaderMap,
) -> Result<Response, RotateError> {
    let key = idempotency::key_of(&headers).map_err(RotateError::Key)?;
    let _turn = app.rotations.wait(token.claims.sid).await;
    let mut transaction = app.database.begin(token.caller.tenant).await?;
    let stored = session::load_for_update(transaction.connection(), token.claims.sid)
        .await?
        .ok_or(session::Refusal::NoSession)?;
    // Read behind the lock: who waited for it is as late as that.
    let now = app.clock.now();
    let lifetimes = lifetimes(&app, transaction.connection(), &token.caller, &stored).await?;
    // Generation and role are not held against a token that asks for the current ones.
    let asked = AccessClaims {
        generation: stored.generation,
        role: stored.role,
        ..token.claims.clone()
    };
    session::check(&asked, token.caller.tenant, &stored, lifetimes, now)?;
    let _ = observation.user.set(stored.user);
    let reuse_ms = reuse_ms(&app, &mut transaction, &token, &stored).await?;
    let presented = Presented {
        generation: token.claims.generation,
        key,
    };
    let (issued, what) = match rotation::decide(milliseconds(now), presented, remembered(&stored), reuse_ms) {
        Decision::Advance => (advance(&app, &mut transaction, &asked, key, now).await?, "rotated"),
        Decision::Repeat => (repeat(&app, &asked, &stored).await?, "repeated"),
        Decision::Replay => {
            end_replayed(&app, transaction, &token, &stored, now).await?;
            app.metrics.session("replayed", 1);
            return Err(RotateError::Replay);
        }
        Decision::Unknown => return Err(session::Refusal::Superseded.into()),
    };
    transaction.commit().await?;
    app.metrics.session(what, 1);
    let user = UserView {
        id: stored.user,
        email: stored.email,
        role: stored.role,
        must_change_password: stored.must_change_password,
    };
    let (claims, text) = issued;
    Ok(token::answer(user, &claims, &text, SessionMode::of(token.is_cookie)))
}

async fn reuse_ms(
    app: &App,
    transaction: &mut TenantTransaction,
    token: &SignedToken,
    stored: &Stored,
) -> Result<u64, DatabaseError> {
    let settings = app
        .settings
        .of_revision(transaction.connection(), token.caller.tenant, stored.revision)
        .await?;
    Ok(settings.integer("rotationReuseSeconds").saturating_mul(1000))
}

fn remembered(stored: &Stored) -> rotation::Stored {
    rotation::Stored {
        generation: stored.generation,
        issued_ms: milliseconds(stored.issued_at),
        key: stored.rotation_key,
    }
}

fn milliseconds(time: OffsetDateTime) -> u64 {
    u64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(0)
}

async fn advance(
    app: &App,
    transaction: &mut TenantTransaction,
    current: &AccessClaims,
    key: Option<[u8; 32]>,
    now: OffsetDateTime,
) -> Result<(AccessClaims, String), RotateError> {
    let keys = app.keyring.current().await?;
    let successor = session::issued(
        AccessClaims {
            generation: current.generation.saturating_add(1),
            ..current.clone()
        },
        now,
    );
    session::advance(transaction.connection(), &successor, &keys.kid, key, now).await?;
    let text = session::mint(&successor, &keys)?;
    Ok((successor, text))
}

/// The current token, to the letter: Ed25519 signs the same claims alike.
async fn repeat(app: &App, current: &AccessClaims, stored: &Stored) -> Result<(AccessClaims, String), RotateError> {
    let claims = session::issued(current.clone(), stored.issued_at);
    let text = match app.keyring.signing_key(&stored.key_id).await? {
        Some(key) => sign(&claims, &stored.key_id, &key)?,
        // Its key counts no more, and nor would it.
        None => session::mint(&claims, &*app.keyring.current().await?)?,
    };
    Ok((claims, text))
}

async fn end_replayed(
    app: &App,
    mut transaction: TenantTransaction,
    token: &SignedToken,
    stored: &Stored,
    now: OffsetDateTime,
) -> Result<(), DatabaseError> {
    session::end(transaction.connection(), token.claims.sid, "replay", now).await?;
    let entry = Entry {
        tenant: Some(token.caller.tenant.0),
        at: app.clock.now(),
        actor: Actor::User(stored.user),
        action: "auth.replay",
        target: Some(token.claims.sid.to_string()),
        before: None,
        after: Some(serde_json::json!({
            "presentedGeneration": token.claims.generation,
            "currentGeneration": stored.generation,
        })),
        request_id: Some(token.request_id.as_str()),
        client_ip: Some(&token.caller.client_ip),
    };
    audit::record(transaction.connection(), entry).await?;
    transaction.commit().await
}

#[cfg(test)]
mod tests {
    use crate::api::testing::{Answer, TestApp};
    use serde_json::json;
    use time::Duration;

    async fn rotate(app: &TestApp, token: &str, key: Option<&str>) -> Answer {
        let mut request = app
            .signed("POST", "/api/auth/rotate")
            .header("authorization", format!("Bearer {token}"));
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        app.send(request.body("".into()).unwrap()).await
    }

    async fn successor(app: &TestApp, token: &str, key: Option<&str>) -> String {
        let answer = rotate(app, token, key).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["token"].as_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn the_successor_counts_and_what_it_superseded_does_not() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        app.clock.advance(Duration::minutes(20));
        let next = successor(&app, &token, None).await;
        assert_ne!(next, token);
        assert_eq!(app.get_as(&next, "/api/auth/me").await.status, 200);
        assert_eq!(app.get_as(&token, "/api/auth/me").await.status, 401);
    }

    #[tokio::test]
    async fn a_lost_reply_is_given_again_to_the_letter() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let next = successor(&app, &token, None).await;
        app.clock.advance(Duration::seconds(9));
        assert_eq!(successor(&app, &token, None).await, next);
        let other = app.admin_token().await;
        let next = successor(&app, &other, Some("key-1")).await;
        app.clock.advance(Duration::seconds(50));
        assert_eq!(successor(&app, &other, Some("key-1")).await, next);
        assert_eq!(successor(&app, &next, Some("key-1")).await, next);
    }

    #[tokio::test]
    async fn a_token_that_comes_back_late_ends_the_session() {
        let Some(app) = TestApp::start().await else { return };
        let (token, bystander) = (app.admin_token().await, app.admin_token().await);
        let next = successor(&app, &token, None).await;
        app.clock.advance(Duration::seconds(11));
        let refused = rotate(&app, &token, None).await;
        assert_eq!(
            (refused.status, &refused.json()["code"]),
            (401, &json!("invalid-token"))
        );
        assert_eq!(app.get_as(&next, "/api/auth/me").await.status, 401);
        assert_eq!(rotate(&app, &next, None).await.status, 401);
        assert_eq!(app.get_as(&bystander, "/api/auth/me").await.status, 200);
        let audited = app
            .count("select count(*) from audit_logs where action = 'auth.replay'")
            .await;
        assert_eq!(audited, 1);
    }

    #[tokio::test]
    async fn sessions_that_have_ended_are_not_rotated() {
        let Some(app) = TestApp::start().await else { return };
        let idle = app.admin_token().await;
        app.clock.advance(Duration::minutes(31));
        assert_eq!(rotate(&app, &idle, None).await.status, 401);
        let token = app.admin_token().await;
        for (change, back) in [
            ("update users set active = false", "update users set active = true"),
            ("update edge_state set epoch = 2", "update edge_state set epoch = 1"),
            ("update tenants set epoch = 1", "update tenants set epoch = 0"),
        ] {
            app.execute(change).await;
            assert_eq!(rotate(&app, &token, None).await.status, 401, "{change}");
            app.execute(back).await;
        }
        // A changed role is no reason: the successor has it.
        app.execute("update users set role = 'USER'").await;
        let next = successor(&app, &token, None).await;
        assert_eq!(app.get_as(&next, "/api/auth/me").await.json()["user"]["role"], "USER");
    }

    #[tokio::test]
    async fn a_session_lives_no_longer_than_it_may_however_often_it_is_rotated() {
        let Some(app) = TestApp::start().await else { return };
        app.execute("insert into system_settings (tenant_id, name, value) values (null, 'sessionMaxAge', '3600')")
            .await;
        let mut token = app.admin_token().await;
        for _ in 0..2 {
            app.clock.advance(Duration::minutes(25));
            token = successor(&app, &token, None).await;
        }
        app.clock.advance(Duration::minutes(11));
        assert_eq!(rotate(&app, &token, None).await.status, 401);
    }

    #[tokio::test]
    async fn a_cookie_is_rotated_into_a_cookie() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let with = |origin: Option<&str>| {
            let request = app
                .signed("POST", "/api/auth/rotate")
                .header("cookie", format!("__Host-kado={token}"));
            let request = origin
                .into_iter()
                .fold(request, |request, origin| request.header("origin", origin));
            app.send(request.body("".into()).unwrap())
        };
        assert_eq!(with(None).await.status, 403);
        let answer = with(Some(TestApp::PUBLIC_URL)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.json().get("token").is_none());
        let cookie = answer.header("set-cookie").unwrap();
        assert!(
            cookie.starts_with("__Host-kado=ey") && cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict")
        );
    }

    #[tokio::test]
    async fn a_key_that_is_none_is_refused() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        for key in ["", "two words", &"k".repeat(256)] {
            let answer = rotate(&app, &token, Some(key)).await;
            assert_eq!(
                (answer.status, &answer.json()["errors"][0]["field"]),
                (400, &json!("Idempotency-Key"))
            );
        }
        assert_eq!(app.get_as(&token, "/api/auth/me").await.status, 200);
    }
}
