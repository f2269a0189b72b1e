//! The one declaration of every setting: validation, documentation, the admin listing and the edge's snapshot follow
//! from it.

use serde_json::Value;
use std::collections::BTreeMap;

use crate::{
    limits::{NamedRule, Rule},
    maintenance::Maintenance,
    source::AllowedSource,
};

/// What a setting's value may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number within a range, both ends included.
    Integer {
        /// Smallest value.
        min: i64,
        /// Largest value.
        max: i64,
        /// Unit, for documentation: `s`, `bytes`, ...
        unit: &'static str,
    },
    /// A number within a range, both ends included.
    Number {
        /// Smallest value.
        min: f64,
        /// Largest value.
        max: f64,
    },
    /// Text up to this many bytes, without control characters.
    Text {
        /// Largest length in bytes.
        max: usize,
    },
    /// A colour, as `#rrggbb`.
    Color,
    /// Empty, or an absolute `http(s)` address without credentials, query or fragment.
    Url,
    /// A list of exact origins (`https://host[:port]`).
    Origins,
    /// A list of hosts pictures may come from; see [`AllowedSource`].
    Sources,
    /// A rate limit; see [`Rule`].
    Limit,
    /// Rate limits by path; see [`NamedRule`].
    LimitRules,
    /// `null`, or announced maintenance; see [`Maintenance`].
    Maintenance,
}

impl Kind {
    /// Its name, for people and programs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Bool => "boolean",
            Self::Integer { .. } => "integer",
            Self::Number { .. } => "number",
            Self::Text { .. } => "text",
            Self::Color => "color",
            Self::Url => "url",
            Self::Origins => "origins",
            Self::Sources => "sources",
            Self::Limit => "limit",
            Self::LimitRules => "limitRules",
            Self::Maintenance => "maintenance",
        }
    }
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Name, camelCase, stable.
    pub name: &'static str,
    /// Section of the admin page.
    pub section: &'static str,
    /// What its value may be.
    pub kind: Kind,
    /// Default, as JSON text.
    pub default: &'static str,
    /// Sealed in the database and shown masked.
    pub secret: bool,
    /// Part of the edge's snapshot.
    pub edge: bool,
    /// What it does, for people.
    pub description: &'static str,
}

/// Part of the edge's snapshot.
const EDGE: u8 = 1;
/// Sealed in the database and shown masked.
const SECRET: u8 = 2;

macro_rules! settings {
    ($($name:literal, $section:literal, $kind:expr, $default:literal, $flags:expr, $description:literal;)*) => {
        /// Every setting there is.
        pub const SETTINGS: &[Setting] = &[$(Setting {
            name: $name,
            section: $section,
            kind: $kind,
            default: $default,
            secret: $flags & SECRET != 0,
            edge: $flags & EDGE != 0,
            description: $description,
        },)*];
    };
}

const MIB: i64 = 1024 * 1024;
const QUOTA: i64 = crate::quota::MOST as i64;

settings! {
    "sessionTimeout", "sessions", Kind::Integer { min: 60, max: 86_400, unit: "s" }, "1800", 0,
        "Idle time after which a session can no longer be rotated";
    "sessionMaxAge", "sessions", Kind::Integer { min: 900, max: 31_536_000, unit: "s" }, "2592000", 0,
        "Age at which a session ends in any case";
    "rotationReuseSeconds", "sessions", Kind::Integer { min: 0, max: 60, unit: "s" }, "10", 0,
        "How long the previous token generation may still ask for its successor";
    "allowRegistration", "sessions", Kind::Bool, "false", 0,
        "Whether visitors may register";
    "maxFileSize", "uploads", Kind::Integer { min: 1024, max: 100 * MIB, unit: "bytes" }, "8388608", EDGE,
        "Largest upload";
    "maxSourceBytes", "images", Kind::Integer { min: 1024, max: 100 * MIB, unit: "bytes" }, "104857600", EDGE,
        "Largest source picture";
    "maxSourcePixels", "images", Kind::Integer { min: 1, max: 100_000_000, unit: "px" }, "100000000", EDGE,
        "Most pixels of a source picture";
    "allowedSources", "images", Kind::Sources, "[]", EDGE,
        "Hosts that pictures may be fetched from";
    "imageOrigin", "images", Kind::Url, "\"\"", EDGE,
        "Where a source that begins with / is fetched from; empty for nowhere";
    "imageMinTtl", "images", Kind::Integer { min: 0, max: 31_536_000, unit: "s" }, "300", EDGE,
        "Least time that a processed picture is cached";
    "imageMaxTtl", "images", Kind::Integer { min: 1, max: 31_536_000, unit: "s" }, "604800", EDGE,
        "Longest time that a processed picture is cached";
    "imageDefaultTtl", "images", Kind::Integer { min: 1, max: 31_536_000, unit: "s" }, "86400", EDGE,
        "Time that a processed picture is cached when its source does not say";
    "imageStaleTtl", "images", Kind::Integer { min: 0, max: 604_800, unit: "s" }, "86400", EDGE,
        "Time after its expiry in which a cached picture may still be shown while it is made anew";
    "requireSignature", "images", Kind::Bool, "false", EDGE,
        "Whether only signed image addresses are served";
    "transformTimeout", "images", Kind::Integer { min: 1, max: 60, unit: "s" }, "30", EDGE,
        "Longest time that a transform may take, the fetch of its source included";
    "watermarkText", "images", Kind::Text { max: 200 }, "\"\"", EDGE,
        "What branding=true writes in the lower right corner; empty for nothing";
    "watermarkColor", "images", Kind::Color, "\"#f28c28\"", EDGE,
        "Colour of that text";
    "qualityFactor", "images", Kind::Number { min: 0.5, max: 1.0 }, "1", EDGE,
        "What the quality of new renderings is multiplied by, for times of high load; cached ones stay";
    "maxEffort", "images", Kind::Integer { min: 1, max: 3, unit: "" }, "3", EDGE,
        "Most effort of encoders for new renderings: 1 as compression=fast, 2 as without compression, 3 as compression=small";
    "avifEnabled", "images", Kind::Bool, "true", EDGE,
        "Whether new renderings of format=auto may be AVIF, which takes longest; cached ones stay";
    "cdnPurgeUrl", "cache", Kind::Url, "\"\"", 0,
        "Where purges are told to a CDN in front; empty for nowhere";
    "cdnPurgeSecret", "cache", Kind::Text { max: 1000 }, "\"\"", SECRET,
        "Bearer token that it is told with";
    "corsOrigins", "security", Kind::Origins, "[]", EDGE,
        "Origins whose pages may call the API with credentials";
    "limitLogin", "limits", Kind::Limit,
        r#"{"quota":10,"windowSeconds":900,"mode":"strict","onFailure":"closed"}"#, EDGE,
        "Sign-in attempts of one address";
    "limitProcess", "limits", Kind::Limit,
        r#"{"quota":20,"windowSeconds":60,"mode":"strict","onFailure":"open"}"#, EDGE,
        "Direct processing requests of one address";
    "limitTransform", "limits", Kind::Limit,
        r#"{"quota":60,"windowSeconds":60,"mode":"strict","onFailure":"open"}"#, EDGE,
        "Image requests of one address that miss the cache";
    "limitTransformTenant", "limits", Kind::Limit,
        r#"{"quota":3000,"windowSeconds":60,"mode":"fast","onFailure":"open"}"#, EDGE,
        "Image requests of the whole tenant that miss the cache";
    "limitImages", "limits", Kind::Limit,
        r#"{"quota":600,"windowSeconds":60,"mode":"fast","onFailure":"open"}"#, EDGE,
        "Image requests of one address";
    "limitApi", "limits", Kind::Limit,
        r#"{"quota":300,"windowSeconds":60,"mode":"fast","onFailure":"open"}"#, EDGE,
        "API requests of one address";
    "limitRules", "limits", Kind::LimitRules, "[]", EDGE,
        "Further limits, by path and by address, user, API key or tenant; a request must be admitted by all";
    "quotaImageProcess", "quotas", Kind::Integer { min: 0, max: QUOTA, unit: "an hour" }, "100", 0,
        "Pictures that a user may store and process in an hour";
    "quotaApiCall", "quotas", Kind::Integer { min: 0, max: QUOTA, unit: "an hour" }, "1000", 0,
        "Requests that a user may make to the API in an hour";
    "quotaPremiumFactor", "quotas", Kind::Integer { min: 1, max: 1000, unit: "times" }, "10", 0,
        "How many times as much users of the roles PREMIUM and ADMIN may";
    "shadowShare", "site", Kind::Number { min: 0.0, max: 100.0 }, "0", EDGE,
        "Percentage of GET and HEAD requests to the API that are repeated to the shadow origin of the edge and compared";
    "maintenance", "site", Kind::Maintenance, "null", EDGE,
        "Announced maintenance; see /api/admin/maintenance";
    "robotsImages", "site", Kind::Bool, "true", EDGE,
        "Whether robots.txt lets crawlers fetch pictures; everything else is closed to them";
    "securityContact", "site", Kind::Text { max: 200 }, "\"\"", EDGE,
        "Where vulnerabilities are reported, for security.txt: an address of mail, or https:, mailto: or tel:";
}

/// The declaration of a setting.
#[must_use]
pub fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// Checks a value against its declaration.
///
/// # Errors
/// What would be right, for the person who set it.
pub fn validate(name: &str, value: &Value) -> Result<(), String> {
    let setting = find(name).ok_or_else(|| format!("there is no setting {name:?}"))?;
    match setting.kind {
        Kind::Bool => value
            .as_bool()
            .map(|_| ())
            .ok_or_else(|| "must be true or false".to_owned()),
        Kind::Integer { min, max, unit } => match value.as_i64() {
            Some(number) if (min..=max).contains(&number) => Ok(()),
            _ => Err(format!("must be a whole number from {min} to {max} ({unit})")),
        },
        Kind::Number { min, max } => match value.as_f64() {
            Some(number) if (min..=max).contains(&number) => Ok(()),
            _ => Err(format!("must be a number from {min} to {max}")),
        },
        Kind::Text { max } => match value.as_str() {
            Some(text) if text.len() <= max && !text.chars().any(char::is_control) => Ok(()),
            _ => Err(format!(
                "must be text of at most {max} bytes without control characters"
            )),
        },
        Kind::Color => match value.as_str().and_then(rgb) {
            Some(_) => Ok(()),
            None => Err("must be a colour such as \"#f28c28\"".to_owned()),
        },
        Kind::Url => match value.as_str() {
            Some("") => Ok(()),
            Some(text) if is_base_url(text) => Ok(()),
            _ => Err("must be empty or an http(s) address without credentials, query or fragment".to_owned()),
        },
        Kind::Origins => {
            let right = value.as_array().is_some_and(|list| {
                list.len() <= 100
                    && list
                        .iter()
                        .all(|item| item.as_str().is_some_and(crate::cors::is_origin))
            });
            if right {
                Ok(())
            } else {
                Err("must be a list of at most 100 origins such as \"https://example.com\"".to_owned())
            }
        }
        Kind::Sources => AllowedSource::list_from_json(value).map(|_| ()),
        Kind::Limit => Rule::from_json(value).map(|_| ()),
        Kind::LimitRules => NamedRule::list_from_json(value).map(|_| ()),
        Kind::Maintenance if value.is_null() => Ok(()),
        Kind::Maintenance => Maintenance::from_json(value).map(|_| ()),
    }
}

/// Red, green and blue of `#rrggbb`.
fn rgb(text: &str) -> Option<[u8; 3]> {
    let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6)?;
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let [_, r, g, b] = u32::from_str_radix(digits, 16).ok()?.to_be_bytes();
    Some([r, g, b])
}

fn is_base_url(text: &str) -> bool {
    text.len() <= 2048
        && url::Url::parse(text).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
                && url.fragment().is_none()
        })
}

/// Values in force: defaults, with overrides on top. A value that does not validate is left out, so a reader always
/// finds one that is right.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    overrides: BTreeMap<String, Value>,
}

impl Settings {
    /// Settings from layers of overrides, later ones on top of earlier ones.
    pub fn from_layers<'a>(layers: impl IntoIterator<Item = &'a BTreeMap<String, Value>>) -> Self {
        let mut overrides = BTreeMap::new();
        for layer in layers {
            for (name, value) in layer {
                if validate(name, value).is_ok() {
                    overrides.insert(name.clone(), value.clone());
                }
            }
        }
        Self { overrides }
    }

    /// The value in force; `Null` for a name that is not declared.
    #[must_use]
    pub fn get(&self, name: &str) -> Value {
        match (self.overrides.get(name), find(name)) {
            (Some(value), _) => value.clone(),
            (None, Some(setting)) => serde_json::from_str(setting.default).unwrap_or_default(),
            (None, None) => Value::Null,
        }
    }

    /// A whole number in force; 0 for a setting that is none.
    #[must_use]
    pub fn integer(&self, name: &str) -> u64 {
        self.get(name).as_u64().unwrap_or_default()
    }

    /// A number in force; 0 for a setting that is none.
    #[must_use]
    pub fn number(&self, name: &str) -> f64 {
        self.get(name).as_f64().unwrap_or_default()
    }

    /// A switch in force; off for a setting that is none.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        self.get(name).as_bool().unwrap_or_default()
    }

    /// A text in force; empty for a setting that is none.
    #[must_use]
    pub fn text(&self, name: &str) -> String {
        self.get(name).as_str().unwrap_or_default().to_owned()
    }

    /// A colour in force, as red, green and blue; black for a setting that is none.
    #[must_use]
    pub fn color(&self, name: &str) -> [u8; 3] {
        self.get(name).as_str().and_then(rgb).unwrap_or_default()
    }

    /// A list of texts in force.
    #[must_use]
    pub fn texts(&self, name: &str) -> Vec<String> {
        let list = self.get(name);
        list.as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    }

    /// The hosts pictures may come from.
    #[must_use]
    pub fn sources(&self) -> Vec<AllowedSource> {
        AllowedSource::list_from_json(&self.get("allowedSources")).unwrap_or_default()
    }

    /// A rate limit in force.
    #[must_use]
    pub fn limit(&self, name: &str) -> Option<Rule> {
        Rule::from_json(&self.get(name)).ok()
    }

    /// Maintenance that is set, whenever it is.
    #[must_use]
    pub fn maintenance(&self) -> Option<Maintenance> {
        let value = self.overrides.get("maintenance").filter(|value| !value.is_null())?;
        Maintenance::from_json(value).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::{SETTINGS, Settings, validate};
    use serde_json::json;
    use std::collections::{BTreeMap, HashSet};

    #[test]
    fn every_default_is_valid_and_every_name_is_there_once() {
        let mut names = HashSet::new();
        for setting in SETTINGS {
            let default = serde_json::from_str(setting.default).unwrap();
            assert_eq!(validate(setting.name, &default), Ok(()), "{}", setting.name);
            assert!(names.insert(setting.name), "{} twice", setting.name);
            assert!(!setting.description.is_empty());
        }
    }

    #[test]
    fn wrong_values_say_what_would_be_right() {
        for (name, value, hint) in [
            ("maxFileSize", json!("8"), "1024"),
            ("maxFileSize", json!(-1), "1024"),
            ("maxFileSize", json!(1.5), "whole"),
            ("imageOrigin", json!("ftp://host"), "http(s)"),
            ("imageOrigin", json!("https://user:pass@host"), "credentials"),
            ("corsOrigins", json!(["https://example.com/"]), "origins"),
            ("corsOrigins", json!("*"), "origins"),
            ("allowedSources", json!([{"hots": "a"}]), "host"),
            (
                "limitApi",
                json!({"quota": 0, "windowSeconds": 60, "mode": "fast"}),
                "quota",
            ),
            ("limitRules", json!([{"name": "x"}]), "rule 1"),
            ("watermarkColor", json!("#f28c2"), "#f28c28"),
            ("watermarkColor", json!("#+28c28"), "#f28c28"),
            ("noSuchSetting", json!(1), "no setting"),
        ] {
            let error = validate(name, &value).unwrap_err();
            assert!(error.contains(hint), "{name}: {error}");
        }
    }

    #[test]
    fn later_layers_win_and_bad_values_do_not_count() {
        let global = BTreeMap::from([
            ("maxFileSize".to_owned(), json!(2048)),
            ("imageMinTtl".to_owned(), json!(1)),
        ]);
        let tenant = BTreeMap::from([
            ("maxFileSize".to_owned(), json!(4096)),
            ("imageMinTtl".to_owned(), json!("no")),
        ]);
        let settings = Settings::from_layers([&global, &tenant]);
        assert_eq!(settings.integer("maxFileSize"), 4096);
        assert_eq!(settings.integer("imageMinTtl"), 1);
        assert_eq!(settings.integer("imageMaxTtl"), 604_800);
        assert_eq!(settings.color("watermarkColor"), [0xf2, 0x8c, 0x28]);
        assert_eq!(settings.limit("limitLogin").unwrap().quota, 10);
    }
}
