//! What is passed on to the origin, and what happens while the origin is away.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use kado_tests::{Site, own_system, wait_until};
use xtask::system::Part;

/// How long any answer may take while the origin comes and goes.
const PROMPT: Duration = Duration::from_secs(10);

fn broken_upload(site: &Site) -> Vec<u8> {
    // The first chunk is whole, so that the request is on its way; the second has a size that is no number.
    format!(
        "POST /api/auth/login HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
         transfer-encoding: chunked\r\nconnection: close\r\n\r\n1\r\n{{\r\nzz\r\n",
        site.host
    )
    .into_bytes()
}

#[test]
fn a_get_that_brings_a_body_is_answered_like_any_other() -> Result<()> {
    let site = Site::fresh()?;
    let me = ("authorization", site.bearer.as_str());
    let answer = site.client.send("GET", "/api/auth/me", &[me], b"{}")?;
    assert_eq!(answer.status, 200, "{}", answer.json());
    let chunked = format!(
        "GET /api/auth/me HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n",
        site.host, site.bearer
    );
    let answer = site.client.send_raw("GET", chunked.as_bytes())?;
    assert_eq!(answer.status, 200, "{}", answer.json());
    Ok(())
}

#[test]
fn uploads_that_break_off_shut_nobody_else_out() -> Result<()> {
    let site = Site::fresh()?;
    let me = ("authorization", site.bearer.as_str());
    for attempt in 0..10 {
        // Whatever is answered to it, if anything.
        let _ = site.client.send_raw("POST", &broken_upload(&site));
        let answer = site.client.send("GET", "/api/auth/me", &[me], b"")?;
        ensure!(
            answer.status == 200,
            "after {attempt}: {} {}",
            answer.status,
            answer.json()
        );
    }
    Ok(())
}

#[test]
fn no_request_hangs_while_the_origin_is_killed_under_load() -> Result<()> {
    let system = own_system(|_| {})?;
    let site = Site::in_system(&system.run_file())?;
    let me = ("authorization", site.bearer.as_str());
    let (over, refused) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| -> Result<()> {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    while !over.load(Ordering::Relaxed) {
                        let asked = Instant::now();
                        let answer = site.client.send("GET", "/api/auth/me", &[me], b"")?;
                        let took = asked.elapsed();
                        ensure!(took < PROMPT, "{} after {took:?}", answer.status);
                        ensure!(
                            matches!(answer.status, 200 | 429 | 503),
                            "{} {}",
                            answer.status,
                            answer.json()
                        );
                        if answer.status == 503 {
                            ensure!(
                                answer.header("retry-after").is_some(),
                                "no Retry-After: {}",
                                answer.json()
                            );
                            refused.fetch_add(1, Ordering::Relaxed);
                        }
                        // Asking is limited too.
                        thread::park_timeout(Duration::from_millis(300));
                    }
                    Ok(())
                })
            })
            .collect();
        let killed = system.kill(Part::Origin);
        let seen = wait_until("somebody is told that the origin is away", PROMPT, || {
            (refused.load(Ordering::Relaxed) > 0).then_some(())
        });
        over.store(true, Ordering::Relaxed);
        killed.and(seen)?;
        for client in clients {
            client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
        }
        Ok(())
    })?;
    wait_until("the origin answers again", Duration::from_secs(45), || {
        thread::park_timeout(Duration::from_millis(400));
        let answer = site.client.send("GET", "/api/auth/me", &[me], b"").ok()?;
        (answer.status == 200).then_some(())
    })?;
    system.stop();
    Ok(())
}
