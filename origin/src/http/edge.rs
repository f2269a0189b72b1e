//! Who may speak to this service at all: the edge, by its signature.
//!
//! A forwarded request is signed with one key, a request to `/internal` with another, and each counts once. Without a
//! valid signature the public listener answers 401 and the internal one 404.

use axum::{
    body::Body,
    extract::{Request, State},
    http::HeaderMap,
    middleware::Next,
    response::Response,
};
use kado_shared::{
    headers,
    problem::Code,
    signature::{EdgeKeys, NonceMemory, Parts, SignatureError},
    tenant::TenantId,
};
use sha2::{Digest, Sha256};
use std::sync::{Arc, Mutex, PoisonError};

use super::{
    context::{Observation, RequestId, read_limited},
    failure::Failure,
};
use crate::{clock::unix, service::App};

/// Largest body of a request to `/internal`, in bytes.
const INTERNAL_BODY_LIMIT: usize = 1024 * 1024;

/// Verifies the signatures of one listener.
#[derive(Debug)]
pub(crate) struct EdgeGuard {
    keys: EdgeKeys,
    nonces: Mutex<NonceMemory>,
}

impl EdgeGuard {
    /// A guard that takes these keys.
    pub(crate) fn new(keys: EdgeKeys) -> Self {
        Self {
            keys,
            nonces: Mutex::default(),
        }
    }

    fn admit(&self, parts: &Parts<'_>, headers: &HeaderMap, now: u64) -> Result<(), SignatureError> {
        let header = text(headers, headers::KADO_EDGE).ok_or(SignatureError::Malformed)?;
        let nonce = self.keys.verify(parts, header, now)?;
        // Only after the check, so that nobody but the edge can fill the memory.
        self.nonces
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remember(nonce, now)
    }
}

/// On whose behalf the edge speaks.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// Tenant of the host that was asked; it exists and is active.
    pub(crate) tenant: TenantId,
    /// Client address as the edge saw it; empty where it saw none.
    pub(crate) client_ip: Arc<str>,
}

/// Lets forwarded requests through, with their [`Caller`].
pub(crate) async fn require_forward(
    State(app): State<App>,
    mut request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let now = unix(app.clock.now());
    verified(&app.forward, &request, None, now).map_err(|error| {
        Failure::new(Code::Unauthorized, "This service is spoken to through its edge").because(&error)
    })?;
    let tenant = text(request.headers(), headers::KADO_TENANT)
        .and_then(|text| text.parse::<TenantId>().ok())
        .ok_or_else(|| Failure::new(Code::MisdirectedRequest, "No site is served under this host"))?;
    if !app.tenants.is_active(&app.database, tenant, app.clock.now()).await? {
        return Err(Failure::new(
            Code::MisdirectedRequest,
            "No site is served under this host",
        ));
    }
    if let Some(observation) = request.extensions().get::<Arc<Observation>>() {
        let _ = observation.tenant.set(tenant.0);
    }
    let client_ip = text(request.headers(), headers::KADO_CLIENT_IP)
        .unwrap_or_default()
        .into();
    request.extensions_mut().insert(Caller { tenant, client_ip });
    Ok(next.run(request).await)
}

/// Lets the edge's own requests through. Their body is part of the signature, so it is read here.
pub(crate) async fn require_internal(
    State(app): State<App>,
    request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let now = unix(app.clock.now());
    let hidden = || Failure::new(Code::NotFound, "There is nothing at this address");
    // Nothing is read for somebody who does not even claim to be the edge.
    if text(request.headers(), headers::KADO_EDGE).is_none() {
        return Err(hidden());
    }
    let (parts, body) = request.into_parts();
    let body = read_limited(body, INTERNAL_BODY_LIMIT).await?;
    let request = Request::from_parts(parts, Body::from(body.clone()));
    verified(&app.internal, &request, Some(Sha256::digest(&body).into()), now)
        .map_err(|error| hidden().because(&error))?;
    if let (Some(observation), Some(tenant)) = (
        request.extensions().get::<Arc<Observation>>(),
        signed_tenant(request.headers()),
    ) {
        let _ = observation.tenant.set(tenant.0);
    }
    Ok(next.run(request).await)
}

/// The tenant a verified request speaks for, where it speaks for one.
pub(crate) fn signed_tenant(headers: &HeaderMap) -> Option<TenantId> {
    text(headers, headers::KADO_TENANT)?.parse().ok()
}

fn verified(
    guard: &EdgeGuard,
    request: &Request,
    body_sha256: Option<[u8; 32]>,
    now: u64,
) -> Result<(), SignatureError> {
    let headers = request.headers();
    // The identifier is signed as it was sent, which is what `context` took over if it is acceptable at all.
    let request_id = request
        .extensions()
        .get::<RequestId>()
        .map(RequestId::as_str)
        .unwrap_or_default();
    let parts = Parts {
        method: request.method().as_str(),
        path_and_query: request.uri().path_and_query().map_or("/", |target| target.as_str()),
        tenant: text(headers, headers::KADO_TENANT).unwrap_or_default(),
        client_ip: text(headers, headers::KADO_CLIENT_IP).unwrap_or_default(),
        request_id,
        body_sha256,
    };
    guard.admit(&parts, headers, now)
}

/// A header that was sent exactly once and is visible ASCII.
fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() {
        None
    } else {
        value.to_str().ok()
    }
}
