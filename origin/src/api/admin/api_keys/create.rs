//! `POST /api/admin/api-keys`: a new key, shown in this one answer and never again.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use kado_shared::{
    api_key::{Fingerprint, Scope},
    limits::Rule,
    problem::{Code, FieldError},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use time::{Duration, OffsetDateTime};

use super::{KeyView, Row};
use crate::{
    api::openapi::{parameters::IdempotencyKey, schemas},
    audit,
    database::DatabaseError,
    http::{authentication::Administrator, failure::Failure},
    idempotency::{KeyedJson, NotFirst},
    identity::api_key,
    service::App,
};

/// Most keys of a tenant.
const MOST_KEYS: i64 = 1000;
/// Times after which a key may expire, in seconds: a minute to ten years.
const LIFE: std::ops::RangeInclusive<i64> = 60..=315_360_000;

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = NewApiKey)]
pub(crate) struct NewKey {
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\s\u0000-\u001f\u007f-\u009f]([^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f])?$"
    )]
    name: String,
    #[schema(schema_with = schemas::scopes)]
    scopes: Vec<String>,
    /// Seconds; none for a key that does not expire.
    #[serde(default)]
    #[schema(minimum = 60, maximum = 315_360_000)]
    expires_in: Option<i64>,
    /// A rate limit of its own.
    #[serde(default)]
    #[schema(schema_with = schemas::optional_rate_limit, required = false)]
    limit: Option<Value>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NewApiKeyShown)]
struct Created {
    #[schema(pattern = "^kado_[0-9a-f]{12}_[0-9a-f]{48}$", required = false)]
    key: String,
    #[serde(flatten)]
    view: KeyView,
}

/// Why there is no new key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CreateError {
    #[error("the fields are not valid")]
    Fields(Vec<FieldError>),
    #[error("the tenant has {MOST_KEYS} keys")]
    TooMany,
    #[error("the key that was drawn has not the form of one")]
    Drawn,
    #[error(transparent)]
    NotFirst(#[from] NotFirst),
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl IntoResponse for CreateError {
    fn into_response(self) -> Response {
        let failure = match self {
            Self::Fields(errors) => Failure::fields(errors),
            Self::TooMany => Failure::new(
                Code::Conflict,
                format!("There are {MOST_KEYS} keys, which is the most: delete those that nobody uses"),
            ),
            Self::NotFirst(answer) => return answer.into_response(),
            Self::Database(error) => error.into(),
            defect @ Self::Drawn => Failure::internal(&defect),
        };
        failure.into_response()
    }
}

/// What was asked for, checked.
struct Wanted {
    name: String,
    scopes: Vec<String>,
    life: Option<Duration>,
    limit: Option<Value>,
}

/// Makes an API key, which is shown in this one answer.
///
/// It acts for the user who makes it, within its scopes. At most 1,000 of a tenant.
#[utoipa::path(post, path = "/api/admin/api-keys", params(IdempotencyKey), request_body = NewKey,
    responses(
        (status = 201, description = "The key. Where the answer is repeated, `key` is absent.", body = Created),
        (status = 409, description = "There are 1,000 keys, or a request with this Idempotency-Key is under way."),
    ))]
pub(crate) async fn post_api_key(
    State(app): State<App>,
    Administrator(principal): Administrator,
    KeyedJson(attempt, body): KeyedJson<NewKey>,
) -> Result<Response, CreateError> {
    let wanted = check(body).map_err(CreateError::Fields)?;
    let now: OffsetDateTime = app.clock.now();
    let key = api_key::draw(&*app.entropy);
    let fingerprint = Fingerprint::of(&key).ok_or(CreateError::Drawn)?;
    let row = Row {
        id: app.entropy.uuid(),
        name: wanted.name,
        prefix: fingerprint.prefix,
        scopes: wanted.scopes,
        rate_limit: wanted.limit,
        user_id: principal.user,
        created_at: now,
        expires_at: wanted.life.map(|life| now + life),
        last_used_at: None,
    };
    let tenant = principal.caller.tenant;
    let mut transaction = app.database.begin(tenant).await?;
    let claim = attempt.claim(transaction.connection(), &principal, now).await?;
    let inserted = sqlx::query!(
        "insert into api_keys (tenant_id, id, user_id, name, prefix, sha256, scopes, rate_limit, created_at, expires_at)
         select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10 where (select count(*) from api_keys) < $11",
        tenant.0,
        row.id,
        row.user_id,
        row.name,
        row.prefix,
        fingerprint.sha256.as_slice(),
        &row.scopes,
        row.rate_limit,
        row.created_at,
        row.expires_at,
        MOST_KEYS,
    )
    .execute(transaction.connection())
    .await
    .map_err(DatabaseError::from)?;
    if inserted.rows_affected() == 0 {
        return Err(CreateError::TooMany);
    }
    let view = row.view(now);
    let mut entry = principal.entry(&app, "api-keys.create");
    entry.target = Some(view.id.to_string());
    entry.after =
        Some(json!({ "name": view.name, "scopes": view.scopes, "limit": view.limit, "expiresAt": view.expires_at }));
    audit::record(transaction.connection(), entry).await?;
    let location = format!("/api/admin/api-keys/{}", view.id);
    // Without the key: who lost the answer deletes it and makes another.
    claim
        .keep(
            transaction.connection(),
            &principal,
            StatusCode::CREATED,
            &location,
            &view,
            now,
        )
        .await?;
    transaction.commit().await?;
    let created = Json(Created { key, view });
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], created).into_response())
}

/// Every fault at once.
fn check(body: NewKey) -> Result<Wanted, Vec<FieldError>> {
    let mut errors = Vec::new();
    let mut complain = |field: &str, detail: String| {
        errors.push(FieldError {
            field: field.to_owned(),
            detail,
        });
    };
    let name = body.name.trim().to_owned();
    if !(1..=100).contains(&name.chars().count()) || name.chars().any(char::is_control) {
        complain(
            "name",
            "must have 1 to 100 characters, no control characters among them".to_owned(),
        );
    }
    let scopes: BTreeSet<_> = body.scopes.iter().filter_map(|name| Scope::from_name(name)).collect();
    if scopes.is_empty() || body.scopes.iter().any(|name| Scope::from_name(name).is_none()) {
        let names = Scope::ALL.map(Scope::as_str).join(", ");
        complain("scopes", format!("must be one or more of {names}"));
    }
    if body.expires_in.is_some_and(|seconds| !LIFE.contains(&seconds)) {
        complain(
            "expiresIn",
            format!("must be {} to {} seconds", LIFE.start(), LIFE.end()),
        );
    }
    if let Some(Err(detail)) = body.limit.as_ref().map(Rule::from_json) {
        complain("limit", detail);
    }
    if errors.is_empty() {
        Ok(Wanted {
            name,
            scopes: scopes.into_iter().map(|scope| scope.to_string()).collect(),
            life: body.expires_in.map(Duration::seconds),
            limit: body.limit,
        })
    } else {
        Err(errors)
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        api::testing::{TestApp, png},
        telemetry::testing::Captured,
    };
    use kado_shared::{api_key::Fingerprint, tenant::TenantId};
    use serde_json::{Value, json};
    use time::Duration;
    use uuid::Uuid;

    async fn create(app: &TestApp, token: &str, scopes: &[&str]) -> Value {
        let body = json!({ "name": "ci", "scopes": scopes, "expiresIn": 3600 });
        let answer = app.post_as(token, "/api/admin/api-keys", &body).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()
    }

    fn text(value: &Value, name: &str) -> String {
        value[name].as_str().unwrap().to_owned()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_key_opens_what_its_scopes_say_and_nothing_else() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let created = create(&app, &token, &["images:read", "images:write"]).await;
        let key = text(&created, "key");
        assert!(key.starts_with(&text(&created, "prefix")) && created["expiresIn"] == 3600);
        assert_eq!(app.upload(&key, png(4, 4)).await.status, 201);
        assert_eq!(
            app.get_as(&key, "/api/images").await.json()["items"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
        for (method, target, scope) in [
            ("GET", "/api/admin/settings", r#", scope="admin:read""#),
            ("GET", "/api/admin/api-keys", ""),
            ("GET", "/api/auth/me", ""),
        ] {
            let request = app
                .signed(method, target)
                .header("authorization", format!("Bearer {key}"));
            let answer = app.send(request.body("".into()).unwrap()).await;
            assert_eq!(
                (answer.status, &answer.json()["code"]),
                (403, &json!("insufficient-scope")),
                "{target}"
            );
            let challenge = format!(r#"Bearer realm="kado", error="insufficient_scope"{scope}"#);
            assert_eq!(answer.header("www-authenticate"), Some(challenge.as_str()), "{target}");
        }
        assert_eq!(
            app.count("select count(*) from api_keys where last_used_at is not null")
                .await,
            1
        );
        let spent = "select count from usage_records where action = 'API_CALL'";
        // Making it, storing and listing; not what its scopes refused.
        assert_eq!(app.count(spent).await, 3, "it spends its user's calls");
        app.clock.advance(Duration::hours(2));
        assert_eq!(app.get_as(&key, "/api/images").await.status, 401, "expired");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_administrators_key_administers_while_its_user_is_one() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let key = text(&create(&app, &token, &["admin:read"]).await, "key");
        assert_eq!(app.get_as(&key, "/api/admin/settings").await.status, 200);
        let change = app
            .patch_as(&key, "/api/admin/settings", &json!({"maxFileSize": 4096}), None)
            .await;
        assert_eq!(change.status, 403, "reading is not writing");
        app.execute("update users set role = 'USER'").await;
        assert_eq!(app.get_as(&key, "/api/admin/settings").await.status, 403);
        app.execute("update users set active = false").await;
        assert_eq!(app.get_as(&key, "/api/images").await.status, 401);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn it_is_shown_once_kept_as_a_hash_listed_and_deleted() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let (captured, _guard) = Captured::start();
        let created = create(&app, &token, &["process"]).await;
        let (key, id) = (text(&created, "key"), text(&created, "id"));
        let listed = app.get_as(&token, "/api/admin/api-keys").await;
        assert_eq!(listed.json()["items"][0]["id"], json!(id));
        let secret = key.rsplit('_').next().unwrap();
        assert!(!listed.text().contains(secret));
        assert!(!captured.lines().iter().any(|line| line.to_string().contains(secret)));
        let rows = format!("select count(*) from api_keys where to_jsonb(api_keys)::text like '%{secret}%'");
        assert_eq!(app.count(&rows).await, 0);
        let audited = format!("select count(*) from audit_logs where to_jsonb(audit_logs)::text like '%{secret}%'");
        assert_eq!(app.count(&audited).await, 0);
        assert_eq!(app.get_as(&key, "/api/images").await.status, 403, "it counts");
        let target = format!("/api/admin/api-keys/{id}");
        assert_eq!(app.delete_as(&token, &target).await.status, 204);
        assert_eq!(app.delete_as(&token, &target).await.status, 404);
        assert_eq!(app.get_as(&key, "/api/images").await.status, 401, "it is gone");
        for action in ["api-keys.create", "api-keys.delete"] {
            let sql = format!("select count(*) from audit_logs where action = '{action}' and target = '{id}'");
            assert_eq!(app.count(&sql).await, 1, "{action}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_edge_is_told_of_a_key_and_no_other_tenant_has_it() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let limit = json!({ "quota": 5, "windowSeconds": 60, "mode": "strict" });
        let body = json!({ "name": "ci", "scopes": ["process"], "limit": limit });
        let key = text(&app.post_as(&token, "/api/admin/api-keys", &body).await.json(), "key");
        let question = serde_json::to_value(Fingerprint::of(&key).unwrap()).unwrap();
        let answer = app.post_internal("/internal/credentials", &question).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let known = &answer.json()["key"];
        assert_eq!(
            (&known["scopes"], &known["limit"]["quota"]),
            (&json!(["process"]), &json!(5))
        );
        let mut wrong = question.clone();
        wrong["sha256"][0] = json!((question["sha256"][0].as_u64().unwrap() + 1) % 256);
        assert_eq!(
            app.post_internal("/internal/credentials", &wrong).await.json()["key"],
            Value::Null
        );
        let nobody = TenantId(Uuid::from_u128(99));
        let elsewhere = app.post_internal_for(nobody, "/internal/credentials", question).await;
        assert_eq!((elsewhere.status, &elsewhere.json()["key"]), (200, &Value::Null));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_wrong_is_named_all_at_once() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let body = json!({ "name": " ", "scopes": ["images:read", "all"], "expiresIn": 1, "limit": {"quota": 1} });
        let answer = app.post_as(&token, "/api/admin/api-keys", &body).await;
        let fields: Vec<_> = answer.json()["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|error| text(error, "field"))
            .collect();
        assert_eq!(
            (answer.status, fields),
            (
                400,
                ["name", "scopes", "expiresIn", "limit"].map(str::to_owned).to_vec()
            )
        );
        let user = app.user_token("user@localhost").await;
        assert_eq!(app.get_as(&user, "/api/admin/api-keys").await.status, 403);
    }
}
