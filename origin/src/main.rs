//! `kado`: the axum service of the origin and every operation on it, as subcommands of one binary.
//!
//! * `cli`: the subcommands. `api`, `internal`: the routes, one endpoint a file. `http`: the shell around them.
//! * `tenants`: what makes and changes one, and the one door to others than one's own.
//! * `identity`: passwords, keys, sessions. `settings`, `presets`, `content`, `audit`, `blobs`: what the routes
//!   work on.
//! * `idempotency`: creations that are asked for twice. `limits`, `redis`: limits that several gateways share.
//! * `quota`: what users may spend in an hour, counted in the database alone.
//! * `database`: pools, transactions, migrations. `seal`: secrets at rest. `readiness`, `telemetry`: how it is watched.
//!
//! Rules that the edge must share live in `kado-shared`, pixels in `kado-imaging`.

mod address_keys;
mod api;
mod aside;
mod audit;
mod blobs;
mod cdn;
mod cli;
mod clock;
mod content;
mod database;
mod entropy;
mod heavy;
mod hex;
mod http;
mod idempotency;
mod identity;
mod internal;
mod limits;
mod metrics;
mod presets;
mod purges;
mod quota;
mod readiness;
mod redis;
mod seal;
mod service;
mod settings;
mod spans;
mod telemetry;
mod tenants;
#[cfg(test)]
mod testing;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
