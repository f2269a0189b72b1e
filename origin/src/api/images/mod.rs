//! Originals that users store.

pub(crate) mod delete;
pub(crate) mod list;
pub(crate) mod upload;

use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{blobs::BlobHash, database::DatabaseError};
use kado_shared::tenant::TenantId;

/// A stored original as clients see it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Image)]
pub(crate) struct ImageView {
    pub(super) id: Uuid,
    /// Pixels, as it is looked at.
    #[schema(minimum = 1)]
    pub(super) width: i32,
    #[schema(minimum = 1)]
    pub(super) height: i32,
    #[schema(example = "jpeg")]
    pub(super) format: String,
    #[schema(minimum = 1)]
    pub(super) bytes: i64,
    #[schema(format = DateTime)]
    pub(super) created_at: String,
    pub(super) links: Links,
}

/// Where to go from here. `{options}` in `transform` is replaced by the client.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = ImageLinks)]
pub(crate) struct Links {
    #[serde(rename = "self")]
    itself: String,
    #[schema(example = "/img/{options}/u/6f1c1b9e-7c0a-4d8e-9d51-0b8f5a1f2e3d")]
    transform: String,
    preview: String,
}

impl Links {
    pub(super) fn of(id: Uuid) -> Self {
        Self {
            itself: format!("/api/images/{id}"),
            transform: format!("/img/{{options}}/u/{id}"),
            preview: format!("/img/width=400/u/{id}"),
        }
    }
}

/// Holds everybody else off the bytes of one hash until the transaction ends: file and row change together.
async fn lock_blob(connection: &mut PgConnection, tenant: TenantId, hash: BlobHash) -> Result<(), DatabaseError> {
    let name = format!("kado blob {tenant}/{hash}");
    sqlx::query!(
        r#"select pg_advisory_xact_lock(hashtextextended($1, 0))::text as "locked""#,
        name
    )
    .fetch_one(connection)
    .await?;
    Ok(())
}
