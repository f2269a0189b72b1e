//! Fetching a job's source: from the origin, through the egress, or out of the request itself.

use kado_imaging::{ImageError, Limits, Probe};
use kado_shared::{
    headers::{
        KADO_ALLOW_PORT, KADO_ALLOW_PRIVATE, KADO_EGRESS_ERROR, KADO_MAX_BYTES, KADO_SOURCE, KADO_TIMEOUT_MS, KADO_VIA,
    },
    job::{JobSource, TransformJob},
    problem::{Code, Problem},
};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{ReadableStream, Request, Response};
use worker::Env;

use super::{chunks::Chunks, limits_of};
use crate::{
    answer::Refusal,
    environment::Environment,
    internal::{self, Principal},
    js,
};

/// Bytes of a body that are waited for at once. A body lies in memory in pieces of this size.
const AT_ONCE: u32 = 256 * 1024;

/// What we add to `Via`.
const VIA: &str = "1.1 kado";
/// Bytes of a body's beginning that tell whether it is a picture, and of what size.
const HEAD: u32 = 64 * 1024;

/// What came of a fetch.
pub(super) enum Fetched {
    Bytes(SourceBytes),
    Redirect(String),
}

/// A source, whole.
pub(super) struct SourceBytes {
    pub(super) chunks: Chunks,
    pub(super) cache_control: Option<String>,
}

/// Fetches the source of a job.
///
/// # Errors
/// Why it could not be had. Nothing of the source's own words is told: they could be anybody's.
pub(super) async fn source(
    job: &TransformJob,
    request: &Request,
    environment: &Environment,
    env: &Env,
) -> Result<Fetched, Refusal> {
    match &job.source {
        JobSource::Stored { id } => stored(job, &id.hyphenated().to_string(), environment, env).await,
        JobSource::Url {
            url,
            allow_private,
            allow_port,
        } => remote(job, url, *allow_private, *allow_port, env).await,
        JobSource::Body => {
            let declared = content_length(request.headers().get("content-length").ok().flatten());
            let chunks = drain(request.body(), declared, &limits_of(job)).await?;
            Ok(Fetched::Bytes(SourceBytes {
                chunks,
                cache_control: None,
            }))
        }
    }
}

/// Fetches the stored picture that a job draws over its own. What stands in the way says that it is about this one.
///
/// # Errors
/// As [`source`].
pub(super) async fn overlay(
    job: &TransformJob,
    id: &str,
    environment: &Environment,
    env: &Env,
) -> Result<Chunks, Refusal> {
    let of_the_overlay = |mut refusal: Refusal| {
        refusal.problem.detail = format!("draw=u:{id}: {}", refusal.problem.detail);
        refusal
    };
    match stored(job, id, environment, env).await.map_err(of_the_overlay)? {
        Fetched::Bytes(bytes) => Ok(bytes.chunks),
        Fetched::Redirect(_) => Err(of_the_overlay(Refusal::new(
            Code::Internal,
            "the store of originals redirects",
        ))),
    }
}

async fn stored(job: &TransformJob, id: &str, environment: &Environment, env: &Env) -> Result<Fetched, Refusal> {
    let tenant = job.tenant.to_string();
    let principal = Principal {
        tenant: &tenant,
        client_ip: &job.client_ip,
        request_id: &job.request_id,
        traceparent: job.traceparent.as_deref().unwrap_or_default(),
    };
    let path = format!("/internal/blobs/u/{id}");
    let service = js::binding(env, "INTERNAL");
    let response = internal::get(environment, service.as_ref(), &path, &principal, &[], job.deadline_ms)
        .await
        .map_err(|error| {
            crate::log::line(
                &serde_json::json!({ "level": "error", "event": "origin-away", "message": js::describe(&error) }),
            );
            Refusal::new(
                Code::Unavailable,
                "the store of originals does not answer; try again shortly",
            )
            .with("retry-after", "5")
        })?;
    match response.status() {
        200 => bytes(&response, &limits_of(job)).await,
        404 if says_missing(&response).await => Err(Refusal::new(
            Code::SourceNotFound,
            "there is no stored picture with this identifier",
        )),
        _ => Err(
            Refusal::new(Code::Unavailable, "the store of originals failed; try again shortly")
                .with("retry-after", "5"),
        ),
    }
}

/// Whether the store itself says that it has no such picture. To a signature that it does not take it answers 404 too.
async fn says_missing(response: &Response) -> bool {
    let document: serde_json::Value = js::text(response)
        .await
        .ok()
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    document.get("code").and_then(serde_json::Value::as_str) == Some(Code::SourceNotFound.as_str())
}

async fn remote(
    job: &TransformJob,
    url: &str,
    allow_private: bool,
    allow_port: bool,
    env: &Env,
) -> Result<Fetched, Refusal> {
    // The rest is for the transform: a source that takes all the time there is must be told apart from work that does.
    let patience_ms = job.deadline_ms / 4 * 3;
    let (most, timeout) = (job.limits.max_bytes.to_string(), patience_ms.to_string());
    let service = js::binding(env, "SOURCES");
    let request = if service.is_some() {
        let mut headers = vec![
            (KADO_SOURCE, url),
            (KADO_MAX_BYTES, most.as_str()),
            (KADO_TIMEOUT_MS, timeout.as_str()),
        ];
        headers.extend(allow_private.then_some((KADO_ALLOW_PRIVATE, "1")));
        headers.extend(allow_port.then_some((KADO_ALLOW_PORT, "1")));
        headers.extend(job.via.as_deref().map(|via| (KADO_VIA, via)));
        js::request("GET", "http://egress/v1/fetch", headers, None, Some(patience_ms))
    } else {
        // On Cloudflare the platform itself refuses addresses that are not public.
        let via = match &job.via {
            Some(hops) => format!("{hops}, {VIA}"),
            None => VIA.to_owned(),
        };
        let headers = [
            ("accept", "image/*"),
            ("accept-encoding", "identity"),
            ("via", via.as_str()),
        ];
        js::request("GET", url, headers, None, Some(patience_ms))
    };
    let request = request.map_err(|_| Refusal::new(Code::BadSource, "the source is no address that can be fetched"))?;
    let response = js::fetch(service.as_ref(), &request).await.map_err(|error| {
        crate::log::line(
            &serde_json::json!({ "level": "warn", "event": "source-failed", "message": js::describe(&error) }),
        );
        if is_timeout(&error) {
            timed_out()
        } else {
            Refusal::new(Code::SourceFailed, "the source could not be reached")
        }
    })?;
    if let Some(reason) = response.headers().get(KADO_EGRESS_ERROR).ok().flatten() {
        return Err(egress_failed(&reason, job.limits.max_bytes));
    }
    match response.status() {
        200 => bytes(&response, &limits_of(job)).await,
        301 | 302 | 303 | 307 | 308 => {
            let location = response.headers().get("location").ok().flatten();
            location
                .map(Fetched::Redirect)
                .ok_or_else(|| Refusal::new(Code::SourceFailed, "the source redirects to nowhere"))
        }
        // Stores answer 403 where a file is missing and its folder may not be listed.
        403 | 404 | 410 | 451 => Err(Refusal::new(Code::SourceNotFound, "the source has no such picture")),
        _ => Err(Refusal::new(
            Code::SourceFailed,
            "the source did not answer with a picture",
        )),
    }
}

fn egress_failed(reason: &str, most: u64) -> Refusal {
    match reason {
        "address-refused" => Refusal::new(
            Code::SourceNotAllowed,
            "the source's address is not one that may be fetched",
        ),
        "timeout" => timed_out(),
        "too-large" => Problem::new(Code::TooLarge, format!("the source may have {most} bytes, it has more")).into(),
        _ => Refusal::new(Code::SourceFailed, "the source could not be fetched"),
    }
}

fn timed_out() -> Refusal {
    Refusal::new(Code::SourceTimeout, "the source did not answer in time")
}

fn is_timeout(error: &JsValue) -> bool {
    error
        .dyn_ref::<js_sys::Error>()
        .is_some_and(|error| error.name() == "TimeoutError")
}

async fn bytes(response: &Response, limits: &Limits) -> Result<Fetched, Refusal> {
    let header = |name: &str| response.headers().get(name).ok().flatten();
    let declared = content_length(header("content-length"));
    let chunks = drain(response.body(), declared, limits).await?;
    Ok(Fetched::Bytes(SourceBytes {
        chunks,
        cache_control: header("cache-control"),
    }))
}

/// Why the rest of a body is not wanted, as far as its beginning tells.
fn refused_by_head(chunk: &js_sys::Uint8Array, limits: &Limits) -> Option<Refusal> {
    let head = chunk.subarray(0, chunk.length().min(HEAD)).to_vec();
    let verdict = kado_imaging::probe_head(&head, limits).and_then(|found| match found {
        Probe::Info(info) => info.check(limits),
        Probe::NeedMore(_) => Ok(()),
    });
    match verdict {
        Err(error @ (ImageError::NotAnImage | ImageError::TooLarge { .. })) => Some(super::refuse(&error)),
        _ => None,
    }
}

fn content_length(header: Option<String>) -> Option<u64> {
    header.and_then(|length| length.parse().ok())
}

/// Reads a body to its end. One that is shorter than it said is an error, and never half a picture; one whose beginning is
/// that of no picture, or of one that is too large, is not read on.
async fn drain(body: Option<ReadableStream>, declared: Option<u64>, limits: &Limits) -> Result<Chunks, Refusal> {
    let mut chunks = Chunks::default();
    let most = limits.source_bytes;
    let too_large = |value| -> Refusal {
        Problem::new(
            Code::TooLarge,
            format!("the source may have {most} bytes, it has {value} or more"),
        )
        .with_limit(most, value)
        .into()
    };
    if let Some(length) = declared.filter(|length| *length > most) {
        return Err(too_large(length));
    }
    let cut = || Refusal::new(Code::SourceFailed, "the source ended before it was complete");
    if let Some(body) = body {
        let reader = js::body_reader(&body).map_err(|_| cut())?;
        loop {
            let left = declared.map_or(u64::from(AT_ONCE), |length| length.saturating_sub(chunks.total()));
            let length = u32::try_from(left).unwrap_or(AT_ONCE).clamp(1, AT_ONCE);
            let chunk = js::read_body(&reader, length)
                .await
                .map_err(|error| if is_timeout(&error) { timed_out() } else { cut() })?;
            if chunk.length() == 0 {
                break;
            }
            if chunks.total() == 0
                && let Some(refusal) = refused_by_head(&chunk, limits)
            {
                let _ = reader.cancel();
                return Err(refusal);
            }
            chunks.push(chunk);
            if chunks.total() > most {
                // The rest is not wanted; what the stream says to that is of no use either.
                let _ = reader.cancel();
                return Err(too_large(chunks.total()));
            }
        }
    }
    if declared.is_some_and(|length| length != chunks.total()) {
        Err(cut())
    } else {
        Ok(chunks)
    }
}
