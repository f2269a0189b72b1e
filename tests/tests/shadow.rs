//! A second origin sees what clients read, and no client ever notices.

use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use kado_tests::{Client, Site, SourceServer, own_system, server, wait_until};
use serde_json::json;

/// How long the second origin takes.
const SLOW: Duration = Duration::from_secs(2);

#[test]
fn a_second_origin_is_asked_behind_the_answer_and_compared() -> Result<()> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    let second = SourceServer::start(move |path, stream| {
        noted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(path.to_owned());
        thread::park_timeout(SLOW);
        match path {
            "/api/content/other-size" => server::answer(stream, "404 Not Found", &[], b"short"),
            // Cut off in the middle of its head.
            "/api/content/broken" => drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncont")),
            _ => server::answer(stream, "500 Internal Server Error", &[], b""),
        }
    })?;
    let address = second.authority();
    let system = own_system(|options| options.environment.push(("SHADOW_ORIGIN".to_owned(), address)))?;
    let run = system.run_file();
    let site = Site::in_system(&run)?;
    site.settle(json!({ "shadowShare": 100 }))?;
    for path in [
        "/api/content/other-status",
        "/api/content/other-size",
        "/api/content/broken",
    ] {
        let asked = Instant::now();
        let answer = site.client.get(path)?;
        ensure!(answer.status == 404, "{path}: {}", answer.status);
        ensure!(asked.elapsed() < SLOW / 2, "{path} took {:?}", asked.elapsed());
    }
    // What changes something is never repeated.
    ensure!(site.login(&site.email, "wrong")?.status == 401);
    let metrics = Client::new(run.edge_metrics.trim_end_matches("/metrics"), "localhost");
    for result in ["status", "size", "failed"] {
        let sample = format!("kado_gateway_shadow_total{{route=\"/api/content/{{section}}\",result=\"{result}\"}}");
        wait_until(&sample, Duration::from_secs(10), || {
            let text = String::from_utf8(metrics.get("/metrics").ok()?.body).ok()?;
            text.contains(&sample).then_some(())
        })?;
    }
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    seen.sort();
    seen.retain(|path| path != "/api/content/none");
    assert_eq!(
        seen,
        [
            "/api/content/broken",
            "/api/content/other-size",
            "/api/content/other-status"
        ]
    );
    // Nothing is repeated any more when the share is none.
    site.settle(json!({ "shadowShare": 0, "limitApi": { "quota": 298, "windowSeconds": 60, "mode": "fast" } }))?;
    let before = second.connections();
    site.client.get("/api/content/other-status")?;
    thread::park_timeout(Duration::from_millis(500));
    assert_eq!(second.connections(), before);
    system.stop();
    Ok(())
}
