//! `Idempotency-Key`: what is asked for twice is done once, and answered twice.
//!
//! A key belongs to the user who sent it and to one route, for [`KEPT`]. It is claimed and its answer kept in the transaction
//! of what it guards: a crash leaves neither. Of requests that come together one does the work; refusals are not kept, since
//! nothing was done. An endpoint takes an [`Attempt`], or [`KeyedJson`] in place of `JsonBody`, and adds two lines:
//!
//! ```text
//! let claim = attempt.claim(transaction.connection(), &principal, now).await?;
//! claim.keep(transaction.connection(), &principal, StatusCode::CREATED, &location, &view, now).await?;
//! ```

use axum::{
    extract::{FromRequest, FromRequestParts, MatchedPath, Request},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use kado_shared::{headers, problem::Code};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, PgPool};
use time::{Duration, OffsetDateTime};

use crate::{
    database::DatabaseError,
    hex,
    http::{
        authentication::Principal,
        extract::{json_value, read_value},
        failure::Failure,
    },
};

/// How long a key stands for its answer.
pub(crate) const KEPT: Duration = Duration::hours(24);
/// Longest key, in bytes.
pub(crate) const MOST_KEY_BYTES: usize = 255;

/// SHA-256 of the request's `Idempotency-Key`.
///
/// # Errors
/// 400 for what is no key, and for several.
pub(crate) fn key_of(headers: &HeaderMap) -> Result<Option<[u8; 32]>, Failure> {
    let mut given = headers.get_all(headers::IDEMPOTENCY_KEY).iter();
    let Some(key) = given.next() else {
        return Ok(None);
    };
    let bytes = key.as_bytes();
    let right = (1..=MOST_KEY_BYTES).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
    if right && given.next().is_none() {
        Ok(Some(Sha256::digest(bytes).into()))
    } else {
        Err(Failure::field(
            "Idempotency-Key",
            format!("must have 1 to {MOST_KEY_BYTES} visible ASCII characters"),
        ))
    }
}

/// One request that may come again: which it is, and what it asks for.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    /// `None` for a request that is not to be known again.
    key: Option<[u8; 32]>,
    route: String,
    fingerprint: Sha256,
}

impl<S: Send + Sync> FromRequestParts<S> for Attempt {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let template = parts.extensions.get::<MatchedPath>().map(MatchedPath::as_str);
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let key = key_of(&parts.headers)?;
        // What is asked for may hold a password. Of the key there is a hash alone in the database, so that nobody who reads
        // it can try passwords on the fingerprint.
        let mut fingerprint = Sha256::new();
        if let Some(given) = parts.headers.get(headers::IDEMPOTENCY_KEY) {
            fingerprint.update(given.as_bytes());
        }
        fingerprint.update(format!("\n{target}\n"));
        Ok(Self {
            key,
            route: format!("{} {}", parts.method, template.unwrap_or_else(|| parts.uri.path())),
            fingerprint,
        })
    }
}

/// A JSON body, and the attempt that it is part of.
#[derive(Debug)]
pub(crate) struct KeyedJson<T>(pub(crate) Attempt, pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for KeyedJson<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let (mut parts, body) = request.into_parts();
        let attempt = Attempt::from_request_parts(&mut parts, state).await?;
        let value = json_value(Request::from_parts(parts, body)).await?;
        // Of the value, so that spaces do not make another request of it.
        let attempt = attempt.of(value.to_string().as_bytes());
        Ok(Self(attempt, read_value(value)?))
    }
}

/// Why the work is not to be done now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotFirst {
    #[error("it was done before")]
    Repeated(Box<Kept>),
    #[error("a request with the same Idempotency-Key is under way")]
    InProgress,
    #[error("the Idempotency-Key was used for another request")]
    Mismatch,
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// An answer that was given.
#[derive(Debug)]
pub(crate) struct Kept {
    status: i16,
    location: Option<String>,
    answer: String,
}

impl IntoResponse for NotFirst {
    fn into_response(self) -> Response {
        let failure = match self {
            Self::Repeated(kept) => return kept.into_response(),
            Self::InProgress => Failure::new(
                Code::Conflict,
                "A request with this Idempotency-Key is under way: repeat it in a second for its answer",
            )
            .header(header::RETRY_AFTER, HeaderValue::from_static("1")),
            Self::Mismatch => Failure::new(
                Code::IdempotencyMismatch,
                "This Idempotency-Key was sent with another request: draw a new one for each thing that is asked for",
            ),
            Self::Database(error) => error.into(),
        };
        failure.into_response()
    }
}

impl IntoResponse for Kept {
    fn into_response(self) -> Response {
        let status = u16::try_from(self.status).ok();
        let mut response = self.answer.into_response();
        *response.status_mut() = status
            .and_then(|status| StatusCode::from_u16(status).ok())
            .unwrap_or_default();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(
            HeaderName::from_static(headers::IDEMPOTENT_REPLAYED),
            HeaderValue::from_static("true"),
        );
        if let Some(location) = self.location.and_then(|location| HeaderValue::try_from(location).ok()) {
            headers.insert(header::LOCATION, location);
        }
        response
    }
}

impl Attempt {
    /// Whether it has a key, and so may have been answered before.
    pub(crate) const fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// With what is asked for: whatever makes it the same request.
    pub(crate) fn of(mut self, content: &[u8]) -> Self {
        self.fingerprint.update(content);
        self
    }

    /// Takes the key for the rest of the transaction. Who has it does the work, and keeps the answer with [`Claim::keep`].
    ///
    /// # Errors
    /// What is to be answered in place of the work.
    pub(crate) async fn claim(
        self,
        connection: &mut PgConnection,
        principal: &Principal,
        now: OffsetDateTime,
    ) -> Result<Claim, NotFirst> {
        let Some(key) = self.key else { return Ok(Claim(None)) };
        let (tenant, user) = (principal.caller.tenant, principal.user);
        let name = format!("kado idempotency {tenant}/{user}/{}/{}", self.route, hex::encode(&key));
        let free = sqlx::query_scalar!(
            r#"select pg_try_advisory_xact_lock(hashtextextended($1, 0)) as "free!""#,
            name
        )
        .fetch_one(&mut *connection)
        .await
        .map_err(DatabaseError::from)?;
        if !free {
            return Err(NotFirst::InProgress);
        }
        // Read behind the lock, so what its last holder has committed is seen.
        let stored = sqlx::query!(
            "select fingerprint, status, location, answer from idempotency_keys
             where tenant_id = $5 and user_id = $1 and route = $2 and key_sha256 = $3 and created_at > $4",
            user,
            self.route,
            &key,
            now - KEPT,
            tenant.0,
        )
        .fetch_optional(connection)
        .await
        .map_err(DatabaseError::from)?;
        let fingerprint: [u8; 32] = self.fingerprint.finalize().into();
        match stored {
            None => Ok(Claim(Some(Held {
                key,
                route: self.route,
                fingerprint,
            }))),
            Some(stored) if stored.fingerprint == fingerprint => Err(NotFirst::Repeated(Box::new(Kept {
                status: stored.status,
                location: stored.location,
                answer: stored.answer,
            }))),
            Some(_) => Err(NotFirst::Mismatch),
        }
    }
}

/// The right, and the duty, to do the work.
#[derive(Debug)]
#[must_use = "an answer that is not kept is not repeated"]
pub(crate) struct Claim(Option<Held>);

#[derive(Debug)]
struct Held {
    key: [u8; 32],
    route: String,
    fingerprint: [u8; 32],
}

impl Claim {
    /// Keeps the answer, in the transaction of the work. Nothing secret may be in it.
    pub(crate) async fn keep(
        self,
        connection: &mut PgConnection,
        principal: &Principal,
        status: StatusCode,
        location: &str,
        answer: &impl Serialize,
        now: OffsetDateTime,
    ) -> Result<(), NotFirst> {
        let Some(held) = self.0 else { return Ok(()) };
        // Serialised for the client in any case; what cannot be is a defect that shows there.
        let answer = serde_json::to_string(answer).unwrap_or_default();
        let status = i16::try_from(status.as_u16()).unwrap_or(200);
        sqlx::query!(
            "insert into idempotency_keys
                 (tenant_id, user_id, route, key_sha256, fingerprint, status, location, answer, created_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
             on conflict (tenant_id, user_id, route, key_sha256)
                 do update set fingerprint = $5, status = $6, location = $7, answer = $8, created_at = $9",
            principal.caller.tenant.0,
            principal.user,
            held.route,
            &held.key,
            &held.fingerprint,
            status,
            location,
            answer,
            now,
        )
        .execute(connection)
        .await
        .map_err(DatabaseError::from)?;
        Ok(())
    }
}

/// Removes what stands for nothing any more, at most `most` keys.
pub(crate) async fn sweep(pool: &PgPool, now: OffsetDateTime, most: i64) -> Result<u64, DatabaseError> {
    let swept = sqlx::query!(
        "delete from idempotency_keys where (tenant_id, user_id, route, key_sha256) in
             (select tenant_id, user_id, route, key_sha256 from idempotency_keys where created_at <= $1 limit $2)",
        now - KEPT,
        most,
    )
    .execute(pool)
    .await?;
    Ok(swept.rows_affected())
}

#[cfg(test)]
mod tests {
    use crate::api::testing::{Answer, TestApp, multipart, png};
    use serde_json::{Value, json};
    use time::Duration;

    const KEYS: &str = "/api/admin/api-keys";

    async fn create(app: &TestApp, token: &str, key: &str, body: &Value) -> Answer {
        create_at(app, KEYS, token, key, body).await
    }

    async fn create_at(app: &TestApp, target: &str, token: &str, key: &str, body: &Value) -> Answer {
        let request = app
            .signed("POST", target)
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {token}"))
            .header("idempotency-key", key);
        app.send(request.body(body.to_string().into()).unwrap()).await
    }

    async fn upload(app: &TestApp, token: &str, key: &str, file: Vec<u8>) -> Answer {
        let form = multipart("image", &file);
        let request = app
            .signed("POST", "/api/images")
            .header("content-type", "multipart/form-data; boundary=kado")
            .header("content-length", form.len())
            .header("authorization", format!("Bearer {token}"))
            .header("idempotency-key", key);
        app.send(request.body(form.into()).unwrap()).await
    }

    fn order(name: &str) -> Value {
        json!({ "name": name, "scopes": ["process"] })
    }

    fn is_replayed(answer: &Answer) -> bool {
        answer.header("idempotent-replayed") == Some("true")
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_repeated_upload_is_the_same_picture_with_the_same_answer() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let first = upload(&app, &token, "one", png(4, 4)).await;
        assert_eq!((first.status, is_replayed(&first)), (201, false), "{}", first.text());
        let again = upload(&app, &token, "one", png(4, 4)).await;
        assert_eq!((again.status, is_replayed(&again)), (201, true), "{}", again.text());
        assert_eq!(
            (&again.body, again.header("location"), again.header("content-type")),
            (&first.body, first.header("location"), first.header("content-type"))
        );
        assert_eq!(app.count("select count(*) from images").await, 1);
        assert_eq!(app.count("select max(reference_count) from blobs").await, 1);
        let audited = "select count(*) from audit_logs where action = 'images.create'";
        assert_eq!(app.count(audited).await, 1);
        let other = upload(&app, &token, "one", png(5, 5)).await;
        assert_eq!(
            (other.status, &other.json()["code"]),
            (422, &json!("idempotency-mismatch"))
        );
        assert_eq!(upload(&app, &token, "two", png(4, 4)).await.status, 201);
        assert_eq!(app.count("select count(*) from images").await, 2);
        app.nothing_stays_pending().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_key_belongs_to_its_user_and_its_route() {
        let Some(app) = TestApp::start().await else { return };
        let (admin, user) = (app.admin_token().await, app.user_token("user@localhost").await);
        for token in [&admin, &user] {
            let answer = upload(&app, token, "same", png(4, 4)).await;
            assert_eq!((answer.status, is_replayed(&answer)), (201, false));
        }
        let elsewhere = create(&app, &admin, "same", &order("ci")).await;
        assert_eq!((elsewhere.status, is_replayed(&elsewhere)), (201, false));
        assert_eq!(app.count("select count(*) from idempotency_keys").await, 3);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_secret_is_not_kept_and_not_shown_again() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let first = create(&app, &token, "one", &order("ci")).await.json();
        let secret = first["key"].as_str().unwrap().rsplit('_').next().unwrap().to_owned();
        let again = create(&app, &token, "one", &order("ci")).await;
        assert_eq!((again.status, is_replayed(&again)), (201, true));
        let mut without = first.clone();
        without.as_object_mut().unwrap().remove("key");
        assert_eq!(again.json(), without);
        let kept = format!("select count(*) from idempotency_keys where idempotency_keys::text like '%{secret}%'");
        assert_eq!(app.count(&kept).await, 0);
        // Spaces and order make no other request; a value does.
        let spaced = app
            .signed("POST", KEYS)
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {token}"))
            .header("idempotency-key", "one");
        let spaced = spaced
            .body(r#"{ "scopes": ["process"],  "name": "ci" }"#.into())
            .unwrap();
        assert!(is_replayed(&app.send(spaced).await));
        assert_eq!(create(&app, &token, "one", &order("cd")).await.status, 422);
        assert_eq!(app.count("select count(*) from api_keys").await, 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_administrators_make_is_made_once_and_answered_alike() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let of_content = json!({"section": "home", "key": "hero", "value": "Kado", "type": "TEXT"});
        for (target, table, body, field) in [
            (
                "/api/admin/users",
                "users",
                json!({"email": "new@localhost", "password": "given by an administrator"}),
                "password",
            ),
            (
                "/api/admin/presets",
                "presets",
                json!({"name": "card", "options": "w=400"}),
                "options",
            ),
            ("/api/admin/content", "site_contents", of_content, "value"),
        ] {
            let before = app.count(&format!("select count(*) from {table}")).await;
            let first = create_at(&app, target, &token, "one", &body).await;
            assert_eq!((first.status, is_replayed(&first)), (201, false), "{}", first.text());
            let again = create_at(&app, target, &token, "one", &body).await;
            assert_eq!((again.status, is_replayed(&again)), (201, true), "{}", again.text());
            assert_eq!(
                (&again.body, again.header("location")),
                (&first.body, first.header("location")),
                "{target}"
            );
            let mut other = body.clone();
            other[field] = json!("width=500,quality=7");
            let other = create_at(&app, target, &token, "one", &other).await;
            assert_eq!(
                (other.status, &other.json()["code"]),
                (422, &json!("idempotency-mismatch")),
                "{target}"
            );
            let unkeyed = app.post_as(&token, target, &body).await;
            assert_eq!(unkeyed.status, 409, "{target}: without the key it is another request");
            assert_eq!(app.count(&format!("select count(*) from {table}")).await, before + 1);
            let audited = format!(
                "select count(*) from audit_logs where action = '{}.create'",
                &target[11..]
            );
            assert_eq!(app.count(&audited).await, 1, "{target}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_creations_at_the_same_moment_one_is_made() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        for (target, body) in [
            ("/api/admin/users", json!({"email": "new@localhost"})),
            ("/api/admin/presets", json!({"name": "card", "options": "w=400"})),
            (
                "/api/admin/content",
                json!({"section": "a", "key": "b", "value": "", "type": "TEXT"}),
            ),
        ] {
            let all = (0..8).map(|_| create_at(&app, target, &token, "one", &body));
            let all = futures_util::future::join_all(all).await;
            let made = all.iter().filter(|answer| answer.status == 201 && !is_replayed(answer));
            assert_eq!(made.count(), 1, "{target}");
            for answer in &all {
                assert!(
                    answer.status == 201 || (answer.status == 409 && answer.header("retry-after") == Some("1")),
                    "{target}: the others hear of the first: {}",
                    answer.text()
                );
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_reads_the_table_cannot_try_passwords_on_it() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        // The same request but for its key: were the fingerprint of the request alone, both would be equal.
        for key in ["one", "two"] {
            create(&app, &token, key, &order("ci")).await;
        }
        let fingerprints = "select count(distinct fingerprint) from idempotency_keys";
        assert_eq!(app.count(fingerprints).await, 2);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_requests_at_the_same_moment_one_does_the_work() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let body = order("ci");
        let all = futures_util::future::join_all((0..16).map(|_| create(&app, &token, "one", &body))).await;
        let done = all
            .iter()
            .filter(|answer| answer.status == 201 && !is_replayed(answer))
            .count();
        assert_eq!((done, app.count("select count(*) from api_keys").await), (1, 1));
        for answer in &all {
            assert!(
                answer.status == 201 || (answer.status == 409 && answer.header("retry-after") == Some("1")),
                "{}",
                answer.text()
            );
        }
        let uploads = futures_util::future::join_all((0..8).map(|_| upload(&app, &token, "one", png(4, 4)))).await;
        assert!(
            uploads.iter().all(|answer| [201, 409].contains(&answer.status)),
            "nothing else happens to them"
        );
        assert_eq!(app.count("select count(*) from images").await, 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn while_one_is_under_way_another_is_told_so() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        // The first cannot write its key until this lock is gone.
        let mut blocker = app.database().superuser().begin().await.unwrap();
        sqlx::query("lock table api_keys in exclusive mode")
            .execute(&mut *blocker)
            .await
            .unwrap();
        let body = order("ci");
        let second = async {
            let waits = "select count(*) from pg_locks where not granted and relation = 'api_keys'::regclass";
            tokio::time::timeout(std::time::Duration::from_secs(4), async {
                while app.count(waits).await == 0 {
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
            })
            .await
            .expect("the first comes to the lock");
            let answer = create(&app, &token, "one", &body).await;
            blocker.rollback().await.unwrap();
            answer
        };
        let (first, second) = tokio::join!(create(&app, &token, "one", &body), second);
        assert_eq!((second.status, &second.json()["code"]), (409, &json!("conflict")));
        assert_eq!((first.status, is_replayed(&first)), (201, false));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_fails_in_the_middle_or_is_refused_leaves_the_key_free() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let wrong = create(&app, &token, "one", &json!({ "name": "", "scopes": [] })).await;
        assert_eq!(wrong.status, 400);
        // The audit entry is the last statement before the answer is kept.
        app.execute("alter table audit_logs add constraint no_keys check (action <> 'api-keys.create')")
            .await;
        assert_eq!(create(&app, &token, "one", &order("ci")).await.status, 500);
        assert_eq!(app.count("select count(*) from idempotency_keys").await, 0);
        app.execute("alter table audit_logs drop constraint no_keys").await;
        let answer = create(&app, &token, "one", &order("ci")).await;
        assert_eq!((answer.status, is_replayed(&answer)), (201, false));
        assert_eq!(app.count("select count(*) from api_keys").await, 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn after_a_day_a_key_stands_for_nothing() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        assert_eq!(upload(&app, &token, "one", png(4, 4)).await.status, 201);
        app.clock.advance(Duration::hours(24) - Duration::seconds(1));
        let token = app.admin_token().await;
        assert!(is_replayed(&upload(&app, &token, "one", png(4, 4)).await));
        app.clock.advance(Duration::seconds(1));
        let anew = upload(&app, &token, "one", png(5, 5)).await;
        assert_eq!((anew.status, is_replayed(&anew)), (201, false), "{}", anew.text());
        assert_eq!(app.count("select count(*) from idempotency_keys").await, 1);
        assert_eq!(upload(&app, &token, "two", png(4, 4)).await.status, 201);
        app.clock.advance(Duration::hours(24));
        let (pool, now) = (app.service.database.system(), app.service.clock.now());
        assert_eq!(super::sweep(pool, now, 1).await.unwrap(), 1);
        assert_eq!(super::sweep(pool, now, 1000).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn what_is_no_key_is_refused() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        for key in ["", "a b", &"x".repeat(256)] {
            let answer = create(&app, &token, key, &order("ci")).await;
            assert_eq!(
                (answer.status, &answer.json()["errors"][0]["field"]),
                (400, &json!("Idempotency-Key")),
                "{key:?}"
            );
        }
        assert_eq!(create(&app, &token, &"x".repeat(255), &order("ci")).await.status, 201);
    }
}
