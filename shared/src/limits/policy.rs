//! All limits of a tenant: the built-in ones, each by a setting of its own, and those of the setting `limitRules`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Mode, OnFailure, PathPattern, Rule};
use crate::settings::Settings;

/// Most rules in `limitRules`: a request asks each that matches it.
pub const MOST_RULES: usize = 16;
/// Most patterns of one rule.
const MOST_PATHS: usize = 16;
/// Longest name of a rule, in bytes.
const MAX_NAME: usize = 32;

/// The limit that an API key brings with it is called this.
pub const API_KEY_LIMIT: &str = "api-key";

/// The built-in limits: their settings and their public names.
pub const BUILT_IN: [(&str, &str); 6] = [
    ("limitLogin", "login"),
    ("limitProcess", "process"),
    ("limitTransform", "transform"),
    ("limitTransformTenant", "transform-tenant"),
    ("limitImages", "images"),
    ("limitApi", "api"),
];

/// Whom a rule counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Subject {
    /// Each client address by itself.
    Ip,
    /// Each user by themselves, whatever their session; who has not signed in is not counted.
    User,
    /// Each API key by itself; who has none is not counted.
    ApiKey,
    /// All clients of the tenant together.
    Tenant,
}

/// A rule of the setting `limitRules`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedRule {
    /// Its public name.
    pub name: String,
    /// Paths it holds for: any of these.
    pub paths: Vec<PathPattern>,
    /// Whom it counts.
    pub subject: Subject,
    /// The limit.
    pub rule: Rule,
}

/// The same as it is written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    name: String,
    paths: Vec<String>,
    key: Subject,
    quota: u32,
    window_seconds: u32,
    mode: Mode,
    #[serde(default)]
    on_failure: OnFailure,
    #[serde(default)]
    shadow: bool,
}

impl NamedRule {
    /// Reads the list and checks it.
    ///
    /// # Errors
    /// Which rule is wrong, and what would be right.
    pub fn list_from_json(value: &Value) -> Result<Vec<Self>, String> {
        let list = value
            .as_array()
            .ok_or_else(|| format!("must be a list of at most {MOST_RULES} rules"))?;
        if list.len() > MOST_RULES {
            return Err(format!(
                "may have at most {MOST_RULES} rules, this one has {}",
                list.len()
            ));
        }
        let mut rules: Vec<Self> = Vec::with_capacity(list.len());
        for (index, value) in list.iter().enumerate() {
            let rule = Self::from_json(value).map_err(|error| format!("rule {}: {error}", index + 1))?;
            if rules.iter().any(|known| known.name == rule.name) {
                return Err(format!(
                    "rule {}: there is another rule named {:?}",
                    index + 1,
                    rule.name
                ));
            }
            rules.push(rule);
        }
        Ok(rules)
    }

    fn from_json(value: &Value) -> Result<Self, String> {
        let written: Written = Written::deserialize(value).map_err(|error| {
            format!(
                "must be {{\"name\", \"paths\": [\"/api/images/**\", ..], \"key\": \"ip\", \"user\", \"apiKey\" or \"tenant\", \"quota\", \
                 \"windowSeconds\", \"mode\": \"strict\" or \"fast\", \"onFailure\": \"open\" or \"closed\", \"shadow\"}}: {error}"
            )
        })?;
        let name = written.name;
        let is_name = (1..=MAX_NAME).contains(&name.len())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if !is_name {
            return Err(format!("name must be 1 to {MAX_NAME} of a-z, 0-9 and -"));
        }
        if name == API_KEY_LIMIT || BUILT_IN.iter().any(|(_, known)| *known == name) {
            return Err(format!("the name {name:?} is that of a built-in limit"));
        }
        if !(1..=MOST_PATHS).contains(&written.paths.len()) {
            return Err(format!(
                "paths must be 1 to {MOST_PATHS} patterns such as \"/api/images/**\""
            ));
        }
        let paths = written
            .paths
            .iter()
            .map(|text| PathPattern::parse(text))
            .collect::<Result<_, _>>()?;
        let rule = Rule {
            quota: written.quota,
            window_seconds: written.window_seconds,
            mode: written.mode,
            on_failure: written.on_failure,
            shadow: written.shadow,
        };
        rule.check()?;
        Ok(Self {
            name,
            paths,
            subject: written.key,
            rule,
        })
    }

    /// Whether it holds for a path, as it was sent.
    #[must_use]
    pub fn holds_for(&self, path: &str) -> bool {
        self.paths.iter().any(|pattern| pattern.matches(path))
    }
}

/// The limits in force, read once for each state of the settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    built_in: Vec<(&'static str, Rule)>,
    rules: Vec<NamedRule>,
}

impl Policy {
    /// The limits that some settings set.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        Self {
            built_in: BUILT_IN
                .iter()
                .filter_map(|(setting, _)| Some((*setting, settings.limit(setting)?)))
                .collect(),
            rules: NamedRule::list_from_json(&settings.get("limitRules")).unwrap_or_default(),
        }
    }

    /// The built-in limit of a setting.
    #[must_use]
    pub fn built_in(&self, setting: &str) -> Option<Rule> {
        self.built_in
            .iter()
            .find(|(known, _)| *known == setting)
            .map(|(_, rule)| *rule)
    }

    /// The rules that hold for a path, in the order in which they were written.
    pub fn rules_for<'p>(&'p self, path: &'p str) -> impl Iterator<Item = &'p NamedRule> {
        self.rules.iter().filter(move |rule| rule.holds_for(path))
    }
}

#[cfg(test)]
mod tests {
    use super::{BUILT_IN, NamedRule, Policy, Subject};
    use crate::settings::{Settings, find};
    use serde_json::{Value, json};
    use std::collections::BTreeMap;

    fn rule(change: impl FnOnce(&mut Value)) -> Value {
        let mut rule = json!({
            "name": "uploads", "paths": ["/api/images"], "key": "user", "quota": 10, "windowSeconds": 60, "mode": "strict",
        });
        change(&mut rule);
        rule
    }

    #[test]
    fn a_rule_is_read_whole() {
        let list = json!([
            rule(|_| {}),
            rule(|rule| {
                rule["name"] = json!("all");
                rule["paths"] = json!(["/api/**", "/img/**"]);
                rule["key"] = json!("tenant");
                rule["onFailure"] = json!("closed");
                rule["shadow"] = json!(true);
            })
        ]);
        let settings = Settings::from_layers([&BTreeMap::from([("limitRules".to_owned(), list)])]);
        let policy = Policy::of(&settings);
        let names = |path| {
            policy
                .rules_for(path)
                .map(|rule| rule.name.as_str())
                .collect::<Vec<_>>()
        };
        assert_eq!(names("/api/images"), ["uploads", "all"]);
        assert_eq!(names("/img/w=1/u/1"), ["all"]);
        assert_eq!(names("/other"), [""; 0]);
        let all = policy.rules_for("/img/x/y").next().unwrap();
        assert!(all.subject == Subject::Tenant && all.rule.shadow);
    }

    #[test]
    fn every_built_in_limit_is_a_setting() {
        let policy = Policy::of(&Settings::default());
        for (setting, _) in BUILT_IN {
            assert!(
                find(setting).is_some() && policy.built_in(setting).is_some(),
                "{setting}"
            );
        }
        assert_eq!(policy.built_in("maxFileSize"), None);
        assert_eq!(policy.rules_for("/api/images").count(), 0);
    }

    #[test]
    fn a_wrong_list_says_which_rule_and_what_would_be_right() {
        for (list, hint) in [
            (json!({}), "a list of at most 16"),
            (json!(vec![rule(|_| {}); 17]), "at most 16 rules, this one has 17"),
            (
                json!([rule(|_| {}), rule(|_| {})]),
                "rule 2: there is another rule named \"uploads\"",
            ),
            (
                json!([rule(|rule| rule["name"] = json!("Uploads"))]),
                "rule 1: name must be 1 to 32 of a-z",
            ),
            (json!([rule(|rule| rule["name"] = json!("api"))]), "built-in"),
            (json!([rule(|rule| rule["name"] = json!("api-key"))]), "built-in"),
            (json!([rule(|rule| rule["paths"] = json!([]))]), "1 to 16 patterns"),
            (json!([rule(|rule| rule["paths"] = json!(["images"]))]), "begin with /"),
            (json!([rule(|rule| rule["key"] = json!("cookie"))]), "\"apiKey\""),
            (
                json!([rule(|rule| rule["quota"] = json!(0))]),
                "quota must be 1 to 10000",
            ),
            (
                json!([rule(|rule| rule["windowSeconds"] = json!(90_000))]),
                "windowSeconds",
            ),
            (json!([rule(|rule| rule["method"] = json!("GET"))]), "method"),
        ] {
            let error = NamedRule::list_from_json(&list).unwrap_err();
            assert!(error.contains(hint), "{list}: {error}");
        }
    }
}
