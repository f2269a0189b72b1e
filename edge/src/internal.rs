//! Signed requests to the origin.

use kado_shared::{
    headers::{KADO_CLIENT_IP, KADO_EDGE, KADO_TENANT, TRACEPARENT, X_REQUEST_ID},
    signature::{EdgeKeys, Parts},
};
use sha2::{Digest, Sha256};
use wasm_bindgen::JsValue;
use web_sys::{Headers, Response};

use crate::{environment::Environment, js};

/// On whose behalf a request to the origin is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Principal<'a> {
    /// Tenant; empty for none.
    pub(crate) tenant: &'a str,
    /// Client address; empty for none.
    pub(crate) client_ip: &'a str,
    pub(crate) request_id: &'a str,
    pub(crate) traceparent: &'a str,
}

/// Puts the signature and what it covers onto a request's headers.
pub(crate) fn sign(
    headers: &Headers,
    keys: &EdgeKeys,
    principal: &Principal<'_>,
    method: &str,
    path_and_query: &str,
    body_sha256: Option<[u8; 32]>,
) -> Result<(), JsValue> {
    let parts = Parts {
        method,
        path_and_query,
        tenant: principal.tenant,
        client_ip: principal.client_ip,
        request_id: principal.request_id,
        body_sha256,
    };
    headers.set(KADO_EDGE, &keys.sign(&parts, js::now_ms() / 1000, js::random()?))?;
    for (name, value) in [
        (KADO_TENANT, principal.tenant),
        (KADO_CLIENT_IP, principal.client_ip),
        (X_REQUEST_ID, principal.request_id),
        (TRACEPARENT, principal.traceparent),
    ] {
        if value.is_empty() {
            headers.delete(name)?;
        } else {
            headers.set(name, value)?;
        }
    }
    Ok(())
}

/// Asks the origin's internal listener with POST and a JSON body.
pub(crate) async fn post_json(
    environment: &Environment,
    service: Option<&JsValue>,
    path: &str,
    principal: &Principal<'_>,
    body: &str,
    timeout_ms: u64,
) -> Result<Response, JsValue> {
    let url = format!("{}{path}", environment.internal_url);
    let headers = [("content-type", "application/json")];
    let request = js::request("POST", &url, &headers, Some(&JsValue::from_str(body)), Some(timeout_ms))?;
    let body_sha256: [u8; 32] = Sha256::digest(body.as_bytes()).into();
    let keys = &environment.internal_keys;
    sign(&request.headers(), keys, principal, "POST", path, Some(body_sha256))?;
    js::fetch(service, &request).await
}

/// Asks the origin's internal listener with GET.
pub(crate) async fn get(
    environment: &Environment,
    service: Option<&JsValue>,
    path_and_query: &str,
    principal: &Principal<'_>,
    extra: &[(&str, &str)],
    timeout_ms: u64,
) -> Result<Response, JsValue> {
    ask(
        environment,
        service,
        "GET",
        path_and_query,
        principal,
        extra,
        timeout_ms,
    )
    .await
}

/// The same with POST and no body: what is asked for stands in the headers.
pub(crate) async fn post(
    environment: &Environment,
    service: Option<&JsValue>,
    path_and_query: &str,
    principal: &Principal<'_>,
    extra: &[(&str, &str)],
    timeout_ms: u64,
) -> Result<Response, JsValue> {
    ask(
        environment,
        service,
        "POST",
        path_and_query,
        principal,
        extra,
        timeout_ms,
    )
    .await
}

async fn ask(
    environment: &Environment,
    service: Option<&JsValue>,
    method: &str,
    path_and_query: &str,
    principal: &Principal<'_>,
    extra: &[(&str, &str)],
    timeout_ms: u64,
) -> Result<Response, JsValue> {
    let url = format!("{}{path_and_query}", environment.internal_url);
    let request = js::request(method, &url, extra, None, Some(timeout_ms))?;
    let empty_body: [u8; 32] = Sha256::digest(b"").into();
    sign(
        &request.headers(),
        &environment.internal_keys,
        principal,
        method,
        path_and_query,
        Some(empty_body),
    )?;
    js::fetch(service, &request).await
}
