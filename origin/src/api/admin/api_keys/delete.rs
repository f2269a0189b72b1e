//! `DELETE /api/admin/api-keys/{id}`: the key is dead, here at once and at the edges within seconds.

use axum::{extract::State, http::StatusCode};
use kado_shared::problem::Code;
use serde_json::json;

use crate::{
    api::openapi::parameters::IdInPath as IdInPathParameter,
    audit,
    database::DatabaseError,
    http::{authentication::Administrator, extract::IdInPath, failure::Failure},
    service::App,
};

/// Deletes a key: it is dead here at once, and at the edges within 5 s.
#[utoipa::path(delete, path = "/api/admin/api-keys/{id}", params(IdInPathParameter),
    responses((status = 204, description = "It is dead.")))]
pub(crate) async fn delete_api_key(
    State(app): State<App>,
    Administrator(principal): Administrator,
    IdInPath(id): IdInPath,
) -> Result<StatusCode, Failure> {
    let mut transaction = app.database.begin(principal.caller.tenant).await?;
    let deleted = sqlx::query!("delete from api_keys where id = $1 returning name, scopes", id)
        .fetch_optional(transaction.connection())
        .await
        .map_err(DatabaseError::from)?
        .ok_or_else(|| Failure::new(Code::NotFound, "There is no such key"))?;
    let mut entry = principal.entry(&app, "api-keys.delete");
    entry.target = Some(id.to_string());
    entry.before = Some(json!({ "name": deleted.name, "scopes": deleted.scopes }));
    audit::record(transaction.connection(), entry).await?;
    transaction.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
