//! Everything behind the edge stops at once, and pages that embed pictures do not notice.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kado_tests::{Site, SourceServer, own_system, pictures, wait_until};
use serde_json::json;
use xtask::system::Part;

/// How long everything behind the edge is away. Pictures are fresh for a second, so all of them expire meanwhile.
const AWAY: Duration = Duration::from_secs(20);

#[test]
fn with_origin_and_database_stopped_cached_pictures_answer_and_new_ones_are_made() -> Result<()> {
    let system = own_system(|_| {})?;
    let site = Site::in_system(&system.run_file())?;
    let server = SourceServer::of_bytes(pictures::photo_jpeg(300, 200))?;
    let much = json!({"quota": 10_000, "windowSeconds": 60, "mode": "fast"});
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

    let (over, asked, stood_in) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU32::new(0));
    let ask = |address: &str| -> Result<()> {
        let answer = site.client.get(address)?;
        anyhow::ensure!(answer.status == 200, "{address}: {} {}", answer.status, answer.json());
        asked.fetch_add(1, Ordering::Relaxed);
        if answer
            .header("cache-status")
            .is_some_and(|status| status.contains("fwd=stale"))
        {
            stood_in.fetch_add(1, Ordering::Relaxed);
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
            let mut width = 110;
            until_over(Box::new(move || {
                width += 1;
                ask(&remote(&format!("w={width}")))
            }))
        }));
        let started = Instant::now();
        while started.elapsed() < AWAY && workers.iter().all(|worker| !worker.is_finished()) {
            std::thread::park_timeout(Duration::from_millis(100));
        }
        over.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.join().ok().context("a worker panicked")??;
        }
        Ok(())
    })?;
    let (asked, stood_in) = (asked.into_inner(), stood_in.into_inner());
    println!("{asked} answers in {AWAY:?} without origin and database, all 200; {stood_in} of them expired pictures");
    assert!(stood_in > 0, "nothing expired meanwhile");

    system.resume(Part::Postgres)?;
    system.resume(Part::Origin)?;
    wait_until("stored pictures are made anew", Duration::from_secs(60), || {
        let answer = site.client.get(cached.first()?).ok()?;
        let status = answer.header("cache-status")?.to_owned();
        (answer.status == 200 && !status.contains("fwd=stale")).then_some(())
    })?;
    system.stop();
    Ok(())
}
