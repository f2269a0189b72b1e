//! Time as a parameter: rules are tested at any moment, and nothing reads the system's clock behind their back.

use std::sync::Arc;
use time::OffsetDateTime;

/// Tells the time.
pub(crate) trait Clock: std::fmt::Debug + Send + Sync {
    /// This moment, UTC, to the microsecond, which is what PostgreSQL keeps.
    fn now(&self) -> OffsetDateTime;
}

/// How the clock is passed on.
pub(crate) type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Debug)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn now(&self) -> OffsetDateTime {
        to_microseconds(OffsetDateTime::now_utc())
    }
}

/// Unix seconds; 0 before 1970.
pub(crate) fn unix(moment: OffsetDateTime) -> u64 {
    u64::try_from(moment.unix_timestamp()).unwrap_or(0)
}

fn to_microseconds(moment: OffsetDateTime) -> OffsetDateTime {
    moment
        .replace_nanosecond(moment.nanosecond() / 1000 * 1000)
        .unwrap_or(moment)
}

#[cfg(test)]
pub(crate) mod testing {
    use super::Clock;
    use std::sync::Mutex;
    use time::{Duration, OffsetDateTime, macros::datetime};

    /// A clock that a test moves by hand.
    #[derive(Debug)]
    pub(crate) struct ManualClock(Mutex<OffsetDateTime>);

    impl Default for ManualClock {
        fn default() -> Self {
            Self(Mutex::new(datetime!(2027-01-15 08:00:00 UTC)))
        }
    }

    impl ManualClock {
        pub(crate) fn advance(&self, by: Duration) {
            *self.0.lock().unwrap() += by;
        }
    }

    impl Clock for ManualClock {
        fn now(&self) -> OffsetDateTime {
            *self.0.lock().unwrap()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Clock, SystemClock, unix};
    use time::macros::datetime;

    #[test]
    fn a_moment_survives_the_database() {
        assert_eq!(SystemClock.now().nanosecond() % 1000, 0);
    }

    #[test]
    fn unix_time_never_wraps() {
        assert_eq!(unix(datetime!(1970-01-01 00:00:07 UTC)), 7);
        assert_eq!(unix(datetime!(1969-12-31 00:00:00 UTC)), 0);
    }
}
