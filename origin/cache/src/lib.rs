//! `kado cache`: the service behind workerd's Cache API.
//!
//! workerd turns `caches.default.match`, `put` and `delete` into HTTP requests to the service named by
//! `cacheApiOutbound`. This crate answers them from a memory tier and a disk tier (foyer):
//!
//! | Worker | request | answer |
//! |---|---|---|
//! | `match` | `GET <full URL>`, `Cache-Control: only-if-cached` | stored response with `CF-Cache-Status: HIT`, or 504 with `MISS` |
//! | `put` | `PUT <full URL>`, body = `HTTP/1.1 200 OK` + headers + blank line + body | 204, or 413 when it may not be stored |
//! | `delete` | `PURGE <full URL>` | 200, or 404 when nothing was stored |
//!
//! A named cache (`caches.open`) adds `CF-Cache-Namespace`. The binding must use `style = proxy`, so that the request
//! line carries the whole address, scheme and host included: that address, with the namespace, is the key.
//!
//! What lives here: the protocol, what may be stored and for how long, the two tiers. What does not: image keys,
//! purge lists, stale-while-revalidate. Those are the Worker's.

mod args;
mod cache_control;
mod clock;
mod conditional;
mod entry;
mod error;
mod freshness;
mod handler;
mod key;
mod listen;
mod message;
mod put;
mod range;
mod server;
mod stats;
mod store;
mod stripes;

pub use args::{Args, Config};
pub use clock::{Clock, system_clock};
pub use error::CacheError;
pub use handler::STATS_HOST;
pub use listen::{Address, Listener};
pub use server::{run, serve};
pub use stats::Stats;
