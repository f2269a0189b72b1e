//! `Flight`: of all who miss the same rendering at once, one makes it and the others wait here.
//!
//! A lease ends when its holder says so, or when the job it was taken for must be over: a holder that died keeps nobody
//! waiting for longer. What the holder could not make, and why, is told to those who waited and to who comes within the
//! next seconds, so that one broken source is not fetched for every request.

use std::{cell::RefCell, collections::HashMap, time::Duration};

use futures_channel::oneshot;
use futures_util::future::{Either, select};
use kado_shared::problem::{Code, FieldError};
use serde::{Deserialize, Serialize};
use wasm_bindgen::JsValue;
use worker::{Delay, DurableObject, Env, Request, Response, Result, State, durable_object};

use crate::js;

const NAMESPACE: &str = "FLIGHT";
/// How long a failure is remembered, in milliseconds.
const FAILURE_MS: u64 = 3_000;
/// Failures remembered by one object.
const MOST_FAILURES: usize = 1000;

/// What the gateway says to the object.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
enum Call {
    /// Wants to make the rendering, or, with `wait`, to wait until somebody has.
    Board { key: String, lease_ms: u64, wait: bool },
    /// Has made it, or failed.
    Land {
        key: String,
        lease: u64,
        failure: Option<Failure>,
    },
    /// Asks whether nobody waits for it.
    Alone { key: String, lease: u64 },
}

/// Why a rendering could not be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Failure {
    /// Problem code.
    pub(crate) code: String,
    /// What happened.
    pub(crate) detail: String,
    /// Every field at fault.
    pub(crate) errors: Vec<FieldError>,
    /// The limit that was passed.
    pub(crate) limit: Option<u64>,
    /// The value that passed it.
    pub(crate) value: Option<u64>,
}

impl Failure {
    /// The code, if it is one of ours.
    pub(crate) fn code(&self) -> Code {
        Code::from_code(&self.code).unwrap_or(Code::Unavailable)
    }

    /// Whether it may be over the next moment, so that it is told to nobody who did not wait.
    fn is_passing(&self) -> bool {
        matches!(self.code(), Code::Busy | Code::Unavailable | Code::Internal)
    }
}

/// What the object answers to those who board.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub(crate) enum Boarded {
    /// Make it, and say when it is done.
    Lead {
        /// Names the lease.
        lease: u64,
    },
    /// It has been made: look into the cache again.
    Landed,
    /// Somebody is at it; for who does not want to wait.
    Taken,
    /// Its maker failed.
    Failed {
        /// Why.
        failure: Failure,
    },
}

#[derive(Debug)]
struct Lease {
    number: u64,
    until_ms: u64,
    waiting: Vec<oneshot::Sender<Option<Failure>>>,
}

/// The object.
#[durable_object(fetch)]
pub struct Flight {
    leases: RefCell<HashMap<String, Lease>>,
    /// Failures of the last seconds, each with the time at which it is forgotten.
    failures: RefCell<HashMap<String, (u64, Failure)>>,
    next: RefCell<u64>,
}

impl DurableObject for Flight {
    fn new(_state: State, _env: Env) -> Self {
        // Starts at the clock, so that a lease of an object that was evicted meanwhile names nothing here.
        Self {
            leases: RefCell::default(),
            failures: RefCell::default(),
            next: RefCell::new(js::now_ms()),
        }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        match super::asked::<Call>(&mut request).await? {
            Call::Board { key, lease_ms, wait } => Response::from_json(&self.board(&key, lease_ms, wait).await),
            Call::Land { key, lease, failure } => {
                self.land(&key, lease, failure.as_ref());
                Response::empty()
            }
            Call::Alone { key, lease } => Response::from_json(&self.is_alone(&key, lease)),
        }
    }
}

impl Flight {
    async fn board(&self, key: &str, lease_ms: u64, wait: bool) -> Boarded {
        loop {
            let now = js::now_ms();
            let failed = self
                .failures
                .borrow()
                .get(key)
                .filter(|(until_ms, _)| *until_ms > now)
                .cloned();
            if let Some((_, failure)) = failed {
                return Boarded::Failed { failure };
            }
            let Some((finished, left_ms)) = self.queue(key, now, wait) else {
                return self.lead(key, lease_ms, now);
            };
            let Some(finished) = finished else {
                return Boarded::Taken;
            };
            match select(finished, Box::pin(Delay::from(Duration::from_millis(left_ms)))).await {
                Either::Left((Ok(None), _)) => return Boarded::Landed,
                Either::Left((Ok(Some(failure)), _)) => return Boarded::Failed { failure },
                // The holder died: whoever comes first makes it now, and the others wait for that one.
                Either::Left((Err(_), _)) | Either::Right(_) => {}
            }
        }
    }

    /// A place among those who wait for a lease, and how long it lasts; `None` where nobody has one.
    fn queue(&self, key: &str, now: u64, wait: bool) -> Option<(Option<oneshot::Receiver<Option<Failure>>>, u64)> {
        let mut leases = self.leases.borrow_mut();
        let lease = leases.get_mut(key).filter(|lease| lease.until_ms > now)?;
        if !wait {
            return Some((None, 0));
        }
        let (done, finished) = oneshot::channel();
        lease.waiting.push(done);
        Some((Some(finished), lease.until_ms - now))
    }

    fn lead(&self, key: &str, lease_ms: u64, now: u64) -> Boarded {
        let mut leases = self.leases.borrow_mut();
        leases.retain(|_, lease| lease.until_ms > now);
        let mut next = self.next.borrow_mut();
        *next += 1;
        let lease = Lease {
            number: *next,
            until_ms: now.saturating_add(lease_ms),
            waiting: Vec::new(),
        };
        leases.insert(key.to_owned(), lease);
        Boarded::Lead { lease: *next }
    }

    /// Whether a lease is still held and nobody waits for its end.
    fn is_alone(&self, key: &str, number: u64) -> bool {
        let leases = self.leases.borrow();
        let lease = leases.get(key).filter(|lease| lease.number == number);
        lease.is_some_and(|lease| lease.waiting.iter().all(oneshot::Sender::is_canceled))
    }

    fn land(&self, key: &str, number: u64, failure: Option<&Failure>) {
        let mut leases = self.leases.borrow_mut();
        if leases.get(key).is_none_or(|lease| lease.number != number) {
            return;
        }
        if let Some(failure) = failure.filter(|failure| !failure.is_passing()) {
            let now = js::now_ms();
            let mut failures = self.failures.borrow_mut();
            failures.retain(|_, (until_ms, _)| *until_ms > now);
            if failures.len() < MOST_FAILURES {
                failures.insert(key.to_owned(), (now + FAILURE_MS, failure.clone()));
            }
        }
        for waiting in leases.remove(key).into_iter().flat_map(|lease| lease.waiting) {
            // A waiter that left does not want to know.
            let _ = waiting.send(failure.cloned());
        }
    }
}

/// Boards the flight of a key: the lease, if it is given, lasts for `lease_ms`.
pub(crate) async fn board(
    env: &Env,
    key: &str,
    lease_ms: u64,
    wait: bool,
    one_per_key: bool,
) -> std::result::Result<Boarded, JsValue> {
    let board = Call::Board {
        key: key.to_owned(),
        lease_ms,
        wait,
    };
    super::read(&call(env, key, &board, one_per_key).await?)
}

/// Whether nobody waits for what the holder of a lease makes.
pub(crate) async fn is_alone(
    env: &Env,
    key: &str,
    lease: u64,
    one_per_key: bool,
) -> std::result::Result<bool, JsValue> {
    let alone = Call::Alone {
        key: key.to_owned(),
        lease,
    };
    super::read(&call(env, key, &alone, one_per_key).await?)
}

/// Ends a lease. Whoever does not hear of it waits for the lease's end, so a failure is logged and no more.
pub(crate) async fn land(env: &Env, key: &str, lease: u64, failure: Option<Failure>, one_per_key: bool) {
    let landed = Call::Land {
        key: key.to_owned(),
        lease,
        failure,
    };
    if let Err(error) = call(env, key, &landed, one_per_key).await {
        crate::log::line(
            &serde_json::json!({ "level": "warn", "event": "flight-not-landed", "message": js::describe(&error) }),
        );
    }
}

async fn call(env: &Env, key: &str, call: &Call, one_per_key: bool) -> std::result::Result<String, JsValue> {
    let body = serde_json::to_string(call).map_err(|error| JsValue::from_str(&error.to_string()))?;
    let name = super::object_name("flight", key, one_per_key);
    super::ask(env, NAMESPACE, &name, "http://flight/", Some(&body), None).await
}
