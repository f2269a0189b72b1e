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
}

/// Every such table, `tenants` first, and each behind those that it refers to.
pub(super) async fn tables(connection: &mut PgConnection) -> Result<Vec<Table>, DatabaseError> {
    let rows = sqlx::query!(
        r#"select quote_ident(c.relname) as "name!", c.relname = 'tenants' as "is_root!",
                  array(select attname::text from pg_attribute a
                        where attrelid = c.oid and attnum > 0 and not attisdropped
                              and not has_column_privilege('kado_operator', c.oid, attnum, 'select')
                        order by attnum) as "withheld!",
                  not has_any_column_privilege('kado_operator', c.oid, 'select') as "is_withheld!"
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
    });
    Ok(ordered(tables.collect(), &parents))
}

fn ordered(mut left: Vec<Table>, parents: &BTreeMap<String, BTreeSet<String>>) -> Vec<Table> {
    let mut placed: Vec<Table> = Vec::new();
    // `tenants` may itself refer to something, one day; it is what all others belong to.
    left.sort_by_key(|table| table.key != "id");
    while !left.is_empty() {
        let free = |table: &Table| {
            parents
                .get(&table.name)
                .is_none_or(|parents| !left.iter().any(|other| parents.contains(&other.name)))
        };
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
    use super::tables;
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
    }
}
