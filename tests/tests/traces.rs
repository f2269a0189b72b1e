//! One trace from the browser to the database, at whatever OTLP receiver the operator has.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kado_tests::{Site, own_system, pictures, wait_until};
use serde_json::Value;

/// A receiver of OTLP over HTTP that keeps what it is sent, and refuses the first request as one that is busy would.
fn receiver() -> Result<(String, Arc<Mutex<Vec<Value>>>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let kept = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&kept);
    thread::spawn(move || {
        let mut busy = true;
        for mut stream in listener.incoming().flatten() {
            let mut request = Vec::new();
            let mut part = [0; 16 * 1024];
            let (head, body) = loop {
                let Ok(read @ 1..) = stream.read(&mut part) else {
                    break (String::new(), Vec::new());
                };
                request.extend_from_slice(&part[..read]);
                let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") else {
                    continue;
                };
                let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                if request.len() >= end + 4 + length.unwrap_or(0) {
                    break (head, request[end + 4..].to_vec());
                }
            };
            let right = head.starts_with("post /v1/traces")
                && head.contains("x-team: pictures")
                && head.contains("application/json");
            if right
                && !busy
                && let Ok(spans) = serde_json::from_slice(&body)
            {
                into.lock().unwrap_or_else(PoisonError::into_inner).push(spans);
            }
            let status = if std::mem::take(&mut busy) {
                "503 Busy"
            } else {
                "200 OK"
            };
            let _gone = write!(
                stream,
                "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
        }
    });
    Ok((format!("http://{address}"), kept))
}

#[derive(Debug)]
struct Seen {
    service: String,
    name: String,
    id: String,
    parent: Option<String>,
    attributes: BTreeMap<String, String>,
}

/// The spans of a trace.
fn of_trace(kept: &Mutex<Vec<Value>>, trace: &str) -> Vec<Seen> {
    let list = |value: &Value, name: &str| value[name].as_array().cloned().unwrap_or_default();
    let attributes = |value: &Value| -> BTreeMap<String, String> {
        let pairs = list(value, "attributes");
        let text = |value: &Value| {
            value
                .as_object()
                .and_then(|value| value.values().next()?.as_str().map(str::to_owned))
        };
        pairs
            .iter()
            .filter_map(|pair| Some((pair["key"].as_str()?.to_owned(), text(&pair["value"])?)))
            .collect()
    };
    let mut seen = Vec::new();
    for request in kept.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        for resource in list(request, "resourceSpans") {
            let service = attributes(&resource["resource"])
                .remove("service.name")
                .unwrap_or_default();
            for span in list(&resource, "scopeSpans")
                .iter()
                .flat_map(|scope| list(scope, "spans"))
            {
                if span["traceId"] == trace {
                    seen.push(Seen {
                        service: service.clone(),
                        name: span["name"].as_str().unwrap_or_default().to_owned(),
                        id: span["spanId"].as_str().unwrap_or_default().to_owned(),
                        parent: span["parentSpanId"].as_str().map(str::to_owned),
                        attributes: attributes(&span),
                    });
                }
            }
        }
    }
    seen
}

#[test]
fn a_request_is_one_trace_from_the_browser_to_the_database() -> Result<()> {
    let (endpoint, kept) = receiver()?;
    let system = own_system(|options| {
        options.environment.extend([
            ("TRACING_ENABLED".to_owned(), "1".to_owned()),
            ("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), endpoint),
            ("OTEL_EXPORTER_OTLP_HEADERS".to_owned(), "x-team=pictures".to_owned()),
            ("OTEL_SERVICE_NAME".to_owned(), "shop".to_owned()),
        ]);
    })?;
    let site = Site::in_system(&system.run_file())?;
    // The edge has heard that traces are wanted with its first snapshot.
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let browser = "b7ad6b7169203331";
    let parent = format!("00-{trace}-{browser}-01");
    let headers = [
        ("authorization", site.bearer.as_str()),
        ("traceparent", parent.as_str()),
    ];
    ensure!(site.client.send("GET", "/api/auth/me", &headers, b"")?.status == 200);
    let edge = wait_until("the edge's span", Duration::from_secs(20), || {
        // Spans leave an isolate with its next answer.
        site.client.get("/api/health/liveness").ok()?;
        of_trace(&kept, trace)
            .into_iter()
            .find(|span| span.service == "shop-edge")
    })?;
    assert_eq!(
        (edge.name.as_str(), edge.parent.as_deref()),
        ("GET /api/auth/me", Some(browser))
    );
    assert_eq!(edge.attributes["http.response.status_code"], "200");
    let spans = of_trace(&kept, trace);
    let origin = spans
        .iter()
        .find(|span| span.name == "GET /api/auth/me" && span.service == "shop-origin");
    let origin = origin.with_context(|| format!("no span of the origin: {spans:?}"))?;
    assert_eq!(origin.parent.as_ref(), Some(&edge.id));
    let sql: Vec<_> = spans
        .iter()
        .filter(|span| span.parent.as_ref() == Some(&origin.id))
        .collect();
    ensure!(
        sql.iter().any(|span| span.name.starts_with("SELECT ")),
        "no SQL: {spans:?}"
    );
    ensure!(
        sql.iter().all(|span| span.attributes["db.system.name"] == "postgresql"),
        "{sql:?}"
    );
    // Nothing of anybody's is in it.
    let all = format!("{spans:?}");
    ensure!(!all.contains(&site.email) && !all.contains("Bearer"), "{all}");

    // A picture that is made has its transform; who does not want a trace has none.
    let id = site.upload(&pictures::photo_jpeg(200, 100))?;
    let (second, third) = ("1af7651916cd43dd8448eb211c80319c", "2af7651916cd43dd8448eb211c80319c");
    for (trace, flags) in [(second, "01"), (third, "00")] {
        let parent = format!("00-{trace}-{browser}-{flags}");
        let target = format!("/img/w={}/u/{id}", if flags == "01" { 50 } else { 51 });
        ensure!(
            site.client
                .send("GET", &target, &[("traceparent", &parent)], b"")?
                .status
                == 200
        );
    }
    wait_until("the transform's span", Duration::from_secs(20), || {
        site.client.get("/api/health/liveness").ok()?;
        let spans = of_trace(&kept, second);
        let request = spans.iter().find(|span| span.name == "GET /img/{options}/{source}")?;
        let transform = spans.iter().find(|span| span.name == "transform")?;
        (transform.parent.as_ref() == Some(&request.id) && request.attributes["kado.cache"] == "miss").then_some(())
    })?;
    ensure!(of_trace(&kept, third).is_empty());
    system.stop();
    Ok(())
}
