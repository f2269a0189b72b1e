//! API keys as the edge checks them: asked of the origin, and what it said remembered for seconds, good or bad.

use std::cell::RefCell;

use kado_shared::{
    api_key::{self, Answer, Fingerprint, Known, REMEMBERED_MS, Requirement, Scope},
    problem::Code,
    recent::Recent,
    tenant::TenantId,
};
use wasm_bindgen::JsValue;

use super::{Gateway, limits::Who, snapshot::Snapshot};
use crate::{
    answer::Refusal,
    exchange::Exchange,
    internal::{self, Principal},
    js,
};

/// Keys an isolate remembers what it was told of.
const MOST_KEYS: usize = 4096;
/// How long the origin may take, in milliseconds.
const PATIENCE_MS: u64 = 3_000;

/// What the origin said of a key, and when, Unix milliseconds.
#[derive(Clone, Debug)]
struct Told {
    known: Option<Known>,
    at_ms: u64,
}

thread_local! {
    static TOLD: RefCell<Recent<(TenantId, [u8; 32]), Told>> = RefCell::new(Recent::new(MOST_KEYS));
}

/// Checks a key, and that its scopes are enough for the route.
///
/// # Errors
/// 401 for a key that does not count, 403 for one that is not for this, 503 where the origin must be asked and is away.
pub(super) async fn check(
    gateway: &Gateway,
    exchange: &Exchange,
    snapshot: &Snapshot,
    key: &str,
) -> Result<Who, Refusal> {
    let fingerprint = Fingerprint::of(key).ok_or_else(invalid)?;
    let known = look_up(gateway, snapshot, fingerprint).await?.ok_or_else(invalid)?;
    let now = js::now_ms() / 1000;
    if known.expires.is_some_and(|at| at <= now) {
        return Err(invalid());
    }
    match api_key::requirement(&exchange.method, &exchange.path) {
        Requirement::Scope(scope) if !known.scopes.contains(&scope) => Err(not_enough(Some(scope))),
        Requirement::Session => Err(not_enough(None)),
        Requirement::Scope(_) | Requirement::Nothing => Ok(Who {
            user: Some(known.user.to_string()),
            api_key: Some(known.id.to_string()),
            key_limit: known.limit,
        }),
    }
}

async fn look_up(gateway: &Gateway, snapshot: &Snapshot, key: Fingerprint) -> Result<Option<Known>, Refusal> {
    let tenant = snapshot.config.tenant.id;
    let place = (tenant, key.sha256);
    let now = js::now_ms();
    let told = TOLD.with_borrow_mut(|told| told.get_mut(&place).cloned());
    if let Some(told) = told.filter(|told| now.saturating_sub(told.at_ms) < REMEMBERED_MS) {
        return Ok(told.known);
    }
    let known = ask(gateway, &tenant.to_string(), &key).await.map_err(|error| {
        let message = js::describe(&error);
        crate::log::line(&serde_json::json!({ "level": "error", "event": "credentials-away", "message": message }));
        Refusal::new(Code::Unavailable, "the API key cannot be checked at the moment").with("retry-after", "2")
    })?;
    let told = Told {
        known: known.clone(),
        // From when it was asked: what it was told may be as old.
        at_ms: now,
    };
    TOLD.with_borrow_mut(|memory| memory.insert(place, told));
    Ok(known)
}

async fn ask(gateway: &Gateway, tenant: &str, key: &Fingerprint) -> Result<Option<Known>, JsValue> {
    let described = |error: serde_json::Error| JsValue::from_str(&error.to_string());
    let body = serde_json::to_string(key).map_err(described)?;
    let principal = Principal {
        tenant,
        client_ip: "",
        request_id: &gateway.request_id,
        traceparent: &gateway.traceparent,
    };
    let service = gateway.binding("INTERNAL");
    let environment = &gateway.environment;
    let response = internal::post_json(
        environment,
        service.as_ref(),
        api_key::PATH,
        &principal,
        &body,
        PATIENCE_MS,
    )
    .await?;
    let text = js::text(&response).await?;
    if response.status() != 200 {
        return Err(JsValue::from_str(&format!("the origin answered {}", response.status())));
    }
    let answer: Answer = serde_json::from_str(&text).map_err(described)?;
    Ok(answer.key)
}

fn invalid() -> Refusal {
    Refusal::new(Code::InvalidToken, "the API key is not valid, or not any more")
        .with("www-authenticate", "Bearer realm=\"kado\", error=\"invalid_token\"")
}

fn not_enough(scope: Option<Scope>) -> Refusal {
    let detail = scope.map_or_else(
        || "no API key opens this: sign in with POST /api/auth/login".to_owned(),
        |scope| format!("the API key lacks the scope {scope}"),
    );
    Refusal::new(Code::InsufficientScope, detail).with("www-authenticate", api_key::insufficient_scope(scope))
}
