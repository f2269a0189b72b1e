//! `kado keys reseal`: seals everything that is sealed with the newest secret.

use kado_shared::secret::Secret;
use serde_json::json;
use sqlx::{Connection, PgConnection};
use time::OffsetDateTime;

use super::{Secrets, entry};
use crate::{
    address_keys, audit,
    cli::{CommandError, connect::DatabaseArgs, say},
    clock::{Clock, SystemClock},
    database::DatabaseError,
    entropy::{Entropy, SystemEntropy},
    identity::{key_rotation, keyring},
    seal::{Purpose, Sealer},
    settings,
};

pub(super) async fn run(secrets: &Secrets, database: &DatabaseArgs) -> Result<(), CommandError> {
    let secret = secrets.checked()?;
    let mut connection = database.connect_as_system("keys reseal").await?;
    let count = reseal(&mut connection, &secret, &SystemEntropy, SystemClock.now()).await?;
    say(&format!("sealed {count} keys and secrets with the newest secret"));
    Ok(())
}

/// All or nothing; answers how many.
async fn reseal(
    connection: &mut PgConnection,
    secret: &Secret,
    entropy: &dyn Entropy,
    now: OffsetDateTime,
) -> Result<usize, CommandError> {
    let sealer = |purpose| Sealer::new(secret, purpose);
    let mut transaction = connection.begin().await.map_err(DatabaseError::from)?;
    // Everything is held before anything is changed: the first change holds the edges' revision, which whoever changes a
    // setting or a key waits for with that in hand.
    key_rotation::lock(&mut transaction).await?;
    let secrets = settings::hold_secrets(&mut transaction).await?;
    let active = address_keys::hold_active(&mut transaction).await?;
    let keys = keyring::reseal(&mut transaction, &sealer(Purpose::SIGNING_KEYS), entropy)
        .await
        .map_err(|error| CommandError::configuration(&error))?;
    let addresses = address_keys::reseal(&mut transaction, active, &sealer(Purpose::ADDRESS_KEYS), entropy).await?;
    let settings = settings::reseal_secrets(&mut transaction, secrets, &sealer(Purpose::SETTINGS), entropy)
        .await
        .map_err(|error| CommandError::configuration(&error))?;
    let count = keys + addresses + settings;
    let mut entry = entry("keys.reseal", None, now);
    entry.after = Some(json!({ "keys": count }));
    audit::record(&mut transaction, entry).await?;
    transaction.commit().await.map_err(DatabaseError::from)?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::reseal;
    use crate::{
        address_keys,
        api::testing::{JWT_SECRET, TestApp},
        entropy::SystemEntropy,
        settings,
    };
    use kado_shared::secret::Secret;
    use serde_json::json;

    /// Each of them waits for the others, and none for one that waits for it; what is changed meanwhile is not undone.
    #[tokio::test(flavor = "multi_thread")]
    async fn resealing_hinders_no_change_of_a_setting_or_a_key_and_none_hinders_it() {
        const ROUNDS: u32 = 60;
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let set = |secret: Option<String>| {
            let body = json!({ "cdnPurgeSecret": secret });
            let (app, token) = (&app, &token);
            async move {
                let answer = app.patch_as(token, "/api/admin/settings", &body, None).await;
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
        };
        let changes = async {
            for round in 1..=ROUNDS {
                // Now and then there is none, which nobody can hold.
                if round % 3 == 0 {
                    set(None).await;
                }
                set(Some(format!("secret-number-{round}"))).await;
            }
        };
        let keys = async {
            for _ in 0..ROUNDS {
                let mut transaction = app.service.database.begin(app.tenant).await.unwrap();
                let (connection, now) = (transaction.connection(), app.service.clock.now());
                let sealer = &app.service.address_sealer;
                let made = address_keys::create(&mut *connection, app.tenant, sealer, &SystemEntropy, now);
                let (id, _) = made.await.unwrap();
                transaction.commit().await.unwrap();
                let mut transaction = app.service.database.begin(app.tenant).await.unwrap();
                let retired = address_keys::retire(transaction.connection(), app.tenant, &id, now).await;
                assert!(retired.unwrap());
                transaction.commit().await.unwrap();
            }
        };
        let reseals = async {
            let secret = Secret::new(JWT_SECRET);
            let mut connection = app.database().pools().system().acquire().await.unwrap();
            for _ in 0..ROUNDS {
                let count = reseal(&mut connection, &secret, &SystemEntropy, app.service.clock.now()).await;
                assert!((1..=3).contains(&count.unwrap()));
            }
        };
        tokio::join!(changes, keys, reseals);
        let mut connection = app.database().pools().system().acquire().await.unwrap();
        let layers = settings::load(&mut connection, app.tenant).await.unwrap();
        let value = &layers.tenant["cdnPurgeSecret"];
        let kept = settings::open_secret(&app.service.settings_sealer, Some(app.tenant), "cdnPurgeSecret", value);
        assert_eq!(kept.unwrap().expose(), format!("secret-number-{ROUNDS}"));
        let audited = "select count(*) from audit_logs where action = 'keys.reseal'";
        assert_eq!(app.count(audited).await, i64::from(ROUNDS));
    }
}
