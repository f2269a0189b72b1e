//! Many clients at once.

use std::thread;

use anyhow::{Result, anyhow};

use crate::http::Answer;

/// Has `count` clients ask at the same time, each with its number, and gives back their answers in that order.
///
/// # Errors
/// When one of them has no answer.
pub fn crowd(count: usize, ask: impl Fn(usize) -> Result<Answer> + Sync) -> Result<Vec<Answer>> {
    thread::scope(|scope| {
        let ask = &ask;
        let members: Vec<_> = (0..count).map(|number| scope.spawn(move || ask(number))).collect();
        members
            .into_iter()
            .map(|member| member.join().map_err(|_| anyhow!("a client panicked"))?)
            .collect()
    })
}
