//! What this process counts of itself, and `GET /metrics` on the operators' listener.

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
    routing::get,
};
use kado_shared::{
    event::Event,
    exposition::{Durations, Exemplar, Exposition, Format, Kind},
    quota::Action,
};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError, atomic::Ordering},
};

use crate::{clock::unix, http::failure::method_not_allowed, service::App};

/// Different events that are told apart; names come from the edges, so their number is bounded.
const MOST_KINDS: usize = 1000;

/// The counts of a process.
#[derive(Debug, Default)]
pub(crate) struct Metrics(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    /// By route and status.
    requests: BTreeMap<(String, u16), u64>,
    sent_bytes: BTreeMap<String, u64>,
    durations: BTreeMap<String, Durations>,
    events: BTreeMap<EventKind, Sums>,
    /// Of pictures, by lane and stage.
    stages: BTreeMap<(String, &'static str), Durations>,
    /// Most memory of a picture, by lane, in MiB.
    memory_mib: BTreeMap<String, u32>,
    /// By what happened to them.
    sessions: BTreeMap<&'static str, u64>,
    refused_records: u64,
    repeated_events: u64,
    /// By action and whether it was admitted.
    quotas: BTreeMap<(&'static str, bool), u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct EventKind {
    kind: String,
    result: String,
    lane: String,
    format: String,
}

#[derive(Debug, Default)]
struct Sums {
    count: u64,
    bytes_in: u64,
    bytes_out: u64,
    milliseconds: u64,
}

/// A request that is through.
#[derive(Debug)]
pub(crate) struct Answered<'a> {
    pub(crate) route: &'a str,
    pub(crate) status: u16,
    pub(crate) seconds: f64,
    pub(crate) bytes: u64,
    pub(crate) trace_id: Option<&'a str>,
    pub(crate) at_ms: u64,
}

impl Metrics {
    fn with(&self, change: impl FnOnce(&mut Counted)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Counts a request.
    pub(crate) fn answered(&self, answered: &Answered<'_>) {
        let exemplar = answered.trace_id.map(|trace_id| Exemplar {
            trace_id: trace_id.to_owned(),
            value: answered.seconds,
            at_ms: answered.at_ms,
        });
        self.with(|counted| {
            let route = answered.route.to_owned();
            *counted.requests.entry((route.clone(), answered.status)).or_default() += 1;
            *counted.sent_bytes.entry(route.clone()).or_default() += answered.bytes;
            counted
                .durations
                .entry(route)
                .or_default()
                .observe(answered.seconds, exemplar);
        });
    }

    /// Counts what happened to a session: `opened`, `rotated`, `repeated`, `replayed`, `ended`.
    pub(crate) fn session(&self, what: &'static str, sessions: u64) {
        self.with(|counted| *counted.sessions.entry(what).or_default() += sessions);
    }

    /// Counts what was asked of a quota.
    pub(crate) fn spent(&self, action: Action, count: u32, admitted: bool) {
        self.with(|counted| {
            *counted.quotas.entry((action.as_str(), admitted)).or_default() += u64::from(count);
        });
    }

    /// Counts events that were stored for the first time, and how many of a batch were not.
    pub(crate) fn stored(&self, events: &[&Event], repeated: u64, refused: u64) {
        self.with(|counted| {
            counted.repeated_events += repeated;
            counted.refused_records += refused;
            for event in events {
                let mut kind = EventKind {
                    kind: event.kind.clone(),
                    result: event.result.clone(),
                    lane: event.picture.lane.clone().unwrap_or_default(),
                    format: event.picture.format.clone().unwrap_or_default(),
                };
                if counted.events.len() >= MOST_KINDS && !counted.events.contains_key(&kind) {
                    let other = || "other".to_owned();
                    kind = EventKind {
                        kind: other(),
                        result: other(),
                        lane: other(),
                        format: other(),
                    };
                }
                observe_stages(counted, &kind.lane, event);
                let sums = counted.events.entry(kind).or_default();
                sums.count += 1;
                sums.bytes_in += event.picture.bytes_in.unwrap_or_default();
                sums.bytes_out += event.picture.bytes_out.unwrap_or_default();
                sums.milliseconds += u64::from(event.ms);
            }
        });
    }
}

fn observe_stages(counted: &mut Counted, lane: &str, event: &Event) {
    let picture = &event.picture;
    for (stage, milliseconds) in [("source", picture.source_ms), ("transform", picture.made_ms)] {
        let Some(milliseconds) = milliseconds else { continue };
        let seconds = f64::from(milliseconds) / 1000.0;
        let exemplar = event.trace_id.clone().map(|trace_id| Exemplar {
            trace_id,
            value: seconds,
            at_ms: event.at,
        });
        let durations = counted.stages.entry((lane.to_owned(), stage)).or_default();
        durations.observe(seconds, exemplar);
    }
    if let Some(mib) = picture.memory_mib {
        let most = counted.memory_mib.entry(lane.to_owned()).or_default();
        *most = mib.max(*most);
    }
}

/// The operators' listener.
pub(crate) fn router(app: App) -> Router {
    Router::new()
        .route("/metrics", get(get_metrics))
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(app)
}

async fn get_metrics(State(app): State<App>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let format = Format::accepted(accept);
    ([(header::CONTENT_TYPE, format.media_type())], render(&app, format)).into_response()
}

fn render(app: &App, format: Format) -> String {
    let mut text = Exposition::new(format);
    {
        let counted = app.metrics.0.lock().unwrap_or_else(PoisonError::into_inner);
        render_requests(&mut text, &counted);
        render_quotas(&mut text, &counted);
        render_events(&mut text, &counted);
        render_pictures(&mut text, &counted);
        let name = "kado_origin_sessions_total";
        text.family(name, Kind::Counter, "Sessions by what happened to them here.");
        for (what, count) in &counted.sessions {
            text.count(name, &[("event", what)], *count);
        }
    }
    text.family(
        "kado_origin_database_connections",
        Kind::Gauge,
        "Connections to the database, by pool and state.",
    );
    for (pool, connections) in [("app", app.database.app()), ("system", app.database.system())] {
        let idle = connections.num_idle() as u64;
        let open = u64::from(connections.size());
        for (state, number) in [("idle", idle), ("used", open.saturating_sub(idle))] {
            text.count(
                "kado_origin_database_connections",
                &[("pool", pool), ("state", state)],
                number,
            );
        }
    }
    text.family(
        "kado_origin_ready",
        Kind::Gauge,
        "1 when start-up is complete and nothing stands in the way.",
    );
    text.count("kado_origin_ready", &[], u64::from(app.readiness.obstacle().is_none()));
    text.family(
        "kado_origin_upload_slots",
        Kind::Gauge,
        "Uploads that could begin at this moment.",
    );
    text.count("kado_origin_upload_slots", &[], app.uploads.available_permits() as u64);
    text.family(
        "kado_origin_time_seconds",
        Kind::Gauge,
        "The process's clock, in Unix seconds.",
    );
    text.count("kado_origin_time_seconds", &[], unix(app.clock.now()));
    if let Some(totals) = app.spans.totals() {
        text.family(
            "kado_origin_spans_total",
            Kind::Counter,
            "Spans by what became of them: exported, dropped because the queue was full, or not taken by the receiver.",
        );
        for (result, total) in [
            ("exported", &totals.exported),
            ("dropped", &totals.dropped),
            ("failed", &totals.failed),
        ] {
            text.count(
                "kado_origin_spans_total",
                &[("result", result)],
                total.load(Ordering::Relaxed),
            );
        }
    }
    text.family("kado_origin_build_info", Kind::Gauge, "1; the labels say what runs.");
    text.count("kado_origin_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    text.finish()
}

fn render_requests(text: &mut Exposition, counted: &Counted) {
    text.family(
        "kado_origin_requests_total",
        Kind::Counter,
        "Requests by route and status.",
    );
    for ((route, status), count) in &counted.requests {
        text.count(
            "kado_origin_requests_total",
            &[("route", route), ("status", &status.to_string())],
            *count,
        );
    }
    text.family(
        "kado_origin_sent_bytes_total",
        Kind::Counter,
        "Bytes of answers' bodies.",
    );
    for (route, bytes) in &counted.sent_bytes {
        text.count("kado_origin_sent_bytes_total", &[("route", route)], *bytes);
    }
    let name = "kado_origin_request_duration_seconds";
    text.family(
        name,
        Kind::Histogram,
        "Time from a request's head to the end of its answer.",
    );
    for (route, durations) in &counted.durations {
        text.durations(name, &[("route", route)], durations);
    }
    text.family(
        "kado_origin_logins_total",
        Kind::Counter,
        "Attempts to sign in, by result.",
    );
    for ((_, status), count) in counted
        .requests
        .iter()
        .filter(|((route, _), _)| route == "/api/auth/login")
    {
        let result = match status {
            200..300 => "ok",
            401 => "refused",
            400..500 => "invalid",
            _ => "failed",
        };
        text.count(
            "kado_origin_logins_total",
            &[("result", result), ("status", &status.to_string())],
            *count,
        );
    }
}

fn render_quotas(text: &mut Exposition, counted: &Counted) {
    let name = "kado_origin_quota_total";
    text.family(
        name,
        Kind::Counter,
        "What was asked of users' quotas, by action and whether there was enough left.",
    );
    for ((action, admitted), count) in &counted.quotas {
        let result = if *admitted { "admitted" } else { "refused" };
        text.count(name, &[("action", action), ("result", result)], *count);
    }
}

fn render_events(text: &mut Exposition, counted: &Counted) {
    type Get = fn(&Sums) -> u64;
    let families: [(&str, &str, Get); 3] = [
        (
            "kado_origin_events_total",
            "Events of the edges, each counted once.",
            |sums| sums.count,
        ),
        (
            "kado_origin_event_input_bytes_total",
            "Bytes of sources and uploads.",
            |sums| sums.bytes_in,
        ),
        (
            "kado_origin_event_output_bytes_total",
            "Bytes of pictures that were made.",
            |sums| sums.bytes_out,
        ),
    ];
    let labels = |kind: &'_ EventKind| {
        [
            ("kind", kind.kind.clone()),
            ("result", kind.result.clone()),
            ("lane", kind.lane.clone()),
            ("format", kind.format.clone()),
        ]
    };
    for (name, help, get) in families {
        text.family(name, Kind::Counter, help);
        for (kind, sums) in &counted.events {
            let labels = labels(kind);
            let labels = labels.each_ref().map(|(name, value)| (*name, value.as_str()));
            text.count(name, &labels, get(sums));
        }
    }
    let name = "kado_origin_event_work_seconds_total";
    text.family(name, Kind::Counter, "Time that the edges took for what events tell of.");
    for (kind, sums) in &counted.events {
        let labels = labels(kind);
        let labels = labels.each_ref().map(|(name, value)| (*name, value.as_str()));
        #[expect(clippy::cast_precision_loss, reason = "Prometheus keeps no more precision either")]
        text.sample(name, &labels, sums.milliseconds as f64 / 1000.0);
    }
    for (name, help, count) in [
        (
            "kado_origin_events_repeated_total",
            "Events that came again and were not counted again.",
            counted.repeated_events,
        ),
        (
            "kado_origin_events_refused_total",
            "Records of edges that were malformed; each is in the log.",
            counted.refused_records,
        ),
    ] {
        text.family(name, Kind::Counter, help);
        text.count(name, &[], count);
    }
}

fn render_pictures(text: &mut Exposition, counted: &Counted) {
    let name = "kado_origin_image_stage_seconds";
    let help = "Time of a picture's stages at the edges, where a clock runs meanwhile: until its source was there, and from there to the result.";
    text.family(name, Kind::Histogram, help);
    for ((lane, stage), durations) in &counted.stages {
        text.durations(name, &[("lane", lane), ("stage", stage)], durations);
    }
    let name = "kado_origin_image_memory_max_bytes";
    text.family(
        name,
        Kind::Gauge,
        "Most memory that a picture has taken since this process started.",
    );
    for (lane, mib) in &counted.memory_mib {
        text.count(name, &[("lane", lane)], u64::from(*mib) << 20);
    }
}

#[cfg(test)]
mod tests {
    use super::{Action, router};
    use crate::{
        api::testing::{TestApp, unsigned},
        service::App,
    };

    #[tokio::test]
    async fn sessions_are_counted_by_what_happens_to_them() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        for expected in [200, 200] {
            let answer = app.post_as(&token, "/api/auth/rotate", &serde_json::json!({})).await;
            assert_eq!(answer.status, expected, "{}", answer.text());
        }
        let text = TestApp::read(router(App::clone(&app.service)), unsigned("GET", "/metrics"))
            .await
            .text();
        for line in [
            "kado_origin_sessions_total{event=\"opened\"} 1\n",
            "kado_origin_sessions_total{event=\"rotated\"} 1\n",
            "kado_origin_sessions_total{event=\"repeated\"} 1\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    }

    #[tokio::test]
    async fn stages_and_memory_of_pictures_are_told() {
        let app = TestApp::without_database();
        let facts = "in=4032x3024 jpeg 3145728; out=400x300 webp 20480; lane=edge; mem=9MiB";
        let event = kado_shared::event::Event {
            id: uuid::Uuid::nil(),
            kind: "transform".into(),
            tenant: kado_shared::tenant::TenantId(uuid::Uuid::nil()),
            at: 1_800_000_000_000,
            result: "ok".into(),
            request_id: "0123456789".into(),
            trace_id: None,
            user: None,
            ms: 60,
            picture: kado_shared::event::Picture::from_facts(facts).with_stages("source;dur=20, transform;dur=30"),
        };
        app.service.metrics.stored(&[&event], 0, 0);
        let text = TestApp::read(router(App::clone(&app.service)), unsigned("GET", "/metrics"))
            .await
            .text();
        for line in [
            "kado_origin_image_stage_seconds_sum{lane=\"edge\",stage=\"source\"} 0.02\n",
            "kado_origin_image_stage_seconds_count{lane=\"edge\",stage=\"transform\"} 1\n",
            "kado_origin_image_memory_max_bytes{lane=\"edge\"} 9437184\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    }

    #[tokio::test]
    async fn requests_are_counted_by_route_and_never_by_address() {
        let Some(app) = TestApp::start().await else { return };
        app.get("/api/images/6f1c1b9e-7c0a-4d8e-9d51-0b8f5a1f2e3d").await;
        app.get("/api/nowhere").await;
        app.service.metrics.spent(Action::ImageProcess, 3, false);
        let metrics = |accept: &'static str| {
            let mut request = unsigned("GET", "/metrics");
            request.headers_mut().insert("accept", accept.parse().unwrap());
            TestApp::read(router(App::clone(&app.service)), request)
        };
        let text = metrics("*/*").await.text();
        for line in [
            "kado_origin_requests_total{route=\"/api/images/{id}\",status=\"405\"} 1\n",
            "kado_origin_requests_total{route=\"none\",status=\"404\"} 1\n",
            "kado_origin_request_duration_seconds_count{route=\"none\"} 1\n",
            "kado_origin_quota_total{action=\"IMAGE_PROCESS\",result=\"refused\"} 3\n",
            "kado_origin_ready 1\n",
            "kado_origin_database_connections{pool=\"app\",state=\"used\"} ",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        assert!(!text.contains("6f1c1b9e"), "{text}");
        let open = metrics("application/openmetrics-text; version=1.0.0").await;
        assert!(
            open.header("content-type")
                .unwrap()
                .starts_with("application/openmetrics-text")
        );
        assert!(open.text().ends_with("# EOF\n"));
    }
}
