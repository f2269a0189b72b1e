//! `RateLimiter`: counts, one object at a time, so that what is promised as exact is.
//!
//! Memory is the truth while it holds a counter; storage holds what must outlive it: every strict log, a fast state that
//! reaches further into the future than an idle object lives, and what memory has no room for. An alarm removes what no
//! longer matters, and an object that has nothing left is gone.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use futures_util::future::try_join_all;
use kado_shared::limits::protocol::{Lease, Leased};
use wasm_bindgen::JsValue;
use worker::{DurableObject, Env, ListOptions, Request, Response, Result, State, durable_object};

use super::counters::{self, Counters, Entry};
use crate::js;

const NAMESPACE: &str = "RATE_LIMITER";
/// Time between two clean-ups of an object's storage, at least.
const CLEAN_EVERY_MS: u64 = 60_000;
/// Counters that a clean-up looks at at once: the storage's own limit on one deletion.
const BATCH: usize = 128;

/// The object.
#[durable_object(alarm)]
pub struct RateLimiter {
    state: State,
    counters: Rc<RefCell<Counters>>,
    /// When the alarm that is known to be set goes off, Unix milliseconds.
    alarm_ms: Cell<Option<u64>>,
    /// How often storage was written: a clean-up removes nothing that may have changed since it looked.
    writes: Cell<u64>,
}

impl DurableObject for RateLimiter {
    fn new(state: State, _env: Env) -> Self {
        Self {
            state,
            counters: counters::of_object(),
            alarm_ms: Cell::new(None),
            writes: Cell::new(0),
        }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        let lease: Lease = super::asked(&mut request).await?;
        let key = &lease.take.key;
        self.load(key).await?;
        // No waiting between the two, so no two requests count at once.
        let now = js::now_ms();
        counters::sweep(now);
        let counted = self.counters.borrow_mut().count(&lease, now);
        let stored_until_ms = counted.to_store.as_ref().map(|entry| entry.until_ms);
        if let Some(entry) = counted.to_store {
            self.writes.set(self.writes.get() + 1);
            self.state.storage().put(key, entry).await?;
        }
        let unstored = self.counters.borrow_mut().shrink(now);
        let first_of_them = unstored.iter().map(|(_, entry)| entry.until_ms).min();
        if !unstored.is_empty() {
            self.writes.set(self.writes.get() + 1);
            let storage = self.state.storage();
            // All are begun before any is waited for: nobody may read storage in between.
            let puts = unstored.into_iter().map(|(key, entry)| {
                let storage = &storage;
                async move { storage.put(&key, entry).await }
            });
            try_join_all(puts).await?;
        }
        if let Some(until_ms) = stored_until_ms.into_iter().chain(first_of_them).min() {
            self.wake(until_ms).await?;
        }
        Response::from_json(&counted.leased)
    }

    async fn alarm(&self) -> Result<Response> {
        self.alarm_ms.set(None);
        let now = js::now_ms();
        self.counters.borrow_mut().drop_expired(now);
        let writes = self.writes.get();
        let earliest = self.remove_expired(now).await?;
        if earliest.is_some() || self.writes.get() != writes {
            self.wake(earliest.unwrap_or_default()).await?;
        } else {
            // Nothing is left: not even an empty object.
            self.state.storage().delete_all().await?;
        }
        Response::empty()
    }
}

impl RateLimiter {
    /// Brings a key's counter into memory, where storage has one.
    async fn load(&self, key: &str) -> Result<()> {
        loop {
            let evictions = {
                let counters = self.counters.borrow();
                if counters.has(key) {
                    return Ok(());
                }
                counters.evictions()
            };
            let stored = self.state.storage().get::<Entry>(key).await?;
            let mut counters = self.counters.borrow_mut();
            // Another request may have counted this key and let go of it while this one read: then it is read again.
            if counters.evictions() == evictions {
                if let Some(entry) = stored.filter(|entry| entry.until_ms > js::now_ms()) {
                    counters.load(key, entry);
                }
                return Ok(());
            }
        }
    }

    /// Removes what no longer matters from storage, a batch at a time, and says when the first of what is left does not
    /// either.
    async fn remove_expired(&self, now: u64) -> Result<Option<u64>> {
        let mut from = String::new();
        let mut earliest: Option<u64> = None;
        loop {
            let options = ListOptions::new().limit(BATCH);
            let options = if from.is_empty() { options } else { options.start(&from) };
            let writes = self.writes.get();
            let stored = self.state.storage().list_with_options(options).await?;
            let (is_last, seen) = (
                usize::try_from(stored.size()).unwrap_or(BATCH) < BATCH,
                js::until_times(&stored)?,
            );
            let expired: Vec<String> = seen
                .iter()
                .filter(|(_, until_ms)| *until_ms <= now)
                .map(|(key, _)| key.clone())
                .collect();
            let left = seen
                .iter()
                .map(|(_, until_ms)| *until_ms)
                .filter(|until_ms| *until_ms > now)
                .min();
            earliest = earliest.into_iter().chain(left).min();
            if self.writes.get() != writes {
                // What was counted meanwhile may be among it: the next clean-up looks again.
                earliest = Some(now);
            } else if !expired.is_empty() {
                self.state.storage().delete_multiple(expired).await?;
            }
            match seen.last() {
                // The smallest key behind the last one.
                Some((last, _)) if !is_last => from = format!("{last}\0"),
                _ => return Ok(earliest),
            }
        }
    }

    /// Sets an alarm for when something stored stops to matter, but not within a minute, unless one is set for before then.
    async fn wake(&self, until_ms: u64) -> Result<()> {
        let Some(at_ms) = new_alarm(self.alarm_ms.get(), until_ms, js::now_ms()) else {
            return Ok(());
        };
        let storage = self.state.storage();
        let set = storage.get_alarm().await?.and_then(|set| u64::try_from(set).ok());
        if new_alarm(set, until_ms, js::now_ms()).is_some() {
            let wait = Duration::from_millis(at_ms.saturating_sub(js::now_ms()));
            storage.set_alarm(wait).await?;
            self.alarm_ms.set(Some(at_ms));
        } else {
            self.alarm_ms.set(set);
        }
        Ok(())
    }
}

/// When an alarm has to go off for what matters until then, where the one that is set does not do: never within a minute.
fn new_alarm(set_ms: Option<u64>, until_ms: u64, now: u64) -> Option<u64> {
    let at_ms = until_ms.max(now.saturating_add(CLEAN_EVERY_MS));
    set_ms.is_none_or(|set| set > at_ms).then_some(at_ms)
}

/// Asks the object that counts this key.
pub(crate) async fn take(
    env: &Env,
    rule_name: &str,
    lease: &Lease,
    one_per_key: bool,
) -> std::result::Result<Leased, JsValue> {
    let body = serde_json::to_string(lease).map_err(|error| JsValue::from_str(&error.to_string()))?;
    let name = super::object_name(rule_name, &lease.take.key, one_per_key);
    super::read(&super::ask(env, NAMESPACE, &name, "http://limiter/", Some(&body), None).await?)
}

#[cfg(test)]
mod tests {
    use super::{CLEAN_EVERY_MS, new_alarm};

    #[test]
    fn an_alarm_goes_off_when_the_first_of_all_ends_and_not_every_minute() {
        let (now, hour) = (5_000, 3_600_000);
        assert_eq!(new_alarm(None, hour, now), Some(hour));
        assert_eq!(new_alarm(Some(hour), 2 * hour, now), None);
        assert_eq!(new_alarm(Some(hour), 70_000, now), Some(70_000));
        assert_eq!(new_alarm(Some(hour), 6_000, now), Some(now + CLEAN_EVERY_MS));
        assert_eq!(new_alarm(Some(now + CLEAN_EVERY_MS), 6_000, now), None);
    }
}
