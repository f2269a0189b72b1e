//! `GET /api/admin/content/{id}`: one item, with an entity tag for a later change.

use axum::{extract::State, response::Response};
use kado_shared::problem::Code;

use super::{ItemView, Row};
use crate::{
    api::openapi::parameters::IdInPath as IdInPathParameter,
    database::DatabaseError,
    http::{authentication::Administrator, extract::IdInPath, failure::Failure},
    service::App,
};

/// One item of the content.
#[utoipa::path(get, path = "/api/admin/content/{id}", params(IdInPathParameter),
    responses((status = 200, description = "The item.", body = ItemView, headers(("ETag" = String, description = "For `If-Match`.")))))]
pub(crate) async fn get_content_item(
    State(app): State<App>,
    Administrator(principal): Administrator,
    IdInPath(id): IdInPath,
) -> Result<Response, Failure> {
    let mut transaction = app.database.begin(principal.caller.tenant).await?;
    let row = sqlx::query_as!(
        Row,
        "select id, section, key, value, type as kind, label, position, created_at, updated_at from site_contents where id = $1",
        id
    )
    .fetch_optional(transaction.connection())
    .await
    .map_err(DatabaseError::from)?
    .ok_or_else(|| Failure::new(Code::NotFound, "There is no such item"))?;
    transaction.commit().await?;
    row.view().answer()
}
