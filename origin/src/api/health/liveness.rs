//! `GET /api/health/liveness`: the process answers. It touches nothing, so nothing else can make it fail.

use axum::{http::header, response::IntoResponse};

/// The answer, as the document tells of it.
#[expect(dead_code, reason = "described here, and written as it is")]
#[derive(utoipa::ToSchema)]
struct Alive {
    ok: bool,
    #[schema(pattern = "^alive$")]
    status: String,
}

/// The process answers; nothing is touched for it.
#[utoipa::path(get, path = "/api/health/liveness", responses((status = 200, description = "It lives.", body = Alive)))]
pub(crate) async fn get_liveness() -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "application/json")],
        r#"{"ok":true,"status":"alive"}"#,
    )
}

#[cfg(test)]
mod tests {
    use crate::api::testing::{TestApp, unsigned};

    #[tokio::test]
    async fn it_is_exact_and_needs_no_database() {
        let app = TestApp::without_database();
        let answer = app.send(unsigned("GET", "/api/health/liveness")).await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, r#"{"ok":true,"status":"alive"}"#)
        );
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
}
