//! `kado`: the axum service of the origin and every operation on it, as subcommands of one binary.
//!
//! * `cli`: the subcommands. `api`, `internal`: the routes, one endpoint a file. `http`: the shell around them.
//! * `identity`: passwords, keys, sessions. `settings`, `tenants`, `audit`, `blobs`: what the routes work on.
//! * `database`: pools, transactions, migrations. `seal`: secrets at rest. `readiness`, `telemetry`: how it is watched.
//!
//! Rules that the edge must share live in `kado-shared`, pixels in `kado-imaging`.

mod api;
mod audit;
mod blobs;
mod cli;
mod clock;
mod database;
mod entropy;
mod heavy;
mod hex;
mod http;
mod identity;
mod internal;
mod metrics;
mod readiness;
mod redis;
mod seal;
mod service;
mod settings;
mod telemetry;
mod tenants;
#[cfg(test)]
mod testing;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
