//! The fast rule: the generic cell rate algorithm (ITU-T I.371), whose whole state is one time stamp.
//!
//! With emission interval `T = window / quota`, the state is the theoretical arrival time `TAT` of the next request.
//! `n` requests are admitted at `now` iff `max(TAT, now) + n T <= now + quota T`.

use super::{Decision, Rule};

/// State of one key: the theoretical arrival time, Unix microseconds. 0 where nothing was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Tat(pub u64);

/// Admits as many of `wanted` requests as fit, and says where the key stands afterwards.
///
/// A lease of several is all the same to the algorithm as that many requests at once, so that what an isolate leases is
/// never admitted a second time.
pub fn take(state: &mut Tat, rule: &Rule, wanted: u32, now_ms: u64) -> (u32, Decision) {
    let now = now_ms.saturating_mul(1000);
    let interval = interval_us(rule);
    let burst = interval.saturating_mul(u64::from(rule.quota));
    // A lowered limit must not leave a key blocked for longer than the new limit's own window.
    let tat = state.0.max(now).min(now.saturating_add(burst));
    let fitting = now.saturating_add(burst).saturating_sub(tat) / interval;
    let granted = u32::try_from(fitting).unwrap_or(u32::MAX).min(wanted);
    let tat = tat.saturating_add(interval.saturating_mul(u64::from(granted)));
    state.0 = tat;
    let free = now.saturating_add(burst).saturating_sub(tat);
    let remaining = u32::try_from(free / interval).unwrap_or(u32::MAX);
    let until_one_more = if tat <= now { 0 } else { interval - free % interval };
    (
        granted,
        Decision {
            admitted: granted > 0,
            remaining,
            reset_ms: until_one_more.div_ceil(1000),
        },
    )
}

/// When the state stops to matter, Unix milliseconds.
#[must_use]
pub const fn matters_until(state: Tat) -> u64 {
    state.0.div_ceil(1000)
}

/// Emission interval in microseconds; at least 1.
fn interval_us(rule: &Rule) -> u64 {
    (u64::from(rule.window_seconds) * 1_000_000)
        .div_ceil(u64::from(rule.quota.max(1)))
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::{Tat, take};
    use crate::limits::{Mode, OnFailure, Rule};
    use proptest::prelude::{prop, prop_assert, proptest};

    fn rule(quota: u32, window_seconds: u32) -> Rule {
        Rule {
            quota,
            window_seconds,
            mode: Mode::Fast,
            on_failure: OnFailure::Open,
            shadow: false,
        }
    }

    #[test]
    fn a_burst_passes_then_one_for_every_interval() {
        let (rule, mut state) = (rule(6, 60), Tat::default());
        for left in (0..6).rev() {
            let (granted, decision) = take(&mut state, &rule, 1, 1_000_000);
            assert_eq!((granted, decision.remaining), (1, left));
        }
        let (granted, decision) = take(&mut state, &rule, 1, 1_000_000);
        assert_eq!((granted, decision.admitted, decision.reset_ms), (0, false, 10_000));
        assert_eq!(take(&mut state, &rule, 1, 1_009_999).0, 0);
        assert_eq!(take(&mut state, &rule, 1, 1_010_000).0, 1);
    }

    #[test]
    fn a_lease_gets_what_fits() {
        let (rule, mut state) = (rule(10, 10), Tat::default());
        assert_eq!(take(&mut state, &rule, 8, 5000).0, 8);
        assert_eq!(take(&mut state, &rule, 8, 5000).0, 2);
        assert_eq!(take(&mut state, &rule, 8, 5000).0, 0);
    }

    #[test]
    fn a_lowered_limit_blocks_no_longer_than_its_own_window() {
        let mut state = Tat::default();
        take(&mut state, &rule(1, 3600), 1, 1000);
        let (_, decision) = take(&mut state, &rule(1, 10), 1, 1000);
        assert!(decision.reset_ms <= 10_000);
    }

    proptest! {
        #[test]
        fn never_more_than_burst_plus_rate(
            quota in 1_u32..50,
            window in 1_u32..60,
            steps in prop::collection::vec((0_u64..3000, 1_u32..5), 1..300),
        ) {
            let (rule, mut state) = (rule(quota, window), Tat::default());
            let (mut now, mut admitted) = (1_000_000_u64, 0_u64);
            let start = now;
            for (step, wanted) in steps {
                now += step;
                let (granted, decision) = take(&mut state, &rule, wanted, now);
                admitted += u64::from(granted);
                let allowed = u64::from(quota) + (now - start) * u64::from(quota) / (u64::from(window) * 1000);
                prop_assert!(admitted <= allowed, "{admitted} > {allowed}");
                if !decision.admitted {
                    let mut later = state;
                    prop_assert!(take(&mut later, &rule, 1, now + decision.reset_ms).0 == 1);
                }
            }
        }
    }
}
