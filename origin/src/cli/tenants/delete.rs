//! `kado tenants delete`: a suspended tenant with everything that it has.

use serde_json::{Map, Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::io::{BufRead, IsTerminal, Write};
use time::OffsetDateTime;

use super::{Which, catalogue};
use crate::{
    audit::{self, Actor, Entry},
    cli::{CommandError, say},
    clock::{Clock, SystemClock},
    database::DatabaseError,
    tenants::Tenant,
};

/// Flags of `kado tenants delete`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
    /// The tenant's name once more, for scripts; at a terminal it is asked for.
    #[arg(long, value_name = "NAME")]
    yes: Option<String>,
}

pub(super) async fn run(args: &Args) -> Result<(), CommandError> {
    let mut connection = args.which.database.connect_as_system("tenants delete").await?;
    let tenant = args.which.find(&mut connection).await?;
    check(&tenant, || confirmation(args.yes.as_deref(), &tenant))?;
    let rows = delete(&mut connection, &tenant, SystemClock.now()).await?;
    let rows: u64 = rows.values().filter_map(Value::as_u64).sum();
    say(&format!(
        "{} is deleted with {rows} rows; its originals go with the next sweeps",
        tenant.name
    ));
    Ok(())
}

/// Refuses what may be a mistake.
fn check(tenant: &Tenant, confirmation: impl FnOnce() -> String) -> Result<(), CommandError> {
    if tenant.active {
        return Err(CommandError::Configuration(format!(
            "{0} is active: `kado tenants suspend {0}` first, and `kado tenants export` what may be needed",
            tenant.name
        )));
    }
    if confirmation() == tenant.name {
        Ok(())
    } else {
        let name = &tenant.name;
        Err(CommandError::Configuration(format!(
            "nothing is deleted without the tenant's name: --yes {name:?}"
        )))
    }
}

fn confirmation(given: Option<&str>, tenant: &Tenant) -> String {
    if let Some(given) = given {
        return given.to_owned();
    }
    if !std::io::stdin().is_terminal() {
        return String::new();
    }
    let hosts = tenant.hosts.join(", ");
    let mut out = std::io::stdout();
    let _ = write!(out, "This deletes {} ({hosts}) for good. Its name: ", tenant.name);
    let _ = out.flush();
    let mut line = String::new();
    // What cannot be read is no name.
    let _ = std::io::stdin().lock().read_line(&mut line);
    line.trim().to_owned()
}

/// Deletes it in one transaction; answers how many rows of each table.
async fn delete(
    connection: &mut PgConnection,
    tenant: &Tenant,
    now: OffsetDateTime,
) -> Result<Map<String, Value>, CommandError> {
    let mut transaction = connection.begin().await.map_err(DatabaseError::from)?;
    // Whoever writes a row of this tenant refers to this one, and waits for the end of it.
    let active = sqlx::query_scalar!("select active from tenants where id = $1 for update", tenant.id)
        .fetch_optional(&mut *transaction)
        .await
        .map_err(DatabaseError::from)?;
    if active != Some(false) {
        transaction.rollback().await.map_err(DatabaseError::from)?;
        let detail = format!("{} has been resumed or deleted meanwhile", tenant.name);
        return Err(CommandError::Configuration(detail));
    }
    let mut rows = Map::new();
    for table in catalogue::tables_to_delete(&mut transaction).await? {
        let sql = format!("delete from {} where {} = $1", table.name, table.key);
        let deleted = sqlx::query(AssertSqlSafe(sql))
            .bind(tenant.id)
            .execute(&mut *transaction)
            .await
            .map_err(DatabaseError::from)?;
        rows.insert(table.name, deleted.rows_affected().into());
    }
    // The sweep removes the originals: it is the service that has the blob store. One that was deleted before, and restored,
    // may still be known to it.
    sqlx::query!("delete from deleted_tenants where id = $1", tenant.id)
        .execute(&mut *transaction)
        .await
        .map_err(DatabaseError::from)?;
    sqlx::query!(
        "insert into deleted_tenants (id, deleted_at) values ($1, $2)",
        tenant.id,
        now
    )
    .execute(&mut *transaction)
    .await
    .map_err(DatabaseError::from)?;
    let entry = Entry {
        tenant: None,
        at: now,
        actor: Actor::Operator,
        action: "tenants.delete",
        target: Some(tenant.id.to_string()),
        before: Some(json!({ "name": tenant.name, "hosts": tenant.hosts, "rows": rows })),
        after: None,
        request_id: None,
        client_ip: None,
    };
    audit::record(&mut transaction, entry).await?;
    transaction.commit().await.map_err(DatabaseError::from)?;
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{catalogue, find},
        check, delete,
    };
    use crate::{
        api::testing::{TestApp, png},
        clock::{Clock, testing::ManualClock},
        testing::TestDatabase,
    };

    #[tokio::test]
    async fn no_row_is_left_in_any_table_and_none_of_another_tenant_is_missing() {
        let Some(database) = TestDatabase::create().await else {
            return;
        };
        let rows = format!("insert into tenants{}", catalogue::rows_in_every_table());
        sqlx::raw_sql(sqlx::AssertSqlSafe(rows))
            .execute(database.superuser())
            .await
            .unwrap();
        let mut connection = database.pools().system().acquire().await.unwrap();
        let tables = catalogue::tables(&mut connection).await.unwrap();
        let active = find(&mut connection, "a").await.unwrap();
        let now = ManualClock::default().now();
        let refused = delete(&mut connection, &active, now).await.unwrap_err();
        assert!(refused.to_string().contains("resumed"), "{refused}");
        sqlx::raw_sql("update tenants set active = false where name = 'a'")
            .execute(database.superuser())
            .await
            .unwrap();
        let tenant = find(&mut connection, "a").await.unwrap();
        delete(&mut connection, &tenant, now).await.unwrap();
        for table in &tables {
            let of = |condition: &str| {
                let sql = format!("select count(*) from {} where {} {condition}", table.name, table.key);
                sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(sql))
                    .bind(tenant.id)
                    .fetch_one(database.superuser())
            };
            assert_eq!(of("= $1").await.unwrap(), 0, "{}", table.name);
            assert!(of("<> $1").await.unwrap() >= 1, "{}", table.name);
        }
        let (target, name): (String, String) = sqlx::query_as(
            "select target, before ->> 'name' from audit_logs where action = 'tenants.delete' and tenant_id is null",
        )
        .fetch_one(database.superuser())
        .await
        .unwrap();
        assert_eq!((target, name.as_str()), (tenant.id.to_string(), "a"));
    }

    #[tokio::test]
    async fn it_is_not_done_by_mistake() {
        let Some(app) = TestApp::start().await else { return };
        let mut connection = app.database().pools().system().acquire().await.unwrap();
        let mut tenant = find(&mut connection, "test").await.unwrap();
        let active = check(&tenant, || "test".to_owned()).unwrap_err().to_string();
        assert!(active.contains("kado tenants suspend test"), "{active}");
        tenant.active = false;
        for wrong in ["", "Test", "other"] {
            assert!(check(&tenant, || wrong.to_owned()).is_err(), "{wrong}");
        }
        assert!(check(&tenant, || "test".to_owned()).is_ok());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn its_originals_go_with_the_sweeps() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        app.upload(&token, png(4, 4)).await;
        app.upload(&token, png(5, 5)).await;
        assert_eq!(app.files(), 2);
        app.execute("update tenants set active = false").await;
        let mut connection = app.database().pools().system().acquire().await.unwrap();
        let tenant = find(&mut connection, "test").await.unwrap();
        delete(&mut connection, &tenant, app.clock.now()).await.unwrap();
        drop(connection);
        crate::cli::sweep::once(&app.service).await;
        assert_eq!(
            (app.files(), app.count("select count(*) from deleted_tenants").await),
            (0, 1)
        );
        app.clock.advance(time::Duration::hours(25));
        crate::cli::sweep::once(&app.service).await;
        assert_eq!(app.count("select count(*) from deleted_tenants").await, 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_restored_tenant_keeps_its_originals_and_may_be_deleted_again() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        app.upload(&token, png(4, 4)).await;
        let deletion = async || {
            app.execute("update tenants set active = false").await;
            let mut connection = app.database().pools().system().acquire().await.unwrap();
            let tenant = find(&mut connection, "test").await.unwrap();
            delete(&mut connection, &tenant, app.clock.now()).await.unwrap();
        };
        let restore = format!("insert into tenants (id, name) values ('{}', 'test')", app.tenant);
        let marks = "select count(*) from deleted_tenants";
        deletion().await;
        app.execute(&restore).await;
        crate::cli::sweep::once(&app.service).await;
        assert_eq!((app.files(), app.count(marks).await), (1, 1));

        app.clock.advance(time::Duration::hours(23));
        deletion().await;
        assert_eq!(app.count(marks).await, 1);
        app.execute(&restore).await;
        app.clock.advance(time::Duration::hours(23));
        crate::cli::sweep::once(&app.service).await;
        assert_eq!((app.files(), app.count(marks).await), (1, 1), "the day begins anew");
        app.clock.advance(time::Duration::hours(2));
        crate::cli::sweep::once(&app.service).await;
        assert_eq!((app.files(), app.count(marks).await), (1, 0));

        deletion().await;
        crate::cli::sweep::once(&app.service).await;
        assert_eq!((app.files(), app.count(marks).await), (0, 1));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_written_meanwhile_is_deleted_too_or_refused() {
        let Some(app) = TestApp::start().await else { return };
        app.execute("update tenants set active = false").await;
        let pools = app.database().pools();
        let insert = "insert into tenant_hosts (tenant_id, host) values ($1, $2)";
        let mut early = pools.system().begin().await.unwrap();
        let write = sqlx::query(insert).bind(app.tenant.0).bind("early");
        write.execute(&mut *early).await.unwrap();
        // Holds the deletion up in its middle.
        let mut obstacle = pools.system().begin().await.unwrap();
        sqlx::query("lock table blobs in share mode")
            .execute(&mut *obstacle)
            .await
            .unwrap();

        let mut connection = pools.system().acquire().await.unwrap();
        let tenant = find(&mut connection, "test").await.unwrap();
        let now = app.clock.now();
        let deletion = tokio::spawn(async move { delete(&mut connection, &tenant, now).await });
        let somebody_waits_for = |kind: &'static str| {
            let app = &app;
            let sql = format!(
                "select count(*) from pg_locks join pg_stat_activity using (pid)
                 where datname = current_database() and not granted and locktype = '{kind}'"
            );
            let waits = async move {
                while app.count(&sql).await == 0 {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(std::time::Duration::from_secs(10), waits)
        };
        somebody_waits_for("transactionid")
            .await
            .expect("the deletion, for who came first");
        early.commit().await.unwrap();
        somebody_waits_for("relation")
            .await
            .expect("the deletion, in its middle");
        // Nobody else waits for what the deletion has not come to yet.
        app.execute("select from edge_state for update nowait").await;
        let (pool, id) = (pools.system().clone(), app.tenant.0);
        let late = tokio::spawn(async move { sqlx::query(insert).bind(id).bind("late").execute(&pool).await });
        somebody_waits_for("transactionid")
            .await
            .expect("who comes late, for the deletion");
        obstacle.rollback().await.unwrap();
        let rows = deletion.await.unwrap().unwrap();
        assert_eq!(rows["tenant_hosts"], 2, "{rows:?}");
        assert!(late.await.unwrap().is_err());
        assert_eq!(app.count("select count(*) from tenant_hosts").await, 0);
    }
}
