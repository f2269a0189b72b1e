//! What the edge asks for itself, on a listener and with a key of its own. Clients never get here.

mod blob;
mod credentials;
mod edge_config;
pub(crate) mod events;
mod gateways;
mod limit;
mod quota;
mod transform;

use axum::{
    Router,
    middleware::{from_fn, from_fn_with_state},
    routing::{get, post},
};

use crate::{
    http::{
        context::observe,
        edge::require_internal,
        failure::{method_not_allowed, not_found},
        gate::{require_started, within_deadline},
    },
    service::App,
};

/// Everything below `/internal`.
pub(crate) fn router(app: App) -> Router {
    Router::new()
        .route("/internal/edge-config", get(edge_config::get_edge_config))
        .route("/internal/events", post(events::post_events))
        .route("/internal/blobs/u/{id}", get(blob::get_blob))
        .route(kado_shared::api_key::PATH, post(credentials::post_credentials))
        .route("/internal/limit", post(limit::post_limit))
        .route(kado_shared::quota::PATH, post(quota::post_quota))
        .route(kado_shared::gateways::PATH, post(gateways::post_gateways))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn(within_deadline))
        // Has a deadline of its own.
        .route("/internal/transform", post(transform::post_transform))
        .layer(from_fn_with_state(App::clone(&app), require_internal))
        .layer(from_fn_with_state(App::clone(&app), require_started))
        .layer(from_fn_with_state(App::clone(&app), observe))
        .with_state(app)
}
