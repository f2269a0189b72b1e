//! A schema that is one release ahead of the binaries, which all tests run on: who deploys migrates first, and replicas of
//! the release before go on meanwhile. So it is laid out while the system runs.
//!
//! What it adds is what a migration may add: columns that are empty or have a default, tables, settings.

use anyhow::{Context, Result, bail};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, error::DatabaseError};
use std::time::Duration;
use xtask::system::RunFile;

/// The migration that this stands for.
const VERSION: i64 = 9_999;
/// Held by the one who lays it out.
const ADVISORY_LOCK: i64 = 0x6B61_646F_9999;
/// How often a table is asked for that somebody else uses.
const ATTEMPTS: u32 = 50;

const ADDED: &str = "
    create table of_tomorrow (
        tenant_id uuid not null references tenants (id) on delete cascade,
        id uuid primary key
    );
    alter table of_tomorrow enable row level security;
    alter table of_tomorrow force row level security;
    create policy tenant on of_tomorrow to kado_app using (tenant_id = nullif(current_setting('kado.tenant', true), '')::uuid);
    create policy system on of_tomorrow to kado_system using (true) with check (true);
    grant select, insert, update, delete on of_tomorrow to kado_app, kado_system;
    insert into setting_declarations
        select 'ofTomorrow', section, kind, shape, standard, secret, description
        from setting_declarations where name = 'maxFileSize';
    insert into system_settings (tenant_id, name, value) values (null, 'ofTomorrow', '2048');
    insert into _sqlx_migrations (version, description, success, checksum, execution_time)
        values (9999, 'of tomorrow', true, '', 0);";

/// Lays it out in a system's database, unless somebody has.
///
/// # Errors
/// When the database refuses.
pub fn lay_out(run: &RunFile) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut connection = PgConnection::connect(&run.database_url)
            .await
            .context("connecting to the system's database")?;
        sqlx::query("select pg_advisory_lock($1)")
            .bind(ADVISORY_LOCK)
            .execute(&mut connection)
            .await?;
        let there: bool = sqlx::query_scalar("select exists (select from _sqlx_migrations where version = $1)")
            .bind(VERSION)
            .fetch_one(&mut connection)
            .await?;
        if !there {
            widen(&mut connection).await?;
            connection.execute(ADDED).await.context("adding a table")?;
        }
        Ok(connection.close().await?)
    })
}

/// Every table gets two columns.
async fn widen(connection: &mut PgConnection) -> Result<()> {
    let tables: Vec<String> = sqlx::query_scalar(
        "select relname::text from pg_class
         where relkind = 'r' and relnamespace = 'public'::regnamespace and relname <> '_sqlx_migrations'",
    )
    .fetch_all(&mut *connection)
    .await?;
    // As a migration should: who waits for a table has all who come after it wait as well.
    connection.execute("set lock_timeout = '100ms'").await?;
    'tables: for table in tables {
        let sql = format!(
            "alter table {table} add column if not exists note_of_tomorrow text,
                                 add column if not exists count_of_tomorrow integer not null default 7"
        );
        for _ in 0..ATTEMPTS {
            match connection.execute(AssertSqlSafe(sql.clone())).await {
                Ok(_) => continue 'tables,
                Err(error) if is_in_use(&error) => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(error) => return Err(error).with_context(|| format!("widening {table}")),
            }
        }
        bail!("the table {table} is in use all the time");
    }
    Ok(())
}

/// Whether a lock was not to be had within the time.
fn is_in_use(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(DatabaseError::code).as_deref() == Some("55P03")
}
