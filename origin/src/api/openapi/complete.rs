//! What follows from a path alone: its tag, its credentials, the problems and headers of every such route.

use kado_shared::api_key::{Requirement, requirement};
use serde_json::{Map, Value, json};

use super::{edge, schemas};

/// Content of every answer of 400 and above.
const PROBLEM: &str = "application/problem+json";

/// Sections of the document: beginning of the path, name, what is there. The first that fits counts.
const TAGS: [(&str, &str, &str); 8] = [
    ("/api/auth", "sessions", "Signing in and out."),
    ("/.well-known/jwks.json", "sessions", ""),
    ("/api/admin/api-keys", "api keys", "Keys for programs."),
    (
        "/api/admin",
        "administration",
        "Of a tenant, by its users of role ADMIN.",
    ),
    ("/api/images", "images", "Originals that users store."),
    ("/img", "images", ""),
    (
        "/api/health",
        "health",
        "Whether the service lives, and may be sent requests.",
    ),
    ("/", "site", "Everything else."),
];

/// The document, from what the handlers say of themselves.
pub(super) fn complete(mut document: Value) -> Value {
    document["info"] = json!({
        "title": document["info"]["title"],
        "description": document["info"]["description"],
        "version": env!("CARGO_PKG_VERSION"),
        "license": { "name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT" },
    });
    document["servers"] = json!([{ "url": "/" }]);
    document["paths"]["/img/{options}/{source}"] = json!({ "get": edge::image() });
    let operations = document["paths"].as_object_mut().into_iter().flatten();
    for (path, methods) in operations {
        for (method, operation) in methods.as_object_mut().into_iter().flatten() {
            describe(path, &method.to_uppercase(), operation);
        }
    }
    let own = document["components"]["schemas"].take();
    let mut all = schemas::all();
    all.extend(own.as_object().cloned().unwrap_or_default());
    refer_to_items(&mut all);
    document["components"] = json!({
        "schemas": all,
        "responses": responses(),
        "headers": headers(),
        "securitySchemes": security_schemes(),
    });
    document["tags"] = TAGS
        .iter()
        .filter(|(_, _, description)| !description.is_empty())
        .map(|(_, name, description)| json!({ "name": name, "description": description }))
        .collect();
    // Whatever order maps have in this build, the copy has one.
    document.sort_all_objects();
    document
}

fn describe(path: &str, method: &str, operation: &mut Value) {
    let tag = TAGS
        .iter()
        .find(|(start, _, _)| path.starts_with(start))
        .map(|tag| tag.1);
    operation["tags"] = json!([tag]);
    // An operation that says nothing of credentials wants what its path does.
    if operation.get("security").is_none() {
        operation["security"] = match requirement(method, path) {
            Requirement::Nothing => json!([]),
            Requirement::Session => json!([{ "bearer": [] }, { "cookie": [] }]),
            Requirement::Scope(scope) => json!([{ "bearer": [scope.as_str()] }, { "cookie": [] }]),
        };
    }
    // `security(())` of the macro: none is needed.
    if operation["security"] == json!([{}]) {
        operation["security"] = json!([]);
    }
    if operation.get("requestBody").is_some() {
        operation["requestBody"]["required"] = true.into();
    }
    let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        // What may be left out is still never null.
        if let Some(kind) = parameter.pointer_mut("/schema/type").filter(|kind| kind.is_array()) {
            *kind = kind[0].take();
        }
    }
    let is_keyed = has_parameter(operation, "Idempotency-Key") && operation["responses"]["201"].is_object();
    let is_limited = path != "/api/health/liveness";
    for (status, response) in operation["responses"].as_object_mut().into_iter().flatten() {
        finish(status, response, is_limited, is_keyed);
    }
    for status in refusals(path, operation, is_keyed) {
        let responses = &mut operation["responses"];
        if responses.get(status).is_none() {
            responses[status] = json!({ "$ref": format!("#/components/responses/{status}") });
        }
    }
}

/// Gives an answer the body and the headers that every answer with its status has.
fn finish(status: &str, response: &mut Value, is_limited: bool, is_keyed: bool) {
    if status >= "400" && response.get("content").is_none() {
        response["content"] = json!({ PROBLEM: { "schema": { "$ref": "#/components/schemas/Problem" } } });
    }
    let mut names = vec!["X-Request-Id"];
    // These are refused before anything is counted.
    if is_limited && !["414", "421", "431"].contains(&status) {
        names.extend(LIMIT_HEADERS.map(|(name, _, _)| name));
    }
    match status {
        "201" if is_keyed => names.extend(["Location", "Idempotent-Replayed"]),
        "201" => names.push("Location"),
        "401" | "403" => names.push("WWW-Authenticate"),
        "409" | "429" | "503" => names.push("Retry-After"),
        _ => {}
    }
    for name in names {
        if response["headers"].get(name).is_none() {
            response["headers"][name] = json!({ "$ref": format!("#/components/headers/{name}") });
        }
    }
}

fn has_parameter(operation: &Value, name: &str) -> bool {
    let parameters = operation["parameters"].as_array();
    parameters.is_some_and(|list| list.iter().any(|parameter| parameter["name"] == name))
}

/// What refusals mean, where an operation says nothing else.
const REFUSALS: [(&str, &str); 14] = [
    (
        "400",
        "The request is malformed or has invalid fields; `errors` names each.",
    ),
    ("401", "No credentials, or credentials that do not count."),
    (
        "403",
        "Not allowed: the role or the key's scope, a cookie from another site, or the first password must be changed.",
    ),
    ("404", "There is no such thing, or it is somebody else's."),
    ("409", "A request with this Idempotency-Key is under way."),
    ("413", "The body is too large; `limit` and `value` say by how much."),
    ("414", "The address has more than 8192 bytes."),
    ("415", "The body is of another media type, or compressed."),
    ("421", "No site is served under this host."),
    ("422", "The Idempotency-Key was sent with another request."),
    ("429", "A rate limit refused; `violated-policies` names it."),
    ("431", "The header is too large."),
    ("500", "A defect of ours."),
    ("503", "Something behind is away or too busy, or there is maintenance."),
];

fn responses() -> Map<String, Value> {
    let response = |(status, description): (&str, &str)| {
        let mut response = json!({ "description": description });
        finish(status, &mut response, true, false);
        (status.to_owned(), response)
    };
    REFUSALS.into_iter().map(response).collect()
}

/// Refusals that a route has because of what it is: nobody needs to name them.
fn refusals(path: &str, operation: &Value, is_keyed: bool) -> Vec<&'static str> {
    // The edge answers the first by itself, touching nothing, and says itself what the others may answer.
    if path == "/api/health/liveness" || path.starts_with("/img") {
        return Vec::new();
    }
    let mut found = vec!["429", "431", "500", "503"];
    if path == "/api/health" {
        return found;
    }
    found.extend(["400", "414", "421"]);
    if operation["security"].as_array().is_some_and(|list| !list.is_empty()) {
        found.extend(["401", "403"]);
    }
    if path.contains('{') {
        found.push("404");
    }
    if operation.get("requestBody").is_some() {
        found.extend(["413", "415"]);
    }
    if is_keyed {
        found.extend(["409", "422"]);
    }
    found
}

/// The macro writes the items of a page into it; a reference says the same.
fn refer_to_items(schemas: &mut Map<String, Value>) {
    let names: Vec<_> = schemas.keys().cloned().collect();
    for (name, schema) in schemas.iter_mut() {
        if let Some(item) = name
            .strip_prefix("Page_")
            .filter(|item| names.iter().any(|name| name == item))
        {
            schema["properties"]["items"]["items"] = json!({ "$ref": format!("#/components/schemas/{item}") });
        }
    }
}

/// Name, type and meaning of what every limited answer carries.
const LIMIT_HEADERS: [(&str, &str, &str); 6] = [
    (
        "RateLimit",
        "string",
        "What is left, and when one more request will be admitted than now: `\"api\";r=299;t=1`.",
    ),
    ("RateLimit-Policy", "string", "The limit: `\"api\";q=300;w=60`."),
    ("X-RateLimit-Limit", "integer", "Requests of the window."),
    ("X-RateLimit-Remaining", "integer", "Requests that are left."),
    (
        "X-RateLimit-Reset",
        "integer",
        "When one more will be admitted, in Unix seconds.",
    ),
    ("X-RateLimit-Reset-After", "integer", "The same in seconds from now."),
];

fn headers() -> Map<String, Value> {
    let others = [
        (
            "Idempotent-Replayed",
            "string",
            "`true` where the answer was given before.",
        ),
        ("Location", "string", "Address of what was made."),
        ("Retry-After", "integer", "Seconds after which the request may succeed."),
        ("WWW-Authenticate", "string", "What is missing (RFC 6750)."),
        (
            "X-Request-Id",
            "string",
            "Finds the log line; one of `[A-Za-z0-9-]{8,64}` is taken over from the request.",
        ),
    ];
    LIMIT_HEADERS
        .into_iter()
        .chain(others)
        .map(|(name, kind, description)| {
            let header = json!({ "description": description, "schema": { "type": kind } });
            (name.to_owned(), header)
        })
        .collect()
}

fn security_schemes() -> Value {
    json!({
        "bearer": {
            "type": "http", "scheme": "bearer", "bearerFormat": "JWT or kado_<prefix>_<secret>",
            "description": "A token of `POST /api/auth/login`, or an API key with the scope that the operation names; where it names none, a token alone.",
        },
        "cookie": {
            "type": "apiKey", "in": "cookie", "name": crate::http::authentication::COOKIE,
            "description": "Set by signing in with `\"session\": \"cookie\"`. Unsafe methods then need the site's own `Origin`.",
        },
    })
}
