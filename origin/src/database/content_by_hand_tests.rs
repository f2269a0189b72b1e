//! What people change of content and presets at psql: the triggers of migration 0080.

use super::by_hand_tests::by_hand;
use crate::{
    api::testing::TestApp,
    content::{Item, Kind, MOST, MOST_BYTES_IN_SECTION, MOST_IN_SECTION, testing::values},
    testing::TestDatabase,
};
use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::postgres::PgListener;

fn item(kind: Kind, value: &str) -> Item {
    Item {
        section: "home".to_owned(),
        key: "title".to_owned(),
        value: value.to_owned(),
        kind,
        label: String::new(),
        order: 0,
    }
}

/// Items of every kind that are right or wrong, and items whose other fields are.
fn items() -> Vec<Item> {
    let mut items = Vec::new();
    for (kind, good, bad) in values() {
        items.extend(good.iter().chain(&bad).map(|value| item(kind, value)));
    }
    let plain = item(Kind::Text, "x");
    for name in ["home", "faq.1", "A-b_c", "", ".", "-a", "a b", "a/b", "ä", "a\n"] {
        let name = name.to_owned();
        items.extend([
            Item {
                section: name.clone(),
                ..plain.clone()
            },
            Item {
                key: name,
                ..plain.clone()
            },
        ]);
    }
    for length in [64, 65] {
        items.push(Item {
            key: "a".repeat(length),
            ..plain.clone()
        });
    }
    for label in [
        "Title",
        " \u{3000}\tTitle\u{85}\n",
        "two\nlines",
        "a\u{9b}",
        &"ü".repeat(200),
        &"ü".repeat(201),
    ] {
        items.push(Item {
            label: label.to_owned(),
            ..plain.clone()
        });
    }
    for order in [-1, 0, 1_000_000, 1_000_001] {
        items.push(Item { order, ..plain.clone() });
    }
    items
}

#[tokio::test]
async fn sql_judges_content_as_the_service_does() {
    let Some(database) = TestDatabase::create().await else {
        return;
    };
    let mut connection = database.superuser().acquire().await.unwrap();
    let (mut right, mut wrong) = (0, 0);
    for item in items() {
        let row = json!({
            "section": item.section, "key": item.key, "value": item.value, "type": item.kind, "label": item.label,
            "position": item.order,
        });
        let (fault, label): (Option<String>, String) = sqlx::query_as(
            "select content_fault(item), trimmed(item.label) from jsonb_populate_record(null::site_contents, $1) item",
        )
        .bind(row)
        .fetch_one(&mut *connection)
        .await
        .unwrap();
        match item.clone().check() {
            Ok(checked) => {
                right += 1;
                assert_eq!((fault, label), (None, checked.label), "{item:?}");
            }
            Err(errors) => {
                wrong += 1;
                let fault = fault.unwrap_or_else(|| panic!("{errors:?} {item:?}"));
                let (field, detail) = fault.split_once(' ').unwrap();
                let field = if field == "position" { "order" } else { field };
                assert_eq!(field, errors[0].field, "{item:?}");
                // In the same words, but for what a reader of JSON says of the place.
                assert!(errors[0].detail.starts_with(detail), "{fault}: {errors:?}");
            }
        }
    }
    assert!(right > 20 && wrong > 50, "{right} {wrong}");
}

#[tokio::test]
async fn content_at_psql_is_checked_in_force_audited_once_and_announced() {
    let Some(app) = TestApp::start().await else { return };
    let mut listener = PgListener::connect_with(app.database().superuser()).await.unwrap();
    listener.listen("kado_changes").await.unwrap();
    let mut psql = app.database().pools().system().acquire().await.unwrap().detach();
    by_hand(&mut psql, "set role kado_operator").await.unwrap();
    let insert = |key: &str, kind: &str, value: &str| {
        format!(
            "insert into site_contents (tenant_id, section, key, type, value, label)
             select id, 'home', '{key}', '{kind}', '{value}', ' Title ' from tenants"
        )
    };
    for (key, kind, value, hint) in [
        (
            "link",
            "URL",
            "javascript:alert(1)",
            "home/link: value must be an absolute address",
        ),
        (
            "hero",
            "IMAGE",
            "//a.example/b.png",
            "home/hero: value must be an address",
        ),
        ("faq", "JSON", "{a: 1}", "home/faq: value must be JSON"),
        (
            "title",
            "TEXT",
            "\u{1b}[0m",
            "home/title: value must have no control characters",
        ),
        ("a b", "TEXT", "x", "key must be 1 to 64"),
        ("title", "text", "x", "type must be TEXT, HTML, URL, IMAGE or JSON"),
    ] {
        let refused = by_hand(&mut psql, &insert(key, kind, value)).await.unwrap_err();
        assert!(refused.contains(hint), "{key}: {refused}");
    }
    assert_eq!(by_hand(&mut psql, &insert("title", "TEXT", "Kado")).await, Ok(1));
    let moved = by_hand(&mut psql, "update site_contents set id = gen_random_uuid()").await;
    assert!(moved.unwrap_err().contains("keeps its tenant and its id"));
    let wrong = by_hand(&mut psql, "update site_contents set type = 'URL'").await;
    assert!(
        wrong
            .unwrap_err()
            .contains("home/title: value must be an absolute address")
    );
    let shown = app.get("/api/content/home").await.json();
    assert_eq!(
        shown["items"],
        json!([{"key": "title", "type": "TEXT", "value": "Kado", "label": "Title", "order": 0}])
    );
    for sql in [
        "update site_contents set value = 'Kado 2', created_at = '2000-01-01', updated_at = '2000-01-01'",
        // Nothing is changed, so there is nothing to tell.
        "update site_contents set value = 'Kado 2', updated_at = '2000-01-01'",
        "delete from site_contents where key = 'title'",
    ] {
        assert_eq!(by_hand(&mut psql, sql).await, Ok(1), "{sql}");
    }
    assert_eq!(app.get("/api/content/home").await.status, 404);
    by_hand(&mut psql, "reset role").await.unwrap();
    let entries: Vec<(String, String, Option<Value>, Option<Value>)> = sqlx::query_as(
        "select action, target, before, after from audit_logs where actor = 'operator' and database_user is not null
         order by created_at",
    )
    .fetch_all(&mut psql)
    .await
    .unwrap();
    let told: Vec<_> = entries
        .iter()
        .map(|(action, target, before, after)| {
            let value = |row: &Option<Value>| row.as_ref().map(|row| row["value"].as_str().unwrap().to_owned());
            (action.as_str(), target.as_str(), value(before), value(after))
        })
        .collect();
    let (old, new) = (Some("Kado".to_owned()), Some("Kado 2".to_owned()));
    assert_eq!(
        told,
        [
            ("content.create", "home/title", None, old.clone()),
            ("content.update", "home/title", old, new.clone()),
            ("content.delete", "home/title", new, None)
        ]
    );
    let after = entries[1].3.as_ref().unwrap();
    assert!(
        ["created_at", "updated_at"]
            .iter()
            .all(|name| !after[*name].as_str().unwrap().starts_with("2000")),
        "{after}"
    );
    let notice = tokio::time::timeout(std::time::Duration::from_secs(5), listener.recv())
        .await
        .unwrap()
        .unwrap();
    let notice: Value = serde_json::from_str(notice.payload()).unwrap();
    assert_eq!(
        (&notice["action"], &notice["target"], &notice["tenant"]),
        (&json!("content.create"), &json!("home/title"), &json!(app.tenant))
    );
}

#[tokio::test]
async fn what_the_service_writes_of_content_is_its_own_to_audit() {
    let Some(app) = TestApp::start().await else { return };
    let token = app.admin_token().await;
    let body = json!({"section": "home", "key": "title", "value": "x", "type": "TEXT"});
    assert_eq!(app.post_as(&token, "/api/admin/content", &body).await.status, 201);
    assert_eq!(
        app.count("select count(*) from audit_logs where action = 'content.create'")
            .await,
        1
    );
}

#[tokio::test]
async fn content_at_psql_has_the_same_most() {
    let Some(app) = TestApp::start().await else { return };
    let mut psql = app.database().superuser().acquire().await.unwrap();
    by_hand(&mut psql, "set role kado_operator").await.unwrap();
    let insert = |section: &str, count: i64, bytes: i64| {
        format!(
            "insert into site_contents (tenant_id, section, key, type, value)
             select id, '{section}', 'k' || n, 'HTML', repeat('x', {bytes}) from tenants, generate_series(1, {count}) n"
        )
    };
    assert_eq!(
        by_hand(&mut psql, &insert("a", MOST_IN_SECTION, 1)).await,
        Ok(MOST_IN_SECTION.unsigned_abs())
    );
    let refused = by_hand(&mut psql, &insert("b", MOST_IN_SECTION + 1, 1))
        .await
        .unwrap_err();
    assert!(refused.contains("b has 100 items"), "{refused}");
    let part = MOST_BYTES_IN_SECTION / 32;
    assert_eq!(by_hand(&mut psql, &insert("b", 32, part)).await, Ok(32));
    let refused = by_hand(
        &mut psql,
        "update site_contents set value = value || 'x' where section = 'b' and key = 'k1'",
    )
    .await
    .unwrap_err();
    assert!(refused.contains("the values of b"), "{refused}");
    let rest = (MOST - MOST_IN_SECTION - 32) / MOST_IN_SECTION;
    for section in 0..rest {
        by_hand(&mut psql, &insert(&format!("s{section}"), MOST_IN_SECTION, 1))
            .await
            .unwrap();
    }
    let left = MOST - MOST_IN_SECTION * (rest + 1) - 32;
    let refused = by_hand(&mut psql, &insert("last", left + 1, 1)).await.unwrap_err();
    assert!(refused.contains("there are 2000 items"), "{refused}");
    assert!(by_hand(&mut psql, &insert("last", left, 1)).await.is_ok());
    // What is there may be replaced.
    let replaced =
        insert("a", MOST_IN_SECTION, 2) + " on conflict (tenant_id, section, key) do update set value = excluded.value";
    assert_eq!(by_hand(&mut psql, &replaced).await, Ok(MOST_IN_SECTION.unsigned_abs()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_place_of_a_section_is_given_once_to_people_and_service_at_once() {
    let Some(app) = TestApp::start().await else { return };
    let token = app.admin_token().await;
    app.execute(&format!(
        "insert into site_contents (tenant_id, id, section, key, value, type, created_at, updated_at)
         select id, gen_random_uuid(), 'home', 'k' || n, 'x', 'TEXT', now(), now()
         from tenants, generate_series(1, {MOST_IN_SECTION} - 1) n"
    ))
    .await;
    let at_api = (0..3).map(async |number| {
        let body = json!({"section": "home", "key": format!("api{number}"), "value": "x", "type": "TEXT"});
        app.post_as(&token, "/api/admin/content", &body).await.status == 201
    });
    let at_psql = (0..3).map(async |number| {
        let mut psql = app.database().pools().system().acquire().await.unwrap().detach();
        by_hand(&mut psql, "set role kado_operator").await.unwrap();
        let insert = format!(
            "insert into site_contents (tenant_id, section, key, type, value)
             select id, 'home', 'psql{number}', 'TEXT', 'x' from tenants"
        );
        by_hand(&mut psql, &insert).await.is_ok()
    });
    let (at_api, at_psql) = tokio::join!(join_all(at_api), join_all(at_psql));
    let taken = at_api.iter().chain(&at_psql).filter(|taken| **taken).count();
    assert_eq!(taken, 1, "{at_api:?} {at_psql:?}");
    assert_eq!(app.count("select count(*) from site_contents").await, MOST_IN_SECTION);
}

#[tokio::test]
async fn a_preset_is_not_the_operators_to_change_and_a_superusers_change_is_audited() {
    let Some(app) = TestApp::start().await else { return };
    let mut psql = app.database().superuser().acquire().await.unwrap();
    let insert = "insert into presets (tenant_id, name, options, created_at, updated_at)
                  select id, 'card', 'width=wide', now(), now() from tenants";
    by_hand(&mut psql, "set role kado_operator").await.unwrap();
    let refused = by_hand(&mut psql, insert).await.unwrap_err();
    assert!(refused.contains("permission denied"), "{refused}");
    by_hand(&mut psql, "reset role").await.unwrap();
    by_hand(&mut psql, "set kado.by_hand = on").await.unwrap();
    let revision = app.count("select revision from edge_state").await;
    for sql in [insert, "update presets set options = 'width=40'", "delete from presets"] {
        assert_eq!(by_hand(&mut psql, sql).await, Ok(1), "{sql}");
    }
    by_hand(&mut psql, "set kado.by_hand = off").await.unwrap();
    drop(psql);
    assert!(app.count("select revision from edge_state").await >= revision + 3);
    let entries: Vec<(String, String, Option<String>)> = sqlx::query_as(
        "select action, target, after ->> 'options' from audit_logs where database_user is not null order by created_at",
    )
    .fetch_all(app.database().superuser())
    .await
    .unwrap();
    let entry =
        |verb: &str, options: Option<&str>| (format!("presets.{verb}"), "card".to_owned(), options.map(str::to_owned));
    assert_eq!(
        entries,
        [
            entry("create", Some("width=wide")),
            entry("update", Some("width=40")),
            entry("delete", None)
        ]
    );
}
