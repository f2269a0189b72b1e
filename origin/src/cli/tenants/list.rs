//! `kado tenants list`.

use serde_json::{Value, json};
use sqlx::PgConnection;
use time::format_description::well_known::Rfc3339;

use crate::{
    cli::{CommandError, connect::DatabaseArgs, say},
    database::DatabaseError,
};

/// Flags of `kado tenants list`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Answer a JSON list of {id, name, active, operator, hosts, users, images, createdAt}.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: DatabaseArgs,
}

pub(super) async fn run(args: &Args) -> Result<(), CommandError> {
    let mut connection = args.database.connect_as_system("tenants list").await?;
    let tenants = list(&mut connection).await?;
    if args.json {
        say(&Value::from(tenants).to_string());
        return Ok(());
    }
    for tenant in tenants {
        let state = if tenant["active"] == true {
            "active"
        } else {
            "suspended"
        };
        let hosts: Vec<_> = tenant["hosts"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let operator = if tenant["operator"] == true { ", operator" } else { "" };
        say(&format!(
            "{} {state:9} {}  {}  {} users, {} pictures{operator}",
            tenant["id"].as_str().unwrap_or_default(),
            tenant["name"].as_str().unwrap_or_default(),
            hosts.join(", "),
            tenant["users"],
            tenant["images"],
        ));
    }
    Ok(())
}

async fn list(connection: &mut PgConnection) -> Result<Vec<Value>, DatabaseError> {
    let rows = sqlx::query!(
        r#"select id, name, active, operator, created_at,
                  array(select host from tenant_hosts h where h.tenant_id = t.id order by host) as "hosts!",
                  (select count(*) from users u where u.tenant_id = t.id) as "users!",
                  (select count(*) from images i where i.tenant_id = t.id) as "images!"
           from tenants t order by created_at, id"#
    )
    .fetch_all(connection)
    .await?;
    let view = rows.into_iter().map(|row| {
        json!({
            "id": row.id,
            "name": row.name,
            "active": row.active,
            "operator": row.operator,
            "hosts": row.hosts,
            "users": row.users,
            "images": row.images,
            "createdAt": row.created_at.format(&Rfc3339).unwrap_or_default(),
        })
    });
    Ok(view.collect())
}

#[cfg(test)]
mod tests {
    use super::list;
    use crate::api::testing::{TestApp, png};
    use serde_json::json;

    #[tokio::test(flavor = "multi_thread")]
    async fn every_tenant_is_shown_with_what_it_has() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        app.upload(&token, png(4, 4)).await;
        app.execute("insert into tenants (name, active, created_at) values ('older', false, '2020-01-01T00:00:00Z')")
            .await;
        let mut connection = app.database().pools().system().acquire().await.unwrap();
        let listed = list(&mut connection).await.unwrap();
        assert_eq!(
            (
                &listed[0]["name"],
                &listed[0]["active"],
                &listed[0]["hosts"],
                &listed[0]["createdAt"]
            ),
            (
                &json!("older"),
                &json!(false),
                &json!([]),
                &json!("2020-01-01T00:00:00Z")
            )
        );
        assert_eq!(
            (&listed[0]["operator"], &listed[1]["operator"]),
            (&json!(false), &json!(false))
        );
        assert_eq!(
            (&listed[1]["hosts"], &listed[1]["users"], &listed[1]["images"]),
            (&json!(["localhost"]), &json!(1), &json!(1))
        );
    }
}
