//! Durable Objects: the little state that the edge keeps. Each is small, and none is asked by every request.

mod counters;
pub(crate) mod flight;
pub(crate) mod outbox;
pub(crate) mod rate_limiter;
pub(crate) mod snapshot;

use wasm_bindgen::JsValue;
use worker::Env;

use crate::js;

/// Objects that a self-hosted namespace is spread over: their state is bounded maps.
const SHARDS: u32 = 256;

/// Asks an object with a text, or for one; answers what it said.
///
/// # Errors
/// Where it cannot be asked, or answers with another status than 200.
async fn ask(
    env: &Env,
    namespace: &str,
    name: &str,
    url: &str,
    body: Option<&str>,
    timeout_ms: Option<u64>,
) -> Result<String, JsValue> {
    let method = if body.is_some() { "POST" } else { "GET" };
    let objects =
        js::binding(env, namespace).ok_or_else(|| JsValue::from_str(&format!("there is no binding {namespace}")))?;
    match js::ask_object(&objects, name, method, url, body, timeout_ms).await? {
        (200, text) => Ok(text),
        (status, _) => Err(JsValue::from_str(&format!("{namespace} answered {status}"))),
    }
}

/// An answer in JSON.
fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, JsValue> {
    serde_json::from_str(text).map_err(|error| JsValue::from_str(&error.to_string()))
}

/// A question in JSON. As a text and not as an object, of which each field would be fetched by a call.
async fn asked<T: serde::de::DeserializeOwned>(request: &mut worker::Request) -> worker::Result<T> {
    Ok(serde_json::from_str(&request.text().await?)?)
}

/// The name of the object that holds a key: one of [`SHARDS`] self-hosted, one per key on Cloudflare.
fn object_name(prefix: &str, key: &str, one_per_key: bool) -> String {
    if one_per_key {
        format!("{prefix}/{key}")
    } else {
        format!("{prefix}/{}", fnv1a(key) % SHARDS)
    }
}

/// FNV-1a: spreads keys evenly enough, and is the same in every build.
fn fnv1a(text: &str) -> u32 {
    text.bytes().fold(0x811C_9DC5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::{SHARDS, object_name};
    use std::collections::HashSet;

    #[test]
    fn keys_spread_over_the_shards() {
        let names: HashSet<_> = (0..10_000)
            .map(|n| object_name("login", &format!("203.0.113.{n}"), false))
            .collect();
        assert_eq!(names.len(), SHARDS as usize);
        assert_eq!(object_name("login", "a", true), "login/a");
    }
}
