//! What the server tells of itself: whether its role may serve, and how new its schema is.

use sqlx::PgPool;

use super::DatabaseError;

/// Oldest schema that this binary works on. A newer one is fine: migrations expand first and contract a release later.
pub(crate) const MIN_SCHEMA: i64 = 90;

/// How the schema compares with [`MIN_SCHEMA`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SchemaState {
    /// New enough; holds its version.
    Sufficient(i64),
    /// Too old; holds its version, 0 for an empty database.
    TooOld(i64),
}

impl SchemaState {
    const fn of(version: i64) -> Self {
        if version >= MIN_SCHEMA {
            Self::Sufficient(version)
        } else {
            Self::TooOld(version)
        }
    }
}

/// The newest migration that was applied.
pub(crate) async fn schema_state(pool: &PgPool) -> Result<SchemaState, DatabaseError> {
    let readable = sqlx::query_scalar!(
        r#"select coalesce(has_table_privilege(to_regclass('_sqlx_migrations'), 'select'), false) as "readable!""#
    )
    .fetch_one(pool)
    .await?;
    if !readable {
        return Ok(SchemaState::of(0));
    }
    let version =
        sqlx::query_scalar!(r#"select coalesce(max(version), 0) as "version!" from _sqlx_migrations where success"#)
            .fetch_one(pool)
            .await?;
    Ok(SchemaState::of(version))
}

/// Why a role may not serve.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RoleError {
    /// Row-level security does not hold for it.
    #[error(
        "{variable} logs in as {role:?}, which is a superuser or has BYPASSRLS: row-level security would not hold; use {expected}"
    )]
    AboveTheLaw {
        variable: &'static str,
        role: String,
        expected: &'static str,
    },
    /// It is another role than the one that policies and grants are made for.
    #[error("{variable} logs in as {role:?}, which is not {expected} or does not have its rights alone")]
    Another {
        variable: &'static str,
        role: String,
        expected: &'static str,
    },
}

/// Checks that a pool's role is the one that the policies are written for, and not above them.
pub(crate) async fn check_role(
    pool: &PgPool,
    variable: &'static str,
    expected: &'static str,
) -> Result<Result<(), RoleError>, DatabaseError> {
    let role = sqlx::query!(
        r#"select current_user::text as "name!",
                  bool_or(rolsuper or rolbypassrls) as "above!",
                  exists (select from pg_roles where rolname = $1)
                      and coalesce(pg_has_role(current_user, (select oid from pg_roles where rolname = $1), 'member'), false)
                      as "member!",
                  $1 <> 'kado_system'
                      and coalesce(pg_has_role(current_user, (select oid from pg_roles where rolname = 'kado_system'), 'member'), false)
                      as "sees_all!"
           from pg_roles where rolname = current_user"#,
        expected,
    )
    .fetch_one(pool)
    .await?;
    Ok(if role.above {
        Err(RoleError::AboveTheLaw {
            variable,
            role: role.name,
            expected,
        })
    } else if !role.member || role.sees_all {
        Err(RoleError::Another {
            variable,
            role: role.name,
            expected,
        })
    } else {
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::{MIN_SCHEMA, RoleError, SchemaState, check_role, schema_state};
    use crate::{database::migration, testing::TestDatabase};

    #[test]
    fn the_newest_migration_is_new_enough() {
        let newest = migration::migrator().iter().map(|migration| migration.version).max();
        assert!(
            newest >= Some(MIN_SCHEMA),
            "MIN_SCHEMA asks for a migration that is not there"
        );
    }

    #[tokio::test]
    async fn a_superuser_may_not_serve() {
        let Some(database) = TestDatabase::create().await else {
            return;
        };
        let verdict = check_role(database.superuser(), "DATABASE_URL", "kado_app")
            .await
            .unwrap();
        assert!(matches!(verdict, Err(RoleError::AboveTheLaw { .. })), "{verdict:?}");
    }

    #[tokio::test]
    async fn each_role_serves_its_own_purpose_only() {
        let Some(database) = TestDatabase::create().await else {
            return;
        };
        let pools = database.pools();
        assert_eq!(
            check_role(pools.app(), "DATABASE_URL", "kado_app").await.unwrap(),
            Ok(())
        );
        assert_eq!(
            check_role(pools.system(), "SYSTEM_DATABASE_URL", "kado_system")
                .await
                .unwrap(),
            Ok(())
        );
        let swapped = check_role(pools.system(), "DATABASE_URL", "kado_app").await.unwrap();
        assert!(matches!(swapped, Err(RoleError::Another { .. })), "{swapped:?}");
    }

    #[tokio::test]
    async fn an_older_schema_is_noticed() {
        let Some(database) = TestDatabase::create().await else {
            return;
        };
        let pools = database.pools();
        assert!(matches!(
            schema_state(pools.app()).await.unwrap(),
            SchemaState::Sufficient(_)
        ));
        let mut connection = database.superuser().acquire().await.unwrap();
        migration::down(&mut connection, 1).await.unwrap();
        let state = schema_state(pools.app()).await.unwrap();
        assert!(
            matches!(state, SchemaState::TooOld(version) if version < MIN_SCHEMA),
            "{state:?}"
        );
    }
}
