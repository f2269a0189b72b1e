//! `/api/admin/maintenance`: announces maintenance, shows it, takes it back. It is a setting with rules of its own, so the
//! edges hear of it like of any other, within 5 s.

use axum::{Json, extract::State};
use kado_shared::maintenance::{Maintenance, State as Standing};
use serde::Serialize;
use serde_json::Value;

use crate::{
    api::openapi::schemas,
    audit,
    clock::unix,
    http::{
        authentication::{Administrator, Principal},
        extract::JsonBody,
        failure::Failure,
    },
    service::App,
    settings,
};

const SETTING: &str = "maintenance";

/// What is set, and what it means now.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = MaintenanceState)]
pub(crate) struct Shown {
    #[schema(schema_with = schemas::optional_maintenance)]
    maintenance: Option<Maintenance>,
    #[schema(pattern = "^(quiet|announced|active)$")]
    state: &'static str,
}

/// What is set for the tenant, or for all, and what it means now.
#[utoipa::path(get, path = "/api/admin/maintenance", responses((status = 200, description = "What is set.", body = Shown)))]
pub(crate) async fn get_maintenance(
    State(app): State<App>,
    Administrator(principal): Administrator,
) -> Result<Json<Shown>, Failure> {
    let mut transaction = app.database.begin(principal.caller.tenant).await?;
    let layers = settings::load(transaction.connection(), principal.caller.tenant).await?;
    transaction.commit().await?;
    Ok(Json(view(&app, layers.resolve().maintenance().as_ref())))
}

/// Sets it, in place of what was set before.
#[utoipa::path(put, path = "/api/admin/maintenance",
    request_body(content = ref("#/components/schemas/Maintenance"), content_type = "application/json"),
    responses((status = 200, description = "What is set now.", body = Shown)))]
pub(crate) async fn put_maintenance(
    State(app): State<App>,
    Administrator(principal): Administrator,
    JsonBody(wanted): JsonBody<Value>,
) -> Result<Json<Shown>, Failure> {
    Maintenance::from_json(&wanted).map_err(|detail| Failure::field(SETTING, detail))?;
    change(&app, &principal, Some(&wanted)).await.map(Json)
}

/// Takes the tenant's own back: if it is under way, it is over.
///
/// What an operator has set for all tenants stays.
#[utoipa::path(delete, path = "/api/admin/maintenance", responses((status = 200, description = "What is left.", body = Shown)))]
pub(crate) async fn delete_maintenance(
    State(app): State<App>,
    Administrator(principal): Administrator,
) -> Result<Json<Shown>, Failure> {
    change(&app, &principal, None).await.map(Json)
}

fn view(app: &App, maintenance: Option<&Maintenance>) -> Shown {
    let state = match maintenance.map(|maintenance| maintenance.state(unix(app.clock.now()) * 1000)) {
        None | Some(Standing::Quiet) => "quiet",
        Some(Standing::Announced) => "announced",
        Some(Standing::Active { .. }) => "active",
    };
    Shown {
        maintenance: maintenance.cloned(),
        state,
    }
}

async fn change(app: &App, principal: &Principal, value: Option<&Value>) -> Result<Shown, Failure> {
    let tenant = principal.caller.tenant;
    let mut transaction = app.database.begin(tenant).await?;
    settings::lock(transaction.connection(), Some(tenant)).await?;
    let before = settings::load(transaction.connection(), tenant).await?;
    let (user, now) = (Some(principal.user), app.clock.now());
    settings::write(transaction.connection(), Some(tenant), SETTING, value, user, now).await?;
    let mut entry = principal.entry(app, "maintenance.update");
    entry.before = Some(before.tenant.get(SETTING).cloned().unwrap_or_default());
    entry.after = Some(value.cloned().unwrap_or_default());
    audit::record(transaction.connection(), entry).await?;
    let after = settings::load(transaction.connection(), tenant).await?;
    transaction.commit().await?;
    Ok(view(app, after.resolve().maintenance().as_ref()))
}

#[cfg(test)]
mod tests {
    use crate::api::testing::TestApp;
    use serde_json::{Value, json};

    const ADDRESS: &str = "/api/admin/maintenance";

    #[tokio::test]
    async fn it_is_set_shown_audited_told_to_the_edges_and_taken_back() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        // The test's clock says 2027-01-15 08:00:00.
        let wanted = json!({
            "startsAt": "2027-01-15T07:59:00Z", "endsAt": "2027-01-15T09:00:00Z", "message": "New disks.", "roles": ["PREMIUM"],
        });
        let set = app.put_as(&token, ADDRESS, &wanted).await;
        assert_eq!(
            (set.status, &set.json()["state"]),
            (200, &json!("active")),
            "{}",
            set.text()
        );
        assert_eq!(
            app.get_as(&token, ADDRESS).await.json(),
            json!({"maintenance": wanted, "state": "active"})
        );
        let told = app.internal("GET", "/internal/edge-config?host=localhost").await.json();
        assert_eq!(told["tenant"]["settings"]["maintenance"], wanted);
        let back = app.delete_as(&token, ADDRESS).await;
        assert_eq!(
            back.json(),
            json!({"maintenance": Value::Null, "state": "quiet"}),
            "{}",
            back.text()
        );
        assert_eq!(app.count("select count(*) from system_settings").await, 0);
        assert_eq!(
            app.count("select count(*) from audit_logs where action = 'maintenance.update'")
                .await,
            2
        );
        let told = app.internal("GET", "/internal/edge-config?host=localhost").await.json();
        assert_eq!(told["tenant"]["settings"].get("maintenance"), None);
    }

    #[tokio::test]
    async fn what_is_wrong_is_named_and_changes_nothing() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        for wrong in [json!({}), json!(null), json!({"startsAt": "x", "endsAt": "y"})] {
            let answer = app.put_as(&token, ADDRESS, &wrong).await;
            assert_eq!(
                (answer.status, &answer.json()["errors"][0]["field"]),
                (400, &json!("maintenance")),
                "{}",
                answer.text()
            );
        }
        assert_eq!(app.count("select count(*) from system_settings").await, 0);
        let user = app.user_token("user@localhost").await;
        assert_eq!(app.get_as(&user, ADDRESS).await.status, 403);
    }
}
