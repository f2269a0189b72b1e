//! The cache service alone, as a process: for the tests that kill it, and for trying it with curl.

use clap::Parser;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: kado_cache::Args,
}

#[tokio::main]
async fn main() -> Result<(), kado_cache::CacheError> {
    tracing_subscriber::fmt().json().flatten_event(true).init();
    kado_cache::run(Cli::parse().args).await
}
