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
use kado_shared::problem::Code;
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    api::page::timestamp,
    content::{Full, Item, Kind},
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
        self.item().audited()
    }
}

impl From<Full> for Failure {
    fn from(full: Full) -> Self {
        Self::new(Code::Conflict, full.to_string())
    }
}
