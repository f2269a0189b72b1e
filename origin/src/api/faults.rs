//! What clients are told while the database is slow, full, read-only or failing over: 503 and when to come again, never 500;
//! and that no change is committed without its place in the audit log.

use serde_json::json;
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use super::testing::{Answer, TestApp};

/// A read and a change, both of which ask the database.
async fn ask_both(app: &TestApp, token: &str) -> [Answer; 2] {
    let change = app
        .signed("PATCH", "/api/admin/settings")
        .header("authorization", format!("Bearer {token}"))
        .header("if-match", "*")
        .header("content-type", "application/json")
        .body(json!({ "maxFileSize": 4096 }).to_string().into())
        .unwrap();
    let (read, changed) = tokio::join!(app.get_as(token, "/api/auth/me"), app.send(change));
    [read, changed]
}

fn assert_unavailable(answer: &Answer) {
    assert_eq!(
        (answer.status, answer.header("retry-after").is_some()),
        (503, true),
        "{}",
        answer.text()
    );
    assert_eq!(answer.json()["code"], "unavailable");
}

#[tokio::test]
async fn a_slow_database_is_waited_for_and_one_that_hangs_is_not() {
    let Some(app) = TestApp::start().await else { return };
    let token = app.admin_token().await;
    for (held, answers) in [(2, 200), (8, 503)] {
        let mut blocking = app.database().superuser().begin().await.unwrap();
        sqlx::query("lock table sessions, system_settings in access exclusive mode")
            .execute(&mut *blocking)
            .await
            .unwrap();
        let asked = Instant::now();
        let release = async {
            tokio::time::sleep(Duration::from_secs(held)).await;
            blocking.rollback().await.unwrap();
        };
        let (both, ()) = tokio::join!(ask_both(&app, &token), release);
        for answer in &both {
            assert_eq!(answer.status, answers, "after {held} s: {}", answer.text());
            if answers == 503 {
                assert_unavailable(answer);
            }
        }
        assert!(asked.elapsed() >= Duration::from_secs(2));
    }
    for answer in ask_both(&app, &token).await {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

#[tokio::test]
async fn without_a_free_connection_clients_are_asked_to_come_again() {
    let Some(app) = TestApp::start().await else { return };
    let token = app.admin_token().await;
    let pool = app.database().pools().app();
    let mut held = Vec::new();
    while held.len() < pool.options().get_max_connections() as usize {
        held.push(pool.acquire().await.unwrap());
    }
    for answer in ask_both(&app, &token).await {
        assert_unavailable(&answer);
    }
    drop(held);
    for answer in ask_both(&app, &token).await {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

#[tokio::test]
async fn a_failover_is_503_and_then_fine_without_a_restart() {
    let Some(app) = TestApp::start().await else { return };
    let token = app.admin_token().await;
    app.database().set_read_only(true).await;
    app.database().close_to_connections().await;
    for answer in ask_both(&app, &token).await {
        assert_unavailable(&answer);
    }
    // The old primary, which has not been promoted anew, can be read.
    app.database().open_to_connections().await;
    let [read, changed] = ask_both(&app, &token).await;
    assert_eq!(read.status, 200, "{}", read.text());
    assert_unavailable(&changed);
    app.database().set_read_only(false).await;
    app.database().close_to_connections().await;
    app.database().open_to_connections().await;
    for answer in ask_both(&app, &token).await {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

#[tokio::test]
async fn connections_that_break_in_the_middle_lose_no_audit_row_of_a_change() {
    let Some(app) = TestApp::start().await else { return };
    let token = app.admin_token().await;
    let over = AtomicBool::new(false);
    let change = async |worker: usize| {
        let mut done = Vec::new();
        for number in 0..40 {
            let value = 2_000 + worker * 1_000 + number;
            let request = app
                .signed("PATCH", "/api/admin/settings")
                .header("authorization", format!("Bearer {token}"))
                .header("if-match", "*")
                .header("content-type", "application/json")
                .body(json!({ "maxFileSize": value }).to_string().into())
                .unwrap();
            let answer = app.send(request).await;
            match answer.status {
                200 => done.push(value),
                503 => assert!(answer.header("retry-after").is_some()),
                status => panic!("{status}: {}", answer.text()),
            }
        }
        done
    };
    let break_connections = async {
        // In quick succession and at leisure: on any machine some changes are cut, and some are not.
        for pause in [20, 40, 80, 160, 320].into_iter().cycle() {
            if over.load(Ordering::Relaxed) {
                break;
            }
            app.database().break_connections().await;
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    };
    let changes = async {
        let done = futures_util::future::join_all((0..3).map(change)).await.concat();
        over.store(true, Ordering::Relaxed);
        done
    };
    let (done, ()) = tokio::join!(changes, break_connections);
    assert!(
        (1..120).contains(&done.len()),
        "{} of 120 went through: the test breaks nothing",
        done.len()
    );
    for value in &done {
        let rows = app
            .count(&format!(
                "select count(*) from audit_logs where action = 'settings.update' and after ->> 'maxFileSize' = '{value}'"
            ))
            .await;
        assert_eq!(rows, 1, "{value}");
    }
    // Each entry's `before` is another one's `after`, and what is stored is the one that nothing followed.
    let differ = app
        .count(
            "select count(*) from system_settings s where s.name = 'maxFileSize' and s.value not in
             (select a.after -> 'maxFileSize' from audit_logs a where a.action = 'settings.update' and not exists
              (select from audit_logs b where b.action = 'settings.update'
               and b.before -> 'maxFileSize' = a.after -> 'maxFileSize'))",
        )
        .await;
    assert_eq!(differ, 0);
}

#[tokio::test]
async fn a_crowd_of_one_users_calls_leaves_connections_to_others() {
    let Some(app) = TestApp::start().await else { return };
    let (crowd, other) = (app.admin_token().await, app.user_token("other@localhost").await);
    assert_eq!(app.get_as(&crowd, "/api/images").await.status, 200);
    // Whoever counts a call of the administrator waits for this.
    let mut held = app.database().superuser().begin().await.unwrap();
    sqlx::query("select from usage_records for update")
        .fetch_all(&mut *held)
        .await
        .unwrap();
    let many = futures_util::future::join_all((0..40).map(|_| app.get_as(&crowd, "/api/images")));
    let meanwhile = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let asked = Instant::now();
        let answer = app.get_as(&other, "/api/images").await;
        held.rollback().await.unwrap();
        (answer, asked.elapsed())
    };
    let (answers, (answer, took)) = tokio::join!(many, meanwhile);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(answers.iter().all(|answer| answer.status == 200));
}
