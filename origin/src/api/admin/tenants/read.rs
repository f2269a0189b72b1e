//! `GET /api/admin/tenants/{id}`: one tenant, with the `ETag` that a change may be made conditional on.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};

use super::{TenantView, load, no_tenant};
use crate::{
    api::openapi::parameters::IdInPath as IdInPathParameter,
    http::{authentication::Administrator, extract::IdInPath, failure::Failure},
    service::App,
    tenants::operator::Sight,
};

/// One tenant: any for administrators of an operator tenant, for others their own.
#[utoipa::path(get, path = "/api/admin/tenants/{id}", params(IdInPathParameter),
    responses((status = 200, description = "The tenant.", body = TenantView, headers(("ETag" = String, description = "For `If-Match`.")))))]
pub(crate) async fn get_tenant(
    State(app): State<App>,
    Administrator(principal): Administrator,
    IdInPath(id): IdInPath,
) -> Result<Response, Failure> {
    let mut sight = Sight::begin(&app, &principal).await?;
    let row = load(sight.connection(), id).await?.ok_or_else(no_tenant)?;
    sight.commit().await?;
    Ok((row.headers(), Json(row.view())).into_response())
}
