//! The OpenAPI 3.1 document, made of the handlers and types themselves, and what is served of it.
//!
//! Each handler describes what is its own: summary, body, answers ([`utoipa::path`]). What follows from the path alone is
//! filled in by `complete`: tag, credentials, and the problems and headers that every such route has. `schemas` and
//! `settings` are the types that `shared` declares. docs/openapi.json is a copy, compared by a test.

mod complete;
mod edge;
mod html;
pub(crate) mod parameters;
pub(crate) mod schemas;
mod serve;
mod settings;

pub(crate) use serve::{get_docs, get_openapi};

use serde_json::Value;
use std::sync::LazyLock;
use utoipa::OpenApi;

use super::{admin, auth, content, health, images};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Kado",
        description = "Image edge platform: stored originals, transforms by address, and their administration. \
                       Times are RFC 3339 in UTC; unknown fields in a body are an error.",
    ),
    paths(
        admin::api_keys::create::post_api_key,
        admin::api_keys::delete::delete_api_key,
        admin::api_keys::list::get_api_keys,
        admin::audit::get_audit,
        admin::content::change::patch_content,
        admin::content::create::post_content,
        admin::content::delete::delete_content,
        admin::content::list::get_content,
        admin::content::read::get_content_item,
        admin::images::delete::delete_image,
        admin::images::list::get_images,
        admin::keys::get_keys,
        admin::maintenance::delete_maintenance,
        admin::maintenance::get_maintenance,
        admin::maintenance::put_maintenance,
        admin::presets::change::patch_preset,
        admin::presets::create::post_preset,
        admin::presets::delete::delete_preset,
        admin::presets::list::get_presets,
        admin::presets::read::get_preset,
        admin::purge::post_purge,
        admin::sessions::post_revoke_all,
        admin::settings::change::patch_settings,
        admin::settings::list::get_settings,
        admin::tenants::change::patch_tenant,
        admin::tenants::create::post_tenant,
        admin::tenants::list::get_tenants,
        admin::tenants::read::get_tenant,
        admin::usage::get_usage,
        admin::users::change::patch_user,
        admin::users::create::post_user,
        admin::users::list::get_users,
        admin::users::password::post_password,
        admin::users::read::get_user,
        admin::users::sessions::delete_session,
        admin::users::sessions::delete_sessions,
        admin::users::sessions::get_sessions,
        auth::jwks::get_jwks,
        auth::login::post_login,
        auth::logout::post_logout,
        auth::me::get_me,
        auth::password::post_password,
        auth::register::post_register,
        auth::revoke_all::post_revoke_all,
        auth::rotate::post_rotate,
        auth::sessions::delete_session,
        auth::sessions::get_sessions,
        content::get_content,
        health::liveness::get_liveness,
        health::readiness::get_health,
        images::delete::delete_image,
        images::list::get_images,
        images::upload::post_image,
        serve::get_docs,
        serve::get_openapi,
    )
)]
struct Described;

/// The document.
static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    // A tree of maps and texts always serialises.
    let described = serde_json::to_value(Described::openapi()).unwrap_or_default();
    complete::complete(described)
});

#[cfg(test)]
mod tests {
    use super::DOCUMENT;
    use kado_shared::api_route::ROUTES;
    use serde_json::Value;
    use std::collections::BTreeSet;

    const RENEW: &str = "KADO_RENEW";
    const COPY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");

    #[test]
    fn the_committed_copy_is_the_document() {
        let document = format!("{}\n", serde_json::to_string_pretty(&*DOCUMENT).unwrap());
        if std::env::var_os(RENEW).is_some() {
            std::fs::write(COPY, &document).unwrap();
        }
        let copy = std::fs::read_to_string(COPY).unwrap_or_default();
        // Not `assert_eq`: nobody reads two documents in one line.
        assert!(
            copy == document,
            "the API is not what docs/openapi.json says: renew it with {RENEW}=1 cargo test --package kado-origin openapi"
        );
    }

    fn resolved(value: &'static Value) -> &'static Value {
        let reference = value["$ref"].as_str();
        reference.map_or(value, |reference| {
            DOCUMENT.pointer(reference.trim_start_matches('#')).unwrap()
        })
    }

    fn operations() -> impl Iterator<Item = (&'static str, &'static str, &'static Value)> {
        let paths = DOCUMENT["paths"].as_object().unwrap();
        paths.iter().flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap();
            methods
                .iter()
                .map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
        })
    }

    #[test]
    fn every_route_is_described_and_no_other() {
        let routed = ROUTES
            .iter()
            .flat_map(|(path, methods)| methods.iter().map(move |method| format!("{method} {path}")));
        // What the edge answers, or asks for in its own way.
        let edge = ["/api/health", "/api/health/liveness", "/img/{options}/{source}"];
        let expected: BTreeSet<_> = routed.chain(edge.map(|path| format!("GET {path}"))).collect();
        let described: BTreeSet<_> = operations()
            .map(|(path, method, _)| format!("{} {path}", method.to_uppercase()))
            .collect();
        assert_eq!(described, expected);
    }

    #[test]
    fn every_operation_says_what_it_does_and_every_answer_what_it_means() {
        let mut names = BTreeSet::new();
        for (path, method, operation) in operations() {
            let of = format!("{method} {path}");
            assert!(
                operation["summary"].as_str().is_some_and(|text| text.ends_with('.')),
                "{of}"
            );
            assert!(
                operation["security"].is_array() && operation["tags"][0].is_string(),
                "{of}"
            );
            // What indexing a map for a change leaves behind.
            assert!(
                operation.as_object().unwrap().values().all(|member| !member.is_null()),
                "{of}"
            );
            assert!(
                names.insert(operation["operationId"].as_str().unwrap()),
                "{of}: a name twice"
            );
            for (status, response) in operation["responses"].as_object().unwrap() {
                let response = resolved(response);
                assert!(
                    response["description"].as_str().is_some_and(|text| !text.is_empty()),
                    "{of} {status}"
                );
                assert!(response["headers"]["X-Request-Id"].is_object(), "{of} {status}");
                let is_problem = response["content"]["application/problem+json"].is_object();
                let is_health = path == "/api/health" && status == "503";
                assert_eq!(is_problem, status.as_str() >= "400" && !is_health, "{of} {status}");
            }
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn references<'v>(value: &'v Value, found: &mut BTreeSet<&'v str>) {
            match value {
                Value::Object(map) => {
                    found.extend(map.get("$ref").and_then(Value::as_str));
                    map.values().for_each(|value| references(value, found));
                }
                Value::Array(list) => list.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }
        let mut found = BTreeSet::new();
        references(&DOCUMENT, &mut found);
        assert!(found.len() > 20);
        for reference in &found {
            assert!(
                DOCUMENT.pointer(reference.trim_start_matches('#')).is_some(),
                "{reference}"
            );
        }
        for name in DOCUMENT["components"]["schemas"].as_object().unwrap().keys() {
            let reference = format!("#/components/schemas/{name}");
            assert!(found.contains(reference.as_str()), "nothing uses {name}");
        }
    }

    #[test]
    fn a_body_that_is_an_object_takes_no_unknown_fields() {
        let schemas = &DOCUMENT["components"]["schemas"];
        for (path, method, operation) in operations() {
            let content = operation["requestBody"]["content"].as_object();
            for media in content.into_iter().flat_map(|content| content.values()) {
                let name = media["schema"]["$ref"].as_str().unwrap().rsplit('/').next().unwrap();
                assert_eq!(schemas[name]["additionalProperties"], false, "{method} {path}: {name}");
            }
        }
    }
}
