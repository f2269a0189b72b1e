//! Schemas of the settings, from their one declaration in `kado_shared::settings`.

use kado_shared::settings::{Kind, SETTINGS, Setting};
use serde_json::{Map, Value, json};

use super::schemas::{NO_CONTROL, limit_rules, sources};

/// What stands in place of a secret, and as a value changes nothing.
use crate::api::admin::settings::MASK;

/// `Setting`, `Settings` and `SettingsChange`.
pub(super) fn schemas() -> [(&'static str, Value); 3] {
    [
        ("Setting", setting()),
        ("Settings", listing()),
        ("SettingsChange", change()),
    ]
}

/// What a value may be.
fn value(setting: &Setting) -> Value {
    let mut schema = match setting.kind {
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Integer { min, max, unit } => {
            json!({ "type": "integer", "minimum": min, "maximum": max, "x-unit": unit })
        }
        Kind::Number { min, max } => json!({ "type": "number", "minimum": min, "maximum": max }),
        // The bound is of bytes, and no text has more characters than bytes.
        Kind::Text { max } => json!({ "type": "string", "maxLength": max, "pattern": NO_CONTROL }),
        Kind::Color => json!({ "type": "string", "pattern": "^#[0-9A-Fa-f]{6}$" }),
        Kind::Url => {
            json!({ "type": "string", "maxLength": 2048, "pattern": "^(https?://[^\\s?#]+)?$" })
        }
        Kind::Origins => {
            json!({ "type": "array", "maxItems": 100, "items": { "type": "string", "pattern": "^https?://[^\\s/?#@]+$", "examples": ["https://example.com"] } })
        }
        Kind::Sources => sources(),
        Kind::Limit => json!({ "$ref": "#/components/schemas/RateLimit" }),
        Kind::LimitRules => limit_rules(),
        Kind::Maintenance => json!({ "anyOf": [{ "type": "null" }, { "$ref": "#/components/schemas/Maintenance" }] }),
    };
    schema["description"] = setting.description.into();
    schema["default"] = serde_json::from_str(setting.default).unwrap_or_default();
    schema
}

fn setting() -> Value {
    json!({
        "type": "object",
        "description": "A setting: what it is, what it may be, and what is in force.",
        "required": ["type", "range", "default", "secret", "description", "value", "origin"],
        "properties": {
            "type": { "type": "string", "enum": ["boolean", "integer", "number", "text", "color", "url", "origins", "sources", "limit", "limitRules", "maintenance"] },
            "range": {
                "type": ["object", "null"],
                "properties": {
                    "min": { "type": "number" }, "max": { "type": "number" },
                    "unit": { "type": "string" }, "maxBytes": { "type": "integer" },
                },
            },
            "default": {},
            "secret": { "type": "boolean", "description": format!("Sealed at rest, and shown as `{MASK}`.") },
            "description": { "type": "string" },
            "value": {},
            "origin": { "type": "string", "enum": ["tenant", "global", "default"], "description": "Where the value in force was set." },
        },
    })
}

fn listing() -> Value {
    let mut sections = Map::new();
    for setting in SETTINGS {
        let shown = if setting.secret {
            json!({ "enum": [MASK, null] })
        } else {
            value(setting)
        };
        let section = sections
            .entry(setting.section)
            .or_insert_with(|| json!({ "type": "object", "properties": {}, "required": [] }));
        section["properties"][setting.name] =
            json!({ "allOf": [{ "$ref": "#/components/schemas/Setting" }, { "properties": { "value": shown } }] });
        if let Some(required) = section["required"].as_array_mut() {
            required.push(setting.name.into());
        }
    }
    let names: Vec<_> = sections.keys().cloned().collect();
    json!({
        "type": "object",
        "description": "Every setting by section.",
        "required": ["sections"],
        "properties": { "sections": { "type": "object", "properties": sections, "required": names } },
    })
}

fn change() -> Value {
    let properties: Map<_, _> = SETTINGS
        .iter()
        .map(|setting| {
            let schema = value(setting);
            let description = schema["description"].clone();
            let schema = json!({ "description": description, "anyOf": [{ "type": "null" }, schema] });
            (setting.name.to_owned(), schema)
        })
        .collect();
    json!({
        "type": "object",
        "description": "Values of the tenant's own, by name; `null` takes one back.",
        "properties": properties,
        "additionalProperties": false,
        "examples": [{ "maxFileSize": 4_194_304, "limitApi": null }],
    })
}
