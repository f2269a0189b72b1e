//! Events of transforms, uploads and processes.
//!
//! An event is in the outbox, on disk, before the answer that tells of its work begins: whoever has that answer has an
//! event. It costs about a millisecond of work that takes ten to hundreds.

use kado_shared::{
    event::{self, Event, Picture},
    headers::{IDEMPOTENT_REPLAYED, KADO_IMAGE},
    job::TransformJob,
};

use super::{EVENTS, count};
use crate::{
    answer::{Answer, Refusal},
    exchange::Exchange,
    gateway::{Facts, Gateway},
    js,
    objects::outbox,
};

/// Notes a transform, whatever came of it.
pub(in crate::gateway) async fn transform(
    gateway: &Gateway,
    job: &TransformJob,
    started_ms: u64,
    outcome: Result<Picture, &Refusal>,
) {
    let (result, picture) = match outcome {
        Ok(picture) => ("ok", picture),
        Err(refusal) => (refusal.problem.code, Picture::default()),
    };
    super::spans::transformed(job.traceparent.as_deref(), started_ms, result, &picture);
    let trace_id = job.traceparent.as_deref().and_then(|trace| trace.split('-').nth(1));
    let event = Event {
        id: uuid::Uuid::nil(),
        kind: "transform".to_owned(),
        tenant: job.tenant,
        at: 0,
        result: result.to_owned(),
        request_id: job.request_id.clone(),
        trace_id: trace_id.map(str::to_owned),
        user: None,
        ms: since(started_ms),
        picture,
    };
    keep(gateway, "transform", event).await;
}

/// Notes an upload or a process that the origin has answered.
pub(in crate::gateway) async fn forwarded(
    gateway: &Gateway,
    exchange: &Exchange,
    facts: &Facts,
    outcome: &Result<Answer, Refusal>,
) {
    let Some((kind, tenant)) = kind(&exchange.method, &exchange.path).zip(facts.tenant.as_deref()) else {
        return;
    };
    let Ok(tenant) = tenant.parse() else { return };
    let header = |name: &str| outcome.as_ref().ok().and_then(|answer| answer.header(name));
    let result = match outcome {
        // What the answer tells of was done, and told of, before.
        Ok(answer) if answer.header(IDEMPOTENT_REPLAYED).is_some() => "replayed".to_owned(),
        Ok(answer) if answer.status() < 300 => "ok".to_owned(),
        // The problem's code is in a body that is passed on unread.
        Ok(answer) => format!("status-{}", answer.status()),
        Err(refusal) => refusal.problem.code.to_owned(),
    };
    let mut picture = header(KADO_IMAGE).map(Picture::from_facts).unwrap_or_default();
    if picture.bytes_in.is_none() {
        picture.bytes_in = exchange.header("content-length").and_then(|length| length.parse().ok());
    }
    let event = Event {
        id: uuid::Uuid::nil(),
        kind: kind.to_owned(),
        tenant,
        at: 0,
        result,
        request_id: exchange.id.clone(),
        trace_id: Some(trace_id(exchange)),
        user: facts.user.as_deref().and_then(|user| user.parse().ok()),
        ms: since(exchange.started_ms),
        picture,
    };
    keep(gateway, kind, event).await;
}

/// Kind of the event that a forwarded request makes.
fn kind(method: &str, path: &str) -> Option<&'static str> {
    match (method, path) {
        ("POST", "/api/images") => Some("upload"),
        ("POST", "/api/process") => Some("process"),
        _ => None,
    }
}

/// The trace of a request: 32 hexadecimal digits.
pub(super) fn trace_id(exchange: &Exchange) -> String {
    kado_shared::cache_key::hex(&exchange.trace.trace_id)
}

fn since(started_ms: u64) -> u32 {
    u32::try_from(js::now_ms().saturating_sub(started_ms)).unwrap_or(u32::MAX)
}

async fn keep(gateway: &Gateway, kind: &'static str, mut event: Event) {
    const ATTEMPTS: u32 = 2;
    let tenant = event.tenant.to_string();
    event.at = js::now_ms();
    let made = js::random()
        .map(|random| event::identifier(event.at, random))
        .and_then(|id| {
            event.id = id;
            serde_json::to_string(&event).map_err(|error| wasm_bindgen::JsValue::from_str(&error.to_string()))
        });
    let mut outcome = Ok(());
    for _ in 0..ATTEMPTS {
        // A second attempt brings the same identifier, so what was stored without a word is not stored twice.
        outcome = match &made {
            Ok(json) => outbox::put(&gateway.env, event.id, json, gateway.one_object_per_key()).await,
            Err(error) => Err(error.clone()),
        };
        if outcome.is_ok() {
            break;
        }
    }
    match outcome {
        Ok(()) => count(&tenant, EVENTS, &[kind, "kept"], 1),
        Err(error) => {
            count(&tenant, EVENTS, &[kind, "lost"], 1);
            crate::log::line(
                &serde_json::json!({ "level": "error", "event": "event-lost", "message": js::describe(&error), "lost": event }),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::kind;

    #[test]
    fn only_work_makes_events() {
        assert_eq!(kind("POST", "/api/images"), Some("upload"));
        assert_eq!(kind("POST", "/api/process"), Some("process"));
        for (method, path) in [
            ("GET", "/api/images"),
            ("POST", "/api/images/1"),
            ("POST", "/api/auth/login"),
        ] {
            assert_eq!(kind(method, path), None, "{method} {path}");
        }
    }
}
