//! `kado edge`: everything native that a self-hosted edge needs around workerd.
//!
//! * **Supervisor** (`process`, `host`): one gateway workerd on a listener that this process holds, so that a restarted
//!   gateway keeps its port, and a pool of transform workerd processes. All are started, watched, restarted and drained
//!   here, and none outlives this process.
//! * **Dispatcher** (`dispatcher`): the gateway's `TRANSFORM` binding. workerd runs one event loop per process, so each
//!   job goes to an idle process; queue, fairness between tenants, deadline, kill and `busy` are decided here.
//! * **Egress** (`egress`): the transform role's `SOURCES` binding and its only way out. Resolves, checks every address,
//!   connects to exactly the one checked, follows nothing.
//!
//! What does not live here: which sources a tenant allows, what a picture may cost, cache keys. Those are the Worker's.

mod args;
mod bundle;
mod capnp;
mod dispatcher;
mod egress;
mod error;
mod gateway_metrics;
mod host;
mod http1;
mod metrics;
mod process;
mod shutdown;
mod state_dir;

pub use args::{Args, Endpoint};
pub use egress::{FetchError, Fetched, SourceFetcher};
pub use error::HostError;
pub use host::run;
