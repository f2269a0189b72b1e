//! Durable Objects: the little state that the edge keeps. Each is small, and none is asked by every request.

mod counters;
pub(crate) mod flight;
pub(crate) mod outbox;
pub(crate) mod rate_limiter;
pub(crate) mod snapshot;

use wasm_bindgen::JsValue;
use web_sys::{Request, Response};
use worker::Env;

/// Objects that a self-hosted namespace is spread over: their state is bounded maps.
const SHARDS: u32 = 256;

/// Sends a request to the object of this name.
async fn call(env: &Env, namespace: &str, name: &str, request: Request) -> Result<Response, JsValue> {
    let stub = env
        .durable_object(namespace)
        .and_then(|namespace| namespace.get_by_name(name))
        .map_err(JsValue::from)?;
    let response = stub
        .fetch_with_request(worker::Request::from(request))
        .await
        .map_err(JsValue::from)?;
    Ok(response.into())
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
