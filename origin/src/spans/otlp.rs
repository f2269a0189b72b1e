//! Spans as OTLP's JSON (opentelemetry-proto 1, `ExportTraceServiceRequest`).

use kado_shared::span::{Attribute, Span, SpanKind};
use serde_json::{Value, json};

use super::Sent;

/// A request of spans, those of the edge and those of the origin each under their own service.
pub(super) fn request(batch: &[Sent], service: &str) -> Value {
    let of = |of_edge| -> Vec<Value> {
        let spans = batch.iter().filter(|sent| sent.of_edge == of_edge);
        spans.map(|sent| span(&sent.span)).collect()
    };
    let services = [
        (format!("{service}-edge"), of(true)),
        (format!("{service}-origin"), of(false)),
    ];
    let resources: Vec<Value> = services
        .into_iter()
        .filter(|(_, spans)| !spans.is_empty())
        .map(|(name, spans)| {
            json!({
                "resource": { "attributes": [
                    attribute("service.name", &name.as_str().into()),
                    attribute("service.version", &env!("CARGO_PKG_VERSION").into()),
                ] },
                "scopeSpans": [{ "scope": { "name": "kado" }, "spans": spans }],
            })
        })
        .collect();
    json!({ "resourceSpans": resources })
}

fn span(span: &Span) -> Value {
    let kind = match span.kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
    };
    let attributes: Vec<Value> = span
        .attributes
        .iter()
        .map(|(name, value)| attribute(name, value))
        .collect();
    let start = span.start.saturating_mul(1000);
    let end = span.start.saturating_add(span.duration).saturating_mul(1000);
    let mut json = json!({
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "name": span.name,
        "kind": kind,
        "startTimeUnixNano": start.to_string(),
        "endTimeUnixNano": end.to_string(),
        "attributes": attributes,
        "status": match &span.error {
            Some(message) => json!({ "code": 2, "message": message }),
            None => json!({}),
        },
    });
    if let Some(parent) = &span.parent_id {
        json["parentSpanId"] = parent.as_str().into();
    }
    json
}

fn attribute(name: &str, value: &Attribute) -> Value {
    let value = match value {
        Attribute::Integer(number) => json!({ "intValue": number.to_string() }),
        Attribute::Text(text) => json!({ "stringValue": text }),
    };
    json!({ "key": name, "value": value })
}

#[cfg(test)]
mod tests {
    use super::request;
    use crate::spans::Sent;
    use kado_shared::span::{Span, SpanKind};
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    use std::collections::BTreeMap;

    #[test]
    fn opentelemetrys_own_types_read_it() {
        let of = |of_edge: bool, error: Option<&str>| Sent {
            span: Span {
                trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".into(),
                span_id: "00f067aa0ba902b7".into(),
                parent_id: of_edge.then(|| "b7ad6b7169203331".into()),
                name: "GET /api/auth/me".into(),
                kind: SpanKind::Server,
                start: 1_700_000_000_000_001,
                duration: 250,
                attributes: BTreeMap::from([
                    ("http.response.status_code".to_owned(), 200.into()),
                    ("http.route".to_owned(), "/api/auth/me".into()),
                ]),
                error: error.map(str::to_owned),
            },
            of_edge,
        };
        let text = request(&[of(true, None), of(false, Some("503"))], "kado").to_string();
        let read: ExportTraceServiceRequest = serde_json::from_str(&text).unwrap();
        let services: Vec<_> = read
            .resource_spans
            .iter()
            .map(|spans| {
                spans.resource.as_ref().unwrap().attributes[0]
                    .value
                    .as_ref()
                    .unwrap()
                    .value
                    .clone()
                    .unwrap()
            })
            .collect();
        assert_eq!(
            services,
            [
                Value::StringValue("kado-edge".into()),
                Value::StringValue("kado-origin".into())
            ]
        );
        let [edge, origin] = [0, 1].map(|at| read.resource_spans[at].scope_spans[0].spans[0].clone());
        assert_eq!(edge.trace_id[..2], [0x4b, 0xf9]);
        assert_eq!(
            (
                edge.span_id.len(),
                edge.parent_span_id.len(),
                origin.parent_span_id.len()
            ),
            (8, 8, 0)
        );
        assert_eq!(edge.end_time_unix_nano - edge.start_time_unix_nano, 250_000);
        assert_eq!(
            edge.attributes[0].value.as_ref().unwrap().value,
            Some(Value::IntValue(200))
        );
        assert_eq!((edge.status.unwrap().code, origin.status.unwrap().code), (0, 2));
    }
}
