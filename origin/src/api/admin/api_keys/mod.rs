//! API keys of the tenant: made, listed, deleted; by people who signed in, never by a key.

pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod list;

use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::api::page::timestamp;

/// A key as administrators see it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KeyView {
    id: Uuid,
    name: String,
    /// What the key begins with, to find it in a configuration: `kado_<prefix>`.
    prefix: String,
    scopes: Vec<String>,
    limit: Option<Value>,
    user_id: Uuid,
    created_at: String,
    expires_at: Option<String>,
    /// Seconds: clocks of devices are wrong. 0 for a key that has expired.
    expires_in: Option<i64>,
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
