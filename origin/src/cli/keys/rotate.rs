//! `kado keys rotate`: a new key signs, and no request is refused meanwhile.

use serde_json::json;
use sqlx::{Connection, PgConnection};
use std::time::Duration;
use time::OffsetDateTime;

use super::{Secrets, entry, moment};
use crate::{
    audit,
    cli::{CommandError, connect::DatabaseArgs, say},
    clock::{Clock, SystemClock},
    database::DatabaseError,
    entropy::{Entropy, SystemEntropy},
    identity::key_rotation::{hold, promote, publish},
    seal::Sealer,
};

/// Flags of `kado keys rotate`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) wait: Wait,
    #[command(flatten)]
    secrets: Secrets,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// How long a key is published before it signs.
#[derive(Debug, clap::Args)]
pub(super) struct Wait {
    /// Seconds between publishing the key and signing with it. Edges and other replicas know a key after 5 s; whoever verifies tokens by /.well-known/jwks.json may take 300.
    #[arg(
        long = "wait",
        value_name = "SECONDS",
        default_value_t = 10,
        value_parser = clap::value_parser!(u64).range(6..=86_400)
    )]
    seconds: u64,
}

impl Wait {
    pub(super) const fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

pub(super) async fn run(args: &Args) -> Result<(), CommandError> {
    let sealer = args.secrets.sealer()?;
    let mut connection = args.database.connect_as_system("keys rotate").await?;
    hold(&mut connection).await?;
    let kid = publish_audited(&mut connection, &sealer, &SystemEntropy, SystemClock.now()).await?;
    say(&format!("{kid} is published, and signs in {} s", args.wait.seconds));
    tokio::time::sleep(args.wait.duration()).await;
    say(&promote_audited(&mut connection, &kid, SystemClock.now()).await?);
    Ok(())
}

/// The first half.
pub(super) async fn publish_audited(
    connection: &mut PgConnection,
    sealer: &Sealer,
    entropy: &dyn Entropy,
    now: OffsetDateTime,
) -> Result<String, CommandError> {
    let mut transaction = connection.begin().await.map_err(DatabaseError::from)?;
    let kid = publish(&mut transaction, sealer, entropy, now).await?;
    audit::record(&mut transaction, entry("keys.publish", Some(&kid), now)).await?;
    transaction.commit().await.map_err(DatabaseError::from)?;
    Ok(kid)
}

/// The second half; answers what there is to say of it.
pub(super) async fn promote_audited(
    connection: &mut PgConnection,
    kid: &str,
    now: OffsetDateTime,
) -> Result<String, CommandError> {
    let mut transaction = connection.begin().await.map_err(DatabaseError::from)?;
    let promoted = promote(&mut transaction, kid, now).await?;
    let retire_after = moment(promoted.retire_after);
    let mut entry = entry("keys.promote", Some(kid), now);
    entry.before = Some(json!({ "active": promoted.previous }));
    entry.after = Some(json!({ "active": kid, "retiring": promoted.previous, "retireAfter": retire_after }));
    audit::record(&mut transaction, entry).await?;
    transaction.commit().await.map_err(DatabaseError::from)?;
    Ok(match promoted.previous {
        Some(previous) => format!("{kid} signs; {previous} verifies until {retire_after} and is retired after that"),
        None => format!("{kid} signs"),
    })
}
