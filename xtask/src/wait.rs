//! Waiting for a condition, with a limit.

use std::thread;
use std::time::{Duration, Instant};

/// How often a condition is looked at. Short enough that a start loses nothing by it, long enough to cost nothing.
const INTERVAL: Duration = Duration::from_millis(20);

/// Looks at `condition` until it gives something or `limit` has passed; `None` means the limit.
pub fn until<T>(limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = condition() {
            return Some(found);
        }
        let left = deadline.checked_duration_since(Instant::now())?;
        thread::park_timeout(INTERVAL.min(left));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_comes_true_is_found() {
        let mut looks = 0;
        let found = until(Duration::from_secs(5), || {
            looks += 1;
            (looks == 3).then_some(looks)
        });
        assert_eq!(found, Some(3));
    }

    #[test]
    fn the_limit_ends_the_wait() {
        let started = Instant::now();
        assert_eq!(until(Duration::from_millis(30), || None::<()>), None);
        assert!(started.elapsed() >= Duration::from_millis(30));
    }
}
