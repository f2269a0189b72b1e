//! `kado keys list|rotate|retire|drill|reseal`: the keys that access tokens are signed with.

mod drill;
mod reseal;
mod retire;
mod rotate;

use clap::Subcommand;
use kado_shared::secret::Secret;
use serde_json::{Value, json};
use std::process::ExitCode;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{CommandError, configuration::check_secret, connect::DatabaseArgs, say};
use crate::{
    audit::{Actor, Entry},
    identity::{
        key_rotation::{self, Listed, RotationError},
        keyring::KeyringError,
    },
    seal::{Purpose, Sealer},
};

/// Flags of `kado keys`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show every signing key: state, when it was made and activated, and when it may retire.
    List {
        /// Answer a JSON list of {kid, state, createdAt, activatedAt, retireAfter}.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        database: DatabaseArgs,
    },
    /// Sign with a new key, with no request refused: publish it, wait until everybody knows it, promote it.
    Rotate(rotate::Args),
    /// End a key at once, with every token it has signed: for a key that may be known to others.
    Retire(retire::Args),
    /// The quarterly drill: rotate, end every session, and check that old tokens are refused and new ones are not.
    Drill(drill::Args),
    /// Seal every private key, address key and secret setting anew with the newest secret, so that older ones can be dropped from JWT_SECRET.
    Reseal {
        #[command(flatten)]
        secrets: Secrets,
        #[command(flatten)]
        database: DatabaseArgs,
    },
}

/// What private keys are sealed with.
#[derive(Debug, clap::Args)]
struct Secrets {
    /// Secrets, newest first, comma-separated; the one that sealed a key must still be listed.
    #[arg(
        long,
        env = "JWT_SECRET",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    jwt_secret: String,
}

impl Secrets {
    fn checked(&self) -> Result<Secret, CommandError> {
        let secret = Secret::new(&self.jwt_secret);
        check_secret("JWT_SECRET", &secret).map_err(CommandError::Configuration)?;
        Ok(secret)
    }

    fn sealer(&self) -> Result<Sealer, CommandError> {
        Ok(Sealer::new(&self.checked()?, Purpose::SIGNING_KEYS))
    }
}

impl From<RotationError> for CommandError {
    fn from(error: RotationError) -> Self {
        let usage = !matches!(error, RotationError::Keyring(KeyringError::Database(_)));
        Self::sorted(usage, &error)
    }
}

pub(crate) async fn run(args: Args) -> Result<ExitCode, CommandError> {
    match args.action {
        Action::List { json, database } => list(json, &database).await?,
        Action::Rotate(args) => rotate::run(&args).await?,
        Action::Retire(args) => retire::run(&args).await?,
        Action::Drill(args) => return drill::run(&args).await,
        Action::Reseal { secrets, database } => reseal::run(&secrets, &database).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(as_json: bool, database: &DatabaseArgs) -> Result<(), CommandError> {
    let mut connection = database.connect_as_system("keys list").await?;
    let keys = key_rotation::list(&mut connection).await?;
    if as_json {
        say(&Value::from_iter(keys.iter().map(view)).to_string());
        return Ok(());
    }
    for key in &keys {
        let told = |label: &str, time: Option<OffsetDateTime>| {
            time.map(|time| format!("  {label} {}", moment(time)))
                .unwrap_or_default()
        };
        say(&format!(
            "{} {:8} made {}{}{}",
            key.kid,
            key.state,
            moment(key.created_at),
            told("activated", key.activated_at),
            told("retire after", key.retire_after),
        ));
    }
    Ok(())
}

fn view(key: &Listed) -> Value {
    json!({
        "kid": key.kid,
        "state": key.state,
        "createdAt": moment(key.created_at),
        "activatedAt": key.activated_at.map(moment),
        "retireAfter": key.retire_after.map(moment),
    })
}

fn moment(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_default()
}

/// An audit entry of what concerns all tenants.
fn entry<'a>(action: &'a str, target: Option<&str>, at: OffsetDateTime) -> Entry<'a> {
    Entry {
        tenant: None,
        at,
        actor: Actor::Operator,
        action,
        target: target.map(str::to_owned),
        before: None,
        after: None,
        request_id: None,
        client_ip: None,
    }
}
