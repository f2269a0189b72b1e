//! One process that is kept alive.

use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::backoff::Backoff;
use super::output::forward;
use super::spawn::signal_group;
use super::{Health, Launcher, Probe, Spec};
use crate::shutdown::Shutdown;

/// How long a process may take from its start to its first answer.
const START_PATIENCE: Duration = Duration::from_secs(30);
const START_POLL: Duration = Duration::from_millis(10);
const CHECK_EVERY: Duration = Duration::from_secs(2);
/// Checks that must fail in a row before a process is killed.
const STRIKES: u32 = 3;
/// Between the request to end and the end.
const END_PATIENCE: Duration = Duration::from_secs(3);

/// A process that runs and answers.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    pub(crate) pid: u32,
    /// Counts the starts of this supervisor.
    pub(crate) generation: u64,
    /// Takes orders for exactly this start; those that come late are ignored.
    pub(crate) orders: mpsc::UnboundedSender<(u64, Order)>,
}

/// What may be asked of a supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// End it at once and start another.
    Kill,
    /// Ask it to end and start another.
    Recycle,
}

/// Whether a process has work, as the health check needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Activity {
    pub(crate) busy: bool,
    /// Raised with each piece of work.
    pub(crate) count: u64,
}

/// Hears of a process's ups and downs.
pub(crate) trait Lifecycle: Send + Sync + 'static {
    /// It runs and answers.
    fn up(&self, running: Running);
    /// It has ended or is about to.
    fn down(&self, generation: u64);
    /// A process at work may be slow to answer, and that is no fault.
    fn activity(&self) -> Activity {
        Activity { busy: false, count: 0 }
    }
}

/// Keeps one process alive.
pub(crate) struct Supervisor {
    pub(crate) name: String,
    pub(crate) spec: Spec,
    pub(crate) probe: Probe,
    pub(crate) launcher: Launcher,
    pub(crate) lifecycle: Arc<dyn Lifecycle>,
    /// How long it may go on when it is asked to end for good.
    pub(crate) drain: Duration,
}

enum Ended {
    /// By itself, or killed by the health check.
    Crashed(Duration),
    Ordered,
    Shutdown,
}

impl Supervisor {
    /// Runs until `shutdown` begins, then ends the process: politely first, by force after the drain time.
    pub(crate) async fn run(self, mut shutdown: Shutdown) {
        let mut backoff = Backoff::default();
        let mut generation = 0;
        while !shutdown.has_begun() {
            generation += 1;
            let wait = match self.live_once(generation, &mut shutdown).await {
                Ended::Shutdown => return,
                Ended::Ordered => Duration::ZERO,
                Ended::Crashed(uptime) => backoff.after(uptime),
            };
            if !wait.is_zero() {
                tracing::warn!(
                    process = self.name,
                    wait_ms = wait.as_millis(),
                    "waiting before the next start"
                );
                tokio::select! {
                    () = sleep(wait) => {}
                    () = shutdown.begun() => return,
                }
            }
        }
    }

    async fn live_once(&self, generation: u64, shutdown: &mut Shutdown) -> Ended {
        // A socket left by the last start would make workerd's bind fail.
        let _ = std::fs::remove_file(&self.probe.socket);
        let started = Instant::now();
        let mut child = match self.launcher.spawn(self.spec.clone()).await {
            Ok(child) => child,
            Err(error) => {
                tracing::error!(process = self.name, %error, "could not be started");
                return Ended::Crashed(Duration::ZERO);
            }
        };
        let Some(pid) = child.id() else {
            return Ended::Crashed(started.elapsed());
        };
        self.log_output(&mut child);
        let up = tokio::select! {
            up = self.wait_until_up() => up,
            status = child.wait() => {
                self.report_end(pid, status);
                return Ended::Crashed(started.elapsed());
            }
            () = shutdown.begun() => {
                end_now(&mut child, pid).await;
                return Ended::Shutdown;
            }
        };
        if !up {
            tracing::error!(process = self.name, pid, "did not answer after its start; killed");
            end_now(&mut child, pid).await;
            return Ended::Crashed(started.elapsed());
        }
        tracing::info!(
            event = "process-up",
            process = self.name,
            pid,
            generation,
            ms = started.elapsed().as_millis(),
            "is up"
        );
        let (orders, mut received) = mpsc::unbounded_channel();
        self.lifecycle.up(Running {
            pid,
            generation,
            orders,
        });
        let ended = self
            .watch(&mut child, pid, generation, &mut received, shutdown, started)
            .await;
        self.lifecycle.down(generation);
        ended
    }

    async fn watch(
        &self,
        child: &mut Child,
        pid: u32,
        generation: u64,
        orders: &mut mpsc::UnboundedReceiver<(u64, Order)>,
        shutdown: &mut Shutdown,
        started: Instant,
    ) -> Ended {
        let mut checks = interval(CHECK_EVERY);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut strikes = 0;
        loop {
            tokio::select! {
                status = child.wait() => {
                    self.report_end(pid, status);
                    return Ended::Crashed(started.elapsed());
                }
                () = shutdown.begun() => {
                    end_politely(child, pid, self.drain).await;
                    return Ended::Shutdown;
                }
                Some((for_generation, order)) = orders.recv() => {
                    if for_generation != generation {
                        continue;
                    }
                    tracing::warn!(event = "process-ordered-down", process = self.name, pid, ?order, "is replaced");
                    // Before it ends, so that nothing more is handed to it.
                    self.lifecycle.down(generation);
                    match order {
                        Order::Kill => end_now(child, pid).await,
                        Order::Recycle => end_politely(child, pid, END_PATIENCE).await,
                    }
                    return Ended::Ordered;
                }
                health = self.check(&mut checks) => {
                    strikes = if health { 0 } else { strikes + 1 };
                    if strikes >= STRIKES {
                        tracing::error!(event = "process-unhealthy", process = self.name, pid, "does not answer; killed");
                        end_now(child, pid).await;
                        return Ended::Crashed(started.elapsed());
                    }
                }
            }
        }
    }

    /// One check in turn. True when it answered, or had a reason not to.
    async fn check(&self, checks: &mut tokio::time::Interval) -> bool {
        checks.tick().await;
        let before = self.lifecycle.activity();
        if before.busy {
            return true;
        }
        match self.probe.ask().await {
            Health::Alive => true,
            // Work that came meanwhile explains the silence.
            Health::Silent => self.lifecycle.activity() != before,
            Health::Sick => false,
        }
    }

    async fn wait_until_up(&self) -> bool {
        let asking = async {
            let mut poll = interval(START_POLL);
            loop {
                poll.tick().await;
                if self.probe.ask().await == Health::Alive {
                    return;
                }
            }
        };
        timeout(START_PATIENCE, asking).await.is_ok()
    }

    fn log_output(&self, child: &mut Child) {
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(forward(stdout, self.name.clone(), "stdout"));
        }
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(forward(stderr, self.name.clone(), "stderr"));
        }
    }

    fn report_end(&self, pid: u32, status: std::io::Result<ExitStatus>) {
        let status = status.map_or_else(|e| e.to_string(), |s| s.to_string());
        tracing::error!(
            event = "process-ended",
            process = self.name,
            pid,
            status,
            "ended by itself; restarted"
        );
    }
}

async fn end_politely(child: &mut Child, pid: u32, patience: Duration) {
    signal_group(pid, Signal::TERM);
    if timeout(patience, child.wait()).await.is_err() {
        end_now(child, pid).await;
    }
}

/// Kills a child that has not been waited for yet, with its group, and takes its status.
async fn end_now(child: &mut Child, pid: u32) {
    signal_group(pid, Signal::KILL);
    let _ = timeout(END_PATIENCE, child.wait()).await;
}
