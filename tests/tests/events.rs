//! What the edge did reaches the origin exactly once, whatever dies in between.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kado_tests::{Site, crowd, own_system, pictures, site, wait_until};
use serde_json::{Value, json};
use xtask::system::{Part, System};

/// Events of a site, by the request that they were made in.
fn events(site: &Site) -> Result<HashMap<String, Vec<Value>>> {
    let mut found: HashMap<String, Vec<Value>> = HashMap::new();
    for line in site::kado(site.run(), &["events", "--tenant", &site.host])?.lines() {
        let event: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let request = event["requestId"]
            .as_str()
            .context("an event without its request")?
            .to_owned();
        found.entry(request).or_default().push(event);
    }
    Ok(found)
}

/// Sums of the site's counts by name.
fn counts(site: &Site) -> Result<HashMap<String, u64>> {
    let mut sums = HashMap::new();
    for line in site::kado(site.run(), &["events", "--tenant", &site.host, "--counts"])?.lines() {
        let count: Value = serde_json::from_str(line)?;
        let name = count["name"].as_str().context("a count without a name")?.to_owned();
        *sums.entry(name).or_default() += count["count"].as_u64().context("a count without a number")?;
    }
    Ok(sums)
}

/// Lets a crowd transform as much as a test needs.
fn unlimited(site: &Site) -> Result<()> {
    let plenty = json!({ "quota": 100_000, "windowSeconds": 60, "mode": "fast" });
    site.settle(json!({ "limitTransform": plenty, "limitImages": plenty, "limitApi": { "quota": 99_999, "windowSeconds": 60, "mode": "fast" } }))
}

/// Waits until each of these requests has exactly one event, and nothing else has come.
fn each_exactly_once(site: &Site, requests: &[String], limit: Duration) -> Result<()> {
    let missing =
        |found: &HashMap<String, Vec<Value>>| requests.iter().filter(|request| !found.contains_key(*request)).count();
    let mut left = requests.len();
    wait_until("every request has its event", limit, || {
        left = missing(&events(site).ok()?);
        (left == 0).then_some(())
    })
    .with_context(|| format!("{left} of {} requests have no event", requests.len()))?;
    // What comes a second time comes within the next deliveries.
    thread::park_timeout(Duration::from_secs(3));
    let found = events(site)?;
    for (request, events) in &found {
        ensure!(
            events.len() == 1,
            "request {request} is counted {} times: {events:?}",
            events.len()
        );
    }
    Ok(())
}

/// Asks for ever new renderings until told to stop, and gives back the requests that were answered with one made for them.
fn load(site: &Site, id: &str, ended: &AtomicBool) -> Vec<String> {
    let next = AtomicU32::new(20);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut made = Vec::new();
                    while !ended.load(Ordering::SeqCst) {
                        let number = next.fetch_add(1, Ordering::SeqCst);
                        let options = format!("w={},h={}", 20 + number % 300, 20 + number / 300);
                        let answer = site.image(&options, &format!("u/{id}"));
                        let Ok(answer) = answer else {
                            thread::park_timeout(Duration::from_millis(50));
                            continue;
                        };
                        if answer.status == 200 && answer.cache() == "miss" {
                            made.extend(answer.header("x-request-id").map(str::to_owned));
                        } else if answer.status != 200 {
                            thread::park_timeout(Duration::from_millis(50));
                        }
                    }
                    made
                })
            })
            .collect();
        clients
            .into_iter()
            .flat_map(|client| client.join().unwrap_or_default())
            .collect()
    })
}

/// A system under load while `harm` is done to it; then every answered request has one event.
fn under_load(harm: impl FnOnce(&System) -> Result<()>) -> Result<()> {
    let system = own_system(|_| {})?;
    let site = Site::in_system(&system.run_file())?;
    unlimited(&site)?;
    let id = site.upload(&pictures::photo_jpeg(400, 300))?;
    let ended = AtomicBool::new(false);
    let (made, harmed) = thread::scope(|scope| {
        let load = scope.spawn(|| load(&site, &id, &ended));
        let harmed = harm(&system);
        ended.store(true, Ordering::SeqCst);
        (load.join().unwrap_or_default(), harmed)
    });
    harmed?;
    ensure!(made.len() >= 20, "only {} renderings were made under load", made.len());
    each_exactly_once(&site, &made, Duration::from_secs(100))?;
    xtask::progress::say(format_args!("{} renderings, each with one event", made.len()));
    system.stop();
    Ok(())
}

fn for_a_while(duration: Duration) {
    let until = Instant::now() + duration;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        thread::park_timeout(left);
    }
}

#[test]
fn a_transform_and_an_upload_are_on_record_with_what_they_took() -> Result<()> {
    let site = Site::fresh()?;
    let uploaded = site.try_upload(&pictures::photo_jpeg(400, 300))?;
    let id = uploaded.json()["id"].as_str().context("no id")?.to_owned();
    let made = site.image("w=100,f=webp", &format!("u/{id}"))?;
    let failed = site.image("w=100", "u/00000000-0000-4000-8000-000000000000")?;
    let hit = wait_until("the picture is cached", Duration::from_secs(5), || {
        site.image("w=100,f=webp", &format!("u/{id}"))
            .ok()
            .filter(|answer| answer.cache() == "hit")
    })?;
    let request = |answer: &kado_tests::Answer| answer.header("x-request-id").unwrap_or_default().to_owned();
    let requests = [&uploaded, &made, &failed].map(request);
    each_exactly_once(&site, &requests, Duration::from_secs(20))?;

    let found = events(&site)?;
    let [upload, transform, failure] = requests.map(|request| found[&request][0].clone());
    assert_eq!(
        (&upload["kind"], &upload["result"]),
        (&json!("upload"), &json!("ok")),
        "{upload}"
    );
    assert!(
        upload["user"].is_string() && upload["bytesIn"].as_u64() > Some(1000),
        "{upload}"
    );
    assert_eq!(
        [
            &transform["kind"],
            &transform["result"],
            &transform["lane"],
            &transform["sourceFormat"],
            &transform["format"]
        ],
        ["transform", "ok", "edge", "jpeg", "webp"],
        "{transform}"
    );
    assert_eq!(
        (&transform["width"], &transform["height"]),
        (&json!(100), &json!(75)),
        "{transform}"
    );
    assert_eq!(transform["bytesOut"], made.body.len(), "{transform}");
    assert_eq!(transform["traceId"].as_str().map(str::len), Some(32), "{transform}");
    assert_eq!(
        (&failure["kind"], &failure["result"]),
        (&json!("transform"), &json!("source-not-found")),
        "{failure}"
    );
    assert!(!found.contains_key(&request(&hit)), "a hit is counted, it is no event");
    wait_until("the hit is counted", Duration::from_secs(20), || {
        let counts = counts(&site).ok()?;
        (counts.get("cache.hit") >= Some(&1) && counts.get("cache.miss") == Some(&2)).then_some(())
    })
}

#[test]
fn hits_and_refusals_are_counted_to_the_last_one() -> Result<()> {
    let site = Site::fresh()?;
    let id = site.upload(&pictures::photo_jpeg(60, 40))?;
    let address = format!("/img/w=20/u/{id}");
    wait_until("the picture is cached", Duration::from_secs(5), || {
        site.client.get(&address).ok().filter(|answer| answer.cache() == "hit")
    })?;
    site.settle(json!({ "limitImages": { "quota": 50, "windowSeconds": 600, "mode": "strict" } }))?;
    wait_until("what came before is counted", Duration::from_secs(20), || {
        counts(&site).ok().filter(|counts| counts.contains_key("cache.hit"))
    })?;
    for_a_while(Duration::from_secs(3));
    let before = counts(&site)?;
    let answers = crowd(80, |_| site.client.get(&address))?;
    let admitted = answers.iter().filter(|answer| answer.status == 200).count() as u64;
    let refused = answers.iter().filter(|answer| answer.status == 429).count() as u64;
    assert_eq!((admitted + refused, refused), (80, 30));
    let since = |counts: &HashMap<String, u64>, name: &str| {
        counts.get(name).copied().unwrap_or_default() - before.get(name).copied().unwrap_or_default()
    };
    let mut last = String::new();
    wait_until("each is counted", Duration::from_secs(20), || {
        let counts = counts(&site).ok()?;
        let told = ["cache.hit", "limits.images.refused", "limits.images.allowed"].map(|name| since(&counts, name));
        last = format!("{told:?} of {admitted} and {refused}");
        (told == [admitted, refused, admitted]).then_some(())
    })
    .context(last)
}

#[test]
fn an_origin_that_is_away_under_load_hears_of_everything_once_afterwards() -> Result<()> {
    under_load(|system| {
        for_a_while(Duration::from_secs(2));
        system.suspend(Part::Origin)?;
        for_a_while(Duration::from_secs(6));
        system.resume(Part::Origin)?;
        for_a_while(Duration::from_secs(2));
        Ok(())
    })
}

#[test]
fn a_killed_gateway_loses_no_event_of_an_answer_that_was_given() -> Result<()> {
    under_load(|system| {
        for _ in 0..3 {
            for_a_while(Duration::from_millis(1500));
            for (pid, _) in system
                .children(Part::Edge)
                .into_iter()
                .filter(|(_, line)| line.contains(" gateway"))
            {
                let status = std::process::Command::new("kill")
                    .args(["-9", &pid.to_string()])
                    .status()?;
                ensure!(status.success(), "kill -9 {pid}: {status}");
            }
            for_a_while(Duration::from_secs(3));
        }
        Ok(())
    })
}

#[test]
fn an_origin_killed_between_storing_and_confirming_counts_nothing_twice() -> Result<()> {
    under_load(|system| {
        for _ in 0..4 {
            for_a_while(Duration::from_millis(1200));
            system.kill(Part::Origin)?;
            for_a_while(Duration::from_millis(1300));
        }
        Ok(())
    })
}
