//! Child processes: started so that none outlives us, watched, restarted, and their output logged.

mod backoff;
mod health;
mod memory;
mod output;
mod spawn;
mod supervisor;

pub(crate) use health::{Health, Probe};
pub(crate) use memory::resident_bytes;
pub(crate) use spawn::{Launcher, Spec, number_of};
pub(crate) use supervisor::{Activity, Lifecycle, Order, Running, Supervisor};
