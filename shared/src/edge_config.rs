//! The configuration snapshot: what an edge needs to know of a tenant, as `/internal/edge-config?host=` answers it.
//!
//! Unknown fields are ignored, so that a newer origin can serve an older edge; an unknown `schema` is refused.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use uuid::Uuid;

use crate::{address_signature::AddressKey, claims::Jwk, settings::Settings, tenant::TenantId};

/// The schema this version reads and writes.
pub const SCHEMA: u32 = 1;
/// Up to this age a snapshot is used as it is, in milliseconds.
pub const FRESH_MS: u64 = 2_000;
/// Up to this age it is used and renewed behind the request, in milliseconds.
pub const STALE_MS: u64 = 5_000;
/// How long a request waits for a snapshot older than that, in milliseconds.
pub const AWAIT_MS: u64 = 300;
/// Older than this, routes that need a token are refused, in milliseconds.
pub const TOO_OLD_MS: u64 = 15 * 60 * 1000;

/// Everything an edge knows about one tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EdgeConfig {
    /// Form of this document.
    pub schema: u32,
    /// Raised in the transaction of each change; the document's ETag.
    pub revision: u64,
    /// What holds for the whole site.
    pub global: Global,
    /// What holds for this tenant.
    pub tenant: Tenant,
    /// Public keys that access tokens are verified with.
    pub keys: Vec<Jwk>,
    /// Sessions that ended before their tokens expire.
    #[serde(default)]
    pub revoked: Vec<Uuid>,
    /// Addresses and sources purged from the cache.
    #[serde(default)]
    pub purges: Vec<Purge>,
    /// Changes when the database was restored from a backup.
    pub restore_id: Uuid,
}

/// What holds for the whole site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Global {
    /// Issuer of access tokens.
    pub issuer: String,
    /// Tokens of an older epoch do not count.
    pub epoch: u64,
    /// Cache generation of everything.
    pub generation: u64,
    /// Where limits are counted.
    #[serde(default)]
    pub limits: LimitStore,
    /// Share of traces begun at the edge that are recorded, 0 to 1; 0 where tracing is off.
    #[serde(default)]
    pub trace_share: f64,
}

/// Where limits are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitStore {
    /// In the gateway's own objects: there is one gateway, or its objects are everywhere the same.
    #[default]
    Gateway,
    /// At the origin, in Redis: there may be several gateways.
    Shared,
}

/// What holds for one tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tenant {
    /// Who it is.
    pub id: TenantId,
    /// Its name, for people.
    pub name: String,
    /// Cache generation of the tenant.
    pub generation: u64,
    /// Settings of the edge, in force for this tenant: only what differs from the defaults.
    pub settings: BTreeMap<String, Value>,
    /// Cache generations of presets, by name: only those that were ever raised.
    #[serde(default)]
    pub presets: BTreeMap<String, u64>,
    /// What presets stand for, by name.
    #[serde(default)]
    pub preset_options: BTreeMap<String, Preset>,
    /// Keys that image addresses are signed with; all verify.
    #[serde(default)]
    pub address_keys: Vec<AddressKey>,
}

/// What a preset stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Preset {
    /// Its options, in normal form.
    pub options: String,
    /// Whether pictures made by it may carry the tenant's mark.
    #[serde(default)]
    pub branding: bool,
}

/// One purged address or source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Purge {
    /// Hash of what was purged.
    pub hash: String,
    /// When, Unix milliseconds: entries stored before do not count.
    pub time: u64,
}

/// Why a snapshot is not applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not the document above.
    #[error("the edge configuration is malformed: {0}")]
    Malformed(String),
    /// Of a form this version does not know.
    #[error("the edge configuration has schema {0}, this edge reads schema {SCHEMA}")]
    Schema(u32),
}

impl EdgeConfig {
    /// Reads a snapshot.
    ///
    /// # Errors
    /// Why it is not applied.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ConfigError> {
        let malformed = |error: serde_json::Error| ConfigError::Malformed(error.to_string());
        let value: Value = serde_json::from_slice(bytes).map_err(malformed)?;
        match value.get("schema").and_then(Value::as_u64) {
            Some(schema) if schema == u64::from(SCHEMA) => serde_json::from_value(value).map_err(malformed),
            Some(schema) => Err(ConfigError::Schema(u32::try_from(schema).unwrap_or(u32::MAX))),
            None => Err(ConfigError::Malformed("schema is missing".to_owned())),
        }
    }

    /// The document's ETag: what changes it is its revision, and how the origin was configured.
    #[must_use]
    pub fn etag(&self) -> String {
        etag(self.revision, self.global.limits, self.global.trace_share)
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings::from_layers([&self.tenant.settings])
    }
}

/// The ETag of a revision; see [`EdgeConfig::etag`].
#[must_use]
pub fn etag(revision: u64, limits: LimitStore, trace_share: f64) -> String {
    let limits = match limits {
        LimitStore::Gateway => "",
        LimitStore::Shared => "-shared",
    };
    if trace_share > 0.0 {
        format!("\"{revision}{limits}-traced-{trace_share}\"")
    } else {
        format!("\"{revision}{limits}\"")
    }
}

/// What to do with a snapshot of some age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Use it.
    Fresh,
    /// Use it, and renew it behind the request.
    RenewBehind,
    /// Wait [`AWAIT_MS`] for a newer one, then use it all the same.
    AwaitRenewal,
}

/// Decides by age.
#[must_use]
pub const fn freshness(age_ms: u64) -> Freshness {
    match age_ms {
        0..=FRESH_MS => Freshness::Fresh,
        _ if age_ms <= STALE_MS => Freshness::RenewBehind,
        _ => Freshness::AwaitRenewal,
    }
}

#[cfg(test)]
mod tests {
    use super::{ConfigError, EdgeConfig, Freshness, Global, LimitStore, SCHEMA, Tenant, freshness};
    use crate::tenant::TenantId;
    use std::collections::BTreeMap;
    use uuid::Uuid;

    fn config() -> EdgeConfig {
        EdgeConfig {
            schema: SCHEMA,
            revision: 7,
            global: Global {
                issuer: "https://kado.example".into(),
                epoch: 1,
                generation: 1,
                limits: LimitStore::Gateway,
                trace_share: 0.0,
            },
            tenant: Tenant {
                id: TenantId(Uuid::nil()),
                name: "default".into(),
                generation: 1,
                settings: BTreeMap::new(),
                presets: BTreeMap::new(),
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
    fn a_newer_origin_can_serve_an_older_edge() {
        let mut value = serde_json::to_value(config()).unwrap();
        value["invented"] = serde_json::json!({"later": true});
        value["tenant"]["invented"] = serde_json::json!(1);
        assert_eq!(
            EdgeConfig::from_json(&serde_json::to_vec(&value).unwrap()),
            Ok(config())
        );
    }

    #[test]
    fn an_older_origin_can_serve_a_newer_edge() {
        let mut value = serde_json::to_value(config()).unwrap();
        let tenant = value["tenant"].as_object_mut().unwrap();
        for later in ["presets", "presetOptions", "addressKeys"] {
            assert!(tenant.remove(later).is_some(), "{later}");
        }
        assert_eq!(
            EdgeConfig::from_json(&serde_json::to_vec(&value).unwrap()),
            Ok(config())
        );
    }

    #[test]
    fn an_unknown_schema_is_refused() {
        let mut value = serde_json::to_value(config()).unwrap();
        value["schema"] = serde_json::json!(2);
        assert_eq!(
            EdgeConfig::from_json(&serde_json::to_vec(&value).unwrap()),
            Err(ConfigError::Schema(2))
        );
        assert!(matches!(EdgeConfig::from_json(b"{}"), Err(ConfigError::Malformed(_))));
        assert!(matches!(EdgeConfig::from_json(b"\xff"), Err(ConfigError::Malformed(_))));
    }

    #[test]
    fn age_decides() {
        assert_eq!(freshness(2000), Freshness::Fresh);
        assert_eq!(freshness(2001), Freshness::RenewBehind);
        assert_eq!(freshness(5000), Freshness::RenewBehind);
        assert_eq!(freshness(5001), Freshness::AwaitRenewal);
    }
}
