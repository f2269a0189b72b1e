//! Purges: what was thrown out of the cache, told to the edges as a hash and a time.
//!
//! A whole tenant and a preset are purged by their generation, which is part of the cache key. One address or one source
//! cannot be: an edge compares the time of its purge with the time at which the entry began to be made.

use std::collections::HashMap;

use sha2::{Digest, Sha256};
use url::Url;

use crate::{
    cache_key::hex,
    edge_config::Purge,
    source::{Source, SourceError},
    tenant::TenantId,
};

/// How long purges are told to edges, in milliseconds: no entry lives longer.
pub const KEPT_MS: u64 = crate::lifetime::LONGEST * 1000;
/// Purges that a tenant may have at once; past it, its generation is raised.
pub const MOST: usize = 10_000;
/// How far the clocks of origin and edges may be apart, in milliseconds: what began so soon after a purge that it did not
/// know of counts as purged.
pub const CLOCKS_APART_MS: u64 = 2_000;

/// Bytes of the SHA-256 that are told.
const HASH_BYTES: usize = 16;

/// The hash of a source, whatever is made of it. `identity` is [`Source::identity`].
#[must_use]
pub fn source_hash(identity: &str) -> String {
    hash(&["source", identity])
}

/// The hash of an address. `options` are in normal form as asked for, before anything is negotiated or a preset is
/// expanded; `identity` is [`Source::identity`].
#[must_use]
pub fn address_hash(options: &str, identity: &str) -> String {
    hash(&["address", options, identity])
}

fn hash(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hex(hash.finalize().get(..HASH_BYTES).unwrap_or_default())
}

/// The identity of a source that is written as in an address, with its query. Whether it may be fetched plays no part:
/// what was allowed once can still be purged.
///
/// # Errors
/// What would be right.
pub fn identity(source: &str, image_origin: &str) -> Result<String, SourceError> {
    let (path, query) = source
        .split_once('?')
        .map_or((source, None), |(path, query)| (path, Some(query)));
    let parsed = Source::parse(path, query)?;
    let target = match &parsed {
        Source::OriginPath(_) => parsed.resolve(image_origin, &[])?,
        Source::Stored(_) | Source::Absolute(_) => None,
    };
    Ok(parsed.identity(target.as_ref()))
}

/// An image address taken apart, as far as a purge needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageAddress<'a> {
    /// Its host, lower-case, where the address is absolute.
    pub host: Option<String>,
    /// The raw options.
    pub options: &'a str,
    /// The source with its query.
    pub source: &'a str,
}

impl<'a> ImageAddress<'a> {
    /// Reads `/img/<options>/<source>`, or the same with scheme and host in front.
    #[must_use]
    pub fn parse(address: &'a str) -> Option<Self> {
        let (host, path) = if address.starts_with('/') {
            (None, address)
        } else {
            let url = Url::parse(address)
                .ok()
                .filter(|url| matches!(url.scheme(), "http" | "https"))?;
            let (_, after_scheme) = address.split_once("://")?;
            let path = after_scheme.find('/').and_then(|start| after_scheme.get(start..))?;
            (Some(url.host_str()?.to_ascii_lowercase()), path)
        };
        let (options, source) = path.strip_prefix("/img/")?.split_once('/')?;
        // A fragment never reaches a server.
        let source = source.split('#').next().unwrap_or_default();
        Some(Self { host, options, source })
    }
}

/// The purges of a snapshot, for looking up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PurgeIndex {
    times: HashMap<String, u64>,
}

impl PurgeIndex {
    /// Of several purges of one hash the latest counts.
    #[must_use]
    pub fn new(purges: &[Purge]) -> Self {
        let mut times = HashMap::with_capacity(purges.len());
        for purge in purges {
            let time = times.entry(purge.hash.clone()).or_insert(0);
            *time = purge.time.max(*time);
        }
        Self { times }
    }

    /// Whether there is none, and nothing has to be hashed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// When the last of these was purged, Unix milliseconds; `None` where none of them was.
    #[must_use]
    pub fn time_of(&self, hashes: &[&str]) -> Option<u64> {
        hashes.iter().filter_map(|hash| self.times.get(*hash).copied()).max()
    }
}

/// Whether an entry that began to be made at `begun_ms` no longer counts.
#[must_use]
pub const fn is_purged(purged_ms: Option<u64>, begun_ms: u64) -> bool {
    match purged_ms {
        Some(purged) => begun_ms <= purged.saturating_add(CLOCKS_APART_MS),
        None => false,
    }
}

/// When a picture begins to be made, for later purges: one that is made in the knowledge of a purge comes after it,
/// whatever the clocks say.
#[must_use]
pub fn begun(purged_ms: Option<u64>, now_ms: u64) -> u64 {
    purged_ms.map_or(now_ms, |purged| now_ms.max(purged.saturating_add(CLOCKS_APART_MS + 1)))
}

/// The tag of everything, in front of which no tenant is named.
pub const TAG_ALL: &str = "kado";

/// The tag of a tenant's pictures.
#[must_use]
pub fn tenant_tag(tenant: TenantId) -> String {
    format!("{TAG_ALL}-{}", tenant.0.simple())
}

/// The tag of what a tenant has made of a source.
#[must_use]
pub fn source_tag(tenant: TenantId, source_hash: &str) -> String {
    format!("{}-s-{source_hash}", tenant_tag(tenant))
}

/// The tag of what a tenant has made by a preset.
#[must_use]
pub fn preset_tag(tenant: TenantId, preset: &str) -> String {
    format!("{}-p-{preset}", tenant_tag(tenant))
}

/// `Cache-Tag`: at most four tags and 300 bytes, far below what any CDN takes.
#[must_use]
pub fn tags(tenant: TenantId, source_hash: &str, preset: Option<&str>) -> String {
    let mut tags = format!("{TAG_ALL},{},{}", tenant_tag(tenant), source_tag(tenant, source_hash));
    if let Some(preset) = preset {
        tags.push(',');
        tags.push_str(&preset_tag(tenant, preset));
    }
    tags
}

#[cfg(test)]
mod tests {
    use super::{
        CLOCKS_APART_MS, ImageAddress, PurgeIndex, address_hash, begun, identity, is_purged, source_hash, tags,
    };
    use crate::{edge_config::Purge, tenant::TenantId};
    use proptest::prelude::{any, proptest};
    use uuid::Uuid;

    fn purge(hash: &str, time: u64) -> Purge {
        Purge {
            hash: hash.to_owned(),
            time,
        }
    }

    #[test]
    fn a_purge_counts_for_what_began_before_it_as_far_as_clocks_tell() {
        assert!(!is_purged(None, 0));
        for (begun, purged) in [
            (0, true),
            (10_000, true),
            (10_000 + CLOCKS_APART_MS, true),
            (10_001 + CLOCKS_APART_MS, false),
        ] {
            assert_eq!(is_purged(Some(10_000), begun), purged, "{begun}");
        }
    }

    #[test]
    fn what_is_made_in_the_knowledge_of_a_purge_outlives_it() {
        for now in [0, 10_000, 50_000] {
            assert!(!is_purged(Some(10_000), begun(Some(10_000), now)), "{now}");
        }
        assert_eq!((begun(None, 5), begun(Some(1), 50_000)), (5, 50_000));
    }

    #[test]
    fn of_several_purges_the_latest_counts() {
        let index = PurgeIndex::new(&[purge("a", 5), purge("b", 7), purge("a", 9), purge("a", 2)]);
        assert_eq!(index.time_of(&["a"]), Some(9));
        assert_eq!(index.time_of(&["x", "b"]), Some(7));
        assert_eq!(index.time_of(&["a", "b"]), Some(9));
        assert_eq!(index.time_of(&["x"]), None);
        assert!(PurgeIndex::new(&[]).is_empty() && !index.is_empty());
    }

    #[test]
    fn hashes_tell_addresses_and_sources_apart() {
        assert_ne!(source_hash("u/a"), address_hash("", "u/a"));
        assert_ne!(address_hash("a", "b"), address_hash("b", "a"));
        assert_ne!(address_hash("a", "b"), address_hash("a\0b", ""));
        assert_eq!(source_hash("u/a").len(), 32);
    }

    #[test]
    fn a_source_is_what_an_address_would_make_of_it() {
        let id = "6f1c1b9e-7c0a-4d8e-9d51-0b8f5a1f2e3d";
        for (source, expected) in [
            (format!("u/{id}"), format!("u/{id}")),
            ("a.jpg?v=1".to_owned(), "https://o.example/base/a.jpg?v=1".to_owned()),
            ("/a.jpg".to_owned(), "https://o.example/base/a.jpg".to_owned()),
            (
                "https%3A%2F%2FCDN.example%2Fa.jpg".to_owned(),
                "https://cdn.example/a.jpg".to_owned(),
            ),
            (
                "https:/cdn.example/a.jpg?x=1#part".to_owned(),
                "https://cdn.example/a.jpg?x=1".to_owned(),
            ),
        ] {
            assert_eq!(
                identity(&source, "https://o.example/base/").unwrap(),
                expected,
                "{source}"
            );
        }
        assert!(identity("a.jpg", "").is_err());
        assert!(identity("u/x", "").is_err());
    }

    #[test]
    fn addresses_are_read_with_and_without_host() {
        let plain = ImageAddress::parse("/img/w=1,h=2/https://a.example/b?c#d").unwrap();
        assert_eq!(
            (plain.host, plain.options, plain.source),
            (None, "w=1,h=2", "https://a.example/b?c")
        );
        let absolute = ImageAddress::parse("https://Shop.example:8443/img/w=1/a.jpg").unwrap();
        assert_eq!(
            (absolute.host.as_deref(), absolute.options, absolute.source),
            (Some("shop.example"), "w=1", "a.jpg")
        );
        for bad in [
            "",
            "img/w=1/a",
            "/img/w=1",
            "/other/w=1/a",
            "ftp://a/img/w=1/a",
            "https://a",
        ] {
            assert_eq!(ImageAddress::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn tags_are_few_short_and_plain() {
        let longest = tags(TenantId(Uuid::nil()), &source_hash("x"), Some(&"p".repeat(64)));
        assert!(longest.len() <= 300, "{}", longest.len());
        assert!(longest.bytes().all(|byte| byte.is_ascii_graphic()), "{longest}");
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in any::<String>()) {
            let _ = ImageAddress::parse(&text);
            let _ = identity(&text, "https://o.example");
        }
    }
}
