//! Requests that the origin answers: passed on signed, bodies untouched in both directions.

use std::cell::RefCell;

use kado_shared::{
    breaker::{Admission, Breaker},
    headers::{is_between_origin_and_edge, is_hop_by_hop, is_named_by, is_untrusted_inbound},
    problem::{Code, Problem},
};
use url::Url;
use wasm_bindgen::JsValue;
use web_sys::{Request, Response};

use super::Gateway;
use crate::{
    answer::{Answer, Refusal},
    exchange::Exchange,
    internal::{self, Principal},
    js::{self, LimitedStream},
};

/// How long the origin may take for an exchange whose body costs no time, in milliseconds.
const DEADLINE_MS: u64 = 30_000;
/// Bytes that even a slow client sends in a second: an upload may take as long as it needs at that rate.
const SLOWEST_BYTES_PER_S: u64 = 16 * 1024;
/// Time for a body that does not say how long it is, in milliseconds. The origin limits its pauses.
const UNKNOWN_LENGTH_MS: u64 = 600_000;
/// The same for readiness, whose own checks take 1.5 s at most.
const READINESS_MS: u64 = 3_000;

thread_local! {
    static ORIGIN: RefCell<Breaker> = const { RefCell::new(Breaker::new()) };
}

/// Passes a request on to the origin and its answer back. An origin that has just failed is left alone for a second, and
/// then asked by one request before all others.
///
/// # Errors
/// 503 where the origin cannot be reached or does not answer in time, 413 for a body that turns out to be too large.
pub(crate) async fn pass_on(
    gateway: &Gateway,
    exchange: &Exchange,
    tenant: &str,
    most_bytes: u64,
) -> Result<Answer, Refusal> {
    admit()?;
    let deadline_ms = DEADLINE_MS.saturating_add(body_ms(exchange));
    let counted = counted_body(exchange, most_bytes).map_err(|error| Refusal::internal("body-not-counted", &error))?;
    let sent = send(gateway, exchange, tenant, deadline_ms, counted.as_ref()).await;
    if counted.is_some_and(|body| body.over().is_truthy()) {
        let detail = format!("the body may have {most_bytes} bytes, this one has more");
        return Err(Problem::new(Code::TooLarge, detail)
            .with_limit(most_bytes, most_bytes.saturating_add(1))
            .into());
    }
    sent.map(|response| clean(&response)).map_err(|error| away(&error))
}

/// The body of a request that does not say how long it is, counted on its way. The others pass through untouched.
fn counted_body(exchange: &Exchange, most_bytes: u64) -> Result<Option<LimitedStream>, JsValue> {
    match (exchange.header("content-length"), body_of(exchange)) {
        (None, Some(body)) => js::limited(&body, most_bytes).map(Some),
        _ => Ok(None),
    }
}

/// The body that a request is passed on with.
fn body_of(exchange: &Exchange) -> Option<web_sys::ReadableStream> {
    if has_none(exchange) {
        None
    } else {
        exchange.request.body()
    }
}

/// Whether a request is passed on without a body: what comes with a GET means nothing (RFC 9110, section 9.3.1), and the
/// runtime sends none.
fn has_none(exchange: &Exchange) -> bool {
    matches!(exchange.method.as_str(), "GET" | "HEAD")
}

/// Leaves an origin alone that has just failed; what asks it after this tells [`answered`].
///
/// # Errors
/// 503 while it rests.
pub(super) fn admit() -> Result<(), Refusal> {
    match ORIGIN.with_borrow_mut(|origin| origin.admit(js::now_ms())) {
        Admission::Wait { ms } => {
            let detail = "the origin has just failed to answer; try again shortly";
            Err(Refusal::new(Code::Unavailable, detail).with("retry-after", ms.div_ceil(1000).max(1).to_string()))
        }
        Admission::Ask => Ok(()),
    }
}

/// Takes note of what came of asking the origin.
pub(super) fn answered(sent: &Result<Response, JsValue>, has_body: bool, asked_ms: u64) {
    ORIGIN.with_borrow_mut(|origin| match sent {
        Ok(_) => origin.answered(js::now_ms()),
        // What takes long is not away.
        Err(error) if js::was_given_up(error) => {}
        // An upload that breaks off, or that the origin has refused half way, ends in the same error as an origin that is
        // away. What one client does must not shut all others out.
        Err(_) if has_body => origin.unclear(js::now_ms()),
        Err(_) => origin.failed(asked_ms, js::now_ms()),
    });
}

/// Whether a request may be sent twice: nothing happens the second time that has not happened the first (RFC 9110, section
/// 9.2.2), and it has no body that is gone by then.
fn may_repeat(exchange: &Exchange) -> bool {
    let bodiless = body_of(exchange).is_none();
    bodiless && matches!(exchange.method.as_str(), "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE")
}

/// Time that a request's body may take. The runtime's signal ends the request's body and the answer's with it, so both
/// have to fit.
fn body_ms(exchange: &Exchange) -> u64 {
    match exchange.header("content-length").map(|length| length.parse::<u64>()) {
        Some(Ok(length)) => length.saturating_mul(1000) / SLOWEST_BYTES_PER_S,
        _ if exchange.header("transfer-encoding").is_some() => UNKNOWN_LENGTH_MS,
        _ => 0,
    }
}

/// The origin's readiness; where the origin is away, the edge says so in the same form.
pub(crate) async fn readiness(gateway: &Gateway, exchange: &Exchange) -> Result<Answer, Refusal> {
    match send(gateway, exchange, "", READINESS_MS, None).await {
        Ok(response) => Ok(clean(&response)),
        Err(error) => {
            crate::log::line(
                &serde_json::json!({ "level": "error", "event": "origin-away", "message": js::describe(&error) }),
            );
            let body = serde_json::json!({
                "status": "unavailable",
                "ready": false,
                "components": { "origin": { "ok": false, "message": "the origin does not answer; this is the edge's own answer" } },
            });
            let answer = Answer::bytes(503, "application/json", body.to_string().into_bytes());
            Ok(answer.with("cache-control", "no-store").with("retry-after", "5"))
        }
    }
}

/// Sends a request to the origin, and where nobody was there, once more if that does no harm: an origin closes connections
/// that it finds idle, and what is sent on one at that moment is lost.
async fn send(
    gateway: &Gateway,
    exchange: &Exchange,
    tenant: &str,
    deadline_ms: u64,
    body: Option<&LimitedStream>,
) -> Result<Response, JsValue> {
    let asked_ms = js::now_ms();
    // Asked before the body is handed over.
    let (repeatable, has_body) = (may_repeat(exchange), body_of(exchange).is_some());
    let mut sent = send_once(gateway, exchange, tenant, deadline_ms, body).await;
    if let Err(error) = &sent
        && !js::was_given_up(error)
        && repeatable
    {
        let left_ms = deadline_ms.saturating_sub(js::now_ms().saturating_sub(asked_ms));
        sent = send_once(gateway, exchange, tenant, left_ms, None).await;
    }
    answered(&sent, has_body, asked_ms);
    sent
}

/// One attempt, with a signature of its own: its nonce counts once.
async fn send_once(
    gateway: &Gateway,
    exchange: &Exchange,
    tenant: &str,
    deadline_ms: u64,
    body: Option<&LimitedStream>,
) -> Result<Response, JsValue> {
    let url = &gateway.environment.origin_url;
    let request = request_to(url, gateway, exchange, tenant, deadline_ms, body)?;
    js::fetch(gateway.binding("ORIGIN").as_ref(), &request).await
}

/// A client's request as an origin gets it.
pub(super) fn request_to(
    origin_url: &str,
    gateway: &Gateway,
    exchange: &Exchange,
    tenant: &str,
    deadline_ms: u64,
    body: Option<&LimitedStream>,
) -> Result<Request, JsValue> {
    let written = format!("{origin_url}{}", exchange.path_and_query());
    let url = Url::parse(&written).map_err(|error| JsValue::from_str(&error.to_string()))?;
    let client_ip = exchange.client_ip_text();
    let principal = Principal {
        tenant,
        client_ip: &client_ip,
        request_id: &gateway.request_id,
        traceparent: &gateway.traceparent,
    };
    let keys = &gateway.environment.forward_keys;
    let signed = |target: &str| internal::signed(keys, &principal, &exchange.method, target, None);
    let signature = signed(&target(&url))?;
    let connection = exchange.header("connection").unwrap_or_default();
    let trusted = exchange.fields().iter().filter(|(name, _)| {
        !(is_untrusted_inbound(name)
            || is_hop_by_hop(name)
            || is_named_by(&connection, name)
            || internal::is_written_by_signing(name)
            || (name == "content-length" && has_none(exchange)))
    });
    let fields = trusted
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .chain(signature.iter().map(|(name, value)| (*name, value.as_str())));
    let passing = body_of(exchange);
    let body = match (body, &passing) {
        (Some(limited), _) => Some(limited.as_ref()),
        (None, passing) => passing.as_ref().map(AsRef::as_ref),
    };
    let request = js::request(&exchange.method, url.as_str(), fields, body, Some(deadline_ms))?;
    // The runtime may write an address differently yet; what it sends is what has to be signed.
    let sent = request.url();
    if sent != url.as_str() {
        let sent = Url::parse(&sent).map_err(|error| JsValue::from_str(&error.to_string()))?;
        for (name, value) in signed(&target(&sent))? {
            request.headers().set(name, &value)?;
        }
    }
    Ok(request)
}

/// Path and query of an address as a request line has them.
fn target(url: &Url) -> String {
    url.query()
        .map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()))
}

/// The origin's answer without what was meant for the edge, or for the connection to it, alone.
fn clean(response: &Response) -> Answer {
    let mut answer = Answer::from_response(response);
    let connection = response.headers().get("connection").ok().flatten().unwrap_or_default();
    answer.retain_headers(|name| {
        !(name == "server" || is_hop_by_hop(name) || is_named_by(&connection, name) || is_between_origin_and_edge(name))
    });
    answer
}

fn away(error: &JsValue) -> Refusal {
    crate::log::line(&serde_json::json!({ "level": "error", "event": "origin-away", "message": js::describe(error) }));
    Refusal::new(Code::Unavailable, "the origin does not answer; try again shortly").with("retry-after", "5")
}
