//! Traces: what requests and their SQL took, of this process and of the edges, gathered and exported.
//!
//! A request's span is current on its task, so that SQL finds its parent (see [`sql`]). Nobody waits for an export: what
//! finds the queue full, or cannot be exported in a few attempts, is counted and let go.

mod export;
mod otlp;
mod sql;

pub(crate) use export::forever;
pub(crate) use sql::SqlSpans;

use kado_shared::{
    span::{self, Attribute, Span, SpanKind},
    trace::TraceContext,
};
use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use url::Url;

use crate::{clock::SharedClock, entropy::SharedEntropy, hex};

/// Spans that wait to be exported.
const QUEUE: usize = 8192;

tokio::task_local! {
    static CURRENT: Current;
}

/// Where spans go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Lines of the log.
    Stdout,
    /// An OTLP receiver, over HTTP.
    Otlp {
        /// Where traces are posted.
        url: Url,
        /// Headers that go with them: names and values.
        headers: Vec<(String, String)>,
    },
}

/// How traces are kept.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tracing {
    /// Share of traces begun on this site that are recorded, above 0 and up to 1.
    pub(crate) share: f64,
    pub(crate) target: Target,
}

/// What became of spans since the start.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    /// Taken into the queue.
    taken: AtomicU64,
    pub(crate) exported: AtomicU64,
    /// Found the queue full.
    pub(crate) dropped: AtomicU64,
    /// Not taken by the receiver.
    pub(crate) failed: AtomicU64,
}

/// A span, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) span: Span,
    pub(crate) of_edge: bool,
}

/// What gathers spans.
#[derive(Clone, Debug)]
pub(crate) struct Recorder(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    share: f64,
    target: Target,
    queue: mpsc::Sender<Sent>,
    /// Until the exporter takes it.
    waiting: Mutex<Option<mpsc::Receiver<Sent>>>,
    totals: Totals,
    clock: SharedClock,
    entropy: SharedEntropy,
}

/// The span that a task works for.
#[derive(Clone)]
struct Current {
    recorder: Recorder,
    trace: TraceContext,
}

/// A span that has begun.
pub(crate) struct Begun {
    recorder: Recorder,
    trace: TraceContext,
    parent: Option<[u8; 8]>,
    start_us: u64,
}

impl Recorder {
    /// One that records nothing where `tracing` is none.
    pub(crate) fn new(tracing: Option<Tracing>, clock: SharedClock, entropy: SharedEntropy) -> Self {
        Self(tracing.map(|Tracing { share, target }| {
            let (queue, waiting) = mpsc::channel(QUEUE);
            Arc::new(Inner {
                share,
                target,
                queue,
                waiting: Mutex::new(Some(waiting)),
                totals: Totals::default(),
                clock,
                entropy,
            })
        }))
    }

    /// Share of traces that edges begin and record.
    pub(crate) fn share(&self) -> f64 {
        self.0.as_ref().map_or(0.0, |inner| inner.share)
    }

    /// What became of spans; `None` where tracing is off.
    pub(crate) fn totals(&self) -> Option<&Totals> {
        self.0.as_ref().map(|inner| &inner.totals)
    }

    fn now_us(&self) -> u64 {
        let now = self
            .0
            .as_ref()
            .map(|inner| inner.clock.now().unix_timestamp_nanos() / 1000);
        now.and_then(|now| u64::try_from(now).ok()).unwrap_or(0)
    }

    /// Begins the span of a request that came with this `traceparent`. `None` where its trace is not recorded.
    pub(crate) fn begin(&self, traceparent: Option<&str>) -> Option<Begun> {
        let inner = self.0.as_ref()?;
        let parent = traceparent.and_then(TraceContext::parse);
        let span_id = inner.entropy.bytes();
        let trace = match parent {
            Some(parent) => parent.child(span_id),
            None => {
                let trace_id = inner.entropy.bytes();
                TraceContext {
                    trace_id,
                    span_id,
                    flags: u8::from(span::is_sampled(inner.share, trace_id)),
                }
            }
        };
        span::is_recorded(inner.share, trace).then(|| Begun {
            recorder: self.clone(),
            trace,
            parent: parent.map(|parent| parent.span_id),
            start_us: self.now_us(),
        })
    }

    /// Takes over a span that an edge has sent.
    pub(crate) fn of_edge(&self, span: Span) {
        self.put(Sent { span, of_edge: true });
    }

    fn put(&self, sent: Sent) {
        if let Some(inner) = &self.0 {
            let taken = inner.queue.try_send(sent).is_ok();
            let total = if taken {
                &inner.totals.taken
            } else {
                &inner.totals.dropped
            };
            total.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until all spans are exported, but no longer than a moment.
    pub(crate) async fn drain(&self) {
        const MOMENT: Duration = Duration::from_secs(3);
        let Some(inner) = &self.0 else { return };
        let totals = &inner.totals;
        let all_done = || {
            let done = totals.exported.load(Ordering::Relaxed) + totals.failed.load(Ordering::Relaxed);
            done >= totals.taken.load(Ordering::Relaxed)
        };
        let _given_up = timeout(MOMENT, async {
            while !all_done() {
                sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }
}

impl Begun {
    /// Does something that is part of this span.
    pub(crate) async fn within<F: Future>(&self, work: F) -> F::Output {
        let current = Current {
            recorder: self.recorder.clone(),
            trace: self.trace,
        };
        CURRENT.scope(current, work).await
    }

    /// The end of a request.
    pub(crate) fn end(self, name: String, attributes: BTreeMap<String, Attribute>, error: Option<String>) {
        let duration = self.recorder.now_us().saturating_sub(self.start_us);
        let span = Span {
            trace_id: hex::encode(&self.trace.trace_id),
            span_id: hex::encode(&self.trace.span_id),
            parent_id: self.parent.map(|parent| hex::encode(&parent)),
            name,
            kind: SpanKind::Server,
            start: self.start_us,
            duration,
            attributes,
            error,
        };
        self.recorder.put(Sent { span, of_edge: false });
    }
}

/// Notes something that has just ended as a part of the current span, if there is one.
fn note(name: &str, took_us: u64, attributes: BTreeMap<String, Attribute>) {
    let _without_a_span = CURRENT.try_with(|Current { recorder, trace }| {
        let Some(inner) = &recorder.0 else { return };
        let span = Span {
            trace_id: hex::encode(&trace.trace_id),
            span_id: hex::encode(&inner.entropy.bytes::<8>()),
            parent_id: Some(hex::encode(&trace.span_id)),
            name: name.to_owned(),
            kind: SpanKind::Client,
            start: recorder.now_us().saturating_sub(took_us),
            duration: took_us,
            attributes,
            error: None,
        };
        recorder.put(Sent { span, of_edge: false });
    });
}

impl Inner {
    fn take_queue(&self) -> Option<mpsc::Receiver<Sent>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::testing::ManualClock, entropy::SystemEntropy};

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn recorder(share: f64) -> (Recorder, mpsc::Receiver<Sent>) {
        let tracing = Tracing {
            share,
            target: Target::Stdout,
        };
        let recorder = Recorder::new(Some(tracing), Arc::new(ManualClock::default()), Arc::new(SystemEntropy));
        let queue = recorder.0.as_ref().unwrap().take_queue().unwrap();
        (recorder, queue)
    }

    #[tokio::test]
    async fn sql_is_part_of_its_request_and_that_of_the_edges() {
        let (recorder, mut queue) = recorder(1.0);
        let begun = recorder.begin(Some(PARENT)).unwrap();
        begun.within(async { note("SELECT users", 40, BTreeMap::new()) }).await;
        begun.end("GET /api/auth/me".into(), BTreeMap::new(), None);
        note("outside", 1, BTreeMap::new());
        let (sql, request) = (queue.try_recv().unwrap().span, queue.try_recv().unwrap().span);
        assert!(queue.try_recv().is_err());
        assert_eq!(request.parent_id.as_deref(), Some("00f067aa0ba902b7"));
        assert_eq!(sql.parent_id, Some(request.span_id.clone()));
        assert_eq!((&*sql.trace_id, &*request.trace_id), (&PARENT[3..35], &PARENT[3..35]));
        assert_eq!((sql.check(), request.check()), (Ok(()), Ok(())));
    }

    #[tokio::test]
    async fn only_what_is_wanted_is_recorded() {
        let off = Recorder::new(None, Arc::new(ManualClock::default()), Arc::new(SystemEntropy));
        assert!(off.begin(Some(PARENT)).is_none() && off.totals().is_none());
        let (recorder, _queue) = recorder(1.0);
        assert!(recorder.begin(Some(&PARENT.replace("-01", "-00"))).is_none());
        assert!(recorder.begin(Some("nonsense")).is_some() && recorder.begin(None).is_some());
    }

    #[tokio::test]
    async fn a_full_queue_drops_and_counts() {
        let (recorder, mut queue) = recorder(1.0);
        for _ in 0..QUEUE + 3 {
            recorder.begin(None).unwrap().end(String::new(), BTreeMap::new(), None);
        }
        assert_eq!(recorder.totals().unwrap().dropped.load(Ordering::Relaxed), 3);
        let mut kept = 0;
        while queue.try_recv().is_ok() {
            kept += 1;
        }
        assert_eq!(kept, QUEUE);
    }
}
