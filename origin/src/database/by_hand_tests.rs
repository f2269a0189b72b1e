//! What people change at psql: the triggers on `system_settings`, and the one for other tables.

use crate::{
    api::testing::TestApp,
    clock::Clock,
    settings::{load, write},
    testing::TestDatabase,
};
use kado_shared::{
    setting_shape::declaration,
    settings::{Kind, SETTINGS, validate},
};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection, postgres::PgListener};

#[tokio::test]
async fn the_database_declares_what_the_code_declares() {
    let Some(database) = TestDatabase::create().await else {
        return;
    };
    let declared: Vec<Value> = sqlx::query_scalar("select to_jsonb(d) from setting_declarations d")
        .fetch_all(database.superuser())
        .await
        .unwrap();
    assert_eq!(declared.len(), SETTINGS.len());
    for setting in SETTINGS {
        assert!(declared.contains(&declaration(setting)), "{}", setting.name);
    }
}

#[tokio::test]
async fn sql_admits_whatever_the_service_does_and_of_plain_kinds_nothing_else() {
    let Some(database) = TestDatabase::create().await else {
        return;
    };
    let rule = json!({"quota": 5, "windowSeconds": 60, "mode": "strict", "onFailure": "closed", "shadow": true});
    let mut named = rule.clone();
    named.as_object_mut().unwrap().extend([
        ("name".to_owned(), json!("uploads")),
        ("paths".to_owned(), json!(["/api/images/**"])),
        ("key".to_owned(), json!("user")),
    ]);
    let mut candidates = vec![
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(1),
        json!(-1),
        json!(59),
        json!(60),
        json!(1.5),
        json!(2048),
        json!(1e3),
        json!(1e300),
        json!(i64::MAX),
        json!(""),
        json!("a"),
        json!("a\nb"),
        json!("\u{85}"),
        json!("ü".repeat(100)),
        json!("ü".repeat(101)),
        json!("x".repeat(2049)),
        json!("#f28c28"),
        json!("#F28C2"),
        json!("#+28c28"),
        json!("#f28c28\n"),
        json!("https://host"),
        json!("HTTP://host/path"),
        json!("ftp://host"),
        json!("https://host/?q"),
        json!("https://u:p@host"),
        json!([]),
        json!(["https://host"]),
        json!(["http://a:81"]),
        json!(["*"]),
        json!("*"),
        json!(["a.example", {"host": "*.b.example", "port": 81}]),
        json!([{"hots": "a"}]),
        json!({}),
        rule.clone(),
        json!([named]),
        json!([rule]),
        json!({"quota": 0, "windowSeconds": 60, "mode": "fast"}),
        json!({"quota": 1, "windowSeconds": 60, "mode": "slow"}),
        json!({"startsAt": "2027-01-15T08:00:00Z", "endsAt": "2027-01-15T09:00:00Z", "roles": ["PREMIUM"]}),
        json!({"startsAt": "now"}),
    ];
    for setting in SETTINGS {
        candidates.push(serde_json::from_str(setting.default).unwrap());
        if let Kind::Integer { min, max, .. } = setting.kind {
            candidates.extend([min - 1, min, max, max.saturating_add(1)].map(Value::from));
        }
    }
    let mut connection = database.superuser().acquire().await.unwrap();
    for setting in SETTINGS {
        for value in &candidates {
            let fault: Option<String> =
                sqlx::query_scalar("select shape_fault($1, shape, name) from setting_declarations where name = $2")
                    .bind(value)
                    .bind(setting.name)
                    .fetch_one(&mut *connection)
                    .await
                    .unwrap();
            let service = validate(setting.name, value);
            let exact = matches!(
                setting.kind,
                Kind::Bool | Kind::Integer { .. } | Kind::Number { .. } | Kind::Text { .. } | Kind::Color
            );
            if service.is_ok() || exact {
                assert_eq!(
                    fault.is_none(),
                    service.is_ok(),
                    "{} {value}: {fault:?}, {service:?}",
                    setting.name
                );
            }
        }
    }
}

/// What an operator's statement comes to, as its message.
pub(super) async fn by_hand(connection: &mut PgConnection, sql: &str) -> Result<u64, String> {
    let done = sqlx::query(AssertSqlSafe(sql.to_owned())).execute(connection).await;
    done.map(|done| done.rows_affected()).map_err(|error| error.to_string())
}

#[tokio::test]
async fn what_people_write_at_psql_is_checked() {
    let Some(app) = TestApp::start().await else { return };
    let mut psql = app.database().superuser().acquire().await.unwrap();
    by_hand(&mut psql, "set role kado_operator").await.unwrap();
    let insert = |name: &str, value: &str| {
        format!("insert into system_settings (tenant_id, name, value) values (null, '{name}', '{value}')")
    };
    for (name, value, hint) in [
        ("noSuchSetting", "1", "there is no setting 'noSuchSetting'"),
        (
            "maxFileSize",
            "\"8\"",
            "maxFileSize must be a whole number from 1024 to 104857600 (bytes)",
        ),
        ("maxFileSize", "1", "must be a whole number from 1024"),
        ("maxFileSize", "2048.0", "must be a whole number"),
        ("allowRegistration", "\"yes\"", "must be true or false"),
        ("watermarkColor", "\"red\"", "must be a colour"),
        ("corsOrigins", "\"*\"", "must be a list of at most 100 origins"),
        (
            "limitApi",
            "{\"quota\": 0, \"windowSeconds\": 60, \"mode\": \"fast\"}",
            "must be {\"quota\"",
        ),
        ("cdnPurgeSecret", "\"plain\"", "is a secret"),
    ] {
        let refused = by_hand(&mut psql, &insert(name, value)).await.unwrap_err();
        assert!(refused.contains(hint), "{name} {value}: {refused}");
    }
    assert_eq!(by_hand(&mut psql, &insert("maxFileSize", "2048")).await, Ok(1));
    let renamed = by_hand(&mut psql, "update system_settings set name = 'imageMinTtl'")
        .await
        .unwrap_err();
    assert!(renamed.contains("keeps its tenant and its name"), "{renamed}");
    let large = by_hand(&mut psql, "update system_settings set value = '9e99'")
        .await
        .unwrap_err();
    assert!(large.contains("104857600"), "{large}");
    for forged in [
        "insert into audit_logs (actor, action, database_user) values ('operator', 'forged', 'me')",
        "select record_by_hand(null, 'forged', '', null, null)",
        "delete from setting_declarations",
    ] {
        let refused = by_hand(&mut psql, forged).await.unwrap_err();
        assert!(refused.contains("permission denied"), "{forged}: {refused}");
    }
}

#[tokio::test]
async fn a_temporary_table_of_somebodys_own_is_not_read_as_ours() {
    let Some(app) = TestApp::start().await else { return };
    let mut psql = app.database().superuser().acquire().await.unwrap();
    sqlx::raw_sql(
        "set role kado_operator;
         create function pg_temp.spy() returns text language plpgsql as $$ begin raise 'ran as %', current_user; end $$;
         create temp view setting_declarations as
             select pg_temp.spy() as name, ''::text as section, ''::text as kind, '{}'::jsonb as shape, '1'::jsonb as standard,
                    false as secret, ''::text as description;
         grant select on pg_temp.setting_declarations to public",
    )
    .execute(&mut *psql)
    .await
    .unwrap();
    let spied = by_hand(&mut psql, "select * from setting_declarations")
        .await
        .unwrap_err();
    assert!(spied.contains("ran as kado_operator"), "{spied}");
    let insert =
        |value| format!("insert into system_settings (tenant_id, name, value) values (null, 'maxFileSize', '{value}')");
    let refused = by_hand(&mut psql, &insert("1")).await.unwrap_err();
    assert!(refused.contains("must be a whole number from 1024"), "{refused}");
    assert_eq!(by_hand(&mut psql, &insert("2048")).await, Ok(1));
    by_hand(&mut psql, "reset role").await.unwrap();
    let open: Vec<String> = sqlx::query_scalar(
        "select oid::regprocedure::text from pg_proc
         where pronamespace = 'public'::regnamespace
               and not exists (select from unnest(proconfig) as setting where setting like 'search_path=%, pg_temp')",
    )
    .fetch_all(&mut *psql)
    .await
    .unwrap();
    assert_eq!(open, [""; 0], "these look among temporary tables first");
}

#[tokio::test]
async fn nobody_makes_a_trigger_of_ones_own_with_ours() {
    let Some(app) = TestApp::start().await else { return };
    let mut psql = app.database().superuser().acquire().await.unwrap();
    for role in ["kado_operator", "kado_app", "kado_system"] {
        sqlx::raw_sql(AssertSqlSafe(format!(
            "set role {role}; create temp table mine (tenant_id uuid, name text, value jsonb)"
        )))
        .execute(&mut *psql)
        .await
        .unwrap();
        for function in [
            "audit_by_hand('forged', 'name')",
            "audit_setting()",
            "check_setting()",
            "check_content()",
            "raise_edge_revision()",
        ] {
            let forged = format!("create trigger forged after insert on mine for each row execute function {function}");
            let refused = by_hand(&mut psql, &forged).await.unwrap_err();
            assert!(
                refused.contains("permission denied for function"),
                "{role} {function}: {refused}"
            );
        }
        by_hand(&mut psql, "drop table mine").await.unwrap();
    }
}

#[tokio::test]
async fn what_people_write_at_psql_is_in_force_audited_once_and_announced() {
    let Some(app) = TestApp::start().await else { return };
    let token = app.admin_token().await;
    let mut listener = PgListener::connect_with(app.database().superuser()).await.unwrap();
    listener.listen("kado_changes").await.unwrap();
    let mut psql = app.database().pools().system().acquire().await.unwrap().detach();
    by_hand(&mut psql, "set role kado_operator").await.unwrap();
    let revision = app.count("select revision from edge_state").await;
    for sql in [
        "insert into system_settings (tenant_id, name, value) select id, 'maxFileSize', '2048' from tenants",
        "update system_settings set value = '4096' where name = 'maxFileSize'",
        // Nothing is changed, so there is nothing to tell.
        "update system_settings set value = '4096' where name = 'maxFileSize'",
        "delete from system_settings where name = 'maxFileSize'",
    ] {
        assert_eq!(by_hand(&mut psql, sql).await, Ok(1), "{sql}");
        let shown = app.get_as(&token, "/api/admin/settings").await.json();
        let value = &shown["sections"]["uploads"]["maxFileSize"]["value"];
        let wanted = [("insert", 2048), ("update", 4096), ("delete", 8_388_608)];
        let (_, wanted) = wanted.iter().find(|(verb, _)| sql.starts_with(verb)).unwrap();
        assert_eq!(value, &json!(wanted), "{sql}");
    }
    assert!(app.count("select revision from edge_state").await >= revision + 3);
    by_hand(&mut psql, "reset role").await.unwrap();
    let entries: Vec<(String, String, String, Value, Value)> = sqlx::query_as(
        "select actor, database_user, target, before, after from audit_logs where action = 'settings.update' and tenant_id is not null order by created_at",
    )
    .fetch_all(&mut psql)
    .await
    .unwrap();
    let steps = [
        (json!(null), json!(2048)),
        (json!(2048), json!(4096)),
        (json!(4096), json!(null)),
    ];
    assert_eq!(entries.len(), steps.len(), "{entries:?}");
    for ((actor, user, target, before, after), (old, new)) in entries.into_iter().zip(steps) {
        assert_eq!(
            (actor.as_str(), user.is_empty(), target.as_str()),
            ("operator", false, "maxFileSize")
        );
        assert_eq!(
            (before, after),
            (json!({"maxFileSize": old}), json!({"maxFileSize": new}))
        );
    }
    let notice = tokio::time::timeout(std::time::Duration::from_secs(5), listener.recv())
        .await
        .unwrap()
        .unwrap();
    let notice: Value = serde_json::from_str(notice.payload()).unwrap();
    assert_eq!(
        (&notice["target"], &notice["tenant"]),
        (&json!("maxFileSize"), &json!(app.tenant))
    );
}

#[tokio::test]
async fn what_the_service_writes_is_its_own_to_audit() {
    let Some(app) = TestApp::start().await else { return };
    let token = app.admin_token().await;
    let answer = app
        .patch_as(&token, "/api/admin/settings", &json!({"maxFileSize": 2048}), None)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        app.count("select count(*) from audit_logs where action = 'settings.update'")
            .await,
        1
    );
    let mut system = app.database().pools().system().acquire().await.unwrap();
    write(
        &mut system,
        None,
        "maxFileSize",
        Some(&json!(4096)),
        None,
        app.clock.now(),
    )
    .await
    .unwrap();
    assert_eq!(
        app.count("select count(*) from audit_logs where action = 'settings.update'")
            .await,
        1
    );
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_left_out_and_told() {
    let Some(app) = TestApp::start().await else { return };
    app.execute(
        r#"insert into system_settings (tenant_id, name, value) select t.id, s.name, s.value from tenants t,
           (values ('maxFileSize', '"large"'::jsonb), ('limitApi', '[]'), ('ofTomorrow', '1'), ('imageMinTtl', '7'),
                   ('cdnPurgeSecret', '{"sealed": "v1.a.b.c"}')) as s (name, value)"#,
    )
    .await;
    app.execute("insert into system_settings (tenant_id, name, value) values (null, 'maxFileSize', '2048')")
        .await;
    let token = app.admin_token().await;
    assert_eq!(app.get_as(&token, "/api/auth/me").await.status, 200);
    let mut connection = app.database().superuser().acquire().await.unwrap();
    let layers = load(&mut connection, app.tenant).await.unwrap();
    let named: Vec<_> = layers.unreadable().into_iter().map(|(name, _)| name).collect();
    assert_eq!(named, ["limitApi", "maxFileSize", "ofTomorrow"]);
    let settings = layers.resolve();
    assert_eq!(
        (settings.integer("maxFileSize"), settings.integer("imageMinTtl")),
        (2048, 7)
    );
    assert_eq!(settings.limit("limitApi").unwrap().quota, 300);
    assert_eq!(
        app.internal("GET", "/internal/edge-config?host=localhost").await.status,
        200
    );
}

#[tokio::test]
async fn one_statement_has_any_table_audited() {
    let Some(database) = TestDatabase::create().await else {
        return;
    };
    let mut psql = database.superuser().acquire().await.unwrap();
    sqlx::raw_sql(
        "create table things (tenant_id uuid, section text, key text, value text);
         grant insert, select, update, delete on things to kado_operator, kado_system;
         create trigger audit_by_hand after insert or update or delete on things
             for each row when (written_by_hand()) execute function audit_by_hand('things', 'section', 'key');
         set role kado_system; insert into things values (null, 'a', 'b', 'c');
         set role kado_operator; insert into things values (null, 'home', 'title', 'x');
         update things set value = 'y' where key = 'title'; update things set value = 'y' where key = 'title';
         delete from things where key = 'title'; reset role",
    )
    .execute(&mut *psql)
    .await
    .unwrap();
    let entries: Vec<(String, String, Option<Value>, Option<Value>)> = sqlx::query_as(
        "select action, target, before, after from audit_logs where target = 'home/title' order by created_at, action = 'things.delete', action = 'things.update'",
    )
    .fetch_all(&mut *psql)
    .await
    .unwrap();
    let row = |value: &str| Some(json!({"section": "home", "key": "title", "value": value}));
    let entry = |action: &str, before, after| (format!("things.{action}"), "home/title".to_owned(), before, after);
    assert_eq!(
        entries,
        [
            entry("create", None, row("x")),
            entry("update", row("x"), row("y")),
            entry("delete", row("y"), None)
        ]
    );
    let all: i64 = sqlx::query_scalar("select count(*) from audit_logs")
        .fetch_one(&mut *psql)
        .await
        .unwrap();
    assert_eq!(all, 3);
}
