//! A rendering's way into the cache and out of it.
//!
//! The Cache API knows neither stale-while-revalidate nor stale-if-error: so two times are kept in the stored response,
//! and every entry lives as long as purges are remembered. Of all who miss one key, one makes it (see
//! [`crate::objects::flight`]).

mod leave;
mod make;
mod revive;

use std::{pin::pin, rc::Rc};

use futures_util::future::{Either, select};
use kado_shared::{
    conditional,
    headers::KADO_IMAGE,
    job::TransformJob,
    lifetime::{Condition, Lifetime, may_stand_in},
    problem::{Code, Problem},
    purge,
    settings::Settings,
    source::AllowedSource,
};
use wasm_bindgen::JsValue;
use web_sys::Response;
use worker::Context;

use super::Gateway;
use crate::{
    answer::{Answer, Refusal},
    exchange::Exchange,
    js,
    objects::flight::{self, Boarded, Failure},
};
use leave::Ticket;
pub(super) use make::url_source;
use make::{GRACE_MS, Made, make_and_record};
pub(super) use revive::{Revived, resting, revive};

/// When an entry began to be made, Unix milliseconds: what is purged while a picture is being made is not in it.
const BEGUN: &str = "kado-begun";
/// For how long it is fresh, in seconds.
const FRESH: &str = "kado-fresh";
/// For how long after that it may be shown while it is made anew, in seconds.
const STALE: &str = "kado-stale";
/// How often a request boards a flight that lands without leaving anything in the cache.
const MOST_BOARDINGS: u32 = 3;

/// What is to be made.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) key: String,
    pub(super) job: TransformJob,
    pub(super) allowed: Vec<AllowedSource>,
    pub(super) settings: Rc<Settings>,
    /// Whether the source can never change.
    pub(super) immutable: bool,
    /// Where a client is sent if there is no picture.
    pub(super) fallback: Option<String>,
    /// When its address or source was last purged, Unix milliseconds.
    pub(super) purged_ms: Option<u64>,
    /// `Cache-Tag` of its answers.
    pub(super) tags: String,
    /// Of an address that is signed.
    pub(super) signed: Option<Signed>,
}

/// A signed address whose signature was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Signed {
    /// When it expires, Unix seconds.
    pub(super) expires: Option<u64>,
}

impl Signed {
    /// For the client alone, and for no longer than the address is good for; `fresh` is what is left of the picture's time.
    fn cache_control(self, fresh: u64, now_ms: u64) -> String {
        let left = self
            .expires
            .map_or(u64::MAX, |expires| expires.saturating_sub(now_ms / 1000));
        format!("private, max-age={}", fresh.min(left))
    }
}

impl Order {
    /// How long a lease on it lasts: longer than the work may take.
    const fn lease_ms(&self) -> u64 {
        self.job.deadline_ms.saturating_add(2 * GRACE_MS)
    }
}

/// What the cache has.
pub(super) enum Found {
    Entry(Entry, Condition),
    /// An entry, but nothing of it lies in the range that was asked for; how long it is, as `Content-Range` says it.
    OutOfRange(String),
    Nothing,
}

/// A rendering, from the cache or just made.
pub(super) struct Entry {
    answer: Answer,
    begun_ms: u64,
    lifetime: Lifetime,
    origin: Origin,
}

/// How a rendering was come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Cache,
    Made,
    /// Somebody else made it while this request waited.
    Collapsed,
    /// It is expired and stands in for one that could not be made now: why.
    StandIn(Code),
}

impl Entry {
    fn age_s(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.begun_ms) / 1000
    }

    /// What it is good for now. What was purged since it began to be made is gone.
    pub(super) fn condition(&self, order: &Order, now_ms: u64) -> Condition {
        if purge::is_purged(order.purged_ms, self.begun_ms) {
            Condition::Gone
        } else {
            self.lifetime.at(self.age_s(now_ms))
        }
    }

    /// The same, standing in for one that could not be made.
    pub(super) fn standing_in(self, failure: Code) -> Self {
        Self {
            origin: Origin::StandIn(failure),
            ..self
        }
    }

    /// Which lane made it, as its facts say.
    pub(super) fn lane(&self) -> &'static str {
        let facts = self.answer.header(KADO_IMAGE).unwrap_or_default();
        if facts.split("; ").any(|fact| fact == "lane=origin") {
            "origin"
        } else {
            "edge"
        }
    }

    /// Lets go of it.
    pub(super) fn discard(self) {
        self.answer.discard();
    }

    /// The answer to a client, with the headers that are never stored.
    pub(super) fn into_answer(self, now_ms: u64, order: &Order, vary: &[&str]) -> Answer {
        let age = self.age_s(now_ms);
        let Lifetime { fresh, stale } = self.lifetime;
        let status = match self.origin {
            Origin::Cache => {
                let (fresh, age) = (
                    i64::try_from(fresh).unwrap_or(i64::MAX),
                    i64::try_from(age).unwrap_or(i64::MAX),
                );
                format!("Kado; hit; ttl={}", fresh.saturating_sub(age))
            }
            Origin::Made => "Kado; fwd=uri-miss; fwd-status=200; stored".to_owned(),
            Origin::Collapsed => "Kado; fwd=uri-miss; collapsed".to_owned(),
            Origin::StandIn(failure) => {
                format!(
                    "Kado; fwd=stale; fwd-status={}; detail={}",
                    failure.status(),
                    failure.as_str()
                )
            }
        };
        let mut answer = self.answer.with("accept-ranges", "bytes").with("cache-status", &status);
        if let Some(signed) = order.signed {
            answer.set(
                "cache-control",
                &signed.cache_control(fresh.saturating_sub(age), now_ms),
            );
            answer.remove("age");
        } else {
            answer.set(
                "cache-control",
                &format!("public, max-age={fresh}, stale-while-revalidate={stale}"),
            );
            answer.set("age", &age.to_string());
            answer.set("cache-tag", &order.tags);
        }
        if !vary.is_empty() {
            answer.set("vary", &vary.join(", "));
        }
        answer
    }
}

/// Looks an order up, with the client's range. Conditions are judged by the gateway, those of a range too: a cache's own
/// 304 would leave out the times that decide whether the entry is stale, and not every cache knows of `If-Range`.
pub(super) async fn look_up(exchange: &Exchange, order: &Order, now_ms: u64) -> Result<Found, JsValue> {
    let plain = exchange.method != "HEAD" && exchange.header("if-range").is_none();
    let range = exchange.header("range").filter(|_| plain);
    let headers: Vec<(&str, &str)> = range.iter().map(|range| ("range", range.as_str())).collect();
    let judged = |entry: Entry| {
        let condition = entry.condition(order, now_ms);
        if condition == Condition::Gone {
            entry.discard();
            Found::Nothing
        } else {
            Found::Entry(entry, condition)
        }
    };
    match match_entry(&order.key, &headers, Origin::Cache).await? {
        Matched::Entry(entry) => Ok(judged(entry)),
        Matched::Nothing => Ok(Found::Nothing),
        // What the cache says then has no times: whether there still is an entry has to be asked without the range. It also
        // answers a condition, which comes before a range.
        Matched::OutOfRange(length) => match match_entry(&order.key, &[], Origin::Cache).await? {
            Matched::Entry(entry) => match judged(entry) {
                Found::Entry(entry, Condition::Fresh | Condition::Stale) if !is_known(exchange, &entry.answer) => {
                    entry.discard();
                    Ok(Found::OutOfRange(length))
                }
                found => Ok(found),
            },
            Matched::OutOfRange(_) | Matched::Nothing => Ok(Found::Nothing),
        },
    }
}

/// Whether the client says that it has these very bytes already.
pub(super) fn is_known(exchange: &Exchange, answer: &Answer) -> bool {
    exchange
        .header("if-none-match")
        .zip(answer.header("etag"))
        .is_some_and(|(wanted, etag)| conditional::none_match_names(&wanted, etag))
}

/// What the cache answers, unjudged.
enum Matched {
    Entry(Entry),
    OutOfRange(String),
    Nothing,
}

async fn match_entry(key: &str, range: &[(&str, &str)], origin: Origin) -> Result<Matched, JsValue> {
    let request = js::request("GET", key, range.iter().copied(), None, None)?;
    let Some(response) = js::cache_match(&request).await? else {
        return Ok(Matched::Nothing);
    };
    if response.status() == 416 {
        let length = response
            .headers()
            .get("content-range")?
            .unwrap_or_else(|| "bytes */*".to_owned());
        return Ok(Matched::OutOfRange(length));
    }
    let number = |name: &str| {
        response
            .headers()
            .get(name)
            .ok()
            .flatten()
            .and_then(|value| value.parse::<u64>().ok())
    };
    let (Some(begun_ms), Some(fresh), Some(stale)) = (number(BEGUN), number(FRESH), number(STALE)) else {
        return Ok(Matched::Nothing);
    };
    let mut answer = Answer::from_response(&response);
    for name in [BEGUN, FRESH, STALE, "cf-cache-status", "expires", "date"] {
        answer.remove(name);
    }
    Ok(Matched::Entry(Entry {
        answer,
        begun_ms,
        lifetime: Lifetime { fresh, stale },
        origin,
    }))
}

/// Gets a rendering that is not in the cache: makes it, or waits for whoever does.
///
/// # Errors
/// Why it could not be made.
pub(super) async fn obtain(
    gateway: &Gateway,
    exchange: &Exchange,
    context: &Context,
    order: &Order,
) -> Result<Entry, Refusal> {
    for _ in 0..MOST_BOARDINGS {
        let lease = match flight::board(
            &gateway.env,
            &order.key,
            order.lease_ms(),
            true,
            gateway.one_object_per_key(),
        )
        .await
        {
            Ok(Boarded::Lead { lease }) => Some(lease),
            Ok(Boarded::Failed { failure }) => return Err(refusal_after(failure)),
            Ok(Boarded::Landed | Boarded::Taken) => {
                if let Some(entry) = landed(order).await {
                    return Ok(entry);
                }
                continue;
            }
            Err(error) => {
                // Without the object every request makes its own: slower, and right.
                crate::log::line(
                    &serde_json::json!({ "level": "error", "event": "flight-away", "message": js::describe(&error) }),
                );
                None
            }
        };
        return make_behind(gateway, exchange, context, order, lease).await;
    }
    make_behind(gateway, exchange, context, order, None).await
}

/// What another request has just stored, unless it was purged while it was being made.
async fn landed(order: &Order) -> Option<Entry> {
    match match_entry(&order.key, &[], Origin::Collapsed).await {
        Ok(Matched::Entry(entry)) if !purge::is_purged(order.purged_ms, entry.begun_ms) => Some(entry),
        _ => None,
    }
}

/// Makes a rendering in work that outlives its client, for all who wait: who leaves early must not leave them waiting. Where
/// nobody does and it has not begun, it is given up.
/// The answer goes out as soon as it is made; storing it comes after.
async fn make_behind(
    gateway: &Gateway,
    exchange: &Exchange,
    context: &Context,
    order: &Order,
    lease: Option<u64>,
) -> Result<Entry, Refusal> {
    let (behind, order) = (gateway.clone(), order.clone());
    // The same object once more: `Request::clone` would be a second request.
    let request = Clone::clone(&exchange.request);
    let ticket = Ticket::draw().map_err(|error| Refusal::internal("no-random-bytes", &error))?;
    let (done, made) = futures_channel::oneshot::channel();
    context.wait_until(async move {
        let making = pin!(make_and_record(&behind, &order, Some(&ticket)));
        let leaving = pin!(leave::when_the_client_leaves(&behind, &request, &order, lease, &ticket));
        let made = match select(making, leaving).await {
            Either::Left((made, _)) => made,
            Either::Right(((), making)) => making.await,
        };
        if ticket.is_left() {
            // Whoever has come since makes it.
            if let Some(lease) = lease {
                flight::land(&behind.env, &order.key, lease, None, behind.one_object_per_key()).await;
            }
            return;
        }
        let outcome = made.as_ref().map(Made::stored_response).map_err(failure_of);
        // A client that left does not want to know.
        let _ = done.send(made.map(Made::into_entry));
        finish(&behind, &order, lease, outcome, false).await;
    });
    made.await
        .unwrap_or_else(|_| Err(Refusal::new(Code::Busy, "the transform was given up").with("retry-after", "1")))
}

/// Makes a stale rendering anew, unless somebody is at it, or has just failed at it.
pub(super) async fn renew(gateway: &Gateway, order: &Order) {
    let boarded = flight::board(
        &gateway.env,
        &order.key,
        order.lease_ms(),
        false,
        gateway.one_object_per_key(),
    )
    .await;
    if let Ok(Boarded::Lead { lease }) = boarded {
        let outcome = make_and_record(gateway, order, None)
            .await
            .as_ref()
            .map(Made::stored_response)
            .map_err(failure_of);
        finish(gateway, order, Some(lease), outcome, true).await;
    }
}

/// Stores what was made, and ends the lease. An older entry goes where its picture is no more: it must not come back when
/// the source fails later.
async fn finish(
    gateway: &Gateway,
    order: &Order,
    lease: Option<u64>,
    outcome: Result<Result<Response, JsValue>, Failure>,
    has_older: bool,
) {
    let failure = match outcome {
        Ok(stored) => {
            let store = async {
                let key = js::request("GET", &order.key, [], None, None)?;
                js::cache_put(&key, &stored?).await
            };
            if let Err(error) = store.await {
                crate::log::line(
                    &serde_json::json!({ "level": "error", "event": "cache-not-stored", "message": js::describe(&error) }),
                );
            }
            None
        }
        Err(failure) => {
            if has_older && !may_stand_in(failure.code()) {
                forget(&order.key).await;
            }
            Some(failure)
        }
    };
    if let Some(lease) = lease {
        flight::land(&gateway.env, &order.key, lease, failure, gateway.one_object_per_key()).await;
    }
}

async fn forget(key: &str) {
    let delete = async { js::cache_delete(&js::request("GET", key, [], None, None)?).await };
    if let Err(error) = delete.await {
        crate::log::line(
            &serde_json::json!({ "level": "error", "event": "cache-not-deleted", "message": js::describe(&error) }),
        );
    }
}

fn failure_of(refusal: &Refusal) -> Failure {
    let problem = &refusal.problem;
    Failure {
        code: problem.code.to_owned(),
        detail: problem.detail.clone(),
        errors: problem.errors.clone(),
        limit: problem.limit,
        value: problem.value,
    }
}

/// What those who waited are told: the same as who tried.
fn refusal_after(failure: Failure) -> Refusal {
    let code = failure.code();
    let mut problem = Problem::new(code, failure.detail).with_errors(failure.errors);
    problem.limit = failure.limit;
    problem.value = failure.value;
    let refusal = Refusal::from(problem);
    if code.status() == 503 {
        refusal.with("retry-after", "2")
    } else {
        refusal
    }
}
