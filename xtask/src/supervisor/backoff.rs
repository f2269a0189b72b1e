//! How long to wait before a process that ended is started again.

use std::time::Duration;

/// After one end the service is missed for no longer than this.
const FIRST: Duration = Duration::from_millis(100);
/// A service that cannot run is tried no more often than this.
const LONGEST: Duration = Duration::from_secs(10);
/// One that ran this long was well: its next end counts as a first one.
const WELL: Duration = Duration::from_secs(30);

/// Doubles with every end that follows soon upon a start.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    ends: u32,
}

impl Backoff {
    /// The wait after a run that lasted `ran`.
    pub(super) fn after(&mut self, ran: Duration) -> Duration {
        if ran >= WELL {
            self.ends = 0;
        }
        let wait = FIRST.saturating_mul(1 << self.ends.min(16)).min(LONGEST);
        self.ends = self.ends.saturating_add(1);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_bound() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..9).map(|_| backoff.after(Duration::ZERO).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        for _ in 0..1000 {
            assert_eq!(backoff.after(Duration::ZERO), LONGEST);
        }
    }

    #[test]
    fn a_long_run_is_forgiven() {
        let mut backoff = Backoff::default();
        backoff.after(Duration::ZERO);
        backoff.after(Duration::ZERO);
        assert_eq!(backoff.after(WELL), FIRST);
    }
}
