//! Settings: listed by section, changed several at once, all or none.

pub(crate) mod change;
pub(crate) mod list;

use kado_shared::settings::{Kind, SETTINGS, Setting};
use serde_json::{Map, Value, json};

use crate::settings::Layers;

/// What stands in place of a secret.
pub(crate) const MASK: &str = "********";

/// Every setting by section, with what it is, what it may be, and what is in force.
fn listing(layers: &Layers) -> Value {
    let settings = layers.resolve();
    let mut sections = Map::new();
    for setting in SETTINGS {
        let mut view = describe(setting);
        let set = layers.tenant.contains_key(setting.name) || layers.global.contains_key(setting.name);
        view["value"] = if setting.secret {
            if set { MASK.into() } else { Value::Null }
        } else {
            settings.get(setting.name)
        };
        view["origin"] = match (layers.tenant.contains_key(setting.name), set) {
            (true, _) => "tenant",
            (false, true) => "global",
            (false, false) => "default",
        }
        .into();
        let section = sections.entry(setting.section).or_insert_with(|| json!({}));
        section[setting.name] = view;
    }
    json!({ "sections": sections })
}

fn describe(setting: &Setting) -> Value {
    let range = match setting.kind {
        Kind::Integer { min, max, unit } => json!({ "min": min, "max": max, "unit": unit }),
        Kind::Number { min, max } => json!({ "min": min, "max": max }),
        Kind::Text { max } => json!({ "maxBytes": max }),
        _ => Value::Null,
    };
    let default: Value = serde_json::from_str(setting.default).unwrap_or_default();
    json!({ "type": setting.kind.name(), "range": range, "default": default, "secret": setting.secret, "description": setting.description })
}
