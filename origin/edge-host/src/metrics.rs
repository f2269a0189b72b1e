//! Prometheus metrics of the edge, its native side and its gateway, served even when the origin is away.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kado_shared::exposition::{Exposition, Format, Kind};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::dispatcher::Dispatcher;
use crate::egress::{Counts, FetchError};
use crate::gateway_metrics::GatewayMetrics;
use crate::http1::{Body, bare, full};
use crate::shutdown::Shutdown;

/// Scrapers at once; the port is for operators.
const CONNECTIONS: usize = 16;

/// Where the numbers come from.
#[derive(Clone)]
pub(crate) struct Sources {
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) egress: Arc<Counts>,
    pub(crate) gateway: Arc<GatewayMetrics>,
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
            let sources = sources.clone();
            async move { Ok::<_, Infallible>(answer(&request, &sources).await) }
        });
        connections.spawn(async move {
            let _ = http1::Builder::new()
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(request: &Request<Incoming>, sources: &Sources) -> Response<Body> {
    if request.uri().path() != "/metrics" {
        return bare(StatusCode::NOT_FOUND);
    }
    let accept = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    let format = Format::accepted(accept);
    let gateway = match sources.gateway.scrape(format).await {
        Ok(families) => Some(families),
        Err(error) => {
            tracing::warn!(event = "gateway-not-scraped", service = "edge", %error, "the gateway's metrics are missing");
            None
        }
    };
    let mut answer = Response::new(full(sources.render(format, gateway.as_deref())));
    let kind = HeaderValue::from_static(format.media_type());
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

impl Sources {
    /// Every family; the gateway's own where it gave them.
    fn render(&self, format: Format, gateway: Option<&str>) -> String {
        let mut text = Exposition::new(format);
        let pool = self.dispatcher.pool();
        for (name, help, value) in [
            (
                "kado_edge_transform_waiting",
                "Jobs that wait for a transform process.",
                pool.waiting(),
            ),
            (
                "kado_edge_transform_idle",
                "Transform processes without a job.",
                pool.idle(),
            ),
            (
                "kado_edge_gateway_up",
                "1 when the gateway gave its own metrics, which are missing otherwise.",
                usize::from(gateway.is_some()),
            ),
        ] {
            text.family(name, Kind::Gauge, help);
            text.count(name, &[], value as u64);
        }
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let jobs = &self.dispatcher.counts;
        let name = "kado_edge_transform_jobs_total";
        text.family(name, Kind::Counter, "Jobs by what became of them.");
        for (result, counter) in [
            ("answered", &jobs.answered),
            ("busy", &jobs.busy),
            ("deadline", &jobs.deadline),
            ("died", &jobs.died),
            ("client-left", &jobs.left),
        ] {
            text.count(name, &[("result", result)], count(counter));
        }
        let name = "kado_edge_transform_retries_total";
        text.family(name, Kind::Counter, "Jobs given to a second process.");
        text.count(name, &[], count(&jobs.retried));
        let name = "kado_edge_egress_fetches_total";
        text.family(name, Kind::Counter, "Fetches of sources by what became of them.");
        text.count(name, &[("result", "answered")], count(&self.egress.answered));
        for (error, counter) in FetchError::ALL.iter().zip(&self.egress.failed) {
            text.count(name, &[("result", error.as_str())], count(counter));
        }
        let name = "kado_edge_build_info";
        text.family(name, Kind::Gauge, "1; the labels say what runs.");
        text.count(name, &[("version", env!("CARGO_PKG_VERSION"))], 1);
        if let Some(families) = gateway {
            text.append(families);
        }
        text.finish()
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
            gateway: Arc::new(GatewayMetrics::new("/nowhere".into(), "fedcba9876543210fedcba9876543210").unwrap()),
        };
        sources.dispatcher.counts.busy.store(3, Ordering::Relaxed);
        let text = sources.render(Format::Prometheus, Some("# HELP a A.\n# TYPE a gauge\na 1\n"));
        assert!(
            text.contains("kado_edge_gateway_up 1\n") && text.ends_with("\na 1\n"),
            "{text}"
        );
        let without = sources.render(Format::OpenMetrics, None);
        assert!(
            without.contains("kado_edge_gateway_up 0\n") && without.ends_with("# EOF\n"),
            "{without}"
        );
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
