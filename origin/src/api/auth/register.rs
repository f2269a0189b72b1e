//! `POST /api/auth/register`: a new user, where the setting `allowRegistration` admits it.
//!
//! A known address is answered like an unknown one, after the same hash: who registers learns nothing of others.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use kado_shared::{
    problem::{Code, FieldError},
    secret::Secret,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    audit::{self, Actor, Entry},
    database::DatabaseError,
    http::{context::RequestId, edge::Caller, extract::JsonBody, failure::Failure},
    identity::{
        email::Email,
        password::{HashError, check_length},
    },
    service::App,
    settings,
};

/// Body of the request.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Registration {
    /// At most 254 characters, without the spaces around it.
    #[schema(
        pattern = r"^\s*[^\s\u0000-\u001f\u007f-\u009f]+@[^\s@\u0000-\u001f\u007f-\u009f]+\s*$",
        example = "name@example.com"
    )]
    email: String,
    #[schema(min_length = 8, max_length = 512, pattern = r"^[^\u0000]*$")]
    password: String,
}

/// The answer, whoever asks.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Registered {
    #[schema(pattern = "^accepted$")]
    status: &'static str,
}

/// Why nobody was registered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegisterError {
    #[error("registration is closed")]
    Closed,
    #[error("the fields are not valid")]
    Fields(Vec<FieldError>),
    #[error(transparent)]
    Hash(#[from] HashError),
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl IntoResponse for RegisterError {
    fn into_response(self) -> Response {
        let failure = match self {
            Self::Closed => Failure::new(Code::Forbidden, "Nobody can register here; ask an administrator"),
            Self::Fields(errors) => Failure::fields(errors),
            Self::Hash(error) => error.into(),
            Self::Database(error) => error.into(),
        };
        failure.into_response()
    }
}

/// Registers a user, where the setting `allowRegistration` admits it.
#[utoipa::path(post, path = "/api/auth/register", security(()), request_body = Registration,
    responses(
        (status = 202, description = "Accepted; for an address that is known already too.", body = Registered),
        (status = 403, description = "Nobody can register here."),
    ))]
pub(crate) async fn post_register(
    State(app): State<App>,
    axum::Extension(caller): axum::Extension<Caller>,
    axum::Extension(request_id): axum::Extension<RequestId>,
    JsonBody(registration): JsonBody<Registration>,
) -> Result<(StatusCode, Json<Registered>), RegisterError> {
    let mut transaction = app.database.begin(caller.tenant).await?;
    let layers = settings::load(transaction.connection(), caller.tenant).await?;
    transaction.commit().await?;
    if !layers.resolve().flag("allowRegistration") {
        return Err(RegisterError::Closed);
    }
    let email = validate(&registration)?;
    let hash = app.passwords.hash(Secret::new(registration.password)).await?;
    let (now, id) = (app.clock.now(), app.entropy.uuid());
    let mut transaction = app.database.begin(caller.tenant).await?;
    let inserted = sqlx::query!(
        "insert into users (tenant_id, id, email, password_hash, created_at, updated_at)
         values ($1, $2, $3, $4, $5, $5) on conflict (tenant_id, email) do nothing",
        caller.tenant.0,
        id,
        email.as_str(),
        hash,
        now,
    )
    .execute(transaction.connection())
    .await
    .map_err(DatabaseError::from)?;
    let is_new = inserted.rows_affected() == 1;
    let entry = Entry {
        tenant: Some(caller.tenant.0),
        at: now,
        actor: if is_new { Actor::User(id) } else { Actor::System },
        action: if is_new { "auth.register" } else { "auth.register-known" },
        target: Some(email.as_str().to_owned()),
        before: None,
        after: is_new.then(|| json!({ "role": "USER" })),
        request_id: Some(request_id.as_str()),
        client_ip: Some(&caller.client_ip),
    };
    audit::record(transaction.connection(), entry).await?;
    transaction.commit().await?;
    Ok((StatusCode::ACCEPTED, Json(Registered { status: "accepted" })))
}

fn validate(registration: &Registration) -> Result<Email, RegisterError> {
    let mut errors = Vec::new();
    let mut complain = |field: &str, detail: String| {
        errors.push(FieldError {
            field: field.to_owned(),
            detail,
        });
    };
    let email = Email::parse(&registration.email)
        .map_err(|error| complain("email", error.to_string()))
        .ok();
    if let Err(detail) = check_length(&registration.password) {
        complain("password", detail);
    }
    match email {
        Some(email) if errors.is_empty() => Ok(email),
        _ => Err(RegisterError::Fields(errors)),
    }
}

#[cfg(test)]
mod tests {
    use crate::api::testing::TestApp;
    use serde_json::json;

    const PASSWORD: &str = "a passphrase of one's own";

    async fn open() -> Option<TestApp> {
        let app = TestApp::start().await?;
        app.execute("insert into system_settings (tenant_id, name, value) values (null, 'allowRegistration', 'true')")
            .await;
        Some(app)
    }

    #[tokio::test]
    async fn a_known_address_is_answered_like_a_new_one_and_keeps_its_password() {
        let Some(app) = open().await else { return };
        let register =
            |email: &str| app.post_owned("/api/auth/register", json!({"email": email, "password": PASSWORD}));
        let (new, known) = (register("New@localhost").await, register("admin@localhost").await);
        assert_eq!((new.status, new.text()), (202, known.text()));
        assert_eq!(known.status, 202);
        let login = |email: &str| app.post_owned("/api/auth/login", json!({"email": email, "password": PASSWORD}));
        let signed_in = login("new@localhost").await;
        assert_eq!(
            (signed_in.status, &signed_in.json()["user"]["role"]),
            (200, &json!("USER"))
        );
        assert_eq!(login("admin@localhost").await.status, 401);
        assert_eq!(app.count("select count(*) from users").await, 2);
    }

    #[tokio::test]
    async fn it_is_closed_unless_the_setting_opens_it() {
        let Some(app) = TestApp::start().await else { return };
        let body = json!({"email": "new@localhost", "password": PASSWORD});
        let answer = app.post("/api/auth/register", &body).await;
        assert_eq!((answer.status, &answer.json()["code"]), (403, &json!("forbidden")));
        assert_eq!(app.count("select count(*) from users").await, 1);
    }

    #[tokio::test]
    async fn all_wrong_fields_are_named_at_once() {
        let Some(app) = open().await else { return };
        let answer = app
            .post("/api/auth/register", &json!({"email": "nobody", "password": "short"}))
            .await;
        let fields: Vec<_> = answer.json()["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|error| error["field"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(
            (answer.status, fields),
            (400, vec!["email".to_owned(), "password".to_owned()])
        );
    }
}
