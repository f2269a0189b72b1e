//! `kado edge` as a process, with the real workerd and a small Worker under the real names.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

mod dispatch;
mod lifecycle;
mod sources;
mod support;
