//! What the world talks to.
//!
//! Order of a request: who and where (exchange, route), which tenant (snapshot), how often (limits), who says so
//! (credentials), and then the picture or the origin. Every answer leaves through one place, which adds what all answers
//! carry and writes the one log line.

mod api_keys;
mod credentials;
mod forward;
mod heavy;
mod image;
mod limits;
mod maintenance;
mod rendering;
mod route;
mod shadow;
mod site_files;
mod snapshot;
pub(crate) mod telemetry;

use std::rc::Rc;

use kado_shared::{
    api_route::{self, Target},
    client_ip::ClientIpSource,
    cors,
    edge_config::TOO_OLD_MS,
    headers::X_REQUEST_ID,
    path_guard::PathError,
    problem::{Code, Problem},
    security_headers::{self, Surface},
};
use wasm_bindgen::JsValue;
use web_sys::{Request, Response};
use worker::{Context, Env};

use crate::{
    answer::{Answer, Refusal},
    environment::Environment,
    exchange::Exchange,
    js,
};
use route::{Credentials, Forwarded, NoRoute, Route};
use snapshot::Snapshot;

/// What every part of the gateway needs; cheap to clone into what runs behind a request.
#[derive(Clone, Debug)]
pub(crate) struct Gateway {
    pub(crate) environment: Rc<Environment>,
    pub(crate) env: Env,
    pub(crate) request_id: Rc<str>,
    pub(crate) traceparent: Rc<str>,
}

impl Gateway {
    /// A service binding; `None` on Cloudflare, where its address is configured instead.
    pub(crate) fn binding(&self, name: &str) -> Option<JsValue> {
        js::binding(&self.env, name)
    }

    /// Whether objects are made one per key: on Cloudflare they are spread over the world, self-hosted they share a disk.
    pub(crate) fn one_object_per_key(&self) -> bool {
        self.environment.client_ip == ClientIpSource::Cloudflare
    }
}

/// Facts of a request that only its handling knows, for its log line.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) route: &'static str,
    pub(crate) tenant: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) cache: Option<&'static str>,
    /// Every limit that counted it, and what that said.
    pub(crate) limits: Vec<(String, limits::Outcome)>,
    pub(crate) lane: Option<&'static str>,
    /// Header that announces maintenance.
    pub(crate) announcement: Option<(&'static str, String)>,
}

/// Serves a request.
pub(crate) async fn handle(
    request: Request,
    environment: Rc<Environment>,
    env: Env,
    context: Context,
) -> Result<Response, JsValue> {
    let exchange = Exchange::read(request, &environment)?;
    let gateway = Gateway {
        environment,
        env,
        request_id: exchange.id.as_str().into(),
        traceparent: exchange.trace.to_string().into(),
    };
    if let Some(metrics) = telemetry::scrape::answer(&gateway, &exchange).await {
        return metrics.into_response();
    }
    let mut facts = Facts::default();
    let (surface, mut answer, cors_origins) = match serve(&gateway, &exchange, &context, &mut facts).await {
        Served {
            surface,
            result: Ok(answer),
            cors,
        } => (surface, answer, cors),
        Served {
            surface,
            result: Err(refusal),
            cors,
        } => (surface, refusal.into_answer(&exchange.id), cors),
    };
    if surface == Surface::Api {
        let preflight = exchange.method == "OPTIONS";
        for (name, value) in cors::headers(&cors_origins, exchange.header("origin").as_deref(), preflight) {
            if name == "vary" {
                answer.append(name, &value);
            } else {
                answer.set(name, &value);
            }
        }
    }
    for (name, value) in security_headers::of(surface, gateway.environment.production) {
        // The page about the API brings a policy that names its one style.
        if name == "content-security-policy" && surface == Surface::Api && answer.header(name).is_some() {
            continue;
        }
        answer.set(name, value);
    }
    answer.set(X_REQUEST_ID, &exchange.id);
    if let Some((name, value)) = &facts.announcement {
        answer.set(name, value);
    }
    if exchange.method == "HEAD" {
        answer = answer.without_body();
    }
    log(&exchange, &answer, &facts);
    telemetry::answered(&gateway, &exchange, &context, &answer, &facts);
    answer.into_response()
}

/// What came of a request, and what its headers depend on.
struct Served {
    surface: Surface,
    result: Result<Answer, Refusal>,
    cors: Vec<String>,
}

async fn serve(gateway: &Gateway, exchange: &Exchange, context: &Context, facts: &mut Facts) -> Served {
    let api = |result| Served {
        surface: Surface::Api,
        result,
        cors: Vec::new(),
    };
    let route = match route::find(&exchange.method, &exchange.path) {
        Ok(route) => route,
        Err(none) => {
            facts.route = "none";
            return api(Err(refuse_route(none)));
        }
    };
    match route {
        Route::Liveness => {
            facts.route = "/api/health/liveness";
            let body = br#"{"ok":true,"status":"alive"}"#.to_vec();
            api(Ok(
                Answer::bytes(200, "application/json", body).with("cache-control", "no-store")
            ))
        }
        Route::Readiness => {
            facts.route = "/api/health";
            let result = match limits::check_readiness(gateway, exchange, facts).await {
                Ok(standing) => standing.on(forward::readiness(gateway, exchange).await),
                Err(refusal) => Err(refusal),
            };
            api(result)
        }
        Route::Image { options, source } => {
            facts.route = "/img/{options}/{source}";
            let result = image::serve(gateway, exchange, context, facts, options, source).await;
            Served {
                surface: Surface::Image,
                result,
                cors: Vec::new(),
            }
        }
        Route::Favicon => {
            facts.route = "/favicon.ico";
            api(Err(site_files::favicon()))
        }
        Route::Robots | Route::Security => {
            let robots = route == Route::Robots;
            facts.route = if robots {
                "/robots.txt"
            } else {
                "/.well-known/security.txt"
            };
            let snapshot = match snapshot::of_host(gateway, &exchange.host, context).await {
                Ok(snapshot) => snapshot,
                Err(refusal) => return api(Err(refusal)),
            };
            facts.tenant = Some(snapshot.config.tenant.id.to_string());
            api(if robots {
                Ok(site_files::robots(&snapshot))
            } else {
                site_files::security(exchange, &snapshot)
            })
        }
        Route::Origin(forwarded) => {
            facts.route = match api_route::find(&exchange.method, &exchange.path) {
                Target::Known(template) | Target::OtherMethod(template, _) => template,
                Target::Unknown => "/api/{path}",
            };
            let snapshot = match snapshot::of_host(gateway, &exchange.host, context).await {
                Ok(snapshot) => snapshot,
                Err(refusal) => return api(Err(refusal)),
            };
            facts.tenant = Some(snapshot.config.tenant.id.to_string());
            let cors = snapshot.settings.texts("corsOrigins");
            let result = api_request(gateway, exchange, context, facts, &snapshot, forwarded).await;
            Served {
                surface: Surface::Api,
                result,
                cors,
            }
        }
    }
}

async fn api_request(
    gateway: &Gateway,
    exchange: &Exchange,
    context: &Context,
    facts: &mut Facts,
    snapshot: &Snapshot,
    forwarded: Forwarded,
) -> Result<Answer, Refusal> {
    if exchange.method == "OPTIONS" && exchange.header("access-control-request-method").is_some() {
        return Ok(Answer::empty(204));
    }
    let mut standing = limits::check(gateway, exchange, facts, snapshot, forwarded.limit.0).await?;
    let result = async {
        maintenance::check(exchange, snapshot, facts)?;
        let most_bytes = check_body_size(exchange, snapshot, forwarded)?;
        let wanted = credentials::wanted(exchange, forwarded.credentials);
        if wanted != Credentials::None {
            let too_old = |snapshot: &Snapshot| js::now_ms().saturating_sub(snapshot.confirmed_ms) > TOO_OLD_MS;
            let insisted = if too_old(snapshot) {
                snapshot::insist(gateway, &exchange.host).await
            } else {
                None
            };
            let snapshot = insisted.as_ref().unwrap_or(snapshot);
            if too_old(snapshot) {
                let detail = "the edge has not heard of the origin for 15 minutes, so it takes no token's word";
                return Err(Refusal::new(Code::Unavailable, detail).with("retry-after", "30"));
            }
            let who = credentials::check(gateway, exchange, snapshot, wanted).await?;
            facts.user.clone_from(&who.user);
            let of_who = limits::check_who(gateway, exchange, facts, snapshot, &who).await?;
            standing = std::mem::take(&mut standing).and(of_who);
        } else if limits::must_know_who(exchange, snapshot) {
            let who = credentials::who_if_told(gateway, exchange, snapshot).await;
            let of_who = limits::check_who(gateway, exchange, facts, snapshot, &who).await?;
            standing = std::mem::take(&mut standing).and(of_who);
        }
        let asked_ms = js::now_ms();
        let answered = forward::pass_on(gateway, exchange, &snapshot.config.tenant.id.to_string(), most_bytes).await;
        if let Ok(answer) = &answered {
            shadow::repeat(gateway, exchange, context, facts, snapshot, answer, asked_ms);
        }
        telemetry::record::forwarded(gateway, exchange, facts, &answered).await;
        answered
    }
    .await;
    standing.on(result)
}

/// Refuses what is too large before any of it is passed on, and answers the most bytes that may be. A body that lies about its
/// length is cut by the runtime; one that does not tell it is counted on its way.
fn check_body_size(exchange: &Exchange, snapshot: &Snapshot, forwarded: Forwarded) -> Result<u64, Refusal> {
    // The parts around a file in a multipart body.
    const MULTIPART_OVERHEAD: u64 = 64 * 1024;
    let most = forwarded
        .max_body
        .unwrap_or_else(|| snapshot.settings.integer("maxFileSize") + MULTIPART_OVERHEAD);
    let Some(length) = exchange.header("content-length") else {
        return Ok(most);
    };
    match length.parse::<u64>() {
        Ok(length) if length <= most => Ok(most),
        Ok(length) => {
            let detail = format!("the body may have {most} bytes, this one has {length}");
            Err(Problem::new(Code::TooLarge, detail).with_limit(most, length).into())
        }
        Err(_) => Err(Refusal::new(Code::BadRequest, "Content-Length is not a number")),
    }
}

fn refuse_route(none: NoRoute) -> Refusal {
    match none {
        NoRoute::Hostile(PathError::TooLong) => Refusal::new(Code::UriTooLong, PathError::TooLong.to_string()),
        NoRoute::Hostile(error) => Refusal::new(Code::BadPath, error.to_string()),
        NoRoute::NotFound => Refusal::new(Code::NotFound, "nothing is at this address"),
        NoRoute::Method { allow } => {
            Refusal::new(Code::MethodNotAllowed, format!("this address answers {allow}")).with("allow", allow)
        }
    }
}

/// `Host` of the health checks of `kado edge`: every 2 s, and of interest only where they fail.
const HEALTH_CHECK_HOST: &str = "health.invalid";

/// The canonical line: everything about one request, once.
fn log(exchange: &Exchange, answer: &Answer, facts: &Facts) {
    if exchange.host == HEALTH_CHECK_HOST && answer.status() == 200 {
        return;
    }
    let bytes = answer
        .header("content-length")
        .and_then(|length| length.parse::<u64>().ok());
    let mut line = serde_json::json!({
        "level": if answer.status() >= 500 { "error" } else { "info" },
        "event": "request",
        "role": "gateway",
        "requestId": exchange.id,
        "traceparent": exchange.trace.to_string(),
        "method": exchange.method,
        "route": facts.route,
        "status": answer.status(),
        "ms": js::now_ms().saturating_sub(exchange.started_ms),
        "bytes": bytes,
        "tenant": facts.tenant,
        "user": facts.user,
        "cache": facts.cache,
        "lane": facts.lane,
        "clientIp": exchange.client_ip_text(),
    });
    if let Some(fields) = line.as_object_mut() {
        fields.extend(limits::for_log(&facts.limits));
    }
    crate::log::line(&line);
}
