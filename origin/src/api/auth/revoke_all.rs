//! `POST /api/auth/revoke-all`: every session of the caller ends, and a new one begins.

use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use kado_shared::claims::TokenError;
use serde_json::json;

use super::{
    UserView,
    token::{self, Issued, SessionMode},
};
use crate::{
    audit,
    database::{DatabaseError, TenantTransaction},
    http::{
        authentication::{Principal, SignedInAtAll, invalid_token},
        failure::Failure,
    },
    identity::{
        keyring::KeyringError,
        session::{self, Opening},
    },
    service::App,
};

/// Why the sessions go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RevokeError {
    #[error(transparent)]
    Refused(#[from] session::Refusal),
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    #[error("the token could not be signed")]
    Mint(#[from] TokenError),
}

impl IntoResponse for RevokeError {
    fn into_response(self) -> Response {
        let failure: Failure = match self {
            Self::Refused(refusal) => invalid_token(&refusal),
            Self::Database(error) => error.into(),
            Self::Keyring(error) => error.into(),
            Self::Mint(error) => Failure::internal(&error),
        };
        failure.into_response()
    }
}

/// Ends every session of the caller, and begins a new one.
#[utoipa::path(post, path = "/api/auth/revoke-all", operation_id = "post_revoke_own",
    responses((status = 200, description = "The new session, in the form that the token came in.", body = Issued,
        headers(("Set-Cookie" = String, description = "`__Host-kado`, in cookie mode.")))))]
pub(crate) async fn post_revoke_all(
    State(app): State<App>,
    SignedInAtAll(principal): SignedInAtAll,
    headers: HeaderMap,
) -> Result<Response, RevokeError> {
    let (now, keys) = (app.clock.now(), app.keyring.current().await?);
    let mut transaction = app.database.begin(principal.caller.tenant).await?;
    hold(&mut transaction, &principal).await?;
    let ended = session::end_others(transaction.connection(), principal.user, None, "revoke-all", now).await?;
    let opening = Opening {
        tenant: principal.caller.tenant,
        user: principal.user,
        role: principal.role,
        id: app.entropy.uuid(),
        now,
        user_agent: headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()),
        client_ip: Some(&principal.caller.client_ip),
        issuer: &app.public_url,
    };
    let claims = session::open(transaction.connection(), opening, &keys).await?;
    let mut entry = principal.entry(&app, "auth.revoke-all");
    entry.target = Some(claims.sid.to_string());
    entry.after = Some(json!({ "endedSessions": ended }));
    audit::record(transaction.connection(), entry).await?;
    transaction.commit().await?;
    app.metrics.session("ended", ended);
    app.metrics.session("opened", 1);
    let user = UserView {
        id: principal.user,
        email: principal.email,
        role: principal.role,
        must_change_password: principal.must_change_password,
    };
    let mode = SessionMode::of(principal.is_cookie);
    Ok(token::answer(user, &claims, &session::mint(&claims, &keys)?, mode))
}

/// Holds the user's row until the transaction ends. Whoever sets another password, or ends the sessions with another role,
/// has held it as well: a session that has ended meanwhile must not get a successor.
async fn hold(transaction: &mut TenantTransaction, principal: &Principal) -> Result<(), RevokeError> {
    sqlx::query!("select from users where id = $1 for no key update", principal.user)
        .fetch_optional(transaction.connection())
        .await
        .map_err(DatabaseError::from)?;
    match principal.session {
        Some(own) if session::is_open(transaction.connection(), own).await? => Ok(()),
        _ => Err(session::Refusal::Ended.into()),
    }
}

#[cfg(test)]
mod tests {
    use crate::api::testing::TestApp;
    use serde_json::json;

    #[tokio::test]
    async fn the_new_session_is_the_only_one() {
        let Some(app) = TestApp::start().await else { return };
        let (one, two) = (app.admin_token().await, app.admin_token().await);
        let answer = app.post_as(&one, "/api/auth/revoke-all", &json!({})).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let body = answer.json();
        for dead in [&one, &two] {
            assert_eq!(app.get_as(dead, "/api/auth/me").await.status, 401);
        }
        let new = body["token"].as_str().unwrap();
        assert_eq!(app.get_as(new, "/api/auth/me").await.status, 200);
        let ended = "select (after ->> 'endedSessions')::bigint from audit_logs where action = 'auth.revoke-all'";
        assert_eq!(app.count(ended).await, 2);
    }
}
