//! Declarations of settings as a database can check them: what is left of a value's rules when there is nobody to run them.
//!
//! A shape admits every value that [`crate::settings::validate`] admits, and some more of the kinds that have rules of their
//! own: those are the service's to refuse, which leaves a value out that it cannot read.

use serde_json::{Map, Value, json};

use crate::settings::{Kind, Setting, validate};

/// A setting's declaration: `name`, `section`, `kind`, `shape`, `standard` (what holds where nothing is set), `secret` and
/// `description`.
#[must_use]
pub fn declaration(setting: &Setting) -> Value {
    json!({
        "name": setting.name,
        "section": setting.section,
        "kind": setting.kind.name(),
        "shape": shape(setting),
        "standard": serde_json::from_str::<Value>(setting.default).unwrap_or_default(),
        "secret": setting.secret,
        "description": setting.description,
    })
}

/// Keywords as in JSON Schema, and `expects`: what would be right, for people.
fn shape(setting: &Setting) -> Value {
    // No setting has such a value, so this is what somebody is told whose value is of the wrong type.
    let expects = validate(setting.name, &json!({ "": 0 })).err().unwrap_or_default();
    let mut shape = match setting.kind {
        Kind::Bool => json!({ "types": ["boolean"] }),
        Kind::Integer { min, max, .. } => {
            json!({ "types": ["number"], "integer": true, "minimum": min, "maximum": max })
        }
        Kind::Number { min, max } => json!({ "types": ["number"], "minimum": min, "maximum": max }),
        Kind::Text { max } => json!({ "types": ["string"], "maxBytes": max, "plain": true }),
        Kind::Color => json!({ "types": ["string"], "pattern": "^#[0-9a-fA-F]{6}$" }),
        Kind::Url => {
            json!({ "types": ["string"], "maxBytes": 2048, "pattern": "^$|^\\s*[hH][tT][tT][pP][sS]?:[^?#]*$" })
        }
        Kind::Origins => json!({
            "types": ["array"], "maxItems": 100,
            "items": { "types": ["string"], "pattern": "^https?://[^/?#@]+$" },
        }),
        Kind::Sources => json!({
            "types": ["array"], "maxItems": 100,
            "items": {
                "types": ["string", "object"], "required": ["host"],
                "properties": { "host": { "types": ["string"] }, "pathPrefix": {}, "port": {}, "allowPrivate": {} },
            },
        }),
        Kind::Limit => limit(&[]),
        Kind::LimitRules => json!({ "types": ["array"], "items": limit(&["name", "paths", "key"]) }),
        Kind::Maintenance => json!({
            "types": ["object", "null"], "required": ["startsAt", "endsAt"],
            "properties": {
                "announceFrom": { "types": ["string", "null"] }, "startsAt": { "types": ["string"] },
                "endsAt": { "types": ["string"] }, "message": { "types": ["string"], "maxBytes": 500 },
                "roles": { "types": ["array"] },
            },
        }),
    };
    shape["expects"] = match setting.kind {
        // Their own words go on with what the first wrong field was.
        Kind::Limit | Kind::LimitRules | Kind::Maintenance => expects
            .rsplit_once("}")
            .map(|(form, _)| format!("{form}}}"))
            .unwrap_or(expects)
            .into(),
        _ => expects.into(),
    };
    shape
}

/// A rate limit with further fields, all of them required.
fn limit(further: &[&str]) -> Value {
    let whole = |max: u32| json!({ "types": ["number"], "integer": true, "minimum": 1, "maximum": max });
    let mut properties = Map::from_iter([
        ("quota".to_owned(), whole(100_000)),
        ("windowSeconds".to_owned(), whole(86_400)),
        (
            "mode".to_owned(),
            json!({ "types": ["string"], "pattern": "^(strict|fast)$" }),
        ),
        (
            "onFailure".to_owned(),
            json!({ "types": ["string"], "pattern": "^(open|closed)$" }),
        ),
        ("shadow".to_owned(), json!({ "types": ["boolean"] })),
    ]);
    properties.extend(further.iter().map(|name| ((*name).to_owned(), json!({}))));
    let required: Vec<_> = ["quota", "windowSeconds", "mode"].iter().chain(further).collect();
    json!({ "types": ["object"], "required": required, "properties": properties })
}

#[cfg(test)]
mod tests {
    use super::declaration;
    use crate::settings::SETTINGS;

    #[test]
    fn every_setting_says_what_it_expects() {
        for setting in SETTINGS {
            let declared = declaration(setting);
            let expects = declared["shape"]["expects"].as_str().unwrap();
            assert!(expects.starts_with("must be "), "{}: {expects}", setting.name);
            assert!(declared["shape"]["types"].is_array(), "{}", setting.name);
            assert!(!expects.contains("unknown field"), "{}: {expects}", setting.name);
        }
    }
}
