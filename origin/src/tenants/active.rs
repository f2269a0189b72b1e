//! Which tenants exist. Asked on every request, so the answer is kept for a moment.

use kado_shared::tenant::TenantId;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};
use time::{Duration, OffsetDateTime};

use crate::database::{Database, DatabaseError};

/// How long a suspended tenant may still be served.
const KEPT_FOR: Duration = Duration::seconds(1);
/// Most tenants remembered at once; beyond it, all are forgotten and asked for again.
const MOST: usize = 10_000;

/// Remembers who was active a moment ago. Who was not is asked for each time.
#[derive(Debug, Default)]
pub(crate) struct Tenants {
    active: Mutex<HashMap<TenantId, OffsetDateTime>>,
}

impl Tenants {
    /// Whether a tenant exists and is not suspended.
    pub(crate) async fn is_active(
        &self,
        database: &Database,
        tenant: TenantId,
        now: OffsetDateTime,
    ) -> Result<bool, DatabaseError> {
        let known = self
            .active
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&tenant)
            .copied();
        if known.is_some_and(|at| (now - at).abs() < KEPT_FOR) {
            return Ok(true);
        }
        let mut transaction = database.begin(tenant).await?;
        let active = sqlx::query_scalar!("select active from tenants where id = $1", tenant.0)
            .fetch_optional(transaction.connection())
            .await?
            .unwrap_or(false);
        transaction.commit().await?;
        if active {
            let mut known = self.active.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= MOST {
                known.clear();
            }
            known.insert(tenant, now);
        }
        Ok(active)
    }
}
