//! `GET /api/admin/settings`: every setting by section, with type, default, range, description and where its value is from.

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};

use super::listing;
use crate::{
    http::{authentication::Administrator, failure::Failure},
    service::App,
    settings::{self, Layers},
};

/// Every setting by section, with what it may be and what is in force.
#[utoipa::path(get, path = "/api/admin/settings",
    responses((status = 200, description = "The settings.", body = ref("#/components/schemas/Settings"), content_type = "application/json",
        headers(("ETag" = String, description = "For `If-Match`.")))))]
pub(crate) async fn get_settings(
    State(app): State<App>,
    Administrator(principal): Administrator,
) -> Result<Response, Failure> {
    let mut transaction = app.database.begin(principal.caller.tenant).await?;
    let layers = settings::load(transaction.connection(), principal.caller.tenant).await?;
    transaction.commit().await?;
    answer(&layers)
}

/// The listing with its entity tag, for a later `If-Match`.
pub(super) fn answer(layers: &Layers) -> Result<Response, Failure> {
    let etag = HeaderValue::from_str(&layers.etag()).map_err(|error| Failure::internal(&error))?;
    Ok(([(header::ETAG, etag)], Json(listing(layers))).into_response())
}

#[cfg(test)]
mod tests {
    use crate::api::testing::TestApp;

    #[tokio::test]
    async fn an_administrator_sees_every_setting() {
        let Some(app) = TestApp::start().await else { return };
        let answer = app.get_as(&app.admin_token().await, "/api/admin/settings").await;
        let body = answer.json();
        let size = &body["sections"]["uploads"]["maxFileSize"];
        assert_eq!(
            (answer.status, &size["value"], &size["origin"]),
            (200, &8_388_608.into(), &"default".into())
        );
        assert_eq!(size["range"]["unit"], "bytes");
        let count: usize = body["sections"]
            .as_object()
            .unwrap()
            .values()
            .map(|section| section.as_object().unwrap().len())
            .sum();
        assert_eq!(count, kado_shared::settings::SETTINGS.len());
    }

    #[tokio::test]
    async fn nobody_else_does() {
        let Some(app) = TestApp::start().await else { return };
        app.execute("update users set role = 'PREMIUM'").await;
        assert_eq!(
            app.get_as(&app.admin_token().await, "/api/admin/settings").await.status,
            403
        );
        assert_eq!(app.get("/api/admin/settings").await.status, 401);
    }
}
