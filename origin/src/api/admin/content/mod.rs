//! Content of the tenant's pages: made, listed, read, changed, deleted. Everybody reads it at `/api/content/{section}`.

pub(crate) mod change;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod list;
pub(crate) mod read;

use axum::{
    Json,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use kado_shared::{problem::Code, tenant::TenantId};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    api::page::timestamp,
    content::{Item, Kind, MOST, MOST_BYTES_IN_SECTION, MOST_IN_SECTION},
    database::DatabaseError,
    http::{conditional::entity_tag, failure::Failure},
};

/// An item as administrators see it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Content)]
pub(crate) struct ItemView {
    id: Uuid,
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    section: String,
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    key: String,
    value: String,
    #[serde(rename = "type")]
    kind: Kind,
    label: String,
    #[schema(minimum = 0, maximum = 1_000_000)]
    order: i32,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
}

/// What a view is made of.
struct Row {
    id: Uuid,
    section: String,
    key: String,
    value: String,
    kind: String,
    label: String,
    position: i32,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
}

impl Row {
    fn view(self) -> ItemView {
        ItemView {
            id: self.id,
            section: self.section,
            key: self.key,
            value: self.value,
            kind: Kind::from_name(&self.kind),
            label: self.label,
            order: self.position,
            created_at: timestamp(self.created_at),
            updated_at: timestamp(self.updated_at),
        }
    }
}

impl ItemView {
    /// Strong entity tag: changes with every change.
    fn etag(&self) -> String {
        entity_tag(&serde_json::to_vec(self).unwrap_or_default())
    }

    /// The item with its entity tag, for a later `If-Match`.
    fn answer(self) -> Result<Response, Failure> {
        let etag = HeaderValue::from_str(&self.etag()).map_err(|error| Failure::internal(&error))?;
        Ok(([(header::ETAG, etag)], Json(self)).into_response())
    }

    fn item(&self) -> Item {
        Item {
            section: self.section.clone(),
            key: self.key.clone(),
            value: self.value.clone(),
            kind: self.kind,
            label: self.label.clone(),
            order: self.order,
        }
    }

    /// For the audit log.
    fn audited(&self) -> Value {
        json!({
            "section": self.section, "key": self.key, "value": self.value, "type": self.kind, "label": self.label,
            "order": self.order,
        })
    }
}

/// What there is too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    #[error("There are {MOST} items, which is the most: delete those that nobody uses")]
    Tenant,
    #[error("The section has {MOST_IN_SECTION} items, which is the most: use another one")]
    Section,
    #[error(
        "The values of a section may have {MOST_BYTES_IN_SECTION} bytes in all: use another one, or shorter values"
    )]
    Bytes,
}

impl From<Full> for Failure {
    fn from(full: Full) -> Self {
        Self::new(Code::Conflict, full.to_string())
    }
}

/// Holds off other changes of the tenant's content until the transaction ends, so that nothing grows past what is counted.
async fn lock(connection: &mut PgConnection, tenant: TenantId) -> Result<(), DatabaseError> {
    sqlx::query!(
        r#"select pg_advisory_xact_lock(hashtextextended('kado content ' || $1, 0))::text as "locked""#,
        tenant.to_string()
    )
    .fetch_one(connection)
    .await?;
    Ok(())
}

/// What there is too much of when this item, which is a new one where it has no `id` yet, is where it is to be.
async fn full(connection: &mut PgConnection, id: Option<Uuid>, item: &Item) -> Result<Option<Full>, DatabaseError> {
    let others = sqlx::query!(
        r#"select count(*) as "all!", count(*) filter (where section = $2) as "section!",
                  coalesce(sum(octet_length(value)) filter (where section = $2), 0) as "bytes!"
           from site_contents where $1::uuid is null or id <> $1"#,
        id,
        item.section,
    )
    .fetch_one(connection)
    .await?;
    let bytes = others
        .bytes
        .saturating_add(i64::try_from(item.value.len()).unwrap_or(i64::MAX));
    Ok(if others.all >= MOST {
        Some(Full::Tenant)
    } else if others.section >= MOST_IN_SECTION {
        Some(Full::Section)
    } else if bytes > MOST_BYTES_IN_SECTION {
        Some(Full::Bytes)
    } else {
        None
    })
}
