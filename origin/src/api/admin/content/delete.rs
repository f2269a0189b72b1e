//! `DELETE /api/admin/content/{id}`: the item is gone.

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
};
use kado_shared::problem::Code;

use super::Row;
use crate::{
    api::openapi::parameters::{IdInPath as IdInPathParameter, IfMatch},
    audit,
    database::DatabaseError,
    http::{authentication::Administrator, conditional::if_match, extract::IdInPath, failure::Failure},
    service::App,
};

/// Deletes an item of the content.
#[utoipa::path(delete, path = "/api/admin/content/{id}", params(IdInPathParameter, IfMatch),
    responses(
        (status = 204, description = "It is gone."),
        (status = 412, description = "It has changed since it was read."),
    ))]
pub(crate) async fn delete_content(
    State(app): State<App>,
    Administrator(principal): Administrator,
    IdInPath(id): IdInPath,
    headers: HeaderMap,
) -> Result<StatusCode, Failure> {
    let mut transaction = app.database.begin(principal.caller.tenant).await?;
    let deleted = sqlx::query_as!(
        Row,
        "delete from site_contents where id = $1
         returning id, section, key, value, type as kind, label, position, created_at, updated_at",
        id
    )
    .fetch_optional(transaction.connection())
    .await
    .map_err(DatabaseError::from)?
    .ok_or_else(|| Failure::new(Code::NotFound, "There is no such item"))?
    .view();
    if !if_match(&headers, &deleted.etag()) {
        let detail = "The item has changed since it was read: read it again before it is deleted";
        return Err(Failure::new(Code::PreconditionFailed, detail));
    }
    let mut entry = principal.entry(&app, "content.delete");
    entry.target = Some(id.to_string());
    entry.before = Some(deleted.audited());
    audit::record(transaction.connection(), entry).await?;
    transaction.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
