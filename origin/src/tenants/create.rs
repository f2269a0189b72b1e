//! What makes a tenant: a name, hosts, the presets that each begins with, and an administrator.

use kado_shared::{
    problem::FieldError,
    tenant::{TenantId, normalize_host},
};
use serde_json::json;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Author, Deed, hold_names, record, taken};
use crate::{
    audit::{self, Actor, Entry},
    database::DatabaseError,
    identity::email::Email,
    presets,
};

/// Longest name, in characters; the table's check says the same.
pub(crate) const LONGEST_NAME: usize = 100;
/// Most hosts that may be given.
pub(crate) const MOST_HOSTS: usize = 100;

/// A tenant that may be made.
#[derive(Debug)]
pub(crate) struct NewTenant {
    pub(crate) name: String,
    /// In their one spelling, as they were given.
    pub(crate) hosts: Vec<String>,
    /// Address of its administrator.
    pub(crate) admin: Email,
    /// Whether its administrators manage all tenants.
    pub(crate) operator: bool,
}

/// What its administrator begins with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Credentials<'a> {
    pub(crate) hash: &'a str,
    /// Whether the password must be changed first.
    pub(crate) must_change: bool,
}

/// Why there is no new tenant.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CreateError {
    #[error("name or hosts are another tenant's")]
    Taken(Vec<FieldError>),
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl NewTenant {
    /// Checks what was given. Without an address the administrator's is `admin@` and the first host.
    ///
    /// # Errors
    /// Every fault at once, of `name`, `hosts` and `adminEmail`.
    pub(crate) fn check(name: &str, hosts: &[String], admin: Option<&str>) -> Result<Self, Vec<FieldError>> {
        let mut errors = Vec::new();
        let name = check_name(name).map_err(|error| errors.push(error)).ok();
        let hosts = check_hosts(hosts).map_err(|faults| errors.extend(faults)).ok();
        let admin = match (admin, &hosts) {
            (Some(given), _) => Some(given.to_owned()),
            (None, Some(hosts)) => hosts.first().map(|host| format!("admin@{host}")),
            (None, None) => None,
        };
        let admin = admin.and_then(|text| {
            let parsed = Email::parse(&text).map_err(|error| errors.push(fault("adminEmail", error.to_string())));
            parsed.ok()
        });
        match (name, hosts, admin) {
            (Some(name), Some(hosts), Some(admin)) if errors.is_empty() => Ok(Self {
                name,
                hosts,
                admin,
                operator: false,
            }),
            _ => Err(errors),
        }
    }
}

/// A name without spaces around it.
pub(crate) fn check_name(text: &str) -> Result<String, FieldError> {
    let name = text.trim();
    let length = name.chars().take(LONGEST_NAME + 1).count();
    if (1..=LONGEST_NAME).contains(&length) && !name.chars().any(char::is_control) {
        Ok(name.to_owned())
    } else {
        Err(fault(
            "name",
            format!("must have 1 to {LONGEST_NAME} characters, none of them a control character"),
        ))
    }
}

/// Hosts in their one spelling, at least one, each once.
pub(crate) fn check_hosts(given: &[String]) -> Result<Vec<String>, Vec<FieldError>> {
    if !(1..=MOST_HOSTS).contains(&given.len()) {
        return Err(vec![fault("hosts", format!("must be 1 to {MOST_HOSTS} hosts"))]);
    }
    let (mut hosts, mut errors) = (Vec::new(), Vec::new());
    for (place, text) in given.iter().enumerate() {
        let field = format!("hosts[{place}]");
        match normalize_host(text) {
            None => errors.push(fault(
                &field,
                "must be a host name such as images.example.com".to_owned(),
            )),
            Some(host) if hosts.contains(&host) => errors.push(fault(&field, format!("{host} is given twice"))),
            Some(host) => hosts.push(host),
        }
    }
    if errors.is_empty() { Ok(hosts) } else { Err(errors) }
}

fn fault(field: &str, detail: String) -> FieldError {
    FieldError {
        field: field.to_owned(),
        detail,
    }
}

/// Makes a tenant with all that it begins with; answers its identifier.
pub(crate) async fn create(
    connection: &mut PgConnection,
    new: &NewTenant,
    credentials: Credentials<'_>,
    author: Author<'_>,
    now: OffsetDateTime,
) -> Result<Uuid, CreateError> {
    hold_names(connection).await?;
    let errors = taken(connection, None, Some(&new.name), &new.hosts).await?;
    if !errors.is_empty() {
        return Err(CreateError::Taken(errors));
    }
    let id = insert_tenant(connection, new, author, now).await?;
    insert_hosts(connection, id, &new.hosts, now).await?;
    insert_admin(connection, id, &new.admin, credentials, now).await?;
    Ok(id)
}

/// Makes a tenant, with the presets that each begins with. Its hosts are only told of.
pub(crate) async fn insert_tenant(
    connection: &mut PgConnection,
    new: &NewTenant,
    author: Author<'_>,
    now: OffsetDateTime,
) -> Result<Uuid, DatabaseError> {
    let id = sqlx::query_scalar!(
        "insert into tenants (name, operator, created_at) values ($1, $2, $3) returning id",
        new.name,
        new.operator,
        now
    )
    .fetch_one(&mut *connection)
    .await?;
    let deed = Deed {
        tenant: id,
        at: now,
        action: "tenants.create",
        before: None,
        after: Some(json!({
            "name": new.name,
            "hosts": new.hosts,
            "operator": new.operator,
            "adminEmail": new.admin.as_str(),
        })),
    };
    record(connection, author, deed).await?;
    presets::seed(connection, TenantId(id), now).await?;
    Ok(id)
}

pub(crate) async fn insert_hosts(
    connection: &mut PgConnection,
    tenant: Uuid,
    hosts: &[String],
    now: OffsetDateTime,
) -> Result<(), DatabaseError> {
    sqlx::query!(
        "insert into tenant_hosts (tenant_id, host, created_at) select $1, unnest($2::text[]), $3",
        tenant,
        hosts,
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(crate) async fn insert_admin(
    connection: &mut PgConnection,
    tenant: Uuid,
    email: &Email,
    credentials: Credentials<'_>,
    now: OffsetDateTime,
) -> Result<(), DatabaseError> {
    let id = sqlx::query_scalar!(
        "insert into users (tenant_id, email, password_hash, role, must_change_password, created_at, updated_at)
         values ($1, $2, $3, 'ADMIN', $4, $5, $5) returning id",
        tenant,
        email.as_str(),
        credentials.hash,
        credentials.must_change,
        now,
    )
    .fetch_one(&mut *connection)
    .await?;
    let entry = Entry {
        tenant: Some(tenant),
        at: now,
        actor: Actor::Operator,
        action: "users.create",
        target: Some(id.to_string()),
        before: None,
        after: Some(json!({ "email": email.as_str(), "role": "ADMIN", "active": true })),
        request_id: None,
        client_ip: None,
    };
    audit::record(connection, entry).await
}

#[cfg(test)]
mod tests {
    use super::{NewTenant, check_hosts};

    #[test]
    fn hosts_have_one_spelling() {
        assert_eq!(check_hosts(&["Example.com:80".into()]).unwrap(), ["example.com"]);
    }

    #[test]
    fn what_is_wrong_is_named_all_at_once() {
        let hosts = ["a.example".to_owned(), "no host".to_owned(), "A.example.".to_owned()];
        let errors = NewTenant::check(" ", &hosts, Some("nobody")).unwrap_err();
        let fields: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["name", "hosts[1]", "hosts[2]", "adminEmail"]);
        for (name, hosts) in [("a\nb", 1), (&*"x".repeat(101), 1), ("a", 0), ("a", 101)] {
            let hosts: Vec<_> = (0..hosts).map(|n| format!("h{n}.example")).collect();
            assert_eq!(NewTenant::check(name, &hosts, None).unwrap_err().len(), 1, "{name:?}");
        }
        let host = format!("{0}.{0}.{0}.{0}", "a".repeat(62));
        let errors = NewTenant::check("a", &[host], None).unwrap_err();
        assert_eq!(errors[0].field, "adminEmail", "the address would be too long");
        let new = NewTenant::check(" a ", &["B.example".to_owned()], None).unwrap();
        assert_eq!(
            (new.name.as_str(), new.admin.as_str(), new.operator),
            ("a", "admin@b.example", false)
        );
    }
}
