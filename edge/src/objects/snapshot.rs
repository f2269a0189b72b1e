//! `Snapshot`: the last configuration that an edge has seen of a host, on disk, so that a restarted edge goes on serving
//! through an outage of the origin.

use kado_shared::edge_config::EdgeConfig;
use serde::{Deserialize, Serialize};
use wasm_bindgen::JsValue;
use worker::{DurableObject, Env, Request, Response, Result, State, durable_object};

use crate::js;

const NAMESPACE: &str = "SNAPSHOT";
const KEY: &str = "snapshot";

/// What is stored.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    /// When the origin last confirmed it, Unix milliseconds.
    confirmed_ms: u64,
    /// The document as the origin sent it.
    json: String,
}

/// The object; one per host.
#[durable_object(fetch)]
pub struct Snapshot {
    state: State,
}

impl DurableObject for Snapshot {
    fn new(state: State, _env: Env) -> Self {
        Self { state }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        if request.method() == worker::Method::Put {
            let stored: Stored = request.json().await?;
            self.state.storage().put(KEY, stored).await?;
            return Response::empty();
        }
        match self.state.storage().get::<Stored>(KEY).await? {
            Some(stored) => Response::from_json(&stored),
            None => Response::error("none", 404),
        }
    }
}

/// Stores a host's snapshot. A failure costs nothing but the memory of it, so it is logged and no more.
pub(crate) async fn store(env: &Env, host: &str, json: &str, confirmed_ms: u64) {
    let stored = Stored {
        confirmed_ms,
        json: json.to_owned(),
    };
    let put = async {
        let body = serde_json::to_string(&stored).map_err(|error| JsValue::from_str(&error.to_string()))?;
        let request = js::request("PUT", "http://snapshot/", &[], Some(&JsValue::from_str(&body)), None)?;
        super::call(env, NAMESPACE, host, &request).await
    };
    if let Err(error) = put.await {
        crate::log::line(
            &serde_json::json!({ "level": "warn", "event": "snapshot-not-stored", "message": js::describe(&error) }),
        );
    }
}

/// A host's snapshot, and when the origin last confirmed it.
pub(crate) async fn load(env: &Env, host: &str) -> Option<(EdgeConfig, u64)> {
    let request = js::request("GET", "http://snapshot/", &[], None, None).ok()?;
    let response = super::call(env, NAMESPACE, host, &request)
        .await
        .ok()
        .filter(|response| response.status() == 200)?;
    let stored: Stored = serde_json::from_str(&js::text(&response).await.ok()?).ok()?;
    Some((EdgeConfig::from_json(stored.json.as_bytes()).ok()?, stored.confirmed_ms))
}
