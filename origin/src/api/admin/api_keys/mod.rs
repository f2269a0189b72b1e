//! API keys of the tenant: made, listed, deleted; by people who signed in, never by a key.

pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod list;

use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::api::{openapi::schemas, page::timestamp};

/// A key as administrators see it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ApiKey)]
pub(crate) struct KeyView {
    id: Uuid,
    name: String,
    /// What the key begins with, to find it in a configuration: `kado_<prefix>`.
    #[schema(pattern = "^kado_[0-9a-f]{12}$")]
    prefix: String,
    #[schema(schema_with = schemas::scopes)]
    scopes: Vec<String>,
    #[schema(schema_with = schemas::optional_rate_limit)]
    limit: Option<Value>,
    user_id: Uuid,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// Seconds: clocks of devices are wrong. 0 for a key that has expired.
    expires_in: Option<i64>,
    #[schema(format = DateTime)]
    last_used_at: Option<String>,
}

/// What a view is made of.
struct Row {
    id: Uuid,
    name: String,
    prefix: String,
    scopes: Vec<String>,
    rate_limit: Option<Value>,
    user_id: Uuid,
    created_at: OffsetDateTime,
    expires_at: Option<OffsetDateTime>,
    last_used_at: Option<OffsetDateTime>,
}

impl Row {
    fn view(self, now: OffsetDateTime) -> KeyView {
        KeyView {
            id: self.id,
            name: self.name,
            prefix: format!("{}{}", kado_shared::api_key::START, self.prefix),
            scopes: self.scopes,
            limit: self.rate_limit,
            user_id: self.user_id,
            created_at: timestamp(self.created_at),
            expires_at: self.expires_at.map(timestamp),
            expires_in: self.expires_at.map(|at| (at - now).whole_seconds().max(0)),
            last_used_at: self.last_used_at.map(timestamp),
        }
    }
}
