//! The public routes. One endpoint, one file: its errors, its handler, its tests.

mod admin;
mod auth;
mod content;
mod csv;
#[cfg(test)]
mod faults;
mod health;
mod images;
#[cfg(test)]
mod indexes;
mod openapi;
mod page;
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
        .route("/api/docs", get(openapi::get_docs))
        .route("/api/openapi.json", get(openapi::get_openapi))
        .route("/api/auth/login", post(auth::login::post_login))
        .route("/api/auth/logout", post(auth::logout::post_logout))
        .route("/api/auth/me", get(auth::me::get_me))
        .route("/api/auth/password", post(auth::password::post_password))
        .route("/api/auth/register", post(auth::register::post_register))
        .route("/api/auth/rotate", post(auth::rotate::post_rotate))
        .route("/api/auth/revoke-all", post(auth::revoke_all::post_revoke_all))
        .route("/api/auth/sessions", get(auth::sessions::get_sessions))
        .route("/api/auth/sessions/{id}", delete(auth::sessions::delete_session))
        .route("/api/admin/sessions/revoke-all", post(admin::sessions::post_revoke_all))
        .route(
            "/api/admin/settings",
            get(admin::settings::list::get_settings).patch(admin::settings::change::patch_settings),
        )
        .route("/api/admin/images", get(admin::images::list::get_images))
        .route("/api/admin/images/{id}", delete(admin::images::delete::delete_image))
        .route("/api/admin/keys", get(admin::keys::get_keys))
        .route("/api/admin/usage", get(admin::usage::get_usage))
        .route("/api/admin/audit", get(admin::audit::get_audit))
        .route(
            "/api/admin/users",
            get(admin::users::list::get_users).post(admin::users::create::post_user),
        )
        .route(
            "/api/admin/users/{id}",
            get(admin::users::read::get_user).patch(admin::users::change::patch_user),
        )
        .route(
            "/api/admin/users/{id}/password",
            post(admin::users::password::post_password),
        )
        .route(
            "/api/admin/users/{id}/sessions",
            get(admin::users::sessions::get_sessions).delete(admin::users::sessions::delete_sessions),
        )
        .route(
            "/api/admin/users/{id}/sessions/{session}",
            delete(admin::users::sessions::delete_session),
        )
        .route("/api/admin/purge", post(admin::purge::post_purge))
        .route(
            "/api/admin/api-keys",
            get(admin::api_keys::list::get_api_keys).post(admin::api_keys::create::post_api_key),
        )
        .route(
            "/api/admin/api-keys/{id}",
            delete(admin::api_keys::delete::delete_api_key),
        )
        .route(
            "/api/admin/maintenance",
            get(admin::maintenance::get_maintenance)
                .put(admin::maintenance::put_maintenance)
                .delete(admin::maintenance::delete_maintenance),
        )
        .route(
            "/api/admin/presets",
            get(admin::presets::list::get_presets).post(admin::presets::create::post_preset),
        )
        .route(
            "/api/admin/presets/{name}",
            get(admin::presets::read::get_preset)
                .patch(admin::presets::change::patch_preset)
                .delete(admin::presets::delete::delete_preset),
        )
        .route(
            "/api/admin/content",
            get(admin::content::list::get_content).post(admin::content::create::post_content),
        )
        .route(
            "/api/admin/content/{id}",
            get(admin::content::read::get_content_item)
                .patch(admin::content::change::patch_content)
                .delete(admin::content::delete::delete_content),
        )
        .route(
            "/api/admin/tenants",
            get(admin::tenants::list::get_tenants).post(admin::tenants::create::post_tenant),
        )
        .route(
            "/api/admin/tenants/{id}",
            get(admin::tenants::read::get_tenant).patch(admin::tenants::change::patch_tenant),
        )
        .route("/api/content/{section}", get(content::get_content))
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

#[cfg(test)]
mod tests {
    use super::testing::{TestApp, unsigned};
    use axum::body::Body;

    #[tokio::test]
    async fn what_no_route_knows_is_a_problem() {
        let Some(app) = TestApp::start().await else { return };
        let answer = app.get("/api/nowhere").await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (404, Some("application/problem+json"))
        );
        let body = answer.json();
        assert_eq!((&body["code"], &body["status"]), (&"not-found".into(), &404.into()));
        assert_eq!(body["requestId"].as_str(), answer.header("x-request-id"));
    }

    #[tokio::test]
    async fn the_edge_knows_every_route_and_no_other() {
        use kado_shared::api_route::{ROUTES, allow};
        let Some(app) = TestApp::start().await else { return };
        for (template, methods) in ROUTES {
            let target = ["{id}", "{session}"]
                .into_iter()
                .fold((*template).to_owned(), |target, name| {
                    target.replace(name, "6f1c1b9e-7c0a-4d8e-9d51-0b8f5a1f2e3d")
                });
            // No method at all: the answer tells which there are.
            let answer = app
                .send(app.signed("PROPFIND", &target).body(Body::empty()).unwrap())
                .await;
            let told = answer.header("allow").unwrap_or_default();
            let sorted = |list: &str| {
                let mut list: Vec<_> = list.split(',').map(|method| method.trim().to_owned()).collect();
                list.sort();
                list
            };
            assert_eq!(
                (answer.status, sorted(told)),
                (405, sorted(&allow(methods))),
                "{template}"
            );
        }
        // Whatever is routed here, but health, which every edge answers or asks for in its own way.
        let source = include_str!("mod.rs")
            .split("#[cfg(test)]\nmod tests")
            .next()
            .unwrap_or_default();
        for path in source
            .split('"')
            .filter(|text| text.starts_with("/api/") && !text.contains("health"))
        {
            assert!(
                ROUTES.iter().any(|(template, _)| *template == path),
                "shared/src/api_route.rs lacks {path}"
            );
        }
    }

    #[tokio::test]
    async fn a_method_that_a_route_does_not_know_is_told_which_it_does() {
        let Some(app) = TestApp::start().await else { return };
        for (method, target, allow) in [
            ("GET", "/api/auth/login", "POST"),
            ("DELETE", "/api/images", "GET,HEAD,POST"),
            ("PUT", "/api/admin/settings", "GET,HEAD,PATCH"),
        ] {
            let answer = app.send(app.signed(method, target).body(Body::empty()).unwrap()).await;
            assert_eq!(
                (answer.status, answer.header("allow")),
                (405, Some(allow)),
                "{method} {target}"
            );
            assert_eq!(answer.json()["code"], "method-not-allowed");
        }
        let health = app.send(unsigned("POST", "/api/health")).await;
        assert_eq!((health.status, health.header("allow")), (405, Some("GET,HEAD")));
    }

    #[tokio::test]
    async fn a_database_that_goes_and_comes_back_is_503_and_then_fine() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        app.database().close_to_connections().await;
        app.clock.advance(time::Duration::seconds(10));
        for target in ["/api/auth/me", "/api/images", "/api/admin/settings"] {
            let answer = app.get_as(&token, target).await;
            assert_eq!(
                (answer.status, answer.header("retry-after")),
                (503, Some("2")),
                "{target}: {}",
                answer.text()
            );
            assert_eq!(answer.json()["code"], "unavailable");
        }
        assert_eq!(app.send(unsigned("GET", "/api/health")).await.status, 503);
        app.database().open_to_connections().await;
        assert_eq!(app.get_as(&token, "/api/auth/me").await.status, 200);
        assert_eq!(app.send(unsigned("GET", "/api/health")).await.status, 200);
    }
}
