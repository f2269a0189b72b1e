//! Presets in the database: those that a tenant begins with, and what the edges are told of them.
//!
//! How options are read and filled is `kado_imaging::options::Preset`; administrators change them in `api/admin/presets`.

use kado_imaging::{OptionError, options};
use kado_shared::{edge_config::Preset, tenant::TenantId};
use sqlx::PgConnection;
use std::collections::BTreeMap;
use time::{Duration, OffsetDateTime};

use crate::database::DatabaseError;

/// Most presets of a tenant: all of them are in the snapshot of its edges.
pub(crate) const MOST: i64 = 200;

/// A preset that every tenant begins with.
struct Seed {
    name: &'static str,
    /// In normal form. Sharpness 1.0 meant none where these numbers come from, so `sharpen` is what was above it.
    options: &'static str,
    title: &'static str,
    description: &'static str,
    branding: bool,
}

/// For marketplaces. Migration 0040 has the same, for tenants that were there before.
const SEEDS: [Seed; 6] = [
    Seed {
        name: "gofood",
        options: "background=%23ffffff,brightness=1.08,contrast=1.05,fit=cover,format=jpeg,height=1080,max-bytes=2097152,\
                  quality=90,saturation=1.15,sharpen=0.2,width=1080",
        title: "GoFood",
        description: "Square menu picture, JPEG of at most 2 MB",
        branding: false,
    },
    Seed {
        name: "grabfood",
        options: "background=%23ffffff,brightness=1.07,contrast=1.05,fit=cover,format=jpeg,height=1200,max-bytes=1572864,\
                  quality=86,saturation=1.14,sharpen=0.18,width=1200",
        title: "GrabFood",
        description: "Square menu picture, JPEG of at most 1.5 MB",
        branding: false,
    },
    Seed {
        name: "grabfood_cover",
        options: "background=%23ffffff,brightness=1.06,contrast=1.04,fit=cover,format=jpeg,height=1000,max-bytes=2097152,\
                  quality=85,saturation=1.12,sharpen=0.15,width=1800",
        title: "GrabFood cover",
        description: "Cover of a shop, JPEG of at most 2 MB",
        branding: false,
    },
    Seed {
        name: "shopeefood",
        options: "background=%23ffffff,brightness=1.05,contrast=1.02,fit=cover,format=jpeg,height=800,max-bytes=1048576,\
                  quality=88,saturation=1.18,width=800",
        title: "ShopeeFood",
        description: "Square menu picture, JPEG of at most 1 MB",
        branding: false,
    },
    Seed {
        name: "instagram",
        options: "background=%23ffffff,brightness=1.1,contrast=1.08,fit=cover,format=jpeg,height=1350,max-bytes=3145728,\
                  quality=92,saturation=1.25,sharpen=0.3,width=1080",
        title: "Instagram",
        description: "Upright post, JPEG of at most 3 MB, with the watermark where it is asked for",
        branding: true,
    },
    Seed {
        name: "general",
        options: "brightness=1.05,fit=cover,format=png,height=1024,max-bytes=2097152,quality=85,saturation=1.12,width=1024",
        title: "General",
        description: "Square picture that stays transparent, PNG of at most 2 MB",
        branding: false,
    },
];

/// Gives a new tenant the presets that each begins with; later they are its own.
pub(crate) async fn seed(
    connection: &mut PgConnection,
    tenant: TenantId,
    now: OffsetDateTime,
) -> Result<(), DatabaseError> {
    for (place, seed) in (0..).zip(&SEEDS) {
        // Lists are ordered by time.
        let at = now + Duration::microseconds(place);
        sqlx::query!(
            "insert into presets (tenant_id, name, options, title, description, branding, created_at, updated_at)
             values ($1, $2, $3, $4, $5, $6, $7, $7)",
            tenant.0,
            seed.name,
            seed.options,
            seed.title,
            seed.description,
            seed.branding,
            at,
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// A tenant's presets, for its edges.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) presets: BTreeMap<String, Preset>,
    /// Presets that are left out, because they cannot be read, and why.
    pub(crate) unreadable: Vec<(String, String)>,
}

/// What edges are told of a tenant's presets. Options by hand are checked by nobody, and a binary may be older than what
/// another one has stored.
pub(crate) async fn for_edge(connection: &mut PgConnection, tenant: TenantId) -> Result<Told, DatabaseError> {
    let rows = sqlx::query!(
        "select name, options, branding from presets where tenant_id = $1 order by name",
        tenant.0
    )
    .fetch_all(connection)
    .await?;
    let mut told = Told::default();
    for row in rows {
        match options::Preset::parse(&row.options, row.branding) {
            Ok(preset) => {
                let preset = Preset {
                    options: preset.normal_form(),
                    branding: row.branding,
                };
                told.presets.insert(row.name, preset);
            }
            Err(errors) => {
                let detail = errors.iter().map(OptionError::detail).collect::<Vec<_>>();
                told.unreadable.push((row.name, detail.join("; ")));
            }
        }
    }
    Ok(told)
}

/// Holds off other new presets of the tenant until the transaction ends, so that there are never more than [`MOST`].
pub(crate) async fn lock(connection: &mut PgConnection, tenant: TenantId) -> Result<(), DatabaseError> {
    sqlx::query!(
        r#"select pg_advisory_xact_lock(hashtextextended('kado presets ' || $1, 0))::text as "locked""#,
        tenant.to_string()
    )
    .fetch_one(connection)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::SEEDS;
    use kado_imaging::options::{Preset, PresetName};

    #[test]
    fn what_a_tenant_begins_with_is_valid_and_in_normal_form() {
        for seed in &SEEDS {
            let preset = Preset::parse(seed.options, seed.branding).unwrap_or_else(|errors| panic!("{errors:?}"));
            assert_eq!(preset.normal_form(), seed.options, "{}", seed.name);
            assert!(PresetName::new(seed.name).is_some(), "{}", seed.name);
        }
    }
}
