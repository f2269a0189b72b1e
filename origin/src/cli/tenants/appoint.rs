//! `kado tenants appoint|dismiss`: whether a tenant's administrators manage all tenants over HTTP. No route changes it.

use serde_json::json;
use sqlx::{Connection, PgConnection};
use time::OffsetDateTime;

use super::{Which, operator_entry};
use crate::{
    audit,
    cli::{CommandError, say},
    clock::{Clock, SystemClock},
    database::DatabaseError,
    tenants::Tenant,
};

/// Flags of `kado tenants appoint` and `dismiss`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
}

pub(super) async fn run(args: &Args, operator: bool) -> Result<(), CommandError> {
    let command = if operator { "tenants appoint" } else { "tenants dismiss" };
    let mut connection = args.which.database.connect_as_system(command).await?;
    let tenant = args.which.find(&mut connection).await?;
    let changed = set_operator(&mut connection, &tenant, operator, SystemClock.now()).await?;
    let name = &tenant.name;
    say(&match (operator, changed) {
        (true, true) => format!("{name} is an operator: its administrators manage all tenants"),
        (true, false) => format!("{name} is an operator already"),
        (false, true) => format!("{name} is no operator any more"),
        (false, false) => format!("{name} is no operator"),
    });
    Ok(())
}

/// Answers whether that was a change. Whoever works on other tenants on this one's behalf holds its row until that is done.
async fn set_operator(
    connection: &mut PgConnection,
    tenant: &Tenant,
    operator: bool,
    now: OffsetDateTime,
) -> Result<bool, DatabaseError> {
    let mut transaction = connection.begin().await?;
    let changed = sqlx::query!(
        "update tenants set operator = $2 where id = $1 and operator <> $2",
        tenant.id,
        operator
    )
    .execute(&mut *transaction)
    .await?
    .rows_affected()
        == 1;
    if changed {
        let action = if operator { "tenants.appoint" } else { "tenants.dismiss" };
        let mut entry = operator_entry(tenant.id, action, Some(json!({ "operator": operator })), now);
        entry.target = Some(tenant.id.to_string());
        entry.before = Some(json!({ "operator": !operator }));
        audit::record(&mut transaction, entry).await?;
    }
    transaction.commit().await?;
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::{super::find, set_operator};
    use crate::{api::testing::TestApp, clock::Clock};

    #[tokio::test]
    async fn a_tenant_is_appointed_and_dismissed_and_both_are_audited() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let mut connection = app.database().pools().system().acquire().await.unwrap();
        let tenant = find(&mut connection, "test").await.unwrap();
        assert!(!tenant.operator, "by default nobody is one");
        let now = app.clock.now();
        for (operator, status) in [(true, 200), (false, 403)] {
            assert!(set_operator(&mut connection, &tenant, operator, now).await.unwrap());
            assert!(!set_operator(&mut connection, &tenant, operator, now).await.unwrap());
            let target = format!("/api/admin/tenants/{}", tenant.id);
            let answer = app.patch_as(&token, &target, &serde_json::json!({}), None).await;
            assert_eq!(answer.status, status, "{}", answer.text());
        }
        let audited = "select count(*) from audit_logs where action in ('tenants.appoint', 'tenants.dismiss')
                       and before <> after";
        assert_eq!(app.count(audited).await, 2);
    }
}
