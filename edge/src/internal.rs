//! Signed requests to the origin.

use kado_shared::{
    headers::{KADO_CLIENT_IP, KADO_EDGE, KADO_TENANT, TRACEPARENT, X_REQUEST_ID},
    signature::{EdgeKeys, Parts},
};
use sha2::{Digest, Sha256};
use wasm_bindgen::JsValue;
use web_sys::Response;

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

/// The signature of a request and the fields that it covers.
pub(crate) fn signed(
    keys: &EdgeKeys,
    principal: &Principal<'_>,
    method: &str,
    path_and_query: &str,
    body_sha256: Option<[u8; 32]>,
) -> Result<Vec<(&'static str, String)>, JsValue> {
    let parts = Parts {
        method,
        path_and_query,
        tenant: principal.tenant,
        client_ip: principal.client_ip,
        request_id: principal.request_id,
        body_sha256,
    };
    let signature = keys.sign(&parts, js::now_ms() / 1000, js::random()?);
    let covered = [
        (KADO_TENANT, principal.tenant),
        (KADO_CLIENT_IP, principal.client_ip),
        (X_REQUEST_ID, principal.request_id),
        (TRACEPARENT, principal.traceparent),
    ];
    let covered = covered.into_iter().filter(|(_, value)| !value.is_empty());
    let covered = covered.map(|(name, value)| (name, value.to_owned()));
    Ok(std::iter::once((KADO_EDGE, signature)).chain(covered).collect())
}

/// Whether a field is one that [`signed`] writes.
pub(crate) fn is_written_by_signing(name: &str) -> bool {
    [KADO_EDGE, KADO_TENANT, KADO_CLIENT_IP, X_REQUEST_ID, TRACEPARENT]
        .iter()
        .any(|written| written.eq_ignore_ascii_case(name))
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
    let body_sha256: [u8; 32] = Sha256::digest(body.as_bytes()).into();
    let signed = signed(&environment.internal_keys, principal, "POST", path, Some(body_sha256))?;
    let fields = signed.iter().map(|(name, value)| (*name, value.as_str()));
    let fields = fields.chain([("content-type", "application/json")]);
    let request = js::request("POST", &url, fields, Some(&JsValue::from_str(body)), Some(timeout_ms))?;
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
    let empty_body: [u8; 32] = Sha256::digest(b"").into();
    let signed = signed(
        &environment.internal_keys,
        principal,
        method,
        path_and_query,
        Some(empty_body),
    )?;
    let fields = signed.iter().map(|(name, value)| (*name, value.as_str()));
    let fields = fields.chain(extra.iter().copied());
    let request = js::request(method, &url, fields, None, Some(timeout_ms))?;
    js::fetch(service, &request).await
}
