//! `PATCH /api/admin/settings`: changes several settings, all or none. `null` takes the tenant's own value back.

use axum::{
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use kado_shared::{
    problem::{Code, FieldError},
    settings::{find, validate},
};
use serde_json::{Map, Value};

use super::{MASK, list::answer};
use crate::{
    api::openapi::parameters::IfMatch,
    audit,
    database::DatabaseError,
    http::{authentication::Administrator, conditional::if_match, extract::JsonBody, failure::Failure},
    service::App,
    settings::{self, Values},
};

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error("the fields are not valid")]
    Fields(Vec<FieldError>),
    #[error("the settings have changed since they were read")]
    Stale,
    #[error("JWT_SECRET lists no secret that could seal a setting")]
    NoSecret,
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl IntoResponse for ChangeError {
    fn into_response(self) -> Response {
        let failure = match self {
            Self::Fields(errors) => Failure::fields(errors),
            Self::Stale => Failure::new(
                Code::PreconditionFailed,
                "The settings have changed since they were read: read them again and repeat the change",
            ),
            defect @ Self::NoSecret => Failure::internal(&defect),
            Self::Database(error) => error.into(),
        };
        failure.into_response()
    }
}

/// Changes several settings, all or none.
#[utoipa::path(patch, path = "/api/admin/settings", params(IfMatch),
    request_body(content = ref("#/components/schemas/SettingsChange"), content_type = "application/json"),
    responses(
        (status = 200, description = "The settings as they are now.", body = ref("#/components/schemas/Settings"), content_type = "application/json",
            headers(("ETag" = String, description = "For `If-Match`."))),
        (status = 412, description = "They have changed since they were read."),
    ))]
pub(crate) async fn patch_settings(
    State(app): State<App>,
    Administrator(principal): Administrator,
    headers: HeaderMap,
    JsonBody(changes): JsonBody<Map<String, Value>>,
) -> Result<Response, ChangeError> {
    check(&changes)?;
    let tenant = principal.caller.tenant;
    let mut transaction = app.database.begin(tenant).await?;
    settings::lock(transaction.connection(), Some(tenant)).await?;
    let before = settings::load(transaction.connection(), tenant).await?;
    if !if_match(&headers, &before.etag()) {
        return Err(ChangeError::Stale);
    }
    let (mut old, mut new) = (Values::new(), Values::new());
    for (name, value) in &changes {
        let secret = find(name).is_some_and(|setting| setting.secret);
        if secret && value == MASK {
            // As it was read: unchanged.
            continue;
        }
        let sealed;
        let wanted = match value.as_str() {
            _ if value.is_null() => None,
            Some(plain) if secret => {
                sealed = settings::seal_secret(&app.settings_sealer, Some(tenant), name, plain, &*app.entropy)
                    .ok_or(ChangeError::NoSecret)?;
                Some(&sealed)
            }
            _ => Some(value),
        };
        let current = before.tenant.get(name);
        if wanted == current {
            continue;
        }
        settings::write(
            transaction.connection(),
            Some(tenant),
            name,
            wanted,
            Some(principal.user),
            app.clock.now(),
        )
        .await?;
        let shown = |value: Option<&Value>| match value {
            Some(_) if secret => Value::from(MASK),
            value => value.cloned().unwrap_or_default(),
        };
        old.insert(name.clone(), shown(current));
        new.insert(name.clone(), shown(wanted));
    }
    if !new.is_empty() {
        let mut entry = principal.entry(&app, "settings.update");
        entry.before = Some(Value::from_iter(old));
        entry.after = Some(Value::from_iter(new));
        audit::record(transaction.connection(), entry).await?;
    }
    let after = settings::load(transaction.connection(), tenant).await?;
    transaction.commit().await?;
    Ok(answer(&after).into_response())
}

/// Every fault at once.
fn check(changes: &Map<String, Value>) -> Result<(), ChangeError> {
    let fault = |(name, value): (&String, &Value)| {
        let verdict = match find(name) {
            None => Err("there is no such setting".to_owned()),
            Some(_) if value.is_null() => Ok(()),
            Some(_) => validate(name, value),
        };
        verdict.err().map(|detail| FieldError {
            field: name.chars().take(100).collect(),
            detail,
        })
    };
    let errors: Vec<_> = changes.iter().filter_map(fault).collect();
    if errors.is_empty() {
        Ok(())
    } else {
        Err(ChangeError::Fields(errors))
    }
}

#[cfg(test)]
mod tests {
    use crate::api::testing::TestApp;
    use serde_json::json;

    #[tokio::test]
    async fn a_change_is_in_force_audited_and_told_to_the_edges() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let before = app.count("select revision from edge_state").await;
        let answer = app
            .patch_as(
                &token,
                "/api/admin/settings",
                &json!({"maxFileSize": 2048, "imageMinTtl": 60}),
                None,
            )
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["sections"]["uploads"]["maxFileSize"]["origin"], "tenant");
        assert!(app.count("select revision from edge_state").await > before);
        let (old, new): (serde_json::Value, serde_json::Value) =
            sqlx::query_as("select before, after from audit_logs where action = 'settings.update'")
                .fetch_one(app.database().superuser())
                .await
                .unwrap();
        assert_eq!(
            (old, new),
            (
                json!({"maxFileSize": null, "imageMinTtl": null}),
                json!({"maxFileSize": 2048, "imageMinTtl": 60})
            )
        );

        let back = app
            .patch_as(&token, "/api/admin/settings", &json!({"maxFileSize": null}), None)
            .await;
        assert_eq!(back.json()["sections"]["uploads"]["maxFileSize"]["origin"], "default");
    }

    #[tokio::test]
    async fn one_fault_changes_nothing_and_all_are_named() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let body = json!({"imageMinTtl": 60, "maxFileSize": -1, "noSuchSetting": 1});
        let answer = app.patch_as(&token, "/api/admin/settings", &body, None).await;
        assert_eq!(answer.status, 400);
        let fields: Vec<_> = answer.json()["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|error| error["field"].clone())
            .collect();
        assert_eq!(fields, ["maxFileSize", "noSuchSetting"]);
        assert_eq!(
            app.count("select count(*) from system_settings where tenant_id is not null")
                .await,
            0
        );
        assert_eq!(
            app.count("select count(*) from audit_logs where action = 'settings.update'")
                .await,
            0
        );
    }

    #[tokio::test]
    async fn a_stale_tag_changes_nothing() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let read = app.get_as(&token, "/api/admin/settings").await;
        let tag = read.header("etag").unwrap().to_owned();
        let change = |value: u64, tag: String| {
            let (app, token) = (&app, &token);
            async move {
                app.patch_as(token, "/api/admin/settings", &json!({"imageMinTtl": value}), Some(&tag))
                    .await
            }
        };
        assert_eq!(change(60, tag.clone()).await.status, 200);
        let stale = change(61, tag).await;
        assert_eq!(
            (stale.status, &stale.json()["code"]),
            (412, &json!("precondition-failed"))
        );
        assert_eq!(change(61, "*".into()).await.status, 200);
    }
}
