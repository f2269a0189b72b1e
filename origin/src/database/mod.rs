//! Connections to PostgreSQL, and the transaction that every query of a request runs in.
//!
//! Two roles: `kado_app` sees one tenant at a time, the one its transaction names; `kado_system` sees all and is used by
//! sweeps, snapshots and `tenants::operator` only. SQL lives beside the idea it serves, not here.

#[cfg(test)]
mod by_hand_tests;
#[cfg(test)]
mod content_by_hand_tests;
mod error;
pub(crate) mod migration;
mod server;

pub(crate) use error::DatabaseError;
pub(crate) use server::{MIN_SCHEMA, RoleError, SchemaState, check_role, schema_state};

use kado_shared::{secret::Secret, tenant::TenantId};
use sqlx::{
    AssertSqlSafe, PgConnection, PgPool, Postgres, Transaction,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use std::{str::FromStr, time::Duration};

/// How long a request waits for a connection before it is answered 503.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// Connections for snapshots and sweeps.
const SYSTEM_CONNECTIONS: u32 = 5;
/// Longest statement of a request, in milliseconds, enforced by the server.
const STATEMENT_TIMEOUT_MS: &str = "5000";
/// Longest pause within a transaction, in milliseconds, enforced by the server: a replica that hangs holds no lock.
const IDLE_IN_TRANSACTION_TIMEOUT_MS: &str = "10000";

/// A database address that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{variable} is not a PostgreSQL address (postgres://user:password@host:port/database)")]
pub(crate) struct BadAddress {
    variable: &'static str,
}

/// The pools of a running service.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    app: PgPool,
    system: PgPool,
}

impl Database {
    /// Pools that connect on first use: a database that is away at start is waited for, not died of.
    pub(crate) fn connect_lazily(app: &Secret, system: &Secret, connections: u32) -> Result<Self, BadAddress> {
        let pool = |connections: u32| {
            PgPoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(ACQUIRE_TIMEOUT)
                .idle_timeout(Duration::from_secs(300))
                .max_lifetime(Duration::from_secs(1800))
        };
        Ok(Self {
            app: pool(connections).connect_lazy_with(options(app, "DATABASE_URL", "kado serve")?),
            system: pool(SYSTEM_CONNECTIONS).connect_lazy_with(options(
                system,
                "SYSTEM_DATABASE_URL",
                "kado serve (system)",
            )?),
        })
    }

    #[cfg(test)]
    pub(crate) fn from_pools(app: PgPool, system: PgPool) -> Self {
        Self { app, system }
    }

    /// Begins a transaction that sees this tenant's rows and no others.
    pub(crate) async fn begin(&self, tenant: TenantId) -> Result<TenantTransaction, DatabaseError> {
        // Both in one message, for one way there and back. An identifier has hexadecimal digits and hyphens alone.
        let begin = format!("begin; set local kado.tenant = '{}'", tenant.0.as_hyphenated());
        let inner = self.app.begin_with(AssertSqlSafe(begin)).await?;
        Ok(TenantTransaction { inner })
    }

    /// The pool of `kado_app`, for what belongs to no tenant.
    pub(crate) const fn app(&self) -> &PgPool {
        &self.app
    }

    /// The pool of `kado_system`, which sees every tenant.
    pub(crate) const fn system(&self) -> &PgPool {
        &self.system
    }

    /// Closes all connections once they are idle.
    pub(crate) async fn close(&self) {
        self.app.close().await;
        self.system.close().await;
    }
}

/// A transaction of one tenant. Dropped without [`TenantTransaction::commit`], it changes nothing.
#[derive(Debug)]
pub(crate) struct TenantTransaction {
    inner: Transaction<'static, Postgres>,
}

impl TenantTransaction {
    /// The connection to run statements on.
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.inner
    }

    /// Makes its changes last.
    pub(crate) async fn commit(self) -> Result<(), DatabaseError> {
        Ok(self.inner.commit().await?)
    }
}

/// Connection options of an address. The error never repeats the address: it holds a password.
pub(crate) fn options(
    address: &Secret,
    variable: &'static str,
    application: &str,
) -> Result<PgConnectOptions, BadAddress> {
    let postgres = ["postgres://", "postgresql://"]
        .iter()
        .any(|scheme| address.expose().starts_with(scheme));
    let parsed = PgConnectOptions::from_str(address.expose()).ok().filter(|_| postgres);
    let options = parsed.ok_or(BadAddress { variable })?;
    Ok(with_timeouts(options.application_name(application)))
}

/// What the server enforces for every connection of a request.
pub(crate) fn with_timeouts(options: PgConnectOptions) -> PgConnectOptions {
    options.options([
        ("statement_timeout", STATEMENT_TIMEOUT_MS),
        ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_TIMEOUT_MS),
        ("timezone", "UTC"),
    ])
}

#[cfg(test)]
mod tests {
    use super::options;
    use kado_shared::secret::Secret;

    #[test]
    fn a_bad_address_names_the_variable_and_not_the_password() {
        for bad in ["", "hunter2", "mysql://root:hunter2@host/db"] {
            let error = options(&Secret::new(bad), "DATABASE_URL", "test")
                .unwrap_err()
                .to_string();
            assert!(error.contains("DATABASE_URL") && !error.contains("hunter2"), "{error}");
        }
    }
}
