//! A fresh database per test, copied from a template that is migrated once per state of `migrations/`.
//!
//! `TEST_DATABASE_URL` names a superuser of any PostgreSQL. Without it database tests say so and pass, unless
//! `KADO_REQUIRE_ALL=1`.

use kado_shared::settings::SETTINGS;
use sha2::{Digest, Sha256};
use sqlx::{
    AssertSqlSafe, Connection, Executor, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use std::{str::FromStr, time::Duration};
use uuid::Uuid;

use crate::{
    database::{Database, migration, with_timeouts},
    hex,
};

/// Serialises the making of templates; any number of ours.
const TEMPLATE_LOCK: i64 = 0x6B61_646F_0002;

/// A database of one test. Dropping it drops the database.
pub(crate) struct TestDatabase {
    name: String,
    server: PgConnectOptions,
    superuser: PgPool,
    pools: Database,
}

impl TestDatabase {
    /// A migrated, otherwise empty database; `None` where there is no server to make it on.
    pub(crate) async fn create() -> Option<Self> {
        let server = server()?;
        let mut connection = PgConnection::connect_with(&server)
            .await
            .expect("TEST_DATABASE_URL answers");
        let template = template(&server, &mut connection).await;
        Some(Self::copy(server, connection, &template).await)
    }

    /// A database that was never migrated.
    pub(crate) async fn create_empty() -> Option<Self> {
        let server = server()?;
        let connection = PgConnection::connect_with(&server)
            .await
            .expect("TEST_DATABASE_URL answers");
        Some(Self::copy(server, connection, "template1").await)
    }

    async fn copy(server: PgConnectOptions, mut connection: PgConnection, template: &str) -> Self {
        let name = format!("kado_test_{}", Uuid::new_v4().simple());
        connection
            .execute(AssertSqlSafe(format!("create database {name} template {template}")))
            .await
            .expect("a database from the template");
        connection.close().await.expect("the connection closes");
        let superuser = PgPoolOptions::new()
            .max_connections(2)
            // What tests lay out is nobody's work by hand.
            .connect_lazy_with(server.clone().database(&name).options([("kado.by_hand", "off")]));
        let pools = Database::from_pools(
            as_role(&server, &name, "kado_app"),
            as_role(&server, &name, "kado_system"),
        );
        Self {
            name,
            server,
            superuser,
            pools,
        }
    }

    /// The service's pools, each under its role.
    pub(crate) const fn pools(&self) -> &Database {
        &self.pools
    }

    /// Pools of another replica.
    pub(crate) fn other_pools(&self) -> Database {
        Database::from_pools(
            as_role(&self.server, &self.name, "kado_app"),
            as_role(&self.server, &self.name, "kado_system"),
        )
    }

    /// Ends every connection and refuses new ones, as a server does that goes away.
    pub(crate) async fn close_to_connections(&self) {
        self.on_server(format!("alter database {} with allow_connections false", self.name))
            .await;
        self.break_connections().await;
    }

    /// Ends every connection, whatever is under way on it, and waits until the server has let go of them.
    pub(crate) async fn break_connections(&self) {
        self.on_server(format!(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = '{}'",
            self.name
        ))
        .await;
    }

    /// Has plans of new connections read whole tables only where there is no other way.
    pub(crate) async fn avoid_sequential_scans(&self) {
        self.on_server(format!("alter database {} set enable_seqscan = off", self.name))
            .await;
    }

    /// Whether transactions of new connections may only read, as on a server that is another one's standby.
    pub(crate) async fn set_read_only(&self, only: bool) {
        self.on_server(format!(
            "alter database {} set default_transaction_read_only = {only}",
            self.name
        ))
        .await;
    }

    /// The server is back.
    pub(crate) async fn open_to_connections(&self) {
        self.on_server(format!("alter database {} with allow_connections true", self.name))
            .await;
    }

    async fn on_server(&self, sql: String) {
        let mut connection = PgConnection::connect_with(&self.server)
            .await
            .expect("the server answers");
        connection.execute(AssertSqlSafe(sql)).await.expect("the server obeys");
    }

    /// A pool above row-level security, to look behind the curtain with.
    pub(crate) const fn superuser(&self) -> &PgPool {
        &self.superuser
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (name, server) = (self.name.clone(), self.server.clone());
        // The test's runtime may be going down, so the last statement gets one of its own.
        let dropped = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime")
                .block_on(async {
                    let mut connection = PgConnection::connect_with(&server).await?;
                    connection
                        .execute(AssertSqlSafe(format!("drop database if exists {name} with (force)")))
                        .await
                })
        });
        if let Ok(Err(error)) = dropped.join() {
            eprintln!("the test database {} stays: {error}", self.name);
        }
    }
}

fn server() -> Option<PgConnectOptions> {
    let required = std::env::var("KADO_REQUIRE_ALL").is_ok_and(|value| value == "1");
    match std::env::var("TEST_DATABASE_URL") {
        Ok(address) => Some(PgConnectOptions::from_str(&address).expect("TEST_DATABASE_URL is an address")),
        Err(_) if required => panic!("KADO_REQUIRE_ALL=1, but TEST_DATABASE_URL is not set"),
        Err(_) => {
            eprintln!("not run: TEST_DATABASE_URL");
            None
        }
    }
}

async fn template(server: &PgConnectOptions, connection: &mut PgConnection) -> String {
    let mut hash = Sha256::new();
    for migration in migration::migrator().iter() {
        hash.update(migration.checksum.as_ref());
    }
    // Written by migrating as well.
    hash.update(format!("{SETTINGS:?}"));
    let name = format!("kado_template_{}", &hex::encode(&hash.finalize())[..16]);
    sqlx::query("select pg_advisory_lock($1)")
        .bind(TEMPLATE_LOCK)
        .execute(&mut *connection)
        .await
        .expect("the lock");
    let exists: bool = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
        .bind(&name)
        .fetch_one(&mut *connection)
        .await
        .expect("a listing");
    if !exists {
        let draft = format!("{name}_draft");
        for statement in [
            format!("drop database if exists {draft} with (force)"),
            format!("create database {draft}"),
        ] {
            connection
                .execute(AssertSqlSafe(statement))
                .await
                .expect("a draft of the template");
        }
        let mut inside = PgConnection::connect_with(&server.clone().database(&draft))
            .await
            .expect("the draft answers");
        migration::up(&mut inside, &migration::Passwords::default())
            .await
            .expect("the migrations apply");
        inside.close().await.expect("the connection closes");
        connection
            .execute(AssertSqlSafe(format!("alter database {draft} rename to {name}")))
            .await
            .expect("a name");
    }
    sqlx::query("select pg_advisory_unlock($1)")
        .bind(TEMPLATE_LOCK)
        .execute(connection)
        .await
        .expect("the lock");
    name
}

fn as_role(server: &PgConnectOptions, database: &str, role: &'static str) -> PgPool {
    PgPoolOptions::new()
        .max_connections(5)
        .acquire_timeout(Duration::from_secs(10))
        .after_connect(move |connection, _| {
            Box::pin(async move {
                connection.execute(AssertSqlSafe(format!("set role {role}"))).await?;
                Ok(())
            })
        })
        .connect_lazy_with(with_timeouts(server.clone().database(database)))
}
