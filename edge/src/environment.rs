//! What the Worker was configured with, read once an isolate.

use std::cell::OnceCell;
use std::rc::Rc;

use kado_shared::{
    client_ip::{ClientIpError, ClientIpSource, TrustedProxies},
    secret::Secret,
    signature::{EdgeKeys, Purpose, WeakSecret},
};
use wasm_bindgen::JsValue;
use worker::Env;

use crate::js;

/// Which half of the system this process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Gateway,
    Transform,
}

/// Configuration, parsed.
#[derive(Debug)]
pub(crate) struct Environment {
    pub(crate) role: Role,
    pub(crate) production: bool,
    pub(crate) client_ip: ClientIpSource,
    pub(crate) proxies: TrustedProxies,
    pub(crate) forward_keys: EdgeKeys,
    pub(crate) internal_keys: EdgeKeys,
    /// Address of the origin where it is no service binding; without trailing slash.
    pub(crate) origin_url: String,
    /// Address of the origin's internal listener where it is no service binding; without trailing slash.
    pub(crate) internal_url: String,
    /// Address of the origin that a share of requests is repeated to, or of its service binding; empty for none.
    pub(crate) shadow_url: String,
}

/// What is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EnvironmentError {
    #[error("ROLE must be gateway or transform, not {0:?}")]
    Role(String),
    #[error(transparent)]
    ClientIp(#[from] ClientIpError),
    #[error(transparent)]
    Secret(#[from] WeakSecret),
}

/// Bytes for what a gateway remembers of its clients, in linear memory, which never shrinks: taken when an isolate starts, so that
/// it does not grow under load. Some 10,000 clients are remembered in them; the bounds of what is remembered end it at some three
/// times as much.
const RESERVED_BYTES: usize = 12 * 1024 * 1024;

thread_local! {
    static CURRENT: OnceCell<Rc<Environment>> = const { OnceCell::new() };
}

impl Environment {
    /// The configuration of this isolate.
    pub(crate) fn of(env: &Env) -> Result<Rc<Self>, EnvironmentError> {
        if let Some(known) = CURRENT.with(|current| current.get().cloned()) {
            return Ok(known);
        }
        let read = Rc::new(Self::read(env)?);
        if read.role == Role::Gateway {
            reserve(RESERVED_BYTES);
        }
        Ok(CURRENT.with(|current| Rc::clone(current.get_or_init(|| read))))
    }

    fn read(env: &JsValue) -> Result<Self, EnvironmentError> {
        let text = |name| js::text_binding(env, name);
        let role = match text("ROLE").as_str() {
            "gateway" | "" => Role::Gateway,
            "transform" => Role::Transform,
            other => return Err(EnvironmentError::Role(other.to_owned())),
        };
        let secret = Secret::new(text("EDGE_SECRET"));
        Ok(Self {
            role,
            production: text("ENVIRONMENT") == "production",
            client_ip: ClientIpSource::parse(&text("CLIENT_IP"))?,
            proxies: TrustedProxies::parse(&text("TRUSTED_PROXIES"))?,
            forward_keys: EdgeKeys::from_secret_list(&secret, Purpose::Forward)?,
            internal_keys: EdgeKeys::from_secret_list(&secret, Purpose::Internal)?,
            origin_url: base_url(&text("ORIGIN_URL"), "http://origin"),
            internal_url: base_url(&text("INTERNAL_URL"), "http://internal"),
            shadow_url: text("SHADOW_URL").trim_end_matches('/').to_owned(),
        })
    }
}

/// Grows linear memory: what is given back here is what comes next.
fn reserve(bytes: usize) {
    let block: Vec<u8> = Vec::with_capacity(bytes);
    // Nobody looks at it, which must not make the compiler leave it out.
    std::hint::black_box(block.as_ptr());
}

/// A base address without trailing slash; behind a service binding its host plays no part.
fn base_url(configured: &str, binding: &str) -> String {
    let url = if configured.is_empty() { binding } else { configured };
    url.trim_end_matches('/').to_owned()
}
