//! Rendering workerd's configuration from its template.
//!
//! The template marks each value as `@NAME@` where Cap'n Proto expects text; the value is put there as a quoted,
//! escaped literal. So no value, whatever it holds, can change the structure of the configuration.

use std::collections::BTreeMap;

use crate::args::Config;
use crate::state_dir::StateDir;

/// The template, as committed: what the tests compare with `wrangler.toml` is what runs.
pub(crate) const TEMPLATE: &str = include_str!("../../../edge/workerd.capnp.in");

/// Name of the constant with the gateway's configuration.
pub(crate) const GATEWAY: &str = "gateway";
/// Name of the constant with a transform process's configuration.
pub(crate) const TRANSFORM: &str = "transform";
/// Socket that serves requests, in both.
pub(crate) const SOCKET_HTTP: &str = "http";
/// The gateway's second socket: health checks go past a full public queue.
pub(crate) const SOCKET_HEALTH: &str = "health";

/// The configuration file's text.
pub(crate) fn render(config: &Config, state: &StateDir) -> Result<String, String> {
    let unix = |path: std::path::PathBuf| format!("unix:{}", path.display());
    let values = BTreeMap::from([
        ("ORIGIN", config.origin.to_string()),
        ("INTERNAL", config.internal.to_string()),
        // Not asked unless it has an address.
        ("SHADOW", config.shadow_origin.unwrap_or(config.origin).to_string()),
        (
            "SHADOW_URL",
            config.shadow_origin.map_or("", |_| "http://shadow").to_owned(),
        ),
        ("CACHE", config.cache.to_string()),
        ("DISPATCHER", unix(state.dispatcher_socket())),
        ("EGRESS", unix(state.egress_socket())),
        ("OBJECTS", state.objects().display().to_string()),
        ("CLIENT_IP", config.client_ip.clone()),
        ("TRUSTED_PROXIES", config.trusted_proxies.clone()),
        (
            "ENVIRONMENT",
            if config.production { "production" } else { "development" }.to_owned(),
        ),
    ]);
    substitute(TEMPLATE, &values)
}

/// Replaces every `@NAME@`. A name without a value, and a value without a place, are errors: template and program
/// belong together.
fn substitute(template: &str, values: &BTreeMap<&str, String>) -> Result<String, String> {
    let mut out = String::with_capacity(template.len() + 512);
    let mut unused: Vec<&str> = values.keys().copied().collect();
    for (number, line) in template.lines().enumerate() {
        // Comments may speak of @NAME@.
        let (code, comment) = line.find('#').map_or((line, ""), |at| line.split_at(at));
        let mut rest = code;
        while let Some((before, name, after)) = next_mark(rest) {
            let value = values
                .get(name)
                .ok_or_else(|| format!("line {}: @{name}@ has no value", number + 1))?;
            unused.retain(|known| *known != name);
            out.push_str(before);
            out.push_str(&literal(value));
            rest = after;
        }
        out.push_str(rest);
        out.push_str(comment);
        out.push('\n');
    }
    match unused.first() {
        Some(name) => Err(format!("the template has no place for @{name}@")),
        None => Ok(out),
    }
}

/// The first `@NAME@`: capital letters and underscores, so that Cap'n Proto's own `@0x..` and `@3` are left alone.
fn next_mark(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    loop {
        let start = from + text.get(from..)?.find('@')?;
        let tail = text.get(start + 1..)?;
        let length = tail
            .find(|c: char| !c.is_ascii_uppercase() && c != '_')
            .unwrap_or(tail.len());
        if length > 0 && tail.as_bytes().get(length) == Some(&b'@') {
            return Some((text.get(..start)?, tail.get(..length)?, tail.get(length + 1..)?));
        }
        from = start + 1;
    }
}

/// A Cap'n Proto text literal. Bytes that are not printable ASCII are written in hexadecimal.
fn literal(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 2);
    out.push('"');
    for byte in value.bytes() {
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn marks_become_literals_and_nothing_else_changes() {
        let values = BTreeMap::from([("A", "x\"y".to_owned()), ("B_C", "é".to_owned())]);
        let text = substitute("id @0xabc; f @3; a = @A@, b = @B_C@; # as @A@\n", &values).unwrap();
        assert_eq!(text, "id @0xabc; f @3; a = \"x\\\"y\", b = \"\\xc3\\xa9\"; # as @A@\n");
    }

    #[test]
    fn a_mark_without_value_and_a_value_without_mark_are_errors() {
        let values = BTreeMap::from([("A", String::new())]);
        assert_eq!(substitute("x\n@B@", &values).unwrap_err(), "line 2: @B@ has no value");
        assert_eq!(
            substitute("x", &values).unwrap_err(),
            "the template has no place for @A@"
        );
    }

    proptest! {
        #[test]
        fn no_value_ends_its_literal(value in any::<String>()) {
            let text = literal(&value);
            let inner = &text[1..text.len() - 1];
            let mut escaped = false;
            for c in inner.chars() {
                prop_assert!(c.is_ascii() && !c.is_ascii_control());
                if escaped {
                    escaped = false;
                } else if c == '\\' {
                    escaped = true;
                } else {
                    prop_assert!(c != '"');
                }
            }
            prop_assert!(!escaped);
        }
    }

    /// Names of the bindings of a worker in the template.
    fn bindings(worker: &str) -> BTreeSet<String> {
        let (_, text) = TEMPLATE.split_once(&format!("const {worker} ")).unwrap();
        let (_, text) = text.split_once("bindings = [").unwrap();
        let (list, _) = text.split_once("\n  ],").unwrap();
        let names = list
            .lines()
            .filter_map(|l| l.split_once("(name = \"")?.1.split_once('"'));
        names.map(|(name, _)| name.to_owned()).collect()
    }

    /// Names of the bindings of an environment in wrangler.toml, as the template has them: what is reached by an address
    /// there is a service here.
    fn deployed(environment: &toml::Table) -> BTreeSet<String> {
        let list = |table: &toml::Table, key: &str, name: &str| -> Vec<String> {
            let entries = table.get(key).and_then(|v| v.as_array()).cloned().unwrap_or_default();
            entries.iter().map(|e| e[name].as_str().unwrap().to_owned()).collect()
        };
        let vars = environment["vars"].as_table().unwrap();
        let objects = environment
            .get("durable_objects")
            .and_then(|v| v.as_table())
            .cloned()
            .unwrap_or_default();
        vars.keys()
            .map(|name| name.strip_suffix("_URL").unwrap_or(name).to_owned())
            .chain(list(environment, "services", "binding"))
            .chain(list(&objects, "bindings", "name"))
            // A secret is set beside the file.
            .chain(["EDGE_SECRET".to_owned()])
            .collect()
    }

    #[test]
    fn the_template_gives_the_worker_what_wrangler_toml_gives_it() {
        let text = include_str!("../../../wrangler.toml");
        let wrangler: toml::Table = text.parse().unwrap();
        let mut gateway = deployed(&wrangler);
        // Here the service is always there, and this says whether it is to be used.
        gateway.insert("SHADOW_URL".to_owned());
        assert_eq!(bindings("gatewayWorker"), gateway);
        let mut transform = deployed(wrangler["env"]["transform"].as_table().unwrap());
        // On Cloudflare plain fetch reaches public addresses only; here the egress does.
        transform.insert("SOURCES".to_owned());
        assert_eq!(bindings("transformWorker"), transform);

        let date = wrangler["compatibility_date"].as_str().unwrap();
        assert!(TEMPLATE.contains(&format!("const date :Text = \"{date}\";")));
        let classes = wrangler["migrations"].as_array().unwrap();
        let classes = classes.iter().flat_map(|m| m["new_sqlite_classes"].as_array().unwrap());
        for class in classes {
            let class = class.as_str().unwrap();
            assert!(
                TEMPLATE.contains(&format!("(className = \"{class}\", uniqueKey = \"kado-")),
                "{class}"
            );
        }
    }
}
