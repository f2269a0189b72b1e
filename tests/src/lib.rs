//! What the black-box tests share: a client that can misbehave, and tenants of their own.
//!
//! One started system serves all tests of a run; each makes itself a fresh tenant in it. A test that breaks something
//! starts a system of its own ([`own_system`]).

pub mod crowd;
pub mod external;
pub mod http;
pub mod pictures;
pub mod server;
pub mod site;
pub mod tomorrow;

pub use crowd::crowd;
pub use http::{Answer, Client};
pub use server::SourceServer;
pub use site::{Site, own_system, wait_until};
