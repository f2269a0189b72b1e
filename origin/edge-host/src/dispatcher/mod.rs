//! The gateway's `TRANSFORM` binding: each job to an idle transform process, in fair turns, within its deadline.

mod exchange;
mod pool;
mod queue;
mod service;
mod tickets;

pub(crate) use pool::{Pool, PoolLimits, SlotKeeper};
pub(crate) use service::Dispatcher;
