//! How long to wait before a process is started again.

use std::time::Duration;

/// First wait after a quick end; doubled with each further one.
const FIRST: Duration = Duration::from_millis(100);
/// Longest wait.
const LONGEST: Duration = Duration::from_secs(5);
/// A process that lived this long failed for a new reason.
const SETTLED: Duration = Duration::from_secs(30);

/// Waits that grow while a process keeps ending early.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    quick_ends: u32,
}

impl Backoff {
    /// The wait after a process that lived for `uptime`. The first restart is at once: most ends are single.
    pub(crate) fn after(&mut self, uptime: Duration) -> Duration {
        if uptime >= SETTLED {
            self.quick_ends = 0;
        }
        let wait = match self.quick_ends {
            0 => Duration::ZERO,
            n => FIRST.saturating_mul(1 << (n - 1).min(16)).min(LONGEST),
        };
        self.quick_ends = self.quick_ends.saturating_add(1);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit_and_begin_anew_after_a_long_life() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..8).map(|_| backoff.after(Duration::ZERO).as_millis()).collect();
        assert_eq!(waits, [0, 100, 200, 400, 800, 1600, 3200, 5000]);
        assert_eq!(backoff.after(SETTLED), Duration::ZERO);
        assert_eq!(backoff.after(Duration::from_secs(1)), FIRST);
    }

    #[test]
    fn a_thousand_quick_ends_do_not_overflow() {
        let mut backoff = Backoff::default();
        assert!((0..1000).all(|_| backoff.after(Duration::ZERO) <= LONGEST));
    }
}
