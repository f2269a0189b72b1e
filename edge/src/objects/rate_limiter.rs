//! `RateLimiter`: counts, one object at a time, so that what is promised as exact is.
//!
//! Memory is the truth while it holds a counter; storage holds what must outlive it: every strict log, a fast state that
//! reaches further into the future than an idle object lives, and what memory has no room for. An alarm removes what no
//! longer matters, and an object that has nothing left is gone.

use std::cell::{Cell, RefCell};

use futures_util::future::try_join_all;
use kado_shared::limits::protocol::{Take, Taken};
use wasm_bindgen::JsValue;
use worker::{DurableObject, Env, ListOptions, Request, Response, Result, State, durable_object};

use super::counters::{Counters, Entry};
use crate::js;

const NAMESPACE: &str = "RATE_LIMITER";
/// Time between two clean-ups of an object's storage.
const CLEAN_EVERY_MS: u64 = 60_000;
/// Counters that a clean-up looks at at once: the storage's own limit on one deletion.
const BATCH: usize = 128;

/// The object.
#[durable_object(alarm)]
pub struct RateLimiter {
    state: State,
    counters: RefCell<Counters>,
    /// Whether an alarm is known to be set.
    awake: Cell<bool>,
    /// How often storage was written: a clean-up removes nothing that may have changed since it looked.
    writes: Cell<u64>,
}

impl DurableObject for RateLimiter {
    fn new(state: State, _env: Env) -> Self {
        Self {
            state,
            counters: RefCell::default(),
            awake: Cell::new(false),
            writes: Cell::new(0),
        }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        let take: Take = request.json().await?;
        self.load(&take.key).await?;
        // No waiting between the two, so no two requests count at once.
        let now = js::now_ms();
        let counted = self.counters.borrow_mut().count(&take, now);
        let stored = counted.to_store.is_some();
        if let Some(entry) = counted.to_store {
            self.writes.set(self.writes.get() + 1);
            self.state.storage().put(&take.key, entry).await?;
        }
        let unstored = self.counters.borrow_mut().shrink(now);
        let unstored_any = !unstored.is_empty();
        if unstored_any {
            self.writes.set(self.writes.get() + 1);
            let storage = self.state.storage();
            // All are begun before any is waited for: nobody may read storage in between.
            let puts = unstored.into_iter().map(|(key, entry)| {
                let storage = &storage;
                async move { storage.put(&key, entry).await }
            });
            try_join_all(puts).await?;
        }
        if stored || unstored_any {
            self.wake().await?;
        }
        Response::from_json(&counted.taken)
    }

    async fn alarm(&self) -> Result<Response> {
        self.awake.set(false);
        let now = js::now_ms();
        self.counters.borrow_mut().drop_expired(now);
        let writes = self.writes.get();
        if self.remove_expired(now).await? || self.writes.get() != writes {
            self.wake().await?;
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

    /// Removes what no longer matters from storage, a batch at a time, and says whether anything is left.
    async fn remove_expired(&self, now: u64) -> Result<bool> {
        let mut from = String::new();
        let mut any_left = false;
        loop {
            let options = ListOptions::new().limit(BATCH);
            let options = if from.is_empty() { options } else { options.start(&from) };
            let writes = self.writes.get();
            let stored = self.state.storage().list_with_options(options).await?;
            let (mut seen, mut last) = (0, None);
            let mut expired = Vec::new();
            for pair in stored.entries().into_iter().filter_map(std::result::Result::ok) {
                let pair = js_sys::Array::from(&pair);
                let Some(key) = pair.get(0).as_string() else { continue };
                seen += 1;
                let entry: Option<Entry> = serde_wasm_bindgen::from_value(pair.get(1)).ok();
                if entry.is_some_and(|entry| entry.until_ms > now) {
                    any_left = true;
                } else {
                    expired.push(key.clone());
                }
                last = Some(key);
            }
            if self.writes.get() != writes {
                any_left = true;
            } else if !expired.is_empty() {
                self.state.storage().delete_multiple(expired).await?;
            }
            match last {
                // The smallest key behind the last one.
                Some(last) if seen == BATCH => from = last + "\0",
                _ => return Ok(any_left),
            }
        }
    }

    /// Sets an alarm, unless one is set.
    async fn wake(&self) -> Result<()> {
        if self.awake.get() {
            return Ok(());
        }
        if self.state.storage().get_alarm().await?.is_none() {
            self.state
                .storage()
                .set_alarm(std::time::Duration::from_millis(CLEAN_EVERY_MS))
                .await?;
        }
        self.awake.set(true);
        Ok(())
    }
}

/// Asks the object that counts this key.
pub(crate) async fn take(
    env: &Env,
    rule_name: &str,
    take: &Take,
    one_per_key: bool,
) -> std::result::Result<Taken, JsValue> {
    let body = serde_json::to_string(take).map_err(|error| JsValue::from_str(&error.to_string()))?;
    let request = js::request("POST", "http://limiter/", &[], Some(&JsValue::from_str(&body)), None)?;
    let name = super::object_name(rule_name, &take.key, one_per_key);
    let response = super::call(env, NAMESPACE, &name, &request).await?;
    if response.status() != 200 {
        return Err(JsValue::from_str(&format!(
            "the limiter answered {}",
            response.status()
        )));
    }
    serde_json::from_str(&js::text(&response).await?).map_err(|error| JsValue::from_str(&error.to_string()))
}
