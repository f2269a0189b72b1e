//! What is asked all the time is found by an index: with sequential scans made expensive, none of the hot routes has one left.

use serde_json::json;
use std::collections::BTreeMap;

use super::testing::{TestApp, png};

/// Of one row, or of a few that are all read.
const SMALL: [&str; 2] = ["edge_state", "signing_keys"];

async fn sequential_scans(app: &TestApp) -> BTreeMap<String, i64> {
    // A backend tells of its scans when it ends.
    app.database().break_connections().await;
    let rows: Vec<(String, i64)> =
        sqlx::query_as("select relname::text, seq_scan from pg_stat_user_tables where seq_scan > 0")
            .fetch_all(app.database().superuser())
            .await
            .unwrap();
    rows.into_iter().collect()
}

#[tokio::test]
async fn hot_routes_scan_no_table_from_end_to_end() {
    let Some(app) = TestApp::start().await else { return };
    let warm = app.admin_token().await;
    app.get_as(&warm, "/api/auth/me").await;
    app.database().avoid_sequential_scans().await;
    let before = sequential_scans(&app).await;

    let token = app.admin_token().await;
    let image = app.upload(&token, png(8, 8)).await.json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let of_user = format!("/api/admin/images?user={image}");
    for target in [
        "/api/auth/me",
        "/api/auth/sessions",
        "/api/images",
        "/api/content/none",
        "/api/admin/images",
        "/api/admin/images?format=png&from=2027-01-15T08:00:00Z",
        &of_user,
        "/api/admin/tenants",
    ] {
        let status = app.get_as(&token, target).await.status;
        assert!([200, 404].contains(&status), "{target}: {status}");
    }
    let key = app
        .post_as(
            &token,
            "/api/admin/api-keys",
            &json!({"name": "hot", "scopes": ["images:read"]}),
        )
        .await
        .json();
    let key = key["key"].as_str().unwrap();
    assert_eq!(app.get_as(key, "/api/images").await.status, 200);
    assert_eq!(
        app.internal("GET", "/internal/edge-config?host=localhost").await.status,
        200
    );
    assert_eq!(
        app.internal("GET", &format!("/internal/blobs/u/{image}")).await.status,
        200
    );
    let rotated = app.post_as(&token, "/api/auth/rotate", &json!({})).await.json();
    let rotated = rotated["token"].as_str().unwrap();
    assert_eq!(
        app.delete_as(rotated, &format!("/api/images/{image}")).await.status,
        204
    );
    assert_eq!(app.post_as(rotated, "/api/auth/logout", &json!({})).await.status, 204);
    let wrong = json!({"email": "admin@localhost", "password": "not this one"});
    assert_eq!(app.post("/api/auth/login", &wrong).await.status, 401);

    let after = sequential_scans(&app).await;
    let scanned: Vec<_> = after
        .iter()
        .filter(|(table, scans)| !SMALL.contains(&table.as_str()) && before.get(*table) != Some(*scans))
        .collect();
    assert!(scanned.is_empty(), "{scanned:?}, before {before:?}");
    assert!(
        SMALL.iter().any(|table| after.get(*table) != before.get(*table)),
        "scans are counted: {after:?}"
    );
}
