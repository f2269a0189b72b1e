//! `kado sessions revoke`: ends sessions without anybody's token.

use clap::Subcommand;
use serde_json::json;
use sqlx::Connection;
use std::process::ExitCode;

use super::{CommandError, connect::DatabaseArgs, say, settings::tenant_of, tenants::parse_email};
use crate::{
    audit::{self, Actor, Entry},
    clock::{Clock, SystemClock},
    database::DatabaseError,
    identity::session,
};

/// Flags of `kado sessions`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// End sessions: at the origin at once, at every edge within 5 s.
    Revoke(Revoke),
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("whose").required(true).args(["all", "tenant"]))]
struct Revoke {
    /// Everybody's, of every tenant.
    #[arg(long, conflicts_with = "tenant")]
    all: bool,
    /// Those of the tenant that answers to this host.
    #[arg(long, value_name = "HOST")]
    tenant: Option<String>,
    /// Of the tenant, only those of the user with this address.
    #[arg(long, value_name = "ADDRESS", requires = "tenant")]
    user: Option<String>,
    #[command(flatten)]
    database: DatabaseArgs,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode, CommandError> {
    let Action::Revoke(revoke) = args.action;
    let mut connection = revoke.database.connect_as_system("sessions revoke").await?;
    let now = SystemClock.now();
    let mut transaction = connection.begin().await.map_err(DatabaseError::from)?;
    let mut entry = Entry {
        tenant: None,
        at: now,
        actor: Actor::Operator,
        action: "sessions.revoke-all",
        target: None,
        before: None,
        after: None,
        request_id: None,
        client_ip: None,
    };
    let done = match &revoke.tenant {
        None => {
            let epoch = session::raise_sites_epoch(&mut transaction).await?;
            entry.after = Some(json!({ "epoch": epoch }));
            "ended every session of every tenant".to_owned()
        }
        Some(host) => {
            let tenant = tenant_of(&mut transaction, host).await?;
            entry.tenant = Some(tenant.0);
            if let Some(address) = &revoke.user {
                let email = parse_email(address)?;
                let user = sqlx::query_scalar!(
                    "select id from users where tenant_id = $1 and email = $2",
                    tenant.0,
                    email.as_str()
                )
                .fetch_optional(&mut *transaction)
                .await
                .map_err(DatabaseError::from)?
                .ok_or_else(|| CommandError::Configuration(format!("{host} has no user {}", email.as_str())))?;
                let ended = session::end_others(&mut transaction, user, None, "operator", now).await?;
                entry.target = Some(user.to_string());
                entry.after = Some(json!({ "endedSessions": ended }));
                format!("ended {ended} sessions of {}", email.as_str())
            } else {
                let epoch = session::raise_tenants_epoch(&mut transaction, tenant).await?;
                entry.after = Some(json!({ "epoch": epoch }));
                format!("ended every session of {host}")
            }
        }
    };
    audit::record(&mut transaction, entry).await?;
    transaction.commit().await.map_err(DatabaseError::from)?;
    say(&done);
    Ok(ExitCode::SUCCESS)
}
