//! Everything behind the edge stops at once, and pages that embed pictures do not notice.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kado_tests::{Site, SourceServer, external, own_system, pictures, site, wait_until};
use serde_json::{Value, json};
use xtask::system::{Part, ports};

/// How long everything behind the edge is away; `KADO_OUTAGE_SECONDS` for longer. Pictures are fresh for a second, so all
/// of them expire meanwhile.
fn away() -> Duration {
    let seconds = std::env::var("KADO_OUTAGE_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(20))
}

/// Events of a site, counted by the request that they were made in.
fn events(site: &Site) -> Result<HashMap<String, usize>> {
    let mut found = HashMap::new();
    for line in site::kado(site.run(), &["events", "--tenant", &site.host])?.lines() {
        let event: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let request = event["requestId"].as_str().context("an event without its request")?;
        *found.entry(request.to_owned()).or_default() += 1;
    }
    Ok(found)
}

#[test]
fn with_origin_database_and_redis_stopped_cached_pictures_answer_and_new_ones_are_made() -> Result<()> {
    let Some(program) = external::program(&["redis-server"])? else {
        return Ok(());
    };
    let port = ports::free()?;
    let mut redis = external::redis(&program, port)?;
    let system = own_system(|options| {
        let address = format!("redis://127.0.0.1:{port}/");
        options.environment.push(("REDIS_URL".to_owned(), address));
    })?;
    let site = Site::in_system(&system.run_file())?;
    let server = SourceServer::of_bytes(pictures::photo_jpeg(300, 200))?;
    let much = json!({"quota": 100_000, "windowSeconds": 60, "mode": "fast"});
    site.settle(json!({
        "allowedSources": [{"host": "127.0.0.1", "port": server.port(), "allowPrivate": true}],
        "imageMinTtl": 0, "imageMaxTtl": 1, "imageDefaultTtl": 1, "imageStaleTtl": 1,
        "limitImages": much, "limitTransform": much,
    }))?;
    let id = site.upload(&pictures::photo_jpeg(400, 300))?;
    let remote = |options: &str| format!("/img/{options}/http://{}/a.jpg", server.authority());
    let cached = [
        format!("/img/w=100/u/{id}"),
        format!("/img/w=101/u/{id}"),
        remote("w=100"),
    ];
    for address in &cached {
        wait_until("a hit", Duration::from_secs(10), || {
            site.client.get(address).ok().filter(|answer| answer.cache() == "hit")
        })?;
    }
    system.suspend(Part::Origin)?;
    system.suspend(Part::Postgres)?;
    redis.kill()?;

    let away = away();
    let (over, asked, stood_in) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU32::new(0));
    // Requests in which a picture was made, each of which has to have one event afterwards.
    let made = Mutex::new(Vec::new());
    let ask = |address: &str| -> Result<()> {
        let answer = site.client.get(address)?;
        anyhow::ensure!(answer.status == 200, "{address}: {} {}", answer.status, answer.json());
        asked.fetch_add(1, Ordering::Relaxed);
        let status = answer.header("cache-status").unwrap_or_default();
        if status.contains("fwd=stale") {
            stood_in.fetch_add(1, Ordering::Relaxed);
        } else if status.contains("stored") {
            let request = answer
                .header("x-request-id")
                .context("an answer without X-Request-Id")?;
            made.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(request.to_owned());
        }
        Ok(())
    };
    let until_over = |mut what: Box<dyn FnMut() -> Result<()> + Send + '_>| -> Result<()> {
        while !over.load(Ordering::Relaxed) {
            what()?;
            std::thread::park_timeout(Duration::from_millis(50));
        }
        Ok(())
    };
    std::thread::scope(|scope| -> Result<()> {
        let mut workers: Vec<_> = cached
            .iter()
            .map(|address| scope.spawn(|| until_over(Box::new(|| ask(address)))))
            .collect();
        workers.push(scope.spawn(|| until_over(Box::new(|| ask("/api/health/liveness")))));
        workers.push(scope.spawn(|| {
            let mut number = 0;
            until_over(Box::new(move || {
                number += 1;
                ask(&remote(&format!(
                    "w={},quality={}",
                    110 + number % 190,
                    10 + number / 190 % 90
                )))
            }))
        }));
        let started = Instant::now();
        while started.elapsed() < away && workers.iter().all(|worker| !worker.is_finished()) {
            std::thread::park_timeout(Duration::from_millis(100));
        }
        over.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.join().ok().context("a worker panicked")??;
        }
        Ok(())
    })?;
    let (asked, stood_in) = (asked.into_inner(), stood_in.into_inner());
    let made = made.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!(
        "{asked} answers in {away:?} without origin, database and Redis, all 200; {stood_in} of them expired pictures, {} new ones",
        made.len()
    );
    assert!(stood_in > 0, "nothing expired meanwhile");
    assert!(made.len() > 10, "hardly a picture was made meanwhile: {}", made.len());

    system.resume(Part::Postgres)?;
    system.resume(Part::Origin)?;
    wait_until("stored pictures are made anew", Duration::from_secs(60), || {
        let answer = site.client.get(cached.first()?).ok()?;
        let status = answer.header("cache-status")?.to_owned();
        (answer.status == 200 && !status.contains("fwd=stale")).then_some(())
    })?;
    // Every event of the time is told, once. The outbox waits up to a minute and a quarter after many failures.
    wait_until("all events are told", Duration::from_secs(180), || {
        let found = events(&site).ok()?;
        made.iter().all(|request| found.contains_key(request)).then_some(())
    })?;
    let found = events(&site)?;
    let doubled: Vec<_> = made.iter().filter(|request| found.get(*request) != Some(&1)).collect();
    assert!(doubled.is_empty(), "told more than once: {doubled:?}");
    system.stop();
    Ok(())
}
