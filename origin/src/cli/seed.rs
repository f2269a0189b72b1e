//! `kado seed`: what a fresh database needs before it can serve. Repeated, it adds what is missing and changes nothing.

use kado_shared::{secret::Secret, settings::SETTINGS};
use serde_json::Value;
use sqlx::{Connection, PgConnection};
use std::{
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    CommandError,
    configuration::check_secret,
    connect::DatabaseArgs,
    say,
    tenants::{choose_password, faults, parse_email},
};
use crate::{
    clock::{Clock, SystemClock},
    database::DatabaseError,
    entropy::SystemEntropy,
    identity::{email::Email, first_password::FirstPassword, keyring},
    seal::{Purpose, Sealer},
    tenants::{
        Author,
        create::{Credentials, NewTenant, check_hosts, insert_admin, insert_hosts, insert_tenant},
    },
};

/// Name of the first tenant.
const DEFAULT_TENANT: &str = "default";
/// Holds a second `kado seed` off; any number of ours.
const ADVISORY_LOCK: i64 = 0x6B61_646F_0003;

/// Flags of `kado seed`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    database: DatabaseArgs,
    /// Secrets that seal what is secret in the database, newest first, comma-separated, 32 bytes or more each.
    #[arg(
        long,
        env = "JWT_SECRET",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    jwt_secret: String,
    /// Host of the default tenant; may be repeated.
    #[arg(long = "host", value_name = "HOST", default_values = ["localhost", "127.0.0.1"])]
    hosts: Vec<String>,
    /// Address of the first administrator.
    #[arg(long, value_name = "ADDRESS", default_value = "admin@localhost")]
    admin_email: String,
    /// Password of the first administrator, which needs no change; a random one where none is given.
    #[arg(long, env = "KADO_ADMIN_PASSWORD", hide_env_values = true, value_name = "PASSWORD")]
    admin_password: Option<String>,
    /// File for a random password, made with mode 0600; it must not exist yet.
    #[arg(long, value_name = "FILE")]
    admin_password_file: Option<PathBuf>,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode, CommandError> {
    let secret = Secret::new(&args.jwt_secret);
    check_secret("JWT_SECRET", &secret).map_err(CommandError::Configuration)?;
    let hosts = check_hosts(&args.hosts).map_err(|errors| faults(&errors))?;
    let email = parse_email(&args.admin_email)?;
    let password = choose_password(args.admin_password)?;
    let sealer = Sealer::new(&secret, Purpose::SIGNING_KEYS);
    let mut connection = args.database.connect_as_system("seed").await?;
    let now = SystemClock.now();

    let mut transaction = connection.begin().await.map_err(DatabaseError::from)?;
    let seeded = seed(&mut transaction, &hosts, &email, &password, now).await?;
    let kid = keyring::create_first(&mut transaction, &sealer, &SystemEntropy, now)
        .await
        .map_err(|error| CommandError::failed(&error))?;
    // Before the commit: a password that nobody can read must not be the one.
    if seeded.admin
        && password.random
        && let Some(file) = &args.admin_password_file
    {
        write_password(file, &password)?;
    }
    transaction.commit().await.map_err(DatabaseError::from)?;
    tell(
        &seeded,
        kid.as_deref(),
        &email,
        &password,
        args.admin_password_file.as_deref(),
    );
    Ok(ExitCode::SUCCESS)
}

/// What was missing and is there now.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seeded {
    tenant: bool,
    hosts: Vec<String>,
    settings: usize,
    admin: bool,
}

async fn seed(
    connection: &mut PgConnection,
    hosts: &[String],
    email: &Email,
    password: &FirstPassword,
    now: OffsetDateTime,
) -> Result<Seeded, CommandError> {
    sqlx::query!(r#"select pg_advisory_xact_lock($1)::text as "locked""#, ADVISORY_LOCK)
        .fetch_one(&mut *connection)
        .await
        .map_err(DatabaseError::from)?;
    let mut seeded = Seeded::default();
    let new = NewTenant {
        name: DEFAULT_TENANT.to_owned(),
        hosts: hosts.to_vec(),
        admin: email.clone(),
        operator: false,
    };
    let tenant = default_tenant(connection, &new, now, &mut seeded).await?;
    for host in hosts {
        let known = sqlx::query_scalar!("select tenant_id from tenant_hosts where host = $1", host)
            .fetch_optional(&mut *connection)
            .await
            .map_err(DatabaseError::from)?;
        match known {
            None => {
                insert_hosts(connection, tenant, std::slice::from_ref(host), now).await?;
                seeded.hosts.push(host.clone());
            }
            Some(owner) if owner == tenant => {}
            Some(_) => {
                return Err(CommandError::Configuration(format!(
                    "{host} is taken by another tenant"
                )));
            }
        }
    }
    for setting in SETTINGS.iter().filter(|setting| !setting.secret) {
        let default: Value = serde_json::from_str(setting.default).map_err(|error| CommandError::failed(&error))?;
        let inserted = sqlx::query!(
            "insert into system_settings (tenant_id, name, value, updated_at) values (null, $1, $2, $3) on conflict do nothing",
            setting.name,
            default,
            now,
        )
        .execute(&mut *connection)
        .await
        .map_err(DatabaseError::from)?;
        seeded.settings += usize::from(inserted.rows_affected() == 1);
    }
    let has_admin = sqlx::query_scalar!(
        r#"select exists (select from users where tenant_id = $1 and role = 'ADMIN') as "exists!""#,
        tenant
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(DatabaseError::from)?;
    if !has_admin {
        let hash = password.hash_now().map_err(|error| CommandError::failed(&error))?;
        let credentials = Credentials {
            hash: &hash,
            must_change: password.random,
        };
        insert_admin(connection, tenant, email, credentials, now).await?;
        seeded.admin = true;
    }
    Ok(seeded)
}

async fn default_tenant(
    connection: &mut PgConnection,
    new: &NewTenant,
    now: OffsetDateTime,
    seeded: &mut Seeded,
) -> Result<Uuid, DatabaseError> {
    let known = sqlx::query_scalar!("select id from tenants where name = $1", new.name)
        .fetch_optional(&mut *connection)
        .await?;
    if let Some(id) = known {
        return Ok(id);
    }
    seeded.tenant = true;
    insert_tenant(connection, new, Author::Shell, now).await
}

fn write_password(file: &Path, password: &FirstPassword) -> Result<(), CommandError> {
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .and_then(|mut open| writeln!(open, "{}", password.secret.expose()));
    written.map_err(|error| {
        CommandError::Configuration(format!(
            "the password file {} cannot be made: {error}; nothing was seeded",
            file.display()
        ))
    })
}

fn tell(seeded: &Seeded, kid: Option<&str>, email: &Email, password: &FirstPassword, file: Option<&Path>) {
    if seeded.tenant {
        say(&format!("made the tenant {DEFAULT_TENANT}"));
    }
    if !seeded.hosts.is_empty() {
        say(&format!("added the hosts {}", seeded.hosts.join(", ")));
    }
    if seeded.settings > 0 {
        say(&format!("added {} settings", seeded.settings));
    }
    if let Some(kid) = kid {
        say(&format!("made the signing key {kid}"));
    }
    if seeded.admin {
        say(&format!("made the administrator {}", email.as_str()));
        if password.random {
            say(&format!(
                "password (shown once, to be changed at the first sign-in): {}",
                password.secret.expose()
            ));
            if let Some(file) = file {
                say(&format!("it is also in {}", file.display()));
            }
        }
    }
    if *seeded == Seeded::default() && kid.is_none() {
        say("nothing to do");
    }
}

#[cfg(test)]
mod tests {
    use super::{FirstPassword, Seeded, seed, write_password};
    use crate::{
        clock::{Clock, testing::ManualClock},
        entropy::testing::CountingEntropy,
        identity::email::Email,
        testing::TestDatabase,
    };
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn it_adds_what_is_missing_and_no_more() {
        let Some(database) = TestDatabase::create().await else {
            return;
        };
        let mut connection = database.pools().system().acquire().await.unwrap();
        let password = FirstPassword::choose(None, &CountingEntropy::default()).unwrap();
        let (email, hosts) = (
            Email::parse("admin@localhost").unwrap(),
            ["localhost".to_owned(), "127.0.0.1".to_owned()],
        );
        let now = ManualClock::default().now();
        let first = seed(&mut connection, &hosts, &email, &password, now).await.unwrap();
        assert!(
            first.tenant && first.admin && first.hosts == hosts && first.settings > 10,
            "{first:?}"
        );
        let presets = async || {
            let count = "select count(*) from presets where name <> 'gofood'";
            sqlx::query_scalar::<_, i64>(count)
                .fetch_one(database.superuser())
                .await
                .unwrap()
        };
        assert_eq!(presets().await, 5);
        // What an administrator has deleted stays deleted.
        sqlx::query("delete from presets where name in ('gofood', 'general')")
            .execute(database.superuser())
            .await
            .unwrap();
        let second = seed(&mut connection, &hosts, &email, &password, now).await.unwrap();
        assert_eq!(second, Seeded::default());
        assert_eq!(presets().await, 4);
        let must_change: bool = sqlx::query_scalar("select must_change_password from users")
            .fetch_one(database.superuser())
            .await
            .unwrap();
        assert!(must_change);
    }

    #[test]
    fn the_password_file_is_for_its_owner_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        let password = FirstPassword::choose(None, &CountingEntropy::default()).unwrap();
        write_password(&file, &password).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap().trim(), password.secret.expose());
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(write_password(&file, &password).is_err());
    }
}
