//! `POST /api/admin/tenants`: a new tenant with its hosts and its first administrator.

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use kado_shared::problem::FieldError;
use serde::{Deserialize, Serialize};

use super::{TenantView, load, no_operator, taken};
use crate::{
    api::openapi::parameters::IdempotencyKey,
    database::DatabaseError,
    entropy::Entropy,
    http::{authentication::Administrator, failure::Failure},
    idempotency::{KeyedJson, NotFirst},
    identity::{first_password::FirstPassword, password::HashError},
    service::App,
    tenants::{
        Author,
        create::{self, Credentials, NewTenant},
        operator::{Operating, manages_others},
    },
};

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = NewTenant)]
pub(crate) struct Body {
    /// For people; no other tenant's.
    #[schema(
        pattern = r"^\s*[^\s\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*$",
        max_length = 100
    )]
    name: String,
    /// What it answers to; each host is one tenant's.
    #[schema(min_items = 1, max_items = 100, example = json!(["images.example.com"]))]
    hosts: Vec<String>,
    /// Address of its administrator; `admin@` and the first host where there is none.
    #[serde(default)]
    #[schema(
        pattern = r"^\s*[^\s\u0000-\u001f\u007f-\u009f]+@[^\s@\u0000-\u001f\u007f-\u009f]+\s*$",
        example = "name@example.com"
    )]
    admin_email: Option<String>,
    /// The administrator's first password; drawn where there is none.
    #[serde(default)]
    #[schema(min_length = 8, max_length = 512, pattern = r"^[^\u0000]*$")]
    admin_password: Option<String>,
}

/// A new tenant. What is kept of the answer has no password.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NewTenantShown)]
struct Created<'a> {
    #[serde(flatten)]
    view: &'a TenantView,
    admin_email: &'a str,
    /// The password that was drawn, in this one answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, pattern = "^[A-Za-z0-9_-]{24}$")]
    admin_password: Option<String>,
}

/// Why there is no new tenant.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CreateError {
    #[error("the tenant of whoever asks is no operator")]
    NoOperator,
    #[error("the fields are not valid")]
    Fields(Vec<FieldError>),
    #[error("name or hosts are another tenant's")]
    Taken(Vec<FieldError>),
    #[error("the tenant was not there after it was made")]
    Vanished,
    #[error(transparent)]
    Hash(#[from] HashError),
    #[error(transparent)]
    NotFirst(#[from] NotFirst),
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<create::CreateError> for CreateError {
    fn from(error: create::CreateError) -> Self {
        match error {
            create::CreateError::Taken(errors) => Self::Taken(errors),
            create::CreateError::Database(error) => error.into(),
        }
    }
}

impl IntoResponse for CreateError {
    fn into_response(self) -> Response {
        let failure = match self {
            Self::NoOperator => no_operator(),
            Self::Fields(errors) => Failure::fields(errors),
            Self::Taken(errors) => taken(errors),
            Self::Hash(error) => error.into(),
            Self::NotFirst(answer) => return answer.into_response(),
            Self::Database(error) => error.into(),
            defect @ Self::Vanished => Failure::internal(&defect),
        };
        failure.into_response()
    }
}

/// Makes a tenant with its hosts and its first administrator, who has to choose another password at the first sign-in.
///
/// For administrators of an operator tenant. Every edge knows the hosts within 5 s.
#[utoipa::path(post, path = "/api/admin/tenants", params(IdempotencyKey), request_body = Body,
    responses(
        (status = 201, description = "The tenant. Where the answer is repeated, a drawn `adminPassword` and the `ETag` are absent.",
            body = Created<'static>, headers(("ETag" = String, description = "For `If-Match`."))),
        (status = 409, description = "The name or a host is another tenant's, which `errors` names, or a request with this Idempotency-Key is under way."),
    ))]
pub(crate) async fn post_tenant(
    State(app): State<App>,
    Administrator(principal): Administrator,
    KeyedJson(attempt, body): KeyedJson<Body>,
) -> Result<Response, CreateError> {
    // Whoever may not is told nothing of what they asked for, and costs no hash.
    if !manages_others(&app.database, principal.caller.tenant).await? {
        return Err(CreateError::NoOperator);
    }
    let (new, first) = check(body, &*app.entropy).map_err(CreateError::Fields)?;
    let hash = app.passwords.hash(first.secret.clone()).await?;
    let credentials = Credentials {
        hash: &hash,
        must_change: true,
    };
    let now = app.clock.now();
    let mut operating = Operating::begin(&app, &principal, None)
        .await?
        .ok_or(CreateError::NoOperator)?;
    let connection = operating.connection();
    let claim = attempt.claim(connection, &principal, now).await?;
    let author = Author::Administrator(&principal);
    let id = create::create(connection, &new, credentials, author, now).await?;
    let row = load(connection, id).await?.ok_or(CreateError::Vanished)?;
    let (mut headers, location) = (row.headers(), format!("/api/admin/tenants/{id}"));
    let view = row.view();
    let mut shown = Created {
        view: &view,
        admin_email: new.admin.as_str(),
        admin_password: None,
    };
    // Without the password, of which there is a hash alone.
    claim
        .keep(connection, &principal, StatusCode::CREATED, &location, &shown, now)
        .await?;
    operating.commit().await?;
    shown.admin_password = first.drawn();
    if let Ok(location) = HeaderValue::from_str(&location) {
        headers.insert(header::LOCATION, location);
    }
    Ok((StatusCode::CREATED, headers, Json(shown)).into_response())
}

/// Every fault at once.
fn check(body: Body, entropy: &dyn Entropy) -> Result<(NewTenant, FirstPassword), Vec<FieldError>> {
    let mut errors = Vec::new();
    let new = NewTenant::check(&body.name, &body.hosts, body.admin_email.as_deref())
        .map_err(|faults| errors.extend(faults))
        .ok();
    let complain = |detail| FieldError {
        field: "adminPassword".to_owned(),
        detail,
    };
    let first = FirstPassword::choose(body.admin_password, entropy)
        .map_err(|detail| errors.push(complain(detail)))
        .ok();
    match (new, first) {
        (Some(new), Some(first)) => Ok((new, first)),
        _ => Err(errors),
    }
}

#[cfg(test)]
mod tests {
    use super::super::strangers::send;
    use crate::{
        api::testing::{Answer, TestApp},
        telemetry::testing::Captured,
    };
    use kado_shared::tenant::TenantId;
    use serde_json::{Value, json};

    const TENANTS: &str = "/api/admin/tenants";

    async fn post(app: &TestApp, token: &str, key: &str, body: &Value) -> Answer {
        let request = app
            .signed("POST", TENANTS)
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {token}"))
            .header("idempotency-key", key);
        app.send(request.body(body.to_string().into()).unwrap()).await
    }

    async fn operator() -> Option<(TestApp, String)> {
        let app = TestApp::start().await?;
        app.execute("update tenants set operator = true").await;
        let token = app.admin_token().await;
        Some((app, token))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_new_tenant_is_served_and_its_administrator_chooses_a_password() {
        let Some((app, token)) = operator().await else { return };
        let (captured, _guard) = Captured::start();
        let body = json!({"name": " Shop ", "hosts": ["Shop.example:80", "b.example"]});
        let created = post(&app, &token, "one", &body).await;
        assert_eq!(
            (created.status, created.header("cache-control")),
            (201, Some("no-store")),
            "{}",
            created.text()
        );
        let shop = created.json();
        assert_eq!(
            (&shop["name"], &shop["hosts"], &shop["adminEmail"]),
            (
                &json!("Shop"),
                &json!(["b.example", "shop.example"]),
                &json!("admin@shop.example")
            )
        );
        assert_eq!(
            (&shop["users"], &shop["operator"], &shop["active"]),
            (&json!(1), &json!(false), &json!(true))
        );
        let read = app.get_as(&token, created.header("location").unwrap()).await;
        assert_eq!(
            (read.json()["id"].clone(), read.header("etag")),
            (shop["id"].clone(), created.header("etag"))
        );

        // By the tenant's own edge.
        let tenant: TenantId = shop["id"].as_str().unwrap().parse().unwrap();
        let snapshot = app.internal("GET", "/internal/edge-config?host=shop.example").await;
        assert_eq!(snapshot.json()["tenant"]["id"], shop["id"]);
        let password = shop["adminPassword"].as_str().unwrap();
        let login = json!({"email": "admin@shop.example", "password": password});
        let entered = send(&app, tenant, "", "POST", "/api/auth/login", &login).await.json();
        assert_eq!(
            (&entered["user"]["role"], &entered["user"]["mustChangePassword"]),
            (&json!("ADMIN"), &json!(true))
        );

        // Once more it is shown without the password, which is kept nowhere.
        let again = post(&app, &token, "one", &body).await;
        let mut without = shop.clone();
        without.as_object_mut().unwrap().remove("adminPassword");
        assert_eq!(
            (again.status, again.header("idempotent-replayed"), again.json()),
            (201, Some("true"), without)
        );
        let other = json!({"name": "other", "hosts": ["c.example"]});
        assert_eq!(post(&app, &token, "one", &other).await.status, 422);
        assert!(!captured.lines().iter().any(|line| line.to_string().contains(password)));
        for table in ["audit_logs", "idempotency_keys"] {
            let told = format!("select count(*) from {table} t where to_jsonb(t)::text like '%{password}%'");
            assert_eq!(app.count(&told).await, 0, "{table}");
        }
        // Both logs tell of it; the new tenant's does not tell who works for the operator, and from where.
        let entries: Vec<(uuid::Uuid, String, bool)> = sqlx::query_as(
            "select tenant_id, actor, user_id is null and client_ip is null from audit_logs
             where action = 'tenants.create' and target = $1 and after ->> 'name' = 'Shop' order by actor",
        )
        .bind(tenant.to_string())
        .fetch_all(app.database().superuser())
        .await
        .unwrap();
        assert_eq!(
            entries,
            [
                (tenant.0, "operator".to_owned(), true),
                (app.tenant.0, "user".to_owned(), false)
            ]
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_wrong_or_taken_is_named_and_nothing_is_made() {
        let Some((app, token)) = operator().await else { return };
        let body = json!({"name": "", "hosts": ["no host"], "adminEmail": "x", "adminPassword": "short"});
        let hosts = json!(["new.example", "localhost"]);
        let taken = json!({"name": "test", "hosts": hosts});
        for (body, status, fields) in [
            (body, 400, &["name", "hosts[0]", "adminEmail", "adminPassword"][..]),
            (json!({"name": "a", "hosts": []}), 400, &["hosts"]),
            (
                json!({"name": "a", "hosts": ["a.example"], "operator": true}),
                400,
                &["operator"],
            ),
            (taken, 409, &["name", "hosts[1]"]),
        ] {
            let answer = app.post_as(&token, TENANTS, &body).await;
            let told = answer.json();
            let named: Vec<_> = told["errors"]
                .as_array()
                .unwrap()
                .iter()
                .map(|error| error["field"].as_str().unwrap())
                .collect();
            assert_eq!((answer.status, &named[..]), (status, fields), "{told}");
        }
        assert_eq!(app.count("select count(*) from tenants").await, 1);
        assert_eq!(app.count("select count(*) from tenant_hosts").await, 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn of_tenants_that_want_the_same_at_once_one_is_made() {
        let Some((app, token)) = operator().await else { return };
        let bodies: Vec<_> = (0..6)
            .map(|n| json!({"name": format!("t{}", n % 3), "hosts": ["same.example", format!("h{n}.example")]}))
            .collect();
        let all = bodies.iter().map(|body| app.post_as(&token, TENANTS, body));
        let all = futures_util::future::join_all(all).await;
        let mut statuses: Vec<_> = all.iter().map(|answer| answer.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409, 409, 409, 409, 409]);
        assert_eq!(app.count("select count(*) from tenant_hosts").await, 3);
    }
}
