//! `POST /api/admin/users/{id}/password`: a new password for somebody who has lost theirs. All of their sessions end.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use kado_shared::problem::Code;
use serde::Deserialize;

use super::{WithPassword, change::lock_administrators_and, load, read::no_user};
use crate::{
    api::openapi::parameters::IdInPath as IdInPathParameter,
    audit::Actor,
    database::DatabaseError,
    http::{
        authentication::{Administrator, invalid_token},
        extract::{IdInPath, JsonBody},
        failure::Failure,
    },
    identity::{
        first_password::FirstPassword,
        password::HashError,
        reset::{Reset, reset},
        session,
    },
    service::App,
};

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PasswordReset)]
pub(crate) struct NewPassword {
    /// Drawn where there is none.
    #[serde(default)]
    #[schema(min_length = 8, max_length = 512, pattern = r"^[^\u0000]*$")]
    password: Option<String>,
}

/// Why the password stays.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResetError {
    #[error("{0}")]
    Password(String),
    #[error("the tenant has no such user")]
    NoUser,
    #[error("it is the password of whoever asks")]
    Own,
    #[error("whoever asks is an administrator no more")]
    NoAdministrator,
    #[error(transparent)]
    Refused(#[from] session::Refusal),
    #[error(transparent)]
    Hash(#[from] HashError),
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl IntoResponse for ResetError {
    fn into_response(self) -> Response {
        let failure = match self {
            Self::Password(detail) => Failure::field("password", detail),
            Self::NoUser => no_user(),
            Self::Own => Failure::new(
                Code::Conflict,
                "This is your own password: change it with POST /api/auth/password",
            ),
            Self::NoAdministrator => Failure::new(Code::Forbidden, "This needs the role ADMIN"),
            Self::Refused(refusal) => invalid_token(&refusal),
            Self::Hash(error) => error.into(),
            Self::Database(error) => error.into(),
        };
        failure.into_response()
    }
}

/// Gives a user a new password, who has to choose another one at the next sign-in.
///
/// Every session of the user ends: here at once, at the edges within 5 s.
#[utoipa::path(post, path = "/api/admin/users/{id}/password", operation_id = "post_password_of_user",
    params(IdInPathParameter), request_body = NewPassword,
    responses(
        (status = 200, description = "The user as it is now.", body = WithPassword,
            headers(("ETag" = String, description = "For `If-Match`."))),
        (status = 409, description = "It is one's own: `POST /api/auth/password` changes that."),
    ))]
pub(crate) async fn post_password(
    State(app): State<App>,
    Administrator(principal): Administrator,
    IdInPath(id): IdInPath,
    JsonBody(body): JsonBody<NewPassword>,
) -> Result<Response, ResetError> {
    if id == principal.user {
        return Err(ResetError::Own);
    }
    let new = FirstPassword::choose(body.password, &*app.entropy).map_err(ResetError::Password)?;
    let tenant = principal.caller.tenant;
    // Nobody's password is not worth a hash.
    let mut transaction = app.database.begin(tenant).await?;
    load(transaction.connection(), id).await?.ok_or(ResetError::NoUser)?;
    transaction.commit().await?;
    let hash = app.passwords.hash(new.secret.clone()).await?;

    let now = app.clock.now();
    let mut transaction = app.database.begin(tenant).await?;
    let connection = transaction.connection();
    let administrators = lock_administrators_and(connection, id).await?;
    // Hashing takes long enough for whoever asks to be demoted, or to have lost their sessions, by somebody who suspects them.
    if !administrators.contains(&principal.user) {
        return Err(ResetError::NoAdministrator);
    }
    if let Some(own) = principal.session
        && !session::is_open(connection, own).await?
    {
        return Err(session::Refusal::Ended.into());
    }
    let ended = reset(
        connection,
        Reset {
            tenant,
            user: id,
            hash: &hash,
            at: now,
            actor: Actor::User(principal.user),
            request_id: Some(principal.request_id.as_str()),
            client_ip: Some(&principal.caller.client_ip),
        },
    )
    .await?
    .ok_or(ResetError::NoUser)?;
    let row = load(connection, id).await?.ok_or(ResetError::NoUser)?;
    transaction.commit().await?;
    app.metrics.session("ended", ended);
    let mut headers = HeaderMap::new();
    if let Ok(tag) = HeaderValue::from_str(&row.etag()) {
        headers.insert(header::ETAG, tag);
    }
    let shown = WithPassword {
        password: new.drawn(),
        view: row.view(now),
    };
    Ok((headers, Json(shown)).into_response())
}

#[cfg(test)]
mod tests {
    use crate::{
        api::testing::{Answer, TestApp},
        telemetry::testing::Captured,
    };
    use serde_json::{Value, json};
    use std::time::Duration;

    async fn id_of(app: &TestApp, email: &str) -> String {
        sqlx::query_scalar("select id::text from users where email = $1")
            .bind(email)
            .fetch_one(app.database().superuser())
            .await
            .unwrap()
    }

    async fn reset(app: &TestApp, token: &str, id: &str, body: Value) -> Answer {
        app.post_as(token, &format!("/api/admin/users/{id}/password"), &body)
            .await
    }

    async fn login(app: &TestApp, email: &str, password: &str) -> Answer {
        app.post("/api/auth/login", &json!({"email": email, "password": password}))
            .await
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_drawn_password_is_shown_once_and_must_be_changed() {
        let Some(app) = TestApp::start().await else { return };
        let (admin, user) = (app.admin_token().await, app.user_token("user@localhost").await);
        let id = id_of(&app, "user@localhost").await;
        let (captured, _guard) = Captured::start();
        let answer = reset(&app, &admin, &id, json!({})).await;
        assert_eq!(
            (answer.status, answer.header("cache-control")),
            (200, Some("no-store")),
            "{}",
            answer.text()
        );
        let shown = answer.json();
        assert_eq!((&shown["id"], &shown["mustChangePassword"]), (&json!(id), &json!(true)));
        let read = app.get_as(&admin, &format!("/api/admin/users/{id}")).await;
        assert_eq!(read.header("etag"), answer.header("etag"));
        assert!(read.json().get("password").is_none());
        assert_eq!(app.get_as(&user, "/api/auth/me").await.status, 401);
        let snapshot = app.internal("GET", "/internal/edge-config?host=localhost").await.json();
        assert_eq!(snapshot["revoked"].as_array().unwrap().len(), 1);

        let password = shown["password"].as_str().unwrap();
        assert_eq!(login(&app, "user@localhost", TestApp::PASSWORD).await.status, 401);
        let token = login(&app, "user@localhost", password).await.json()["token"].clone();
        let token = token.as_str().unwrap();
        assert_eq!(
            app.get_as(token, "/api/images").await.json()["code"],
            "password-change-required"
        );
        let change = json!({"currentPassword": password, "newPassword": "one of my own choice"});
        assert_eq!(app.post_as(token, "/api/auth/password", &change).await.status, 204);
        assert_eq!(app.get_as(token, "/api/images").await.status, 200);

        assert!(!captured.lines().iter().any(|line| line.to_string().contains(password)));
        let told = format!("select count(*) from audit_logs where to_jsonb(audit_logs)::text like '%{password}%'");
        assert_eq!(app.count(&told).await, 0);
        let (before, after): (Value, Value) =
            sqlx::query_as("select before, after from audit_logs where action = 'user.password-reset' and target = $1")
                .bind(&id)
                .fetch_one(app.database().superuser())
                .await
                .unwrap();
        assert_eq!(before, json!({"mustChangePassword": false}));
        assert_eq!(after, json!({"mustChangePassword": true, "endedSessions": 1}));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_wrong_is_refused_and_nothing_happens() {
        let Some(app) = TestApp::start().await else { return };
        let (admin, user) = (app.admin_token().await, app.user_token("user@localhost").await);
        let id = id_of(&app, "user@localhost").await;
        for password in ["", "short", &"x".repeat(513)] {
            let answer = reset(&app, &admin, &id, json!({"password": password})).await;
            assert_eq!(
                (answer.status, &answer.json()["errors"][0]["field"]),
                (400, &json!("password"))
            );
        }
        assert_eq!(reset(&app, &admin, &id, json!({"other": 1})).await.status, 400);
        let own = id_of(&app, "admin@localhost").await;
        let answer = reset(&app, &admin, &own, json!({})).await;
        assert_eq!(answer.status, 409);
        assert!(answer.text().contains("POST /api/auth/password"));
        assert_eq!(reset(&app, &user, &own, json!({})).await.status, 403);
        app.execute("insert into tenants (id, name) values ('00000000-0000-0000-0000-000000000008', 'other')")
            .await;
        app.execute(
            "insert into users (tenant_id, email, password_hash)
             values ('00000000-0000-0000-0000-000000000008', 'foreign@localhost', 'x')",
        )
        .await;
        let foreign = id_of(&app, "foreign@localhost").await;
        for nobody in [foreign.as_str(), "6f1c1b9e-7c0a-4d8e-9d51-0b8f5a1f2e3d", "x"] {
            assert_eq!(reset(&app, &admin, nobody, json!({})).await.status, 404, "{nobody}");
        }
        assert_eq!(app.get_as(&user, "/api/auth/me").await.status, 200);
        assert_eq!(
            app.count("select count(*) from users where must_change_password or password_hash not in ('x', (select password_hash from users where email = 'admin@localhost'))")
                .await,
            0
        );
        let given = reset(&app, &admin, &id, json!({"password": "given by an administrator"})).await;
        assert!(given.status == 200 && given.json().get("password").is_none());
        let entered = login(&app, "user@localhost", "given by an administrator").await;
        assert_eq!(entered.json()["user"]["mustChangePassword"], true);
    }

    /// Waits until so many statements wait for a lock.
    async fn waiting(app: &TestApp, count: i64) {
        let sql = "select count(*) from pg_stat_activity
                   where datname = current_database() and wait_event_type = 'Lock'";
        tokio::time::timeout(Duration::from_secs(10), async {
            while app.count(sql).await < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("they come to the lock");
    }

    /// What the user has after a reset that came while everything else was under way: no session, and the new password.
    async fn only_the_new_one_counts(app: &TestApp, password: &str) {
        let open = "select count(*) from sessions s join users u on u.id = s.user_id
                    where u.email = 'user@localhost' and s.ended_at is null";
        assert_eq!(app.count(open).await, 0);
        let forget = "delete from login_delays";
        for old in [TestApp::PASSWORD, "one of my own choice"] {
            assert_eq!(login(app, "user@localhost", old).await.status, 401);
            app.execute(forget).await;
        }
        let entered = login(app, "user@localhost", password).await;
        assert_eq!(entered.json()["user"]["mustChangePassword"], true, "{}", entered.text());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn it_wins_over_whatever_stands_before_the_users_row_with_it() {
        let Some(app) = TestApp::start().await else { return };
        let (admin, user) = (app.admin_token().await, app.user_token("user@localhost").await);
        let id = id_of(&app, "user@localhost").await;
        let other = login(&app, "user@localhost", TestApp::PASSWORD).await.json()["token"].clone();
        let change = json!({"currentPassword": TestApp::PASSWORD, "newPassword": "one of my own choice"});
        let mut gate = app.database().superuser().begin().await.unwrap();
        sqlx::query("select from users where email = 'user@localhost' for no key update")
            .fetch_one(&mut *gate)
            .await
            .unwrap();
        let open = async {
            // A sign-in, a change, a session anew and the reset have looked at what they need, and come to the row.
            waiting(&app, 4).await;
            gate.rollback().await.unwrap();
        };
        let none = json!({});
        let (entered, changed, anew, answer, ()) = tokio::join!(
            login(&app, "user@localhost", TestApp::PASSWORD),
            app.post_as(&user, "/api/auth/password", &change),
            app.post_as(other.as_str().unwrap(), "/api/auth/revoke-all", &none),
            reset(&app, &admin, &id, json!({})),
            open,
        );
        assert!([200, 401].contains(&entered.status), "{}", entered.text());
        assert!([204, 400].contains(&changed.status), "{}", changed.text());
        assert!([200, 401].contains(&anew.status), "{}", anew.text());
        assert_eq!(answer.status, 200, "{}", answer.text());
        only_the_new_one_counts(&app, answer.json()["password"].as_str().unwrap()).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn it_wins_over_a_crowd_at_any_moment() {
        let Some(app) = TestApp::start().await else { return };
        let admin = app.admin_token().await;
        app.user_token("user@localhost").await;
        let id = id_of(&app, "user@localhost").await;
        let stored: String = sqlx::query_scalar("select password_hash from users where email = 'admin@localhost'")
            .fetch_one(app.database().superuser())
            .await
            .unwrap();
        for round in 0..4 {
            let restore = format!("update users set password_hash = '{stored}', must_change_password = false");
            app.execute(&restore).await;
            let mut tokens = Vec::new();
            for _ in 0..3 {
                let entered = login(&app, "user@localhost", TestApp::PASSWORD).await;
                tokens.push(entered.json()["token"].as_str().unwrap().to_owned());
            }
            let change = json!({"currentPassword": TestApp::PASSWORD, "newPassword": "one of my own choice"});
            let none = json!({});
            let crowd = async {
                tokio::join!(
                    login(&app, "user@localhost", TestApp::PASSWORD),
                    app.post_as(&tokens[0], "/api/auth/password", &change),
                    app.post_as(&tokens[1], "/api/auth/revoke-all", &none),
                    app.post_as(&tokens[2], "/api/auth/rotate", &none),
                    login(&app, "user@localhost", TestApp::PASSWORD),
                )
            };
            let late = async {
                tokio::time::sleep(Duration::from_millis(30 * round)).await;
                reset(&app, &admin, &id, json!({})).await
            };
            let (_, answer) = tokio::join!(crowd, late);
            assert_eq!(answer.status, 200, "{}", answer.text());
            only_the_new_one_counts(&app, answer.json()["password"].as_str().unwrap()).await;
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn of_administrators_who_reset_each_other_at_once_one_does() {
        let Some(app) = TestApp::start().await else { return };
        let first = app.admin_token().await;
        app.user_token("second@localhost").await;
        app.execute("update users set role = 'ADMIN'").await;
        let second = login(&app, "second@localhost", TestApp::PASSWORD).await.json()["token"].clone();
        let ids = [
            id_of(&app, "admin@localhost").await,
            id_of(&app, "second@localhost").await,
        ];
        let mut gate = app.database().superuser().begin().await.unwrap();
        sqlx::query("select from users order by id for no key update")
            .fetch_all(&mut *gate)
            .await
            .unwrap();
        let open = async {
            waiting(&app, 2).await;
            gate.rollback().await.unwrap();
        };
        let (one, two, ()) = tokio::join!(
            reset(&app, &first, &ids[1], json!({})),
            reset(&app, second.as_str().unwrap(), &ids[0], json!({})),
            open
        );
        let mut statuses = [one.status, two.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 401]);
        let reset = "select count(*) from audit_logs where action = 'user.password-reset'";
        assert_eq!(app.count(reset).await, 1);
    }
}
