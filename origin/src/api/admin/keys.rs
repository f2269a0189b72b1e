//! `GET /api/admin/keys`: the keys that access tokens are signed with, newest first. They are the same for every tenant, and
//! `kado keys` alone changes them.

use axum::{Json, extract::State};
use serde::Serialize;

use crate::{
    api::page::timestamp,
    http::{authentication::Administrator, failure::Failure},
    identity::key_rotation::{self, Listed},
    service::App,
};

/// Every key there is.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Keys {
    items: Vec<KeyView>,
}

/// A key, without either half of it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct KeyView {
    kid: String,
    /// `pending`, `active`, `retiring` or `retired`.
    state: String,
    #[schema(format = DateTime)]
    created_at: String,
    /// When it began to sign.
    #[schema(format = DateTime)]
    activated_at: Option<String>,
    /// Until when it verifies in any case.
    #[schema(format = DateTime)]
    retire_after: Option<String>,
}

impl From<Listed> for KeyView {
    fn from(key: Listed) -> Self {
        Self {
            kid: key.kid,
            state: key.state,
            created_at: timestamp(key.created_at),
            activated_at: key.activated_at.map(timestamp),
            retire_after: key.retire_after.map(timestamp),
        }
    }
}

/// Lists the keys that access tokens are signed with, newest first.
///
/// They are the same for every tenant; `kado keys` alone changes them.
#[utoipa::path(get, path = "/api/admin/keys",
    responses((status = 200, description = "Every key there is.", body = Keys)))]
pub(crate) async fn get_keys(
    State(app): State<App>,
    Administrator(principal): Administrator,
) -> Result<Json<Keys>, Failure> {
    let mut transaction = app.database.begin(principal.caller.tenant).await?;
    let keys = key_rotation::list(transaction.connection()).await?;
    transaction.commit().await?;
    let items = keys.into_iter().map(KeyView::from).collect();
    Ok(Json(Keys { items }))
}

#[cfg(test)]
mod tests {
    use crate::{
        api::testing::{JWT_SECRET, TestApp},
        clock::Clock,
        entropy::SystemEntropy,
        identity::key_rotation::{promote, publish},
        seal::{Purpose, Sealer},
    };
    use kado_shared::secret::Secret;
    use serde_json::{Value, json};
    use time::Duration;

    const ADDRESS: &str = "/api/admin/keys";

    #[tokio::test]
    async fn administrators_see_every_key_and_its_times_and_nothing_secret() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let first = app.get_as(&token, ADDRESS).await;
        assert_eq!(first.status, 200, "{}", first.text());
        let first = first.json();
        let [only] = &first["items"].as_array().unwrap()[..] else {
            panic!("{first}")
        };
        let fields: Vec<_> = only.as_object().unwrap().keys().cloned().collect();
        assert_eq!(fields, ["activatedAt", "createdAt", "kid", "retireAfter", "state"]);
        assert_eq!(
            (&only["state"], &only["createdAt"], &only["retireAfter"]),
            (&json!("active"), &json!("2027-01-15T08:00:00Z"), &Value::Null)
        );

        let sealer = Sealer::new(&Secret::new(JWT_SECRET), Purpose::SIGNING_KEYS);
        let mut system = app.database().pools().system().begin().await.unwrap();
        app.clock.advance(Duration::MINUTE);
        let kid = publish(&mut system, &sealer, &SystemEntropy, app.clock.now())
            .await
            .unwrap();
        let promoted = promote(&mut system, &kid, app.clock.now()).await.unwrap();
        system.commit().await.unwrap();
        assert_eq!(promoted.previous.as_deref(), only["kid"].as_str());
        let both = app.get_as(&token, ADDRESS).await.json();
        let [new, old] = &both["items"].as_array().unwrap()[..] else {
            panic!("{both}")
        };
        assert_eq!(
            (&new["kid"], &new["state"], &new["activatedAt"]),
            (&json!(kid), &json!("active"), &json!("2027-01-15T08:01:00Z"))
        );
        assert_eq!((&old["kid"], &old["state"]), (&only["kid"], &json!("retiring")));
        assert!(old["retireAfter"].is_string());
    }

    #[tokio::test]
    async fn nobody_else_does_and_nobody_changes_them_here() {
        let Some(app) = TestApp::start().await else { return };
        let user = app.user_token("user@localhost").await;
        assert_eq!(app.get_as(&user, ADDRESS).await.status, 403);
        assert_eq!(app.get(ADDRESS).await.status, 401);
        let admin = app.admin_token().await;
        for answer in [
            app.post_as(&admin, ADDRESS, &json!({})).await,
            app.delete_as(&admin, ADDRESS).await,
        ] {
            assert_eq!((answer.status, answer.header("allow")), (405, Some("GET,HEAD")));
        }
        for (scope, status) in [("admin:read", 200), ("admin:write", 403)] {
            let made = app
                .post_as(
                    &admin,
                    "/api/admin/api-keys",
                    &json!({"name": scope, "scopes": [scope]}),
                )
                .await;
            let key = made.json()["key"].as_str().unwrap().to_owned();
            assert_eq!(app.get_as(&key, ADDRESS).await.status, status, "{scope}");
        }
    }
}
