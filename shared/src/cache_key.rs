//! Cache keys: synthetic addresses on our own host that answer 404 from outside.

use sha2::{Digest, Sha256};

use crate::edge_config::EdgeConfig;

/// Prefix of every key's path. A client's request that begins with it is answered 404.
pub const PATH_PREFIX: &str = "/__kado/";

/// The key of a rendering, as an absolute address.
///
/// `options` are in normal form with presets expanded, `source` is [`crate::source::Source::identity`], `preset` the one
/// that was named. A raised generation (of everything, of the tenant, of the preset), a new engine or another format is
/// another key.
///
/// Of a preset it holds the generation and not the name, so that presets of equal options share their pictures. No two
/// presets of a tenant may therefore be given one generation at different times: a purge of one would find the other's.
#[must_use]
pub fn of(
    config: &EdgeConfig,
    engine_version: &str,
    preset: Option<&str>,
    format: &str,
    options: &str,
    source: &str,
) -> String {
    let mut hash = Sha256::new();
    hash.update(options.as_bytes());
    hash.update([0]);
    hash.update(source.as_bytes());
    let digest = hex(&hash.finalize());
    let (all, tenant) = (config.global.generation, config.tenant.generation);
    let preset = preset
        .and_then(|name| config.tenant.presets.get(name))
        .copied()
        .unwrap_or_default();
    format!(
        "https://kado.internal{PATH_PREFIX}v1/{}/{all}.{tenant}.{preset}/{engine_version}/{format}/{digest}",
        config.tenant.id
    )
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a `String` cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::of;
    use crate::{
        edge_config::{EdgeConfig, Global, LimitStore, SCHEMA, Tenant},
        tenant::TenantId,
    };
    use std::collections::{BTreeMap, HashSet};
    use uuid::Uuid;

    fn config(tenant: u128, generation: u64) -> EdgeConfig {
        EdgeConfig {
            schema: SCHEMA,
            revision: 1,
            global: Global {
                issuer: String::new(),
                epoch: 0,
                generation: 1,
                limits: LimitStore::Gateway,
                trace_share: 0.0,
            },
            tenant: Tenant {
                id: TenantId(Uuid::from_u128(tenant)),
                name: String::new(),
                generation,
                settings: BTreeMap::new(),
                presets: BTreeMap::from([("raised".to_owned(), 1)]),
                preset_options: BTreeMap::new(),
                address_keys: vec![],
            },
            keys: vec![],
            revoked: vec![],
            purges: vec![],
            restore_id: Uuid::nil(),
        }
    }

    #[test]
    fn whatever_makes_another_picture_makes_another_key() {
        let keys = [
            of(&config(1, 1), "1", None, "webp", "width=1", "u/a"),
            of(&config(2, 1), "1", None, "webp", "width=1", "u/a"),
            of(&config(1, 2), "1", None, "webp", "width=1", "u/a"),
            of(&config(1, 1), "2", None, "webp", "width=1", "u/a"),
            of(&config(1, 1), "1", None, "avif", "width=1", "u/a"),
            of(&config(1, 1), "1", None, "webp", "width=2", "u/a"),
            of(&config(1, 1), "1", None, "webp", "width=1", "u/b"),
            of(&config(1, 1), "1", None, "webp", "width=1u", "/a"),
            of(&config(1, 1), "1", Some("raised"), "webp", "width=1", "u/a"),
        ];
        assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len());
        // A preset whose generation was never raised is no other key: what it stands for is in the options.
        assert_eq!(keys[0], of(&config(1, 1), "1", Some("other"), "webp", "width=1", "u/a"));
        assert_eq!(keys[0], of(&config(1, 1), "1", None, "webp", "width=1", "u/a"));
    }
}
