//! Spans of the gateway: kept in the isolate, and told with the counts.
//!
//! Whether traces are recorded, and which share of those that begin here, is the origin's to say: it comes with every
//! snapshot.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

use kado_shared::{
    cache_key::hex,
    event,
    span::{self, Attribute, MOST_OF_A_RECORD, SPANS, Span, SpanKind, Spans},
    trace::TraceContext,
};

use super::{EVENTS, HEALTH_CHECK_HOST, count};
use crate::{answer::Answer, exchange::Exchange, gateway::Facts, js};

/// Spans that wait to be told; beyond it they are counted as lost.
const MOST_WAITING: usize = 1_000;

thread_local! {
    static SHARE: Cell<f64> = const { Cell::new(0.0) };
    static WAITING: RefCell<Vec<Span>> = const { RefCell::new(Vec::new()) };
}

/// Share of traces begun here that are recorded; 0 where tracing is off.
pub(crate) fn share() -> f64 {
    SHARE.get()
}

/// Takes over what a snapshot says.
pub(in crate::gateway) fn set_share(share: f64) {
    SHARE.set(share);
}

/// Notes the span of a request that is answered.
pub(in crate::gateway) fn answered(exchange: &Exchange, answer: &Answer, facts: &Facts) {
    if !span::is_recorded(share(), exchange.trace) || exchange.host == HEALTH_CHECK_HOST {
        return;
    }
    let status = answer.status();
    let texts = [
        ("http.request.method", Some(exchange.method.as_str())),
        ("http.route", Some(facts.route)),
        ("url.scheme", Some(exchange.scheme())),
        ("server.address", Some(exchange.host.as_str())),
        ("kado.request.id", Some(exchange.id.as_str())),
        ("kado.tenant.id", facts.tenant.as_deref()),
        ("kado.cache", facts.cache),
        ("kado.lane", facts.lane),
    ];
    let mut attributes = attributes(texts);
    attributes.insert("http.response.status_code".to_owned(), i64::from(status).into());
    let error = (status >= 500).then(|| status.to_string());
    if let Some(error) = &error {
        attributes.insert("error.type".to_owned(), error.as_str().into());
    }
    keep(Span {
        trace_id: hex(&exchange.trace.trace_id),
        span_id: hex(&exchange.trace.span_id),
        parent_id: exchange.parent_span.map(|parent| hex(&parent)),
        name: format!("{} {}", exchange.method, facts.route),
        kind: SpanKind::Server,
        start: exchange.started_ms.saturating_mul(1000),
        duration: since_us(exchange.started_ms),
        attributes,
        error,
    });
}

/// Notes a transform that was made for a request, as a part of that request's span.
pub(super) fn transformed(traceparent: Option<&str>, started_ms: u64, result: &str, picture: &event::Picture) {
    let Some(parent) = traceparent
        .and_then(TraceContext::parse)
        .filter(|trace| span::is_recorded(share(), *trace))
    else {
        return;
    };
    let Ok(span_id) = js::random::<8>() else { return };
    let mut attributes = attributes([
        ("kado.result", Some(result)),
        ("kado.lane", picture.lane.as_deref()),
        ("kado.source.format", picture.source_format.as_deref()),
        ("kado.format", picture.format.as_deref()),
    ]);
    for (name, bytes) in [
        ("kado.source.bytes", picture.bytes_in),
        ("kado.bytes", picture.bytes_out),
    ] {
        if let Some(bytes) = bytes.and_then(|bytes| i64::try_from(bytes).ok()) {
            attributes.insert(name.to_owned(), bytes.into());
        }
    }
    keep(Span {
        trace_id: hex(&parent.trace_id),
        span_id: hex(&span_id),
        parent_id: Some(hex(&parent.span_id)),
        name: "transform".to_owned(),
        kind: SpanKind::Client,
        start: started_ms.saturating_mul(1000),
        duration: since_us(started_ms),
        attributes,
        error: (result != "ok").then(|| result.to_owned()),
    });
}

fn attributes<const N: usize>(texts: [(&str, Option<&str>); N]) -> BTreeMap<String, Attribute> {
    let known = texts
        .into_iter()
        .filter_map(|(name, text)| Some((name.to_owned(), bounded(text?).into())));
    known.collect()
}

/// As much of a text as a span may have.
fn bounded(text: &str) -> &str {
    let mut end = text.len().min(span::MOST_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

fn keep(span: Span) {
    let kept = WAITING.with_borrow_mut(|waiting| {
        let room = waiting.len() < MOST_WAITING;
        if room {
            waiting.push(span);
        }
        room
    });
    if !kept {
        count("", EVENTS, &["span", "lost"], 1);
    }
}

fn since_us(started_ms: u64) -> u64 {
    js::now_ms().saturating_sub(started_ms).saturating_mul(1000)
}

/// What waits, in records of a bounded size.
pub(super) fn take_reports(now: u64) -> Vec<Spans> {
    let waiting = WAITING.take();
    let report = |spans: &[Span]| {
        Some(Spans {
            id: event::identifier(now, js::random().ok()?),
            kind: SPANS.to_owned(),
            at: now,
            spans: spans.to_vec(),
        })
    };
    waiting.chunks(MOST_OF_A_RECORD).filter_map(report).collect()
}

#[cfg(test)]
mod tests {
    use super::{MOST_WAITING, Span, SpanKind, WAITING, attributes, bounded, keep};

    #[test]
    fn texts_end_at_a_character() {
        assert_eq!(bounded(&"é".repeat(400)).len(), 512);
        assert_eq!(bounded(&format!("a{}", "é".repeat(400))).len(), 511);
        assert_eq!(attributes([("a", Some("b")), ("c", None)]).len(), 1);
    }

    #[test]
    fn what_is_too_much_is_counted_and_let_go() {
        for number in 0..MOST_WAITING + 5 {
            keep(Span {
                trace_id: format!("{number:032x}"),
                span_id: "1".repeat(16),
                parent_id: None,
                name: String::new(),
                kind: SpanKind::Server,
                start: 0,
                duration: 0,
                attributes: attributes([]),
                error: None,
            });
        }
        assert_eq!(WAITING.take().len(), MOST_WAITING);
    }
}
