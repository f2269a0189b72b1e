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

    /// Notes that the job was given up before it began. Only who has its answer knows that.
    pub(super) fn leave(&self) {
        self.is_left.set(true);
    }

    /// Whether it need not be asked for again.
    pub(super) fn is_unwanted(&self) -> bool {
        self.is_unwanted.get()
    }

    /// Whether the job was given up before it began.
    pub(super) fn is_left(&self) -> bool {
        self.is_left.get()
    }
}

/// What the transform role said to a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// The dispatcher: the job was given up while it queued.
    pub(super) given_up: bool,
    /// An isolate on Cloudflare: it is at another one.
    pub(super) at_work: bool,
    /// There is time to ask again.
    pub(super) in_time: bool,
}

/// What becomes of a job after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The answer is its.
    Take,
    /// It was given up before it began.
    GiveUp,
    AskAgain,
}

impl Heard {
    /// Without a ticket nobody can leave. On Cloudflare, where no dispatcher queues, whoever asks a busy isolate again is the
    /// queue, and looks first whether anybody still wants it.
    pub(super) const fn next(self, is_unwanted: bool) -> Next {
        let Self {
            given_up,
            at_work,
            in_time,
        } = self;
        if given_up || at_work && is_unwanted {
            Next::GiveUp
        } else if at_work && in_time {
            Next::AskAgain
        } else {
            Next::Take
        }
    }
}

/// What is done when a client has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// Others wait for the picture, or may.
    Nothing,
    /// The ticket says it: whoever asks again looks there.
    Note,
    /// The dispatcher is told as well, which has the job in its queue.
    Tell,
}

/// `alone` says whether nobody else waits; where that is not known, somebody may.
const fn left(alone: Option<bool>, has_dispatcher: bool) -> Left {
    match (alone, has_dispatcher) {
        (None | Some(false), _) => Left::Nothing,
        (Some(true), false) => Left::Note,
        (Some(true), true) => Left::Tell,
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
    let alone = match lease {
        Some(lease) => flight::is_alone(&gateway.env, &order.key, lease, gateway.one_object_per_key())
            .await
            .ok(),
        None => Some(true),
    };
    let left = left(alone, !gateway.one_object_per_key());
    ticket.is_unwanted.set(left != Left::Nothing);
    if left != Left::Tell {
        return;
    }
    let asked = async {
        let url = format!("http://transform{LEAVE_PATH}");
        let headers = [(KADO_TICKET, ticket.name.as_str())];
        let request = js::request("POST", &url, headers, None, Some(PATIENCE_MS))?;
        js::fetch(gateway.binding("TRANSFORM").as_ref(), &request).await
    };
    // What became of it is in the answer to the job itself.
    if let Err(error) = asked.await {
        crate::log::line(
            &serde_json::json!({ "level": "warn", "event": "queue-not-left", "message": js::describe(&error) }),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::{Heard, Left, Next, left};

    #[test]
    fn a_job_is_given_up_where_nobody_else_waits_and_its_queue_is_told_if_it_has_one() {
        for has_dispatcher in [true, false] {
            assert_eq!(left(Some(false), has_dispatcher), Left::Nothing);
            assert_eq!(left(None, has_dispatcher), Left::Nothing, "the object did not answer");
        }
        assert_eq!(left(Some(true), true), Left::Tell);
        assert_eq!(left(Some(true), false), Left::Note, "on Cloudflare");
    }

    #[test]
    fn a_busy_isolate_is_asked_again_in_time_by_who_is_still_wanted() {
        let busy = Heard {
            at_work: true,
            in_time: true,
            ..Heard::default()
        };
        assert_eq!(busy.next(false), Next::AskAgain);
        assert_eq!(busy.next(true), Next::GiveUp, "the client has left");
        let late = Heard { in_time: false, ..busy };
        assert_eq!((late.next(false), late.next(true)), (Next::Take, Next::GiveUp));
    }

    #[test]
    fn what_has_begun_is_taken_whoever_has_left_and_the_dispatcher_says_what_has_not() {
        let made = Heard {
            in_time: true,
            ..Heard::default()
        };
        assert_eq!((made.next(true), made.next(false)), (Next::Take, Next::Take));
        let given_up = Heard { given_up: true, ..made };
        assert_eq!(given_up.next(true), Next::GiveUp);
    }
}
