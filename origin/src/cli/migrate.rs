//! `kado migrate up|down|status`.

use clap::Subcommand;
use std::process::ExitCode;

use super::{CommandError, connect::DatabaseArgs, say};
use crate::database::migration::{self, Passwords};

/// Flags of `kado migrate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    database: DatabaseArgs,
    /// Password that kado_app logs in with from now on; unchanged where it is not given.
    #[arg(long, env = "KADO_APP_PASSWORD", hide_env_values = true, global = true)]
    app_password: Option<String>,
    /// Password that kado_system logs in with from now on; unchanged where it is not given.
    #[arg(long, env = "KADO_SYSTEM_PASSWORD", hide_env_values = true, global = true)]
    system_password: Option<String>,
    #[command(subcommand)]
    direction: Option<Direction>,
}

#[derive(Debug, Subcommand)]
enum Direction {
    /// Create the roles and apply every migration that is missing (the default).
    Up,
    /// Take back the newest migrations. What they held is lost.
    Down {
        /// How many.
        #[arg(long, default_value_t = 1)]
        steps: usize,
    },
    /// Show every migration and whether it is applied.
    Status,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode, CommandError> {
    let mut connection = args.database.connect("migrate").await?;
    match args.direction.unwrap_or(Direction::Up) {
        Direction::Up => {
            let given = |password: &Option<String>| password.clone().filter(|password| !password.is_empty());
            let (app, system) = (given(&args.app_password), given(&args.system_password));
            let passwords = Passwords {
                app: app.as_deref(),
                system: system.as_deref(),
            };
            let versions = migration::up(&mut connection, &passwords).await?;
            say(&told("applied", &versions));
        }
        Direction::Down { steps } => {
            let versions = migration::down(&mut connection, steps).await?;
            say(&told("took back", &versions));
        }
        Direction::Status => {
            for step in migration::status(&mut connection).await? {
                say(&format!("{:04} {:24} {}", step.version, step.name, step.state.as_str()));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn told(what: &str, versions: &[i64]) -> String {
    if versions.is_empty() {
        return "nothing to do".to_owned();
    }
    let list: Vec<_> = versions.iter().map(|version| format!("{version:04}")).collect();
    format!("{what} {}", list.join(", "))
}

#[cfg(test)]
mod tests {
    use crate::{
        clock::{Clock, testing::ManualClock},
        database::migration::{self, MigrationError, Passwords, StepState},
        presets,
        testing::TestDatabase,
    };
    use sqlx::PgPool;

    /// Tables, columns, policies, indexes, triggers and grants: everything a migration could forget on its way back.
    async fn fingerprint(pool: &PgPool) -> Vec<String> {
        let sql = "
            select format('column %s.%s %s %s %s', table_name, column_name, data_type, is_nullable, column_default) from information_schema.columns where table_schema = 'public'
            union all select format('policy %s.%s %s %s', tablename, policyname, roles, qual) from pg_policies where schemaname = 'public'
            union all select format('index %s', indexdef) from pg_indexes where schemaname = 'public'
            union all select format('trigger %s.%s', event_object_table, trigger_name) from information_schema.triggers
            union all select format('grant %s %s %s', table_name, grantee, privilege_type) from information_schema.role_table_grants where table_schema = 'public'
            union all select format('function %s', proname) from pg_proc where pronamespace = 'public'::regnamespace
            order by 1";
        sqlx::query_scalar(sql).fetch_all(pool).await.unwrap()
    }

    #[tokio::test]
    async fn up_down_up_leads_to_the_same_schema() {
        let Some(database) = TestDatabase::create().await else {
            return;
        };
        let pool = database.superuser();
        let mut connection = pool.acquire().await.unwrap();
        let before = fingerprint(pool).await;
        let all = migration::status(&mut connection).await.unwrap().len();
        assert!(before.len() > 50);

        let back = migration::down(&mut connection, all).await.unwrap();
        assert_eq!(back.len(), all);
        let left = fingerprint(pool).await;
        assert!(left.iter().all(|line| line.contains("_sqlx_migrations")), "{left:?}");
        assert!(
            migration::status(&mut connection)
                .await
                .unwrap()
                .iter()
                .all(|step| step.state == StepState::Missing)
        );

        assert_eq!(
            migration::up(&mut connection, &Passwords::default())
                .await
                .unwrap()
                .len(),
            all
        );
        assert_eq!(fingerprint(pool).await, before);
        assert!(
            migration::up(&mut connection, &Passwords::default())
                .await
                .unwrap()
                .is_empty()
        );
    }

    #[tokio::test]
    async fn what_a_newer_binary_laid_out_is_left_alone() {
        let Some(database) = TestDatabase::create().await else {
            return;
        };
        let pool = database.superuser();
        sqlx::raw_sql(
            "insert into setting_declarations (name, section, kind, shape, standard, secret, description)
                 select 'ofTomorrow', section, kind, shape, standard, secret, description
                 from setting_declarations where name = 'maxFileSize';
             insert into _sqlx_migrations (version, description, success, checksum, execution_time)
                 values (9999, 'of tomorrow', true, '', 0);",
        )
        .execute(pool)
        .await
        .unwrap();
        let mut connection = pool.acquire().await.unwrap();
        let before = fingerprint(pool).await;
        let applied = migration::up(&mut connection, &Passwords::default()).await.unwrap();
        assert!(applied.is_empty());
        let declared: bool =
            sqlx::query_scalar("select exists (select from setting_declarations where name = 'ofTomorrow')")
                .fetch_one(pool)
                .await
                .unwrap();
        assert!(declared, "a newer binary's settings can still be changed at psql");
        for steps in 1..3 {
            let refused = migration::down(&mut connection, steps).await;
            assert!(matches!(refused, Err(MigrationError::Newer(9999))), "{refused:?}");
        }
        assert_eq!(fingerprint(pool).await, before);
        let steps = migration::status(&mut connection).await.unwrap();
        let states: Vec<_> = steps.iter().rev().take(2).map(|step| step.state).collect();
        assert_eq!(states, [StepState::Newer, StepState::Applied]);
    }

    #[tokio::test]
    async fn every_migration_has_a_way_back() {
        let migrator = migration::migrator();
        let (up, down): (Vec<_>, Vec<_>) = migrator
            .iter()
            .partition(|migration| migration.migration_type.is_up_migration());
        let versions =
            |list: Vec<&sqlx::migrate::Migration>| list.iter().map(|migration| migration.version).collect::<Vec<_>>();
        assert_eq!(versions(up), versions(down));
    }

    #[tokio::test]
    async fn without_a_tenant_nobody_sees_a_row() {
        let Some(database) = TestDatabase::create().await else {
            return;
        };
        let pool = database.superuser();
        sqlx::raw_sql(
            "insert into tenants (name) values ('a'), ('b');
             insert into tenant_hosts (tenant_id, host) select id, name || '.example' from tenants;
             insert into users (tenant_id, email, password_hash) select id, 'a@b', '' from tenants;
             insert into sessions (tenant_id, id, user_id, epoch, key_id, issued_at, created_at, last_seen_at)
                 select tenant_id, gen_random_uuid(), id, 1, '', now(), now(), now() from users;
             insert into login_delays select id, sha256(name::bytea), 1, now(), now() from tenants;
             insert into system_settings (tenant_id, name, value) select id, 'maxFileSize', '2048' from tenants;
             insert into api_keys (tenant_id, id, user_id, name, prefix, sha256, scopes, created_at)
                 select tenant_id, gen_random_uuid(), id, 'a', '0123456789ab', sha256(''), '{process}', now() from users;
             insert into idempotency_keys (tenant_id, user_id, route, key_sha256, fingerprint, status, answer, created_at)
                 select tenant_id, id, 'POST /api/images', sha256(''), sha256(''), 201, '{}', now() from users;
             insert into limit_counters select id, 'api/a', 'null', 1 from tenants;
             insert into blobs select id, sha256(name::bytea), 1, 1, now() from tenants;
             insert into images select b.tenant_id, gen_random_uuid(), b.sha256, u.id, 1, 1, 'png', now() from blobs b join users u using (tenant_id);
             insert into audit_logs (tenant_id, actor, action) select id, 'system', 'test' from tenants;
             insert into image_events (tenant_id, id, at, received_at, kind, result, request_id, ms)
                 select id, gen_random_uuid(), now(), now(), 'upload', 'ok', '12345678', 1 from tenants;
             insert into edge_counts select id, now(), 'cache.hit', 1 from tenants;
             insert into usage_records select tenant_id, id, 'API_CALL', date_trunc('hour', now(), 'UTC'), 1 from users;
             insert into quota_receipts select tenant_id, gen_random_uuid(), id, 'IMAGE_PROCESS', now(), 1, false, now() from users;
             insert into cache_purges (tenant_id, requested_at) select id, now() from tenants;
             insert into preset_generations select id, 'gofood', 2 from tenants;
             insert into presets (tenant_id, name, options, created_at, updated_at) select id, 'gofood', 'width=1', now(), now() from tenants;
             insert into site_contents (tenant_id, id, section, key, value, type, created_at, updated_at)
                 select id, gen_random_uuid(), 'home', 'title', 'a', 'TEXT', now(), now() from tenants;
             insert into address_keys (tenant_id, id, sealed_key, created_at) select id, 'abcdefgh', '', now() from tenants;
             insert into purge_deliveries (tenant_id, tags, created_at, next_at) select id, '{a}', now(), now() from tenants;",
        )
        .execute(pool)
        .await
        .unwrap();
        // Every table with a tenant, so that one added later cannot be forgotten here.
        let tables: Vec<String> = sqlx::query_scalar(
            "select c.table_name::text from information_schema.columns c join pg_class r on r.relname = c.table_name
             where c.table_schema = 'public' and c.column_name = 'tenant_id' and r.relkind = 'r' order by 1",
        )
        .fetch_all(pool)
        .await
        .unwrap();
        assert!(tables.len() >= 8, "{tables:?}");
        let count = async |pool: &PgPool, tenant: Option<&str>, table: &str| {
            let mut transaction = pool.begin().await.unwrap();
            if let Some(name) = tenant {
                let id: String = sqlx::query_scalar("select id::text from tenants where name = $1")
                    .bind(name)
                    .fetch_one(database.superuser())
                    .await
                    .unwrap();
                sqlx::query("select set_config('kado.tenant', $1, true)")
                    .bind(id)
                    .execute(&mut *transaction)
                    .await
                    .unwrap();
            }
            let sql = format!("select count(*) from {table} where tenant_id is not null");
            sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(sql))
                .fetch_one(&mut *transaction)
                .await
                .unwrap()
        };
        for table in &tables {
            let forced: bool =
                sqlx::query_scalar("select relrowsecurity and relforcerowsecurity from pg_class where relname = $1")
                    .bind(table)
                    .fetch_one(pool)
                    .await
                    .unwrap();
            assert!(forced, "row-level security is not forced on {table}");
            assert_eq!(count(pool, None, table).await, 2, "the test has no rows in {table}");
            assert_eq!(count(database.pools().app(), None, table).await, 0, "{table}");
            assert_eq!(count(database.pools().app(), Some("a"), table).await, 1, "{table}");
            assert_eq!(count(database.pools().system(), None, table).await, 2, "{table}");
        }
        let tenants: i64 = sqlx::query_scalar("select count(*) from tenants")
            .fetch_one(database.pools().app())
            .await
            .unwrap();
        assert_eq!(tenants, 0);
    }

    #[tokio::test]
    async fn tenants_that_are_there_already_get_the_presets_that_new_ones_begin_with() {
        let Some(database) = TestDatabase::create().await else {
            return;
        };
        let pool = database.superuser();
        let mut connection = pool.acquire().await.unwrap();
        let steps = migration::status(&mut connection).await.unwrap();
        let newer = steps.iter().filter(|step| step.version >= 40).count();
        migration::down(&mut connection, newer).await.unwrap();
        sqlx::raw_sql("insert into tenants (name) values ('old')")
            .execute(pool)
            .await
            .unwrap();
        migration::up(&mut connection, &Passwords::default()).await.unwrap();
        let new: uuid::Uuid = sqlx::query_scalar("insert into tenants (name) values ('new') returning id")
            .fetch_one(pool)
            .await
            .unwrap();
        let now = ManualClock::default().now();
        presets::seed(&mut connection, kado_shared::tenant::TenantId(new), now)
            .await
            .unwrap();
        let presets_of = async |name: &str| {
            sqlx::query_scalar::<_, serde_json::Value>(
                "select jsonb_agg(jsonb_build_array(p.name, options, title, description, branding) order by p.created_at, p.id)
                 from presets p join tenants t on t.id = p.tenant_id where t.name = $1",
            )
            .bind(name)
            .fetch_one(pool)
            .await
            .unwrap()
        };
        assert_eq!(presets_of("new").await.as_array().map(Vec::len), Some(6));
        assert_eq!(presets_of("old").await, presets_of("new").await);
    }

    #[tokio::test]
    async fn a_tenant_cannot_write_into_another() {
        let Some(database) = TestDatabase::create().await else {
            return;
        };
        sqlx::raw_sql("insert into tenants (name) values ('a'), ('b')")
            .execute(database.superuser())
            .await
            .unwrap();
        let ids: Vec<uuid::Uuid> = sqlx::query_scalar("select id from tenants order by name")
            .fetch_all(database.superuser())
            .await
            .unwrap();
        let mut transaction = database
            .pools()
            .begin(kado_shared::tenant::TenantId(ids[0]))
            .await
            .unwrap();
        let foreign = sqlx::query("insert into users (tenant_id, email, password_hash) values ($1, 'a@b', '')")
            .bind(ids[1])
            .execute(transaction.connection())
            .await;
        assert!(foreign.unwrap_err().to_string().contains("row-level security"));
        let mut transaction = database
            .pools()
            .begin(kado_shared::tenant::TenantId(ids[0]))
            .await
            .unwrap();
        let global =
            sqlx::query("insert into system_settings (tenant_id, name, value) values (null, 'maxFileSize', '1')")
                .execute(transaction.connection())
                .await;
        assert!(global.unwrap_err().to_string().contains("row-level security"));
    }
}
