//! What has to be true before requests are let in, and when to give up for good.
//!
//! A database that is away or not migrated yet is waited for; a configuration that can never serve ends the process.

use std::time::Duration;

use crate::{
    address_keys::{self, AddressKeyError},
    database::{DatabaseError, MIN_SCHEMA, RoleError, SchemaState, check_role, schema_state},
    http::failure::chain,
    identity::keyring::KeyringError,
    service::App,
    settings::{self, SecretsError},
};

/// Pause between attempts.
const PAUSE: Duration = Duration::from_millis(250);

/// Why this process can never serve.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error(transparent)]
    Role(#[from] RoleError),
    #[error(transparent)]
    Keys(KeyringError),
    #[error(transparent)]
    AddressKeys(AddressKeyError),
    #[error(transparent)]
    Settings(SecretsError),
}

/// What start-up is still waiting for.
enum Step {
    Done,
    Wait(String),
    Never(Refusal),
}

impl From<DatabaseError> for Step {
    fn from(error: DatabaseError) -> Self {
        Self::Wait(chain(&error))
    }
}

/// Waits until requests can be served.
pub(super) async fn complete(app: &App) -> Result<(), Refusal> {
    loop {
        match attempt(app).await {
            Step::Done => {
                app.readiness.complete();
                tracing::info!(event = "started");
                return Ok(());
            }
            Step::Never(refusal) => return Err(refusal),
            Step::Wait(obstacle) => {
                if app.readiness.wait_for(obstacle.split(':').next().unwrap_or_default()) {
                    tracing::warn!(event = "start-up-waits", obstacle);
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn attempt(app: &App) -> Step {
    match steps(app).await {
        Ok(()) => Step::Done,
        Err(step) => step,
    }
}

async fn steps(app: &App) -> Result<(), Step> {
    // The schema first: without it the roles may not exist yet either.
    match schema_state(app.database.app()).await? {
        SchemaState::Sufficient(_) => {}
        SchemaState::TooOld(version) => {
            return Err(Step::Wait(format!(
                "schema {version} is older than {MIN_SCHEMA}, run `kado migrate up`"
            )));
        }
    }
    let (app_pool, system_pool) = (app.database.app(), app.database.system());
    for (pool, variable, role) in [
        (app_pool, "DATABASE_URL", "kado_app"),
        (system_pool, "SYSTEM_DATABASE_URL", "kado_system"),
    ] {
        check_role(pool, variable, role)
            .await?
            .map_err(|error| Step::Never(error.into()))?;
    }
    match app.keyring.current().await {
        Ok(_) => {}
        Err(KeyringError::Database(error)) => return Err(error.into()),
        // `kado seed` may be under way.
        Err(error @ KeyringError::NoActiveKey) => return Err(Step::Wait(error.to_string())),
        Err(error) => return Err(Step::Never(Refusal::Keys(error))),
    }
    let mut system = system_pool.acquire().await.map_err(DatabaseError::from)?;
    match address_keys::check_all(&mut system, &app.address_sealer).await {
        Ok(()) => {}
        Err(AddressKeyError::Database(error)) => return Err(error.into()),
        Err(error) => return Err(Step::Never(Refusal::AddressKeys(error))),
    }
    match settings::check_secrets(&mut system, &app.settings_sealer).await {
        Ok(()) => {}
        Err(SecretsError::Database(error)) => return Err(error.into()),
        Err(error) => return Err(Step::Never(Refusal::Settings(error))),
    }
    drop(system);
    app.blobs
        .check(app.entropy.uuid())
        .await
        .map_err(|error| Step::Wait(chain(&error)))
}

#[cfg(test)]
mod tests {
    use super::{Refusal, complete};
    use crate::{
        api::testing::{JWT_SECRET, TestApp, unsigned},
        clock::Clock,
        database::migration,
        entropy::SystemEntropy,
        identity::keyring::create_first,
        seal::{Purpose, Sealer},
        service::App,
        testing::TestDatabase,
    };
    use futures_util::future::join_all;
    use kado_shared::secret::Secret;
    use std::time::Duration;
    use tokio::time::timeout;

    #[tokio::test]
    async fn it_waits_for_the_schema_and_goes_on_by_itself() {
        let Some(app) = TestApp::start().await else { return };
        let mut connection = app.database().superuser().acquire().await.unwrap();
        migration::down(&mut connection, 1).await.unwrap();
        let service = App::clone(&app.service);
        service.readiness.wait_for("start");
        let started = tokio::spawn(async move { complete(&service).await });
        timeout(Duration::from_secs(5), async {
            while !app
                .service
                .readiness
                .obstacle()
                .is_some_and(|text| text.contains("older"))
            {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        assert_eq!(app.get("/api/auth/me").await.status, 503);
        migration::up(&mut connection, &migration::Passwords::default())
            .await
            .unwrap();
        timeout(Duration::from_secs(5), started)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert_eq!(app.send(unsigned("GET", "/api/health")).await.status, 200);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn replicas_and_migrations_that_begin_at_once_on_an_empty_database_come_to_serve() {
        let Some(database) = TestDatabase::create_empty().await else {
            return;
        };
        let replicas = [database.pools().clone(), database.other_pools()].map(TestApp::on);
        let starts = replicas.iter().map(|replica| {
            let service = App::clone(&replica.service);
            service.readiness.wait_for("start");
            tokio::spawn(async move { complete(&service).await })
        });
        let starts: Vec<_> = starts.collect();
        let migrated = join_all((0..2).map(async |_| {
            let mut connection = database.superuser().acquire().await.unwrap();
            migration::up(&mut connection, &migration::Passwords::default())
                .await
                .unwrap()
                .len()
        }))
        .await;
        let all = migration::migrator()
            .iter()
            .filter(|migration| migration.migration_type.is_up_migration())
            .count();
        assert!(migrated == [all, 0] || migrated == [0, all], "{migrated:?} of {all}");
        // Without a key nobody serves yet; both are seeded, and one key is made.
        assert_eq!(replicas[0].get("/api/auth/me").await.status, 503);
        let made = join_all(replicas.iter().map(async |replica| {
            let sealer = Sealer::new(&Secret::new(JWT_SECRET), Purpose::SIGNING_KEYS);
            let mut connection = database.superuser().acquire().await.unwrap();
            create_first(&mut connection, &sealer, &SystemEntropy, replica.clock.now())
                .await
                .unwrap()
        }))
        .await;
        assert_eq!(made.iter().flatten().count(), 1, "{made:?}");
        for (start, replica) in starts.into_iter().zip(&replicas) {
            timeout(Duration::from_secs(10), start).await.unwrap().unwrap().unwrap();
            let health = replica.send(unsigned("GET", "/api/health")).await;
            assert_eq!(health.status, 200, "{}", health.text());
        }
        for replica in &replicas {
            replica.service.database.close().await;
        }
    }

    #[tokio::test]
    async fn keys_that_do_not_open_are_a_reason_to_stop() {
        let Some(app) = TestApp::start().await else { return };
        app.execute(
            "update signing_keys set sealed_private_key = 'v1.000000000000.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.AAAA'",
        )
        .await;
        let refusal = complete(&app.service).await.unwrap_err();
        assert!(matches!(refusal, Refusal::Keys(_)));
        assert!(crate::http::failure::chain(&refusal).contains("kado keys reseal"));
    }
}
