//! `GET /api/health/liveness`: the process answers. It touches nothing, so nothing else can make it fail.

use axum::{http::header, response::IntoResponse};

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
