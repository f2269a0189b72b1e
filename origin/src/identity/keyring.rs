//! The keys that sign access tokens: made, sealed, loaded, published.
//!
//! One key is active and signs; pending and retiring keys are published beside it and verify. The private half leaves the
//! database sealed and is opened once per key. How keys come and go is
//! `key_rotation`'s.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use kado_shared::claims::{Jwk, SigningKey, Verifier};
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, PgPool};
use std::sync::{Arc, RwLock};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use crate::{
    clock::SharedClock,
    database::DatabaseError,
    entropy::Entropy,
    seal::{OpenError, Place, Sealer},
};

/// How long loaded keys are used before the database is asked again. Far under the time between publishing and promoting.
pub(crate) const FRESH_FOR: Duration = Duration::seconds(5);
/// How old loaded keys must be for a token of an unknown key to have the database asked at once: whoever invents keys makes
/// one query a second.
const ASKED_AGAIN_AFTER: Duration = Duration::SECOND;
const TABLE: &str = "signing_keys";
const COLUMN: &str = "sealed_private_key";

/// Why no keys can be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyringError {
    /// The database could not be asked.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// There is no active key: `kado seed` was not run.
    #[error("there is no active signing key: run `kado seed`")]
    NoActiveKey,
    /// The active key does not open.
    #[error("signing key {kid}")]
    Sealed {
        kid: String,
        #[source]
        source: OpenError,
    },
    /// The active key is not an Ed25519 key, or not the private half of what is published.
    #[error("signing key {0} does not match its public half")]
    Mismatch(String),
    /// No secret to seal with.
    #[error("JWT_SECRET is empty, so nothing can be sealed")]
    NoSecret,
}

/// The keys in use at one moment.
pub(crate) struct Keys {
    /// Identifier of the active key.
    pub(crate) kid: String,
    /// The active key.
    pub(crate) signing: SigningKey,
    /// What is published.
    pub(crate) published: Vec<Jwk>,
    /// Verifies what any published key signed.
    pub(crate) verifier: Verifier,
    loaded_at: OffsetDateTime,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// Keeps the keys at hand.
#[derive(Debug)]
pub(crate) struct Keyring {
    pool: PgPool,
    sealer: Sealer,
    issuer: String,
    clock: SharedClock,
    current: RwLock<Option<Arc<Keys>>>,
    loading: tokio::sync::Mutex<()>,
}

impl Keyring {
    /// An empty ring; keys are loaded on first use.
    pub(crate) fn new(pool: PgPool, sealer: Sealer, issuer: String, clock: SharedClock) -> Self {
        Self {
            pool,
            sealer,
            issuer,
            clock,
            current: RwLock::new(None),
            loading: tokio::sync::Mutex::new(()),
        }
    }

    /// The keys in use. A database that is away leaves the last ones standing.
    pub(crate) async fn current(&self) -> Result<Arc<Keys>, KeyringError> {
        self.loaded_within(FRESH_FOR).await
    }

    /// The keys to verify this token with: where its key is unknown, another replica may have begun to sign with it a moment
    /// ago, because the last one had to be retired at once.
    pub(crate) async fn current_for(&self, token: &str) -> Result<Arc<Keys>, KeyringError> {
        let keys = self.current().await?;
        match Verifier::key_id(token) {
            Some(kid) if !keys.published.iter().any(|key| key.kid == kid) => {
                self.loaded_within(ASKED_AGAIN_AFTER).await
            }
            _ => Ok(keys),
        }
    }

    async fn loaded_within(&self, age: Duration) -> Result<Arc<Keys>, KeyringError> {
        if let Some(keys) = self.younger_than(age) {
            return Ok(keys);
        }
        let _one_at_a_time = self.loading.lock().await;
        if let Some(keys) = self.younger_than(age) {
            return Ok(keys);
        }
        match self.load().await {
            Ok(keys) => {
                let keys = Arc::new(keys);
                self.store(Arc::clone(&keys));
                Ok(keys)
            }
            Err(KeyringError::Database(error)) => self.last().ok_or(KeyringError::Database(error)),
            Err(error) => Err(error),
        }
    }

    /// The key of this identifier, if it is published; the active one is at hand.
    pub(crate) async fn signing_key(&self, kid: &str) -> Result<Option<SigningKey>, KeyringError> {
        let keys = self.current().await?;
        if keys.kid == kid {
            return Ok(Some(keys.signing.clone()));
        }
        let mut connection = self.pool.acquire().await.map_err(DatabaseError::from)?;
        let rows = rows(&mut connection).await?;
        rows.iter()
            .find(|row| row.kid == kid)
            .map(|row| open(&self.sealer, &row.kid, &row.sealed_private_key))
            .transpose()
    }

    fn younger_than(&self, age: Duration) -> Option<Arc<Keys>> {
        let now = self.clock.now();
        self.last().filter(|keys| (now - keys.loaded_at).abs() < age)
    }

    fn last(&self) -> Option<Arc<Keys>> {
        self.current
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }

    fn store(&self, keys: Arc<Keys>) {
        *self.current.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(keys);
    }

    async fn load(&self) -> Result<Keys, KeyringError> {
        let mut connection = self.pool.acquire().await.map_err(DatabaseError::from)?;
        let known = self.last();
        read(
            &mut connection,
            &self.sealer,
            &self.issuer,
            known.as_deref(),
            self.clock.now(),
        )
        .await
    }
}

/// Reads the keys; `known` spares opening an active key that is at hand.
pub(crate) async fn read(
    connection: &mut PgConnection,
    sealer: &Sealer,
    issuer: &str,
    known: Option<&Keys>,
    now: OffsetDateTime,
) -> Result<Keys, KeyringError> {
    let rows = rows(connection).await?;
    let published = public_halves(&rows)?;
    let active = rows
        .iter()
        .find(|row| row.state == "active")
        .ok_or(KeyringError::NoActiveKey)?;
    let signing = match known {
        Some(keys) if keys.kid == active.kid => keys.signing.clone(),
        _ => open(sealer, &active.kid, &active.sealed_private_key)?,
    };
    if signing.verifying_key().as_bytes()[..] != active.public_key[..] {
        return Err(KeyringError::Mismatch(active.kid.clone()));
    }
    let verifier = Verifier::new(&published, issuer);
    Ok(Keys {
        kid: active.kid.clone(),
        signing,
        published,
        verifier,
        loaded_at: now,
    })
}

/// A key as it lies in the database.
struct Row {
    kid: String,
    public_key: Vec<u8>,
    sealed_private_key: String,
    state: String,
}

/// What is published. A retiring key counts until the sweep retires it, which raises the revision: an edge must not learn of
/// its end by a clock alone.
async fn rows(connection: &mut PgConnection) -> Result<Vec<Row>, DatabaseError> {
    Ok(sqlx::query_as!(
        Row,
        "select kid, public_key, sealed_private_key, state from signing_keys
         where state in ('pending', 'active', 'retiring') order by created_at desc, kid",
    )
    .fetch_all(connection)
    .await?)
}

fn public_halves(rows: &[Row]) -> Result<Vec<Jwk>, KeyringError> {
    let publish = |row: &Row| {
        let public: [u8; 32] = row
            .public_key
            .as_slice()
            .try_into()
            .map_err(|_| KeyringError::Mismatch(row.kid.clone()))?;
        Ok(Jwk::new(&row.kid, &public))
    };
    rows.iter().map(publish).collect()
}

/// What is published, as one transaction sees it: a snapshot must not mix keys and revision of two moments.
pub(crate) async fn published(connection: &mut PgConnection) -> Result<Vec<Jwk>, KeyringError> {
    public_halves(&rows(connection).await?)
}

/// Opens a private key.
pub(super) fn open(sealer: &Sealer, kid: &str, sealed: &str) -> Result<SigningKey, KeyringError> {
    let place = Place {
        table: TABLE,
        column: COLUMN,
        tenant: None,
        id: kid,
    };
    let plain = sealer.open(sealed, place).map_err(|source| KeyringError::Sealed {
        kid: kid.to_owned(),
        source,
    })?;
    let bytes: Zeroizing<[u8; 32]> = plain
        .as_slice()
        .try_into()
        .map(Zeroizing::new)
        .map_err(|_| KeyringError::Mismatch(kid.to_owned()))?;
    Ok(SigningKey::from_bytes(&bytes))
}

/// A key that no database has yet.
pub(super) struct Made {
    pub(super) kid: String,
    pub(super) public: [u8; 32],
    pub(super) sealed: String,
}

/// Draws a key and seals its private half.
pub(super) fn make(sealer: &Sealer, entropy: &dyn Entropy) -> Result<Made, KeyringError> {
    let seed = Zeroizing::new(entropy.bytes::<32>());
    let public = SigningKey::from_bytes(&seed).verifying_key().to_bytes();
    let kid = thumbprint(&public);
    let place = Place {
        table: TABLE,
        column: COLUMN,
        tenant: None,
        id: &kid,
    };
    let sealed = sealer.seal(&*seed, place, entropy).ok_or(KeyringError::NoSecret)?;
    Ok(Made { kid, public, sealed })
}

/// Makes the first key, active at once; `None` where one is active already.
pub(crate) async fn create_first(
    connection: &mut PgConnection,
    sealer: &Sealer,
    entropy: &dyn Entropy,
    now: OffsetDateTime,
) -> Result<Option<String>, KeyringError> {
    let made = make(sealer, entropy)?;
    let created = sqlx::query!(
        "insert into signing_keys (kid, public_key, sealed_private_key, state, created_at, activated_at)
         select $1, $2, $3, 'active', $4, $4 where not exists (select from signing_keys where state = 'active')
         on conflict do nothing",
        made.kid,
        &made.public[..],
        made.sealed,
        now,
    )
    .execute(connection)
    .await
    .map_err(DatabaseError::from)?;
    Ok((created.rows_affected() == 1).then_some(made.kid))
}

/// Seals every private key anew with the newest secret; answers how many.
pub(crate) async fn reseal(
    connection: &mut PgConnection,
    sealer: &Sealer,
    entropy: &dyn Entropy,
) -> Result<usize, KeyringError> {
    let keys = sqlx::query!("select kid, sealed_private_key from signing_keys for update")
        .fetch_all(&mut *connection)
        .await
        .map_err(DatabaseError::from)?;
    for key in &keys {
        let signing = open(sealer, &key.kid, &key.sealed_private_key)?;
        let place = Place {
            table: TABLE,
            column: COLUMN,
            tenant: None,
            id: &key.kid,
        };
        let sealed = sealer
            .seal(signing.as_bytes(), place, entropy)
            .ok_or(KeyringError::NoSecret)?;
        sqlx::query!(
            "update signing_keys set sealed_private_key = $2 where kid = $1",
            key.kid,
            sealed
        )
        .execute(&mut *connection)
        .await
        .map_err(DatabaseError::from)?;
    }
    Ok(keys.len())
}

/// JWK thumbprint (RFC 7638, RFC 8037).
fn thumbprint(public: &[u8; 32]) -> String {
    let x = URL_SAFE_NO_PAD.encode(public);
    URL_SAFE_NO_PAD.encode(Sha256::digest(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#)))
}

#[cfg(test)]
mod tests {
    use super::{Keyring, KeyringError, create_first, thumbprint};
    use crate::{
        clock::{Clock, testing::ManualClock},
        entropy::testing::CountingEntropy,
        seal::{Purpose, Sealer},
        testing::TestDatabase,
    };
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use kado_shared::secret::Secret;
    use std::sync::Arc;

    const SECRET: &str = "test-secret-test-secret-test-secret";

    fn sealer(secret: &str) -> Sealer {
        Sealer::new(&Secret::new(secret), Purpose::SIGNING_KEYS)
    }

    fn keyring(database: &TestDatabase, secret: &str) -> Keyring {
        let pool = database.pools().app().clone();
        Keyring::new(
            pool,
            sealer(secret),
            "https://kado.example".into(),
            Arc::new(ManualClock::default()),
        )
    }

    async fn create(database: &TestDatabase) -> Option<String> {
        let mut connection = database.pools().system().acquire().await.unwrap();
        let now = ManualClock::default().now();
        create_first(&mut connection, &sealer(SECRET), &CountingEntropy::default(), now)
            .await
            .unwrap()
    }

    #[test]
    fn the_identifier_is_the_thumbprint_of_rfc_8037() {
        let public = URL_SAFE_NO_PAD
            .decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
            .unwrap();
        assert_eq!(
            thumbprint(&public.try_into().unwrap()),
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
        );
    }

    #[tokio::test]
    async fn the_first_key_is_made_once() {
        let Some(database) = TestDatabase::create().await else {
            return;
        };
        assert!(matches!(
            keyring(&database, SECRET).current().await,
            Err(KeyringError::NoActiveKey)
        ));
        let kid = create(&database).await.unwrap();
        assert_eq!(create(&database).await, None);
        let keys = keyring(&database, SECRET).current().await.unwrap();
        assert_eq!((&keys.kid, keys.published.len()), (&kid, 1));
        let stored: String = sqlx::query_scalar("select sealed_private_key from signing_keys")
            .fetch_one(database.superuser())
            .await
            .unwrap();
        assert!(stored.starts_with("v1."));
    }

    #[tokio::test]
    async fn another_secret_does_not_open_it() {
        let Some(database) = TestDatabase::create().await else {
            return;
        };
        create(&database).await.unwrap();
        let error = keyring(&database, "other-secret-other-secret-other-32")
            .current()
            .await
            .unwrap_err();
        assert!(matches!(error, KeyringError::Sealed { .. }), "{error}");
    }

    #[tokio::test]
    async fn resealed_keys_need_the_old_secret_no_more() {
        let Some(database) = TestDatabase::create().await else {
            return;
        };
        create(&database).await.unwrap();
        let new = "other-secret-other-secret-other-32";
        let mut connection = database.pools().system().acquire().await.unwrap();
        let both = sealer(&format!("{new},{SECRET}"));
        assert_eq!(
            super::reseal(&mut connection, &both, &CountingEntropy::default())
                .await
                .unwrap(),
            1
        );
        assert!(keyring(&database, new).current().await.is_ok());
        assert!(keyring(&database, SECRET).current().await.is_err());
    }

    #[tokio::test]
    async fn the_last_keys_outlive_the_database() {
        let Some(database) = TestDatabase::create().await else {
            return;
        };
        create(&database).await.unwrap();
        let clock = Arc::new(ManualClock::default());
        let keyring = Keyring::new(
            database.pools().app().clone(),
            sealer(SECRET),
            String::new(),
            Arc::<ManualClock>::clone(&clock),
        );
        let kid = keyring.current().await.unwrap().kid.clone();
        database.pools().close().await;
        clock.advance(time::Duration::minutes(1));
        assert_eq!(keyring.current().await.unwrap().kid, kid);
    }
}
