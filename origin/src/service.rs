//! Everything a request may need, built once.

use kado_shared::{
    edge_config::LimitStore,
    secret::Secret,
    signature::{EdgeKeys, Purpose, WeakSecret},
};
use std::sync::Arc;
use tokio::sync::Semaphore;

use crate::{
    blobs::BlobStore,
    clock::SharedClock,
    database::Database,
    entropy::SharedEntropy,
    heavy::HeavyLane,
    http::edge::EdgeGuard,
    identity::{
        delay::DelayKeys,
        keyring::Keyring,
        password::{HashError, Passwords},
        turns::Turns,
    },
    limits::SharedLimits,
    metrics::Metrics,
    readiness::Readiness,
    redis::Redis,
    seal::{self, Sealer},
    settings::SettingsCache,
    spans::{Recorder, Tracing},
    tenants::Tenants,
};

/// Uploads at once; each holds one part in memory.
const UPLOADS_AT_ONCE: usize = 48;
/// Requests at once that work on other tenants than their own: fewer than `kado_system` has connections.
const OPERATING_AT_ONCE: usize = 2;

/// How handlers get at it.
pub(crate) type App = Arc<Service>;

/// The service.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) clock: SharedClock,
    pub(crate) entropy: SharedEntropy,
    pub(crate) database: Database,
    pub(crate) redis: Option<Redis>,
    pub(crate) limits: SharedLimits,
    pub(crate) blobs: BlobStore,
    pub(crate) forward: EdgeGuard,
    pub(crate) internal: EdgeGuard,
    pub(crate) keyring: Keyring,
    pub(crate) address_sealer: Sealer,
    pub(crate) settings_sealer: Sealer,
    pub(crate) passwords: Passwords,
    pub(crate) delays: DelayKeys,
    /// Who rotates which session.
    pub(crate) rotations: Turns,
    /// Whose API calls are counted, by user, or by key until its user is known.
    pub(crate) calls: Turns,
    /// Which users store an upload.
    pub(crate) stores: Turns,
    pub(crate) tenants: Tenants,
    pub(crate) settings: SettingsCache,
    pub(crate) readiness: Readiness,
    pub(crate) metrics: Metrics,
    pub(crate) spans: Recorder,
    pub(crate) uploads: Semaphore,
    /// Who works on other tenants than their own.
    pub(crate) operating: Semaphore,
    /// `None` where it is turned off.
    pub(crate) heavy: Option<HeavyLane>,
    /// The site's public URL, without a slash at its end; issuer of tokens.
    pub(crate) public_url: String,
}

/// What a service is built from.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) clock: SharedClock,
    pub(crate) entropy: SharedEntropy,
    pub(crate) database: Database,
    pub(crate) redis: Option<Redis>,
    pub(crate) blobs: BlobStore,
    pub(crate) jwt_secret: Secret,
    pub(crate) edge_secret: Secret,
    pub(crate) public_url: String,
    /// Password hashes at once.
    pub(crate) hashes_at_once: usize,
    pub(crate) heavy: Option<HeavyLane>,
    pub(crate) tracing: Option<Tracing>,
}

/// Why a service cannot be built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    #[error("EDGE_SECRET")]
    EdgeSecret(#[from] WeakSecret),
    #[error(transparent)]
    Hash(#[from] HashError),
}

impl Service {
    /// Where gateways count limits: with Redis they share them.
    pub(crate) const fn limit_store(&self) -> LimitStore {
        match self.redis {
            Some(_) => LimitStore::Shared,
            None => LimitStore::Gateway,
        }
    }

    /// Puts a service together; it asks nothing of anybody yet.
    pub(crate) fn build(parts: Parts) -> Result<Self, BuildError> {
        let sealer = Sealer::new(&parts.jwt_secret, seal::Purpose::SIGNING_KEYS);
        let guard = |purpose| EdgeKeys::from_secret_list(&parts.edge_secret, purpose).map(EdgeGuard::new);
        Ok(Self {
            forward: guard(Purpose::Forward)?,
            internal: guard(Purpose::Internal)?,
            keyring: Keyring::new(
                parts.database.app().clone(),
                sealer,
                parts.public_url.clone(),
                Arc::clone(&parts.clock),
            ),
            address_sealer: Sealer::new(&parts.jwt_secret, seal::Purpose::ADDRESS_KEYS),
            settings_sealer: Sealer::new(&parts.jwt_secret, seal::Purpose::SETTINGS),
            passwords: Passwords::new(parts.hashes_at_once, Arc::clone(&parts.entropy))?,
            delays: DelayKeys::new(&parts.jwt_secret),
            rotations: Turns::default(),
            calls: Turns::default(),
            stores: Turns::default(),
            tenants: Tenants::default(),
            settings: SettingsCache::default(),
            readiness: Readiness::default(),
            metrics: Metrics::default(),
            spans: Recorder::new(parts.tracing, Arc::clone(&parts.clock), Arc::clone(&parts.entropy)),
            uploads: Semaphore::new(UPLOADS_AT_ONCE),
            operating: Semaphore::new(OPERATING_AT_ONCE),
            heavy: parts.heavy,
            clock: parts.clock,
            entropy: parts.entropy,
            database: parts.database,
            redis: parts.redis,
            limits: SharedLimits::default(),
            blobs: parts.blobs,
            public_url: parts.public_url,
        })
    }
}
