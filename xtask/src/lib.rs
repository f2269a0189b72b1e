//! The developer's commands, and beneath them the machinery that the black-box tests share with `cargo xtask up`:
//! [`system::System`] starts a whole Kado (PostgreSQL, origin, cache service, edge), watches over it and stops it.
//!
//! What lives here starts and watches other programs. No product rule does: those are in `shared/`, `imaging/`,
//! `origin/` and `edge/`.

pub mod cargo;
pub mod edge_build;
pub mod http;
pub mod interrupt;
pub mod invoke;
pub mod leftover;
pub mod ownership;
pub mod picture;
pub mod postgres;
pub mod progress;
pub mod random;
pub mod sample;
pub mod supervisor;
pub mod system;
pub mod temporary;
mod tether;
pub mod tools;
pub mod wait;
pub mod workspace;
