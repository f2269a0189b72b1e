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
use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

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
        .filter(|text| text.parse::<IpAddr>().is_ok())
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

#[cfg(test)]
mod tests {
    use crate::api::testing::{TestApp, unsigned};
    use axum::{
        body::Body,
        http::{Request, request::Builder},
    };
    use kado_shared::{headers, signature::Purpose, tenant::TenantId};
    use sha2::{Digest, Sha256};
    use uuid::Uuid;

    fn empty(builder: Builder) -> Request<Body> {
        builder.body(Body::empty()).unwrap()
    }

    /// The same request once more: a body cannot be cloned, a head can.
    fn again(request: &Request<Body>) -> Request<Body> {
        let mut copy = unsigned(request.method().as_str(), &request.uri().to_string());
        *copy.headers_mut() = request.headers().clone();
        copy
    }

    #[tokio::test]
    async fn without_the_edges_signature_nothing_is_told() {
        let Some(app) = TestApp::start().await else { return };
        for target in [
            "/api/auth/me",
            "/.well-known/jwks.json",
            "/nowhere",
            "/internal/edge-config?host=localhost",
        ] {
            let answer = app.send(unsigned("GET", target)).await;
            assert_eq!(
                (answer.status, answer.json()["code"].as_str()),
                (401, Some("unauthorized")),
                "{target}"
            );
        }
        let router = crate::internal::router(crate::service::App::clone(&app.service));
        let answer = TestApp::read(router, unsigned("GET", "/internal/edge-config?host=localhost")).await;
        assert_eq!(
            (answer.status, answer.json()["code"].as_str()),
            (404, Some("not-found"))
        );
    }

    #[tokio::test]
    async fn a_signature_counts_once_and_for_its_request_only() {
        let Some(app) = TestApp::start().await else { return };
        let request = empty(app.signed("GET", "/.well-known/jwks.json"));
        assert_eq!(app.send(again(&request)).await.status, 200);
        assert_eq!(app.send(again(&request)).await.status, 401, "replayed");

        let mut other_path = empty(app.signed("GET", "/.well-known/jwks.json"));
        *other_path.uri_mut() = "/api/auth/me".parse().unwrap();
        assert_eq!(app.send(other_path).await.status, 401);
        for (name, value) in [
            (headers::KADO_CLIENT_IP, "198.51.100.1"),
            (headers::X_REQUEST_ID, "another-request"),
            (headers::KADO_TENANT, "00000000-0000-0000-0000-000000000008"),
        ] {
            let mut changed = empty(app.signed("GET", "/.well-known/jwks.json"));
            changed.headers_mut().insert(name, value.parse().unwrap());
            assert_eq!(app.send(changed).await.status, 401, "{name}");
        }
        let stale = empty(app.signed("GET", "/.well-known/jwks.json"));
        app.clock.advance(time::Duration::seconds(31));
        assert_eq!(app.send(stale).await.status, 401);
    }

    #[tokio::test]
    async fn a_forwarded_request_never_opens_internal() {
        let Some(app) = TestApp::start().await else { return };
        let target = "/internal/edge-config?host=localhost";
        let router = || crate::internal::router(crate::service::App::clone(&app.service));
        let hash = Some(Sha256::digest(b"").into());
        let forward = empty(app.signed_for(Some(app.tenant), Purpose::Forward, "GET", target, hash));
        assert_eq!(TestApp::read(router(), forward).await.status, 404);
        let internal = empty(app.signed_for(Some(app.tenant), Purpose::Internal, "GET", "/api/auth/me", hash));
        assert_eq!(app.send(internal).await.status, 401);

        let other_body = app.signed_for(Some(app.tenant), Purpose::Internal, "GET", target, hash);
        assert_eq!(
            TestApp::read(router(), other_body.body("x".into()).unwrap())
                .await
                .status,
            404
        );
    }

    #[tokio::test]
    async fn an_unknown_or_suspended_tenant_is_421() {
        let Some(app) = TestApp::start().await else { return };
        for tenant in [Some(TenantId(Uuid::nil())), None] {
            let request = empty(app.signed_for(tenant, Purpose::Forward, "GET", "/.well-known/jwks.json", None));
            let answer = app.send(request).await;
            assert_eq!(
                (answer.status, answer.json()["code"].as_str()),
                (421, Some("misdirected-request"))
            );
        }
        assert_eq!(app.get("/.well-known/jwks.json").await.status, 200);
        app.execute("update tenants set active = false").await;
        app.clock.advance(time::Duration::seconds(2));
        assert_eq!(app.get("/.well-known/jwks.json").await.status, 421);
    }
}
