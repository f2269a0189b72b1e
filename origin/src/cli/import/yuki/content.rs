//! Content by the rules that the API has: what does not fit is skipped. Descriptions and categories are not taken.

use kado_shared::tenant::TenantId;
use sqlx::PgConnection;
use std::collections::HashSet;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Part, has_column, identifier};
use crate::{
    audit::{self, Actor, Entry},
    content::{Item, Kind, full, lock},
    database::DatabaseError,
};

#[derive(sqlx::FromRow)]
struct OldItem {
    id: String,
    section: String,
    key: String,
    value: String,
    kind: String,
    label: String,
    place: i64,
    created_at: OffsetDateTime,
}

impl OldItem {
    /// The item here, or why there is none.
    fn translate(&self) -> Result<Item, String> {
        let item = Item {
            section: self.section.clone(),
            key: self.key.clone(),
            value: self.value.clone(),
            kind: Kind::find(&self.kind).ok_or_else(|| format!("there is no type {} here", self.kind))?,
            label: self.label.clone(),
            // Nothing that large is a place, and so it is told.
            order: i32::try_from(self.place).unwrap_or(i32::MAX),
        };
        item.check().map_err(|errors| {
            let told = errors.iter().map(|error| format!("{} {}", error.field, error.detail));
            told.collect::<Vec<_>>().join("; ")
        })
    }
}

pub(super) async fn take(
    source: &mut PgConnection,
    target: &mut PgConnection,
    tenant: TenantId,
    now: OffsetDateTime,
) -> Result<Part, DatabaseError> {
    let mut part = Part::new("content");
    if !has_column(source, "site_contents", "valueType").await? {
        part.skip("site_contents", "there is no such table with a column valueType there");
        return Ok(part);
    }
    // What had no place there came last in its section.
    let items: Vec<OldItem> = sqlx::query_as(
        r#"select id, section, key, value, "valueType"::text as kind, coalesce(label, '') as label,
                  coalesce("sortOrder", least(max("sortOrder") over (partition by section) + 1::bigint, 1000000), 0)::bigint as place,
                  "createdAt" at time zone 'UTC' as created_at
           from site_contents order by "createdAt", id"#,
    )
    .fetch_all(source)
    .await?;
    lock(target, tenant).await?;
    let known = sqlx::query_scalar!("select id from site_contents where tenant_id = $1", tenant.0)
        .fetch_all(&mut *target)
        .await?;
    let known: HashSet<Uuid> = known.into_iter().collect();
    for old in items {
        let what = format!("{}/{}", old.section, old.key);
        let id = identifier("content", &old.id);
        if known.contains(&id) {
            part.already += 1;
            continue;
        }
        let item = match old.translate() {
            Ok(item) => item,
            Err(why) => {
                part.skip(&what, why);
                continue;
            }
        };
        if let Some(full) = full(target, tenant, None, &item).await? {
            part.skip(&what, full.to_string());
        } else if insert(target, tenant, id, &item, old.created_at, now).await? {
            part.taken += 1;
        } else {
            part.skip(&what, "the section has an item of this key already");
        }
    }
    Ok(part)
}

/// Adds an item and audits it; answers whether its place was free.
async fn insert(
    target: &mut PgConnection,
    tenant: TenantId,
    id: Uuid,
    item: &Item,
    created_at: OffsetDateTime,
    now: OffsetDateTime,
) -> Result<bool, DatabaseError> {
    let inserted = sqlx::query!(
        "insert into site_contents (tenant_id, id, section, key, value, type, label, position, created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict do nothing",
        tenant.0,
        id,
        item.section,
        item.key,
        item.value,
        item.kind.as_str(),
        item.label,
        item.order,
        created_at,
        now,
    )
    .execute(&mut *target)
    .await?;
    if inserted.rows_affected() == 0 {
        return Ok(false);
    }
    let entry = Entry {
        tenant: Some(tenant.0),
        at: now,
        actor: Actor::Operator,
        action: "content.create",
        target: Some(id.to_string()),
        before: None,
        after: Some(item.audited()),
        request_id: None,
        client_ip: None,
    };
    audit::record(target, entry).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use crate::{
        api::testing::TestApp,
        cli::import::yuki::{
            tests::{old_system, take},
            to_json,
        },
        content::MOST_IN_SECTION,
    };
    use serde_json::{Value, json};

    #[tokio::test]
    async fn content_is_taken_in_its_order_and_what_does_not_fit_is_told() {
        let Some(app) = TestApp::start().await else { return };
        old_system(&app).await;
        app.execute(
            r#"insert into yuki.site_contents (id, section, key, value, "valueType", label, "sortOrder", "createdAt") values
               ('i1', 'home', 'title', 'Kado', 'TEXT', ' Title ', 2, '2025-09-25 06:45:43.098'),
               ('i2', 'home', 'hero', '/hero.png', 'IMAGE', null, 1, '2025-09-26'),
               ('i3', 'home', 'faq', '{"a": 1}', 'JSON', null, null, '2025-09-27'),
               ('i4', 'home', 'link', 'javascript:alert(1)', 'URL', null, 4, '2025-09-28'),
               ('i5', 'home page', 'a b', 'x', 'TEXT', null, -1, '2025-09-28'),
               ('i6', 'home', 'broken', '{a: 1}', 'JSON', null, 5, '2025-09-28'),
               ('i7', 'faq', 'taken', 'old', 'HTML', null, null, '2025-09-29')"#,
        )
        .await;
        app.execute(&format!(
            r#"insert into yuki.site_contents (id, section, key, value, "createdAt")
               select 'm' || n, 'many', 'k' || n, 'x', '2025-10-01'::timestamp + n * interval '1 second'
               from generate_series(1, {MOST_IN_SECTION} + 1) n"#
        ))
        .await;
        app.execute("insert into tenants (name) values ('other')").await;
        app.execute(
            "insert into site_contents (tenant_id, id, section, key, value, type, created_at, updated_at)
             select t.id, gen_random_uuid(), 'faq', 'taken', 'new', 'TEXT', now(), now() from tenants t",
        )
        .await;
        let dry = take(&app, false).await;
        assert_eq!(
            app.count("select count(*) from site_contents").await,
            2,
            "nothing was kept"
        );
        let told = to_json(&take(&app, true).await, false);
        assert_eq!(to_json(&dry, false)["parts"], told["parts"]);
        let part = &told["parts"][1];
        assert_eq!(
            (&part["part"], &part["taken"], &part["already"]),
            (&json!("content"), &json!(3 + MOST_IN_SECTION), &json!(0)),
            "{part}"
        );
        for (what, hints) in [
            ("home/link", vec!["value must be an absolute address"]),
            ("home page/a b", vec!["section must", "key must", "order must"]),
            ("home/broken", vec!["value must be JSON"]),
            ("faq/taken", vec!["has an item of this key"]),
            ("many/k101", vec!["which is the most"]),
        ] {
            let skipped = part["skipped"].as_array().unwrap();
            let one = skipped.iter().find(|one| one["what"] == what);
            let why = one.unwrap_or_else(|| panic!("{what}: {part}"))["why"].as_str().unwrap();
            assert!(hints.iter().all(|hint| why.contains(hint)), "{what}: {why}");
        }
        assert_eq!(part["skipped"].as_array().unwrap().len(), 5);

        let home = app.get("/api/content/home").await.json();
        let of = |key: &str, kind: &str, value: &str, label: &str, order: u32| json!({"key": key, "type": kind, "value": value, "label": label, "order": order});
        assert_eq!(
            home["items"],
            json!([
                of("hero", "IMAGE", "/hero.png", "", 1),
                of("title", "TEXT", "Kado", "Title", 2),
                of("faq", "JSON", "{\"a\": 1}", "", 6),
            ]),
            "what has no place comes after all that have one there, taken or not"
        );
        let audited: Vec<Value> = sqlx::query_scalar(
            "select after from audit_logs where action = 'content.create' and actor = 'operator' and after ->> 'section' = 'home'
             order by after ->> 'key'",
        )
        .fetch_all(app.database().superuser())
        .await
        .unwrap();
        assert_eq!((audited.len(), &audited[1]["value"]), (3, &json!("/hero.png")));

        app.execute("update site_contents set value = 'changed here' where key = 'title'")
            .await;
        let again = to_json(&take(&app, true).await, false);
        assert_eq!(
            (&again["parts"][1]["taken"], &again["parts"][1]["already"]),
            (&json!(0), &part["taken"])
        );
        assert_eq!(again["parts"][1]["skipped"], part["skipped"]);
        assert_eq!(
            app.count("select count(*) from site_contents where value = 'changed here'")
                .await,
            1
        );
    }

    #[tokio::test]
    async fn a_database_from_before_content_has_none() {
        let Some(app) = TestApp::start().await else { return };
        old_system(&app).await;
        app.execute("drop table yuki.site_contents").await;
        app.execute("drop table yuki.usage_records").await;
        let told = to_json(&take(&app, true).await, false);
        for (part, what) in [(1, "site_contents"), (2, "usage_records")] {
            assert_eq!(told["parts"][part]["skipped"][0]["what"], what, "{told}");
        }
    }
}
