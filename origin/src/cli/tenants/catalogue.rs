//! Which tables hold rows of tenants, asked of the database itself: one that is added later cannot be forgotten.

use sqlx::PgConnection;
use std::collections::{BTreeMap, BTreeSet};

use crate::database::DatabaseError;

/// A table with rows of tenants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    /// Its name, quoted where that is needed.
    pub(super) name: String,
    /// The column that names the tenant.
    pub(super) key: &'static str,
    /// Columns that people may not read: what `kado_operator` was granted leaves them out.
    pub(super) withheld: Vec<String>,
    /// Whether people may read nothing of it.
    pub(super) is_withheld: bool,
    /// Whether a deletion raises the edges' revision, which one transaction at a time can.
    pub(super) is_told: bool,
}

/// Tables and, by name, those that each refers to.
type Read = (Vec<Table>, BTreeMap<String, BTreeSet<String>>);

/// Every such table, `tenants` first, and each behind those that it refers to.
pub(super) async fn tables(connection: &mut PgConnection) -> Result<Vec<Table>, DatabaseError> {
    let (mut tables, parents) = read(connection).await?;
    // `tenants` may itself refer to something, one day; it is what all others belong to.
    tables.sort_by_key(|table| table.key != "id");
    Ok(ordered(tables, |table, other| {
        parents
            .get(&table.name)
            .is_some_and(|parents| parents.contains(&other.name))
    }))
}

/// The same tables, each before those that it refers to, and before those that edges are told of where that can be: whoever
/// else tells edges something waits from the first of these on.
pub(super) async fn tables_to_delete(connection: &mut PgConnection) -> Result<Vec<Table>, DatabaseError> {
    let (mut tables, parents) = read(connection).await?;
    tables.sort_by_key(|table| table.is_told);
    Ok(ordered(tables, |table, other| {
        parents
            .get(&other.name)
            .is_some_and(|parents| parents.contains(&table.name))
    }))
}

async fn read(connection: &mut PgConnection) -> Result<Read, DatabaseError> {
    let rows = sqlx::query!(
        r#"select quote_ident(c.relname) as "name!", c.relname = 'tenants' as "is_root!",
                  array(select attname::text from pg_attribute a
                        where attrelid = c.oid and attnum > 0 and not attisdropped
                              and not has_column_privilege('kado_operator', c.oid, attnum, 'select')
                        order by attnum) as "withheld!",
                  not has_any_column_privilege('kado_operator', c.oid, 'select') as "is_withheld!",
                  -- 8 is the bit of triggers after a deletion.
                  exists (select from pg_trigger t join pg_proc p on p.oid = t.tgfoid
                          where t.tgrelid = c.oid and p.proname = 'raise_edge_revision' and t.tgtype::integer & 8 <> 0)
                      as "is_told!"
           from pg_class c join pg_namespace n on n.oid = c.relnamespace
           where n.nspname = 'public' and c.relkind in ('r', 'p') and not c.relispartition
                 and (c.relname = 'tenants' or exists
                      (select from pg_attribute a where attrelid = c.oid and attname = 'tenant_id' and not attisdropped))
           order by c.relname"#
    )
    .fetch_all(&mut *connection)
    .await?;
    let references = sqlx::query!(
        r#"select quote_ident(child.relname) as "child!", quote_ident(parent.relname) as "parent!"
           from pg_constraint k join pg_class child on child.oid = k.conrelid join pg_class parent on parent.oid = k.confrelid
           where k.contype = 'f' and child.oid <> parent.oid"#
    )
    .fetch_all(connection)
    .await?;
    let mut parents: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for reference in references {
        parents.entry(reference.child).or_default().insert(reference.parent);
    }
    let tables = rows.into_iter().map(|row| Table {
        name: row.name,
        key: if row.is_root { "id" } else { "tenant_id" },
        withheld: row.withheld,
        is_withheld: row.is_withheld,
        is_told: row.is_told,
    });
    Ok((tables.collect(), parents))
}

/// Puts each behind those that it has to wait for, and keeps the order that they come in otherwise.
fn ordered(mut left: Vec<Table>, waits: impl Fn(&Table, &Table) -> bool) -> Vec<Table> {
    let mut placed: Vec<Table> = Vec::new();
    while !left.is_empty() {
        let free = |table: &Table| !left.iter().any(|other| waits(table, other));
        // Tables that refer to each other in a circle are taken as they come.
        let next = left.iter().position(free).unwrap_or(0);
        placed.push(left.remove(next));
    }
    placed
}

/// The rows that the test of row-level security makes: two tenants, `a` and `b`, with one row each in every table.
#[cfg(test)]
pub(super) fn rows_in_every_table() -> &'static str {
    let source = include_str!("../migrate.rs");
    let (_, rest) = source
        .split_once("sqlx::raw_sql(\n            \"insert into tenants")
        .unwrap();
    let (rows, _) = rest.split_once("\",\n").unwrap();
    // What stands in the source needs no unescaping as long as it holds no backslash.
    assert!(!rows.contains('\\'), "{rows}");
    rows
}

#[cfg(test)]
mod tests {
    use super::{tables, tables_to_delete};
    use crate::testing::TestDatabase;

    #[tokio::test]
    async fn tables_come_behind_what_they_refer_to_and_say_what_people_may_not_read() {
        let Some(database) = TestDatabase::create().await else {
            return;
        };
        let mut connection = database.pools().system().acquire().await.unwrap();
        let tables = tables(&mut connection).await.unwrap();
        let place = |name: &str| tables.iter().position(|table| table.name == name).unwrap();
        assert_eq!(place("tenants"), 0);
        assert!(
            place("users") < place("sessions") && place("blobs") < place("images") && place("users") < place("images")
        );
        let with = |name: &str| &tables[place(name)];
        assert_eq!(with("users").withheld, ["password_hash"]);
        assert_eq!(with("address_keys").withheld, ["sealed_key"]);
        assert!(with("login_delays").is_withheld && !with("users").is_withheld);
        assert!(with("presets").is_told && !with("audit_logs").is_told);
        assert!(
            !with("cache_purges").is_told,
            "its trigger is for others than deletions"
        );
    }

    #[tokio::test]
    async fn what_edges_are_told_of_is_deleted_last_and_nothing_before_what_refers_to_it() {
        let Some(database) = TestDatabase::create().await else {
            return;
        };
        let mut connection = database.pools().system().acquire().await.unwrap();
        let (all, tables) = (
            tables(&mut connection).await.unwrap(),
            tables_to_delete(&mut connection).await.unwrap(),
        );
        assert_eq!(tables.len(), all.len());
        let place = |name: &str| tables.iter().position(|table| table.name == name).unwrap();
        assert!(
            place("sessions") < place("users") && place("images") < place("blobs") && place("images") < place("users")
        );
        assert_eq!(place("tenants"), tables.len() - 1);
        let first_told = tables.iter().position(|table| table.is_told).unwrap();
        for name in ["image_events", "audit_logs", "usage_records", "blobs"] {
            assert!(place(name) < first_told, "{name}: {tables:?}");
        }
    }
}
