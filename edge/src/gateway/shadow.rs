//! Traffic shadowing: a share of what clients read is asked of a second origin as well, behind the answer, and compared.
//!
//! The client never waits for it and never sees anything of it: the first origin's answer is on its way when the second
//! one is asked.

use std::cell::Cell;

use serde_json::json;
use wasm_bindgen::JsValue;
use worker::Context;

use super::{
    Facts, Gateway, forward,
    snapshot::Snapshot,
    telemetry::{self, SHADOW},
};
use crate::{answer::Answer, exchange::Exchange, js};

/// How long the second origin may take, in milliseconds: less than a runtime gives to what is done behind an answer.
const DEADLINE_MS: u64 = 20_000;
/// Requests that may be repeated at the same time: a second origin that hangs must not fill the isolate.
const MOST_AT_ONCE: u32 = 64;

thread_local! {
    static UNDER_WAY: Cell<u32> = const { Cell::new(0) };
}

/// One request that is under way, until it is dropped.
struct UnderWay;

impl UnderWay {
    /// `None` where there are enough.
    fn begin() -> Option<Self> {
        let count = UNDER_WAY.get();
        (count < MOST_AT_ONCE).then(|| {
            UNDER_WAY.set(count + 1);
            Self
        })
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        UNDER_WAY.set(UNDER_WAY.get().saturating_sub(1));
    }
}

/// What an origin answered: status, bytes where it says how many, and milliseconds to its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Answered {
    status: u16,
    bytes: Option<u64>,
    ms: u64,
}

/// Repeats a request to the shadow origin behind its answer, if there is one and the request is in its share.
pub(super) fn repeat(
    gateway: &Gateway,
    exchange: &Exchange,
    context: &Context,
    facts: &Facts,
    snapshot: &Snapshot,
    answer: &Answer,
    asked_ms: u64,
) {
    let url = &gateway.environment.shadow_url;
    let share = snapshot.settings.number("shadowShare");
    let is_read = matches!(exchange.method.as_str(), "GET" | "HEAD");
    if url.is_empty() || !is_read || !js::random().is_ok_and(|random| is_within(share, random)) {
        return;
    }
    let first = Answered {
        status: answer.status(),
        bytes: answer.header("content-length").and_then(|length| length.parse().ok()),
        ms: js::now_ms().saturating_sub(asked_ms),
    };
    let tenant = snapshot.config.tenant.id.to_string();
    let route = facts.route;
    let Some(under_way) = UnderWay::begin() else {
        telemetry::count(&tenant, SHADOW, &[route, "skipped"], 1);
        return;
    };
    // The client's request is not there any more when its answer is through.
    let request = forward::request_to(url, gateway, exchange, &tenant, DEADLINE_MS, None);
    let (gateway, bodiless) = (gateway.clone(), exchange.method == "HEAD");
    context.wait_until(async move {
        let second = match request {
            Ok(request) => ask(&gateway, &request, bodiless).await,
            Err(error) => Err(error),
        };
        drop(under_way);
        let result = second.as_ref().map_or("failed", |second| compare(first, *second));
        telemetry::count(&tenant, SHADOW, &[route, result], 1);
        let mut line = json!({
            "level": if result == "same" { "info" } else { "warn" },
            "event": "shadow",
            "requestId": &*gateway.request_id,
            "tenant": tenant,
            "route": route,
            "result": result,
            "first": described(first),
        });
        if let Some(fields) = line.as_object_mut() {
            match second {
                Ok(second) => fields.insert("second".to_owned(), described(second)),
                Err(error) => fields.insert("message".to_owned(), js::describe(&error).into()),
            };
        }
        crate::log::line(&line);
    });
}

/// Asks the second origin, and reads its answer to the end.
async fn ask(gateway: &Gateway, request: &web_sys::Request, bodiless: bool) -> Result<Answered, JsValue> {
    let asked_ms = js::now_ms();
    let response = js::fetch(gateway.binding("SHADOW").as_ref(), request).await?;
    let ms = js::now_ms().saturating_sub(asked_ms);
    let told = response
        .headers()
        .get("content-length")?
        .and_then(|length| length.parse().ok());
    let read = match response.body() {
        Some(body) if !bodiless => Some(js::drain(&body).await?),
        _ => None,
    };
    Ok(Answered {
        status: response.status(),
        bytes: told.or(read),
        ms,
    })
}

fn described(answered: Answered) -> serde_json::Value {
    json!({ "status": answered.status, "bytes": answered.bytes, "ms": answered.ms })
}

/// How a second answer compares with the first. Sizes that nobody knows are not compared.
fn compare(first: Answered, second: Answered) -> &'static str {
    if first.status != second.status {
        return "status";
    }
    match (first.bytes, second.bytes) {
        (Some(first), Some(second)) if first != second => "size",
        _ => "same",
    }
}

/// Whether a request with these random bytes is in a share of so many per cent.
fn is_within(share: f64, random: [u8; 4]) -> bool {
    f64::from(u32::from_le_bytes(random)) < share / 100.0 * 2f64.powi(32)
}

#[cfg(test)]
mod tests {
    use super::{Answered, MOST_AT_ONCE, UnderWay, compare, is_within};

    const FIRST: Answered = Answered {
        status: 200,
        bytes: Some(10),
        ms: 5,
    };

    #[test]
    fn a_share_is_of_all_none_or_some() {
        for (share, random, wanted) in [
            (0.0, 0, false),
            (100.0, u32::MAX, true),
            (50.0, 1 << 31, false),
            (50.0, (1 << 31) - 1, true),
            (0.001, 42_949, true),
            (0.001, 42_950, false),
        ] {
            assert_eq!(is_within(share, random.to_le_bytes()), wanted, "{share} {random}");
        }
    }

    #[test]
    fn so_many_are_under_way_and_whatever_ends_makes_room() {
        let mut under_way: Vec<_> = (0..MOST_AT_ONCE).map_while(|_| UnderWay::begin()).collect();
        assert_eq!(under_way.len(), MOST_AT_ONCE as usize);
        assert!(UnderWay::begin().is_none());
        under_way.pop();
        assert!(UnderWay::begin().is_some());
    }

    #[test]
    fn statuses_come_before_sizes_and_what_is_unknown_is_not_compared() {
        assert_eq!(compare(FIRST, Answered { ms: 900, ..FIRST }), "same");
        assert_eq!(
            compare(
                FIRST,
                Answered {
                    status: 404,
                    bytes: Some(3),
                    ..FIRST
                }
            ),
            "status"
        );
        assert_eq!(
            compare(
                FIRST,
                Answered {
                    bytes: Some(3),
                    ..FIRST
                }
            ),
            "size"
        );
        assert_eq!(compare(FIRST, Answered { bytes: None, ..FIRST }), "same");
        assert_eq!(compare(Answered { bytes: None, ..FIRST }, FIRST), "same");
    }
}
