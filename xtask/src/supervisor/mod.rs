//! Starts long-running processes, starts them again when they end, and stops them in the reverse order.
//!
//! One thread does it all, and that is no accident: Linux ends a child with its parent (`PR_SET_PDEATHSIG`) when the
//! *thread* that started it ends, so every child is started by a thread that lives as long as the supervisor.

mod backoff;
mod child;
mod log_file;
mod watch;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
pub use rustix::process::Signal;

pub use log_file::tail;

/// A process to keep running.
pub struct Service {
    /// Short and unique: it names the log and stands in events.
    pub name: &'static str,
    /// The file that standard output and standard error go to.
    pub log: PathBuf,
    /// Makes the command for each start; may first clear away what the last run left.
    pub command: Box<dyn Fn() -> Result<Command> + Send>,
    /// What asks the process for an orderly end.
    pub stop_signal: Signal,
    /// How long that may take before SIGKILL.
    pub patience: Duration,
}

/// What happened to a service, for the person watching and for `run.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It runs, for the `starts`-th time.
    Started {
        /// The service's name.
        name: &'static str,
        /// Its process number.
        pid: u32,
        /// 1 for the first start.
        starts: u32,
    },
    /// It ended without having been asked to.
    Ended {
        /// The service's name.
        name: &'static str,
        /// Exit status or signal, in words.
        how: String,
        /// When it will be started again.
        again_in: Duration,
    },
    /// It could not be started.
    NotStarted {
        /// The service's name.
        name: &'static str,
        /// What stood in the way.
        why: String,
        /// When it will be tried again.
        again_in: Duration,
    },
}

/// What is known of a service at the moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// The process number while it runs.
    pub pid: Option<u32>,
    /// How often it was started.
    pub starts: u32,
    /// How it ended the last time, if it ever did.
    pub last_end: Option<String>,
}

type Board = Arc<Mutex<BTreeMap<&'static str, Status>>>;

enum Order {
    Start(Service, Sender<Result<u32>>),
    /// Stop one and leave it stopped.
    Suspend(&'static str, Sender<Result<()>>),
    /// Start a suspended one again.
    Resume(&'static str, Sender<Result<u32>>),
    StopAll(Sender<()>),
}

/// Keeps services running until it is stopped or dropped.
pub struct Supervisor {
    orders: Sender<Order>,
    thread: Option<JoinHandle<()>>,
    board: Board,
}

impl Supervisor {
    /// A supervisor of nothing yet. `on_event` is called on its thread and must not wait for the supervisor.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn new(on_event: impl FnMut(&Event) + Send + 'static) -> Result<Self> {
        let (orders, inbox) = mpsc::channel();
        let board = Board::default();
        let theirs = Arc::clone(&board);
        let thread = thread::Builder::new()
            .name("supervisor".to_owned())
            .spawn(move || watch::run(&inbox, &theirs, Box::new(on_event)))
            .context("starting the supervisor's thread")?;
        Ok(Self {
            orders,
            thread: Some(thread),
            board,
        })
    }

    /// Starts a service and keeps it running from now on; gives its process number.
    ///
    /// # Errors
    /// When it cannot be started; it is not kept then.
    pub fn start(&self, service: Service) -> Result<u32> {
        self.order(|reply| Order::Start(service, reply))?
    }

    /// What is known of a service; all empty for an unknown name.
    #[must_use]
    pub fn status(&self, name: &str) -> Status {
        lock(&self.board).get(name).cloned().unwrap_or_default()
    }

    /// Sends a signal to a service's process. What ends by it is started again.
    ///
    /// # Errors
    /// When it does not run at the moment.
    pub fn signal(&self, name: &str, signal: Signal) -> Result<()> {
        let pid = self.status(name).pid.ok_or_else(|| anyhow!("{name} does not run"))?;
        child::send(pid, signal).with_context(|| format!("sending {signal:?} to {name}"))
    }

    /// Stops one service in an orderly way and leaves it stopped.
    ///
    /// # Errors
    /// When there is no such service.
    pub fn suspend(&self, name: &'static str) -> Result<()> {
        self.order(|reply| Order::Suspend(name, reply))?
    }

    /// Starts a suspended service again; gives its process number.
    ///
    /// # Errors
    /// When there is no such service or it cannot be started.
    pub fn resume(&self, name: &'static str) -> Result<u32> {
        self.order(|reply| Order::Resume(name, reply))?
    }

    /// Stops everything, the last started first, and waits for it.
    pub fn stop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ended = self.order(Order::StopAll);
            let _panicked = thread.join();
        }
    }

    fn order<T>(&self, order: impl FnOnce(Sender<T>) -> Order) -> Result<T> {
        let (reply, answer) = mpsc::channel();
        self.orders
            .send(order(reply))
            .map_err(|_| anyhow!("the supervisor has stopped"))?;
        answer.recv().context("the supervisor has stopped")
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.stop();
    }
}

fn lock(board: &Board) -> MutexGuard<'_, BTreeMap<&'static str, Status>> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
