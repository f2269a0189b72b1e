//! Counters of the service, since its start.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value, json};

use crate::freshness::Refusal;

/// What happened since the start. All counters only grow.
#[derive(Debug, Default)]
pub struct Stats {
    pub(crate) hits: Counter,
    pub(crate) misses: Counter,
    pub(crate) expired: Counter,
    pub(crate) not_modified: Counter,
    pub(crate) ranges: Counter,
    pub(crate) hit_bytes: Counter,
    pub(crate) stored: Counter,
    pub(crate) stored_bytes: Counter,
    pub(crate) memory_only: Counter,
    pub(crate) too_large: Counter,
    pub(crate) malformed: Counter,
    pub(crate) truncated: Counter,
    pub(crate) busy: Counter,
    pub(crate) refused: [Counter; Refusal::ALL.len()],
    pub(crate) deleted: Counter,
    pub(crate) evictions: Counter,
    pub(crate) disk_errors: Counter,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: usize) {
        self.0.fetch_add(n as u64, Ordering::Relaxed);
    }

    pub(crate) fn increment(&self) {
        self.add(1);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Stats {
    pub(crate) fn refuse(&self, refusal: Refusal) {
        if let Some(counter) = Refusal::ALL
            .iter()
            .position(|r| *r == refusal)
            .and_then(|i| self.refused.get(i))
        {
            counter.increment();
        }
    }

    /// The counters as JSON: camelCase names, numbers.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let refused: Map<String, Value> = Refusal::ALL
            .iter()
            .zip(&self.refused)
            .map(|(refusal, counter)| (refusal.as_str().to_owned(), counter.get().into()))
            .collect();
        json!({
            "hits": self.hits.get(),
            "misses": self.misses.get(),
            "expired": self.expired.get(),
            "notModified": self.not_modified.get(),
            "ranges": self.ranges.get(),
            "hitBytes": self.hit_bytes.get(),
            "stored": self.stored.get(),
            "storedBytes": self.stored_bytes.get(),
            "memoryOnly": self.memory_only.get(),
            "tooLarge": self.too_large.get(),
            "malformed": self.malformed.get(),
            "truncated": self.truncated.get(),
            "busy": self.busy.get(),
            "refused": refused,
            "deleted": self.deleted.get(),
            "evictions": self.evictions.get(),
            "diskErrors": self.disk_errors.get(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_own_counter() {
        let stats = Stats::default();
        for refusal in Refusal::ALL {
            stats.refuse(refusal);
        }
        stats.refuse(Refusal::Stale);
        let json = stats.to_json();
        assert_eq!(json["refused"]["set-cookie"], 1);
        assert_eq!(json["refused"]["stale"], 2);
    }
}
