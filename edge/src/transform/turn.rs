//! One job at a time: two pictures in one isolate would share the memory that each was promised.
//!
//! Self-hosted the dispatcher sees to that; on Cloudflare an isolate may be given several requests at once.

use std::cell::Cell;

use kado_shared::problem::Code;

use crate::{answer::Refusal, js};

thread_local! {
    /// Number of the running job, and when it has to be over, Unix milliseconds; 0 while none runs.
    static RUNNING: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// The right to work; ends when it is dropped, or, where the runtime never drops it, with the job's deadline.
#[derive(Debug)]
pub(super) struct Turn(u64);

impl Drop for Turn {
    fn drop(&mut self) {
        // One that overran its deadline has lost its turn to another, which goes on.
        let (number, _) = RUNNING.get();
        if number == self.0 {
            RUNNING.set((number, 0));
        }
    }
}

/// Takes the turn.
///
/// # Errors
/// 503 `busy` while another job has it.
pub(super) fn take(now_ms: u64, deadline_ms: u64) -> Result<Turn, Refusal> {
    let (number, until_ms) = RUNNING.get();
    if until_ms > js::now_ms() {
        return Err(Refusal::new(Code::Busy, "this isolate is at work on another picture").with("retry-after", "1"));
    }
    RUNNING.set((number + 1, now_ms.saturating_add(deadline_ms)));
    Ok(Turn(number + 1))
}
