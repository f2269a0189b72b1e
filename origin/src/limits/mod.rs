//! Limits that several gateways share: counted in Redis, or in the database while Redis is away. Each store is exact by
//! itself; what one has counted the other does not know.

mod database;
mod redis;

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use kado_shared::{
    limits::protocol::{Take, Taken},
    tenant::TenantId,
};
use tokio::time::timeout;

use crate::{database::DatabaseError, http::failure::chain, service::App};

pub(crate) use database::sweep;

/// How long Redis may take for one decision. Longer, and it is away.
const PATIENCE: Duration = Duration::from_millis(400);
/// How long a Redis that was away is left alone before one request looks again.
const REST: Duration = Duration::from_secs(1);
/// Requests of one counter wait for each other here, and not each with a connection of its own.
const QUEUES: usize = 64;

/// The state of it that a process keeps.
#[derive(Debug)]
pub(crate) struct SharedLimits {
    away: Mutex<Away>,
    /// Decisions that the database made because Redis was away.
    fallbacks: AtomicU64,
    queues: Vec<tokio::sync::Mutex<()>>,
    hasher: RandomState,
}

/// What is known of a Redis that is away.
#[derive(Clone, Copy, Debug, Default)]
struct Away {
    /// When it was last asked in vain; `None` while it answers.
    since_last: Option<Instant>,
}

impl Default for SharedLimits {
    fn default() -> Self {
        Self {
            away: Mutex::default(),
            fallbacks: AtomicU64::new(0),
            queues: (0..QUEUES).map(|_| tokio::sync::Mutex::new(())).collect(),
            hasher: RandomState::new(),
        }
    }
}

impl SharedLimits {
    /// Decides about a request and counts it.
    ///
    /// # Errors
    /// When Redis and the database are both away.
    pub(crate) async fn take(&self, app: &App, tenant: TenantId, take: &Take) -> Result<Taken, DatabaseError> {
        if let Some(redis) = app.redis.as_ref().filter(|_| self.may_ask()) {
            let error = match timeout(PATIENCE, redis::take(redis, tenant, take)).await {
                Ok(Ok(taken)) => {
                    self.is_there();
                    return Ok(taken);
                }
                Ok(Err(error)) => chain(&error),
                Err(_) => {
                    redis.give_up().await;
                    format!("no answer within {} ms", PATIENCE.as_millis())
                }
            };
            self.is_away(&error);
        }
        self.fallbacks.fetch_add(1, Ordering::Relaxed);
        let number = usize::try_from(self.hasher.hash_one((tenant, &take.key)) % QUEUES as u64).unwrap_or(0);
        let _turn = match self.queues.get(number) {
            Some(queue) => Some(queue.lock().await),
            None => None,
        };
        database::take(&app.database, tenant, take).await
    }

    /// Whether Redis should be asked: while it is away, by one request a second.
    fn may_ask(&self) -> bool {
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        match away.since_last {
            None => true,
            Some(since) if since.elapsed() >= REST => {
                away.since_last = Some(Instant::now());
                true
            }
            Some(_) => false,
        }
    }

    fn is_there(&self) {
        let before = std::mem::take(&mut *self.away.lock().unwrap_or_else(PoisonError::into_inner));
        if before.since_last.is_some() {
            let fallbacks = self.fallbacks.load(Ordering::Relaxed);
            tracing::info!(
                event = "limits-in-redis",
                fallbacks,
                "limits are counted in Redis again"
            );
        }
    }

    fn is_away(&self, error: &str) {
        let now = Some(Instant::now());
        let before = std::mem::replace(
            &mut *self.away.lock().unwrap_or_else(PoisonError::into_inner),
            Away { since_last: now },
        );
        if before.since_last.is_none() {
            tracing::error!(
                event = "limits-in-database",
                error,
                "Redis is away; limits are counted in the database"
            );
        }
    }
}
