//! `cargo xtask bench origin`

mod report;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use serde_json::json;
use xtask::http::Client;
use xtask::system::{Binaries, RunFile, System};
use xtask::workspace::Workspace;
use xtask::{progress, sample, tools, wait};

use self::report::{Flood, Report};
use super::document;
use super::load::{Answer, Clients, Outcome, Until};
use super::numbers::{median, percentile};

/// Requests a second of those whose sessions are checked.
const SESSIONS_PER_SECOND: u32 = 500;
/// Clients that ask so often.
const CLIENTS: u32 = 20;
/// Logins of each kind whose time is compared, and logins of the flood.
const LOGINS: u64 = 200;
/// Failures after which an address is locked from one client.
const LOCKING: u64 = 12;
/// Whose password nobody guesses.
const STRANGER: &str = "nobody";

/// The origin, asked through the edge as clients ask it: what checking a session takes, whether the time of a login tells anything
/// of it, and what a flood of logins does to others.
///
/// Starts a system of its own.
#[derive(Args)]
pub(crate) struct Arguments {
    /// A tenth of the time, and no document
    #[arg(long)]
    quick: bool,
    /// Cargo's profile for the native services
    #[arg(long, default_value = "native", value_name = "PROFILE")]
    profile: String,
}

pub(super) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    tools::require_bare_machine()?;
    let binaries = Binaries::build(workspace, &arguments.profile)?;
    let system = progress::step("Starting a system", || {
        System::temporary(binaries, |options| {
            // Each request says whose it is, as a proxy in front would.
            options
                .environment
                .push(("CLIENT_IP".to_owned(), "header:x-real-ip".to_owned()));
            options
                .environment
                .push(("TRUSTED_PROXIES".to_owned(), "127.0.0.0/8".to_owned()));
        })
    })?;
    let target = Target::prepare(&system)?;
    let tenth = if arguments.quick { 10 } else { 1 };
    let (sessions, within) = progress::step("Sessions", || target.sessions(Duration::from_secs(60) / tenth))?;
    let logins = progress::step("The time of logins", || target.logins(LOGINS / u64::from(tenth)))?;
    let (flood, within_beside) = progress::step("A flood of logins", || target.flood(LOGINS / u64::from(tenth)))?;
    let report = Report {
        sessions,
        within,
        logins,
        flood,
        within_beside,
    };
    drop(target);
    system.stop();
    let mut command = "cargo xtask bench origin".to_owned();
    if arguments.profile != "native" {
        command += &format!(" --profile {}", arguments.profile);
    }
    let section = report.section(&command)?;
    document::print(&section)?;
    if !arguments.quick {
        document::write(workspace, "origin", &section)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The seeded tenant, whose limits let everybody pass.
struct Target {
    client: Client,
    metrics: String,
    server: SocketAddr,
    host: String,
    email: String,
    bearer: String,
}

impl Target {
    fn prepare(system: &System) -> Result<Self> {
        let run: RunFile = system.run_file();
        let client = Client::new(Duration::from_secs(60));
        let token = sample::login(&client, &run, &system.secrets().admin_password)?
            .ok_or_else(|| anyhow!("the first admin's password is refused"))?;
        let bearer = format!("Bearer {token}");
        let plenty = json!({ "quota": 100_000, "windowSeconds": 60, "mode": "fast" });
        let settings = json!({ "limitApi": plenty, "limitLogin": plenty });
        let url = format!("{}/api/admin/settings", run.edge);
        let headers = [
            ("authorization", bearer.as_str()),
            ("if-match", "*"),
            ("content-type", "application/json"),
        ];
        client
            .patch(&url, &headers, settings.to_string().as_bytes())?
            .expect(200)?;
        let me = format!("{}/api/auth/me", run.edge);
        wait::until(Duration::from_secs(20), || {
            let answer = client.get(&me, &[("authorization", bearer.as_str())]).ok()?;
            (answer.header("x-ratelimit-limit") == "100000").then_some(())
        })
        .ok_or_else(|| anyhow!("the edge does not learn of the limits"))?;
        let host = run.edge.trim_start_matches("http://").to_owned();
        Ok(Self {
            server: host.parse().with_context(|| format!("{host} is no address"))?,
            host,
            metrics: run.origin_metrics,
            client,
            email: run.admin_email,
            bearer,
        })
    }

    fn clients(&self, count: u32, pace: Option<Duration>) -> Clients {
        Clients {
            server: self.server,
            count: count as usize,
            pace,
        }
    }

    fn me(&self) -> String {
        format!(
            "GET /api/auth/me HTTP/1.1\r\nhost: {}\r\nauthorization: {}\r\nx-real-ip: 198.19.0.1\r\n\r\n",
            self.host, self.bearer
        )
    }

    fn login(&self, email: &str, from: u64) -> String {
        let [.., a, b, c] = from.to_be_bytes();
        let body = json!({ "email": email, "password": "not the password of anybody" }).to_string();
        format!(
            "POST /api/auth/login HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\nx-real-ip: 10.{a}.{b}.{c}\r\n\
             content-length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        )
    }

    /// Requests of the route that the origin has answered, and those of them within so many seconds, a bound of its own
    /// histogram.
    fn answered(&self, within: &str) -> Result<[u64; 2]> {
        let text = String::from_utf8(self.client.get(&self.metrics, &[])?.expect(200)?.body).context("metrics")?;
        let sample = |le: &str| {
            let start = format!("kado_origin_request_duration_seconds_bucket{{route=\"/api/auth/me\",le=\"{le}\"}} ");
            let found = text.lines().find_map(|line| line.strip_prefix(&start)?.parse().ok());
            found.with_context(|| format!("the origin's metrics lack {start}"))
        };
        Ok([sample("+Inf")?, sample(within)?])
    }

    /// What comes of some work, and the share of requests of the route that the origin answered in time meanwhile.
    fn share_within<T>(&self, within: &str, work: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
        let before = self.answered(within)?;
        let result = work()?;
        let after = self.answered(within)?;
        #[expect(clippy::cast_precision_loss, reason = "there are thousands")]
        let [all, in_time] = [0, 1].map(|which| (after[which] - before[which]) as f64);
        Ok((result, in_time / all))
    }

    /// Requests whose session is looked up, at a rate; and the share that the origin answered within 10 ms.
    fn sessions(&self, time: Duration) -> Result<(Outcome, f64)> {
        let pace = Duration::from_secs(1) * CLIENTS / SESSIONS_PER_SECOND;
        let check = |_, answer: &Answer<'_>| expect(answer, 200);
        let clients = self.clients(CLIENTS, Some(pace));
        clients.run(Until::Time(time / 4), |_| self.me(), check)?;
        self.share_within("0.01", || clients.run(Until::Time(time), |_| self.me(), check))
    }

    /// Milliseconds of refused logins, one after the other: of unknown addresses, of wrong passwords, and of an address that is
    /// locked, in turns.
    fn logins(&self, each: u64) -> Result<[Vec<f64>; 3]> {
        let one = self.clients(1, None);
        let check = |_, answer: &Answer<'_>| expect(answer, 401);
        one.run(Until::Requests(LOCKING), |_| self.login(&self.email, 0), check)?;
        // Each time from somewhere else, where nobody has failed with this address yet, but from where somebody has asked: the
        // edge counts for a new client in another way.
        let ask = |number: u64| match number % 3 {
            0 => self.login(&format!("{STRANGER}{number}@localhost"), number + 1),
            1 => self.login(&self.email, number + 1),
            _ => self.login(&self.email, 0),
        };
        let known = |number: u64| self.login(&format!("{STRANGER}-known@localhost"), number + 1);
        one.run(Until::Requests(3 * each), known, check)?;
        let outcome = one.run(Until::Requests(3 * each), ask, check)?;
        let mut kinds = [Vec::new(), Vec::new(), Vec::new()];
        for (number, milliseconds) in outcome.milliseconds.into_iter().enumerate() {
            kinds[number % 3].push(milliseconds);
        }
        Ok(kinds)
    }

    /// Milliseconds of another route, alone and while so many try to sign in at once, and for how long they did; and the share
    /// that the origin answered within 50 ms then.
    fn flood(&self, logins: u64) -> Result<(Flood, f64)> {
        let paced = self.clients(4, Some(Duration::from_millis(40)));
        let check = |_, answer: &Answer<'_>| expect(answer, 200);
        let alone = paced.run(Until::Time(Duration::from_secs(5)), |_| self.me(), check)?;
        let over = AtomicBool::new(false);
        let beside = || {
            std::thread::scope(|scope| -> Result<_> {
                let flood = scope.spawn(|| {
                    let started = std::time::Instant::now();
                    let many = self.clients(u32::try_from(logins).unwrap_or(u32::MAX), None);
                    let outcome = many.run(
                        Until::Requests(logins),
                        |number| self.login(&format!("{STRANGER}-{number}@localhost"), 1_000_000 + number),
                        // Who comes when too many wait is asked to come again.
                        |_, answer| expect(answer, if answer.status == 503 { 503 } else { 401 }),
                    );
                    over.store(true, Ordering::Release);
                    outcome.map(|_| started.elapsed())
                });
                let mut beside = Vec::new();
                while !over.load(Ordering::Acquire) {
                    let some = paced.run(Until::Time(Duration::from_millis(200)), |_| self.me(), check)?;
                    beside.extend(some.milliseconds);
                }
                let took = flood.join().map_err(|_| anyhow!("the flood panicked"))??;
                Ok((beside, took))
            })
        };
        let ((beside, took), within) = self.share_within("0.05", beside)?;
        Ok((([alone.milliseconds, beside], took), within))
    }
}

fn expect(answer: &Answer<'_>, status: u16) -> Result<()> {
    anyhow::ensure!(
        answer.status == status,
        "{} instead of {status}: {}",
        answer.status,
        String::from_utf8_lossy(answer.body)
    );
    Ok(())
}
