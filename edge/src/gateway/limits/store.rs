//! Where limits are counted: in this gateway's own objects, or, where several gateways share them, at the origin.

use kado_shared::{
    edge_config::LimitStore,
    limits::{
        OnFailure,
        protocol::{Lease, Leased, Take, Taken},
    },
};
use wasm_bindgen::JsValue;

use crate::{
    gateway::Gateway,
    internal::{self, Principal},
    js,
    objects::rate_limiter,
};

/// How long the origin may take for one decision, in milliseconds: longer than it waits for its own stores.
const PATIENCE_MS: u64 = 5_000;

/// Whose counters a request is counted in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counters<'a> {
    /// Tenant; empty for what belongs to none, which is never shared.
    pub(super) tenant: &'a str,
    pub(super) store: LimitStore,
}

impl Counters<'_> {
    /// Whether several gateways count together. Nothing is held there: what a gateway leases is its own for as long as it
    /// takes to come again.
    pub(super) fn are_shared(&self, gateway: &Gateway) -> bool {
        self.store == LimitStore::Shared && !gateway.one_object_per_key() && !self.tenant.is_empty()
    }
}

/// Counts a request.
///
/// Where the origin is away, a rule that is open then is counted in the gateway's own objects: each gateway admits its
/// quota, which is better than no limit. A rule that is closed then promises more than that, and is not decided.
pub(super) async fn take(
    gateway: &Gateway,
    counters: Counters<'_>,
    name: &str,
    lease: &Lease,
) -> Result<Leased, JsValue> {
    if counters.are_shared(gateway) {
        match ask_origin(gateway, counters.tenant, &lease.take).await {
            Ok(taken) => {
                return Ok(Leased {
                    taken,
                    held: 0,
                    held_since_ms: 0,
                });
            }
            Err(error) if lease.take.rule.on_failure == OnFailure::Closed => return Err(error),
            Err(error) => crate::log::line(&serde_json::json!({
                "level": "warn", "event": "shared-limits-away", "limit": name, "message": js::describe(&error),
            })),
        }
    }
    let mut own = lease.clone();
    own.take.key = format!("{}/{}", counters.tenant, lease.take.key);
    rate_limiter::take(&gateway.env, name, &own, gateway.one_object_per_key()).await
}

async fn ask_origin(gateway: &Gateway, tenant: &str, take: &Take) -> Result<Taken, JsValue> {
    let described = |error: &dyn std::fmt::Display| JsValue::from_str(&error.to_string());
    let body = serde_json::to_string(take).map_err(|error| described(&error))?;
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
        "/internal/limit",
        &principal,
        &body,
        PATIENCE_MS,
    )
    .await?;
    let text = js::text(&response).await?;
    if response.status() != 200 {
        return Err(JsValue::from_str(&format!("the origin answered {}", response.status())));
    }
    serde_json::from_str(&text).map_err(|error| described(&error))
}
