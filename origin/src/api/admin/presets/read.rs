//! `GET /api/admin/presets/{name}`: one preset, with an entity tag for a later change.

use axum::{extract::State, response::Response};
use kado_shared::problem::Code;

use super::{PresetView, Row};
use crate::{
    api::openapi::parameters::PresetInPath,
    database::DatabaseError,
    http::{authentication::Administrator, extract::NameInPath, failure::Failure},
    service::App,
};

/// One preset.
#[utoipa::path(get, path = "/api/admin/presets/{name}", params(PresetInPath),
    responses((status = 200, description = "The preset.", body = PresetView, headers(("ETag" = String, description = "For `If-Match`.")))))]
pub(crate) async fn get_preset(
    State(app): State<App>,
    Administrator(principal): Administrator,
    NameInPath(name): NameInPath,
) -> Result<Response, Failure> {
    let mut transaction = app.database.begin(principal.caller.tenant).await?;
    let row = sqlx::query_as!(
        Row,
        "select id, name, options, title, description, branding, created_at, updated_at from presets where name = $1",
        name
    )
    .fetch_optional(transaction.connection())
    .await
    .map_err(DatabaseError::from)?
    .ok_or_else(|| Failure::new(Code::NotFound, "There is no such preset"))?;
    transaction.commit().await?;
    row.view().answer()
}
