//! From the queue to whoever reads traces.

use axum::{
    body::Bytes,
    http::{HeaderName, HeaderValue, header},
};
use kado_edge_host::{PostError, Poster};
use std::{sync::atomic::Ordering, time::Duration};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout_at},
};

use super::{Recorder, Sent, Target, otlp};

/// Spans of one export at most.
const MOST_AT_ONCE: usize = 512;
/// How long a span waits for company.
const GATHER: Duration = Duration::from_secs(1);
/// Attempts of one export, with a growing pause between them.
const ATTEMPTS: u32 = 4;

/// Exports spans for as long as the service runs.
pub(crate) async fn forever(recorder: &Recorder, poster: &Poster, service: &str) {
    let Some(inner) = &recorder.0 else {
        return std::future::pending().await;
    };
    let Some(mut queue) = inner.take_queue() else {
        return std::future::pending().await;
    };
    loop {
        let batch = gather(&mut queue).await;
        let count = batch.len() as u64;
        let exported = match &inner.target {
            Target::Stdout => {
                batch.iter().for_each(write);
                true
            }
            Target::Otlp { url, headers } => {
                let body = Bytes::from(otlp::request(&batch, service).to_string());
                let named = headers
                    .iter()
                    .filter_map(|(name, value)| Some((name.parse().ok()?, value.parse().ok()?)));
                let mut all: Vec<(HeaderName, HeaderValue)> = named.collect();
                all.push((header::CONTENT_TYPE, HeaderValue::from_static("application/json")));
                send(|| poster.post(url, &all, body.clone(), true)).await
            }
        };
        let total = if exported {
            &inner.totals.exported
        } else {
            &inner.totals.failed
        };
        total.fetch_add(count, Ordering::Relaxed);
    }
}

/// Waits for a span, and then for others a while.
async fn gather(queue: &mut mpsc::Receiver<Sent>) -> Vec<Sent> {
    let mut batch = Vec::new();
    match queue.recv().await {
        Some(first) => batch.push(first),
        None => std::future::pending().await,
    }
    let until = Instant::now() + GATHER;
    while batch.len() < MOST_AT_ONCE {
        match timeout_at(until, queue.recv()).await {
            Ok(Some(sent)) => batch.push(sent),
            _ => break,
        }
    }
    batch
}

/// Sends until it is taken, refused for good, or tried often enough. Which statuses may be tried again is OTLP's to say.
async fn send<F: Future<Output = Result<u16, PostError>>>(post: impl Fn() -> F) -> bool {
    for attempt in 1..=ATTEMPTS {
        let outcome = post().await;
        match &outcome {
            Ok(200..=299) => return true,
            Ok(status) if !matches!(status, 429 | 502..=504) => {
                tracing::warn!(event = "spans-refused", status = *status);
                return false;
            }
            _ => {}
        }
        if attempt == ATTEMPTS {
            let status = outcome.as_ref().ok().copied();
            let error = outcome.err().map(|error| error.to_string());
            tracing::warn!(event = "spans-lost", status, error);
        } else {
            sleep(Duration::from_millis(250) * 4u32.pow(attempt)).await;
        }
    }
    false
}

fn write(sent: &Sent) {
    let span = &sent.span;
    tracing::info!(
        target: "kado::span",
        event = "span",
        service = if sent.of_edge { "edge" } else { "origin" },
        trace_id = span.trace_id.as_str(),
        span_id = span.span_id.as_str(),
        parent_id = span.parent_id.as_deref(),
        name = span.name.as_str(),
        start_us = span.start,
        duration_us = span.duration,
        attributes = serde_json::to_string(&span.attributes).unwrap_or_default(),
        error = span.error.as_deref(),
    );
}

#[cfg(test)]
mod tests {
    use super::{ATTEMPTS, send};
    use std::cell::Cell;

    #[tokio::test(start_paused = true)]
    async fn what_may_come_through_later_is_tried_again_and_nothing_else() {
        for (status, tries, taken) in [
            (200, 1, true),
            (400, 1, false),
            (503, ATTEMPTS, false),
            (429, ATTEMPTS, false),
        ] {
            let asked = Cell::new(0);
            let outcome = send(|| {
                asked.set(asked.get() + 1);
                async move { Ok(status) }
            })
            .await;
            assert_eq!((asked.get(), outcome), (tries, taken), "{status}");
        }
        let asked = Cell::new(0);
        let outcome = send(|| {
            asked.set(asked.get() + 1);
            let status = if asked.get() < 3 { 503 } else { 200 };
            async move { Ok(status) }
        })
        .await;
        assert_eq!((asked.get(), outcome), (3, true));
    }
}
