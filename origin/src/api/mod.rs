//! The public routes. One endpoint, one file: its errors, its handler, its tests.

mod admin;
mod auth;
mod health;
mod images;
#[cfg(test)]
pub(crate) mod testing;

pub(crate) use images::delete::remove_unreferenced;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware::{from_fn, from_fn_with_state},
    routing::{delete, get, post},
};

use crate::{
    http::{
        context::observe,
        edge::require_forward,
        failure::{method_not_allowed, not_found},
        gate::{require_started, within_deadline},
    },
    service::App,
};

/// Everything that the edge forwards to, and the health routes, which load balancers ask without a signature.
pub(crate) fn router(app: App) -> Router {
    let quick = Router::new()
        .route("/.well-known/jwks.json", get(auth::jwks::get_jwks))
        .route("/api/auth/login", post(auth::login::post_login))
        .route("/api/auth/logout", post(auth::logout::post_logout))
        .route("/api/auth/me", get(auth::me::get_me))
        .route("/api/auth/password", post(auth::password::post_password))
        .route(
            "/api/admin/settings",
            get(admin::settings::list::get_settings).patch(admin::settings::change::patch_settings),
        )
        .route("/api/images/{id}", delete(images::delete::delete_image))
        .fallback(not_found)
        .layer(from_fn(within_deadline));
    let forwarded = Router::new()
        // An upload takes as long as its bytes do; it limits its own pauses.
        .route(
            "/api/images",
            get(images::list::get_images).post(images::upload::post_image),
        )
        // It also limits its own size, by a setting; axum's 2 MB would come first.
        .layer(DefaultBodyLimit::disable())
        .merge(quick)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(App::clone(&app), require_forward))
        .layer(from_fn_with_state(App::clone(&app), require_started));
    let open = Router::new()
        .route("/api/health", get(health::readiness::get_health))
        .route("/api/health/liveness", get(health::liveness::get_liveness))
        .method_not_allowed_fallback(method_not_allowed);
    forwarded
        .merge(open)
        .layer(from_fn_with_state(App::clone(&app), observe))
        .with_state(app)
}
