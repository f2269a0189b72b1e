//! Spans: what took how long within a trace. Edges send theirs to the origin with their counts; the origin alone exports.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

use crate::trace::TraceContext;

/// Kind of a record of spans; see [`Spans`].
pub const SPANS: &str = "spans";
/// Most spans of a record; far below [`crate::event::MOST_BYTES`].
pub const MOST_OF_A_RECORD: usize = 64;
/// Most bytes of a name or an attribute's text.
pub const MOST_TEXT: usize = 512;
/// Most attributes of a span.
const MOST_ATTRIBUTES: usize = 32;

/// Which end of an exchange a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpanKind {
    /// Work within a process.
    Internal,
    /// Answers a request.
    Server,
    /// Asks somebody else.
    Client,
}

/// An attribute's value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Attribute {
    /// A whole number.
    Integer(i64),
    /// A text.
    Text(String),
}

impl From<i64> for Attribute {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<&str> for Attribute {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// One span that has ended. Names of attributes are OpenTelemetry's semantic conventions, those of our own begin with
/// `kado.`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Span {
    /// 32 hexadecimal digits, not all 0.
    pub trace_id: String,
    /// 16 hexadecimal digits, not all 0.
    pub span_id: String,
    /// Span that this one is part of; `None` for a trace's first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<String>,
    /// What it is an instance of: `GET /img/{options}/{source}`.
    pub name: String,
    /// Which end of an exchange.
    pub kind: SpanKind,
    /// Begin, Unix microseconds.
    pub start: u64,
    /// Microseconds from begin to end.
    pub duration: u64,
    /// What else is known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, Attribute>,
    /// What went wrong, where it is this side's fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Spans of an isolate since it last told of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spans {
    /// Names this report for ever.
    pub id: Uuid,
    /// Always [`SPANS`].
    pub kind: String,
    /// When the report was made, Unix milliseconds.
    pub at: u64,
    /// The spans.
    pub spans: Vec<Span>,
}

impl Span {
    /// Checks a span that comes from another process.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        let is_id = |text: &str, digits: usize| {
            text.len() == digits
                && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
                && text.bytes().any(|b| b != b'0')
        };
        if !is_id(&self.trace_id, 32) {
            return Err("traceId: 32 hexadecimal digits are expected".to_owned());
        }
        if ![Some(&self.span_id), self.parent_id.as_ref()]
            .into_iter()
            .flatten()
            .all(|id| is_id(id, 16))
        {
            return Err("spanId, parentId: 16 hexadecimal digits are expected".to_owned());
        }
        let text = |attribute: &Attribute| match attribute {
            Attribute::Text(text) => text.len(),
            Attribute::Integer(_) => 0,
        };
        let attributes = self
            .attributes
            .iter()
            .flat_map(|(name, value)| [name.len(), text(value)]);
        let error = self.error.as_ref().map(String::len);
        if attributes
            .chain([self.name.len()])
            .chain(error)
            .any(|length| length > MOST_TEXT)
        {
            return Err(format!("a text is longer than {MOST_TEXT} bytes"));
        }
        if self.attributes.len() > MOST_ATTRIBUTES {
            return Err(format!("attributes: there are more than {MOST_ATTRIBUTES}"));
        }
        // In nanoseconds both have to fit 63 bits.
        let most = i64::MAX.unsigned_abs() / 2000;
        if self.start > most || self.duration > most {
            return Err(format!("start and duration are at most {most} microseconds"));
        }
        Ok(())
    }
}

/// A trace's first span: sampled if its random part falls into the share, which all processes would decide alike.
#[must_use]
pub fn is_sampled(share: f64, trace_id: [u8; 16]) -> bool {
    let [.., a, b, c, d] = trace_id;
    f64::from(u32::from_be_bytes([a, b, c, d])) < share * 2f64.powi(32)
}

/// Whether spans of this trace are kept: tracing is on, and whoever began the trace wants it.
#[must_use]
pub const fn is_recorded(share: f64, trace: TraceContext) -> bool {
    share > 0.0 && trace.flags & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span() -> Span {
        Span {
            trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".into(),
            span_id: "00f067aa0ba902b7".into(),
            parent_id: None,
            name: "GET /api/auth/me".into(),
            kind: SpanKind::Server,
            start: 1_700_000_000_000_000,
            duration: 1_200,
            attributes: BTreeMap::from([
                ("http.request.method".to_owned(), "GET".into()),
                ("http.response.status_code".to_owned(), 200.into()),
            ]),
            error: None,
        }
    }

    #[test]
    fn a_span_survives_the_way() {
        let text = serde_json::to_string(&span()).unwrap();
        assert_eq!(serde_json::from_str::<Span>(&text).unwrap(), span());
        assert_eq!(span().check(), Ok(()));
    }

    #[test]
    fn what_is_no_span_is_named() {
        type Change = fn(&mut Span);
        let wrong: [(Change, &str); 7] = [
            (|span| span.trace_id = "0".repeat(32), "traceId"),
            (|span| span.trace_id = "A".repeat(32), "traceId"),
            (|span| span.span_id = "1".into(), "spanId"),
            (|span| span.parent_id = Some("x".repeat(16)), "parentId"),
            (|span| span.name = "n".repeat(513), "512"),
            (|span| span.start = u64::MAX, "microseconds"),
            (
                |span| span.attributes = (0..40).map(|number| (number.to_string(), 1.into())).collect(),
                "more than 32",
            ),
        ];
        for (change, hint) in wrong {
            let mut span = span();
            change(&mut span);
            assert!(span.check().unwrap_err().contains(hint), "{hint}");
        }
    }

    #[test]
    fn a_share_of_traces_is_sampled_and_only_what_is_wanted_is_kept() {
        assert!(!is_sampled(0.0, [0; 16]) && is_sampled(1.0, [255; 16]));
        let mut half = [0; 16];
        half[12] = 0x80;
        assert!(!is_sampled(0.5, half));
        half[12] = 0x7f;
        assert!(is_sampled(0.5, half));
        let trace = |flags| TraceContext {
            trace_id: [1; 16],
            span_id: [1; 8],
            flags,
        };
        assert!(is_recorded(0.1, trace(1)) && !is_recorded(0.1, trace(0)) && !is_recorded(0.0, trace(1)));
    }
}
