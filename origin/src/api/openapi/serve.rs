//! `GET /api/openapi.json` and `GET /api/docs`: the document, and the same as a page for people.

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use kado_shared::conditional::none_match_names;
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

use super::{DOCUMENT, html, parameters::IfNoneMatch};
use crate::hex;

/// It changes with the binary alone.
const CACHE_CONTROL: &str = "public, max-age=300";

/// Bytes that are made once, and what is told with them.
struct Page {
    media_type: &'static str,
    body: Vec<u8>,
    etag: String,
    policy: String,
}

impl Page {
    fn new(media_type: &'static str, body: Vec<u8>, policy: String) -> Self {
        let etag = format!("\"{}\"", hex::encode(&Sha256::digest(&body)[..16]));
        Self {
            media_type,
            body,
            etag,
            policy,
        }
    }

    fn answer(&'static self, headers: &HeaderMap) -> Response {
        let given = headers.get_all(header::IF_NONE_MATCH).iter();
        let is_known = given
            .filter_map(|value| value.to_str().ok())
            .any(|tags| none_match_names(tags, &self.etag));
        let mut response = if is_known {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            ([(header::CONTENT_TYPE, self.media_type)], self.body.as_slice()).into_response()
        };
        let told = [
            (header::CACHE_CONTROL, CACHE_CONTROL),
            (header::ETAG, &self.etag),
            (header::CONTENT_SECURITY_POLICY, &self.policy),
        ];
        for (name, value) in told {
            if let Ok(value) = HeaderValue::from_str(value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

static JSON: LazyLock<Page> = LazyLock::new(|| {
    let body = DOCUMENT.to_string().into_bytes();
    Page::new("application/json", body, policy("'none'"))
});

static HTML: LazyLock<Page> = LazyLock::new(|| {
    // The one style is named by its hash: nothing else of a page counts, whatever came into it.
    let style = format!("'sha256-{}'", STANDARD.encode(Sha256::digest(html::STYLE)));
    let body = html::page(&DOCUMENT).into_bytes();
    Page::new("text/html; charset=utf-8", body, policy(&style))
});

fn policy(style: &str) -> String {
    format!("default-src 'none'; style-src {style}; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
}

/// This document.
#[utoipa::path(get, path = "/api/openapi.json", params(IfNoneMatch),
    responses(
        (status = 200, description = "OpenAPI 3.1.", content_type = "application/json", body = Object,
            headers(("ETag" = String, description = "Strong entity tag."), ("Cache-Control" = String, description = "`public`, for minutes."))),
        (status = 304, description = "The client has it."),
    ))]
pub(crate) async fn get_openapi(headers: HeaderMap) -> Response {
    JSON.answer(&headers)
}

/// The same as a page for people.
#[utoipa::path(get, path = "/api/docs", params(IfNoneMatch),
    responses(
        (status = 200, description = "HTML without scripts.", content_type = "text/html", body = String,
            headers(("ETag" = String, description = "Strong entity tag."), ("Cache-Control" = String, description = "`public`, for minutes."))),
        (status = 304, description = "The client has it."),
    ))]
pub(crate) async fn get_docs(headers: HeaderMap) -> Response {
    HTML.answer(&headers)
}

#[cfg(test)]
mod tests {
    use crate::api::testing::TestApp;
    use axum::body::Body;

    #[tokio::test]
    async fn the_document_is_open_to_all_and_may_be_kept() {
        let Some(app) = TestApp::start().await else { return };
        for (target, media_type) in [
            ("/api/openapi.json", "application/json"),
            ("/api/docs", "text/html; charset=utf-8"),
        ] {
            let answer = app.get(target).await;
            assert_eq!(
                (
                    answer.status,
                    answer.header("content-type"),
                    answer.header("cache-control")
                ),
                (200, Some(media_type), Some("public, max-age=300"))
            );
            let etag = answer.header("etag").unwrap();
            let again = app
                .signed("GET", target)
                .header("if-none-match", format!("\"x\", {etag}"));
            let again = app.send(again.body(Body::empty()).unwrap()).await;
            assert_eq!(
                (again.status, again.body.len(), again.header("etag")),
                (304, 0, Some(etag))
            );
        }
        assert_eq!(app.get("/api/openapi.json").await.json()["openapi"], "3.1.0");
    }

    #[tokio::test]
    async fn the_page_has_every_operation_and_nothing_that_runs() {
        let Some(app) = TestApp::start().await else { return };
        let answer = app.get("/api/docs").await;
        let (page, policy) = (answer.text(), answer.header("content-security-policy").unwrap());
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"));
        for methods in super::DOCUMENT["paths"].as_object().unwrap().values() {
            for operation in methods.as_object().unwrap().values() {
                let id = operation["operationId"].as_str().unwrap();
                assert!(page.contains(&format!("id=\"{id}\"")), "{id}");
            }
        }
        for active in ["<script", " style=", " onclick", "http://", "@import", "url("] {
            assert!(!page.contains(active), "{active}");
        }
    }
}
