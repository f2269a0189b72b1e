//! The supervisor's thread: takes orders, looks after the processes, starts again what ended.

use std::process::Child;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use super::backoff::Backoff;
use super::{Board, Event, Order, Service, Status, child, lock, log_file};
use crate::progress;

/// How often the processes are looked at.
const INTERVAL: Duration = Duration::from_millis(50);
/// How often the logs' sizes are looked at.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

struct Watched {
    service: Service,
    backoff: Backoff,
    state: State,
}

enum State {
    Running { child: Child, since: Instant },
    Waiting { until: Instant },
    Suspended,
}

struct Watch<'a> {
    board: &'a Board,
    on_event: Box<dyn FnMut(&Event) + Send>,
    services: Vec<Watched>,
}

/// Runs until it is told to stop or nobody can give orders any more; leaves no process behind either way.
pub(super) fn run(inbox: &Receiver<Order>, board: &Board, on_event: Box<dyn FnMut(&Event) + Send>) {
    let mut watch = Watch {
        board,
        on_event,
        services: Vec::new(),
    };
    let mut logs_seen = Instant::now();
    loop {
        match inbox.recv_timeout(INTERVAL) {
            Ok(Order::Start(service, reply)) => answer(&reply, watch.start(service)),
            Ok(Order::Suspend(name, reply)) => answer(&reply, watch.suspend(name)),
            Ok(Order::Resume(name, reply)) => answer(&reply, watch.resume(name)),
            Ok(Order::StopAll(reply)) => {
                watch.stop_all();
                answer(&reply, ());
                return;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return watch.stop_all(),
        }
        watch.look();
        if logs_seen.elapsed() >= LOG_INTERVAL {
            logs_seen = Instant::now();
            for watched in &watch.services {
                if let Err(error) = log_file::shorten(&watched.service.log) {
                    progress::say(format_args!("{error:#}"));
                }
            }
        }
    }
}

/// Whoever gave the order may have gone since.
fn answer<T>(reply: &Sender<T>, value: T) {
    let _gone = reply.send(value);
}

impl Watch<'_> {
    fn start(&mut self, service: Service) -> Result<u32> {
        log_file::set_aside(&service.log)?;
        let mut watched = Watched {
            service,
            backoff: Backoff::default(),
            state: State::Suspended,
        };
        let pid = self.spawn(&mut watched)?;
        self.services.push(watched);
        Ok(pid)
    }

    fn spawn(&mut self, watched: &mut Watched) -> Result<u32> {
        let started = child::spawn(&watched.service)?;
        let (pid, name) = (started.id(), watched.service.name);
        watched.state = State::Running {
            child: started,
            since: Instant::now(),
        };
        let starts = self.note(name, |status| {
            status.pid = Some(pid);
            status.starts += 1;
            status.starts
        });
        (self.on_event)(&Event::Started { name, pid, starts });
        Ok(pid)
    }

    fn note<T>(&self, name: &'static str, change: impl FnOnce(&mut Status) -> T) -> T {
        change(lock(self.board).entry(name).or_default())
    }

    fn look(&mut self) {
        let mut services = std::mem::take(&mut self.services);
        for watched in &mut services {
            match &mut watched.state {
                State::Running { child, since } => {
                    if let Ok(Some(status)) = child.try_wait() {
                        child::end_group(child);
                        let again_in = watched.backoff.after(since.elapsed());
                        let how = child::describe(status);
                        watched.state = State::Waiting {
                            until: Instant::now() + again_in,
                        };
                        let name = watched.service.name;
                        self.note(name, |status| {
                            status.pid = None;
                            status.last_end = Some(how.clone());
                        });
                        (self.on_event)(&Event::Ended { name, how, again_in });
                    }
                }
                State::Waiting { until } if Instant::now() >= *until => {
                    if let Err(error) = self.spawn(watched) {
                        let again_in = watched.backoff.after(Duration::ZERO);
                        watched.state = State::Waiting {
                            until: Instant::now() + again_in,
                        };
                        let (name, why) = (watched.service.name, format!("{error:#}"));
                        (self.on_event)(&Event::NotStarted { name, why, again_in });
                    }
                }
                State::Waiting { .. } | State::Suspended => {}
            }
        }
        self.services = services;
    }

    fn suspend(&mut self, name: &'static str) -> Result<()> {
        let mut services = std::mem::take(&mut self.services);
        let found = services.iter_mut().find(|watched| watched.service.name == name);
        let result = found
            .map(|watched| self.end(watched))
            .ok_or_else(|| anyhow!("there is no service {name}"));
        self.services = services;
        result
    }

    fn resume(&mut self, name: &'static str) -> Result<u32> {
        let mut services = std::mem::take(&mut self.services);
        let found = services.iter_mut().find(|watched| watched.service.name == name);
        let result = match found {
            None => Err(anyhow!("there is no service {name}")),
            Some(Watched {
                state: State::Running { child, .. },
                ..
            }) => Ok(child.id()),
            Some(watched) => self.spawn(watched),
        };
        self.services = services;
        result
    }

    fn end(&self, watched: &mut Watched) {
        if let State::Running { child, .. } = &mut watched.state {
            let how = child::end(child, watched.service.stop_signal, watched.service.patience);
            self.note(watched.service.name, |status| {
                status.pid = None;
                status.last_end = Some(how);
            });
        }
        watched.state = State::Suspended;
    }

    fn stop_all(&mut self) {
        while let Some(mut watched) = self.services.pop() {
            self.end(&mut watched);
        }
    }
}
