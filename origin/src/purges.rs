//! Purges of the caches: what was asked for as hashes and generations, and what of it the edges are told.
//!
//! Nothing here talks to an edge: a trigger raises the revision of the configuration, and every edge asks for that.

use kado_imaging::{ImageOptions, options::PresetName};
use kado_shared::{
    edge_config::Purge,
    problem::FieldError,
    purge::{self, ImageAddress, KEPT_MS, MOST},
    tenant::{TenantId, normalize_host},
};
use serde_json::{Value, json};
use sqlx::PgConnection;
use std::collections::{BTreeMap, BTreeSet};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::{cdn, database::DatabaseError};

/// Most addresses, sources and presets of one request.
pub(crate) const MOST_AT_ONCE: usize = 100;
/// Requests of a tenant's administrators in [`WINDOW`].
pub(crate) const REQUESTS: i64 = 10;
/// The time in which they are counted.
pub(crate) const WINDOW: Duration = Duration::MINUTE;
/// Most presets of a tenant that have a generation of their own; past it, the tenant's is raised.
const MOST_PRESETS: i64 = 1000;
/// How long purges are told. A picture that began to be made at the last moment is over by then.
const KEPT: Duration = Duration::milliseconds(KEPT_MS.cast_signed());

/// What is to be purged, as somebody wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Image addresses, with or without the tenant's host.
    pub(crate) addresses: Vec<String>,
    /// Sources, written as in an address.
    pub(crate) sources: Vec<String>,
    /// Names of presets.
    pub(crate) presets: Vec<String>,
    /// Everything of the tenant.
    pub(crate) all: bool,
}

/// What is to be purged, as caches know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Order {
    hashes: BTreeSet<String>,
    /// Hashes of the sources concerned: an address's too, because tags know no single address.
    sources: BTreeSet<String>,
    presets: BTreeSet<String>,
    all: bool,
}

impl Wanted {
    /// For the audit log.
    pub(crate) fn to_json(&self) -> Value {
        json!({ "address": self.addresses, "source": self.sources, "preset": self.presets, "all": self.all })
    }

    /// Reads all of it, and answers every fault. `hosts` are the tenant's.
    pub(crate) fn read(&self, image_origin: &str, hosts: &[String]) -> Result<Order, Vec<FieldError>> {
        let (addresses, sources, presets) = (self.addresses.len(), self.sources.len(), self.presets.len());
        let fault = |field: String, detail: String| FieldError { field, detail };
        if addresses + sources + presets > MOST_AT_ONCE {
            let detail = format!("at most {MOST_AT_ONCE} addresses, sources and presets at once; all for everything");
            return Err(vec![fault("address".to_owned(), detail)]);
        }
        if addresses + sources + presets == 0 && !self.all {
            let detail = "name an address, a source, a preset, or all";
            return Err(vec![fault("all".to_owned(), detail.to_owned())]);
        }
        let (mut order, mut faults) = (Order::default(), Vec::new());
        order.all = self.all;
        for (index, address) in self.addresses.iter().enumerate() {
            match address_hash(address, image_origin, hosts) {
                Ok((hash, source)) => {
                    order.hashes.insert(hash);
                    order.sources.insert(source);
                }
                Err(detail) => faults.push(fault(format!("address[{index}]"), detail)),
            }
        }
        for (index, source) in self.sources.iter().enumerate() {
            match purge::identity(source, image_origin) {
                Ok(identity) => order.add_source(&identity),
                Err(error) => faults.push(fault(format!("source[{index}]"), error.to_string())),
            }
        }
        for (index, preset) in self.presets.iter().enumerate() {
            if PresetName::new(preset).is_some() {
                order.presets.insert(preset.clone());
            } else {
                faults.push(fault(
                    format!("preset[{index}]"),
                    format!("must be {}", PresetName::RULE),
                ));
            }
        }
        if faults.is_empty() { Ok(order) } else { Err(faults) }
    }
}

/// The hashes of an address and of its source.
fn address_hash(address: &str, image_origin: &str, hosts: &[String]) -> Result<(String, String), String> {
    let read = ImageAddress::parse(address)
        .ok_or("must be an image address: /img/<options>/<source>, with or without https://<host> in front")?;
    if let Some(host) = read.host
        && !normalize_host(&host).is_some_and(|host| hosts.contains(&host))
    {
        return Err(format!("{host} is no host of this tenant"));
    }
    let options = ImageOptions::parse(read.options).map_err(|errors| {
        let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
        texts.join("; ")
    })?;
    let identity = purge::identity(read.source, image_origin).map_err(|error| error.to_string())?;
    let hash = purge::address_hash(&options.normal_form(), &identity);
    Ok((hash, purge::source_hash(&identity)))
}

/// What came of a purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    /// The tenant's generation afterwards.
    pub(crate) generation: i64,
    /// Whether it was raised: everything of the tenant is made anew.
    pub(crate) raised: bool,
}

impl Order {
    /// One source by its identity; for a picture that was deleted.
    pub(crate) fn of_source(identity: &str) -> Self {
        let mut order = Self::default();
        order.add_source(identity);
        order
    }

    fn add_source(&mut self, identity: &str) {
        let hash = purge::source_hash(identity);
        self.hashes.insert(hash.clone());
        self.sources.insert(hash);
    }

    /// What a CDN in front purges by.
    fn tags(&self, tenant: TenantId, raised: bool) -> Vec<String> {
        if raised {
            return vec![purge::tenant_tag(tenant)];
        }
        let presets = self.presets.iter().map(|preset| purge::preset_tag(tenant, preset));
        let sources = self.sources.iter().map(|hash| purge::source_tag(tenant, hash));
        presets.chain(sources).collect()
    }

    /// Purges, within the caller's transaction, which sees the tenant. `by` is the administrator whose requests are
    /// counted.
    pub(crate) async fn carry_out(
        &self,
        connection: &mut PgConnection,
        tenant: TenantId,
        by: Option<Uuid>,
        now: OffsetDateTime,
    ) -> Result<Done, DatabaseError> {
        lock(connection, tenant).await?;
        let hashes: Vec<String> = self.hashes.iter().cloned().collect();
        sqlx::query!(
            "insert into cache_purges (tenant_id, requested_at, requested_by, hashes) values ($1, $2, $3, $4)",
            tenant.0,
            now,
            by,
            &hashes,
        )
        .execute(&mut *connection)
        .await?;
        // A number that no preset of the tenant has had: keys hold it without the preset's name, so that presets of equal
        // options would find each other's pictures under equal numbers.
        let presets: Vec<String> = self.presets.iter().cloned().collect();
        sqlx::query!(
            "insert into preset_generations (tenant_id, preset, generation)
             select $1, unnest($2::text[]),
                    (select coalesce(max(generation), 0) + 1 from preset_generations where tenant_id = $1)
             on conflict (tenant_id, preset) do update set generation = excluded.generation",
            tenant.0,
            &presets,
        )
        .execute(&mut *connection)
        .await?;
        let standing = sqlx::query!(
            r#"select (select coalesce(sum(cardinality(hashes)), 0) from cache_purges
                       where tenant_id = $1 and requested_at > $2) as "purges!",
                      (select count(*) from preset_generations where tenant_id = $1) as "presets!""#,
            tenant.0,
            now - KEPT,
        )
        .fetch_one(&mut *connection)
        .await?;
        let most = i64::try_from(MOST).unwrap_or(i64::MAX);
        let raised = self.all || standing.purges > most || standing.presets > MOST_PRESETS;
        cdn::enqueue(connection, tenant, &self.tags(tenant, raised), now).await?;
        let generation = if raised {
            raise(connection, tenant).await?
        } else {
            sqlx::query_scalar!("select generation from tenants where id = $1", tenant.0)
                .fetch_one(connection)
                .await?
        };
        Ok(Done { generation, raised })
    }
}

/// Raises the tenant's generation. What was purged singly before is in it.
async fn raise(connection: &mut PgConnection, tenant: TenantId) -> Result<i64, DatabaseError> {
    sqlx::query!(
        "update cache_purges set hashes = '{}' where tenant_id = $1 and hashes <> '{}'",
        tenant.0
    )
    .execute(&mut *connection)
    .await?;
    Ok(sqlx::query_scalar!(
        "update tenants set generation = generation + 1 where id = $1 returning generation",
        tenant.0
    )
    .fetch_one(connection)
    .await?)
}

/// Empties the caches of every tenant; for operators.
pub(crate) async fn purge_everything(connection: &mut PgConnection, now: OffsetDateTime) -> Result<i64, DatabaseError> {
    cdn::enqueue_everything(connection, now).await?;
    Ok(sqlx::query_scalar!(
        "update edge_state set generation = generation + 1, revision = revision + 1 returning generation"
    )
    .fetch_one(connection)
    .await?)
}

/// Seconds until an administrator of the tenant may purge again; `None` where that is now. Holds others off until the
/// transaction ends, so that never more than [`REQUESTS`] are let through in any [`WINDOW`].
pub(crate) async fn wait(
    connection: &mut PgConnection,
    tenant: TenantId,
    now: OffsetDateTime,
) -> Result<Option<u64>, DatabaseError> {
    lock(connection, tenant).await?;
    let tenth = sqlx::query_scalar!(
        "select requested_at from cache_purges
         where tenant_id = $1 and requested_by is not null and requested_at > $2
         order by requested_at desc offset $3 limit 1",
        tenant.0,
        now - WINDOW,
        REQUESTS - 1,
    )
    .fetch_optional(connection)
    .await?;
    Ok(tenth.map(|tenth| {
        let left = (tenth + WINDOW - now).whole_milliseconds();
        u64::try_from(left).unwrap_or(0).div_ceil(1000).max(1)
    }))
}

/// Holds off other purges of the tenant, by its row: whoever changes that one too tells the edges next, as a purge does, and
/// with another order each would wait for the other.
async fn lock(connection: &mut PgConnection, tenant: TenantId) -> Result<(), DatabaseError> {
    sqlx::query!("select id from tenants where id = $1 for no key update", tenant.0)
        .fetch_optional(connection)
        .await?;
    Ok(())
}

/// What edges are told of a tenant's purges.
pub(crate) async fn for_edge(
    connection: &mut PgConnection,
    tenant: TenantId,
    now: OffsetDateTime,
) -> Result<Vec<Purge>, DatabaseError> {
    let rows = sqlx::query!(
        r#"select hash as "hash!", max(requested_at) as "at!"
           from cache_purges, unnest(hashes) as hash
           where tenant_id = $1 and requested_at > $2
           group by hash order by max(requested_at) desc, hash"#,
        tenant.0,
        now - KEPT,
    )
    .fetch_all(connection)
    .await?;
    let milliseconds = |at: OffsetDateTime| u64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
    Ok(rows
        .into_iter()
        .map(|row| Purge {
            hash: row.hash,
            time: milliseconds(row.at),
        })
        .collect())
}

/// Generations of a tenant's presets, by name.
pub(crate) async fn preset_generations(
    connection: &mut PgConnection,
    tenant: TenantId,
) -> Result<BTreeMap<String, u64>, DatabaseError> {
    let rows = sqlx::query!(
        "select preset, generation from preset_generations where tenant_id = $1",
        tenant.0
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.preset, u64::try_from(row.generation).unwrap_or(0)))
        .collect())
}

/// Removes what no edge needs any more, and says how much.
pub(crate) async fn sweep(pool: &sqlx::PgPool, now: OffsetDateTime, batch: i64) -> Result<u64, DatabaseError> {
    Ok(sqlx::query!(
        "delete from cache_purges where (tenant_id, id) in
             (select tenant_id, id from cache_purges where requested_at < $1 limit $2)",
        now - KEPT,
        batch,
    )
    .execute(pool)
    .await?
    .rows_affected())
}

#[cfg(test)]
mod tests {
    use super::{Order, Wanted};
    use kado_shared::purge;
    use std::collections::BTreeSet;

    fn read(addresses: &[&str], sources: &[&str], presets: &[&str]) -> Result<Order, Vec<String>> {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        let wanted = Wanted {
            addresses: owned(addresses),
            sources: owned(sources),
            presets: owned(presets),
            all: false,
        };
        wanted
            .read("https://o.example", &["shop.example".to_owned()])
            .map_err(|faults| faults.into_iter().map(|fault| fault.field).collect())
    }

    #[test]
    fn spellings_of_one_address_are_one_purge() {
        let expected = BTreeSet::from([purge::address_hash("height=2,width=1", "https://o.example/a.jpg?v=1")]);
        for address in [
            "/img/w=1,h=2/a.jpg?v=1",
            "/img/height=2,,width=1/a.jpg?v=1",
            "https://shop.example/img/w=1,h=2/a.jpg?v=1",
            "http://SHOP.example:8080/img/w=1,h=2//a.jpg?v=1",
        ] {
            assert_eq!(read(&[address], &[], &[]).unwrap().hashes, expected, "{address}");
        }
    }

    #[test]
    fn every_fault_is_named() {
        assert_eq!(
            read(
                &["/img/w=1/a", "/img/w=x/a", "https://other.example/img/w=1/a"],
                &["u/x"],
                &["Good", "fine"]
            ),
            Err(["address[1]", "address[2]", "source[0]", "preset[0]"]
                .map(str::to_owned)
                .to_vec())
        );
        assert_eq!(read(&[], &[], &[]), Err(vec!["all".to_owned()]));
        assert_eq!(read(&["/img/w=1/a"; 101], &[], &[]), Err(vec!["address".to_owned()]));
    }
}
