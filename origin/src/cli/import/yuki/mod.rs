//! `kado import yuki`: what the system before this one has, into one tenant, in one transaction.
//!
//! Its schema is Prisma's: tables `users`, `system_settings`, .. with columns in camelCase, identifiers that are texts, times
//! without a zone that are UTC. Each part answers what it took, what was here already, and what it left and why; one that is
//! added is a file here and a line in [`import`].

mod content;
mod settings;
mod usage;
mod users;

use kado_shared::{secret::Secret, tenant::TenantId};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::{ConnectOptions, Connection, PgConnection};
use time::OffsetDateTime;
use url::Url;
use uuid::{Builder, Uuid};

use crate::{
    audit::{self, Actor, Entry},
    cli::{CommandError, connect::DatabaseArgs, say, settings::tenant_of},
    clock::{Clock, SystemClock},
    database::{DatabaseError, options},
};

/// Flags of `kado import yuki`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Address of the old database, as its application has it; it is only read.
    #[arg(env = "YUKI_DATABASE_URL", hide_env_values = true, value_name = "DATABASE_URL")]
    source: String,
    /// A host of the tenant that everything goes to.
    #[arg(long, value_name = "HOST")]
    tenant: String,
    /// Change nothing; say what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Answer one JSON object {dryRun, parts: [{part, taken, already, skipped: [{what, why}]}], left: [{table, rows, why}]}.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// Tables that nothing is taken of, and why.
const LEFT: &[(&str, &str)] = &[
    ("sessions", "everybody signs in again, with the same password"),
    (
        "api_keys",
        "they are kept in clear there; make new ones with POST /api/admin/api-keys",
    ),
    (
        "audit_logs",
        "they are the old system's record: keep them with its last dump",
    ),
    ("image_processings", "they tell of pictures that were never kept"),
    ("food_images", "they tell of pictures that are not in the database"),
    ("campaigns", "this version plans no campaigns"),
    ("scheduled_contents", "this version plans no campaigns"),
    ("social_accounts", "this version posts nothing elsewhere"),
    ("campaign_analytics", "this version plans no campaigns"),
];

/// What came of one part.
#[derive(Debug, Default, PartialEq, Eq)]
struct Part {
    name: &'static str,
    taken: u64,
    /// From an earlier time.
    already: u64,
    skipped: Vec<Skipped>,
}

/// One thing that was not taken.
#[derive(Debug, PartialEq, Eq)]
struct Skipped {
    what: String,
    why: String,
}

impl Part {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            ..Self::default()
        }
    }

    fn skip(&mut self, what: &str, why: impl Into<String>) {
        self.skipped.push(Skipped {
            what: what.chars().filter(|c| !c.is_control()).take(100).collect(),
            why: why.into(),
        });
    }
}

/// A table that nothing was taken of.
#[derive(Debug, PartialEq, Eq)]
struct LeftTable {
    table: &'static str,
    rows: i64,
    why: &'static str,
}

/// What was done.
#[derive(Debug)]
struct Report {
    parts: Vec<Part>,
    left: Vec<LeftTable>,
}

pub(super) async fn run(args: &Args) -> Result<(), CommandError> {
    let mut source = connect(&args.source).await?;
    let mut target = args.database.connect_as_system("import yuki").await?;
    let tenant = tenant_of(&mut target, &args.tenant).await?;
    let mut transaction = target.begin().await.map_err(DatabaseError::from)?;
    let report = import(&mut source, &mut transaction, tenant, SystemClock.now()).await?;
    if args.dry_run {
        transaction.rollback().await.map_err(DatabaseError::from)?;
    } else {
        transaction.commit().await.map_err(DatabaseError::from)?;
    }
    tell(&report, args);
    Ok(())
}

/// Prisma's addresses name the schema in a parameter of its own.
async fn connect(address: &str) -> Result<PgConnection, CommandError> {
    let parsed = Url::parse(address).ok();
    let schema = parsed.and_then(|url| {
        let mut pairs = url.query_pairs();
        pairs
            .find(|(name, _)| name == "schema")
            .map(|(_, schema)| schema.into_owned())
    });
    let options = options(&Secret::new(address), "the old database's address", "kado import yuki")?
        .options([("default_transaction_read_only", "on"), ("statement_timeout", "0")]);
    let mut source = options.connect().await.map_err(DatabaseError::from)?;
    let schema = schema.unwrap_or_else(|| "public".to_owned());
    sqlx::query("select set_config('search_path', quote_ident($1), false)")
        .bind(schema)
        .execute(&mut source)
        .await
        .map_err(DatabaseError::from)?;
    Ok(source)
}

/// Takes over what there is. Both transactions are the caller's to end.
async fn import(
    source: &mut PgConnection,
    target: &mut PgConnection,
    tenant: TenantId,
    now: OffsetDateTime,
) -> Result<Report, CommandError> {
    sqlx::raw_sql("begin isolation level repeatable read read only")
        .execute(&mut *source)
        .await
        .map_err(DatabaseError::from)?;
    require_schema(source).await?;
    let left = left(source).await?;
    let parts = vec![
        users::take(source, target, tenant, now).await?,
        content::take(source, target, tenant, now).await?,
        usage::take(source, target, tenant, now).await?,
        // Last: edges are told of settings, and whoever else has something to tell them waits from the first one on.
        settings::take(source, target, tenant, now).await?,
    ];
    sqlx::raw_sql("rollback")
        .execute(source)
        .await
        .map_err(DatabaseError::from)?;
    let counts = parts.iter().map(|part| {
        (
            part.name.to_owned(),
            json!({ "taken": part.taken, "skipped": part.skipped.len() }),
        )
    });
    let entry = Entry {
        tenant: Some(tenant.0),
        at: now,
        actor: Actor::Operator,
        action: "import.yuki",
        target: None,
        before: None,
        after: Some(Value::Object(counts.collect())),
        request_id: None,
        client_ip: None,
    };
    audit::record(target, entry).await?;
    Ok(Report { parts, left })
}

/// Tells another database from the old system's before anything is read of it.
async fn require_schema(source: &mut PgConnection) -> Result<(), CommandError> {
    const WANTED: &[(&str, &str)] = &[
        ("users", "passwordHash"),
        ("users", "isActive"),
        ("system_settings", "key"),
        ("system_settings", "category"),
    ];
    for (table, column) in WANTED {
        if !has_column(source, table, column).await? {
            return Err(CommandError::Configuration(format!(
                "this is not the old system's database: it has no table {table} with a column {column}"
            )));
        }
    }
    Ok(())
}

async fn has_column(source: &mut PgConnection, table: &str, column: &str) -> Result<bool, DatabaseError> {
    let there = sqlx::query_scalar(
        "select exists (select from pg_attribute where attrelid = to_regclass($1) and attname = $2 and not attisdropped)",
    )
    .bind(table)
    .bind(column)
    .fetch_one(source)
    .await?;
    Ok(there)
}

async fn left(source: &mut PgConnection) -> Result<Vec<LeftTable>, CommandError> {
    let mut left = Vec::new();
    for (table, why) in LEFT {
        let there: bool = sqlx::query_scalar("select to_regclass($1) is not null")
            .bind(table)
            .fetch_one(&mut *source)
            .await
            .map_err(DatabaseError::from)?;
        if !there {
            continue;
        }
        let rows = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("select count(*) from {table}")))
            .fetch_one(&mut *source)
            .await
            .map_err(DatabaseError::from)?;
        left.push(LeftTable { table, rows, why });
    }
    Ok(left)
}

/// The identifier here of something there: the same each time, so that a second import knows what the first one took.
fn identifier(kind: &str, old: &str) -> Uuid {
    let hash = Sha256::digest(format!("kado import yuki\0{kind}\0{old}"));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(hash.get(..16).unwrap_or(&[0; 16]));
    Builder::from_custom_bytes(bytes).into_uuid()
}

fn tell(report: &Report, args: &Args) {
    if args.json {
        say(&to_json(report, args.dry_run).to_string());
        return;
    }
    for part in &report.parts {
        let Part {
            name,
            taken,
            already,
            skipped,
        } = part;
        say(&format!(
            "{name}: {taken} taken, {already} here already, {} skipped",
            skipped.len()
        ));
        for Skipped { what, why } in skipped {
            say(&format!("  {what}: {why}"));
        }
    }
    for LeftTable { table, rows, why } in &report.left {
        say(&format!("{table}: {rows} rows left, {why}"));
    }
    if args.dry_run {
        say("nothing was changed: this was a dry run");
    }
}

fn to_json(report: &Report, dry_run: bool) -> Value {
    let parts = report.parts.iter().map(|part| {
        let skipped = part
            .skipped
            .iter()
            .map(|skipped| json!({ "what": skipped.what, "why": skipped.why }));
        json!({ "part": part.name, "taken": part.taken, "already": part.already, "skipped": Value::from_iter(skipped) })
    });
    let left = report
        .left
        .iter()
        .map(|left| json!({ "table": left.table, "rows": left.rows, "why": left.why }));
    json!({ "dryRun": dry_run, "parts": Value::from_iter(parts), "left": Value::from_iter(left) })
}

#[cfg(test)]
mod tests {
    use super::{Report, import, to_json};
    use crate::{api::testing::TestApp, clock::Clock, identity::password::bcrypt_cost};
    use serde_json::json;
    use sqlx::{AssertSqlSafe, Connection, PgConnection};

    /// The old system's tables, as its migrations make them, with rows of every kind.
    pub(super) async fn old_system(app: &TestApp) {
        let hash = bcrypt::hash_with_salt("a long old password", 5, [7; 16])
            .unwrap()
            .to_string();
        assert_eq!(bcrypt_cost(&hash), Some(5));
        app.execute("create schema yuki").await;
        app.execute(r#"create type yuki."Role" as enum ('USER', 'ADMIN', 'PREMIUM')"#)
            .await;
        app.execute(
            r#"create table yuki.users (id text primary key, email text not null unique, username text unique,
               "passwordHash" text not null, role yuki."Role" not null default 'USER', "isActive" boolean not null default true,
               preferences jsonb, "createdAt" timestamp(3) not null default current_timestamp,
               "updatedAt" timestamp(3) not null default current_timestamp, "lastLoginAt" timestamp(3))"#,
        )
        .await;
        app.execute(
            r#"create table yuki.system_settings (id text primary key default gen_random_uuid(), key text not null unique,
               value jsonb not null, description text, category text, "createdAt" timestamp(3) default current_timestamp,
               "updatedAt" timestamp(3) default current_timestamp)"#,
        )
        .await;
        app.execute("create type yuki.\"SiteContentType\" as enum ('TEXT', 'HTML', 'URL', 'IMAGE', 'JSON')")
            .await;
        app.execute(
            r#"create table yuki.site_contents (id text primary key, section text not null, key text not null,
               value text not null, "valueType" yuki."SiteContentType" not null default 'TEXT', label text, description text,
               category text, "sortOrder" integer, "createdAt" timestamp(3) not null default current_timestamp,
               "updatedAt" timestamp(3) not null default current_timestamp, unique (section, key))"#,
        )
        .await;
        app.execute(
            "create type yuki.\"UsageAction\" as enum
             ('IMAGE_PROCESS', 'COPY_GENERATE', 'API_CALL', 'FOOD_OPTIMIZE', 'CAMPAIGN_CREATE', 'CONTENT_GENERATE')",
        )
        .await;
        app.execute(
            r#"create table yuki.usage_records (id text primary key default gen_random_uuid(), "userId" text references yuki.users (id),
               action yuki."UsageAction" not null, count integer not null default 1, "periodStart" timestamp(3) not null,
               "periodEnd" timestamp(3) not null default current_timestamp,
               "createdAt" timestamp(3) not null default current_timestamp,
               "updatedAt" timestamp(3) not null default current_timestamp)"#,
        )
        .await;
        app.execute("create table yuki.sessions as select 'a' as id union all select 'b'")
            .await;
        app.execute(&format!(
            r#"insert into yuki.users (id, email, "passwordHash", role, "isActive", "createdAt") values
               ('c1', 'Mixed.Case@Example.com', '{hash}', 'PREMIUM', true, '2025-09-25 06:45:43.098'),
               ('c2', 'mixed.case@example.com', '{hash}', 'USER', true, '2025-09-26'),
               ('c3', 'gone@example.com', '{hash}', 'USER', false, '2025-09-27'),
               ('c4', 'admin@localhost', '{hash}', 'ADMIN', true, '2025-09-28'),
               ('c5', 'plain@example.com', 'plaintext', 'USER', true, '2025-09-29'),
               ('c6', 'no address', '{hash}', 'USER', true, '2025-09-30'),
               ('c7', 'costly@example.com', replace('{hash}', '$05$', '$13$'), 'USER', true, '2025-10-01')"#
        ))
        .await;
        app.execute(
            r#"insert into yuki.system_settings (key, value) values ('maxFileSize', '10485760'), ('sessionTimeout', '{"value": 45}'),
               ('allowRegistration', '{"value": true}'), ('corsOrigins', '{"value": "*"}'), ('geminiApiKey', '"a-secret-key"'),
               ('maintenanceMode', 'false'), ('rateLimit', '{"value": 100}')"#,
        )
        .await;
    }

    pub(super) async fn take(app: &TestApp, keep: bool) -> Report {
        let mut source = app.database().superuser().acquire().await.unwrap();
        set_path(&mut source, "yuki").await;
        let mut target = app.database().pools().system().acquire().await.unwrap();
        let mut transaction = target.begin().await.unwrap();
        let report = import(&mut source, &mut transaction, app.tenant, app.clock.now())
            .await
            .unwrap();
        if keep {
            transaction.commit().await.unwrap();
        }
        set_path(&mut source, "public").await;
        report
    }

    async fn set_path(connection: &mut PgConnection, path: &str) {
        sqlx::query(AssertSqlSafe(format!("set search_path = {path}")))
            .execute(connection)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn users_and_settings_are_taken_once_and_what_is_not_is_told() {
        let Some(app) = TestApp::start().await else { return };
        old_system(&app).await;
        let dry = take(&app, false).await;
        assert_eq!(app.count("select count(*) from users").await, 1, "nothing was kept");
        let report = take(&app, true).await;
        assert_eq!(to_json(&dry, true)["parts"], to_json(&report, true)["parts"]);
        let told = to_json(&report, false);
        assert_eq!(
            (&told["parts"][0]["taken"], &told["parts"][3]["taken"]),
            (&json!(2), &json!(3)),
            "{told}"
        );
        let why = |part: usize, what: &str| {
            let skipped = told["parts"][part]["skipped"].as_array().unwrap();
            let one = skipped.iter().find(|one| one["what"] == what);
            one.unwrap_or_else(|| panic!("{what}: {told}"))["why"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        assert!(why(0, "mixed.case@example.com").contains("another user"));
        assert!(why(0, "admin@localhost").contains("another user"));
        assert!(why(0, "plain@example.com").contains("bcrypt"));
        assert!(why(0, "costly@example.com").contains("cost 13, and 12 is the most"));
        assert!(why(0, "no address").contains("name@example.com"));
        assert!(why(3, "corsOrigins").contains("exact"));
        assert!(why(3, "rateLimit").contains("limitApi"));
        assert!(why(3, "geminiApiKey").contains("no such setting"));
        assert!(!told.to_string().contains("a-secret-key"), "values are not told");
        assert_eq!(
            told["left"],
            json!([{"table": "sessions", "rows": 2, "why": "everybody signs in again, with the same password"}])
        );

        let rows: Vec<(String, String, bool, String)> = sqlx::query_as(
            "select email, role, active, created_at::text from users where password_hash like '$2%' order by email",
        )
        .fetch_all(app.database().superuser())
        .await
        .unwrap();
        let [gone, mixed] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!((gone.0.as_str(), gone.2), ("gone@example.com", false));
        assert_eq!(
            (mixed.0.as_str(), mixed.1.as_str()),
            ("mixed.case@example.com", "PREMIUM")
        );
        assert!(mixed.3.starts_with("2025-09-25 06:45:43.098"), "{}", mixed.3);
        let settings: Vec<(String, serde_json::Value)> =
            sqlx::query_as("select name, value from system_settings where tenant_id is not null order by name")
                .fetch_all(app.database().superuser())
                .await
                .unwrap();
        let wanted = [
            ("allowRegistration", json!(true)),
            ("maxFileSize", json!(10_485_760)),
            ("sessionTimeout", json!(2700)),
        ];
        assert_eq!(settings, wanted.map(|(name, value)| (name.to_owned(), value)));

        let again = to_json(&take(&app, true).await, false);
        for part in [0, 3] {
            assert_eq!(again["parts"][part]["taken"], 0, "{again}");
            assert_eq!(again["parts"][part]["already"], told["parts"][part]["taken"], "{again}");
            assert_eq!(again["parts"][part]["skipped"], told["parts"][part]["skipped"]);
        }
    }

    #[tokio::test]
    async fn an_old_password_counts_once_and_is_hashed_anew() {
        let Some(app) = TestApp::start().await else { return };
        old_system(&app).await;
        take(&app, true).await;
        let login = |email: &'static str, password: &'static str| {
            app.post_owned("/api/auth/login", json!({"email": email, "password": password}))
        };
        let wrong = login("mixed.case@example.com", "another long password").await;
        let unknown = login("nobody@example.com", "another long password").await;
        assert_eq!(
            (wrong.status, wrong.json()["code"].clone()),
            (unknown.status, unknown.json()["code"].clone())
        );
        app.clock.advance(time::Duration::minutes(2));
        assert_eq!(
            login("gone@example.com", "a long old password").await.status,
            401,
            "disabled there, disabled here"
        );
        let answer = login("Mixed.Case@example.com", "a long old password").await;
        assert_eq!(
            (answer.status, &answer.json()["user"]["role"]),
            (200, &json!("PREMIUM")),
            "{}",
            answer.text()
        );
        assert_eq!(
            app.count("select count(*) from users where email like 'mixed%' and password_hash like '$argon2id$%'")
                .await,
            1
        );
        assert_eq!(login("mixed.case@example.com", "a long old password").await.status, 200);
        let again = to_json(&take(&app, true).await, false);
        assert_eq!(
            (&again["parts"][0]["taken"], &again["parts"][0]["already"]),
            (&json!(0), &json!(2))
        );
        assert_eq!(login("mixed.case@example.com", "a long old password").await.status, 200);
    }

    #[tokio::test]
    async fn another_database_is_told_from_it() {
        let Some(app) = TestApp::start().await else { return };
        let mut source = app.database().superuser().acquire().await.unwrap();
        let mut target = app.database().pools().system().acquire().await.unwrap();
        let error = import(&mut source, &mut target, app.tenant, app.clock.now())
            .await
            .unwrap_err();
        assert!(error.to_string().contains("passwordHash"), "{error}");
    }
}
