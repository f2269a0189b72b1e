//! Changes of the schema, up and down, one process at a time.
//!
//! This file uses no checked query and nothing of this crate, so that `examples/prepare_database.rs` can lay out the database
//! that the checked queries are checked against.

use kado_shared::{setting_shape::declaration, settings::SETTINGS};
use serde_json::Value;
use sqlx::{Executor, PgConnection, Row, migrate::Migrator};
use std::collections::BTreeSet;

/// Creates the roles; harmless when repeated.
const ROLES: &str = include_str!("../../../migrations/roles.sql");
/// Serialises `kado migrate` of several hosts; any number, as long as it is ours alone.
const ADVISORY_LOCK: i64 = 0x6B61_646F_0001;

/// Every migration of this binary. A newer binary may have migrated further; an older one goes on beside it.
pub(crate) fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("../migrations");
    migrator.set_ignore_missing(true);
    migrator
}

/// Why the schema could not be changed or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MigrationError {
    /// The server could not be asked.
    #[error("the database refused")]
    Database(#[from] sqlx::Error),
    /// A migration failed, or its text was changed after it had been applied.
    #[error("a migration failed")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// What a newer binary added would be left on what was taken from under it.
    #[error("migration {0:04} is a newer kado's, and only that one can take it back")]
    Newer(i64),
}

/// One migration and whether this database has it.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) version: i64,
    pub(crate) name: String,
    pub(crate) state: StepState,
}

/// What is known of a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StepState {
    Applied,
    Missing,
    /// Applied by a newer binary; this one does not know it.
    Newer,
}

impl StepState {
    /// As `kado migrate status` says it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Missing => "missing",
            Self::Newer => "applied by a newer kado",
        }
    }
}

/// Login passwords of the service's roles, where they are to be set.
#[derive(Debug, Default)]
pub(crate) struct Passwords<'a> {
    pub(crate) app: Option<&'a str>,
    pub(crate) system: Option<&'a str>,
}

/// Creates the roles and applies what is missing; answers the versions applied, in order.
pub(crate) async fn up(connection: &mut PgConnection, passwords: &Passwords<'_>) -> Result<Vec<i64>, MigrationError> {
    locked(connection, async |connection| {
        create_roles(connection, passwords).await?;
        let before = applied(connection).await?;
        as_owner(connection, async |connection| {
            migrator().run(&mut *connection).await?;
            // Who is newer has declared more, and goes on beside this binary.
            match newest_unknown(&before) {
                None => declare_settings(connection).await,
                Some(_) => Ok(()),
            }
        })
        .await?;
        connection
            .execute("grant select on _sqlx_migrations to kado_app, kado_system, kado_operator")
            .await?;
        let after = applied(connection).await?;
        Ok(after.difference(&before).copied().collect())
    })
    .await
}

/// Writes down what settings there are, for the triggers that check what people write at psql.
async fn declare_settings(connection: &mut PgConnection) -> Result<(), MigrationError> {
    let declared = Value::from_iter(SETTINGS.iter().map(declaration));
    sqlx::query(
        "with declared as (select * from jsonb_populate_recordset(null::setting_declarations, $1)),
              gone as (delete from setting_declarations where name not in (select name from declared))
         insert into setting_declarations
         select name, section, kind, shape, coalesce(standard, 'null'), secret, description from declared
         on conflict (name) do update set section = excluded.section, kind = excluded.kind, shape = excluded.shape,
             standard = excluded.standard, secret = excluded.secret, description = excluded.description",
    )
    .bind(declared)
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes back the newest `steps` migrations; answers the versions taken back, newest first.
pub(crate) async fn down(connection: &mut PgConnection, steps: usize) -> Result<Vec<i64>, MigrationError> {
    locked(connection, async |connection| {
        let before = applied(connection).await?;
        if let Some(version) = newest_unknown(&before) {
            return Err(MigrationError::Newer(version));
        }
        let target = before.iter().rev().nth(steps).copied().unwrap_or(0);
        as_owner(connection, async |connection| {
            Ok(migrator().undo(&mut *connection, target).await?)
        })
        .await?;
        let after = applied(connection).await?;
        Ok(before
            .into_iter()
            .rev()
            .filter(|version| !after.contains(version))
            .collect())
    })
    .await
}

/// Every migration, oldest first.
pub(crate) async fn status(connection: &mut PgConnection) -> Result<Vec<Step>, MigrationError> {
    let applied = applied(connection).await?;
    let migrator = migrator();
    let known = migrator
        .iter()
        .filter(|migration| migration.migration_type.is_up_migration())
        .map(|migration| Step {
            version: migration.version,
            name: migration.description.to_string(),
            state: if applied.contains(&migration.version) {
                StepState::Applied
            } else {
                StepState::Missing
            },
        });
    let unknown = applied
        .iter()
        .filter(|version| !migrator.version_exists(**version))
        .map(|version| Step {
            version: *version,
            name: String::new(),
            state: StepState::Newer,
        });
    let mut steps: Vec<_> = known.chain(unknown).collect();
    steps.sort_by_key(|step| step.version);
    Ok(steps)
}

/// The newest of these migrations that this binary does not have.
fn newest_unknown(applied: &BTreeSet<i64>) -> Option<i64> {
    let migrator = migrator();
    applied
        .iter()
        .rev()
        .find(|version| !migrator.version_exists(**version))
        .copied()
}

async fn applied(connection: &mut PgConnection) -> Result<BTreeSet<i64>, MigrationError> {
    let exists: bool = sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null")
        .fetch_one(&mut *connection)
        .await?;
    if !exists {
        return Ok(BTreeSet::new());
    }
    let rows = sqlx::query("select version from _sqlx_migrations where success")
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

async fn create_roles(connection: &mut PgConnection, passwords: &Passwords<'_>) -> Result<(), MigrationError> {
    let mut attempts_left = 5;
    // Roles are shared by the cluster: a migration of another database may touch the same rows at the same moment.
    while let Err(error) = connection.execute(ROLES).await {
        let concurrent = error
            .as_database_error()
            .is_some_and(|error| error.message().contains("concurrently"));
        if !concurrent || attempts_left == 0 {
            return Err(error.into());
        }
        attempts_left -= 1;
    }
    for (role, password) in [("kado_app", passwords.app), ("kado_system", passwords.system)] {
        if let Some(password) = password {
            // A password cannot be a parameter of ALTER ROLE; the server quotes it.
            let statement: String =
                sqlx::query_scalar("select format('alter role %I password %L', $1::text, $2::text)")
                    .bind(role)
                    .bind(password)
                    .fetch_one(&mut *connection)
                    .await?;
            connection.execute(sqlx::AssertSqlSafe(statement)).await?;
        }
    }
    Ok(())
}

/// What migrations create belongs to `kado_owner`, whoever runs them.
async fn as_owner<T>(
    connection: &mut PgConnection,
    work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, MigrationError>,
) -> Result<T, MigrationError> {
    connection.execute("set role kado_owner").await?;
    let result = work(connection).await;
    connection.execute("reset role").await?;
    result
}

async fn locked<T>(
    connection: &mut PgConnection,
    work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, MigrationError>,
) -> Result<T, MigrationError> {
    sqlx::query("select pg_advisory_lock($1)")
        .bind(ADVISORY_LOCK)
        .execute(&mut *connection)
        .await?;
    let result = work(connection).await;
    sqlx::query("select pg_advisory_unlock($1)")
        .bind(ADVISORY_LOCK)
        .execute(&mut *connection)
        .await?;
    result
}
