//! `GET /api/admin/users/{id}`: one user, with the `ETag` that a change may be made conditional on.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use kado_shared::problem::Code;
use time::OffsetDateTime;

use super::{Row, UserView, load};
use crate::{
    api::openapi::parameters::IdInPath as IdInPathParameter,
    http::{authentication::Administrator, extract::IdInPath, failure::Failure},
    service::App,
};

/// One user.
#[utoipa::path(get, path = "/api/admin/users/{id}", params(IdInPathParameter),
    responses((status = 200, description = "The user.", body = UserView, headers(("ETag" = String, description = "For `If-Match`.")))))]
pub(crate) async fn get_user(
    State(app): State<App>,
    Administrator(principal): Administrator,
    IdInPath(id): IdInPath,
) -> Result<Response, Failure> {
    let mut transaction = app.database.begin(principal.caller.tenant).await?;
    let row = load(transaction.connection(), id).await?.ok_or_else(no_user)?;
    transaction.commit().await?;
    Ok(answer(row, app.clock.now()))
}

/// A user and the tag.
pub(super) fn answer(row: Row, now: OffsetDateTime) -> Response {
    let tag = HeaderValue::from_str(&row.etag());
    let mut headers = HeaderMap::new();
    if let Ok(tag) = tag {
        headers.insert(header::ETAG, tag);
    }
    (headers, Json(row.view(now))).into_response()
}

pub(super) fn no_user() -> Failure {
    Failure::new(Code::NotFound, "There is no such user")
}
