//! `Snapshot`: the last configuration that an edge has seen of a host, on disk, so that a restarted edge goes on serving
//! through an outage of the origin.

mod parts;

use futures_util::future::try_join_all;
use kado_shared::{cache_key::hex, edge_config::EdgeConfig};
use wasm_bindgen::JsValue;
use worker::{DurableObject, Env, Request, Response, Result, State, durable_object};

use crate::js;
use parts::{HEAD, Head, Part, Stored};

const NAMESPACE: &str = "SNAPSHOT";

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
        if request.method() == worker::Method::Post {
            let stored: Stored = super::asked(&mut request).await?;
            self.write(&stored).await?;
            return Response::empty();
        }
        match self.read().await {
            Ok(Some(stored)) => Response::from_json(&stored),
            Ok(None) => Response::error("none", 404),
            Err(error) => {
                crate::log::line(
                    &serde_json::json!({ "level": "error", "event": "snapshot-broken", "message": error.to_string() }),
                );
                Response::error("broken", 500)
            }
        }
    }
}

impl Snapshot {
    /// Puts a document in the standing one's place: its parts first, then its head, and then the other's parts go. The
    /// runtime lets no other request in while storage is waited for; would it, the parts' generations told.
    async fn write(&self, stored: &Stored) -> Result<()> {
        let storage = self.state.storage();
        // One that cannot be read stands for none.
        let standing = storage.get::<Head>(HEAD).await.ok().flatten();
        let generation = hex(&js::random::<8>()?);
        let (head, parts) = parts::split(stored, standing.as_ref(), &generation).map_err(described)?;
        let left = head.keys_after(standing.as_ref());
        let keys = head.keys();
        let puts = keys.iter().zip(parts).map(|(key, part)| storage.put(key, part));
        try_join_all(puts).await?;
        storage.put(HEAD, head).await?;
        if !left.is_empty() {
            storage.delete_multiple(left).await?;
        }
        Ok(())
    }

    async fn read(&self) -> Result<Option<Stored>> {
        let storage = self.state.storage();
        let Some(head) = storage.get::<Head>(HEAD).await? else {
            return Ok(None);
        };
        let keys = head.keys();
        let parts = try_join_all(keys.iter().map(|key| storage.get::<Part>(key))).await?;
        parts::join(head, parts).map(Some).map_err(described)
    }
}

fn described(error: impl std::error::Error) -> worker::Error {
    worker::Error::RustError(error.to_string())
}

/// Stores a host's snapshot. A failure costs nothing but the memory of it, so it is logged and no more.
pub(crate) async fn store(env: &Env, host: &str, json: &str, confirmed_ms: u64) {
    let stored = Stored {
        confirmed_ms,
        json: json.to_owned(),
    };
    let put = async {
        let body = serde_json::to_string(&stored).map_err(|error| JsValue::from_str(&error.to_string()))?;
        super::ask(env, NAMESPACE, host, "http://snapshot/", Some(&body), None).await
    };
    if let Err(error) = put.await {
        crate::log::line(
            &serde_json::json!({ "level": "warn", "event": "snapshot-not-stored", "message": js::describe(&error) }),
        );
    }
}

/// A host's snapshot, and when the origin last confirmed it.
pub(crate) async fn load(env: &Env, host: &str) -> Option<(EdgeConfig, u64)> {
    let text = super::ask(env, NAMESPACE, host, "http://snapshot/", None, None)
        .await
        .ok()?;
    let stored: Stored = super::read(&text).ok()?;
    Some((EdgeConfig::from_json(stored.json.as_bytes()).ok()?, stored.confirmed_ms))
}
