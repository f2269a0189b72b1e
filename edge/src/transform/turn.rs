//! One job at a time: two pictures in one isolate would share the memory that each was promised.
//!
//! Self-hosted the dispatcher sees to that; on Cloudflare an isolate may be given several requests at once.

use std::cell::Cell;

use kado_shared::problem::Code;

use crate::{answer::Refusal, js};

thread_local! {
    /// When the running job has to be over, Unix milliseconds; 0 while none runs.
    static BUSY_UNTIL: Cell<u64> = const { Cell::new(0) };
}

/// The right to work; ends when it is dropped, or, where the runtime never drops it, with the job's deadline.
#[derive(Debug)]
pub(super) struct Turn(());

impl Drop for Turn {
    fn drop(&mut self) {
        BUSY_UNTIL.set(0);
    }
}

/// Takes the turn.
///
/// # Errors
/// 503 `busy` while another job has it.
pub(super) fn take(now_ms: u64, deadline_ms: u64) -> Result<Turn, Refusal> {
    if BUSY_UNTIL.get() > js::now_ms() {
        return Err(Refusal::new(Code::Busy, "this isolate is at work on another picture").with("retry-after", "1"));
    }
    BUSY_UNTIL.set(now_ms.saturating_add(deadline_ms));
    Ok(Turn(()))
}
