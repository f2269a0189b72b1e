//! The role that makes pictures. Only the gateway, through its dispatcher, talks to it; it has no network of its own but
//! the origin's internal listener and the egress.
//!
//! `POST /v1/transform` with the header `Kado-Job` answers the picture, a problem document, or 307 with a `Location` where
//! the source redirects: whether that may be followed is the gateway's to decide.

mod chunks;
mod codecs;
mod fetch;
mod turn;

use std::rc::Rc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use kado_imaging::{ImageError, ImageInfo, Limits, Output, Plan, Resolved, Source, Sources};
use kado_shared::{
    headers::{KADO_IMAGE, KADO_JOB},
    job::{PATH, TransformJob},
    problem::{Code, FieldError, Problem},
};
use sha2::{Digest, Sha256};
use wasm_bindgen::JsValue;
use web_sys::{Request, Response};
use worker::Env;

use crate::{
    answer::{Answer, Refusal},
    environment::Environment,
    js,
};
use chunks::Chunks;
use codecs::EdgeCodecs;

pub(crate) use kado_shared::{headers::SOURCE_CACHE_CONTROL, job::REDIRECT_STATUS};

/// Bytes of the body's SHA-256 that make the ETag.
const ETAG_BYTES: usize = 16;

/// What came of a job.
pub(crate) enum Done {
    Picture(Answer),
    Redirect(String),
}

/// Serves a job.
pub(crate) async fn handle(request: Request, environment: Rc<Environment>, env: Env) -> Result<Response, JsValue> {
    let answer = match serve(&request, &environment, &env).await {
        Ok(Done::Picture(answer)) => answer,
        Ok(Done::Redirect(location)) => Answer::empty(REDIRECT_STATUS).with("location", &location),
        Err(refusal) => {
            let id = request
                .headers()
                .get(kado_shared::headers::X_REQUEST_ID)
                .ok()
                .flatten()
                .unwrap_or_default();
            refusal.into_answer(&id)
        }
    };
    answer.into_response()
}

async fn serve(request: &Request, environment: &Environment, env: &Env) -> Result<Done, Refusal> {
    let bad = |detail: String| Refusal::new(Code::BadRequest, detail);
    if request.method() != "POST" || !request.url().ends_with(PATH) {
        return Err(Refusal::new(
            Code::NotFound,
            "the transform role answers POST /v1/transform",
        ));
    }
    let header = request
        .headers()
        .get(KADO_JOB)
        .ok()
        .flatten()
        .ok_or_else(|| bad("the header Kado-Job is missing".to_owned()))?;
    let job = TransformJob::from_header(&header).map_err(|error| bad(error.to_string()))?;
    let started = js::now_ms();
    let _turn = turn::take(started, job.deadline_ms)?;
    let fetched = match fetch::source(&job, request, environment, env).await? {
        fetch::Fetched::Bytes(bytes) => bytes,
        fetch::Fetched::Redirect(location) => return Ok(Done::Redirect(location)),
    };
    let fetched_ms = js::now_ms().saturating_sub(started);
    let (output, info, memory) = transform(&job, &fetched.chunks, environment, env).await?;
    let facts = output.facts(&info, fetched.chunks.total(), "edge", memory);
    crate::log::line(&serde_json::json!({
        "level": "info",
        "event": "transform",
        "role": "transform",
        "requestId": job.request_id,
        "traceparent": job.traceparent,
        "tenant": job.tenant,
        "options": job.options,
        "image": facts,
        "fetchMs": fetched_ms,
        "ms": js::now_ms().saturating_sub(started),
        "peakEstimate": output.peak_estimate,
    }));
    let etag = URL_SAFE_NO_PAD.encode(Sha256::digest(&output.bytes).get(..ETAG_BYTES).unwrap_or_default());
    let mut answer = Answer::bytes(200, output.format.media_type(), Vec::new())
        .with("content-length", &output.bytes.len().to_string())
        .with("etag", &format!("\"{etag}\""))
        .with(KADO_IMAGE, &facts);
    answer = answer.with_foreign_body(js_sys::Uint8Array::from(output.bytes.as_slice()).into());
    if let Some(cache_control) = fetched.cache_control {
        answer.set(SOURCE_CACHE_CONTROL, &cache_control);
    }
    Ok(Done::Picture(answer))
}

async fn transform(
    job: &TransformJob,
    chunks: &Chunks,
    environment: &Environment,
    env: &Env,
) -> Result<(Output, ImageInfo, u64), Refusal> {
    let options = Resolved::parse(&job.options)
        .map_err(|_| Refusal::new(Code::BadRequest, "the job's options are not in normal form"))?;
    let limits = Limits {
        source_bytes: job.limits.max_bytes,
        pixels: job.limits.max_pixels,
        ..Limits::EDGE
    };
    let info = kado_imaging::probe(chunks, &limits).map_err(|error| refuse(&error))?;
    let mut plan = kado_imaging::plan(&info, &options, &limits).map_err(|error| refuse(&error))?;
    let overlay = match plan.overlay() {
        Some(id) => Some(fetch::overlay(job, id, environment, env).await?),
        None => None,
    };
    if let Some(overlay) = &overlay {
        plan = join(&plan, overlay, &limits).map_err(|error| refuse(&error))?;
    }
    let codecs = load(&plan).await?;
    let sources = Sources {
        picture: chunks,
        overlay: overlay.as_ref().map(|overlay| overlay as &dyn Source),
    };
    let output =
        kado_imaging::transform(sources, &plan, &limits, &codecs, &|| false).map_err(|error| refuse(&error))?;
    let memory = js::linear_memory_bytes()
        .saturating_add(codecs.memory_bytes())
        .saturating_add(chunks.total())
        .saturating_add(overlay.as_ref().map_or(0, Chunks::total));
    Ok((output, info, memory))
}

/// The plan with the picture that it draws, which must be one.
fn join(plan: &Plan, overlay: &Chunks, limits: &Limits) -> Result<Plan, ImageError> {
    let info = kado_imaging::probe(overlay, limits).map_err(|error| ImageError::Overlay(Box::new(error)))?;
    plan.with_overlay(&info, limits)
}

/// Instantiates what the plan needs; nothing is loaded from JPEG to JPEG.
async fn load(plan: &Plan) -> Result<EdgeCodecs, Refusal> {
    let mut codecs = EdgeCodecs::default();
    for codec in plan.codecs() {
        let module = js::load_codec(codec)
            .await
            .map_err(|error| Refusal::internal("codec-not-loaded", &error))?;
        codecs.add(codec, module);
    }
    Ok(codecs)
}

/// The engine's error as a problem.
fn refuse(error: &ImageError) -> Refusal {
    let code = if error.is_heavy() {
        Code::Heavy
    } else {
        Code::from_code(error.code()).unwrap_or(Code::Internal)
    };
    let mut problem = Problem::new(code, error.to_string());
    let inner = match error {
        ImageError::Overlay(inner) => inner,
        other => other,
    };
    if let ImageError::TooLarge { limit, value, .. } = inner {
        problem = problem.with_limit(*limit, *value);
    }
    if let ImageError::BadOptions(errors) = inner {
        let fields = errors.iter().map(|error| FieldError {
            field: error.option.clone(),
            detail: error.to_string(),
        });
        problem = problem.with_errors(fields.collect());
    }
    problem.into()
}
