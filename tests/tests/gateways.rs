//! Several gateways of one site, which count limits together.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kado_tests::external::{self, Running};
use kado_tests::http::Client;
use kado_tests::{Site, crowd, own_system, wait_until};
use serde_json::json;
use xtask::system::System;
use xtask::temporary::TemporaryFolder;

/// Clients at once.
const CLIENTS: usize = 200;
/// What a strict rule admits of them.
const QUOTA: usize = 50;
/// Rules that a tenant may have but one, each of which is used for one crowd or two.
const RULES: usize = 15;

/// How often each claim is put to the test; `KADO_LIMIT_ROUNDS` for more.
fn rounds() -> usize {
    std::env::var("KADO_LIMIT_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(4)
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// `kado edge` beside the one that a system has.
fn second_gateway(system: &System, folder: &Path, port: u16) -> Command {
    let run = system.run_file();
    let bare = |url: &str| url.trim_start_matches("http://").to_owned();
    let mut command = Command::new(&run.kado);
    command
        .args([
            "edge",
            "--listen",
            &format!("127.0.0.1:{port}"),
            "--transform-processes",
            "1",
        ])
        .args([
            "--origin",
            &bare(&run.origin),
            "--internal",
            &bare(&run.internal),
            "--cache",
            &run.cache,
        ])
        .arg("--state-dir")
        .arg(folder.join("state"))
        .arg("--socket-dir")
        .arg(folder.join("s"))
        .arg("--worker-dir")
        .arg(&system.binaries().worker)
        .arg("--workerd")
        .arg(&system.binaries().workerd)
        .env("EDGE_SECRET", &system.secrets().edge_secret);
    command
}

/// A site behind two gateways that share a Redis.
struct Shared {
    system: System,
    site: Site,
    clients: [Client; 2],
    /// Rules that were used up, and so how many were set.
    used: usize,
    _second: Running,
    _folder: TemporaryFolder,
}

impl Shared {
    fn start(redis_port: u16) -> Result<Self> {
        let address = format!("redis://127.0.0.1:{redis_port}/");
        let system = own_system(|options| options.environment.push(("REDIS_URL".to_owned(), address)))?;
        let folder = TemporaryFolder::new("gw2")?;
        let port = free_port()?;
        let second = Running::start(&mut second_gateway(&system, folder.path(), port))?;
        let site = Site::in_system(&system.run_file())?;
        let clients = [
            site.client.clone(),
            Client::new(&format!("http://127.0.0.1:{port}"), &site.host),
        ];
        wait_until("the second gateway serves", Duration::from_secs(60), || {
            clients[1]
                .get("/api/health/liveness")
                .ok()
                .filter(|answer| answer.status == 200)
        })?;
        Ok(Self {
            system,
            site,
            clients,
            used: 0,
            _second: second,
            _folder: folder,
        })
    }

    /// An address that a strict rule of its own holds for, which has counted nothing yet.
    fn fresh_rule(&mut self) -> Result<String> {
        let (batch, number) = (self.used / RULES, self.used % RULES);
        self.used += 1;
        if number == 0 {
            let mut rules: Vec<_> = (0..RULES)
                .map(|number| {
                    json!({
                        "name": format!("b{batch}-r{number}"), "paths": [format!("/api/content/r{number}")], "key": "ip",
                        "quota": QUOTA, "windowSeconds": 3600, "mode": "strict", "onFailure": "closed",
                    })
                })
                .collect();
            // One that never refuses: it asks the store each time, so it finds out which one that is.
            rules.push(json!({
                "name": "probe", "paths": ["/api/content/probe"], "key": "ip",
                "quota": 10_000, "windowSeconds": 60, "mode": "strict",
            }));
            let quota = 50_000 + batch;
            self.site.settle(json!({
                "limitRules": rules,
                "limitApi": { "quota": quota, "windowSeconds": 60, "mode": "fast" },
            }))?;
            wait_until("the second gateway knows the rules", Duration::from_secs(6), || {
                let answer = self.clients[1].get("/api/content/none").ok()?;
                (answer.header("x-ratelimit-limit") == Some(quota.to_string().as_str())).then_some(())
            })?;
        }
        Ok(format!("/api/content/r{number}"))
    }

    /// How many of a crowd over both gateways are admitted; nobody may be answered anything but yes or no.
    fn admitted(&self, path: &str) -> Result<usize> {
        let answers = crowd(CLIENTS, |number| self.clients[number % 2].get(path))?;
        let mut admitted = 0;
        for answer in &answers {
            ensure!(
                matches!(answer.status, 404 | 429),
                "{} {}",
                answer.status,
                answer.json()
            );
            admitted += usize::from(answer.status == 404);
        }
        Ok(admitted)
    }
}

#[test]
fn two_gateways_over_one_redis_admit_exactly_the_quota_of_two_hundred_at_once() -> Result<()> {
    let Some(program) = external::program(&["redis-server"])? else {
        return Ok(());
    };
    let port = free_port()?;
    let _redis = external::redis(&program, port)?;
    let mut shared = Shared::start(port)?;
    for round in 1..=rounds() {
        let path = shared.fresh_rule()?;
        assert_eq!(shared.admitted(&path)?, QUOTA, "round {round}");
        assert_eq!(shared.admitted(&path)?, 0, "round {round}, again");
    }
    shared.system.stop();
    Ok(())
}

#[test]
fn redis_lost_in_between_costs_no_service_and_no_store_admits_one_too_many() -> Result<()> {
    let Some(program) = external::program(&["redis-server"])? else {
        return Ok(());
    };
    let port = free_port()?;
    let mut redis_process = external::redis(&program, port)?;
    let mut shared = Shared::start(port)?;
    for round in 1..=rounds() {
        let path = shared.fresh_rule()?;
        // Killed while two hundred are asking: some were counted there, the others in the database.
        let admitted = std::thread::scope(|scope| {
            let asking = scope.spawn(|| shared.admitted(&path));
            std::thread::park_timeout(Duration::from_millis(30));
            redis_process.kill()?;
            asking.join().map_err(|_| anyhow::anyhow!("the crowd panicked"))?
        })?;
        assert!((QUOTA..=2 * QUOTA).contains(&admitted), "round {round}: {admitted}");
        let path = shared.fresh_rule()?;
        assert_eq!(shared.admitted(&path)?, QUOTA, "round {round}: the database alone");
        let told = |event: &str| -> usize {
            let log = fs::read_to_string(shared.system.logs().join("origin.log")).unwrap_or_default();
            log.matches(&format!("\"{event}\"")).count()
        };
        let before = told("limits-in-redis");
        redis_process = external::redis(&program, port)?;
        wait_until("Redis is used again", Duration::from_secs(20), || {
            shared.clients[0].get("/api/content/probe").ok()?;
            (told("limits-in-redis") > before).then_some(())
        })?;
        let path = shared.fresh_rule()?;
        assert_eq!(shared.admitted(&path)?, QUOTA, "round {round}: Redis again");
    }
    shared.system.stop();
    Ok(())
}

#[test]
fn without_redis_a_second_gateway_is_refused_and_told_what_to_do() -> Result<()> {
    let system = own_system(|_| {})?;
    // A gateway that started before its origin says that it is there a few seconds later.
    let log = system.run_file().logs.join("origin.log");
    wait_until("the first gateway is known", Duration::from_secs(30), || {
        let text = fs::read_to_string(&log).ok()?;
        text.lines()
            .any(|line| line.contains("/internal/gateways") && line.contains("\"status\":200"))
            .then_some(())
    })?;
    let folder = TemporaryFolder::new("gw2")?;
    let mut command = second_gateway(&system, folder.path(), free_port()?);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let ended = wait_until("the second gateway ends", Duration::from_secs(30), || {
        child.try_wait().ok().flatten()
    });
    if ended.is_err() {
        child.kill()?;
    }
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(ended.with_context(|| said.clone())?.code(), Some(64), "{said}");
    assert!(
        said.contains("REDIS_URL") && said.contains("serves this site already"),
        "{said}"
    );
    // The one that was there is not disturbed.
    let site = Site::in_system(&system.run_file()).context("the first gateway serves")?;
    assert_eq!(site.client.get("/api/health")?.status, 200);
    system.stop();
    Ok(())
}
