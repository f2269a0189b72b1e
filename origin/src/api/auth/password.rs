//! `POST /api/auth/password`: a new password for whoever knows the old one. Every other session of the user ends.

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use kado_shared::{problem::FieldError, secret::Secret};
use serde::Deserialize;
use serde_json::json;

use crate::{
    audit,
    database::DatabaseError,
    http::{authentication::SignedInAtAll, extract::JsonBody, failure::Failure},
    identity::{
        delay,
        email::Email,
        password::{HashError, Verdict, check_length},
        session,
    },
    service::App,
};

/// Body of the request.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = PasswordChange)]
pub(crate) struct Change {
    #[schema(min_length = 1, max_length = 4096, pattern = r"^[^\u0000]*$")]
    current_password: String,
    /// Another than the current one.
    #[schema(min_length = 8, max_length = 512, pattern = r"^[^\u0000]*$")]
    new_password: String,
}

/// Why the password stays.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PasswordError {
    #[error("the fields are not valid")]
    Fields(Vec<FieldError>),
    #[error("the current password is wrong")]
    Wrong,
    #[error("the stored address is no address")]
    Address(#[from] crate::identity::email::NotAnEmail),
    #[error(transparent)]
    Hash(#[from] HashError),
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl IntoResponse for PasswordError {
    fn into_response(self) -> Response {
        let failure = match self {
            Self::Fields(errors) => Failure::fields(errors),
            Self::Wrong => Failure::field("currentPassword", "is wrong"),
            Self::Address(error) => Failure::internal(&error),
            Self::Hash(error) => error.into(),
            Self::Database(error) => error.into(),
        };
        failure.into_response()
    }
}

/// Sets a new password. Every other session of the user ends.
#[utoipa::path(post, path = "/api/auth/password", request_body = Change,
    responses((status = 204, description = "It counts from now on.")))]
pub(crate) async fn post_password(
    State(app): State<App>,
    SignedInAtAll(principal): SignedInAtAll,
    JsonBody(change): JsonBody<Change>,
) -> Result<StatusCode, PasswordError> {
    validate(&change)?;
    let now = app.clock.now();
    // A stolen token must not guess faster than a stranger.
    let key = app
        .delays
        .key(&Email::parse(&principal.email)?, &principal.caller.client_ip);
    let mut transaction = app.database.begin(principal.caller.tenant).await?;
    let stored = sqlx::query_scalar!("select password_hash from users where id = $1", principal.user)
        .fetch_optional(transaction.connection())
        .await
        .map_err(DatabaseError::from)?;
    let delayed = delay::is_running(transaction.connection(), key, now).await?;
    transaction.commit().await?;

    let verdict = app
        .passwords
        .verify(stored.clone(), Secret::new(change.current_password), None)
        .await?;
    if delayed || verdict == Verdict::Wrong {
        let mut transaction = app.database.begin(principal.caller.tenant).await?;
        delay::record_failure(transaction.connection(), principal.caller.tenant.0, key, delayed, now).await?;
        transaction.commit().await?;
        return Err(PasswordError::Wrong);
    }
    let hash = app.passwords.hash(Secret::new(change.new_password)).await?;

    let mut transaction = app.database.begin(principal.caller.tenant).await?;
    // Guarded by the hash that was verified: of two changes at once, one wins and the other knew the old password no more.
    let changed = sqlx::query!(
        "update users set password_hash = $2, must_change_password = false, updated_at = $3
         where id = $1 and password_hash = $4",
        principal.user,
        hash,
        now,
        stored,
    )
    .execute(transaction.connection())
    .await
    .map_err(DatabaseError::from)?;
    if changed.rows_affected() == 0 {
        return Err(PasswordError::Wrong);
    }
    let ended = session::end_others(
        transaction.connection(),
        principal.user,
        principal.session,
        "password-changed",
        now,
    )
    .await?;
    delay::forget(transaction.connection(), key).await?;
    let mut entry = principal.entry(&app, "auth.password");
    entry.after = Some(json!({ "endedSessions": ended }));
    audit::record(transaction.connection(), entry).await?;
    transaction.commit().await?;
    app.metrics.session("ended", ended);
    Ok(StatusCode::NO_CONTENT)
}

fn validate(change: &Change) -> Result<(), PasswordError> {
    let mut errors = Vec::new();
    let mut complain = |field: &str, detail: String| {
        errors.push(FieldError {
            field: field.to_owned(),
            detail,
        });
    };
    if let Err(detail) = check_length(&change.new_password) {
        complain("newPassword", detail);
    } else if change.new_password == change.current_password {
        complain("newPassword", "must differ from the current one".to_owned());
    }
    // What no stored password can be is not worth a hash.
    if change.current_password.is_empty() || change.current_password.len() > 4096 {
        complain("currentPassword", "is wrong".to_owned());
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(PasswordError::Fields(errors))
    }
}

#[cfg(test)]
mod tests {
    use crate::api::testing::TestApp;
    use serde_json::json;

    const NEW: &str = "an entirely new password";

    #[tokio::test]
    async fn the_first_password_must_be_changed_before_anything_else() {
        let Some(app) = TestApp::start().await else { return };
        app.execute("update users set must_change_password = true").await;
        let (token, other) = (app.admin_token().await, app.admin_token().await);
        let refused = app.get_as(&token, "/api/admin/settings").await;
        assert_eq!(
            (refused.status, &refused.json()["code"]),
            (403, &json!("password-change-required"))
        );
        assert_eq!(
            app.get_as(&token, "/api/auth/me").await.json()["user"]["mustChangePassword"],
            true
        );

        let body = json!({"currentPassword": TestApp::PASSWORD, "newPassword": NEW});
        assert_eq!(app.post_as(&token, "/api/auth/password", &body).await.status, 204);
        assert_eq!(app.get_as(&token, "/api/admin/settings").await.status, 200);
        assert_eq!(
            app.get_as(&other, "/api/auth/me").await.status,
            401,
            "other sessions end"
        );
        let login = |password| {
            app.post_owned(
                "/api/auth/login",
                json!({"email": "admin@localhost", "password": password}),
            )
        };
        assert_eq!(login(TestApp::PASSWORD).await.status, 401);
        assert_eq!(login(NEW).await.status, 200);
    }

    #[tokio::test]
    async fn who_does_not_know_the_old_one_changes_nothing() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        for (body, field) in [
            (
                json!({"currentPassword": "wrong", "newPassword": NEW}),
                "currentPassword",
            ),
            (
                json!({"currentPassword": TestApp::PASSWORD, "newPassword": "short"}),
                "newPassword",
            ),
            (
                json!({"currentPassword": TestApp::PASSWORD, "newPassword": TestApp::PASSWORD}),
                "newPassword",
            ),
            (json!({"currentPassword": "", "newPassword": NEW}), "currentPassword"),
        ] {
            let answer = app.post_as(&token, "/api/auth/password", &body).await;
            assert_eq!(
                (answer.status, &answer.json()["errors"][0]["field"]),
                (400, &json!(field))
            );
        }
        assert_eq!(app.get_as(&app.admin_token().await, "/api/auth/me").await.status, 200);
    }
}
