//! Metrics as an operator's Prometheus reads them, from both sides.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kado_tests::{Answer, Client, Site, external, own_system, pictures, site, wait_until};
use xtask::system::Part;

/// Fetches metrics from an address of the run file.
fn metrics(url: &str, accept: &str) -> Result<Answer> {
    let base = url
        .strip_suffix("/metrics")
        .context("an address that ends in /metrics")?;
    let answer = Client::new(base, "localhost").send("GET", "/metrics", &[("accept", accept)], b"")?;
    ensure!(answer.status == 200, "{url}: {}", answer.status);
    Ok(answer)
}

fn text(url: &str) -> Result<String> {
    Ok(String::from_utf8(metrics(url, "text/plain")?.body)?)
}

/// Value of a sample.
fn value(text: &str, sample: &str) -> Option<f64> {
    text.lines()
        .find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn promtool_finds_no_fault_in_the_metrics_of_origin_and_edge() -> Result<()> {
    let Some(promtool) = external::program(&["promtool"])? else {
        return Ok(());
    };
    let site = Site::fresh()?;
    let id = site.upload(&pictures::photo_jpeg(200, 100))?;
    site.image("w=50", &format!("u/{id}"))?;
    for url in [&site.run().origin_metrics, &site.run().edge_metrics] {
        let mut check = Command::new(&promtool)
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        check
            .stdin
            .take()
            .context("no input")?
            .write_all(text(url)?.as_bytes())?;
        let output = check.wait_with_output()?;
        let told = [output.stdout, output.stderr].concat();
        ensure!(
            output.status.success() && told.is_empty(),
            "{url}: {}",
            String::from_utf8_lossy(&told)
        );
    }
    Ok(())
}

#[test]
fn openmetrics_with_traces_is_there_for_whoever_asks() -> Result<()> {
    let run = site::shared()?;
    Client::new(&run.edge, "localhost").get("/api/auth/me")?;
    Client::new(&run.edge, "localhost").get("/api/health")?;
    for url in [&run.origin_metrics, &run.edge_metrics] {
        let answer = metrics(url, "application/openmetrics-text; version=1.0.0")?;
        let media_type = answer.header("content-type").unwrap_or_default();
        assert!(
            media_type.starts_with("application/openmetrics-text; version=1.0.0"),
            "{media_type}"
        );
        let text = String::from_utf8(answer.body)?;
        assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1, "{url}");
        assert!(text.contains(" # {trace_id=\""), "{url}: {text}");
    }
    Ok(())
}

#[test]
fn the_edges_metrics_tell_of_hits_refusals_and_the_outbox_though_the_origin_is_away() -> Result<()> {
    let system = own_system(|_| {})?;
    let run = system.run_file();
    let site = Site::in_system(&run)?;
    let id = site.upload(&pictures::photo_jpeg(200, 100))?;
    let address = format!("/img/w=50/u/{id}");
    wait_until("the picture is cached", Duration::from_secs(5), || {
        site.client.get(&address).ok().filter(|answer| answer.cache() == "hit")
    })?;
    system.suspend(Part::Origin)?;
    let before = text(&run.edge_metrics)?;
    for _ in 0..5 {
        assert_eq!(site.client.get(&address)?.cache(), "hit");
    }
    // A picture that does not exist at all: the attempt is an event, and it waits for the origin.
    site.image("w=51", &format!("u/{id}"))?;
    let after = text(&run.edge_metrics)?;
    let rise = |sample: &str| value(&after, sample).unwrap_or_default() - value(&before, sample).unwrap_or_default();
    assert!(
        (rise("kado_gateway_cache_total{result=\"hit\"}") - 5.0).abs() < 0.5,
        "{after}"
    );
    assert!(value(&after, "kado_edge_gateway_up") == Some(1.0), "{after}");
    wait_until("events wait in the outbox", Duration::from_secs(20), || {
        let text = text(&run.edge_metrics).ok()?;
        let waiting = value(&text, "kado_gateway_outbox_records")? >= 1.0;
        (waiting && value(&text, "kado_gateway_outbox_failures")? >= 1.0).then_some(())
    })?;
    system.resume(Part::Origin)?;
    wait_until("the outbox is empty again", Duration::from_secs(90), || {
        let text = text(&run.edge_metrics).ok()?;
        (value(&text, "kado_gateway_outbox_records")? < 0.5).then_some(())
    })?;
    wait_until("the origin counts what it heard of", Duration::from_secs(5), || {
        let text = text(&run.origin_metrics).ok()?;
        text.contains("kado_origin_events_total{kind=\"transform\",result=\"ok\",lane=\"edge\"")
            .then_some(())
    })?;
    system.stop();
    Ok(())
}

#[test]
fn metrics_are_for_operators_alone() -> Result<()> {
    let run = site::shared()?;
    let client = Client::new(&run.edge, "localhost");
    for target in ["/metrics", "/__kado/metrics"] {
        assert_eq!(client.get(target)?.status, 404, "{target}");
    }
    let forged = [("kado-edge", "v1;t=1;n=AAAAAAAAAAAAAAAAAAAAAA;mac=AAAA")];
    assert_eq!(client.send("GET", "/__kado/metrics", &forged, b"")?.status, 404);
    assert_eq!(Client::new(&run.origin, "localhost").get("/metrics")?.status, 401);
    Ok(())
}
