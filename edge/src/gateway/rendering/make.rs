//! Having a picture made: by the transform role, or by the origin where that has not the memory.

use std::time::Duration;

use kado_shared::{
    event::Picture,
    headers::{KADO_GIVEN_UP, KADO_IMAGE, KADO_JOB, KADO_TICKET},
    job::{JobSource, PATH, TransformJob},
    lifetime::{LONGEST, Lifetime},
    problem::{Code, FieldError, Problem},
    purge,
    source::{self, Target},
};
use serde_json::Value;
use url::Url;
use wasm_bindgen::JsValue;
use web_sys::Response;
use worker::Delay;

use super::leave::{Heard, Next, Ticket};
use super::{BEGUN, Entry, FRESH, Order, Origin, STALE};
use crate::{
    answer::{Answer, Refusal},
    gateway::{Gateway, heavy, telemetry},
    js,
    transform::{REDIRECT_STATUS, SOURCE_CACHE_CONTROL},
};

/// Redirects of one source that are followed, each checked again.
const MOST_REDIRECTS: u32 = 3;
/// What the answer to a job may add to its deadline before the gateway stops waiting, in milliseconds.
pub(super) const GRACE_MS: u64 = 5_000;

/// What the transform role made: bytes outside linear memory, and headers.
pub(super) struct Made {
    body: JsValue,
    headers: Vec<(&'static str, String)>,
    lifetime: Lifetime,
    begun_ms: u64,
    /// `Server-Timing` of its stages; for whom it was made, and not stored.
    timing: Option<String>,
}

impl Made {
    pub(super) fn into_entry(self) -> Entry {
        let mut answer = self
            .headers
            .iter()
            .fold(Answer::empty(200), |answer, (name, value)| answer.with(name, value));
        if let Some(timing) = &self.timing {
            answer.set("server-timing", timing);
        }
        Entry {
            answer: answer.with_foreign_body(self.body),
            begun_ms: self.begun_ms,
            lifetime: self.lifetime,
            origin: Origin::Made,
        }
    }

    /// The response that goes into the cache.
    pub(super) fn stored_response(&self) -> Result<Response, JsValue> {
        let Lifetime { fresh, stale } = self.lifetime;
        let policy = format!("public, max-age={LONGEST}");
        let times =
            [(BEGUN, self.begun_ms), (FRESH, fresh), (STALE, stale)].map(|(name, value)| (name, value.to_string()));
        let fields = self
            .headers
            .iter()
            .chain(&times)
            .map(|(name, value)| (*name, value.as_str()));
        js::response(200, fields.chain([("cache-control", policy.as_str())]), &self.body)
    }
}

/// Makes it and has it on record, both before anybody is told. What was given up before it began is no work.
pub(super) async fn make_and_record(
    gateway: &Gateway,
    order: &Order,
    ticket: Option<&Ticket>,
) -> Result<Made, Refusal> {
    let started_ms = js::now_ms();
    let made = make(gateway, order, ticket).await;
    if ticket.is_some_and(Ticket::is_left) {
        return made;
    }
    let picture = made.as_ref().map(|made| {
        let facts = made.headers.iter().find(|(name, _)| *name == KADO_IMAGE);
        let picture = facts.map(|(_, value)| Picture::from_facts(value)).unwrap_or_default();
        match &made.timing {
            // On Cloudflare no time passes while code computes.
            Some(timing) if !gateway.one_object_per_key() => picture.with_stages(timing),
            _ => picture,
        }
    });
    telemetry::record::transform(gateway, &order.job, started_ms, picture).await;
    made
}

/// Has the transform role make it, and follows its source's redirects, each checked as if it had been asked for.
async fn make(gateway: &Gateway, order: &Order, ticket: Option<&Ticket>) -> Result<Made, Refusal> {
    let mut job = order.job.clone();
    let now_ms = js::now_ms();
    let begun_ms = purge::begun(order.purged_ms, now_ms);
    let deadline_ms = now_ms.saturating_add(job.deadline_ms);
    for _ in 0..=MOST_REDIRECTS {
        // One deadline for the whole, redirects included.
        job.deadline_ms = deadline_ms.saturating_sub(js::now_ms());
        if job.deadline_ms == 0 {
            return Err(Refusal::new(
                Code::SourceTimeout,
                "the source and its redirects did not answer in time",
            ));
        }
        let response = heavy::take_over(gateway, &job, ask(gateway, &job, ticket).await?).await?;
        let header = |name: &str| response.headers().get(name).ok().flatten();
        match response.status() {
            200 => {
                let lifetime = Lifetime::of(
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
                    begun_ms,
                    timing: header("server-timing"),
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

/// Has the transform role do a job. On Cloudflare no dispatcher queues before it, and jobs that come at once may meet in
/// one isolate, which does one at a time: who finds it at work asks again, for as long as a job may take.
async fn ask(gateway: &Gateway, job: &TransformJob, ticket: Option<&Ticket>) -> Result<Response, Refusal> {
    const FIRST_WAIT_MS: u64 = 20;
    const LONGEST_WAIT_MS: u64 = 320;
    let until_ms = js::now_ms().saturating_add(job.deadline_ms);
    let mut wait_ms = FIRST_WAIT_MS;
    let mut job = job.clone();
    loop {
        // One deadline, waiting included: whoever waits for the picture in its Flight counts on that.
        job.deadline_ms = until_ms.saturating_sub(js::now_ms()).max(1);
        let response = ask_once(gateway, &job, ticket).await?;
        let says = |name: &str| response.headers().has(name).unwrap_or(false);
        // A role that is misconfigured answers 503 too, and does not say when to ask again.
        let at_work = gateway.one_object_per_key() && response.status() == 503 && says("retry-after");
        let heard = Heard {
            given_up: ticket.is_some() && says(KADO_GIVEN_UP),
            at_work,
            in_time: js::now_ms() < until_ms,
        };
        match heard.next(ticket.is_some_and(Ticket::is_unwanted)) {
            Next::Take => return Ok(response),
            Next::GiveUp => {
                if let Some(ticket) = ticket {
                    ticket.leave();
                }
                return Ok(response);
            }
            Next::AskAgain => {}
        }
        if let Some(body) = response.body() {
            // Whether the role heard of it changes nothing here.
            let _cancelled = body.cancel();
        }
        Delay::from(Duration::from_millis(wait_ms)).await;
        wait_ms = (wait_ms * 2).min(LONGEST_WAIT_MS);
    }
}

async fn ask_once(gateway: &Gateway, job: &TransformJob, ticket: Option<&Ticket>) -> Result<Response, Refusal> {
    let header = job.to_header();
    let mut headers = vec![(KADO_JOB, header.as_str())];
    headers.extend(ticket.map(|ticket| (KADO_TICKET, ticket.name.as_str())));
    let request = js::request(
        "POST",
        &format!("http://transform{PATH}"),
        headers,
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
pub(in crate::gateway) fn url_source(target: &Target) -> JobSource {
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
