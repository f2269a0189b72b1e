//! A circuit breaker: what has just failed is left alone for a moment, and then asked by one request before all others.

/// How long it is left alone after a failure, in milliseconds.
pub const REST_MS: u64 = 1_000;
/// How long the one request may take to be heard of before another one is sent, in milliseconds.
pub const PROBE_MS: u64 = 2_000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Closed,
    /// Nobody asks before then, Unix milliseconds.
    Resting { until_ms: u64 },
    /// One request asks; others wait for what comes of it, at most until then.
    Probing { until_ms: u64 },
}

/// What a request may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Ask.
    Ask,
    /// Leave it alone for so many milliseconds.
    Wait {
        /// At least 1.
        ms: u64,
    },
}

/// The breaker of one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    state: State,
    /// When it was last heard of, Unix milliseconds.
    answered_ms: u64,
}

impl Breaker {
    /// A closed one.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            state: State::Closed,
            answered_ms: 0,
        }
    }

    /// Whether a request may ask now.
    pub const fn admit(&mut self, now_ms: u64) -> Admission {
        match self.state {
            State::Closed => Admission::Ask,
            State::Resting { until_ms } | State::Probing { until_ms } if now_ms < until_ms => {
                Admission::Wait { ms: until_ms - now_ms }
            }
            State::Resting { .. } | State::Probing { .. } => {
                self.state = State::Probing {
                    until_ms: now_ms + PROBE_MS,
                };
                Admission::Ask
            }
        }
    }

    /// It answered, whatever it said.
    pub const fn answered(&mut self, now_ms: u64) {
        self.state = State::Closed;
        if now_ms > self.answered_ms {
            self.answered_ms = now_ms;
        }
    }

    /// A request that set out at `asked_ms` found nobody. One that set out before it was last heard of says nothing new.
    pub const fn failed(&mut self, asked_ms: u64, now_ms: u64) {
        if asked_ms >= self.answered_ms {
            self.state = State::Resting {
                until_ms: now_ms + REST_MS,
            };
        }
    }

    /// A request failed in a way that may be its own client's fault: no reason to leave the peer alone. If it was the one
    /// that asked for all, the next one asks instead.
    pub const fn unclear(&mut self, now_ms: u64) {
        if let State::Probing { .. } = self.state {
            self.state = State::Resting { until_ms: now_ms };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Admission, Breaker, PROBE_MS, REST_MS};
    use proptest::prelude::*;

    #[test]
    fn after_a_failure_one_request_asks_for_all() {
        let mut breaker = Breaker::new();
        assert_eq!(breaker.admit(0), Admission::Ask);
        breaker.failed(0, 10);
        assert_eq!(breaker.admit(11), Admission::Wait { ms: REST_MS - 1 });
        assert_eq!(breaker.admit(10 + REST_MS), Admission::Ask);
        assert_eq!(breaker.admit(10 + REST_MS), Admission::Wait { ms: PROBE_MS });
        breaker.answered(20 + REST_MS);
        assert_eq!(breaker.admit(20 + REST_MS), Admission::Ask);
        assert_eq!(breaker.admit(20 + REST_MS), Admission::Ask);
    }

    #[test]
    fn a_probe_that_fails_begins_another_rest_and_a_lost_one_is_replaced() {
        let mut breaker = Breaker::new();
        breaker.failed(0, 0);
        assert_eq!(breaker.admit(REST_MS), Admission::Ask);
        breaker.failed(REST_MS, REST_MS + 5);
        assert_eq!(breaker.admit(REST_MS + 6), Admission::Wait { ms: REST_MS - 1 });
        assert_eq!(breaker.admit(2 * REST_MS + 5), Admission::Ask);
        assert_eq!(breaker.admit(2 * REST_MS + 5 + PROBE_MS), Admission::Ask);
    }

    #[test]
    fn what_failed_before_it_was_heard_of_says_nothing() {
        let mut breaker = Breaker::new();
        breaker.answered(100);
        breaker.failed(99, 200);
        assert_eq!(breaker.admit(200), Admission::Ask);
        breaker.failed(100, 200);
        assert_eq!(breaker.admit(200), Admission::Wait { ms: REST_MS });
    }

    #[test]
    fn what_may_be_a_client_s_fault_shuts_nobody_out() {
        let mut breaker = Breaker::new();
        breaker.unclear(5);
        assert_eq!(breaker.admit(5), Admission::Ask);
        breaker.failed(5, 10);
        breaker.unclear(11);
        assert_eq!(breaker.admit(11), Admission::Wait { ms: REST_MS - 1 });
        assert_eq!(breaker.admit(10 + REST_MS), Admission::Ask);
        breaker.unclear(20 + REST_MS);
        assert_eq!(breaker.admit(20 + REST_MS), Admission::Ask);
        assert_eq!(breaker.admit(20 + REST_MS), Admission::Wait { ms: PROBE_MS });
    }

    proptest! {
        #[test]
        fn nobody_is_kept_waiting_for_longer_than_a_probe(events in prop::collection::vec((0u8..4, 0u64..3_000), 0..60)) {
            let (mut breaker, mut now) = (Breaker::new(), 0);
            for (event, passed) in events {
                now += passed;
                match event {
                    0 => breaker.answered(now),
                    1 => breaker.failed(now, now),
                    2 => breaker.unclear(now),
                    _ => if let Admission::Wait { ms } = breaker.admit(now) {
                        prop_assert!((1..=PROBE_MS).contains(&ms));
                        prop_assert_eq!(breaker.admit(now + ms), Admission::Ask);
                        now += ms;
                    }
                }
            }
        }
    }
}
