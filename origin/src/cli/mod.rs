//! The command line. Exit codes: 0 fine, 64 bad usage or configuration, 70 anything that went wrong in between, and 1
//! where `kado image` could not make some of several pictures.

mod address_keys;
mod cache;
mod configuration;
mod connect;
mod doctor;
mod events;
mod import;
mod keys;
mod migrate;
mod seed;
mod serve;
mod sessions;
mod settings;
mod sign;
mod startup;
mod sweep;
mod tenants;
mod tracing;
mod users;

use clap::{Parser, Subcommand};
use kado_cache::CacheError;
use kado_edge_host::HostError;
use kado_image::ImageCommandError;
use std::{io::Write, process::ExitCode};

use crate::{
    database::{BadAddress, DatabaseError, migration::MigrationError},
    http::failure::chain,
};

/// Kado: an image edge platform. Every operation is a subcommand of this one binary.
#[derive(Debug, Parser)]
#[command(name = "kado", version, max_term_width = 120, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 fine, 64 bad usage or configuration, 70 anything that failed while running;\n\
    1 where `kado image` could not make some of several pictures.\n\
    KADO_LOG sets what is logged (default: info,sqlx=warn,hyper=warn).";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API: one public listener, one internal listener. SIGTERM drains.
    Serve(Box<serve::Args>),
    /// Change the schema, or show what it has.
    Migrate(migrate::Args),
    /// Make the default tenant, its settings, the first signing key and the first administrator. Repeatable.
    Seed(seed::Args),
    /// Work with tenants.
    Tenants(tenants::Args),
    /// Read and change settings.
    Settings(settings::Args),
    /// Show what was done for a tenant, or how often, as JSON lines.
    Events(events::Args),
    /// End sessions.
    Sessions(sessions::Args),
    /// Show a tenant's users, or give one a new password.
    Users(users::Args),
    /// Take over what another system has.
    Import(import::Args),
    /// Show, rotate and retire the signing keys, or seal them anew.
    Keys(keys::Args),
    /// Make, list or retire the keys that image addresses are signed with.
    AddressKeys(address_keys::Args),
    /// Sign an image address.
    Sign(sign::Args),
    /// Check configuration, database, schema, roles, secrets and blob store; one line each.
    Doctor(Box<doctor::Args>),
    /// Run the cache service behind workerd's Cache API, or purge what caches have.
    Cache(cache::Args),
    /// Run the self-hosted edge: workerd as gateway, a pool of it for transforms, dispatcher and egress.
    Edge(Box<kado_edge_host::Args>),
    /// Transform pictures: a file, a folder or a pattern, by the options of an image's address.
    Image(kado_image::Args),
}

/// Why a command failed, sorted by whose turn it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// The operator can put it right: 64.
    #[error("{0}")]
    Configuration(String),
    /// Something failed on the way: 70.
    #[error("{0}")]
    Failed(String),
}

impl CommandError {
    fn configuration(error: &dyn std::error::Error) -> Self {
        Self::Configuration(chain(error))
    }

    fn failed(error: &dyn std::error::Error) -> Self {
        Self::Failed(chain(error))
    }

    fn sorted(usage: bool, error: &dyn std::error::Error) -> Self {
        if usage {
            Self::configuration(error)
        } else {
            Self::failed(error)
        }
    }

    const fn exit_code(&self) -> u8 {
        match self {
            Self::Configuration(_) => 64,
            Self::Failed(_) => 70,
        }
    }
}

impl From<BadAddress> for CommandError {
    fn from(error: BadAddress) -> Self {
        Self::configuration(&error)
    }
}

impl From<DatabaseError> for CommandError {
    fn from(error: DatabaseError) -> Self {
        Self::failed(&error)
    }
}

impl From<MigrationError> for CommandError {
    fn from(error: MigrationError) -> Self {
        Self::sorted(matches!(error, MigrationError::Newer(_)), &error)
    }
}

impl From<CacheError> for CommandError {
    fn from(error: CacheError) -> Self {
        Self::sorted(error.is_usage(), &error)
    }
}

impl From<HostError> for CommandError {
    fn from(error: HostError) -> Self {
        Self::sorted(error.is_usage(), &error)
    }
}

impl From<ImageCommandError> for CommandError {
    fn from(error: ImageCommandError) -> Self {
        Self::sorted(error.is_usage(), &error)
    }
}

/// Parses the command line and does what it says.
pub(crate) fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let usage = error.use_stderr();
            let _ = error.print();
            return if usage { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&CommandError::failed(&error)),
    };
    let result = runtime.block_on(dispatch(cli.command));
    // A hash or a file operation that still runs must not hold the exit up.
    runtime.shutdown_background();
    match result {
        Ok(code) => code,
        Err(error) => report(&error),
    }
}

async fn dispatch(command: Command) -> Result<ExitCode, CommandError> {
    match command {
        Command::Serve(args) => serve::run(*args).await,
        Command::Migrate(args) => migrate::run(args).await,
        Command::Seed(args) => seed::run(args).await,
        Command::Tenants(args) => tenants::run(args).await,
        Command::Settings(args) => settings::run(args).await,
        Command::Events(args) => events::run(args).await,
        Command::Sessions(args) => sessions::run(args).await,
        Command::Users(args) => users::run(args).await,
        Command::Import(args) => import::run(args).await,
        Command::Keys(args) => keys::run(args).await,
        Command::AddressKeys(args) => address_keys::run(args).await,
        Command::Sign(args) => sign::run(&args),
        Command::Doctor(args) => doctor::run(*args).await,
        Command::Cache(args) => cache::run(args).await,
        Command::Edge(args) => {
            kado_edge_host::run(*args).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Image(args) => Ok(tokio::task::block_in_place(|| kado_image::run(&args))?),
    }
}

fn report(error: &CommandError) -> ExitCode {
    let text = error.to_string();
    let text = kado_shared::redact::redact_text(&text).unwrap_or(text);
    let _ = writeln!(std::io::stderr(), "kado: {text}");
    ExitCode::from(error.exit_code())
}

/// Writes a line to stdout; nobody reading it is no reason to fail.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::{CacheError, Cli, CommandError, HostError};
    use clap::CommandFactory;

    #[test]
    fn what_an_operator_can_put_right_is_64_and_the_rest_70() {
        let dir = || "/var/lib/kado".into();
        let address = || "127.0.0.1:1".to_owned();
        let refused = || std::io::ErrorKind::PermissionDenied.into();
        let cache = |error: CacheError| CommandError::from(error).exit_code();
        let edge = |error: HostError| CommandError::from(error).exit_code();
        assert_eq!(cache(CacheError::DirectoryLocked { dir: dir() }), 64);
        assert_eq!(cache(CacheError::AddressInUse { address: address() }), 64);
        assert_eq!(edge(HostError::StateDirLocked { dir: dir() }), 64);
        assert_eq!(cache(CacheError::Signals(refused())), 70);
        assert_eq!(edge(HostError::Gateway(address())), 70);
    }

    #[test]
    fn the_command_line_is_consistent_and_every_argument_explained() {
        let mut command = Cli::command();
        command.clone().debug_assert();
        command.build();
        let mut open = vec![command];
        while let Some(command) = open.pop() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments() {
                assert!(
                    argument.get_help().is_some(),
                    "{} {}",
                    command.get_name(),
                    argument.get_id()
                );
            }
            open.extend(
                command
                    .get_subcommands()
                    .filter(|command| command.get_name() != "help")
                    .cloned(),
            );
        }
    }
}
