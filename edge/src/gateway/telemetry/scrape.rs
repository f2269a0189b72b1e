//! The gateway's counts as metrics, for `kado edge` alone: it asks on its own socket and signs with the internal key, so
//! that from outside there is nothing here.

use kado_shared::{
    exposition::{Exposition, Format, GATEWAY_PATH, Kind},
    headers::{KADO_EDGE, X_REQUEST_ID},
    signature::Parts,
};
use sha2::{Digest, Sha256};

use super::{FAMILIES, TALLY, Values};
use crate::{
    answer::Answer,
    exchange::Exchange,
    gateway::{Gateway, snapshot},
    js,
    objects::outbox,
};

/// The metrics, for a request that `kado edge` has signed; `None` for every other.
pub(in crate::gateway) async fn answer(gateway: &Gateway, exchange: &Exchange) -> Option<Answer> {
    if exchange.path != GATEWAY_PATH || exchange.method != "GET" {
        return None;
    }
    let request_id = exchange.header(X_REQUEST_ID).unwrap_or_default();
    let parts = Parts {
        method: "GET",
        path_and_query: GATEWAY_PATH,
        tenant: "",
        client_ip: "",
        request_id: &request_id,
        body_sha256: Some(Sha256::digest(b"").into()),
    };
    let signature = exchange.header(KADO_EDGE)?;
    // Repeated within half a minute it tells the same thing again, and changes nothing: nonces need no memory.
    gateway
        .environment
        .internal_keys
        .verify(&parts, &signature, js::now_ms() / 1000)
        .ok()?;
    let format = Format::accepted(exchange.header("accept").as_deref());
    let text = render(gateway, format).await;
    Some(Answer::bytes(200, format.media_type(), text.into_bytes()).with("cache-control", "no-store"))
}

async fn render(gateway: &Gateway, format: Format) -> String {
    let mut text = Exposition::new(format);
    let mut depth = outbox::Depth::default();
    let mut unreachable = 0;
    for shard in outbox::shards(gateway.one_object_per_key()) {
        match outbox::depth(&gateway.env, &shard).await {
            Ok(of_shard) => depth.add(&of_shard),
            Err(_) => unreachable += 1,
        }
    }
    let now = js::now_ms();
    TALLY.with_borrow(|tally| {
        for family in FAMILIES {
            let metric = format!("kado_gateway_{}_total", family.name);
            text.family(&metric, Kind::Counter, family.help);
            let mut samples: Vec<(&Values, &u64)> = tally
                .totals
                .iter()
                .filter(|((name, _), _)| *name == family.name)
                .map(|((_, values), count)| (values, count))
                .collect();
            samples.sort_unstable();
            for (values, count) in samples {
                let labels: Vec<_> = family.labels.iter().copied().zip(values.iter().copied()).collect();
                text.count(&metric, &labels, *count);
            }
        }
        let metric = "kado_gateway_request_duration_seconds";
        text.family(
            metric,
            Kind::Histogram,
            "Time from a request's arrival to the start of its answer.",
        );
        let mut routes: Vec<_> = tally.durations.iter().collect();
        routes.sort_unstable_by_key(|(route, _)| **route);
        for (route, durations) in routes {
            text.durations(metric, &[("route", route)], durations);
        }
    });
    for (name, help, value) in [
        (
            "outbox_records",
            "Events and reports that the origin has not confirmed yet.",
            depth.records,
        ),
        ("outbox_bytes", "Size of the outbox's databases.", depth.bytes),
        (
            "outbox_failures",
            "Deliveries that failed since the last one that did not, most of all shards.",
            u64::from(depth.failures),
        ),
        (
            "outbox_unreachable",
            "Shards of the outbox that do not answer.",
            unreachable,
        ),
        (
            "memory_bytes",
            "Linear memory of the gateway's isolate.",
            js::linear_memory_bytes(),
        ),
        (
            "hosts",
            "Hosts that the isolate has a configuration of.",
            snapshot::hosts(),
        ),
    ] {
        let metric = format!("kado_gateway_{name}");
        text.family(&metric, Kind::Gauge, help);
        text.count(&metric, &[], value);
    }
    for (name, help, ms) in [
        (
            "outbox_age_seconds",
            "Age of the oldest record that the origin has not confirmed yet.",
            depth.oldest_ms.map_or(0, |oldest| now.saturating_sub(oldest)),
        ),
        (
            "snapshot_age_seconds",
            "Age of the configuration that the last request went by.",
            snapshot::age_ms(),
        ),
    ] {
        let metric = format!("kado_gateway_{name}");
        text.family(&metric, Kind::Gauge, help);
        #[expect(clippy::cast_precision_loss, reason = "ages are far below 2^53 ms")]
        text.sample(&metric, &[], ms as f64 / 1000.0);
    }
    for (name, help, value) in [
        (
            "outbox_overflowed",
            "Events that found the outbox full; only their number is kept.",
            depth.overflowed,
        ),
        (
            "outbox_refused",
            "Records that the origin refused for good; each is in the log.",
            depth.refused,
        ),
    ] {
        let metric = format!("kado_gateway_{name}_total");
        text.family(&metric, Kind::Counter, help);
        text.count(&metric, &[], value);
    }
    text.into_part()
}
