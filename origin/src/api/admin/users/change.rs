//! `PATCH /api/admin/users/{id}`: role, whether the user may sign in at all, and quotas of their own, with `If-Match` if one
//! likes. A tenant always keeps an administrator who can administer it.

use axum::{
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use kado_shared::{
    problem::{Code, FieldError},
    quota::MOST,
};
use serde::{Deserialize, Deserializer};
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{
    Row, UserView, load,
    read::{answer, no_user},
    role_name,
};
use crate::{
    api::openapi::{
        parameters::{IdInPath as IdInPathParameter, IfMatch},
        schemas,
    },
    audit,
    database::DatabaseError,
    http::{
        authentication::Administrator,
        conditional::if_match,
        extract::{IdInPath, JsonBody},
        failure::Failure,
    },
    identity::session,
    quota::Granted,
    service::App,
};

/// How long an override may last, in seconds: a minute to ten years.
const LIFE: std::ops::RangeInclusive<i64> = 60..=315_360_000;

/// What is to change; what is not named stays.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UserChange)]
pub(crate) struct Changes {
    #[serde(default, deserialize_with = "given")]
    #[schema(schema_with = schemas::role, required = false)]
    role: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = bool, required = false)]
    active: Option<bool>,
    /// `null` takes it back.
    #[serde(default, rename = "override", deserialize_with = "given")]
    #[schema(schema_with = schemas::optional_new_override, required = false)]
    granted: Option<Option<NewOverride>>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewOverride {
    /// Pictures an hour.
    #[serde(default)]
    image_process: Option<i64>,
    /// API calls an hour.
    #[serde(default)]
    api_call: Option<i64>,
    /// Seconds.
    expires_in: i64,
}

/// Tells `null` from what is not there: it is for those fields alone that know it.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error("the fields are not valid")]
    Fields(Vec<FieldError>),
    #[error("the tenant has no such user")]
    NoUser,
    #[error("the user has changed since it was read")]
    Stale,
    #[error("nobody would be left to administer the tenant")]
    LastAdministrator,
    #[error("whoever asks is an administrator no more")]
    NoAdministrator,
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl IntoResponse for ChangeError {
    fn into_response(self) -> Response {
        let failure = match self {
            Self::Fields(errors) => Failure::fields(errors),
            Self::NoUser => no_user(),
            Self::Stale => Failure::new(
                Code::PreconditionFailed,
                "The user has changed since it was read: read it again and repeat the change",
            ),
            Self::LastAdministrator => Failure::new(
                Code::Conflict,
                "This is the last active administrator of the tenant: make another one first",
            ),
            Self::NoAdministrator => Failure::new(Code::Forbidden, "This needs the role ADMIN"),
            Self::Database(error) => error.into(),
        };
        failure.into_response()
    }
}

/// What was asked for, checked.
struct Wanted {
    role: Option<&'static str>,
    active: Option<bool>,
    granted: Option<Granted>,
}

/// Changes a user's role, quotas, and whether they may sign in.
///
/// Who is disabled or given another role loses every session: here at once, at the edges within 5 s.
#[utoipa::path(patch, path = "/api/admin/users/{id}", params(IdInPathParameter, IfMatch), request_body = Changes,
    responses(
        (status = 200, description = "The user as it is now.", body = UserView, headers(("ETag" = String, description = "For `If-Match`."))),
        (status = 409, description = "This is the last active administrator of the tenant."),
        (status = 412, description = "The user has changed since it was read."),
    ))]
pub(crate) async fn patch_user(
    State(app): State<App>,
    Administrator(principal): Administrator,
    IdInPath(id): IdInPath,
    headers: HeaderMap,
    JsonBody(changes): JsonBody<Changes>,
) -> Result<Response, ChangeError> {
    let now = app.clock.now();
    let wanted = check(&changes, now)?;
    let mut transaction = app.database.begin(principal.caller.tenant).await?;
    let connection = transaction.connection();
    let administrators = lock_administrators_and(connection, id).await?;
    let before = load(connection, id).await?.ok_or(ChangeError::NoUser)?;
    if !if_match(&headers, &before.etag()) {
        return Err(ChangeError::Stale);
    }
    let after = apply(&before, &wanted, now);
    let others = administrators.iter().any(|administrator| *administrator != id);
    if before.administers() && !after.administers() && !others {
        return Err(ChangeError::LastAdministrator);
    }
    // Two who demote each other: the second of them is none any more when its turn comes.
    if !administrators.contains(&principal.user) {
        return Err(ChangeError::NoAdministrator);
    }
    if before.audited() == after.audited() {
        return Ok(answer(before, now));
    }
    store(connection, &after).await?;
    let reason = if after.active { "role-changed" } else { "disabled" };
    let mut ended = 0;
    if before.role != after.role || (before.active && !after.active) {
        // The origin looks at the user anyway; the edges are told of sessions.
        ended = session::end_others(connection, id, None, reason, now).await?;
    }
    let mut entry = principal.entry(&app, "users.update");
    entry.target = Some(id.to_string());
    entry.before = Some(before.audited());
    entry.after = Some(after.audited());
    audit::record(connection, entry).await?;
    transaction.commit().await?;
    app.metrics.session("ended", ended);
    Ok(answer(after, now))
}

/// Every fault at once.
fn check(changes: &Changes, now: OffsetDateTime) -> Result<Wanted, ChangeError> {
    let mut errors = Vec::new();
    let mut complain = |field: &str, detail: String| {
        errors.push(FieldError {
            field: field.to_owned(),
            detail,
        });
    };
    let role = changes
        .role
        .as_deref()
        .and_then(|text| role_name(text).map_err(|detail| complain("role", detail)).ok());
    let mut quota = |field: &str, value: Option<i64>| {
        let number = value.map(|value| {
            i32::try_from(value)
                .ok()
                .filter(|n| (0..=MOST).contains(&n.unsigned_abs()) && *n >= 0)
        });
        if number == Some(None) {
            complain(field, format!("must be a whole number from 0 to {MOST} (an hour)"));
        }
        number.flatten()
    };
    let granted = changes.granted.map(|granted| match granted {
        None => Granted::default(),
        Some(granted) => Granted {
            image_process: quota("override.imageProcess", granted.image_process),
            api_call: quota("override.apiCall", granted.api_call),
            until: Some(now + Duration::seconds(granted.expires_in.clamp(0, *LIFE.end()))),
        },
    });
    if let Some(Some(granted)) = changes.granted {
        if granted.image_process.is_none() && granted.api_call.is_none() {
            complain("override", "must have imageProcess, apiCall or both".to_owned());
        }
        if !LIFE.contains(&granted.expires_in) {
            complain(
                "override.expiresIn",
                format!("must be {} to {} seconds", LIFE.start(), LIFE.end()),
            );
        }
    }
    if errors.is_empty() {
        Ok(Wanted {
            role,
            active: changes.active,
            granted,
        })
    } else {
        Err(ChangeError::Fields(errors))
    }
}

fn apply(before: &Row, wanted: &Wanted, now: OffsetDateTime) -> Row {
    let granted = wanted.granted.unwrap_or_else(|| before.granted());
    Row {
        role: wanted.role.map_or_else(|| before.role.clone(), str::to_owned),
        active: wanted.active.unwrap_or(before.active),
        quota_image_process: granted.image_process,
        quota_api_call: granted.api_call,
        quota_until: granted.until,
        updated_at: now,
        ..before.clone()
    }
}

/// The tenant's active administrators. They and the user who is changed are held as they are until the transaction ends, and what
/// is read afterwards is what whoever held them before has left.
///
/// One statement and one order for all of them: a row that has just ceased to be an administrator's stays locked by those who had
/// waited for it, so that a second statement could wait for somebody who waits for this one.
pub(super) async fn lock_administrators_and(
    connection: &mut PgConnection,
    id: Uuid,
) -> Result<Vec<Uuid>, DatabaseError> {
    let locked = sqlx::query!(
        r#"select id, role = 'ADMIN' and active as "administers!" from users
           where role = 'ADMIN' and active or id = $1 order by id for no key update"#,
        id
    )
    .fetch_all(connection)
    .await?;
    let administrators = locked.into_iter().filter(|user| user.administers);
    Ok(administrators.map(|user| user.id).collect())
}

async fn store(connection: &mut PgConnection, row: &Row) -> Result<(), DatabaseError> {
    sqlx::query!(
        "update users set role = $2, active = $3, quota_image_process = $4, quota_api_call = $5, quota_until = $6,
                          updated_at = $7
         where id = $1",
        row.id,
        row.role,
        row.active,
        row.quota_image_process,
        row.quota_api_call,
        row.quota_until,
        row.updated_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::api::testing::{Answer, TestApp};
    use serde_json::{Value, json};
    use time::Duration;

    async fn id_of(app: &TestApp, email: &str) -> String {
        sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
            "select id::text from users where email = '{email}'"
        )))
        .fetch_one(app.database().superuser())
        .await
        .unwrap()
    }

    async fn patch(app: &TestApp, token: &str, id: &str, body: Value) -> Answer {
        app.patch_as(token, &format!("/api/admin/users/{id}"), &body, None)
            .await
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_change_counts_at_once_here_and_is_told_to_the_edges() {
        let Some(app) = TestApp::start().await else { return };
        let (admin, user) = (app.admin_token().await, app.user_token("user@localhost").await);
        let id = id_of(&app, "user@localhost").await;
        let promoted = patch(&app, &admin, &id, json!({"role": "PREMIUM"})).await;
        assert_eq!(
            (promoted.status, &promoted.json()["role"]),
            (200, &json!("PREMIUM")),
            "{}",
            promoted.text()
        );
        assert_eq!(app.get_as(&user, "/api/images").await.status, 401, "an older role");
        let login = json!({"email": "user@localhost", "password": TestApp::PASSWORD});
        let again = app.post("/api/auth/login", &login).await.json()["token"].clone();
        let again = again.as_str().unwrap();
        let images = app.get_as(again, "/api/images").await;
        assert_eq!(images.header("x-user-ratelimit-limit"), Some("10000"));
        let disabled = patch(&app, &admin, &id, json!({"active": false})).await;
        assert_eq!(disabled.json()["active"], false);
        assert_eq!(app.get_as(again, "/api/images").await.status, 401);
        assert_eq!(app.post("/api/auth/login", &login).await.status, 401);
        let snapshot = app.internal("GET", "/internal/edge-config?host=localhost").await.json();
        assert_eq!(snapshot["revoked"].as_array().unwrap().len(), 2);
        let audited: Vec<(Value, Value)> =
            sqlx::query_as("select before, after from audit_logs where action = 'users.update' order by id")
                .fetch_all(app.database().superuser())
                .await
                .unwrap();
        assert_eq!(audited.len(), 2);
        assert!(
            audited
                .iter()
                .any(|(before, after)| before["role"] == "USER" && after["role"] == "PREMIUM")
        );
        assert!(
            audited
                .iter()
                .any(|(before, after)| before["active"] == true && after["active"] == false)
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_override_holds_until_it_ends() {
        let Some(app) = TestApp::start().await else { return };
        let (admin, user) = (app.admin_token().await, app.user_token("user@localhost").await);
        let id = id_of(&app, "user@localhost").await;
        let body = json!({"override": {"apiCall": 3, "expiresIn": 1200}});
        let changed = patch(&app, &admin, &id, body).await.json();
        assert_eq!(
            (&changed["override"]["apiCall"], &changed["override"]["expiresIn"]),
            (&json!(3), &json!(1200))
        );
        let calls = futures_util::future::join_all((0..7).map(|_| app.get_as(&user, "/api/images"))).await;
        assert_eq!(calls.iter().filter(|call| call.status == 200).count(), 3);
        let refused = calls.iter().find(|call| call.status != 200).unwrap();
        let body = refused.json();
        assert_eq!(
            (refused.status, &body["code"], &body["violated-policies"]),
            (429, &json!("quota-exceeded"), &json!(["API_CALL"]))
        );
        assert!(body["type"].as_str().unwrap().ends_with("#quota-exceeded"));
        for (name, value) in [
            ("retry-after", "3600".to_owned()),
            ("x-user-ratelimit-limit", "3".to_owned()),
            ("x-user-ratelimit-remaining", "0".to_owned()),
            ("x-user-ratelimit-reset", (app.now() + 3600).to_string()),
        ] {
            assert_eq!(refused.header(name), Some(value.as_str()), "{name}");
        }
        let me = app.get_as(&user, "/api/auth/me").await;
        assert_eq!((me.status, me.header("x-user-ratelimit-limit")), (200, None));
        app.clock.advance(Duration::minutes(10));
        assert_eq!(app.get_as(&user, "/api/images").await.status, 429);
        app.clock.advance(Duration::minutes(10));
        let after = app.get_as(&user, "/api/images").await;
        assert_eq!(
            (after.status, after.header("x-user-ratelimit-limit")),
            (401, None),
            "the token has expired"
        );
        let login = json!({"email": "user@localhost", "password": TestApp::PASSWORD});
        let token = app.post("/api/auth/login", &login).await.json()["token"].clone();
        let after = app.get_as(token.as_str().unwrap(), "/api/images").await;
        assert_eq!(
            (after.status, after.header("x-user-ratelimit-limit")),
            (200, Some("1000"))
        );
        let admin = app.admin_token().await;
        let shown = app.get_as(&admin, &format!("/api/admin/users/{id}")).await.json();
        assert_eq!(shown["override"], Value::Null);
        let cleared = patch(&app, &admin, &id, json!({"override": null})).await;
        assert_eq!(cleared.status, 200);
        assert_eq!(
            app.count("select count(*) from users where quota_until is not null")
                .await,
            0
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn administration_is_counted_and_never_refused() {
        let Some(app) = TestApp::start().await else { return };
        let admin = app.admin_token().await;
        let id = id_of(&app, "admin@localhost").await;
        let none = json!({"override": {"apiCall": 0, "imageProcess": 0, "expiresIn": 86_400}});
        assert_eq!(patch(&app, &admin, &id, none).await.status, 200);
        assert_eq!(app.get_as(&admin, "/api/images").await.status, 429);
        let listed = app.get_as(&admin, "/api/admin/users").await;
        assert_eq!(
            (listed.status, listed.header("x-user-ratelimit-remaining")),
            (200, Some("0"))
        );
        assert_eq!(
            patch(&app, &admin, &id, json!({"override": null})).await.status,
            200,
            "who sets quotas is not locked out by one"
        );
        assert_eq!(app.get_as(&admin, "/api/images").await.status, 200);
        assert_eq!(app.count("select count from usage_records").await, 4);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_last_administrator_stays_one() {
        let Some(app) = TestApp::start().await else { return };
        let admin = app.admin_token().await;
        let id = id_of(&app, "admin@localhost").await;
        app.user_token("second@localhost").await;
        app.execute("update users set role = 'ADMIN', active = false where email = 'second@localhost'")
            .await;
        for body in [json!({"role": "USER"}), json!({"active": false})] {
            let answer = patch(&app, &admin, &id, body).await;
            assert_eq!((answer.status, &answer.json()["code"]), (409, &json!("conflict")));
        }
        assert_eq!(app.get_as(&admin, "/api/admin/users").await.status, 200);
    }

    /// How many statements wait for a lock.
    async fn waiting(app: &TestApp) -> i64 {
        app.count(
            "select count(*) from pg_stat_activity
             where datname = current_database() and wait_event_type = 'Lock'",
        )
        .await
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn administrators_who_demote_each_other_at_once_leave_one() {
        let Some(app) = TestApp::start().await else { return };
        let mut first = app.admin_token().await;
        app.user_token("second@localhost").await;
        app.execute("update users set role = 'ADMIN'").await;
        let login = json!({"email": "second@localhost", "password": TestApp::PASSWORD});
        let ids = [
            id_of(&app, "admin@localhost").await,
            id_of(&app, "second@localhost").await,
        ];
        for body in [json!({"role": "USER"}), json!({"active": false})] {
            let second = app.post("/api/auth/login", &login).await.json()["token"].clone();
            let second = second.as_str().unwrap();
            // Both have been let in and stand before the lock when the first of them may go on.
            let mut gate = app.database().superuser().begin().await.unwrap();
            sqlx::query("select from users order by id for no key update")
                .fetch_all(&mut *gate)
                .await
                .unwrap();
            let open = async {
                tokio::time::timeout(std::time::Duration::from_secs(10), async {
                    while waiting(&app).await < 2 {
                        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                    }
                })
                .await
                .expect("both wait");
                gate.commit().await.unwrap();
            };
            let (one, two, ()) = tokio::join!(
                patch(&app, &first, &ids[1], body.clone()),
                patch(&app, second, &ids[0], body.clone()),
                open,
            );
            let mut statuses = [one.status, two.status];
            statuses.sort_unstable();
            assert_eq!(statuses, [200, 409], "{body}");
            let left = "select count(*) from users where role = 'ADMIN' and active";
            assert_eq!(app.count(left).await, 1, "{body}");
            app.execute("update users set role = 'ADMIN', active = true").await;
            first = app.admin_token().await;
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn many_who_demote_one_another_at_once_leave_one_who_can_administer() {
        let Some(app) = TestApp::start().await else { return };
        let mut administrators = vec![(app.admin_token().await, id_of(&app, "admin@localhost").await)];
        for n in 0..4 {
            let email = format!("admin{n}@localhost");
            app.user_token(&email).await;
            app.execute(&format!("update users set role = 'ADMIN' where email = '{email}'"))
                .await;
            let login = json!({"email": email, "password": TestApp::PASSWORD});
            let token = app.post("/api/auth/login", &login).await.json()["token"].clone();
            administrators.push((token.as_str().unwrap().to_owned(), id_of(&app, &email).await));
        }
        let demotions = administrators.iter().flat_map(|(token, own)| {
            let others = administrators.iter().filter(move |(_, id)| id != own);
            others.map(|(_, id)| patch(&app, token, id, json!({"role": "USER"})))
        });
        let answers = futures_util::future::join_all(demotions).await;
        for answer in &answers {
            assert!(
                [200, 401, 403, 409].contains(&answer.status),
                "{} {}",
                answer.status,
                answer.text()
            );
        }
        let left = "select count(*) from users where role = 'ADMIN' and active";
        let left = app.count(left).await;
        assert!((1..5).contains(&left), "{left}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_stale_or_wrong_changes_nothing() {
        let Some(app) = TestApp::start().await else { return };
        let admin = app.admin_token().await;
        app.user_token("user@localhost").await;
        let id = id_of(&app, "user@localhost").await;
        let target = format!("/api/admin/users/{id}");
        let tag = app.get_as(&admin, &target).await.header("etag").unwrap().to_owned();
        let body = json!({"role": "PREMIUM"});
        let changed = app.patch_as(&admin, &target, &body, Some(&tag)).await;
        assert_eq!(changed.status, 200);
        assert_ne!(changed.header("etag"), Some(tag.as_str()));
        let stale = app.patch_as(&admin, &target, &body, Some(&tag)).await;
        assert_eq!(stale.status, 412);
        for (body, fields) in [
            (json!({"role": "BOSS"}), vec!["role"]),
            (json!({"role": null}), vec!["role"]),
            (json!({"active": null}), vec!["active"]),
            (json!({"email": "a@b"}), vec!["email"]),
            (json!({"override": {"expiresIn": 60}}), vec!["override"]),
            (
                json!({"override": {"apiCall": -1, "imageProcess": 2_000_000, "expiresIn": 1}}),
                vec!["override.imageProcess", "override.apiCall", "override.expiresIn"],
            ),
        ] {
            let answer = patch(&app, &admin, &id, body.clone()).await;
            let told = answer.json();
            let told: Vec<_> = told["errors"]
                .as_array()
                .unwrap()
                .iter()
                .map(|error| error["field"].as_str().unwrap())
                .collect();
            assert_eq!((answer.status, told), (400, fields), "{body}");
        }
        for unknown in ["6f1c1b9e-7c0a-4d8e-9d51-0b8f5a1f2e3d", "none"] {
            assert_eq!(patch(&app, &admin, unknown, json!({})).await.status, 404, "{unknown}");
        }
    }
}
