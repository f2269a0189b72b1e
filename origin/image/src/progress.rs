//! One line on standard error that is written over and over, where a person looks on.

use std::{
    io::{IsTerminal, Write},
    path::Path,
    sync::{Mutex, PoisonError},
};

/// How many of how many are done.
#[derive(Debug)]
pub(crate) struct Progress {
    total: usize,
    shown: bool,
    done: Mutex<usize>,
}

impl Progress {
    pub(crate) fn new(total: usize) -> Self {
        Self {
            total,
            shown: std::io::stderr().is_terminal(),
            done: Mutex::new(0),
        }
    }

    /// Counts one that is finished.
    pub(crate) fn step(&self, path: &Path) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        *done += 1;
        if self.shown {
            let name = path.file_name().unwrap_or_default().display();
            let _ = write!(std::io::stderr(), "\r\x1b[K[{done}/{}] {name}", self.total);
        }
    }

    /// Takes the line away.
    pub(crate) fn clear(&self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
