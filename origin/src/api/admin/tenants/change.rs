//! `PATCH /api/admin/tenants/{id}`: name, hosts, and whether it is answered for, with `If-Match` if one likes.

use axum::{
    Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use kado_shared::problem::{Code, FieldError};
use serde::Deserialize;

use super::{TenantView, load, no_operator, no_tenant, taken};
use crate::{
    api::openapi::parameters::{IdInPath as IdInPathParameter, IfMatch},
    database::DatabaseError,
    http::{
        authentication::Administrator,
        conditional::if_match,
        extract::{IdInPath, JsonBody, given},
        failure::Failure,
    },
    service::App,
    tenants::{
        self, Author,
        change::{self, Wanted},
        create::{check_hosts, check_name},
        operator::Operating,
    },
};

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TenantChange)]
pub(crate) struct Change {
    /// For people; no other tenant's.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required = false, max_length = 100,
        pattern = r"^\s*[^\s\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*$")]
    name: Option<String>,
    /// All that it answers to from then on; each host is one tenant's.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Vec<String>, required = false, min_items = 1, max_items = 100)]
    hosts: Option<Vec<String>>,
    /// The hosts of one that is not answer 421.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = bool, required = false)]
    active: Option<bool>,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error("the tenant of whoever asks is no operator")]
    NoOperator,
    #[error("the fields are not valid")]
    Fields(Vec<FieldError>),
    #[error("there is no such tenant")]
    Missing,
    #[error("the tenant has changed since it was read")]
    Stale,
    #[error("whoever asks would suspend their own tenant")]
    Own,
    #[error("name or hosts are another tenant's")]
    Taken(Vec<FieldError>),
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<change::ChangeError> for ChangeError {
    fn from(error: change::ChangeError) -> Self {
        match error {
            change::ChangeError::Taken(errors) => Self::Taken(errors),
            change::ChangeError::Database(error) => error.into(),
        }
    }
}

impl IntoResponse for ChangeError {
    fn into_response(self) -> Response {
        let failure = match self {
            Self::NoOperator => no_operator(),
            Self::Fields(errors) => Failure::fields(errors),
            Self::Missing => no_tenant(),
            Self::Stale => Failure::new(
                Code::PreconditionFailed,
                "The tenant has changed since it was read: read it again and repeat the change",
            ),
            Self::Own => Failure::new(
                Code::Conflict,
                "This is your own tenant, which could not be resumed from here: `kado tenants suspend` does it",
            ),
            Self::Taken(errors) => taken(errors),
            Self::Database(error) => error.into(),
        };
        failure.into_response()
    }
}

/// Changes a tenant's name and hosts, and whether it is answered for.
///
/// For administrators of an operator tenant. Every edge knows within 5 s. Nothing of a suspended tenant is lost; to delete one
/// for good is left to the command line.
#[utoipa::path(patch, path = "/api/admin/tenants/{id}", params(IdInPathParameter, IfMatch), request_body = Change,
    responses(
        (status = 200, description = "The tenant as it is now.", body = TenantView, headers(("ETag" = String, description = "For `If-Match`."))),
        (status = 409, description = "The name or a host is another tenant's, which `errors` names, or it is one's own tenant, which one cannot suspend."),
        (status = 412, description = "It has changed since it was read."),
    ))]
pub(crate) async fn patch_tenant(
    State(app): State<App>,
    Administrator(principal): Administrator,
    IdInPath(id): IdInPath,
    headers: HeaderMap,
    JsonBody(change): JsonBody<Change>,
) -> Result<Response, ChangeError> {
    // Before anything is looked at: whoever may not learns nothing, not even whether there is such a tenant.
    let mut operating = Operating::begin(&app, &principal, Some(id))
        .await?
        .ok_or(ChangeError::NoOperator)?;
    let connection = operating.connection();
    let before = load(connection, id).await?.ok_or(ChangeError::Missing)?;
    if !if_match(&headers, &before.etag()) {
        return Err(ChangeError::Stale);
    }
    let wanted = check(change).map_err(ChangeError::Fields)?;
    if id == principal.caller.tenant.0 && wanted.active == Some(false) {
        return Err(ChangeError::Own);
    }
    let before = tenants::load(connection, id).await?.ok_or(ChangeError::Missing)?;
    let author = Author::Administrator(&principal);
    change::apply(connection, &before, wanted, author, app.clock.now()).await?;
    let after = load(connection, id).await?.ok_or(ChangeError::Missing)?;
    operating.commit().await?;
    Ok((after.headers(), Json(after.view())).into_response())
}

/// Every fault at once.
fn check(change: Change) -> Result<Wanted, Vec<FieldError>> {
    let mut errors = Vec::new();
    let name = change
        .name
        .and_then(|name| check_name(&name).map_err(|error| errors.push(error)).ok());
    let hosts = change
        .hosts
        .and_then(|hosts| check_hosts(&hosts).map_err(|faults| errors.extend(faults)).ok());
    if errors.is_empty() {
        Ok(Wanted {
            name,
            hosts,
            active: change.active,
        })
    } else {
        Err(errors)
    }
}

#[cfg(test)]
mod tests {
    use super::super::strangers::{Other, send};
    use crate::api::testing::TestApp;
    use serde_json::{Value, json};
    use time::Duration;

    async fn operator() -> Option<(TestApp, String, Other)> {
        let app = TestApp::start().await?;
        app.execute("update tenants set operator = true").await;
        let other = Other::make(&app).await;
        let token = app.admin_token().await;
        Some((app, token, other))
    }

    fn at(other: &Other) -> String {
        format!("/api/admin/tenants/{}", other.tenant)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_change_is_known_at_the_edges_and_told_in_both_logs() {
        let Some((app, token, other)) = operator().await else {
            return;
        };
        let target = at(&other);
        let read = app.get_as(&token, &target).await;
        let tag = read.header("etag").unwrap().to_owned();
        let revision = app.count("select revision from edge_state").await;
        let body = json!({"name": "renamed", "hosts": ["New.example", "other.example"]});
        let changed = app.patch_as(&token, &target, &body, Some(&tag)).await;
        assert_eq!(changed.status, 200, "{}", changed.text());
        let view = changed.json();
        assert_eq!(
            (&view["name"], &view["hosts"]),
            (&json!("renamed"), &json!(["new.example", "other.example"]))
        );
        assert!(app.count("select revision from edge_state").await > revision);
        let stale = app.patch_as(&token, &target, &body, Some(&tag)).await;
        assert_eq!(
            (stale.status, &stale.json()["code"]),
            (412, &json!("precondition-failed"))
        );
        let now = changed.header("etag").unwrap();
        assert_ne!(now, tag);
        let same = app.patch_as(&token, &target, &body, Some(now)).await;
        assert_eq!((same.status, same.header("etag")), (200, Some(now)));

        let body = json!({"hosts": ["new.example"]});
        assert_eq!(app.patch_as(&token, &target, &body, None).await.status, 200);
        for (host, status) in [("new.example", 200), ("other.example", 421)] {
            let config = format!("/internal/edge-config?host={host}");
            assert_eq!(app.internal("GET", &config).await.status, status, "{host}");
        }
        let entries: Vec<(uuid::Uuid, String, Value, Value)> = sqlx::query_as(
            "select tenant_id, actor, before, after from audit_logs where action = 'tenants.update' and target = $1
             and after ->> 'name' = 'renamed' and before ->> 'name' = 'other' order by actor",
        )
        .bind(other.tenant.to_string())
        .fetch_all(app.database().superuser())
        .await
        .unwrap();
        let (old, new) = (
            json!({"name": "other", "hosts": ["other.example"]}),
            json!({"name": "renamed", "hosts": ["new.example", "other.example"]}),
        );
        assert_eq!(
            entries,
            [
                (other.tenant.0, "operator".to_owned(), old.clone(), new.clone()),
                (app.tenant.0, "user".to_owned(), old, new)
            ]
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_suspended_tenant_is_answered_for_again_once_it_is_resumed() {
        let Some((app, token, other)) = operator().await else {
            return;
        };
        let me = || send(&app, other.tenant, &other.token, "GET", "/api/auth/me", &Value::Null);
        assert_eq!(me().await.status, 200);
        for (active, status) in [(false, 421), (true, 200)] {
            let changed = app
                .patch_as(&token, &at(&other), &json!({"active": active}), None)
                .await;
            assert_eq!(changed.json()["active"], active);
            app.clock.advance(Duration::seconds(1));
            assert_eq!(me().await.status, status);
            let config = app.internal("GET", "/internal/edge-config?host=other.example").await;
            assert_eq!(config.status, status);
        }
        for action in ["tenants.suspend", "tenants.resume"] {
            let sql = format!("select count(*) from audit_logs where action = '{action}' and before <> after");
            assert_eq!(app.count(&sql).await, 2, "{action}");
        }
        let own = format!("/api/admin/tenants/{}", app.tenant);
        let refused = app.patch_as(&token, &own, &json!({"active": false}), None).await;
        assert_eq!((refused.status, &refused.json()["code"]), (409, &json!("conflict")));
        let renamed = app
            .patch_as(&token, &own, &json!({"name": "ours", "active": true}), None)
            .await;
        assert_eq!(renamed.json()["name"], "ours");
        let logged = "select count(*) from audit_logs where action = 'tenants.update' and after ->> 'name' = 'ours'";
        assert_eq!(app.count(logged).await, 1, "one's own tenant has one log");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_wrong_or_taken_is_named_and_nothing_changes() {
        let Some((app, token, other)) = operator().await else {
            return;
        };
        for (body, status, fields) in [
            (
                json!({"name": " ", "hosts": ["-", "a b"]}),
                400,
                &["name", "hosts[1]"][..],
            ),
            (json!({"hosts": []}), 400, &["hosts"]),
            (json!({"name": null}), 400, &["name"]),
            (json!({"operator": true}), 400, &["operator"]),
            (
                json!({"name": "test", "hosts": ["a.example", "LOCALHOST"]}),
                409,
                &["name", "hosts[1]"],
            ),
        ] {
            let answer = app.patch_as(&token, &at(&other), &body, None).await;
            let told = answer.json();
            let named: Vec<_> = told["errors"]
                .as_array()
                .unwrap()
                .iter()
                .map(|error| error["field"].as_str().unwrap())
                .collect();
            assert_eq!((answer.status, &named[..]), (status, fields), "{told}");
        }
        let read = app.get_as(&token, &at(&other)).await.json();
        assert_eq!(
            (&read["name"], &read["hosts"]),
            (&json!("other"), &json!(["other.example"]))
        );
        let nobody = "/api/admin/tenants/6f1c1b9e-7c0a-4d8e-9d51-0b8f5a1f2e3d";
        assert_eq!(app.patch_as(&token, nobody, &json!({}), None).await.status, 404);
        assert_eq!(app.get_as(&token, nobody).await.status, 404);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn operators_who_suspend_each_other_at_once_leave_one() {
        let Some((app, token, other)) = operator().await else {
            return;
        };
        app.execute("update tenants set operator = true").await;
        let own = format!("/api/admin/tenants/{}", app.tenant);
        let suspend = json!({"active": false});
        let (target, mut gate) = (at(&other), app.database().superuser().begin().await.unwrap());
        sqlx::query("select from tenants order by id for no key update")
            .fetch_all(&mut *gate)
            .await
            .unwrap();
        let open = async {
            super::super::strangers::waiting(&app, 2).await;
            gate.rollback().await.unwrap();
        };
        let (one, two, ()) = tokio::join!(
            app.patch_as(&token, &target, &suspend, None),
            send(&app, other.tenant, &other.token, "PATCH", &own, &suspend),
            open
        );
        let mut statuses = [one.status, two.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 403], "{} {}", one.text(), two.text());
        assert_eq!(app.count("select count(*) from tenants where active").await, 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn tenants_that_take_each_others_hosts_at_once_do_not_wait_in_a_circle() {
        let Some((app, token, other)) = operator().await else {
            return;
        };
        app.execute("insert into tenants (name) values ('third')").await;
        let third: String = sqlx::query_scalar("select id::text from tenants where name = 'third'")
            .fetch_one(app.database().superuser())
            .await
            .unwrap();
        let third = format!("/api/admin/tenants/{third}");
        for _ in 0..4 {
            let (a, b) = (
                json!({"hosts": ["a.example", "b.example"]}),
                json!({"hosts": ["b.example", "a.example"]}),
            );
            let target = at(&other);
            let (one, two) = tokio::join!(
                app.patch_as(&token, &target, &a, None),
                app.patch_as(&token, &third, &b, None)
            );
            let mut statuses = [one.status, two.status];
            statuses.sort_unstable();
            assert_eq!(statuses, [200, 409], "{} {}", one.text(), two.text());
            let apart = "delete from tenant_hosts where host in ('a.example', 'b.example')";
            app.execute(apart).await;
        }
    }
}
