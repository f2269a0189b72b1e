//! Schemas of types that `shared` declares. It knows nothing of documents, so that the edge need not carry them.

use kado_imaging::Format;
use kado_shared::{
    api_key::Scope,
    limits::policy::{API_KEY_LIMIT, BUILT_IN, MOST_RULES},
    problem::Code,
    quota::{Action, MOST},
    source::MAX_ALLOWED,
};
use serde_json::{Map, Value, json};
use utoipa::openapi::{
    Ref, RefOr,
    schema::{Array, ArrayBuilder, KnownFormat, Object, ObjectBuilder, OneOfBuilder, Schema, SchemaFormat, Type},
};

use super::settings;
use crate::api::admin::images::list::FORMATS;

/// `USER`, `PREMIUM` or `ADMIN`. This and the next are for `#[schema(schema_with = ..)]`.
pub(crate) fn role() -> Ref {
    Ref::from_schema_name("Role")
}

/// The same, or none.
pub(crate) fn optional_role() -> RefOr<Schema> {
    or_null(role())
}

/// A quota of a user's own that is asked for, or none.
pub(crate) fn optional_new_override() -> RefOr<Schema> {
    or_null(Ref::from_schema_name("NewOverride"))
}

/// Something that a quota counts.
pub(crate) fn quota_action() -> Object {
    one_of(Action::ALL.map(Action::as_str), "What a quota counts.")
}

/// Format of an original.
pub(crate) fn original_format() -> Object {
    one_of(FORMATS.map(Format::as_str), "Format of an original.")
}

/// Order of a list by time.
pub(crate) fn list_order() -> Object {
    let order = one_of(
        ["asc", "desc"],
        "Oldest first, or newest first. A cursor goes with the order that it was answered to.",
    );
    ObjectBuilder::from(order).default(Some("asc".into())).build()
}

/// Form of a list.
pub(crate) fn list_format() -> Object {
    one_of(
        ["json", "csv"],
        "Decides over `Accept`. CSV has all of the list, and takes neither `limit` nor `cursor`.",
    )
}

/// Kind of actor of an audit entry.
pub(crate) fn actor_kind() -> Object {
    one_of(
        ["user", "operator", "system"],
        "`operator` is somebody at the command line or in the database, or an administrator of an operator tenant.",
    )
}

/// The same, or the identifier of a user.
pub(crate) fn actor() -> Schema {
    let id = ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)));
    Schema::OneOf(OneOfBuilder::new().item(actor_kind()).item(id).build())
}

/// A parameter with such a schema has no description of its own in the document.
fn one_of<const N: usize>(names: [&str; N], description: &str) -> Object {
    ObjectBuilder::new()
        .description(Some(description))
        .schema_type(Type::String)
        .enum_values(Some(names))
        .build()
}

/// What an API key may be used for, at least one thing.
pub(crate) fn scopes() -> Array {
    let items = Ref::from_schema_name("Scope");
    ArrayBuilder::new().items(items).min_items(Some(1)).build()
}

/// Public keys.
pub(crate) fn keys() -> Array {
    ArrayBuilder::new().items(Ref::from_schema_name("Jwk")).build()
}

/// A rate limit, or none.
pub(crate) fn optional_rate_limit() -> RefOr<Schema> {
    or_null(Ref::from_schema_name("RateLimit"))
}

/// Maintenance, or none.
pub(crate) fn optional_maintenance() -> RefOr<Schema> {
    or_null(Ref::from_schema_name("Maintenance"))
}

fn or_null(schema: Ref) -> RefOr<Schema> {
    let null = ObjectBuilder::new().schema_type(Type::Null);
    Schema::OneOf(OneOfBuilder::new().item(null).item(schema).build()).into()
}

/// Text without control characters.
pub(super) const NO_CONTROL: &str = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$";
/// A host name or IP literal, with a star for subdomains.
const HOST: &str = "^(\\*\\.)?([A-Za-z0-9_-]{1,63}(\\.[A-Za-z0-9_-]{1,63})*|\\[[0-9A-Fa-f:.]+\\])$";
/// A path pattern of a limit.
const PATTERN: &str = "^/[!\"$->@-~]{0,199}$";

/// Every schema of this file and of `settings`, by name.
pub(super) fn all() -> Map<String, Value> {
    let mut schemas = Map::new();
    let written: [(&str, Value); 10] = [
        ("Problem", problem()),
        (
            "Role",
            json!({ "type": "string", "enum": ["USER", "PREMIUM", "ADMIN"], "description": "Role of a user." }),
        ),
        (
            "Scope",
            json!({
                "type": "string",
                "enum": Scope::ALL.map(Scope::as_str),
                "description": "What an API key may be used for.",
            }),
        ),
        ("RateLimit", rate_limit_schema(Map::new(), &[])),
        ("NamedRateLimit", named_rate_limit()),
        ("AllowedSource", allowed_source()),
        ("Maintenance", maintenance()),
        ("Jwk", jwk()),
        ("Upload", upload()),
        ("NewOverride", new_override()),
    ];
    for (name, schema) in written.into_iter().chain(settings::schemas()) {
        schemas.insert(name.to_owned(), schema);
    }
    schemas
}

fn problem() -> Value {
    let codes: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    json!({
        "type": "object",
        "description": "A problem document (RFC 9457).",
        "required": ["type", "title", "status", "detail", "code"],
        "properties": {
            "type": { "type": "string", "format": "uri", "description": "Kind of the problem; stable, and ends in `code`, but for refused limits." },
            "title": { "type": "string", "description": "Summary of the kind." },
            "status": { "type": "integer", "minimum": 400, "maximum": 599 },
            "detail": { "type": "string", "description": "What happened this time." },
            "code": { "type": "string", "enum": codes },
            "requestId": { "type": "string", "pattern": "^[A-Za-z0-9-]{8,64}$", "description": "Finds the log line." },
            "errors": {
                "type": "array",
                "description": "Every field at fault.",
                "items": {
                    "type": "object",
                    "required": ["field", "detail"],
                    "properties": {
                        "field": { "type": "string", "description": "Name of the field, option or parameter." },
                        "detail": { "type": "string", "description": "What would be right." },
                    },
                },
            },
            "violated-policies": { "type": "array", "items": { "type": "string" }, "description": "Limits that refused." },
            "limit": { "type": "integer", "minimum": 0, "description": "The limit that was passed." },
            "value": { "type": "integer", "minimum": 0, "description": "The value that passed it." },
        },
        "examples": [{
            "type": "https://kado.dev/problems/validation-failed", "title": Code::ValidationFailed.title(), "status": 400,
            "detail": "1 field is not valid", "code": "validation-failed", "requestId": "4f0c2a51-7d1e",
            "errors": [{ "field": "limit", "detail": "must be a whole number from 1 to 200" }],
        }],
    })
}

/// A rule of `kado_shared::limits`, with more fields in front.
fn rate_limit_schema(mut properties: Map<String, Value>, also_required: &[&str]) -> Value {
    let own = json!({
        "quota": { "type": "integer", "minimum": 1, "maximum": 100_000, "description": "Requests; of a strict one up to 10,000." },
        "windowSeconds": { "type": "integer", "minimum": 1, "maximum": 86_400, "description": "The time in which they are counted." },
        "mode": { "type": "string", "enum": ["strict", "fast"] },
        "onFailure": { "type": "string", "enum": ["open", "closed"], "default": "open", "description": "What happens while the limiter is away." },
        "shadow": { "type": "boolean", "default": false, "description": "Counts, and refuses nobody." },
    });
    properties.extend(own.as_object().cloned().unwrap_or_default());
    let required: Vec<_> = also_required
        .iter()
        .copied()
        .chain(["quota", "windowSeconds", "mode"])
        .collect();
    json!({
        "type": "object",
        "description": "A rate limit.",
        "required": required,
        "properties": properties,
        "additionalProperties": false,
        "if": { "properties": { "mode": { "const": "strict" } } },
        "then": { "properties": { "quota": { "maximum": 10_000 } } },
    })
}

fn named_rate_limit() -> Value {
    let taken: Vec<_> = BUILT_IN.iter().map(|(_, name)| *name).chain([API_KEY_LIMIT]).collect();
    let fields = json!({
        "name": { "type": "string", "pattern": "^[a-z0-9-]{1,32}$", "not": { "enum": taken } },
        "paths": { "type": "array", "minItems": 1, "maxItems": 16, "items": { "type": "string", "pattern": PATTERN, "examples": ["/api/images/**"] } },
        "key": { "type": "string", "enum": ["ip", "user", "apiKey", "tenant"], "description": "Whom it counts." },
    });
    rate_limit_schema(
        fields.as_object().cloned().unwrap_or_default(),
        &["name", "paths", "key"],
    )
}

fn allowed_source() -> Value {
    let host = json!({ "type": "string", "maxLength": 253, "pattern": HOST, "examples": ["images.example.com", "*.example.com"] });
    json!({
        "description": "A host that pictures may be fetched from.",
        "oneOf": [
            host,
            {
                "type": "object",
                "required": ["host"],
                "properties": {
                    "host": host,
                    "pathPrefix": { "type": ["string", "null"], "pattern": "^/" },
                    "port": { "type": ["integer", "null"], "minimum": 0, "maximum": 65_535 },
                    "allowPrivate": { "type": "boolean", "default": false },
                },
                "additionalProperties": false,
            },
        ],
    })
}

fn maintenance() -> Value {
    let moment = || json!({ "type": "string", "format": "date-time" });
    json!({
        "type": "object",
        "description": "A window in which the site answers 503: at most 7 days, announced not after its start.",
        "required": ["startsAt", "endsAt"],
        "properties": {
            "startsAt": moment(),
            "endsAt": moment(),
            "announceFrom": { "type": ["string", "null"], "format": "date-time", "description": "From when on answers carry `Kado-Maintenance`." },
            "message": { "type": "string", "maxLength": 500, "pattern": NO_CONTROL, "default": "" },
            "roles": { "type": "array", "default": [], "items": { "$ref": "#/components/schemas/Role" }, "description": "Let through, beside ADMIN." },
        },
        "additionalProperties": false,
        "examples": [{ "startsAt": "2027-01-15T08:00:00Z", "endsAt": "2027-01-15T09:00:00Z", "announceFrom": "2027-01-14T08:00:00Z", "message": "New disks", "roles": ["PREMIUM"] }],
    })
}

fn new_override() -> Value {
    let quota = |description: &str| json!({ "type": ["integer", "null"], "minimum": 0, "maximum": MOST, "description": description });
    let has = |name: &str| json!({ "required": [name], "properties": { name: { "type": "integer" } } });
    json!({
        "type": "object",
        "description": "What a user may do for a time in place of what the settings say: one of the two, or both.",
        "required": ["expiresIn"],
        "properties": {
            "imageProcess": quota("Pictures an hour."),
            "apiCall": quota("API calls an hour."),
            "expiresIn": { "type": "integer", "minimum": 60, "maximum": 315_360_000, "description": "Seconds." },
        },
        "additionalProperties": false,
        "anyOf": [has("imageProcess"), has("apiCall")],
        "examples": [{ "apiCall": 5000, "expiresIn": 86_400 }],
    })
}

fn upload() -> Value {
    json!({
        "type": "object",
        "description": "A form with one file.",
        "required": ["image"],
        "properties": {
            "image": {
                "type": "string", "contentMediaType": "application/octet-stream",
                "description": "Its name and declared type count for nothing.",
            },
        },
        "additionalProperties": false,
    })
}

fn jwk() -> Value {
    let text = |only: &str| json!({ "type": "string", "const": only });
    json!({
        "type": "object",
        "description": "A public signing key (RFC 8037).",
        "required": ["kty", "crv", "kid", "x", "alg", "use"],
        "properties": {
            "kty": text("OKP"), "crv": text("Ed25519"), "alg": text("Ed25519"), "use": text("sig"),
            "kid": { "type": "string", "maxLength": kado_shared::claims::MAX_KID_BYTES },
            "x": { "type": "string", "pattern": "^[A-Za-z0-9_-]{43}$" },
        },
    })
}

/// What the setting `limitRules` takes.
pub(super) fn limit_rules() -> Value {
    json!({ "type": "array", "maxItems": MOST_RULES, "items": { "$ref": "#/components/schemas/NamedRateLimit" } })
}

/// What the setting `allowedSources` takes.
pub(super) fn sources() -> Value {
    json!({ "type": "array", "maxItems": MAX_ALLOWED, "items": { "$ref": "#/components/schemas/AllowedSource" } })
}
