//! `kado tenants suspend|resume`: whether a tenant is answered for. Nothing of it is lost.

use sqlx::{Connection, PgConnection};
use time::OffsetDateTime;

use super::{Which, faults};
use crate::{
    cli::{CommandError, say},
    clock::{Clock, SystemClock},
    database::DatabaseError,
    tenants::{
        self, Author, Tenant,
        change::{self, ChangeError, Wanted},
    },
};

/// Flags of `kado tenants suspend` and `resume`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
}

pub(super) async fn run(args: &Args, active: bool) -> Result<(), CommandError> {
    let command = if active { "tenants resume" } else { "tenants suspend" };
    let mut connection = args.which.database.connect_as_system(command).await?;
    let tenant = args.which.find(&mut connection).await?;
    if !set_active(&mut connection, &tenant, active, SystemClock.now()).await? {
        let state = if active { "active" } else { "suspended" };
        say(&format!("{} is {state} already", tenant.name));
        return Ok(());
    }
    if active {
        say(&format!("{} is served again; every edge knows within 5 s", tenant.name));
    } else {
        let hosts = tenant.hosts.join(", ");
        say(&format!(
            "{} is suspended: {hosts} answer 421, at every edge within 5 s",
            tenant.name
        ));
    }
    Ok(())
}

/// Answers whether that was a change.
async fn set_active(
    connection: &mut PgConnection,
    tenant: &Tenant,
    active: bool,
    now: OffsetDateTime,
) -> Result<bool, CommandError> {
    let mut transaction = connection.begin().await.map_err(DatabaseError::from)?;
    tenants::lock(&mut transaction, &[tenant.id]).await?;
    let before = tenants::load(&mut transaction, tenant.id)
        .await?
        .ok_or_else(|| CommandError::Configuration(format!("{} has been deleted meanwhile", tenant.name)))?;
    let wanted = Wanted {
        active: Some(active),
        ..Wanted::default()
    };
    change::apply(&mut transaction, &before, wanted, Author::Shell, now).await?;
    transaction.commit().await.map_err(DatabaseError::from)?;
    Ok(before.active != active)
}

impl From<ChangeError> for CommandError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Taken(errors) => faults(&errors),
            ChangeError::Database(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::find, set_active};
    use crate::{api::testing::TestApp, clock::Clock};
    use time::Duration;

    #[tokio::test]
    async fn a_suspended_tenants_hosts_are_nobodys_until_it_is_resumed() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let snapshot = || app.internal("GET", "/internal/edge-config?host=localhost");
        let tag = snapshot().await.header("etag").unwrap().to_owned();
        let mut connection = app.database().pools().system().acquire().await.unwrap();
        let by_host = find(&mut connection, "LOCALHOST:8787").await.unwrap();
        assert_eq!(find(&mut connection, "test").await.unwrap(), by_host);
        assert!(
            find(&mut connection, "nobody")
                .await
                .unwrap_err()
                .to_string()
                .contains("nobody")
        );

        let now = app.clock.now();
        assert!(set_active(&mut connection, &by_host, false, now).await.unwrap());
        assert!(!set_active(&mut connection, &by_host, false, now).await.unwrap());
        // The edge that asks whether something has changed is told so, and drops the tenant.
        let given = [("if-none-match", tag.as_str())];
        let answer = app
            .internal_with("GET", "/internal/edge-config?host=localhost", &given)
            .await;
        assert_eq!(answer.status, 421);
        app.clock.advance(Duration::seconds(1));
        assert_eq!(app.get_as(&token, "/api/auth/me").await.status, 421);

        assert!(set_active(&mut connection, &by_host, true, now).await.unwrap());
        assert_eq!(
            (snapshot().await.status, app.get_as(&token, "/api/auth/me").await.status),
            (200, 200)
        );
        let audited =
            app.count("select count(*) from audit_logs where action in ('tenants.suspend', 'tenants.resume')");
        assert_eq!(audited.await, 2);
    }
}
