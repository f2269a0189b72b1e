//! `cargo xtask bench edge`

mod bare;
mod pinned;
mod report;
mod target;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use xtask::system::{Binaries, System};
use xtask::workspace::Workspace;
use xtask::{invoke, progress, tools, wait};

use self::bare::Bare;
use self::pinned::Pinned;
use self::report::{Pair, Report};
use self::target::{OF_USERS, Target, is_cached, request};
use super::document;
use super::load::{Answer, Clients, Until};
use super::numbers::{median, percentile};

/// Client addresses that requests come from.
const ADDRESSES: u64 = 10_000;
/// Connections of a load that goes as fast as it is answered.
const CONNECTIONS: usize = 16;
/// Requests before the first that is measured: the isolate's code is compiled and optimised.
const WARM_UP: u64 = 3_000;
/// What a setting, a revocation or a purge takes at most until every edge knows.
const SEEN_WITHIN: Duration = Duration::from_secs(5);

/// The gateway: what cached hits, refusals and token checks cost against Workers that do nothing else, hits beside a busy
/// transform pool, memory after many requests, and how soon changes are seen.
///
/// Starts a system of its own. The gateway's process and the Workers that it is compared with run on the last core, in
/// turns, everything else on the others.
#[derive(Args)]
pub(crate) struct Arguments {
    /// A tenth of the time, and no documents
    #[arg(long)]
    quick: bool,
    /// Cargo's profile for the native services
    #[arg(long, default_value = "native", value_name = "PROFILE")]
    profile: String,
}

/// How long and how often.
struct Effort {
    turns: usize,
    turn: Duration,
    few_requests: u64,
    many_requests: u64,
    changes: usize,
}

pub(super) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    tools::require_bare_machine()?;
    let effort = if arguments.quick {
        Effort {
            turns: 1,
            turn: Duration::from_secs(1),
            few_requests: 1_000,
            many_requests: 10_000,
            changes: 1,
        }
    } else {
        Effort {
            turns: 3,
            turn: Duration::from_secs(3),
            few_requests: 1_000,
            many_requests: 100_000,
            changes: 5,
        }
    };
    let binaries = Binaries::build(workspace, &arguments.profile)?;
    let workerd = binaries.workerd.clone();
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
    let measured = measure(&effort, &system, &workerd);
    let report = match measured {
        Ok(report) => report,
        Err(error) => {
            let log = std::fs::read_to_string(system.run_file().logs.join("edge.log")).unwrap_or_default();
            // What was answered is not what went wrong.
            let lines = log.lines().filter(|line| !line.contains("\"event\":\"request\""));
            let log = lines.collect::<Vec<_>>().join("\n");
            progress::detail(format_args!(
                "the edge's log ends with\n{}",
                invoke::last_lines(&log, 20)
            ));
            return Err(error);
        }
    };
    system.stop();
    let mut command = "cargo xtask bench edge".to_owned();
    if arguments.profile != "native" {
        command += &format!(" --profile {}", arguments.profile);
    }
    let section = report.section(&command)?;
    document::print(&section)?;
    if !arguments.quick {
        document::write(workspace, "edge", &section)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn measure(effort: &Effort, system: &System, workerd: &Path) -> Result<Report> {
    let target = progress::step("Preparing its tenant", || Target::prepare(system))?;
    let mut report = Report::default();
    {
        let pinned = Pinned::take(&system.run_file())?;
        let bare = Bare::start(workerd, &pinned, &system.run_file())?;
        progress::step("Cached hits", || hits(effort, &target, &bare, &mut report))?;
        progress::step("Refusals", || refusals(effort, &target, &bare, &mut report))?;
        progress::step("Token checks", || tokens(effort, &target, &mut report))?;
        progress::step("Memory", || memory(effort, &target, &mut report))?;
    }
    progress::step("Hits beside a busy transform pool", || {
        busy(effort, &target, &mut report)
    })?;
    progress::step("Changes", || changes(effort, &target, &mut report))?;
    Ok(report)
}

/// An address of a client's own.
fn address(number: u64) -> String {
    let [.., a, b] = (number % ADDRESSES).to_be_bytes();
    format!("198.18.{a}.{b}")
}

fn fast(server: std::net::SocketAddr) -> Clients {
    Clients {
        server,
        count: CONNECTIONS,
        pace: None,
    }
}

/// Rates of two sides in turns, each of which makes its requests and checks its answers.
fn in_turns(effort: &Effort, sides: [&dyn Fn(Until) -> Result<f64>; 2]) -> Result<[Vec<f64>; 2]> {
    for side in sides {
        side(Until::Requests(WARM_UP))?;
    }
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..effort.turns {
        for (side, rates) in sides.iter().zip(&mut rates) {
            rates.push(side(Until::Time(effort.turn))?);
        }
    }
    Ok(rates)
}

fn hits(effort: &Effort, target: &Target, bare: &Bare, report: &mut Report) -> Result<()> {
    let kept = target.kept_picture()?;
    bare.keep(&target.picture, &kept)?;
    let gateway = |until| -> Result<f64> {
        let check = |_, answer: &Answer<'_>| expect_picture(answer, &kept.body);
        Ok(fast(target.gateway)
            .run(
                until,
                |number| request(&target.picture, &target.host, &[("x-real-ip", &address(number))]),
                check,
            )?
            .rate)
    };
    let other = |until| -> Result<f64> {
        let check = |_, answer: &Answer<'_>| {
            kept.expect_same_headers(answer)?;
            expect_picture(answer, &kept.body)
        };
        Ok(fast(bare.server)
            .run(
                until,
                |number| request(&target.picture, &target.host, &[("x-real-ip", &address(number))]),
                check,
            )?
            .rate)
    };
    let [ours, theirs] = in_turns(effort, [&gateway, &other])?;
    report.hits = Some(Pair {
        ours: median(&ours),
        theirs: median(&theirs),
    });
    Ok(())
}

fn expect_picture(answer: &Answer<'_>, body: &[u8]) -> Result<()> {
    if answer.status != 200 || !is_cached(answer.header("cache-status")) || answer.body != body {
        bail!("not the cached picture: {}", answer.head);
    }
    Ok(())
}

fn refusals(effort: &Effort, target: &Target, bare: &Bare, report: &mut Report) -> Result<()> {
    // Every address uses up its one request, and is refused once.
    let refused = |number| request(target.refused, &target.host, &[("x-real-ip", &address(number))]);
    fast(target.gateway).run(Until::Requests(2 * ADDRESSES), refused, |_, _| Ok(()))?;
    let kept = target.kept_refusal(&address(0))?;
    bare.keep(target.refused, &kept)?;
    let expect = |answer: &Answer<'_>| {
        if answer.status == 429 {
            Ok(())
        } else {
            Err(anyhow!("not refused: {}", answer.head))
        }
    };
    let gateway = |until| -> Result<f64> {
        Ok(fast(target.gateway)
            .run(until, refused, |_, answer| expect(answer))?
            .rate)
    };
    let other = |until| -> Result<f64> {
        let check = |_, answer: &Answer<'_>| {
            kept.expect_same_headers(answer)?;
            expect(answer)
        };
        Ok(fast(bare.server).run(until, refused, check)?.rate)
    };
    let [ours, theirs] = in_turns(effort, [&gateway, &other])?;
    report.refusals = Some(Pair {
        ours: median(&ours),
        theirs: median(&theirs),
    });
    Ok(())
}

/// What a token adds to a cached hit, in microseconds of the gateway's: one that is known to be right, and one whose
/// signature has to be checked (and is wrong, so that it is nobody's and is not remembered).
fn tokens(effort: &Effort, target: &Target, report: &mut Report) -> Result<()> {
    target.count_users(Some((100_000, 60)))?;
    let body = target.kept_picture()?.body;
    let with = |authorization: &(dyn Fn(u64) -> Option<String> + Sync), until| -> Result<f64> {
        let ask = |number| {
            let from = address(number);
            let value = authorization(number);
            let mut headers = vec![("x-real-ip", from.as_str())];
            headers.extend(value.as_deref().map(|value| ("authorization", value)));
            request(&target.picture, &target.host, &headers)
        };
        Ok(fast(target.gateway)
            .run(until, ask, |_, answer| expect_picture(answer, &body))?
            .rate)
    };
    let none = |until| with(&|_| None, until);
    let warm = |until| with(&|_| Some(target.bearer.clone()), until);
    let cold = |until| with(&|number| Some(target.forged(number)), until);
    let [without, known] = in_turns(effort, [&none, &warm])?;
    report.warm_token = Some(more_microseconds(&without, &known));
    let [without, checked] = in_turns(effort, [&none, &cold])?;
    report.cold_token = Some(more_microseconds(&without, &checked));
    target.count_users(None)
}

/// Time of a request at the second rate beyond that at the first.
fn more_microseconds(first: &[f64], second: &[f64]) -> f64 {
    1e6 / median(second) - 1e6 / median(first)
}

/// The isolate's linear memory after a few requests of all sorts, and after many.
fn memory(effort: &Effort, target: &Target, report: &mut Report) -> Result<()> {
    target.restart_gateway()?;
    let mut bytes = [0; 2];
    let mut sent = 0;
    for (bytes, until) in bytes.iter_mut().zip([effort.few_requests, effort.many_requests]) {
        let from = sent;
        let ask = |number| target.mixed(from + number, &address(from + number));
        fast(target.gateway).run(Until::Requests(until - sent), ask, |number, answer| {
            if answer.status >= 500 && answer.status != 503 {
                bail!("request {}: {}", from + number, answer.head);
            }
            Ok(())
        })?;
        sent = until;
        *bytes = target.gateway_memory()?;
    }
    report.memory = Some((bytes, [effort.few_requests, effort.many_requests]));
    Ok(())
}

/// The slowest hits of paced clients, alone and while the transform pool has more to do than it can.
fn busy(effort: &Effort, target: &Target, report: &mut Report) -> Result<()> {
    let kept = target.kept_picture()?.body;
    let hits = || -> Result<f64> {
        let clients = Clients {
            server: target.gateway,
            count: 4,
            pace: Some(Duration::from_millis(10)),
        };
        let ask = |number| request(&target.picture, &target.host, &[("x-real-ip", &address(number))]);
        let outcome = clients.run(Until::Time(effort.turn * 2), ask, |_, answer| {
            expect_picture(answer, &kept)
        })?;
        Ok(percentile(&outcome.milliseconds, 99.0))
    };
    let (mut alone, mut beside, mut made) = (Vec::new(), Vec::new(), 0);
    for turn in 0..effort.turns {
        alone.push(hits()?);
        let misses = Clients {
            server: target.gateway,
            count: 8,
            pace: None,
        };
        let until = Until::Time(effort.turn * 2 + Duration::from_secs(2));
        std::thread::scope(|scope| -> Result<()> {
            let pool = scope.spawn(|| {
                let ask = |number| target.miss(turn as u64 * 1_000_000 + number, &address(number));
                misses.run(until, ask, |_, answer| match answer.status {
                    200 | 503 => Ok(()),
                    _ => Err(anyhow!("a miss: {}", answer.head)),
                })
            });
            // The pool's queue fills.
            std::thread::park_timeout(Duration::from_secs(1));
            beside.push(hits()?);
            let outcome = pool.join().map_err(|_| anyhow!("the load on the pool panicked"))??;
            made += outcome.milliseconds.len();
            Ok(())
        })?;
    }
    report.busy = Some((median(&alone), median(&beside), made));
    Ok(())
}

/// How long a change takes to be seen, the longest of all.
fn changes(effort: &Effort, target: &Target, report: &mut Report) -> Result<()> {
    let longest = |name: &str, make: &mut dyn FnMut() -> Result<Box<dyn FnMut() -> Result<bool>>>| -> Result<f64> {
        let mut longest = 0.0f64;
        for _ in 0..effort.changes {
            let mut seen = make()?;
            let made = Instant::now();
            wait::until(SEEN_WITHIN * 4, || match seen() {
                Ok(true) => Some(Ok(())),
                Ok(false) => None,
                Err(error) => Some(Err(error)),
            })
            .with_context(|| format!("a {name} is never seen"))??;
            longest = longest.max(made.elapsed().as_secs_f64());
        }
        Ok(longest)
    };
    report.setting = Some(longest("setting", &mut || target.change_setting())?);
    report.purge = Some(longest("purge", &mut || target.purge())?);
    target.count_users(Some(OF_USERS))?;
    report.revoked = Some(longest("revocation", &mut || target.revoke())?);
    target.count_users(None)
}
