//! `RateLimiter`: counts, one object at a time, so that what is promised as exact is.
//!
//! Memory is the truth while the object lives; storage holds what must outlive it: every strict log, and a fast state
//! only while it reaches further into the future than an idle object lives. An alarm removes what no longer matters.

use std::{cell::RefCell, collections::HashMap};

use kado_shared::limits::{
    Mode, gcra,
    protocol::{Take, Taken},
    strict,
};
use serde::{Deserialize, Serialize};
use wasm_bindgen::JsValue;
use worker::{DurableObject, Env, Request, Response, Result, State, durable_object};

use crate::js;

const NAMESPACE: &str = "RATE_LIMITER";
/// An idle object is evicted after 10 s; what matters for longer is stored.
const EVICTION_MS: u64 = 10_000;
/// Keys kept in memory before those that no longer matter are dropped.
const MOST_KEYS: usize = 4096;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Counter {
    Strict(strict::Log),
    Fast(gcra::Tat),
}

/// A counter and when it stops to matter, Unix milliseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    counter: Counter,
    until_ms: u64,
}

/// The object.
#[durable_object(alarm)]
pub struct RateLimiter {
    state: State,
    counters: RefCell<HashMap<String, Entry>>,
    alarm_ms: RefCell<u64>,
}

impl DurableObject for RateLimiter {
    fn new(state: State, _env: Env) -> Self {
        Self {
            state,
            counters: RefCell::default(),
            alarm_ms: RefCell::default(),
        }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        let take: Take = request.json().await?;
        let now = js::now_ms();
        if !self.counters.borrow().contains_key(&take.key) {
            let stored = self
                .state
                .storage()
                .get::<Entry>(&take.key)
                .await?
                .filter(|entry| entry.until_ms > now);
            if let Some(entry) = stored {
                // Another request may have loaded it, and counted, while this one waited.
                self.counters.borrow_mut().entry(take.key.clone()).or_insert(entry);
            }
        }
        let (taken, entry) = self.count(&take, js::now_ms());
        let lasts = match entry.counter {
            Counter::Strict(_) => taken.granted > 0,
            Counter::Fast(_) => entry.until_ms > now + EVICTION_MS,
        };
        if lasts {
            let until = entry.until_ms;
            self.state.storage().put(&take.key, entry).await?;
            self.wake_at(until).await?;
        }
        Response::from_json(&taken)
    }

    async fn alarm(&self) -> Result<Response> {
        let now = js::now_ms();
        let mut later = None;
        let stored = self.state.storage().list().await?;
        let mut expired = Vec::new();
        for pair in stored.entries().into_iter().filter_map(std::result::Result::ok) {
            let pair = js_sys::Array::from(&pair);
            let entry: Option<Entry> = serde_wasm_bindgen::from_value(pair.get(1)).ok();
            match entry.filter(|entry| entry.until_ms > now) {
                Some(entry) => later = Some(later.map_or(entry.until_ms, |until: u64| until.min(entry.until_ms))),
                None => expired.extend(pair.get(0).as_string()),
            }
        }
        for key in expired {
            self.state.storage().delete(&key).await?;
        }
        self.counters.borrow_mut().retain(|_, entry| entry.until_ms > now);
        *self.alarm_ms.borrow_mut() = 0;
        if let Some(until) = later {
            self.wake_at(until).await?;
        }
        Response::empty()
    }
}

impl RateLimiter {
    /// Counts in memory; no waiting in here, so no two requests count at once.
    fn count(&self, take: &Take, now: u64) -> (Taken, Entry) {
        let mut counters = self.counters.borrow_mut();
        if counters.len() >= MOST_KEYS {
            counters.retain(|_, entry| entry.until_ms > now);
        }
        let fresh = || match take.rule.mode {
            Mode::Strict => Counter::Strict(strict::Log::default()),
            Mode::Fast => Counter::Fast(gcra::Tat::default()),
        };
        let entry = counters.entry(take.key.clone()).or_insert_with(|| Entry {
            counter: fresh(),
            until_ms: 0,
        });
        if matches!(
            (&entry.counter, take.rule.mode),
            (Counter::Strict(_), Mode::Fast) | (Counter::Fast(_), Mode::Strict)
        ) {
            entry.counter = fresh();
        }
        let taken = match &mut entry.counter {
            Counter::Strict(log) => {
                let decision = log.take(&take.rule, now);
                entry.until_ms = log.matters_until(&take.rule).unwrap_or(now);
                Taken {
                    granted: u32::from(decision.admitted),
                    decision,
                }
            }
            Counter::Fast(tat) => {
                let (granted, decision) = gcra::take(tat, &take.rule, take.wanted, now);
                entry.until_ms = gcra::matters_until(*tat);
                Taken { granted, decision }
            }
        };
        (taken, entry.clone())
    }

    /// Sets the alarm, unless one is set for an earlier time.
    async fn wake_at(&self, until_ms: u64) -> Result<()> {
        let mut set = *self.alarm_ms.borrow();
        if set == 0 {
            // An object that was evicted has forgotten its alarm; the alarm has not forgotten it, and must not be put off.
            let pending = self.state.storage().get_alarm().await?;
            set = pending.and_then(|at| u64::try_from(at).ok()).unwrap_or_default();
            *self.alarm_ms.borrow_mut() = set;
        }
        if set != 0 && set <= until_ms {
            return Ok(());
        }
        *self.alarm_ms.borrow_mut() = until_ms;
        let delay = until_ms.saturating_sub(js::now_ms()) + 1000;
        self.state
            .storage()
            .set_alarm(std::time::Duration::from_millis(delay))
            .await
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
