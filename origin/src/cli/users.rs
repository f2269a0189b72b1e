//! `kado users list|password`: who there is, and a new password for whom nobody else can give one to.

use clap::Subcommand;
use futures_util::TryStreamExt;
use kado_shared::tenant::TenantId;
use serde_json::json;
use sqlx::{Connection, PgConnection};
use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
    process::ExitCode,
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    CommandError,
    connect::DatabaseArgs,
    say,
    settings::{first_line, tenant_of},
    tenants::parse_email,
};
use crate::{
    audit::Actor,
    clock::{Clock, SystemClock},
    database::DatabaseError,
    entropy::SystemEntropy,
    identity::{
        first_password::FirstPassword,
        reset::{Reset, reset},
    },
};

/// Flags of `kado users`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show every user, oldest first: address, role, state, when they came.
    List {
        /// One JSON object {id, email, role, active, mustChangePassword, createdAt} a line.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        scope: Scope,
    },
    /// Set a user's password, to be changed at the next sign-in, and end their sessions: at the origin at once, at every edge
    /// within 5 s.
    Password {
        /// Address of the user.
        #[arg(value_name = "ADDRESS")]
        address: String,
        /// File whose first line it is, `-` for standard input; without one it is drawn, and printed once.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        #[command(flatten)]
        scope: Scope,
    },
}

#[derive(Debug, clap::Args)]
struct Scope {
    /// A host of the tenant concerned.
    #[arg(long, value_name = "HOST")]
    tenant: String,
    #[command(flatten)]
    database: DatabaseArgs,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode, CommandError> {
    match args.action {
        Action::List { json, scope } => {
            let mut connection = scope.database.connect_as_system("users list").await?;
            let tenant = tenant_of(&mut connection, &scope.tenant).await?;
            list(&mut connection, tenant, json, say).await?;
        }
        Action::Password {
            address,
            password_file,
            scope,
        } => {
            let given = password_file.as_deref().map(read_password).transpose()?;
            let new = FirstPassword::choose(given, &SystemEntropy)
                .map_err(|detail| CommandError::Configuration(format!("the password {detail}")))?;
            let mut connection = scope.database.connect_as_system("users password").await?;
            let ended = set_password(&mut connection, &scope.tenant, &address, &new, SystemClock.now()).await?;
            say(&format!("{address} has a new password; ended {ended} sessions"));
            if let Some(drawn) = new.drawn() {
                say(&format!(
                    "password (shown once, to be changed at the next sign-in): {drawn}"
                ));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn read_password(path: &Path) -> Result<String, CommandError> {
    if path.as_os_str() == "-" {
        return Ok(first_line(std::io::stdin().lock()));
    }
    let file = File::open(path)
        .map_err(|error| CommandError::Configuration(format!("{} cannot be read: {error}", path.display())))?;
    Ok(first_line(BufReader::new(file)))
}

async fn list(
    connection: &mut PgConnection,
    tenant: TenantId,
    as_json: bool,
    mut tell: impl FnMut(&str),
) -> Result<(), DatabaseError> {
    let mut rows = sqlx::query!(
        "select id, email, role, active, must_change_password, created_at from users
         where tenant_id = $1 order by created_at, id",
        tenant.0
    )
    .fetch(connection);
    while let Some(row) = rows.try_next().await? {
        let created_at = row.created_at.format(&Rfc3339).unwrap_or_default();
        if as_json {
            let user = json!({
                "id": row.id,
                "email": row.email,
                "role": row.role,
                "active": row.active,
                "mustChangePassword": row.must_change_password,
                "createdAt": created_at,
            });
            tell(&user.to_string());
        } else {
            let state = if row.active { "active" } else { "disabled" };
            tell(&format!("{} {:7} {state:8} {created_at}", row.email, row.role));
        }
    }
    Ok(())
}

/// Answers how many sessions it ended.
async fn set_password(
    connection: &mut PgConnection,
    host: &str,
    address: &str,
    new: &FirstPassword,
    now: OffsetDateTime,
) -> Result<u64, CommandError> {
    let email = parse_email(address)?;
    let hash = new.hash_now().map_err(|error| CommandError::failed(&error))?;
    let nobody = || {
        CommandError::Configuration(format!(
            "{host} has no user {}; see `kado users list --tenant {host}`",
            email.as_str()
        ))
    };
    let mut transaction = connection.begin().await.map_err(DatabaseError::from)?;
    let tenant = tenant_of(&mut transaction, host).await?;
    let user = sqlx::query_scalar!(
        "select id from users where tenant_id = $1 and email = $2",
        tenant.0,
        email.as_str()
    )
    .fetch_optional(&mut *transaction)
    .await
    .map_err(DatabaseError::from)?
    .ok_or_else(nobody)?;
    let done = Reset {
        tenant,
        user,
        hash: &hash,
        at: now,
        actor: Actor::Operator,
        request_id: None,
        client_ip: None,
    };
    let ended = reset(&mut transaction, done).await?.ok_or_else(nobody)?;
    transaction.commit().await.map_err(DatabaseError::from)?;
    Ok(ended)
}

#[cfg(test)]
mod tests {
    use super::{list, read_password, set_password};
    use crate::{
        api::testing::TestApp, clock::Clock, entropy::testing::CountingEntropy, identity::first_password::FirstPassword,
    };
    use serde_json::{Value, json};

    #[tokio::test(flavor = "multi_thread")]
    async fn the_last_administrator_comes_in_again() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let mut connection = app.database().pools().system().acquire().await.unwrap();
        let new = FirstPassword::choose(None, &CountingEntropy::default()).unwrap();
        let now = app.clock.now();
        for (host, address, told) in [
            ("localhost", "nobody@localhost", "kado users list"),
            ("elsewhere", "admin@localhost", "elsewhere"),
            ("localhost", "nobody", "nobody"),
        ] {
            let refused = set_password(&mut connection, host, address, &new, now)
                .await
                .unwrap_err();
            assert!(
                refused.to_string().contains(told) && refused.exit_code() == 64,
                "{refused}"
            );
        }
        let ended = set_password(&mut connection, "LOCALHOST:80", " Admin@localhost", &new, now).await;
        assert_eq!(ended.unwrap(), 1);
        assert_eq!(app.get_as(&token, "/api/auth/me").await.status, 401);
        let login = |password: &str| {
            app.post_owned(
                "/api/auth/login",
                json!({"email": "admin@localhost", "password": password}),
            )
        };
        assert_eq!(login(TestApp::PASSWORD).await.status, 401);
        let entered = login(new.secret.expose()).await;
        assert_eq!(entered.json()["user"]["mustChangePassword"], true, "{}", entered.text());
        let audited = "select count(*) from audit_logs where action = 'user.password-reset' and actor = 'operator'
                       and tenant_id is not null and after ->> 'endedSessions' = '1'";
        assert_eq!(app.count(audited).await, 1);
    }

    #[tokio::test]
    async fn every_user_of_the_tenant_has_a_line_and_no_other() {
        let Some(app) = TestApp::start().await else { return };
        app.execute(
            "with other as (insert into tenants (name) values ('other') returning id)
             insert into users (tenant_id, email, password_hash) select id, 'foreign@localhost', '' from other",
        )
        .await;
        app.execute(
            "insert into users (tenant_id, email, password_hash, active, created_at)
             select id, 'old@localhost', '', false, '2020-01-01T00:00:00Z' from tenants where name = 'test'",
        )
        .await;
        let mut connection = app.database().pools().system().acquire().await.unwrap();
        let (mut lines, mut objects) = (Vec::new(), Vec::new());
        list(&mut connection, app.tenant, false, |line| lines.push(line.to_owned()))
            .await
            .unwrap();
        list(&mut connection, app.tenant, true, |line| objects.push(line.to_owned()))
            .await
            .unwrap();
        assert_eq!((lines.len(), objects.len()), (2, 2));
        assert_eq!(lines[0], "old@localhost USER    disabled 2020-01-01T00:00:00Z");
        assert!(lines[1].starts_with("admin@localhost ADMIN   active   "));
        let first: Value = serde_json::from_str(&objects[0]).unwrap();
        assert_eq!(
            (&first["email"], &first["active"], &first["createdAt"]),
            (&json!("old@localhost"), &json!(false), &json!("2020-01-01T00:00:00Z"))
        );
        assert!(first.get("passwordHash").is_none());
    }

    #[test]
    fn a_password_is_the_first_line_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        assert!(read_password(&file).is_err());
        std::fs::write(&file, "long enough\r\nmore\n").unwrap();
        assert_eq!(read_password(&file).unwrap(), "long enough");
    }
}
