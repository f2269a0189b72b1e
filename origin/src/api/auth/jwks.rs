//! `GET /.well-known/jwks.json`: the public keys, for whoever verifies our tokens.

use axum::{Json, extract::State, http::header, response::IntoResponse};
use kado_shared::claims::Jwks;

use serde_json::Value;

use crate::{api::openapi::schemas, http::failure::Failure, service::App};

/// [`Jwks`], as the document tells of it.
#[expect(dead_code, reason = "described here, and declared in kado-shared")]
#[derive(utoipa::ToSchema)]
#[schema(as = Jwks)]
struct KeySet {
    #[schema(schema_with = schemas::keys)]
    keys: Vec<Value>,
}

/// Edges know keys from their snapshot, not from here. Where others verify, `kado keys rotate --wait` is given this long.
const CACHE_CONTROL: &str = "public, max-age=300";

/// The public keys, for whoever verifies our tokens.
#[utoipa::path(get, path = "/.well-known/jwks.json",
    responses((status = 200, description = "A JWK set (RFC 7517).", body = KeySet,
        headers(("Cache-Control" = String, description = "`public`, for minutes.")))))]
pub(crate) async fn get_jwks(State(app): State<App>) -> Result<impl IntoResponse, Failure> {
    let keys = app.keyring.current().await?.published.clone();
    Ok(([(header::CACHE_CONTROL, CACHE_CONTROL)], Json(Jwks { keys })))
}

#[cfg(test)]
mod tests {
    use crate::api::testing::TestApp;
    use kado_shared::claims::{Expiry, Jwks, Verifier};

    #[tokio::test]
    async fn what_is_published_verifies_what_was_signed() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let answer = app.get("/.well-known/jwks.json").await;
        assert_eq!(
            (answer.status, answer.header("cache-control")),
            (200, Some("public, max-age=300"))
        );
        let keys: Jwks = serde_json::from_slice(&answer.body).unwrap();
        let verifier = Verifier::new(&keys.keys, TestApp::PUBLIC_URL);
        assert!(verifier.verify(&token, app.now(), Expiry::Required).is_ok());
        assert!(!answer.text().contains("\"d\""), "no private half");
    }
}
