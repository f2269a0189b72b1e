//! The one door through which a request comes to tenants other than its own.
//!
//! Requests are served as `kado_app`, which row-level security shows its own tenant alone. An administrator of an operator
//! tenant goes on as `kado_system`, which sees all: that the tenant is one is first asked as `kado_app`, so that nobody else
//! gets as far as that connection, and once more in the transaction that the work is done in.

use kado_shared::tenant::TenantId;
use sqlx::{PgConnection, Postgres, Transaction};
use tokio::sync::SemaphorePermit;
use uuid::Uuid;

use super::lock;
use crate::{
    database::{Database, DatabaseError, TenantTransaction},
    http::authentication::Principal,
    service::Service,
};

/// Whether a tenant's administrators manage all tenants, by the row that `kado_app` sees of it.
pub(crate) async fn manages_others(database: &Database, tenant: TenantId) -> Result<bool, DatabaseError> {
    let mut transaction = database.begin(tenant).await?;
    let operator = is_operator(&mut transaction, tenant).await?;
    transaction.commit().await?;
    Ok(operator)
}

async fn is_operator(transaction: &mut TenantTransaction, tenant: TenantId) -> Result<bool, DatabaseError> {
    let operator = sqlx::query_scalar!("select operator from tenants where id = $1", tenant.0)
        .fetch_optional(transaction.connection())
        .await?;
    Ok(operator.unwrap_or(false))
}

/// A transaction that sees every tenant, on behalf of an administrator who may. Dropped without [`Operating::commit`], it
/// changes nothing.
#[derive(Debug)]
pub(crate) struct Operating<'a> {
    inner: Transaction<'static, Postgres>,
    /// The other connections of `kado_system` are left to snapshots and sweeps.
    _place: SemaphorePermit<'a>,
}

impl<'a> Operating<'a> {
    /// Begins a transaction for changes: of a new tenant, or of this one, which is held as it is. So is the tenant that asks,
    /// which stays an operator until the transaction ends.
    ///
    /// `None` for whoever may not: nothing was read of any tenant but their own.
    pub(crate) async fn begin(
        service: &'a Service,
        principal: &Principal,
        changed: Option<Uuid>,
    ) -> Result<Option<Self>, DatabaseError> {
        let own = principal.caller.tenant;
        if !manages_others(&service.database, own).await? {
            return Ok(None);
        }
        let mut operating = Self::connect(service).await?;
        let ids: Vec<_> = std::iter::once(own.0).chain(changed).collect();
        lock(operating.connection(), &ids).await?;
        let may = operating.may(principal).await?;
        Ok(may.then_some(operating))
    }

    /// Begins a transaction for reading, of one moment's state.
    async fn begin_reading(service: &'a Service, principal: &Principal) -> Result<Option<Self>, DatabaseError> {
        let mut operating = Self::connect(service).await?;
        sqlx::query!("set transaction isolation level repeatable read, read only")
            .execute(operating.connection())
            .await?;
        let may = operating.may(principal).await?;
        Ok(may.then_some(operating))
    }

    async fn connect(service: &'a Service) -> Result<Self, DatabaseError> {
        let place = service.operating.acquire().await;
        // Nobody closes it; were it closed, the service would be on its way out.
        let place = place.map_err(|_| sqlx::Error::PoolClosed)?;
        Ok(Self {
            inner: service.database.system().begin().await?,
            _place: place,
        })
    }

    /// Whether whoever asks is still signed in, an administrator, and of an operator tenant that is not suspended.
    async fn may(&mut self, principal: &Principal) -> Result<bool, DatabaseError> {
        Ok(sqlx::query_scalar!(
            r#"select exists (
                   select from tenants t join users u on u.tenant_id = t.id
                   where t.id = $1 and t.operator and t.active and u.id = $2 and u.active and u.role = 'ADMIN'
                         and ($3::uuid is null or exists (
                             select from sessions s
                             where s.tenant_id = t.id and s.id = $3 and s.user_id = u.id and s.ended_at is null))
               ) as "may!""#,
            principal.caller.tenant.0,
            principal.user,
            principal.session,
        )
        .fetch_one(self.connection())
        .await?)
    }

    /// The connection to run statements on.
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.inner
    }

    /// Makes its changes last.
    pub(crate) async fn commit(self) -> Result<(), DatabaseError> {
        Ok(self.inner.commit().await?)
    }
}

/// What an administrator sees of tenants: all, or their own. The statements are the same, the role decides.
#[derive(Debug)]
pub(crate) enum Sight<'a> {
    Own(TenantTransaction),
    All(Operating<'a>),
}

impl<'a> Sight<'a> {
    /// Begins a transaction that sees what the administrator may see.
    pub(crate) async fn begin(service: &'a Service, principal: &Principal) -> Result<Self, DatabaseError> {
        let mut own = service.database.begin(principal.caller.tenant).await?;
        if !is_operator(&mut own, principal.caller.tenant).await? {
            return Ok(Self::Own(own));
        }
        // Given back before another is waited for.
        own.commit().await?;
        match Operating::begin_reading(service, principal).await? {
            Some(operating) => Ok(Self::All(operating)),
            None => Ok(Self::Own(service.database.begin(principal.caller.tenant).await?)),
        }
    }

    /// The connection to run statements on.
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        match self {
            Self::Own(transaction) => transaction.connection(),
            Self::All(operating) => operating.connection(),
        }
    }

    /// Ends it.
    pub(crate) async fn commit(self) -> Result<(), DatabaseError> {
        match self {
            Self::Own(transaction) => transaction.commit().await,
            Self::All(operating) => operating.commit().await,
        }
    }
}
