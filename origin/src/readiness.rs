//! Whether this process may be sent requests: start-up complete, not draining.

use std::{
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// State of one process. What it depends on is asked by the health endpoint, each time.
#[derive(Debug)]
pub(crate) struct Readiness {
    obstacle: RwLock<Option<String>>,
    draining: AtomicBool,
    since: Instant,
}

impl Default for Readiness {
    fn default() -> Self {
        Self {
            obstacle: RwLock::new(Some("start-up has begun".to_owned())),
            draining: AtomicBool::new(false),
            since: Instant::now(),
        }
    }
}

impl Readiness {
    /// What start-up is waiting for; `None` once it is complete.
    pub(crate) fn obstacle(&self) -> Option<String> {
        self.obstacle.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says what start-up is waiting for; answers whether that is news.
    pub(crate) fn wait_for(&self, obstacle: &str) -> bool {
        let mut current = self.obstacle.write().unwrap_or_else(PoisonError::into_inner);
        let news = current.as_deref() != Some(obstacle);
        *current = Some(obstacle.to_owned());
        news
    }

    /// Start-up is complete.
    pub(crate) fn complete(&self) {
        *self.obstacle.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// From here on health says no, while requests are still answered.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether it drains.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Time since the process began.
    pub(crate) fn uptime(&self) -> Duration {
        self.since.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::Readiness;

    #[test]
    fn it_begins_unready_and_says_why() {
        let readiness = Readiness::default();
        assert!(readiness.obstacle().is_some());
        assert!(readiness.wait_for("the database") && !readiness.wait_for("the database"));
        readiness.complete();
        assert_eq!(readiness.obstacle(), None);
        assert!(!readiness.is_draining());
        readiness.drain();
        assert!(readiness.is_draining());
    }
}
