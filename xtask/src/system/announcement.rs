//! Keeps `run.json` true while processes come and go, and tells the person watching.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;

use super::RunFile;
use crate::progress;
use crate::supervisor::Event;

/// The run file, and whether it is on the disk yet: scripts take its being there for "ready".
pub(super) struct Announcement {
    run: RunFile,
    published: bool,
}

impl Announcement {
    pub(super) fn new(run: RunFile) -> Self {
        Self { run, published: false }
    }

    /// What the supervisor calls for each event.
    pub(super) fn listener(shared: Arc<Mutex<Self>>, verbose: bool) -> impl FnMut(&Event) + Send + 'static {
        move |event| {
            let mut announcement = lock(&shared);
            announcement.note(event);
            if verbose && announcement.published {
                progress::say(describe(event));
            }
            if announcement.published
                && let Err(error) = announcement.run.write()
            {
                progress::say(format_args!("{error:#}"));
            }
        }
    }

    /// Writes the file: the system is ready.
    pub(super) fn publish(shared: &Mutex<Self>) -> Result<()> {
        let mut announcement = lock(shared);
        announcement.run.write()?;
        announcement.published = true;
        Ok(())
    }

    /// Removes the file: the system stops.
    pub(super) fn withdraw(shared: &Mutex<Self>) {
        let mut announcement = lock(shared);
        if std::mem::take(&mut announcement.published) {
            announcement.run.remove();
        }
    }

    pub(super) fn run(shared: &Mutex<Self>) -> RunFile {
        lock(shared).run.clone()
    }

    fn note(&mut self, event: &Event) {
        match event {
            Event::Started { name, pid, .. } => drop(self.run.pids.insert((*name).to_owned(), *pid)),
            Event::Ended { name, .. } => drop(self.run.pids.remove(*name)),
            Event::NotStarted { .. } => {}
        }
    }
}

fn lock(shared: &Mutex<Announcement>) -> MutexGuard<'_, Announcement> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn describe(event: &Event) -> String {
    match event {
        Event::Started { name, pid, starts } => format!("{name} runs again (process {pid}, start {starts})"),
        Event::Ended { name, how, again_in } => {
            let text = format!(
                "{name} ended with {how}; starting it again in {}",
                progress::seconds(*again_in)
            );
            progress::paint("33", &text)
        }
        Event::NotStarted { name, why, again_in } => {
            let text = format!(
                "{name} does not start: {why}; trying again in {}",
                progress::seconds(*again_in)
            );
            progress::paint("31", &text)
        }
    }
}
