//! Around every request: its identifier, its one log line, its problem document, and the net under a panic.

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use kado_shared::{headers, problem, quota::Standing, request_id};
use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    task::{Context, Poll},
    time::Instant,
};
use uuid::Uuid;

use super::{
    failure::{Failed, Failure},
    linger::Lingering,
};
use crate::{clock::unix, metrics::Answered, service::App, spans::Begun};
use kado_shared::problem::Code;

/// Identifier of a request: the edge's, or a new one.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(Arc<str>);

impl RequestId {
    /// The identifier.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// What becomes known of a request on its way; the first writer wins.
#[derive(Debug, Default)]
pub(crate) struct Observation {
    pub(crate) tenant: OnceLock<Uuid>,
    pub(crate) user: OnceLock<Uuid>,
    /// Where the user stands whose quota was counted; here the last writer wins.
    standing: Mutex<Option<Standing>>,
}

impl Observation {
    /// Notes where the user stands now, for the answer's headers.
    pub(crate) fn stands(&self, standing: Standing) {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) = Some(standing);
    }

    fn standing(&self) -> Option<Standing> {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The middleware.
pub(crate) async fn observe(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = identifier(&app, &request);
    request = request.map(|body| Body::new(Lingering::new(body)));
    let observation = Arc::new(Observation::default());
    let traceparent = request
        .headers()
        .get(headers::TRACEPARENT)
        .and_then(|value| value.to_str().ok());
    let span = app.spans.begin(traceparent);
    request.extensions_mut().insert(id.clone());
    request.extensions_mut().insert(Arc::clone(&observation));
    let mut line = Line {
        app: App::clone(&app),
        request_id: id.clone(),
        trace: trace_of(&request),
        method: request.method().as_str().chars().take(16).collect(),
        route: request
            .extensions()
            .get::<MatchedPath>()
            .map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned()),
        observation,
        span: None,
        started,
        status: 0,
        problem: None,
        cause: None,
        bytes: 0,
    };
    // A panic ends this request and no other.
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind();
    let answered = match &span {
        Some(span) => span.within(answered).await,
        None => answered.await,
    };
    line.span = span;
    let response = answered.unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned());
        let cause = Panicked(text.unwrap_or_default());
        Failure::internal(&cause).into_response()
    });
    finish(response, &id, &mut line).map(|body| Body::new(Observed { inner: body, line }))
}

#[derive(Debug, thiserror::Error)]
#[error("panicked: {0}")]
struct Panicked(String);

fn identifier(app: &App, request: &Request) -> RequestId {
    let given = request
        .headers()
        .get(headers::X_REQUEST_ID)
        .and_then(|value| value.to_str().ok());
    let id = given
        .filter(|id| request_id::is_acceptable(id))
        .map_or_else(|| request_id::from_random(app.entropy.bytes()), str::to_owned);
    RequestId(id.into())
}

fn trace_of(request: &Request) -> Option<String> {
    let given = request.headers().get(headers::TRACEPARENT)?.to_str().ok()?;
    // Version, trace id, parent id, flags: the second is what lines are found by.
    let id = given.split('-').nth(1)?;
    (id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())).then(|| id.to_owned())
}

fn finish(mut response: Response, id: &RequestId, line: &mut Line) -> Response {
    if let Some(Failed { problem, cause }) = response.extensions_mut().remove::<Failed>() {
        let problem = problem.with_request_id(id.as_str());
        line.problem = Some(problem.code);
        line.cause = cause;
        let document = problem.to_json();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(problem::MEDIA_TYPE));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(document.len()));
        *response.body_mut() = Body::from(document);
    } else if response.status().is_server_error() && response.status() != StatusCode::SERVICE_UNAVAILABLE {
        line.cause = Some("a response that says nothing of its reason".to_owned());
    }
    line.status = response.status().as_u16();
    let headers = response.headers_mut();
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    headers
        .entry(header::X_CONTENT_TYPE_OPTIONS)
        .or_insert(HeaderValue::from_static("nosniff"));
    for (name, value) in line.observation.standing().into_iter().flat_map(Standing::headers) {
        headers.insert(name, HeaderValue::from(value));
    }
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        headers.insert(headers::X_REQUEST_ID, value);
    }
    response
}

/// The one line of a request, written when its answer is through or given up.
struct Line {
    app: App,
    request_id: RequestId,
    trace: Option<String>,
    method: String,
    route: String,
    observation: Arc<Observation>,
    span: Option<Begun>,
    started: Instant,
    status: u16,
    problem: Option<&'static str>,
    cause: Option<String>,
    bytes: u64,
}

impl Line {
    fn write(&mut self) {
        let elapsed = self.started.elapsed();
        let ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        self.app.metrics.answered(&Answered {
            route: &self.route,
            status: self.status,
            seconds: elapsed.as_secs_f64(),
            bytes: self.bytes,
            trace_id: self.trace.as_deref(),
            at_ms: unix(self.app.clock.now()) * 1000,
        });
        let text = |id: Option<&Uuid>| id.map(Uuid::to_string);
        let (tenant, user) = (text(self.observation.tenant.get()), text(self.observation.user.get()));
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: "kado::request",
                    event = "request",
                    request_id = self.request_id.as_str(),
                    trace_id = self.trace.as_deref(),
                    tenant = tenant.as_deref(),
                    user = user.as_deref(),
                    method = self.method.as_str(),
                    route = self.route.as_str(),
                    status = self.status,
                    ms,
                    bytes = self.bytes,
                    problem = self.problem,
                    cause = self.cause.as_deref(),
                )
            };
        }
        if self.status >= 500 {
            line!(error);
        } else {
            line!(info);
        }
        if let Some(span) = self.span.take() {
            let mut attributes = BTreeMap::from([
                ("http.request.method".to_owned(), self.method.as_str().into()),
                ("http.route".to_owned(), self.route.as_str().into()),
                ("http.response.status_code".to_owned(), i64::from(self.status).into()),
                ("url.scheme".to_owned(), "http".into()),
                ("kado.request.id".to_owned(), self.request_id.as_str().into()),
            ]);
            if let Some(tenant) = tenant {
                attributes.insert("kado.tenant.id".to_owned(), tenant.as_str().into());
            }
            let error =
                (self.status >= 500).then(|| self.problem.map_or_else(|| self.status.to_string(), str::to_owned));
            if let Some(error) = &error {
                attributes.insert("error.type".to_owned(), error.as_str().into());
            }
            span.end(format!("{} {}", self.method, self.route), attributes, error);
        }
    }
}

/// A body that counts what passes and writes the line at its end.
struct Observed {
    inner: Body,
    line: Line,
}

impl HttpBody for Observed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.line.bytes += data.len() as u64;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        self.line.write();
    }
}

/// Reads a body up to a limit.
pub(crate) async fn read_limited(body: Body, limit: usize) -> Result<Bytes, Failure> {
    if let Some(length) = body.size_hint().exact()
        && length > limit as u64
    {
        return Err(too_large(limit as u64, length));
    }
    match http_body_util::Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(too_large(limit as u64, limit as u64 + 1)),
        Err(error) => Err(Failure::new(Code::BadRequest, "The request body ended early").because(error.as_ref())),
    }
}

fn too_large(limit: u64, value: u64) -> Failure {
    Failure::new(
        Code::TooLarge,
        format!("The request body may have at most {limit} bytes"),
    )
    .with_limit(limit, value)
}

#[cfg(test)]
mod tests {
    use crate::{
        api::testing::{TestApp, unsigned},
        service::App,
        telemetry::testing::Captured,
    };
    use axum::{Router, middleware::from_fn_with_state, routing::get};
    use serde_json::json;

    #[tokio::test]
    async fn a_request_has_one_line_and_it_tells_no_secret() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let (captured, _guard) = Captured::start();
        let request = app
            .signed("DELETE", "/api/images/6f1c1b9e-7c0a-4d8e-9d51-0b8f5a1f2e3d")
            .header("authorization", format!("Bearer {token}"))
            .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        let answer = app.send(request.body("".into()).unwrap()).await;
        let lines: Vec<_> = captured
            .lines()
            .into_iter()
            .filter(|line| line["event"] == "request")
            .collect();
        assert_eq!(lines.len(), 1);
        let line = &lines[0];
        assert_eq!(
            (&line["route"], &line["method"]),
            (&json!("/api/images/{id}"), &json!("DELETE"))
        );
        assert_eq!(
            (&line["status"], &line["level"], &line["problem"]),
            (&json!(404), &json!("info"), &json!("not-found"))
        );
        assert_eq!(line["bytes"], answer.body.len());
        assert_eq!(line["tenant"], app.tenant.to_string());
        assert!(line["user"].is_string() && line["ms"].is_u64());
        assert_eq!(line["trace_id"], "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(line["request_id"].as_str(), answer.header("x-request-id"));
        assert!(!captured.lines().iter().any(|line| line.to_string().contains(&token)));
    }

    #[tokio::test]
    async fn a_panic_ends_its_request_alone_and_is_logged() {
        let app = TestApp::without_database();
        let (captured, _guard) = Captured::start();
        let router = || {
            Router::new()
                .route("/panics", get(|| async { panic!("a defect") as () }))
                .route("/works", get(|| async { "fine" }))
                .layer(from_fn_with_state(App::clone(&app.service), super::observe))
        };
        let answer = TestApp::read(router(), unsigned("GET", "/panics")).await;
        assert_eq!((answer.status, &answer.json()["code"]), (500, &json!("internal")));
        assert!(!answer.text().contains("a defect"));
        let lines = captured.lines();
        assert_eq!(
            (&lines[0]["level"], &lines[0]["cause"]),
            (&json!("error"), &json!("panicked: a defect"))
        );
        assert_eq!(TestApp::read(router(), unsigned("GET", "/works")).await.status, 200);
    }

    #[tokio::test]
    async fn an_identifier_from_outside_is_taken_over_only_if_it_is_plain() {
        let app = TestApp::without_database();
        for (given, taken) in [("abc-12345", true), ("short", false), ("has space in it", false)] {
            let mut request = unsigned("GET", "/api/health/liveness");
            request.headers_mut().insert("x-request-id", given.parse().unwrap());
            let answer = app.send(request).await;
            assert_eq!(answer.header("x-request-id") == Some(given), taken, "{given}");
        }
    }
}
