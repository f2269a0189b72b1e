//! Prometheus metrics of the edge's native side, served even when the origin is away.

use std::convert::Infallible;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::dispatcher::Dispatcher;
use crate::egress::{Counts, FetchError};
use crate::http1::{Body, bare, full};
use crate::shutdown::Shutdown;

/// Scrapers at once; the port is for operators.
const CONNECTIONS: usize = 16;

/// Where the numbers come from.
#[derive(Clone)]
pub(crate) struct Sources {
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) egress: Arc<Counts>,
}

/// Serves `GET /metrics` until `shutdown` begins.
pub(crate) async fn serve(listener: TcpListener, sources: Sources, mut shutdown: Shutdown) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.begun() => return,
            Some(_) = connections.join_next(), if connections.len() >= CONNECTIONS => continue,
            accepted = listener.accept(), if connections.len() < CONNECTIONS => accepted,
        };
        let Ok((stream, _)) = accepted else { continue };
        let sources = sources.clone();
        let service = service_fn(move |request| {
            let answer = answer(&request, &sources);
            async move { Ok::<_, Infallible>(answer) }
        });
        connections.spawn(async move {
            let _ = http1::Builder::new()
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn answer(request: &Request<Incoming>, sources: &Sources) -> Response<Body> {
    if request.uri().path() != "/metrics" {
        return bare(StatusCode::NOT_FOUND);
    }
    let mut answer = Response::new(full(sources.render()));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

impl Sources {
    /// The text exposition format, version 0.0.4.
    fn render(&self) -> String {
        let mut text = Text::default();
        let pool = self.dispatcher.pool();
        text.family(
            "kado_edge_transform_waiting",
            "gauge",
            "Jobs that wait for a transform process.",
        );
        text.sample("kado_edge_transform_waiting", "", pool.waiting() as u64);
        text.family(
            "kado_edge_transform_idle",
            "gauge",
            "Transform processes without a job.",
        );
        text.sample("kado_edge_transform_idle", "", pool.idle() as u64);
        let jobs = &self.dispatcher.counts;
        text.family(
            "kado_edge_transform_jobs_total",
            "counter",
            "Jobs by what became of them.",
        );
        for (result, counter) in [
            ("answered", &jobs.answered),
            ("busy", &jobs.busy),
            ("deadline", &jobs.deadline),
            ("died", &jobs.died),
            ("client-left", &jobs.left),
        ] {
            text.count("kado_edge_transform_jobs_total", "result", result, counter);
        }
        text.family(
            "kado_edge_transform_retries_total",
            "counter",
            "Jobs given to a second process.",
        );
        text.sample(
            "kado_edge_transform_retries_total",
            "",
            jobs.retried.load(Ordering::Relaxed),
        );
        text.family(
            "kado_edge_egress_fetches_total",
            "counter",
            "Fetches of sources by what became of them.",
        );
        text.count(
            "kado_edge_egress_fetches_total",
            "result",
            "answered",
            &self.egress.answered,
        );
        for (error, counter) in FetchError::ALL.iter().zip(&self.egress.failed) {
            text.count("kado_edge_egress_fetches_total", "result", error.as_str(), counter);
        }
        text.0
    }
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &str, value: u64) {
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    fn count(&mut self, name: &str, label: &str, value: &str, counter: &AtomicU64) {
        self.sample(
            name,
            &format!("{{{label}=\"{value}\"}}"),
            counter.load(Ordering::Relaxed),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatcher::{Pool, PoolLimits};

    #[test]
    fn every_family_is_described_and_every_sample_is_a_number() {
        let pool = Pool::new(PoolLimits {
            queue: 1,
            memory_bytes: 1,
        });
        let sources = Sources {
            dispatcher: Arc::new(Dispatcher::new(pool)),
            egress: Arc::default(),
        };
        sources.dispatcher.counts.busy.store(3, Ordering::Relaxed);
        let text = sources.render();
        assert!(
            text.contains("kado_edge_transform_jobs_total{result=\"busy\"} 3\n"),
            "{text}"
        );
        for line in text.lines().filter(|l| !l.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<u64>().is_ok(), "{line}");
            let family = name.split('{').next().unwrap();
            assert!(text.contains(&format!("# TYPE {family} ")), "{line}");
        }
    }
}
