//! `kado cache`: the cache service; `kado cache purge`: throws pictures out of every cache, without a running service.

use clap::Subcommand;
use serde_json::json;
use sqlx::Connection;
use std::process::ExitCode;

use super::{CommandError, connect::DatabaseArgs, say, settings::tenant_of};
use crate::{
    audit::{self, Actor, Entry},
    clock::{Clock, SystemClock},
    database::DatabaseError,
    purges::{self, Wanted},
    settings,
};

/// Flags of `kado cache`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[group(id = "cache")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    service: Option<kado_cache::Args>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Throw pictures out of every cache; every edge knows within 5 s.
    Purge(Purge),
}

#[derive(Debug, clap::Args)]
struct Purge {
    /// A host of the tenant concerned.
    #[arg(long, value_name = "HOST", required_unless_present = "everything")]
    tenant: Option<String>,
    /// An image address, /img/OPTIONS/SOURCE, with or without its host; may be repeated.
    #[arg(long = "address", value_name = "ADDRESS")]
    addresses: Vec<String>,
    /// A source, written as in an address, whatever was made of it; may be repeated.
    #[arg(long = "source", value_name = "SOURCE")]
    sources: Vec<String>,
    /// A preset's name, whatever was made by it; may be repeated.
    #[arg(long = "preset", value_name = "NAME")]
    presets: Vec<String>,
    /// Everything of the tenant.
    #[arg(long)]
    all: bool,
    /// Everything of every tenant.
    #[arg(long, conflicts_with_all = ["tenant", "addresses", "sources", "presets", "all"])]
    everything: bool,
    #[command(flatten)]
    database: DatabaseArgs,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode, CommandError> {
    match (args.action, args.service) {
        (Some(Action::Purge(purge)), _) => purge.run().await?,
        (None, Some(service)) => kado_cache::run(service).await?,
        (None, None) => {
            let detail = "kado cache needs --listen and --dir, or `purge`; see `kado cache --help`";
            return Err(CommandError::Configuration(detail.to_owned()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Purge {
    async fn run(self) -> Result<(), CommandError> {
        let mut connection = self.database.connect_as_system("cache purge").await?;
        let mut transaction = connection.begin().await.map_err(DatabaseError::from)?;
        let now = SystemClock.now();
        let (tenant, after, said) = match &self.tenant {
            None => {
                let generation = purges::purge_everything(&mut transaction, now).await?;
                (
                    None,
                    json!({ "everything": true }),
                    format!("everything of every tenant is purged (generation {generation})"),
                )
            }
            Some(host) => {
                let tenant = tenant_of(&mut transaction, host).await?;
                let wanted = Wanted {
                    addresses: self.addresses,
                    sources: self.sources,
                    presets: self.presets,
                    all: self.all,
                };
                let settings = settings::load(&mut transaction, tenant).await?.resolve();
                let hosts = sqlx::query_scalar!("select host from tenant_hosts where tenant_id = $1", tenant.0)
                    .fetch_all(&mut *transaction)
                    .await
                    .map_err(DatabaseError::from)?;
                let order = wanted.read(&settings.text("imageOrigin"), &hosts).map_err(|faults| {
                    let faults: Vec<_> = faults
                        .into_iter()
                        .map(|fault| format!("--{}: {}", fault.field, fault.detail))
                        .collect();
                    CommandError::Configuration(faults.join("; "))
                })?;
                let done = order.carry_out(&mut transaction, tenant, None, now).await?;
                let said = if done.raised {
                    format!("everything of {host} is purged (generation {})", done.generation)
                } else {
                    format!("purged of {host}")
                };
                (Some(tenant), wanted.to_json(), said)
            }
        };
        let entry = Entry {
            tenant: tenant.map(|tenant| tenant.0),
            at: now,
            actor: Actor::Operator,
            action: "cache.purge",
            target: None,
            before: None,
            after: Some(after),
            request_id: None,
            client_ip: None,
        };
        audit::record(&mut transaction, entry).await?;
        transaction.commit().await.map_err(DatabaseError::from)?;
        say(&format!("{said}; every edge knows within 5 s"));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Args;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &str) -> Result<Args, String> {
        Line::try_parse_from(std::iter::once("kado-cache").chain(line.split(' ')))
            .map(|line| line.args)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_service_and_the_purge_share_a_name() {
        let service = parse("--listen 127.0.0.1:0 --dir x").unwrap();
        assert!(service.service.is_some() && service.action.is_none());
        assert!(parse("purge --tenant a.example --source u/1").unwrap().action.is_some());
        assert!(parse("purge --everything").is_ok());
        for wrong in [
            "--dir x",
            "purge",
            "purge --all",
            "purge --everything --tenant a",
            "purge --everything --all",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
