//! The edge alone, as a process: for the tests, which kill it, and for trying it without the rest of Kado.

use clap::Parser;

#[derive(Parser)]
#[command(args_override_self = true)]
struct Cli {
    #[command(flatten)]
    args: kado_edge_host::Args,
}

#[tokio::main]
async fn main() -> Result<(), kado_edge_host::HostError> {
    tracing_subscriber::fmt().json().flatten_event(true).init();
    kado_edge_host::run(Cli::parse().args).await
}
