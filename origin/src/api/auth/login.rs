//! `POST /api/auth/login`: a session for an address and its password.
//!
//! Unknown, wrong, delayed and disabled look the same: status, body, and time, because each of them costs one hash and the
//! same statements.

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use kado_shared::{
    claims::Role,
    problem::{Code, FieldError},
    secret::Secret,
};
use serde::Deserialize;
use std::sync::Arc;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    UserView,
    token::{self, Issued, SessionMode},
};
use crate::{
    audit::{self, Actor, Entry},
    database::{DatabaseError, TenantTransaction},
    http::{
        context::{Observation, RequestId},
        edge::Caller,
        extract::JsonBody,
        failure::Failure,
    },
    identity::{
        delay::{self, DelayKey},
        email::Email,
        keyring::KeyringError,
        password::{HashError, LENGTH, Verdict},
        session::{self, Opening, role_from_name},
    },
    service::App,
};

/// Body of the request.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    /// At most 254 characters, without the spaces around it.
    #[schema(
        pattern = r"^\s*[^\s\u0000-\u001f\u007f-\u009f]+@[^\s@\u0000-\u001f\u007f-\u009f]+\s*$",
        example = "name@example.com"
    )]
    email: String,
    #[schema(min_length = 1, max_length = 512, pattern = r"^[^\u0000]*$")]
    password: String,
    #[serde(default)]
    session: SessionMode,
}

/// Why nobody was signed in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoginError {
    #[error("the fields are not valid")]
    Fields(Vec<FieldError>),
    #[error("{0}")]
    Refused(Refused),
    #[error(transparent)]
    Hash(#[from] HashError),
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    #[error("the token could not be signed")]
    Mint(#[from] kado_shared::claims::TokenError),
}

/// For the log; the client cannot tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("unknown address or wrong password")]
    Wrong,
    #[error("disabled user")]
    Disabled,
    #[error("a delay is running")]
    Delayed,
    #[error("password or user changed while the password was looked at")]
    Changed,
}

impl IntoResponse for LoginError {
    fn into_response(self) -> Response {
        let failure = match self {
            Self::Fields(errors) => Failure::fields(errors),
            Self::Refused(reason) => Failure::new(Code::InvalidCredentials, "The address or the password is wrong")
                .because(&reason)
                .header(
                    header::WWW_AUTHENTICATE,
                    HeaderValue::from_static(r#"Bearer realm="kado""#),
                ),
            Self::Hash(error) => error.into(),
            Self::Database(error) => error.into(),
            Self::Keyring(error) => error.into(),
            Self::Mint(error) => Failure::internal(&error),
        };
        failure.into_response()
    }
}

/// Signs in with an address and its password.
///
/// Unknown, wrong, locked and disabled look the same: status, body and time.
#[utoipa::path(post, path = "/api/auth/login", security(()), request_body = Login,
    responses(
        (status = 200, description = "A session. In cookie mode its token is in `Set-Cookie`, and not in the body.", body = Issued,
            headers(("Set-Cookie" = String, description = "`__Host-kado`, in cookie mode."))),
        (status = 401, description = "The address or the password is wrong, or a delay is running."),
    ))]
pub(crate) async fn post_login(
    State(app): State<App>,
    axum::Extension(caller): axum::Extension<Caller>,
    axum::Extension(request_id): axum::Extension<RequestId>,
    axum::Extension(observation): axum::Extension<Arc<Observation>>,
    headers: HeaderMap,
    JsonBody(login): JsonBody<Login>,
) -> Result<Response, LoginError> {
    let (email, mode) = (validate(&login)?, login.session);
    let now = app.clock.now();
    let key = app.delays.key(&email, &caller.client_ip);

    let Looked {
        account,
        delayed,
        taken_over,
    } = look_up(&app, &caller, &email, key, now).await?;
    let stored = account.as_ref().map(|account| account.password_hash.clone());
    let verdict = app
        .passwords
        .verify(stored, Secret::new(login.password.clone()), taken_over)
        .await?;

    let account = match decide(account, verdict, delayed) {
        Ok(account) => account,
        Err(reason) => {
            record_refusal(&app, &caller, key, reason, now).await?;
            return Err(LoginError::Refused(reason));
        }
    };
    let _ = observation.user.set(account.id);
    let rehashed = if verdict == (Verdict::Right { outdated: true }) {
        Some(app.passwords.hash(Secret::new(login.password)).await?)
    } else {
        None
    };
    let keys = app.keyring.current().await?;
    let mut transaction = app.database.begin(caller.tenant).await?;
    let Some(account) = hold(&mut transaction, account).await? else {
        drop(transaction);
        record_refusal(&app, &caller, key, Refused::Changed, now).await?;
        return Err(LoginError::Refused(Refused::Changed));
    };
    let opening = Opening {
        tenant: caller.tenant,
        user: account.id,
        role: account.role,
        id: app.entropy.uuid(),
        now,
        user_agent: headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()),
        client_ip: Some(&caller.client_ip),
        issuer: &app.public_url,
    };
    let claims = session::open(transaction.connection(), opening, &keys).await?;
    delay::forget(transaction.connection(), key).await?;
    if let Some(hash) = rehashed {
        replace_hash(&mut transaction, account.id, &hash, now).await?;
    }
    let entry = Entry {
        tenant: Some(caller.tenant.0),
        at: now,
        actor: Actor::User(account.id),
        action: "auth.login",
        target: Some(claims.sid.to_string()),
        before: None,
        after: None,
        request_id: Some(request_id.as_str()),
        client_ip: Some(&caller.client_ip),
    };
    audit::record(transaction.connection(), entry).await?;
    transaction.commit().await?;
    app.metrics.session("opened", 1);
    let user = UserView {
        id: account.id,
        email: account.email,
        role: account.role,
        must_change_password: account.must_change_password,
    };
    Ok(token::answer(user, &claims, &session::mint(&claims, &keys)?, mode))
}

fn validate(login: &Login) -> Result<Email, LoginError> {
    let mut errors = Vec::new();
    let mut complain = |field: &str, detail: String| {
        errors.push(FieldError {
            field: field.to_owned(),
            detail,
        });
    };
    let email = Email::parse(&login.email)
        .map_err(|error| complain("email", error.to_string()))
        .ok();
    // Shorter ones cannot be right, but the policy of new passwords is not told to whoever guesses old ones.
    let most = *LENGTH.end();
    if login.password.is_empty() || login.password.chars().take(most + 1).count() > most {
        complain("password", format!("must have 1 to {most} characters"));
    }
    match email {
        Some(email) if errors.is_empty() => Ok(email),
        _ => Err(LoginError::Fields(errors)),
    }
}

/// What is known of an address.
#[derive(Debug)]
struct Account {
    id: Uuid,
    email: String,
    password_hash: String,
    role: Role,
    active: bool,
    must_change_password: bool,
}

/// What was found before the password is looked at.
#[derive(Debug)]
struct Looked {
    account: Option<Account>,
    delayed: bool,
    /// Highest cost of the tenant's bcrypt hashes, where it has any.
    taken_over: Option<u32>,
}

async fn look_up(
    app: &App,
    caller: &Caller,
    email: &Email,
    key: DelayKey,
    now: OffsetDateTime,
) -> Result<Looked, DatabaseError> {
    let mut transaction = app.database.begin(caller.tenant).await?;
    let row = sqlx::query!(
        "select id, email, password_hash, role, active, must_change_password from users where email = $1",
        email.as_str()
    )
    .fetch_optional(transaction.connection())
    .await?;
    let delayed = delay::is_running(transaction.connection(), key, now).await?;
    let highest = sqlx::query_scalar!(
        "select max(substring(password_hash from 5 for 2)) from users where password_hash like '$2%'"
    )
    .fetch_one(transaction.connection())
    .await?;
    transaction.commit().await?;
    let account = row.map(|row| Account {
        id: row.id,
        email: row.email,
        password_hash: row.password_hash,
        role: role_from_name(&row.role),
        active: row.active,
        must_change_password: row.must_change_password,
    });
    Ok(Looked {
        account,
        delayed,
        taken_over: highest.and_then(|cost| cost.parse().ok()),
    })
}

/// A running delay refuses even the right password; a disabled user is told no more than a stranger.
fn decide(account: Option<Account>, verdict: Verdict, delayed: bool) -> Result<Account, Refused> {
    match (account, verdict) {
        _ if delayed => Err(Refused::Delayed),
        (Some(account), Verdict::Right { .. }) if account.active => Ok(account),
        (Some(_), Verdict::Right { .. }) => Err(Refused::Disabled),
        _ => Err(Refused::Wrong),
    }
}

/// The account as it is now, held until the transaction ends; `None` where what was verified holds no more. Looking at a
/// password takes long enough for it to be replaced, and its sessions ended, meanwhile.
async fn hold(transaction: &mut TenantTransaction, verified: Account) -> Result<Option<Account>, DatabaseError> {
    let row = sqlx::query!(
        "select role, must_change_password from users
         where id = $1 and password_hash = $2 and active for no key update",
        verified.id,
        verified.password_hash,
    )
    .fetch_optional(transaction.connection())
    .await?;
    Ok(row.map(|row| Account {
        role: role_from_name(&row.role),
        must_change_password: row.must_change_password,
        ..verified
    }))
}

async fn record_refusal(
    app: &App,
    caller: &Caller,
    key: DelayKey,
    reason: Refused,
    now: OffsetDateTime,
) -> Result<(), DatabaseError> {
    let mut transaction = app.database.begin(caller.tenant).await?;
    let delayed = reason == Refused::Delayed;
    delay::record_failure(transaction.connection(), caller.tenant.0, key, delayed, now).await?;
    transaction.commit().await
}

async fn replace_hash(
    transaction: &mut TenantTransaction,
    user: Uuid,
    hash: &str,
    now: OffsetDateTime,
) -> Result<(), DatabaseError> {
    sqlx::query!(
        "update users set password_hash = $2, updated_at = $3 where id = $1",
        user,
        hash,
        now
    )
    .execute(transaction.connection())
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Account, Refused, decide};
    use crate::{api::testing::TestApp, identity::password::Verdict};
    use kado_shared::claims::Role;
    use serde_json::json;
    use time::Duration;
    use uuid::Uuid;

    fn account(active: bool) -> Option<Account> {
        let (email, password_hash) = (String::new(), String::new());
        Some(Account {
            id: Uuid::nil(),
            email,
            password_hash,
            role: Role::User,
            active,
            must_change_password: false,
        })
    }

    #[test]
    fn every_refusal_has_its_reason() {
        let right = Verdict::Right { outdated: false };
        assert!(decide(account(true), right, false).is_ok());
        for (given, verdict, delayed, reason) in [
            (account(true), right, true, Refused::Delayed),
            (account(true), Verdict::Wrong, false, Refused::Wrong),
            (account(false), right, false, Refused::Disabled),
            (account(false), Verdict::Wrong, false, Refused::Wrong),
            (None, Verdict::Wrong, false, Refused::Wrong),
            (None, Verdict::Wrong, true, Refused::Delayed),
        ] {
            assert_eq!(decide(given, verdict, delayed).unwrap_err(), reason);
        }
    }

    #[tokio::test]
    async fn the_right_password_opens_a_session() {
        let Some(app) = TestApp::start().await else { return };
        let answer = app
            .post(
                "/api/auth/login",
                &json!({"email": " ADMIN@localhost", "password": TestApp::PASSWORD}),
            )
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let body = answer.json();
        assert_eq!(
            (&body["expiresIn"], &body["user"]["role"]),
            (&json!(900), &json!("ADMIN"))
        );
        assert!(body["expiresAt"].as_str().unwrap().ends_with('Z'));
        let me = app.get_as(body["token"].as_str().unwrap(), "/api/auth/me").await;
        assert_eq!(me.status, 200, "{}", me.text());
        let audited: i64 = app
            .count("select count(*) from audit_logs where action = 'auth.login'")
            .await;
        assert_eq!(audited, 1);
    }

    #[tokio::test]
    async fn in_cookie_mode_no_token_is_in_the_body() {
        let Some(app) = TestApp::start().await else { return };
        let body = json!({"email": "admin@localhost", "password": TestApp::PASSWORD, "session": "cookie"});
        let answer = app.post("/api/auth/login", &body).await;
        assert_eq!(answer.status, 200);
        assert!(answer.json().get("token").is_none());
        let cookie = answer.header("set-cookie").unwrap();
        for attribute in ["__Host-kado=", "Path=/", "Secure", "HttpOnly", "SameSite=Strict"] {
            assert!(cookie.contains(attribute), "{cookie}");
        }
    }

    #[tokio::test]
    async fn unknown_wrong_disabled_and_delayed_look_the_same() {
        let Some(app) = TestApp::start().await else { return };
        app.execute("insert into users (tenant_id, email, password_hash, active) select tenant_id, 'off@localhost', password_hash, false from users").await;
        let mut answers = Vec::new();
        for (email, password) in [
            ("nobody@localhost", TestApp::PASSWORD),
            ("admin@localhost", "wrong"),
            ("off@localhost", TestApp::PASSWORD),
        ] {
            let answer = app
                .post("/api/auth/login", &json!({"email": email, "password": password}))
                .await;
            let mut body = answer.json();
            assert!(body["requestId"].take().is_string());
            answers.push((
                answer.status,
                body,
                answer.header("www-authenticate").map(str::to_owned),
            ));
        }
        assert_eq!(answers[0].0, 401);
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    }

    #[tokio::test]
    async fn guessing_delays_even_the_right_password_for_a_while() {
        let Some(app) = TestApp::start().await else { return };
        let login = |password: &'static str| {
            app.post_owned(
                "/api/auth/login",
                json!({"email": "admin@localhost", "password": password}),
            )
        };
        for _ in 0..3 {
            assert_eq!(login("wrong").await.status, 401);
        }
        assert_eq!(login(TestApp::PASSWORD).await.status, 401);
        assert_eq!(
            app.count("select failures::bigint from login_delays").await,
            3,
            "a delay does not grow while it runs"
        );
        app.clock.advance(Duration::seconds(2));
        assert_eq!(login(TestApp::PASSWORD).await.status, 200);
        assert_eq!(app.count("select count(*) from login_delays").await, 0);
    }

    #[tokio::test]
    async fn a_weaker_hash_is_replaced() {
        let Some(app) = TestApp::start().await else { return };
        let weak = argon2::Argon2::new(
            argon2::Algorithm::Argon2id,
            argon2::Version::V0x13,
            argon2::Params::new(8_192, 1, 1, None).unwrap(),
        );
        let hash: argon2::password_hash::phc::PasswordHash =
            argon2::PasswordHasher::hash_password_with_salt(&weak, TestApp::PASSWORD.as_bytes(), &[1; 16]).unwrap();
        app.execute(&format!("update users set password_hash = '{hash}'")).await;
        app.admin_token().await;
        assert_eq!(
            app.count("select count(*) from users where password_hash like '$argon2id$v=19$m=19456,t=2,p=1$%'")
                .await,
            1
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_changed_while_the_password_was_looked_at_holds() {
        let Some(app) = TestApp::start().await else { return };
        let weak = argon2::Argon2::new(
            argon2::Algorithm::Argon2id,
            argon2::Version::V0x13,
            argon2::Params::new(8_192, 1, 1, None).unwrap(),
        );
        let hash: argon2::password_hash::phc::PasswordHash =
            argon2::PasswordHasher::hash_password_with_salt(&weak, TestApp::PASSWORD.as_bytes(), &[1; 16]).unwrap();
        let waiting = "select count(*) from pg_locks join pg_stat_activity using (pid)
             where datname = current_database() and not granted and locktype = 'transactionid'";
        for change in ["password_hash = 'changed'", "active = false"] {
            app.execute(&format!("update users set password_hash = '{hash}', active = true"))
                .await;
            let mut changing = app.database().superuser().begin().await.unwrap();
            sqlx::query(sqlx::AssertSqlSafe(format!("update users set {change}")))
                .execute(&mut *changing)
                .await
                .unwrap();
            let login = app.post_owned(
                "/api/auth/login",
                json!({"email": "admin@localhost", "password": TestApp::PASSWORD}),
            );
            let commit = async {
                let waits = async {
                    while app.count(waiting).await == 0 {
                        tokio::task::yield_now().await;
                    }
                };
                let waited = tokio::time::timeout(std::time::Duration::from_secs(10), waits);
                waited.await.expect("the sign-in, for the change");
                changing.commit().await.unwrap();
            };
            let (answer, ()) = tokio::join!(login, commit);
            assert_eq!(
                (answer.status, &answer.json()["code"]),
                (401, &json!("invalid-credentials")),
                "{change}"
            );
            let kept = format!("select count(*) from users where {change}");
            assert_eq!(app.count(&kept).await, 1, "{change}");
            assert_eq!(app.count("select count(*) from sessions").await, 0, "{change}");
        }
        assert_eq!(app.count("select failures::bigint from login_delays").await, 2);
    }

    #[tokio::test]
    async fn bad_bodies_are_refused_with_every_fault() {
        let Some(app) = TestApp::start().await else { return };
        let answer = app
            .post("/api/auth/login", &json!({"email": "no", "password": ""}))
            .await;
        assert_eq!(
            (answer.status, answer.json()["errors"].as_array().unwrap().len()),
            (400, 2)
        );
        for body in [
            json!({}),
            json!({"email": "a@b", "password": "x", "more": 1}),
            json!({"email": 1, "password": "x"}),
            json!({"email": "a@b", "password": "a\u{0}b"}),
        ] {
            let answer = app.post("/api/auth/login", &body).await;
            assert_eq!(
                (answer.status, answer.header("content-type")),
                (400, Some("application/problem+json")),
                "{body}"
            );
        }
        let huge = app
            .post(
                "/api/auth/login",
                &json!({"email": "a@b", "password": "x".repeat(10 << 20)}),
            )
            .await;
        assert_eq!((huge.status, &huge.json()["limit"]), (413, &json!(65536)));
        let form = app
            .send(
                app.signed("POST", "/api/auth/login")
                    .header("content-type", "text/plain")
                    .body("a".into())
                    .unwrap(),
            )
            .await;
        assert_eq!(form.status, 415);
    }
}
