//! `kado keys retire --now KID`: ends a key that somebody else may have.

use serde_json::json;
use sqlx::Connection;

use super::{Secrets, entry};
use crate::{
    audit,
    cli::{CommandError, connect::DatabaseArgs, say},
    clock::{Clock, SystemClock},
    database::DatabaseError,
    entropy::SystemEntropy,
    identity::{key_rotation::retire_now, session},
};

/// Flags of `kado keys retire`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Key that counts no more, as `list` shows it: at every origin and edge within 5 s.
    #[arg(long, value_name = "KID", required = true, allow_hyphen_values = true)]
    now: String,
    /// End every session of every tenant as well: at the origin at once, at every edge within 5 s.
    #[arg(long)]
    revoke_all: bool,
    /// Where it is the only key that can sign, make another, which signs at once: who signs in may be refused for 5 s.
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    secrets: Secrets,
    #[command(flatten)]
    database: DatabaseArgs,
}

pub(super) async fn run(args: &Args) -> Result<(), CommandError> {
    let sealer = args.secrets.sealer()?;
    let mut connection = args.database.connect_as_system("keys retire").await?;
    let now = SystemClock.now();
    let mut transaction = connection.begin().await.map_err(DatabaseError::from)?;
    let retired = retire_now(&mut transaction, &args.now, args.replace, &sealer, &SystemEntropy, now).await?;
    let mut told = entry("keys.retire", Some(&args.now), now);
    told.before = Some(json!({ "state": retired.state }));
    told.after = Some(json!({ "state": "retired", "active": retired.successor, "revokedAll": args.revoke_all }));
    audit::record(&mut transaction, told).await?;
    if args.revoke_all {
        let epoch = session::raise_sites_epoch(&mut transaction).await?;
        let mut told = entry("sessions.revoke-all", None, now);
        told.after = Some(json!({ "epoch": epoch }));
        audit::record(&mut transaction, told).await?;
    }
    transaction.commit().await.map_err(DatabaseError::from)?;
    say(&format!(
        "{} is retired; every origin and edge knows within 5 s",
        args.now
    ));
    if let Some(successor) = retired.successor {
        say(&format!("{successor} signs in its place"));
    }
    if args.revoke_all {
        say("ended every session of every tenant");
    }
    Ok(())
}
