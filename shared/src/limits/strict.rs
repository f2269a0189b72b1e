//! The strict rule: a log of the last `quota` admissions.
//!
//! An admission at time `t` counts until `t + window`, that moment excluded, so no window of that length, wherever it
//! begins, ever holds more than `quota`.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

use super::{Decision, Rule};

/// Admissions of one key, oldest first, Unix milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Log(VecDeque<u64>);

impl Log {
    /// Decides about a request and counts it where it is admitted.
    pub fn take(&mut self, rule: &Rule, now_ms: u64) -> Decision {
        let window = rule.window_ms();
        // A clock that went back must not let anyone in early.
        let now_ms = self.0.back().map_or(now_ms, |last| now_ms.max(*last));
        while self
            .0
            .front()
            .is_some_and(|oldest| oldest.saturating_add(window) <= now_ms)
        {
            self.0.pop_front();
        }
        let quota = rule.quota as usize;
        let admitted = self.0.len() < quota;
        if admitted {
            self.0.push_back(now_ms);
        }
        // After a lowered quota, more may be logged than it allows: the one that frees a place decides.
        let frees = self.0.len().saturating_sub(quota);
        let reset_ms = self
            .0
            .get(frees)
            .map_or(0, |oldest| oldest.saturating_add(window).saturating_sub(now_ms));
        let remaining = u32::try_from(quota.saturating_sub(self.0.len())).unwrap_or(u32::MAX);
        Decision {
            admitted,
            remaining,
            reset_ms,
        }
    }

    /// How many admissions are logged.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// When the last of it stops to matter, Unix milliseconds; `None` where nothing is logged.
    #[must_use]
    pub fn matters_until(&self, rule: &Rule) -> Option<u64> {
        self.0.back().map(|last| last.saturating_add(rule.window_ms()))
    }
}

#[cfg(test)]
mod tests {
    use super::Log;
    use crate::limits::{Mode, OnFailure, Rule};
    use proptest::prelude::{prop, prop_assert, proptest};

    fn rule(quota: u32, window_seconds: u32) -> Rule {
        Rule {
            quota,
            window_seconds,
            mode: Mode::Strict,
            on_failure: OnFailure::Open,
            shadow: false,
        }
    }

    #[test]
    fn the_quota_passes_and_no_more_until_the_first_expires() {
        let (rule, mut log) = (rule(3, 60), Log::default());
        for (at, remaining) in [(0, 2), (10_000, 1), (20_000, 0)] {
            let decision = log.take(&rule, at);
            assert!(decision.admitted);
            assert_eq!((decision.remaining, decision.reset_ms), (remaining, 60_000 - at));
        }
        let refused = log.take(&rule, 59_999);
        assert!(!refused.admitted);
        assert_eq!(refused.reset_ms, 1);
        assert!(log.take(&rule, 60_000).admitted);
        assert!(!log.take(&rule, 60_001).admitted);
    }

    #[test]
    fn a_lowered_quota_waits_for_enough_to_expire() {
        let mut log = Log::default();
        for at in [0, 1000, 2000, 3000] {
            assert!(log.take(&rule(4, 60), at).admitted);
        }
        let refused = log.take(&rule(2, 60), 4000);
        assert_eq!(
            (refused.admitted, refused.remaining, refused.reset_ms),
            (false, 0, 58_000)
        );
    }

    #[test]
    fn a_clock_that_goes_back_lets_nobody_in() {
        let mut log = Log::default();
        assert!(log.take(&rule(1, 60), 100_000).admitted);
        assert!(!log.take(&rule(1, 60), 10_000).admitted);
    }

    proptest! {
        #[test]
        fn never_more_than_the_quota_in_any_window(
            quota in 1_u32..20,
            window in 1_u32..30,
            steps in prop::collection::vec(0_u64..5000, 1..300),
        ) {
            let (rule, mut log, mut now) = (rule(quota, window), Log::default(), 0);
            let mut admitted = Vec::new();
            for step in steps {
                now += step;
                let decision = log.take(&rule, now);
                if decision.admitted {
                    admitted.push(now);
                } else {
                    // The promise of the refusal: at that moment, and not before, the next one passes.
                    prop_assert!(!log.clone().take(&rule, now + decision.reset_ms - 1).admitted);
                    prop_assert!(log.clone().take(&rule, now + decision.reset_ms).admitted);
                }
            }
            for (index, start) in admitted.iter().enumerate() {
                let inside = admitted[index..].iter().take_while(|at| **at < start + rule.window_ms()).count();
                prop_assert!(inside <= quota as usize);
            }
        }
    }
}
