//! The fast rule: the generic cell rate algorithm (ITU-T I.371), whose whole state is one time stamp.
//!
//! With emission interval `T = window / quota`, the state is the theoretical arrival time `TAT` of the next request.
//! `n` requests are admitted at `now` iff `max(TAT, now) + n T <= now + quota T`.

use super::{
    Decision, Rule,
    protocol::{Lease, Leased, Take, Taken},
};

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
    // A changed limit must not leave a key blocked for longer than its own window. So the state may become less, and a store
    // that keeps the greater one would have it block again.
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

/// Units that were granted and may be used later.
///
/// Time gives units back, used or not: after a lease of a second's units another second's may be leased, and both be used
/// in one moment. So what is held keeps its place: no arrival is expected before that of the last unit held. With `H` units
/// held at `now`, `TAT >= now + H T`, and whenever they are used, no more was admitted than if each had been asked for then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Holds {
    units: u32,
    since_ms: u64,
    until_ms: u64,
}

/// What is held for longer than its holder may use it, in milliseconds: an answer takes its time.
const GRACE_MS: u64 = 5_000;

impl Holds {
    /// When they are void, Unix milliseconds.
    #[must_use]
    pub const fn until_ms(&self) -> u64 {
        self.until_ms
    }

    /// Admits as [`take`] does, with what is held in its place, and holds all that is granted beyond the first.
    ///
    /// At most a quarter of the quota is held: who asks beyond that gets one. Holders that never come back withhold no
    /// more than that, until their time is over. Where more is held, it was granted under a rule that is no longer in force,
    /// and is void too: at their new interval so many units would refuse everybody until their time is over.
    pub fn take(&mut self, state: &mut Tat, lease: &Lease, now_ms: u64) -> Leased {
        let Take { rule, mut wanted, .. } = lease.take;
        let most = rule.quota / 4;
        if self.until_ms <= now_ms || self.units > most {
            *self = Self {
                // Never as before: nobody returns what is void.
                since_ms: now_ms.max(self.since_ms.saturating_add(1)),
                ..Self::default()
            };
        }
        let floor = interval_us(&rule).saturating_mul(u64::from(self.units));
        state.0 = state.0.max(now_ms.saturating_mul(1000).saturating_add(floor));
        if lease.held_since_ms == self.since_ms {
            self.units = self.units.saturating_sub(lease.returned);
        }
        let holds = lease.hold_ms > 0;
        if holds {
            let room = most.saturating_sub(self.units);
            wanted = wanted.min(room.saturating_add(1));
        }
        let (granted, decision) = take(state, &rule, wanted, now_ms);
        let held = if holds { granted.saturating_sub(1) } else { 0 };
        if held > 0 {
            self.units += held;
            let until = now_ms.saturating_add(u64::from(lease.hold_ms)).saturating_add(GRACE_MS);
            self.until_ms = self.until_ms.max(until);
        }
        Leased {
            taken: Taken { granted, decision },
            held,
            held_since_ms: self.since_ms,
        }
    }
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
    use super::{Holds, Tat, take};
    use crate::limits::{
        Mode, OnFailure, Rule,
        protocol::{Lease, Leased, Take, Taken},
    };
    use proptest::prelude::{any, prop, prop_assert, proptest};

    fn rule(quota: u32, window_seconds: u32) -> Rule {
        Rule {
            quota,
            window_seconds,
            mode: Mode::Fast,
            on_failure: OnFailure::Open,
            shadow: false,
        }
    }

    fn lease(rule: Rule, wanted: u32, (returned, held_since_ms): (u32, u64), hold_ms: u32) -> Lease {
        let take = Take {
            key: String::new(),
            rule,
            wanted,
        };
        Lease {
            take,
            returned,
            held_since_ms,
            hold_ms,
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
    fn what_is_held_keeps_its_place_until_it_is_returned_or_void() {
        let (rule, mut state, mut holds) = (rule(100, 100), Tat::default(), Holds::default());
        let mut ask = |wanted, returned, now| {
            let lease = lease(rule, wanted, (returned, 1_000), 60_000);
            let Leased { taken, held, .. } = holds.take(&mut state, &lease, now);
            (taken.granted, held, taken.decision.remaining)
        };
        assert_eq!(ask(2, 0, 1_000), (2, 1, 98));
        assert_eq!(ask(20, 0, 1_000), (20, 19, 78));
        assert_eq!(ask(20, 0, 1_000), (6, 5, 72), "a quarter is held at most");
        // A minute later all has come back but for what is held, and what was used of it.
        assert_eq!(ask(1, 19, 60_000), (1, 0, 74));
        assert_eq!(ask(20, 6, 60_000), (20, 19, 54));
        // What is void by now cannot be returned.
        assert_eq!(ask(20, 0, 200_000), (20, 19, 80));
        assert_eq!(ask(1, 19, 200_000), (1, 0, 79));
        assert_eq!(ask(1, 0, 220_000), (1, 0, 80), "19 are still held");
    }

    #[test]
    fn a_lowered_limit_blocks_no_longer_than_its_own_window() {
        let mut state = Tat::default();
        take(&mut state, &rule(1, 3600), 1, 1000);
        let (_, decision) = take(&mut state, &rule(1, 10), 1, 1000);
        assert!(decision.reset_ms <= 10_000);
    }

    #[test]
    fn what_was_held_under_a_larger_quota_blocks_nobody_under_a_smaller_one() {
        let (large, small) = (rule(100_000, 60), rule(300, 60));
        let (mut state, mut holds) = (Tat::default(), Holds::default());
        let granted = holds.take(&mut state, &lease(large, 2_000, (0, 0), 60_000), 1_000_000);
        assert_eq!((granted.taken.granted, granted.held), (2_000, 1_999));
        let asked = holds.take(&mut state, &lease(small, 6, (0, 0), 60_000), 1_000_000);
        assert_eq!((asked.taken.granted, asked.held), (6, 5));
        // What comes back late is not taken for what is held now.
        assert_ne!(asked.held_since_ms, granted.held_since_ms);
        let late = lease(small, 6, (1_999, granted.held_since_ms), 60_000);
        holds.take(&mut state, &late, 1_000_001);
        assert_eq!(holds.units, 10);
    }

    proptest! {
        /// Rules change while several ask, some of whom hold units and know of the change later. Whoever is refused is
        /// admitted when they were told, within the window of the rule that refused.
        #[test]
        fn a_changed_rule_refuses_nobody_for_longer_than_its_own_window(
            rules in prop::collection::vec((1_u32..=100_000, 1_u32..=3_600), 2..5),
            steps in prop::collection::vec((0_u64..3_000, 0_usize..40, 0_u32..3_000, any::<bool>()), 1..200),
        ) {
            let (mut state, mut holds, mut held) = (Tat::default(), Holds::default(), [(0, 0); 3]);
            let (mut now, mut current) = (1_000_000_u64, 0);
            for (step, change, wanted, is_holding) in steps {
                now += step;
                if change < rules.len() {
                    current = change;
                }
                let (quota, window) = rules[current];
                let rule = rule(quota, window);
                let holder = &mut held[change % 3];
                let hold_ms = if is_holding { 60_000 } else { 0 };
                let asked = lease(rule, wanted.clamp(1, quota), std::mem::take(holder), hold_ms);
                let leased = holds.take(&mut state, &asked, now);
                *holder = (leased.held, leased.held_since_ms);
                let decision = leased.taken.decision;
                if !decision.admitted {
                    // The interval is rounded up to microseconds.
                    let longest = rule.window_ms() + u64::from(quota).div_ceil(1_000);
                    prop_assert!(decision.reset_ms <= longest, "{} of {longest} ms", decision.reset_ms);
                    let (mut state, mut holds) = (state, holds);
                    let again = holds.take(&mut state, &lease(rule, 1, (0, 0), 0), now + decision.reset_ms);
                    prop_assert!(again.taken.decision.admitted, "{rule:?} at {now}: {decision:?}, then {again:?}");
                }
            }
        }

        /// Several holders use what they were granted whenever they like, within its time: over any stretch there are never
        /// more admissions than the burst and the rate of that stretch.
        #[test]
        fn what_is_held_is_never_too_many(
            quota in 1_u32..100,
            window in 1_u32..100,
            steps in prop::collection::vec((0_u64..4_000, 0_usize..3, 0_u8..4), 1..400),
        ) {
            const HOLD_MS: u32 = 20_000;
            #[derive(Clone, Copy, Default)]
            struct Holder { units: u32, held: u32, since_ms: u64, until_ms: u64 }
            let rule = rule(quota, window);
            let (mut state, mut holds, mut holders) = (Tat::default(), Holds::default(), [Holder::default(); 3]);
            let (mut now, mut admitted) = (1_000_000_u64, Vec::new());
            for (step, who, what) in steps {
                now += if what == 0 { step * 10 } else { step / 40 };
                let holder = &mut holders[who];
                if holder.until_ms <= now {
                    holder.units = 0;
                }
                if holder.units > 0 {
                    holder.units -= 1;
                    admitted.push(now);
                    continue;
                }
                let request = lease(rule, quota.div_ceil(10), (std::mem::take(&mut holder.held), holder.since_ms), HOLD_MS);
                let Leased { taken: Taken { granted, decision }, held, held_since_ms } = holds.take(&mut state, &request, now);
                prop_assert!(held <= granted.saturating_sub(1) && decision.admitted == (granted > 0));
                if granted > 0 {
                    admitted.push(now);
                    holder.units += held;
                    if holder.since_ms != held_since_ms {
                        holder.held = 0;
                    }
                    holder.held += held;
                    holder.since_ms = held_since_ms;
                    holder.until_ms = now + u64::from(HOLD_MS);
                }
            }
            for (first, from) in admitted.iter().enumerate() {
                for (last, to) in admitted.iter().enumerate().skip(first) {
                    // A millisecond for the rounding of the interval.
                    let allowed = u64::from(quota) + ((to - from) * u64::from(quota)).div_ceil(u64::from(window) * 1000);
                    prop_assert!((last - first + 1) as u64 <= allowed, "{} from {from} to {to}", last - first + 1);
                }
            }
        }

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
