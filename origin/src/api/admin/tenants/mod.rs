//! Tenants: all of them for administrators of an operator tenant, their own for others. Who may see which is decided in
//! [`crate::tenants::operator`]; what is here never names the role that it runs under.

pub(crate) mod change;
pub(crate) mod create;
pub(crate) mod list;
pub(crate) mod read;
#[cfg(test)]
mod strangers;

use axum::http::{HeaderMap, HeaderValue, header};
use kado_shared::problem::{Code, FieldError, Problem};
use serde::Serialize;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    api::page::timestamp,
    database::DatabaseError,
    http::{conditional::entity_tag, failure::Failure},
};

/// A tenant with what it has.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Tenant)]
pub(crate) struct TenantView {
    id: Uuid,
    name: String,
    /// The hosts of one that is not answer 421.
    active: bool,
    /// Whether its administrators manage all tenants.
    operator: bool,
    /// Sorted.
    #[schema(example = json!(["images.example.com"]))]
    hosts: Vec<String>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(minimum = 0)]
    users: i64,
    /// Pictures.
    #[schema(minimum = 0)]
    images: i64,
    /// Bytes of originals, the same ones counted once.
    #[schema(minimum = 0)]
    bytes: i64,
}

/// What a view is made of.
struct Row {
    id: Uuid,
    name: String,
    active: bool,
    operator: bool,
    hosts: Vec<String>,
    created_at: OffsetDateTime,
    users: i64,
    images: i64,
    bytes: i64,
}

impl Row {
    fn view(self) -> TenantView {
        TenantView {
            id: self.id,
            name: self.name,
            active: self.active,
            operator: self.operator,
            hosts: self.hosts,
            created_at: timestamp(self.created_at),
            users: self.users,
            images: self.images,
            bytes: self.bytes,
        }
    }

    /// Strong entity tag: changes with whatever may be changed of a tenant, and not with what it has.
    fn etag(&self) -> String {
        let content = (&self.id, &self.name, self.active, self.operator, &self.hosts);
        entity_tag(&serde_json::to_vec(&content).unwrap_or_default())
    }

    /// The tag as a header.
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Ok(tag) = HeaderValue::from_str(&self.etag()) {
            headers.insert(header::ETAG, tag);
        }
        headers
    }
}

/// Reads a tenant that the connection's role sees.
async fn load(connection: &mut PgConnection, id: Uuid) -> Result<Option<Row>, DatabaseError> {
    Ok(sqlx::query_as!(
        Row,
        r#"select id, name, active, operator, created_at,
                  array(select host from tenant_hosts h where h.tenant_id = t.id order by host) as "hosts!",
                  (select count(*) from users u where u.tenant_id = t.id) as "users!",
                  (select count(*) from images i where i.tenant_id = t.id) as "images!",
                  (select coalesce(sum(bytes), 0)::bigint from blobs b where b.tenant_id = t.id) as "bytes!"
           from tenants t where id = $1"#,
        id,
    )
    .fetch_optional(connection)
    .await?)
}

fn no_tenant() -> Failure {
    Failure::new(Code::NotFound, "There is no such tenant")
}

fn no_operator() -> Failure {
    Failure::new(
        Code::Forbidden,
        "This needs an administrator of an operator tenant, which `kado tenants appoint` makes",
    )
}

fn taken(errors: Vec<FieldError>) -> Failure {
    Failure::of(Problem::new(Code::Conflict, "Another tenant has this").with_errors(errors))
}
