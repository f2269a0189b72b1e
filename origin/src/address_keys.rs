//! Keys that a tenant's image addresses are signed with: sealed in the database, told to edges and to who makes one.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use kado_shared::{address_signature::AddressKey, tenant::TenantId};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    database::DatabaseError,
    entropy::Entropy,
    hex,
    seal::{OpenError, Place, Sealer},
};

/// Most active keys of a tenant: each costs every signed request a little.
pub(crate) const MOST_ACTIVE: i64 = 5;

const TABLE: &str = "address_keys";
const COLUMN: &str = "sealed_key";

/// Why a key cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AddressKeyError {
    #[error("a tenant may have {MOST_ACTIVE} active keys; retire one first")]
    TooMany,
    #[error("JWT_SECRET lists no secret that could seal a key")]
    NoSecret,
    #[error("address key {id} of tenant {tenant} does not open")]
    Sealed {
        tenant: TenantId,
        id: String,
        #[source]
        source: OpenError,
    },
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// A key as it is listed: never with its secret.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) id: String,
    pub(crate) created_at: OffsetDateTime,
    pub(crate) retired_at: Option<OffsetDateTime>,
}

const fn place(tenant: TenantId, id: &str) -> Place<'_> {
    Place {
        table: TABLE,
        column: COLUMN,
        tenant: Some(tenant),
        id,
    }
}

/// Makes a key; the only time at which it is shown.
pub(crate) async fn create(
    connection: &mut PgConnection,
    tenant: TenantId,
    sealer: &Sealer,
    entropy: &dyn Entropy,
    now: OffsetDateTime,
) -> Result<(String, AddressKey), AddressKeyError> {
    sqlx::query!(
        r#"select pg_advisory_xact_lock(hashtextextended('kado address keys ' || $1, 0))::text as "locked""#,
        tenant.to_string()
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(DatabaseError::from)?;
    let active = sqlx::query_scalar!(
        r#"select count(*) as "count!" from address_keys where tenant_id = $1 and retired_at is null"#,
        tenant.0
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(DatabaseError::from)?;
    if active >= MOST_ACTIVE {
        return Err(AddressKeyError::TooMany);
    }
    let (id, secret): ([u8; 4], [u8; 32]) = (entropy.bytes(), entropy.bytes());
    let id = hex::encode(&id);
    let key = AddressKey::new(&URL_SAFE_NO_PAD.encode(secret)).ok_or(AddressKeyError::NoSecret)?;
    let sealed = sealer
        .seal(key.expose().as_bytes(), place(tenant, &id), entropy)
        .ok_or(AddressKeyError::NoSecret)?;
    sqlx::query!(
        "insert into address_keys (tenant_id, id, sealed_key, created_at) values ($1, $2, $3, $4)",
        tenant.0,
        id,
        sealed,
        now,
    )
    .execute(connection)
    .await
    .map_err(DatabaseError::from)?;
    Ok((id, key))
}

/// Ends a key; false where the tenant has no active one of this name.
pub(crate) async fn retire(
    connection: &mut PgConnection,
    tenant: TenantId,
    id: &str,
    now: OffsetDateTime,
) -> Result<bool, DatabaseError> {
    let retired = sqlx::query!(
        "update address_keys set retired_at = $3 where tenant_id = $1 and id = $2 and retired_at is null",
        tenant.0,
        id,
        now,
    )
    .execute(connection)
    .await?;
    Ok(retired.rows_affected() == 1)
}

/// A tenant's keys, newest first.
pub(crate) async fn list(connection: &mut PgConnection, tenant: TenantId) -> Result<Vec<Listed>, DatabaseError> {
    Ok(sqlx::query_as!(
        Listed,
        "select id, created_at, retired_at from address_keys where tenant_id = $1 order by created_at desc, id",
        tenant.0
    )
    .fetch_all(connection)
    .await?)
}

/// A tenant's active keys, newest first: what signatures are verified with.
pub(crate) async fn active(
    connection: &mut PgConnection,
    tenant: TenantId,
    sealer: &Sealer,
) -> Result<Vec<AddressKey>, AddressKeyError> {
    let rows = sqlx::query!(
        "select id, sealed_key from address_keys where tenant_id = $1 and retired_at is null
         order by created_at desc, id",
        tenant.0
    )
    .fetch_all(connection)
    .await
    .map_err(DatabaseError::from)?;
    rows.into_iter()
        .map(|row| open(sealer, tenant, row.id, &row.sealed_key))
        .collect()
}

fn open(sealer: &Sealer, tenant: TenantId, id: String, sealed: &str) -> Result<AddressKey, AddressKeyError> {
    let opened = sealer.open(sealed, place(tenant, &id)).and_then(|plain| {
        std::str::from_utf8(&plain)
            .ok()
            .and_then(AddressKey::new)
            .ok_or(OpenError::Malformed)
    });
    opened.map_err(|source| AddressKeyError::Sealed { tenant, id, source })
}

/// Whether every active key of every tenant opens; where one does not, its addresses would all be refused.
pub(crate) async fn check_all(connection: &mut PgConnection, sealer: &Sealer) -> Result<(), AddressKeyError> {
    let rows = sqlx::query!("select tenant_id, id, sealed_key from address_keys where retired_at is null")
        .fetch_all(connection)
        .await
        .map_err(DatabaseError::from)?;
    for row in rows {
        open(sealer, TenantId(row.tenant_id), row.id, &row.sealed_key)?;
    }
    Ok(())
}

/// A key as it is stored, which nobody else changes until the transaction ends.
#[derive(Debug)]
pub(crate) struct Held {
    tenant_id: Uuid,
    id: String,
    sealed_key: String,
}

/// Keeps every active key from being retired until the transaction ends.
pub(crate) async fn hold_active(connection: &mut PgConnection) -> Result<Vec<Held>, DatabaseError> {
    Ok(sqlx::query_as!(
        Held,
        "select tenant_id, id, sealed_key from address_keys where retired_at is null order by tenant_id, id for update"
    )
    .fetch_all(connection)
    .await?)
}

/// Seals keys anew with the newest secret; answers how many. One that was made since they were held is not looked for:
/// whoever retires it may wait for this.
pub(crate) async fn reseal(
    connection: &mut PgConnection,
    held: Vec<Held>,
    sealer: &Sealer,
    entropy: &dyn Entropy,
) -> Result<usize, AddressKeyError> {
    let count = held.len();
    for row in held {
        let tenant = TenantId(row.tenant_id);
        let key = open(sealer, tenant, row.id.clone(), &row.sealed_key)?;
        let sealed = sealer
            .seal(key.expose().as_bytes(), place(tenant, &row.id), entropy)
            .ok_or(AddressKeyError::NoSecret)?;
        sqlx::query!(
            "update address_keys set sealed_key = $3 where tenant_id = $1 and id = $2",
            row.tenant_id,
            row.id,
            sealed
        )
        .execute(&mut *connection)
        .await
        .map_err(DatabaseError::from)?;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::{AddressKeyError, MOST_ACTIVE, active, check_all, create, hold_active, list, reseal, retire};
    use crate::{
        api::testing::TestApp,
        entropy::testing::CountingEntropy,
        seal::{Purpose, Sealer},
    };
    use kado_shared::{edge_config::EdgeConfig, secret::Secret, tenant::TenantId};
    use uuid::Uuid;

    const OLD: &str = "old-secret-old-secret-old-secret-32";
    const NEW: &str = "new-secret-new-secret-new-secret-32";

    fn sealer(list: &str) -> Sealer {
        Sealer::new(&Secret::new(list), Purpose::ADDRESS_KEYS)
    }

    #[tokio::test]
    async fn keys_are_told_to_the_edges_of_their_tenant_until_they_are_retired() {
        let Some(app) = TestApp::start().await else { return };
        let (entropy, now) = (CountingEntropy::default(), app.service.clock.now());
        let mut transaction = app.service.database.begin(app.tenant).await.unwrap();
        let mut made = Vec::new();
        for _ in 0..MOST_ACTIVE {
            let key = create(
                transaction.connection(),
                app.tenant,
                &app.service.address_sealer,
                &entropy,
                now,
            )
            .await
            .unwrap();
            made.push(key);
        }
        let more = create(
            transaction.connection(),
            app.tenant,
            &app.service.address_sealer,
            &entropy,
            now,
        )
        .await;
        assert!(matches!(more, Err(AddressKeyError::TooMany)));
        transaction.commit().await.unwrap();
        let told = || async {
            EdgeConfig::from_json(&app.internal("GET", "/internal/edge-config?host=localhost").await.body)
                .unwrap()
                .tenant
                .address_keys
        };
        assert_eq!(told().await.len(), 5);
        let mut transaction = app.service.database.begin(app.tenant).await.unwrap();
        let gone = &made[0].0;
        assert!(retire(transaction.connection(), app.tenant, gone, now).await.unwrap());
        assert!(!retire(transaction.connection(), app.tenant, gone, now).await.unwrap());
        transaction.commit().await.unwrap();
        let left = told().await;
        assert!(left.len() == 4 && !left.contains(&made[0].1) && left.contains(&made[1].1));
        let mut transaction = app.service.database.begin(app.tenant).await.unwrap();
        let listed = list(transaction.connection(), app.tenant).await.unwrap();
        assert_eq!(listed.iter().filter(|key| key.retired_at.is_some()).count(), 1);
        let mut other = app.service.database.begin(TenantId(Uuid::from_u128(8))).await.unwrap();
        assert!(
            list(other.connection(), app.tenant).await.unwrap().is_empty(),
            "row-level security"
        );
    }

    #[tokio::test]
    async fn a_dropped_secret_is_noticed_and_resealing_lets_it_go() {
        let Some(app) = TestApp::start().await else { return };
        let (entropy, now) = (CountingEntropy::default(), app.service.clock.now());
        let mut connection = app.database().superuser().acquire().await.unwrap();
        let (_, key) = create(&mut connection, app.tenant, &sealer(OLD), &entropy, now)
            .await
            .unwrap();
        let error = check_all(&mut connection, &sealer(NEW)).await.unwrap_err();
        assert!(
            crate::http::failure::chain(&error).contains("kado keys reseal"),
            "{error}"
        );
        let both = sealer(&format!("{NEW},{OLD}"));
        let held = hold_active(&mut connection).await.unwrap();
        assert_eq!(reseal(&mut connection, held, &both, &entropy).await.unwrap(), 1);
        check_all(&mut connection, &sealer(NEW)).await.unwrap();
        assert_eq!(active(&mut connection, app.tenant, &sealer(NEW)).await.unwrap(), [key]);
    }
}
