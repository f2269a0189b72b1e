//! `Flight`: of all who miss the same rendering at once, one makes it and the others wait here.
//!
//! A lease ends when its holder says so, or after 30 s: a holder that died keeps nobody waiting for longer. What the
//! holder could not make, and why, is told to those who waited, so that one broken source is fetched once.

use std::{cell::RefCell, collections::HashMap, time::Duration};

use futures_channel::oneshot;
use futures_util::future::{Either, select};
use kado_shared::problem::Code;
use serde::{Deserialize, Serialize};
use wasm_bindgen::JsValue;
use worker::{Delay, DurableObject, Env, Request, Response, Result, State, durable_object};

use crate::js;

const NAMESPACE: &str = "FLIGHT";
/// How long a lease lasts, in milliseconds.
const LEASE_MS: u64 = 30_000;

/// What the gateway says to the object.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
enum Call {
    /// Wants to make the rendering, or to wait until somebody has.
    Board { key: String },
    /// Has made it, or failed.
    Land {
        key: String,
        lease: u64,
        failure: Option<Failure>,
    },
}

/// Why a rendering could not be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Failure {
    /// Problem code.
    pub(crate) code: String,
    /// What happened.
    pub(crate) detail: String,
}

impl Failure {
    /// The code, if it is one of ours.
    pub(crate) fn code(&self) -> Code {
        Code::from_code(&self.code).unwrap_or(Code::Unavailable)
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
    next: RefCell<u64>,
}

impl DurableObject for Flight {
    fn new(_state: State, _env: Env) -> Self {
        // Starts at the clock, so that a lease of an object that was evicted meanwhile names nothing here.
        Self {
            leases: RefCell::default(),
            next: RefCell::new(js::now_ms()),
        }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        match request.json::<Call>().await? {
            Call::Board { key } => Response::from_json(&self.board(key).await),
            Call::Land { key, lease, failure } => {
                self.land(&key, lease, failure.as_ref());
                Response::empty()
            }
        }
    }
}

impl Flight {
    async fn board(&self, key: String) -> Boarded {
        let now = js::now_ms();
        let wait = {
            let mut leases = self.leases.borrow_mut();
            match leases.get_mut(&key).filter(|lease| lease.until_ms > now) {
                Some(lease) => {
                    let (done, finished) = oneshot::channel();
                    lease.waiting.push(done);
                    Some((finished, lease.until_ms - now))
                }
                None => None,
            }
        };
        let Some((finished, left_ms)) = wait else {
            return self.lead(key);
        };
        match select(finished, Box::pin(Delay::from(Duration::from_millis(left_ms)))).await {
            Either::Left((Ok(None), _)) => Boarded::Landed,
            Either::Left((Ok(Some(failure)), _)) => Boarded::Failed { failure },
            // The holder died: whoever comes first now makes it.
            Either::Left((Err(_), _)) | Either::Right(_) => self.lead(key),
        }
    }

    fn lead(&self, key: String) -> Boarded {
        let now = js::now_ms();
        let mut leases = self.leases.borrow_mut();
        leases.retain(|known, lease| lease.until_ms > now || *known == key);
        if leases.get(&key).is_some_and(|lease| lease.until_ms > now) {
            return Boarded::Landed;
        }
        let mut next = self.next.borrow_mut();
        *next += 1;
        let lease = Lease {
            number: *next,
            until_ms: now + LEASE_MS,
            waiting: Vec::new(),
        };
        leases.insert(key, lease);
        Boarded::Lead { lease: *next }
    }

    fn land(&self, key: &str, number: u64, failure: Option<&Failure>) {
        let mut leases = self.leases.borrow_mut();
        if leases.get(key).is_none_or(|lease| lease.number != number) {
            return;
        }
        for waiting in leases.remove(key).into_iter().flat_map(|lease| lease.waiting) {
            // A waiter that left does not want to know.
            let _ = waiting.send(failure.cloned());
        }
    }
}

/// Boards the flight of a key.
pub(crate) async fn board(env: &Env, key: &str, one_per_key: bool) -> std::result::Result<Boarded, JsValue> {
    let response = call(env, key, &Call::Board { key: key.to_owned() }, one_per_key).await?;
    serde_json::from_str(&js::text(&response).await?).map_err(|error| JsValue::from_str(&error.to_string()))
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

async fn call(env: &Env, key: &str, call: &Call, one_per_key: bool) -> std::result::Result<web_sys::Response, JsValue> {
    let body = serde_json::to_string(call).map_err(|error| JsValue::from_str(&error.to_string()))?;
    let request = js::request("POST", "http://flight/", &[], Some(&JsValue::from_str(&body)), None)?;
    super::call(
        env,
        NAMESPACE,
        &super::object_name("flight", key, one_per_key),
        &request,
    )
    .await
}
