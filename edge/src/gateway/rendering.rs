//! A rendering's way into the cache and out of it.
//!
//! The Cache API knows no stale-while-revalidate: so two times are kept in the stored response, and the entry lives for
//! both together. Of all who miss one key, one makes it (see [`crate::objects::flight`]).

use std::rc::Rc;

use kado_shared::{
    headers::{KADO_IMAGE, KADO_JOB},
    job::{JobSource, PATH, TransformJob},
    problem::{Code, FieldError, Problem},
    settings::Settings,
    source::{self, AllowedSource, Target},
};
use serde_json::Value;
use url::Url;
use wasm_bindgen::JsValue;
use web_sys::{Headers, Response};
use worker::Context;

use super::{Gateway, heavy, telemetry, ttl};
use crate::{
    answer::{Answer, Refusal},
    exchange::Exchange,
    js,
    objects::flight::{self, Boarded, Failure},
    transform::{REDIRECT_STATUS, SOURCE_CACHE_CONTROL},
};

/// When an entry was stored, Unix milliseconds.
const STORED: &str = "kado-stored";
/// For how long it is fresh, in seconds.
const FRESH: &str = "kado-fresh";
/// For how long after that it may be shown while it is made anew, in seconds.
const STALE: &str = "kado-stale";
/// Redirects of one source that are followed, each checked again.
const MOST_REDIRECTS: u32 = 3;
/// How often a request boards a flight that lands without leaving anything in the cache.
const MOST_BOARDINGS: u32 = 3;
/// What the answer to a job may add to its deadline before the gateway stops waiting, in milliseconds.
const GRACE_MS: u64 = 5_000;

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
}

impl Order {
    /// How long a lease on it lasts: longer than the work may take.
    const fn lease_ms(&self) -> u64 {
        self.job.deadline_ms.saturating_add(2 * GRACE_MS)
    }
}

/// What the cache has.
pub(super) enum Found {
    Entry(Entry),
    /// An entry, but nothing of it lies in the range that was asked for; how long it is, as `Content-Range` says it.
    OutOfRange(String),
    Nothing,
}

/// A rendering, from the cache or just made.
pub(super) struct Entry {
    answer: Answer,
    stored_ms: u64,
    lifetime: ttl::Lifetime,
    origin: Origin,
}

/// How a rendering was come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Cache,
    Made,
    /// Somebody else made it while this request waited.
    Collapsed,
}

impl Entry {
    fn age_s(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.stored_ms) / 1000
    }

    /// Whether it must be made anew, though it may still be shown.
    pub(super) fn is_stale(&self, now_ms: u64) -> bool {
        self.age_s(now_ms) >= self.lifetime.fresh
    }

    /// The answer to a client, with the headers that are never stored.
    pub(super) fn into_answer(self, now_ms: u64, vary: &[&str]) -> Answer {
        let age = self.age_s(now_ms);
        let ttl::Lifetime { fresh, stale } = self.lifetime;
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
        };
        let mut answer = self
            .answer
            .with(
                "cache-control",
                &format!("public, max-age={fresh}, stale-while-revalidate={stale}"),
            )
            .with("age", &age.to_string())
            .with("accept-ranges", "bytes")
            .with("cache-status", &status);
        if !vary.is_empty() {
            answer.set("vary", &vary.join(", "));
        }
        answer
    }
}

/// Looks a key up, with the client's range. Conditions are judged by the gateway: a cache's own 304 would leave out the
/// times that decide whether the entry is stale.
pub(super) async fn look_up(exchange: &Exchange, key: &str) -> Result<Found, JsValue> {
    let range = |name| {
        if exchange.method == "HEAD" {
            None
        } else {
            exchange.header(name)
        }
    };
    let wanted: Vec<(&str, String)> = ["range", "if-range"]
        .into_iter()
        .filter_map(|name| Some((name, range(name)?)))
        .collect();
    let headers: Vec<(&str, &str)> = wanted.iter().map(|(name, value)| (*name, value.as_str())).collect();
    match_entry(key, &headers, Origin::Cache).await
}

async fn match_entry(key: &str, range: &[(&str, &str)], origin: Origin) -> Result<Found, JsValue> {
    let request = js::request("GET", key, range, None, None)?;
    let Some(response) = js::cache_match(&request).await? else {
        return Ok(Found::Nothing);
    };
    if response.status() == 416 {
        let length = response
            .headers()
            .get("content-range")?
            .unwrap_or_else(|| "bytes */*".to_owned());
        return Ok(Found::OutOfRange(length));
    }
    let number = |name: &str| {
        response
            .headers()
            .get(name)
            .ok()
            .flatten()
            .and_then(|value| value.parse::<u64>().ok())
    };
    let (Some(stored_ms), Some(fresh), Some(stale)) = (number(STORED), number(FRESH), number(STALE)) else {
        return Ok(Found::Nothing);
    };
    let mut answer = Answer::from_response(&response);
    for name in [STORED, FRESH, STALE, "cf-cache-status", "expires", "date"] {
        answer.remove(name);
    }
    Ok(Found::Entry(Entry {
        answer,
        stored_ms,
        lifetime: ttl::Lifetime { fresh, stale },
        origin,
    }))
}

/// Gets a rendering that is not in the cache: makes it, or waits for whoever does.
///
/// # Errors
/// Why it could not be made.
pub(super) async fn obtain(gateway: &Gateway, context: &Context, order: &Order) -> Result<Entry, Refusal> {
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
                if let Ok(Found::Entry(entry)) = match_entry(&order.key, &[], Origin::Collapsed).await {
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
        return make_behind(gateway, context, order, lease).await;
    }
    make_behind(gateway, context, order, None).await
}

/// Makes a rendering in work that outlives its client, for all who wait: who leaves early must not leave them waiting.
/// The answer goes out as soon as it is made; storing it comes after.
async fn make_behind(
    gateway: &Gateway,
    context: &Context,
    order: &Order,
    lease: Option<u64>,
) -> Result<Entry, Refusal> {
    let (behind, order) = (gateway.clone(), order.clone());
    let (done, made) = futures_channel::oneshot::channel();
    context.wait_until(async move {
        let made = make_and_record(&behind, &order).await;
        let outcome = made.as_ref().map(Made::stored_response).map_err(failure_of);
        // A client that left does not want to know.
        let _ = done.send(made.map(Made::into_entry));
        finish(&behind, &order, lease, outcome).await;
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
        let outcome = make_and_record(gateway, order)
            .await
            .as_ref()
            .map(Made::stored_response)
            .map_err(failure_of);
        finish(gateway, order, Some(lease), outcome).await;
    }
}

/// Stores what was made, and ends the lease.
async fn finish(
    gateway: &Gateway,
    order: &Order,
    lease: Option<u64>,
    outcome: Result<Result<Response, JsValue>, Failure>,
) {
    let failure = match outcome {
        Ok(stored) => {
            let store = async {
                let key = js::request("GET", &order.key, &[], None, None)?;
                js::cache_put(&key, &stored?).await
            };
            if let Err(error) = store.await {
                crate::log::line(
                    &serde_json::json!({ "level": "error", "event": "cache-not-stored", "message": js::describe(&error) }),
                );
            }
            None
        }
        Err(failure) => Some(failure),
    };
    if let Some(lease) = lease {
        flight::land(&gateway.env, &order.key, lease, failure, gateway.one_object_per_key()).await;
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

/// What the transform role made: bytes outside linear memory, and headers.
struct Made {
    body: JsValue,
    headers: Vec<(&'static str, String)>,
    lifetime: ttl::Lifetime,
    stored_ms: u64,
}

impl Made {
    fn into_entry(self) -> Entry {
        let answer = self
            .headers
            .iter()
            .fold(Answer::empty(200), |answer, (name, value)| answer.with(name, value));
        Entry {
            answer: answer.with_foreign_body(self.body),
            stored_ms: self.stored_ms,
            lifetime: self.lifetime,
            origin: Origin::Made,
        }
    }

    /// The response that goes into the cache.
    fn stored_response(&self) -> Result<Response, JsValue> {
        let ttl::Lifetime { fresh, stale } = self.lifetime;
        let headers = Headers::new()?;
        for (name, value) in &self.headers {
            headers.set(name, value)?;
        }
        headers.set(
            "cache-control",
            &format!("public, max-age={}", fresh.saturating_add(stale)),
        )?;
        for (name, value) in [(STORED, self.stored_ms), (FRESH, fresh), (STALE, stale)] {
            headers.set(name, &value.to_string())?;
        }
        js::response(200, &headers, &self.body)
    }
}

/// Makes it and has it on record, both before anybody is told.
async fn make_and_record(gateway: &Gateway, order: &Order) -> Result<Made, Refusal> {
    let started_ms = js::now_ms();
    let made = make(gateway, order).await;
    let facts = made.as_ref().map(|made| {
        let facts = made.headers.iter().find(|(name, _)| *name == KADO_IMAGE);
        facts.map(|(_, value)| value.as_str())
    });
    telemetry::record::transform(gateway, &order.job, started_ms, facts).await;
    made
}

/// Has the transform role make it, and follows its source's redirects, each checked as if it had been asked for.
async fn make(gateway: &Gateway, order: &Order) -> Result<Made, Refusal> {
    let mut job = order.job.clone();
    let deadline_ms = js::now_ms().saturating_add(job.deadline_ms);
    for _ in 0..=MOST_REDIRECTS {
        // One deadline for the whole, redirects included.
        job.deadline_ms = deadline_ms.saturating_sub(js::now_ms());
        if job.deadline_ms == 0 {
            return Err(Refusal::new(
                Code::SourceTimeout,
                "the source and its redirects did not answer in time",
            ));
        }
        let response = heavy::take_over(gateway, &job, ask(gateway, &job).await?).await?;
        let header = |name: &str| response.headers().get(name).ok().flatten();
        match response.status() {
            200 => {
                let lifetime = ttl::of(
                    &order.settings,
                    header(SOURCE_CACHE_CONTROL).as_deref(),
                    order.immutable,
                );
                let kept = ["content-type", "content-length", "etag", KADO_IMAGE];
                let headers = kept
                    .into_iter()
                    .filter_map(|name| Some((name, header(name)?)))
                    .collect();
                let body = js::array_buffer(&response)
                    .await
                    .map_err(|error| transform_died(&error))?;
                return Ok(Made {
                    body: body.into(),
                    headers,
                    lifetime,
                    stored_ms: js::now_ms(),
                });
            }
            REDIRECT_STATUS => {
                job.source = redirected(&job, header("location").as_deref(), order)?;
            }
            status => return Err(refusal_of(status, &response).await),
        }
    }
    Err(Refusal::new(
        Code::SourceFailed,
        "the source redirects more than 3 times",
    ))
}

async fn ask(gateway: &Gateway, job: &TransformJob) -> Result<Response, Refusal> {
    let header = job.to_header();
    let request = js::request(
        "POST",
        &format!("http://transform{PATH}"),
        &[(KADO_JOB, header.as_str())],
        None,
        Some(job.deadline_ms.saturating_add(GRACE_MS)),
    )
    .map_err(|error| Refusal::internal("transform-request", &error))?;
    js::fetch(gateway.binding("TRANSFORM").as_ref(), &request)
        .await
        .map_err(|error| transform_died(&error))
}

fn transform_died(error: &JsValue) -> Refusal {
    crate::log::line(
        &serde_json::json!({ "level": "error", "event": "transform-away", "message": js::describe(error) }),
    );
    Refusal::new(Code::Busy, "no transform process could do this; try again shortly").with("retry-after", "2")
}

/// Where a redirect leads, checked against the tenant's list like any other source.
fn redirected(job: &TransformJob, location: Option<&str>, order: &Order) -> Result<JobSource, Refusal> {
    let failed = || Refusal::new(Code::SourceFailed, "the source redirects to an address that is none");
    let JobSource::Url { url, .. } = &job.source else {
        return Err(failed());
    };
    let base = Url::parse(url).map_err(|_| failed())?;
    let next = location
        .and_then(|location| base.join(location).ok())
        .ok_or_else(failed)?;
    let target = source::check_redirect(&next, &order.settings.text("imageOrigin"), &order.allowed).map_err(|_| {
        Refusal::new(
            Code::SourceNotAllowed,
            "the source redirects to a host that is not on the list of allowed sources",
        )
    })?;
    Ok(url_source(&target))
}

/// A checked address as a job's source.
pub(super) fn url_source(target: &Target) -> JobSource {
    JobSource::Url {
        url: target.url.as_str().to_owned(),
        allow_private: target.allow_private,
        allow_port: target.allow_port,
    }
}

/// The transform role's problem, taken over.
async fn refusal_of(status: u16, response: &Response) -> Refusal {
    let retry_after = response.headers().get("retry-after").ok().flatten();
    let text = js::text(response).await.unwrap_or_default();
    let document: Value = serde_json::from_str(&text).unwrap_or_default();
    let Some(code) = document.get("code").and_then(Value::as_str).and_then(Code::from_code) else {
        crate::log::line(&serde_json::json!({ "level": "error", "event": "transform-answer", "status": status }));
        return Refusal::new(Code::Busy, "the transform process did not say what is wrong").with("retry-after", "2");
    };
    // There is no heavy lane behind this gateway either: what exceeds the edge's budget is too large.
    let code = if code == Code::Heavy { Code::TooLarge } else { code };
    let detail = document
        .get("detail")
        .and_then(Value::as_str)
        .unwrap_or_else(|| code.title());
    let mut problem = Problem::new(code, detail);
    problem.limit = document.get("limit").and_then(Value::as_u64);
    problem.value = document.get("value").and_then(Value::as_u64);
    problem.errors = document
        .get("errors")
        .and_then(|errors| serde_json::from_value::<Vec<FieldError>>(errors.clone()).ok())
        .unwrap_or_default();
    let refusal = Refusal::from(problem);
    match retry_after {
        Some(seconds) => refusal.with("retry-after", seconds),
        None => refusal,
    }
}
