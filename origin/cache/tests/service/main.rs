//! The cache service over a real socket.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

mod bounds;
mod lifecycle;
mod protocol;
mod support;
mod workerd;
