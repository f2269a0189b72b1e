//! `kado tenants export`: every row of a tenant, as JSON lines.
//!
//! The first line says what follows, each further one is `{"table", "row"}`, the last one `{"end", "rows"}` with how many
//! there were of each table. All of it is one moment's state. A row has its columns under their names: times in RFC 3339,
//! `bytea` as `\x` and hexadecimal digits. Tables come behind those that they refer to, so that rows can be inserted as they
//! are read. Originals are not in it: they lie in the blob store under the tenant's identifier.
//!
//! Without `--with-secrets` what people at psql may not read is left out as well: hashes of passwords and keys, sealed
//! values, and tables that hold nothing else. The first line names them.

use futures_util::TryStreamExt;
use serde_json::{Map, Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::{
    fs::File,
    io::{BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{Which, catalogue, operator_entry};
use crate::{
    audit,
    cli::{CommandError, say},
    clock::{Clock, SystemClock},
    database::DatabaseError,
    entropy::{Entropy, SystemEntropy},
    tenants::Tenant,
};

/// Form of the file.
const VERSION: u32 = 1;

/// Flags of `kado tenants export`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
    /// File to write, with mode 0600; it must not exist yet.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// Hashes of passwords and keys, and sealed values, too.
    #[arg(long)]
    with_secrets: bool,
}

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error("{path} cannot be written")]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<sqlx::Error> for ExportError {
    fn from(error: sqlx::Error) -> Self {
        DatabaseError::from(error).into()
    }
}

impl From<ExportError> for CommandError {
    fn from(error: ExportError) -> Self {
        Self::sorted(matches!(error, ExportError::File { .. }), &error)
    }
}

pub(super) async fn run(args: &Args) -> Result<(), CommandError> {
    if args.to.exists() {
        return Err(CommandError::Configuration(format!(
            "{} exists already",
            args.to.display()
        )));
    }
    let mut connection = args.which.database.connect_as_system("tenants export").await?;
    let tenant = args.which.find(&mut connection).await?;
    let now = SystemClock.now();
    let rows = export(&mut connection, &tenant, &args.to, args.with_secrets, now).await?;
    say(&format!("{}: {rows} rows of {}", args.to.display(), tenant.name));
    Ok(())
}

/// Writes the file, whole or not at all; answers how many rows are in it.
async fn export(
    connection: &mut PgConnection,
    tenant: &Tenant,
    to: &Path,
    with_secrets: bool,
    now: OffsetDateTime,
) -> Result<u64, ExportError> {
    let mut draft = Draft::begin(to)?;
    let rows = write(connection, tenant, &mut draft, with_secrets, now).await?;
    draft.close()?;
    // Before anybody can find the file: none leaves without a record.
    let after = json!({ "rows": rows, "withSecrets": with_secrets });
    let entry = operator_entry(tenant.id, "tenants.export", Some(after), now);
    audit::record(connection, entry).await?;
    draft.name(to)?;
    Ok(rows)
}

async fn write(
    connection: &mut PgConnection,
    tenant: &Tenant,
    draft: &mut Draft,
    with_secrets: bool,
    now: OffsetDateTime,
) -> Result<u64, ExportError> {
    let mut transaction = connection.begin().await?;
    sqlx::query!("set transaction isolation level repeatable read, read only")
        .execute(&mut *transaction)
        .await?;
    let tables = catalogue::tables(&mut transaction).await?;
    let schema =
        sqlx::query_scalar!(r#"select coalesce(max(version), 0) as "version!" from _sqlx_migrations where success"#)
            .fetch_one(&mut *transaction)
            .await?;
    let (left_out, told): (Vec<_>, Vec<_>) = tables.iter().partition(|table| table.is_withheld && !with_secrets);
    let columns = told.iter().flat_map(|table| {
        let columns = table.withheld.iter().filter(|_| !with_secrets);
        columns.map(|column| format!("{}.{column}", table.name))
    });
    let names = |list: &[&catalogue::Table]| list.iter().map(|table| table.name.clone()).collect::<Vec<_>>();
    let withheld: Vec<_> = names(&left_out).into_iter().chain(columns).collect();
    draft.line(&json!({
        "kado": "tenant-export",
        "version": VERSION,
        "schema": schema,
        "tenant": { "id": tenant.id, "name": tenant.name, "hosts": tenant.hosts },
        "exportedAt": now.format(&Rfc3339).unwrap_or_default(),
        "withSecrets": with_secrets,
        "tables": names(&told),
        "withheld": withheld,
    }))?;
    let (mut counts, mut total) = (Map::new(), 0_u64);
    for table in told {
        // A sealed setting is shown to be there. Text as the server writes it: no number loses digits on the way.
        let row = if with_secrets {
            "to_jsonb(t)"
        } else {
            r#"(select jsonb_object_agg(key, case when jsonb_typeof(value) = 'object' and value ? 'sealed'
                                             then '{"sealed": null}' else value end)
                from jsonb_each(to_jsonb(t) - $2::text[]))"#
        };
        let withheld = if with_secrets { &[][..] } else { &table.withheld };
        let sql = format!(
            "select ({row})::text from {} t where {} = $1 and $2::text[] is not null",
            table.name, table.key
        );
        let mut rows = sqlx::query_scalar::<_, String>(AssertSqlSafe(sql))
            .bind(tenant.id)
            .bind(withheld)
            .fetch(&mut *transaction);
        let (mut count, name) = (0_u64, Value::from(table.name.trim_matches('"')));
        while let Some(row) = rows.try_next().await? {
            draft.text(&format!("{{\"table\":{name},\"row\":{row}}}\n"))?;
            count += 1;
        }
        counts.insert(table.name.clone(), count.into());
        total += count;
    }
    transaction.commit().await?;
    draft.line(&json!({ "end": true, "rows": counts }))?;
    Ok(total)
}

/// A file that has no name yet. Dropped before it has one, it is gone.
struct Draft {
    path: PathBuf,
    file: Option<BufWriter<File>>,
}

impl Draft {
    /// Beside the file that it will be, so that renaming is one step.
    fn begin(to: &Path) -> Result<Self, ExportError> {
        let entropy: &dyn Entropy = &SystemEntropy;
        let mut name = to.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.partial", entropy.uuid().simple()));
        let path = to.with_file_name(name);
        let file = File::options().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(|source| ExportError::File {
            path: path.clone(),
            source,
        })?;
        Ok(Self {
            path,
            file: Some(BufWriter::new(file)),
        })
    }

    fn failed(&self, source: std::io::Error) -> ExportError {
        ExportError::File {
            path: self.path.clone(),
            source,
        }
    }

    fn line(&mut self, value: &Value) -> Result<(), ExportError> {
        self.text(&format!("{value}\n"))
    }

    fn text(&mut self, text: &str) -> Result<(), ExportError> {
        let written = self
            .file
            .as_mut()
            .map_or(Ok(()), |file| file.write_all(text.as_bytes()));
        written.map_err(|source| self.failed(source))
    }

    /// On disk first, named then: under its name there is never half a file, whatever happens to the machine.
    fn close(&mut self) -> Result<(), ExportError> {
        let Some(file) = self.file.take() else { return Ok(()) };
        let whole = file.into_inner().map_err(std::io::IntoInnerError::into_error);
        whole
            .and_then(|file| file.sync_all())
            .map_err(|source| self.failed(source))
    }

    fn name(self, to: &Path) -> Result<(), ExportError> {
        let place = || {
            // A link, because a rename would replace what came there meanwhile.
            std::fs::hard_link(&self.path, to)?;
            let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        };
        let placed = place();
        placed.map_err(|source| ExportError::File {
            path: to.to_owned(),
            source,
        })
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Its other name, or a half that nobody can use.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{catalogue, find},
        ExportError, export,
    };
    use crate::{
        clock::{Clock, testing::ManualClock},
        testing::TestDatabase,
    };
    use serde_json::Value;
    use std::path::Path;

    async fn exported(database: &TestDatabase, to: &Path, with_secrets: bool) -> Vec<Value> {
        let mut connection = database.pools().system().acquire().await.unwrap();
        let tenant = find(&mut connection, "a").await.unwrap();
        let now = ManualClock::default().now();
        export(&mut connection, &tenant, to, with_secrets, now).await.unwrap();
        let text = std::fs::read_to_string(to).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    async fn filled() -> Option<TestDatabase> {
        let database = TestDatabase::create().await?;
        let rows = format!("insert into tenants{}", catalogue::rows_in_every_table());
        sqlx::raw_sql(sqlx::AssertSqlSafe(rows))
            .execute(database.superuser())
            .await
            .unwrap();
        sqlx::raw_sql(
            r#"insert into system_settings (tenant_id, name, value) select id, 'cdnPurgeSecret', '{"sealed": "v1.a.b.c"}' from tenants;
               update users set password_hash = '$argon2id$secret'; update address_keys set sealed_key = 'v1.d.e.f'"#,
        )
        .execute(database.superuser())
        .await
        .unwrap();
        Some(database)
    }

    #[tokio::test]
    async fn every_table_is_there_with_this_tenants_rows_alone_and_nothing_secret() {
        let Some(database) = filled().await else { return };
        let folder = tempfile::tempdir().unwrap();
        let lines = exported(&database, &folder.path().join("a.jsonl"), false).await;
        let (head, end) = (&lines[0], lines.last().unwrap());
        assert_eq!(
            (&head["kado"], &head["tenant"]["name"]),
            (&"tenant-export".into(), &"a".into())
        );
        let id = &head["tenant"]["id"];
        let all: Vec<String> = sqlx::query_scalar(
            "select c.table_name::text from information_schema.columns c join pg_class r on r.relname = c.table_name
             where c.table_schema = 'public' and c.column_name = 'tenant_id' and r.relkind = 'r'",
        )
        .fetch_all(database.superuser())
        .await
        .unwrap();
        let strings = |list: &Value| -> Vec<String> {
            list.as_array()
                .unwrap()
                .iter()
                .map(|text| text.as_str().unwrap().to_owned())
                .collect()
        };
        let (told, withheld) = (strings(&head["tables"]), strings(&head["withheld"]));
        for table in &all {
            assert!(told.contains(table) || withheld.contains(table), "{table} is forgotten");
            if told.contains(table) {
                assert!(end["rows"][table].as_u64().unwrap() >= 1, "{table} has no row");
            }
        }
        for line in &lines[1..lines.len() - 1] {
            let key = if line["table"] == "tenants" { "id" } else { "tenant_id" };
            assert_eq!(&line["row"][key], id, "{line}");
        }
        let text = std::fs::read_to_string(folder.path().join("a.jsonl")).unwrap();
        for secret in ["argon2id", "password_hash\":", "v1.a.b.c", "v1.d.e.f"] {
            assert!(!text.contains(secret), "{secret}");
        }
        assert!(text.contains(r#"{"sealed": null}"#) && withheld.contains(&"users.password_hash".to_owned()));
    }

    #[tokio::test]
    async fn with_secrets_nothing_is_missing() {
        let Some(database) = filled().await else { return };
        let folder = tempfile::tempdir().unwrap();
        let lines = exported(&database, &folder.path().join("a.jsonl"), true).await;
        assert_eq!(lines[0]["withheld"], serde_json::json!([]));
        let text = std::fs::read_to_string(folder.path().join("a.jsonl")).unwrap();
        assert!(
            ["argon2id", "v1.a.b.c", "v1.d.e.f", "login_delays"]
                .iter()
                .all(|secret| text.contains(secret))
        );
    }

    #[tokio::test]
    async fn there_is_a_whole_file_or_none_and_none_is_replaced() {
        let Some(database) = filled().await else { return };
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("a.jsonl");
        std::fs::write(&to, "mine").unwrap();
        let mut connection = database.pools().system().acquire().await.unwrap();
        let tenant = find(&mut connection, "a").await.unwrap();
        let now = ManualClock::default().now();
        let error = export(&mut connection, &tenant, &to, false, now).await.unwrap_err();
        assert!(matches!(error, ExportError::File { .. }), "{error}");
        assert_eq!(std::fs::read_to_string(&to).unwrap(), "mine");

        // What cannot be recorded is not handed out.
        sqlx::raw_sql("alter table audit_logs add constraint none check (action <> 'tenants.export') not valid")
            .execute(database.superuser())
            .await
            .unwrap();
        let unrecorded = folder.path().join("c.jsonl");
        let error = export(&mut connection, &tenant, &unrecorded, false, now)
            .await
            .unwrap_err();
        assert!(matches!(error, ExportError::Database(_)), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);

        // The database goes away on the way.
        sqlx::raw_sql("alter table audit_logs rename column tenant_id to somebody; alter table audit_logs add column tenant_id text")
            .execute(database.superuser())
            .await
            .unwrap();
        let to = folder.path().join("b.jsonl");
        assert!(export(&mut connection, &tenant, &to, false, now).await.is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no half is left");
    }
}
