//! Processes die. What keeps working, what answers 503, and that all recover by themselves.

use std::time::Duration;

use anyhow::{Context, Result};
use kado_tests::{Answer, Site, own_system, pictures, wait_until};
use xtask::system::{Part, System};

/// A system of the test's own with one cached picture.
struct Cached {
    system: System,
    site: Site,
    id: String,
    address: String,
}

impl Cached {
    fn start() -> Result<Self> {
        let system = own_system(|_| {})?;
        let site = Site::in_system(&system.run_file())?;
        let id = site.upload(&pictures::photo_jpeg(400, 300))?;
        let address = format!("/img/w=100/u/{id}");
        let cached = Self {
            system,
            site,
            id,
            address,
        };
        cached.until(Duration::from_secs(10), |answer| answer.cache() == "hit")?;
        Ok(cached)
    }

    fn until(&self, limit: Duration, wanted: impl Fn(&Answer) -> bool) -> Result<Answer> {
        wait_until("the cached picture is as wanted", limit, || {
            self.site.client.get(&self.address).ok().filter(&wanted)
        })
    }

    /// Everything works: the API, a hit, and a new rendering.
    fn whole_again(&self, width: u32) -> Result<()> {
        let mut last = String::new();
        let found = wait_until("everything works again", Duration::from_secs(45), || {
            let me = ("authorization", self.site.bearer.as_str());
            let statuses = [
                self.site.client.get("/api/health"),
                self.site.client.send("GET", "/api/auth/me", &[me], b""),
                self.site.client.get(&self.address),
                self.site.image(&format!("w={width}"), &format!("u/{}", self.id)),
            ]
            .map(|answer| answer.map_or(0, |answer| answer.status));
            if statuses == [200; 4] {
                return Some(());
            }
            last = format!("{statuses:?}");
            // Asking is limited too: 300 a minute.
            std::thread::park_timeout(Duration::from_millis(400));
            None
        });
        found.with_context(|| format!("readiness, session, cached and new picture answer {last}"))
    }
}

#[test]
fn a_killed_origin_costs_no_cached_picture_and_comes_back() -> Result<()> {
    let cached = Cached::start()?;
    let before = cached.system.status(Part::Origin).pid;
    cached.system.kill(Part::Origin)?;
    for _ in 0..20 {
        let answer = cached.site.client.get(&cached.address)?;
        assert_eq!((answer.status, answer.cache()), (200, "hit"));
        assert_eq!(cached.site.client.get("/api/health/liveness")?.status, 200);
        let api = cached
            .site
            .client
            .send("GET", "/api/auth/me", &[("authorization", &cached.site.bearer)], b"")?;
        assert!(matches!(api.status, 200 | 503), "{} {}", api.status, api.json());
    }
    cached.whole_again(51)?;
    assert_ne!(cached.system.status(Part::Origin).pid, before);
    cached.system.stop();
    Ok(())
}

#[test]
fn a_killed_cache_costs_time_and_keeps_what_it_had() -> Result<()> {
    let cached = Cached::start()?;
    cached.system.kill(Part::Cache)?;
    for _ in 0..20 {
        let answer = cached.site.client.get(&cached.address)?;
        assert_eq!(
            answer.status,
            200,
            "without its cache the edge makes the picture anew: {}",
            answer.json()
        );
    }
    cached.whole_again(52)?;
    let back = cached.until(Duration::from_secs(20), |answer| answer.cache() == "hit")?;
    assert_eq!(pictures::size(&back.body)?, (100, 75));
    cached.system.stop();
    Ok(())
}

#[test]
fn every_killed_workerd_is_started_again() -> Result<()> {
    let cached = Cached::start()?;
    let workers: Vec<_> = cached
        .system
        .children(Part::Edge)
        .into_iter()
        .filter(|(_, line)| line.contains("workerd"))
        .collect();
    assert!(
        workers.len() >= 2,
        "a gateway and at least one transform process: {workers:?}"
    );
    for (number, (pid, line)) in workers.iter().enumerate() {
        kill(*pid)?;
        cached
            .whole_again(60 + u32::try_from(number)?)
            .with_context(|| format!("after {line}"))?;
    }
    cached.system.stop();
    Ok(())
}

#[test]
fn a_killed_edge_is_started_again_on_the_same_address_with_its_cache() -> Result<()> {
    let cached = Cached::start()?;
    cached.system.kill(Part::Edge)?;
    cached.whole_again(53)?;
    let hit = cached.until(Duration::from_secs(10), |answer| answer.cache() == "hit")?;
    assert_eq!(hit.status, 200);
    cached.system.stop();
    Ok(())
}

#[test]
fn a_killed_database_is_started_again_and_the_origin_recovers_without_a_restart() -> Result<()> {
    let cached = Cached::start()?;
    let origin = cached.system.status(Part::Origin).pid;
    cached.system.kill(Part::Postgres)?;
    for _ in 0..10 {
        assert_eq!(cached.site.client.get(&cached.address)?.status, 200);
        let login = cached.site.login(&cached.site.email, "wrong password")?;
        assert!(
            matches!(login.status, 401 | 429 | 503),
            "{} {}",
            login.status,
            login.json()
        );
    }
    cached.whole_again(54)?;
    assert_eq!(cached.system.status(Part::Origin).pid, origin);
    cached.system.stop();
    Ok(())
}

#[test]
fn a_restarted_edge_serves_cached_pictures_though_the_origin_is_away() -> Result<()> {
    let cached = Cached::start()?;
    cached.system.suspend(Part::Origin)?;
    let gateway = cached
        .system
        .children(Part::Edge)
        .into_iter()
        .filter(|(_, line)| line.contains("workerd"));
    for (pid, _) in gateway {
        kill(pid)?;
    }
    let answer = cached.until(Duration::from_secs(20), |answer| answer.status == 200)?;
    assert_eq!(answer.cache(), "hit");
    cached.system.resume(Part::Origin)?;
    cached.whole_again(55)?;
    cached.system.stop();
    Ok(())
}

fn kill(pid: i32) -> Result<()> {
    let status = std::process::Command::new("kill")
        .args(["-9", &pid.to_string()])
        .status()?;
    anyhow::ensure!(status.success(), "kill -9 {pid}: {status}");
    Ok(())
}
