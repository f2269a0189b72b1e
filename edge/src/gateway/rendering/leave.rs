//! Clients that leave while their picture waits for its turn.
//!
//! A picture is made in work that outlives its client, because others may wait for it. Where nobody does, and it is not
//! being made yet, it need not be made at all.

use std::cell::Cell;

use kado_shared::{cache_key::hex, headers::KADO_TICKET, job::LEAVE_PATH};
use wasm_bindgen::JsValue;
use web_sys::Request;

use super::Order;
use crate::{gateway::Gateway, js, objects::flight};

/// How long the dispatcher may take to say whether a job had begun, in milliseconds.
const PATIENCE_MS: u64 = 2_000;

/// A job's place in the queue, and whether it was given up.
pub(super) struct Ticket {
    pub(super) name: String,
    /// Nobody wants what has not begun.
    is_unwanted: Cell<bool>,
    is_left: Cell<bool>,
}

impl Ticket {
    pub(super) fn draw() -> Result<Self, JsValue> {
        Ok(Self {
            name: hex(&js::random::<16>()?),
            is_unwanted: Cell::new(false),
            is_left: Cell::new(false),
        })
    }

    /// Whether it need not be asked for again.
    pub(super) fn is_unwanted(&self) -> bool {
        self.is_unwanted.get()
    }

    /// Notes that the job was given up before it began. Only who has its answer knows that.
    pub(super) fn leave(&self) {
        self.is_left.set(true);
    }

    /// Whether the job was given up before it began.
    pub(super) fn is_left(&self) -> bool {
        self.is_left.get()
    }
}

/// Waits until the client leaves, and then gives its job up if that has not begun and nobody else waits for it.
pub(super) async fn when_the_client_leaves(
    gateway: &Gateway,
    request: &Request,
    order: &Order,
    lease: Option<u64>,
    ticket: &Ticket,
) {
    if js::client_left(request).await.is_err() {
        return;
    }
    if let Some(lease) = lease {
        // An object that does not answer may have others waiting.
        let alone = flight::is_alone(&gateway.env, &order.key, lease, gateway.one_object_per_key()).await;
        if !alone.unwrap_or(false) {
            return;
        }
    }
    ticket.is_unwanted.set(true);
    if gateway.one_object_per_key() {
        // No dispatcher: the queue is whoever asks a busy isolate again, and that one looks here first.
        return;
    }
    let asked = async {
        let url = format!("http://transform{LEAVE_PATH}");
        let headers = [(KADO_TICKET, ticket.name.as_str())];
        let request = js::request("POST", &url, &headers, None, Some(PATIENCE_MS))?;
        js::fetch(gateway.binding("TRANSFORM").as_ref(), &request).await
    };
    // What became of it is in the answer to the job itself.
    if let Err(error) = asked.await {
        crate::log::line(
            &serde_json::json!({ "level": "warn", "event": "queue-not-left", "message": js::describe(&error) }),
        );
    }
}
