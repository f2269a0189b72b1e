//! A PostgreSQL of our own: the binaries come from npm, the data is one folder, the port is on loopback only.
//!
//! What is here prepares a cluster and says how to start it; who starts and watches it is [`crate::supervisor`].

mod account;
mod cluster;
mod placement;
mod postmaster;
mod running;

pub use account::Account;
pub use cluster::{Cluster, Durability};
pub use placement::Placement;
pub use running::Postgres;
pub(crate) use running::start;
