//! Making an expired rendering anew, with the expired one at hand: for as long as that fails in a way that says nothing
//! about the picture, the old one stands in.

use std::{cell::RefCell, collections::HashMap, time::Duration};

use futures_channel::oneshot;
use futures_util::future::{Either, select};
use kado_shared::{lifetime::may_stand_in, problem::Code};
use worker::{Context, Delay};

use super::{Entry, Made, Order, failure_of, finish, landed, make_and_record, refusal_after};
use crate::{
    answer::Refusal,
    gateway::Gateway,
    js,
    objects::flight::{self, Boarded},
};

/// How long a client waits for an expired picture to be made anew before it gets the old one, in milliseconds. The work
/// goes on behind it.
const PATIENCE_MS: u64 = 2_500;
/// How long nobody tries again after that failed, in milliseconds.
const REST_MS: u64 = 10_000;
/// Renderings whose failure an isolate remembers.
const MOST_RESTING: usize = 10_000;

thread_local! {
    /// Renderings that could not be made anew: until when nobody tries, and why.
    static RESTING: RefCell<HashMap<String, (u64, Code)>> = RefCell::new(HashMap::new());
}

/// What an expired rendering became.
pub(in crate::gateway) enum Revived {
    /// A new one.
    Made(Entry),
    /// The old one has to stand in, and why.
    StandIn(Code),
    /// Neither: the picture is gone, or no picture any more.
    Refused(Refusal),
}

/// Makes an expired rendering anew, or says that the old one stands in.
pub(in crate::gateway) async fn revive(gateway: &Gateway, context: &Context, order: &Order) -> Revived {
    let (behind, work) = (gateway.clone(), order.clone());
    let (done, made) = oneshot::channel();
    context.wait_until(async move { attempt(&behind, &work, done).await });
    let patience = Delay::from(Duration::from_millis(PATIENCE_MS));
    match select(made, Box::pin(patience)).await {
        Either::Left((Ok(Ok(entry)), _)) => Revived::Made(entry),
        Either::Left((Ok(Err(refusal)), _)) => match Code::from_code(refusal.problem.code) {
            Some(code) if may_stand_in(code) => {
                rest(&order.key, js::now_ms(), code);
                Revived::StandIn(code)
            }
            _ => Revived::Refused(refusal),
        },
        Either::Left((Err(_), _)) => Revived::StandIn(Code::Busy),
        Either::Right(_) => Revived::StandIn(Code::SourceTimeout),
    }
}

/// Boards, makes, stores and lands. What came of it is told as soon as it is known, to a client that may be gone.
async fn attempt(gateway: &Gateway, order: &Order, done: oneshot::Sender<Result<Entry, Refusal>>) {
    let one_per_key = gateway.one_object_per_key();
    let boarded = flight::board(&gateway.env, &order.key, order.lease_ms(), true, one_per_key).await;
    let lease = match boarded {
        Ok(Boarded::Lead { lease }) => Some(lease),
        Ok(Boarded::Failed { failure }) => {
            let _ = done.send(Err(refusal_after(failure)));
            return;
        }
        Ok(Boarded::Landed | Boarded::Taken) => {
            let nothing = || Refusal::new(Code::Busy, "the picture is being made; try again shortly");
            let _ = done.send(landed(order).await.ok_or_else(nothing));
            return;
        }
        Err(error) => {
            crate::log::line(
                &serde_json::json!({ "level": "error", "event": "flight-away", "message": js::describe(&error) }),
            );
            None
        }
    };
    let made = make_and_record(gateway, order, None).await;
    let outcome = made.as_ref().map(Made::stored_response).map_err(failure_of);
    let _ = done.send(made.map(Made::into_entry));
    finish(gateway, order, lease, outcome, true).await;
}

/// Why a rendering could not be made anew a moment ago, for as long as nobody is to try again.
pub(in crate::gateway) fn resting(order: &Order) -> Option<Code> {
    let now_ms = js::now_ms();
    RESTING.with_borrow(|resting| {
        resting
            .get(&order.key)
            .filter(|(until_ms, _)| *until_ms > now_ms)
            .map(|(_, failure)| *failure)
    })
}

fn rest(key: &str, now_ms: u64, failure: Code) {
    RESTING.with_borrow_mut(|resting| {
        if resting.len() >= MOST_RESTING {
            resting.retain(|_, (until_ms, _)| *until_ms > now_ms);
        }
        if resting.len() < MOST_RESTING {
            resting.insert(key.to_owned(), (now_ms + REST_MS, failure));
        }
    });
}
