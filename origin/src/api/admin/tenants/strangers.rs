//! What an administrator can try whose tenant is no operator: nothing of another tenant is read, changed or counted.

use axum::body::Body;
use kado_shared::{signature::Purpose, tenant::TenantId};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::api::testing::{Answer, TestApp};

/// Another tenant, with an administrator who is signed in.
pub(super) struct Other {
    pub(super) tenant: TenantId,
    pub(super) token: String,
}

impl Other {
    pub(super) async fn make(app: &TestApp) -> Self {
        let tenant = TenantId(Uuid::from_u128(8));
        app.execute(&format!("insert into tenants (id, name) values ('{tenant}', 'other')"))
            .await;
        app.execute(&format!(
            "insert into tenant_hosts (tenant_id, host) values ('{tenant}', 'other.example')"
        ))
        .await;
        app.execute(&format!(
            "insert into users (tenant_id, email, password_hash, role)
             select '{tenant}', 'admin@other.example', password_hash, 'ADMIN' from users where email = 'admin@localhost'"
        ))
        .await;
        let login = json!({"email": "admin@other.example", "password": TestApp::PASSWORD});
        let entered = send(app, tenant, "", "POST", "/api/auth/login", &login).await;
        let token = entered.json()["token"].as_str().unwrap().to_owned();
        Self { tenant, token }
    }
}

/// A request that comes by another tenant's host.
pub(super) async fn send(
    app: &TestApp,
    tenant: TenantId,
    token: &str,
    method: &str,
    target: &str,
    body: &Value,
) -> Answer {
    let mut request = app.signed_for(Some(tenant), Purpose::Forward, method, target, None);
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let body = if body.is_null() {
        Body::empty()
    } else {
        request = request.header("content-type", "application/json");
        Body::from(body.to_string())
    };
    app.send(request.body(body).unwrap()).await
}

/// Waits until so many statements wait for a lock.
pub(super) async fn waiting(app: &TestApp, count: i64) {
    let sql = "select count(*) from pg_stat_activity
               where datname = current_database() and wait_event_type = 'Lock'";
    tokio::time::timeout(std::time::Duration::from_secs(10), async {
        while app.count(sql).await < count {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("they come to the lock");
}

/// Everything that a tenant has, but for what being asked something leaves behind.
async fn state(app: &TestApp) -> Vec<String> {
    let mut state = Vec::new();
    for table in [
        "tenants",
        "tenant_hosts",
        "users",
        "presets",
        "audit_logs",
        "idempotency_keys",
    ] {
        let sql = format!("select to_jsonb(t)::text from {table} t order by 1");
        let rows: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
            .fetch_all(app.database().superuser())
            .await
            .unwrap();
        state.extend(rows);
    }
    state
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_operator_reads_changes_and_counts_nothing_of_another_tenant() {
    let Some(app) = TestApp::start().await else { return };
    let other = Other::make(&app).await;
    app.execute("update tenants set operator = name = 'other', created_at = '2020-01-01T00:00:00Z'")
        .await;
    let token = app.admin_token().await;
    // The one connection that sees all is not even there.
    app.service.database.system().close().await;
    let before = state(&app).await;
    let (theirs, own) = (
        format!("/api/admin/tenants/{}", other.tenant),
        format!("/api/admin/tenants/{}", app.tenant),
    );

    // 2020-01-01 and the nil identifier, in microseconds: the position before all tenants.
    let position = [&1_577_836_800_000_000_i64.to_be_bytes()[..], &[0; 16]].concat();
    let position = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, position);
    for query in ["", "?active=true", "?limit=1", &format!("?cursor={position}")] {
        let answer = app.get_as(&token, &format!("/api/admin/tenants{query}")).await;
        let body = answer.json();
        let items = body["items"].as_array().unwrap();
        assert_eq!(
            (answer.status, items.len(), &body["nextCursor"]),
            (200, 1, &Value::Null),
            "{query}"
        );
        assert_eq!(
            (&items[0]["name"], &items[0]["users"], &items[0]["operator"]),
            (&json!("test"), &json!(1), &json!(false))
        );
        assert!(!answer.text().contains("other"), "{}", answer.text());
    }
    let none = app.get_as(&token, "/api/admin/tenants?active=false").await.json();
    assert_eq!(none["items"], json!([]));
    assert_eq!(app.get_as(&token, &own).await.json()["name"], "test");
    let nobody = "/api/admin/tenants/6f1c1b9e-7c0a-4d8e-9d51-0b8f5a1f2e3d";
    let without_id = |answer: Answer| {
        let mut body = answer.json();
        body.as_object_mut().unwrap().remove("requestId");
        (answer.status, body)
    };
    let missing = without_id(app.get_as(&token, nobody).await);
    assert_eq!(
        (missing.0, without_id(app.get_as(&token, &theirs).await)),
        (404, missing.clone())
    );

    // Whatever is asked for, the answer is the same: it tells neither who there is nor what is taken.
    let mut answers = Vec::new();
    for body in [
        json!({"name": "fresh", "hosts": ["fresh.example"]}),
        json!({"name": "other", "hosts": ["other.example"]}),
        json!({"name": "", "hosts": []}),
    ] {
        answers.push(without_id(app.post_as(&token, "/api/admin/tenants", &body).await));
    }
    for target in [theirs.as_str(), own.as_str(), nobody] {
        for body in [
            json!({}),
            json!({"active": false}),
            json!({"name": "x", "hosts": ["other.example"]}),
        ] {
            answers.push(without_id(app.patch_as(&token, target, &body, Some("*")).await));
        }
    }
    for (status, body) in &answers {
        assert_eq!((*status, &body["code"]), (403, &json!("forbidden")));
        assert_eq!(body, &answers[0].1);
    }
    // A token counts at its own tenant alone, whichever host it is sent to.
    let borrowed = send(&app, other.tenant, &token, "GET", "/api/admin/tenants", &Value::Null).await;
    assert_eq!(borrowed.status, 401);
    assert_eq!(state(&app).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_and_strangers_are_let_nowhere() {
    let Some(app) = TestApp::start().await else { return };
    app.execute("update tenants set operator = true").await;
    let user = app.user_token("user@localhost").await;
    let (one, body) = (
        format!("/api/admin/tenants/{}", app.tenant),
        json!({"name": "fresh", "hosts": ["fresh.example"]}),
    );
    for (token, status) in [(user.as_str(), 403), ("", 401)] {
        for (method, target, body) in [
            ("GET", "/api/admin/tenants", &Value::Null),
            ("GET", one.as_str(), &Value::Null),
            ("POST", "/api/admin/tenants", &body),
            ("PATCH", one.as_str(), &body),
        ] {
            let answer = send(&app, app.tenant, token, method, target, body).await;
            assert_eq!(answer.status, status, "{method} {target}: {}", answer.text());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_can_make_nobody_an_operator() {
    let Some(app) = TestApp::start().await else { return };
    for sql in [
        "update tenants set operator = true",
        "update tenants set active = false",
        "insert into tenants (name, operator) values ('x', true)",
        "insert into tenant_hosts (tenant_id, host) select id, 'x.example' from tenants",
        "delete from tenants",
    ] {
        let mut transaction = app.service.database.begin(app.tenant).await.unwrap();
        let refused = sqlx::query(sql).execute(transaction.connection()).await.unwrap_err();
        assert!(refused.to_string().contains("permission denied"), "{sql}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_is_dismissed_or_signed_out_in_the_middle_changes_nothing() {
    let Some(app) = TestApp::start().await else { return };
    app.execute("update tenants set operator = true").await;
    let other = Other::make(&app).await;
    let target = format!("/api/admin/tenants/{}", other.tenant);
    let body = json!({"name": "fresh", "hosts": ["fresh.example"]});
    for (undo, redo) in [
        (
            "update tenants set operator = false where name = 'test'",
            "update tenants set operator = true where name = 'test'",
        ),
        (
            "update users set role = 'USER' where email = 'admin@localhost'",
            "update users set role = 'ADMIN' where email = 'admin@localhost'",
        ),
        (
            "update sessions set ended_at = now(), end_reason = 'test' where ended_at is null",
            "select 1",
        ),
    ] {
        let token = app.admin_token().await;
        // Both have been let in, and stand before the tenant's row.
        let mut gate = app.database().superuser().begin().await.unwrap();
        sqlx::query("select from tenants where name = 'test' for no key update")
            .fetch_all(&mut *gate)
            .await
            .unwrap();
        let open = async {
            waiting(&app, 2).await;
            sqlx::query(undo).execute(&mut *gate).await.unwrap();
            gate.commit().await.unwrap();
        };
        let rename = json!({"name": "renamed"});
        let (made, changed, ()) = tokio::join!(
            app.post_as(&token, "/api/admin/tenants", &body),
            app.patch_as(&token, &target, &rename, None),
            open
        );
        assert_eq!(
            (made.status, changed.status),
            (403, 403),
            "{undo}: {} {}",
            made.text(),
            changed.text()
        );
        app.execute(redo).await;
        let names = "select count(*) from tenants where name in ('fresh', 'renamed')";
        assert_eq!(app.count(names).await, 0, "{undo}");
    }
}
