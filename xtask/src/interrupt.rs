//! Ctrl-C and SIGTERM as a value that can be asked, so that a start stops in order whenever they come.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// How often a waiting program looks whether it was asked to stop.
const INTERVAL: Duration = Duration::from_millis(50);

/// Whether this process was asked to stop. The default never is.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    /// From now on SIGINT, SIGTERM and SIGHUP do not end the process; they are noted here.
    ///
    /// # Errors
    /// When the system takes no handler.
    pub fn listen() -> Result<Self> {
        let interrupt = Self::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let number = usize::try_from(signal).context("a signal's number")?;
            signal_hook::flag::register_usize(signal, Arc::clone(&interrupt.signal), number)
                .context("listening for signals")?;
        }
        Ok(interrupt)
    }

    /// The name of the signal that asked to stop, if one did.
    #[must_use]
    pub fn requested(&self) -> Option<&'static str> {
        let number = i32::try_from(self.signal.load(Ordering::Relaxed))
            .ok()
            .filter(|number| *number != 0)?;
        Some(signal_hook::low_level::signal_name(number).unwrap_or("a signal"))
    }

    /// An error once a stop was asked for: for the steps of something long.
    ///
    /// # Errors
    /// When it was.
    pub fn check(&self) -> Result<()> {
        match self.requested() {
            Some(signal) => bail!("stopped by {signal}"),
            None => Ok(()),
        }
    }

    /// Returns when a stop is asked for, with the signal's name.
    #[must_use]
    pub fn wait(&self) -> &'static str {
        loop {
            if let Some(signal) = self.requested() {
                return signal;
            }
            thread::park_timeout(INTERVAL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_noted_instead_of_ending_us() {
        let interrupt = Interrupt::listen().unwrap();
        interrupt.check().unwrap();
        signal_hook::low_level::raise(SIGHUP).unwrap();
        assert_eq!(interrupt.wait(), "SIGHUP");
        assert!(format!("{:#}", interrupt.check().unwrap_err()).contains("SIGHUP"));
        assert_eq!(Interrupt::default().requested(), None);
    }
}
