//! `POST /api/admin/users`: a new user, who has to choose a password of their own at the first sign-in.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use kado_shared::{
    claims::Role,
    problem::{Code, FieldError},
};
use serde::Deserialize;
use serde_json::json;

use super::{Row, WithPassword, name_of, role_name};
use crate::{
    api::openapi::{parameters::IdempotencyKey, schemas},
    audit,
    database::DatabaseError,
    entropy::Entropy,
    http::{authentication::Administrator, failure::Failure},
    idempotency::{KeyedJson, NotFirst},
    identity::{email::Email, first_password::FirstPassword, password::HashError},
    service::App,
};

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewUser {
    /// At most 254 characters, without the spaces around it.
    #[schema(
        pattern = r"^\s*[^\s\u0000-\u001f\u007f-\u009f]+@[^\s@\u0000-\u001f\u007f-\u009f]+\s*$",
        example = "name@example.com"
    )]
    email: String,
    /// `USER` where there is none.
    #[serde(default)]
    #[schema(schema_with = schemas::optional_role, required = false)]
    role: Option<String>,
    /// The first password; drawn where there is none.
    #[serde(default)]
    #[schema(min_length = 8, max_length = 512, pattern = r"^[^\u0000]*$")]
    password: Option<String>,
}

/// Why there is no new user.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CreateError {
    #[error("the fields are not valid")]
    Fields(Vec<FieldError>),
    #[error("the address is another user's")]
    Known,
    #[error(transparent)]
    Hash(#[from] HashError),
    #[error(transparent)]
    NotFirst(#[from] NotFirst),
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl IntoResponse for CreateError {
    fn into_response(self) -> Response {
        let failure = match self {
            Self::Fields(errors) => Failure::fields(errors),
            Self::Known => Failure::new(Code::Conflict, "There is a user of this address already"),
            Self::Hash(error) => error.into(),
            Self::NotFirst(answer) => return answer.into_response(),
            Self::Database(error) => error.into(),
        };
        failure.into_response()
    }
}

/// Makes a user, who has to choose a password of their own at the first sign-in.
#[utoipa::path(post, path = "/api/admin/users", params(IdempotencyKey), request_body = NewUser,
    responses(
        (status = 201, description = "The user. Where the answer is repeated, a drawn `password` is absent.", body = WithPassword),
        (status = 409, description = "The address is another user's, or a request with this Idempotency-Key is under way."),
    ))]
pub(crate) async fn post_user(
    State(app): State<App>,
    Administrator(principal): Administrator,
    KeyedJson(attempt, body): KeyedJson<NewUser>,
) -> Result<Response, CreateError> {
    let (email, role, first) = check(body, &*app.entropy)?;
    let hash = app.passwords.hash(first.secret.clone()).await?;
    let (tenant, now) = (principal.caller.tenant, app.clock.now());
    let row = Row {
        id: app.entropy.uuid(),
        email: email.as_str().to_owned(),
        role: role.to_owned(),
        active: true,
        must_change_password: true,
        created_at: now,
        updated_at: now,
        quota_image_process: None,
        quota_api_call: None,
        quota_until: None,
    };
    let mut transaction = app.database.begin(tenant).await?;
    let claim = attempt.claim(transaction.connection(), &principal, now).await?;
    let inserted = sqlx::query!(
        "insert into users (tenant_id, id, email, password_hash, role, must_change_password, created_at, updated_at)
         values ($1, $2, $3, $4, $5, true, $6, $6) on conflict (tenant_id, email) do nothing",
        tenant.0,
        row.id,
        row.email,
        hash,
        row.role,
        now,
    )
    .execute(transaction.connection())
    .await
    .map_err(DatabaseError::from)?;
    if inserted.rows_affected() == 0 {
        return Err(CreateError::Known);
    }
    let mut entry = principal.entry(&app, "users.create");
    entry.target = Some(row.id.to_string());
    entry.after = Some(json!({ "email": row.email, "role": row.role, "active": true }));
    audit::record(transaction.connection(), entry).await?;
    let location = format!("/api/admin/users/{}", row.id);
    let view = row.view(now);
    // Without the password, of which there is a hash alone.
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
    let created = WithPassword {
        password: first.drawn(),
        view,
    };
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(created)).into_response())
}

/// Every fault at once.
fn check(body: NewUser, entropy: &dyn Entropy) -> Result<(Email, &'static str, FirstPassword), CreateError> {
    let mut errors = Vec::new();
    let mut complain = |field: &str, detail: String| {
        errors.push(FieldError {
            field: field.to_owned(),
            detail,
        });
    };
    let email = Email::parse(&body.email)
        .map_err(|error| complain("email", error.to_string()))
        .ok();
    let role = match &body.role {
        None => Some(name_of(Role::User)),
        Some(text) => role_name(text).map_err(|detail| complain("role", detail)).ok(),
    };
    let first = FirstPassword::choose(body.password, entropy)
        .map_err(|detail| complain("password", detail))
        .ok();
    match (email, role, first) {
        (Some(email), Some(role), Some(first)) => Ok((email, role, first)),
        _ => Err(CreateError::Fields(errors)),
    }
}

#[cfg(test)]
mod tests {
    use crate::{api::testing::TestApp, telemetry::testing::Captured};
    use serde_json::json;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_new_user_signs_in_and_chooses_a_password() {
        let Some(app) = TestApp::start().await else { return };
        let admin = app.admin_token().await;
        let (captured, _guard) = Captured::start();
        let body = json!({"email": " New@LocalHost", "role": "PREMIUM"});
        let created = app.post_as(&admin, "/api/admin/users", &body).await;
        assert_eq!(created.status, 201, "{}", created.text());
        let user = created.json();
        assert_eq!(
            (&user["email"], &user["role"], &user["mustChangePassword"]),
            (&json!("new@localhost"), &json!("PREMIUM"), &json!(true))
        );
        let location = created.header("location").unwrap();
        assert_eq!(app.get_as(&admin, location).await.json()["id"], user["id"]);
        let password = user["password"].as_str().unwrap();
        let login = json!({"email": "new@localhost", "password": password});
        let token = app.post("/api/auth/login", &login).await.json()["token"].clone();
        let token = token.as_str().unwrap();
        assert_eq!(app.get_as(token, "/api/images").await.status, 403, "the password first");
        let change = json!({"currentPassword": password, "newPassword": "one of my own choice"});
        assert_eq!(app.post_as(token, "/api/auth/password", &change).await.status, 204);
        assert_eq!(app.get_as(token, "/api/images").await.status, 200);

        assert_eq!(app.post_as(&admin, "/api/admin/users", &body).await.status, 409);
        assert!(!captured.lines().iter().any(|line| line.to_string().contains(password)));
        let told = format!("select count(*) from audit_logs where to_jsonb(audit_logs)::text like '%{password}%'");
        assert_eq!(app.count(&told).await, 0);
        assert_eq!(
            app.count("select count(*) from audit_logs where action = 'users.create'")
                .await,
            1
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_drawn_password_is_not_kept_and_not_shown_again() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let create = async || {
            let request = app
                .signed("POST", "/api/admin/users")
                .header("content-type", "application/json")
                .header("authorization", format!("Bearer {token}"))
                .header("idempotency-key", "one");
            app.send(request.body(r#"{"email": "new@localhost"}"#.into()).unwrap())
                .await
        };
        let mut first = create().await.json();
        let password = first["password"].as_str().unwrap().to_owned();
        let again = create().await;
        assert_eq!(
            (again.status, again.header("idempotent-replayed")),
            (201, Some("true")),
            "{}",
            again.text()
        );
        first.as_object_mut().unwrap().remove("password");
        assert_eq!(again.json(), first);
        let kept = format!("select count(*) from idempotency_keys where idempotency_keys::text like '%{password}%'");
        assert_eq!(app.count(&kept).await, 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_wrong_is_named_all_at_once() {
        let Some(app) = TestApp::start().await else { return };
        let admin = app.admin_token().await;
        let body = json!({"email": "nobody", "role": "admin", "password": "short"});
        let answer = app.post_as(&admin, "/api/admin/users", &body).await;
        let body = answer.json();
        let fields: Vec<_> = body["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|error| error["field"].as_str().unwrap())
            .collect();
        assert_eq!((answer.status, fields), (400, vec!["email", "role", "password"]));
        let body = json!({"email": "a@b", "active": false});
        assert_eq!(app.post_as(&admin, "/api/admin/users", &body).await.status, 400);
        let given = json!({"email": "a@b", "password": "given by an administrator"});
        let created = app.post_as(&admin, "/api/admin/users", &given).await.json();
        assert!(created.get("password").is_none() && created["role"] == "USER");
        let user = app.user_token("user@localhost").await;
        assert_eq!(app.post_as(&user, "/api/admin/users", &given).await.status, 403);
    }
}
