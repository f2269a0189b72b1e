//! What an isolate knows of limits without asking: units leased in advance, and who is blocked until when.

use std::cell::RefCell;

use kado_shared::{
    limits::{
        Decision, Mode, Rule,
        protocol::{Lease, Leased},
    },
    recent::Recent,
};

/// Keys an isolate remembers: those of twenty thousand clients under three limits each, in about 16 MB. What is forgotten
/// costs a question more, and what was leased with it is lost: that admits too few for a moment, never too many.
const MOST_KEYS: usize = 65_536;

/// How long the object of this process holds for the isolate what it does not use at once, in milliseconds: visitors of a
/// page come back within that.
pub(super) const HOLD_MS: u32 = 60_000;
/// The same where a key has an object of its own, which is evicted when nobody asks it for 10 s and forgets who holds.
pub(super) const HOLD_MS_OF_MANY: u32 = 4_000;

/// What is known of a key.
#[derive(Clone, Copy, Debug)]
struct Local {
    rule: Rule,
    /// Units that were granted in advance.
    units: u32,
    /// How many units the object holds for the isolate: those, and what of them was used since it was asked last. 0 where
    /// what was granted is not held.
    held: u32,
    /// Since when, as the object said.
    held_since_ms: u64,
    /// How many were leased last where nothing is held: doubled while they are used up, so that a slow client never wastes
    /// what it needs.
    leased: u32,
    /// Until when a larger lease is being asked for, Unix milliseconds; others then ask for one unit each.
    asking_until_ms: u64,
    /// When what is left of the lease is void, Unix milliseconds: by then as much again has been granted, or it is not held
    /// any longer.
    lease_until_ms: u64,
    /// Until when another request is reason to lease more where nothing is held, Unix milliseconds: where a unit comes again
    /// within a millisecond, a lease of one is void before anybody could use it.
    busy_until_ms: u64,
    /// Until when the answer is no, Unix milliseconds.
    blocked_until_ms: u64,
    decision: Decision,
}

/// What to ask an object for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) units: u32,
    /// Units that were held, and are used or void.
    pub(super) returned: u32,
    /// Since when they were held.
    pub(super) held_since_ms: u64,
}

thread_local! {
    static LOCAL: RefCell<Recent<String, Local>> = RefCell::new(Recent::new(MOST_KEYS));
}

/// The refusal of a key that is blocked.
pub(super) fn refuse(key: &str, rule: &Rule, now: u64) -> Option<Decision> {
    LOCAL.with_borrow_mut(|local| {
        local
            .get_mut(key)
            .filter(|known| known.rule == *rule)
            .and_then(|known| known.refusal(now))
    })
}

/// Decides without asking: from what is leased, or from a block that has not ended.
pub(super) fn decide(key: &str, rule: &Rule, now: u64) -> Option<Decision> {
    LOCAL.with_borrow_mut(|local| {
        let known = local.get_mut(key).filter(|known| known.rule == *rule)?;
        if let Some(refusal) = known.refusal(now) {
            return Some(refusal);
        }
        if known.units == 0 || known.lease_until_ms <= now {
            return None;
        }
        known.units -= 1;
        Some(Decision {
            admitted: true,
            remaining: known.decision.remaining.saturating_add(known.units),
            ..known.decision
        })
    })
}

/// How many units to ask for, where the object holds what is not used at once, and where it does not.
pub(super) fn wanted(key: &str, rule: &Rule, holds: bool, now: u64) -> Wanted {
    LOCAL.with_borrow_mut(|local| next_lease(local.get_mut(key), rule, holds, now))
}

/// Notes what was granted.
pub(super) fn note(key: String, rule: Rule, leased: Leased, lease: &Lease, now: u64) {
    LOCAL.with_borrow_mut(|local| {
        let known = local.remove(&key).filter(|known| known.rule == rule);
        local.insert(key, merge(known, rule, leased, lease, now));
    });
}

impl Local {
    fn refusal(&self, now: u64) -> Option<Decision> {
        (self.blocked_until_ms > now).then(|| Decision {
            admitted: false,
            remaining: 0,
            reset_ms: self.blocked_until_ms - now,
        })
    }
}

/// What is known of a key after its object has answered: several requests may have asked at once, and what each of them
/// was granted is kept.
fn merge(known: Option<Local>, rule: Rule, leased: Leased, lease: &Lease, now: u64) -> Local {
    /// Requests this close to each other are many.
    const BUSY_MS: u64 = 10;
    let Leased {
        taken,
        held,
        held_since_ms,
    } = leased;
    let wanted = lease.take.wanted;
    // Multiplied first: of a rule for thousands a second a unit's time is no whole millisecond.
    let comes_again_ms = rule.window_ms().saturating_mul(u64::from(taken.granted)) / u64::from(rule.quota.max(1));
    let until = now.saturating_add(if held > 0 {
        u64::from(lease.hold_ms)
    } else {
        comes_again_ms
    });
    let spare = taken.granted.saturating_sub(1);
    // What is held and what is not are not kept together: they end at different times.
    let kept = known
        .filter(|known| known.lease_until_ms > now)
        .filter(|known| spare == 0 || known.units == 0 || (known.held > 0) == (held > 0));
    let lease_until_ms = match kept.filter(|kept| kept.units > 0 || kept.held > 0) {
        // The object holds all of it until its last word.
        Some(kept) if kept.held > 0 && held > 0 => kept.lease_until_ms.max(until),
        Some(kept) if spare == 0 => kept.lease_until_ms,
        Some(kept) => kept.lease_until_ms.min(until),
        None => until,
    };
    let units = kept.map_or(0, |known| known.units).saturating_add(spare);
    let is_used_up = units == 0 && (taken.granted == 0 || taken.decision.remaining == 0);
    Local {
        rule,
        units,
        held: known
            .filter(|known| known.held_since_ms == held_since_ms)
            .map_or(0, |known| known.held)
            .saturating_add(held),
        held_since_ms,
        leased: if wanted > 1 {
            taken.granted.max(1)
        } else {
            known.map_or(1, |known| known.leased)
        },
        asking_until_ms: known.filter(|_| wanted == 1).map_or(0, |known| known.asking_until_ms),
        busy_until_ms: now.saturating_add(comes_again_ms.max(BUSY_MS)),
        lease_until_ms,
        blocked_until_ms: if is_used_up { now + taken.decision.reset_ms } else { 0 },
        decision: taken.decision,
    }
}

/// How many units to ask for: one at a time for strict rules and while another request is asking for more; a fiftieth of the
/// quota where the object holds it, and where it does not up to that, for fast clients.
fn next_lease(known: Option<&mut Local>, rule: &Rule, holds: bool, now: u64) -> Wanted {
    /// An answer that takes longer than this is not waited for.
    const ASKING_MS: u64 = 1000;
    let most = rule.quota.div_ceil(50);
    let asking_for = |units| Wanted {
        units,
        returned: 0,
        held_since_ms: 0,
    };
    match (rule.mode, known) {
        (Mode::Fast, None) if holds => asking_for(most),
        (Mode::Fast, Some(known)) if holds => {
            let units = if known.asking_until_ms > now { 1 } else { most };
            if units > 1 {
                known.asking_until_ms = now + ASKING_MS;
            }
            Wanted {
                units,
                returned: std::mem::take(&mut known.held),
                held_since_ms: known.held_since_ms,
            }
        }
        (Mode::Fast, Some(known)) if known.busy_until_ms > now && known.asking_until_ms <= now => {
            known.asking_until_ms = now + ASKING_MS;
            asking_for(known.leased.saturating_mul(2).min(most))
        }
        (Mode::Strict | Mode::Fast, _) => asking_for(1),
    }
}

#[cfg(test)]
mod tests {
    use super::{HOLD_MS, Local, decide, merge, next_lease, note, refuse};
    use kado_shared::limits::{
        Decision, Mode, OnFailure, Rule,
        gcra::{Holds, Tat},
        protocol::{Lease, Leased, Take, Taken},
    };

    const FAST: Rule = Rule {
        quota: 600,
        window_seconds: 60,
        mode: Mode::Fast,
        on_failure: OnFailure::Open,
        shadow: false,
    };

    fn local(leased: u32, lease_until_ms: u64) -> Local {
        let decision = Decision {
            admitted: true,
            remaining: 1,
            reset_ms: 1,
        };
        Local {
            rule: FAST,
            units: 0,
            held: 0,
            held_since_ms: 0,
            leased,
            asking_until_ms: 0,
            lease_until_ms,
            busy_until_ms: lease_until_ms,
            blocked_until_ms: 0,
            decision,
        }
    }

    fn lease(rule: Rule, wanted: u32) -> Lease {
        let key = String::new();
        Lease {
            take: Take { key, rule, wanted },
            returned: 0,
            held_since_ms: 0,
            hold_ms: 0,
        }
    }

    /// What is known after `granted` of `wanted` were granted, none of them held.
    fn answered(known: Option<Local>, rule: Rule, granted: u32, wanted: u32, now: u64) -> Local {
        let decision = Decision {
            admitted: granted > 0,
            remaining: 5,
            reset_ms: 100,
        };
        answered_with(known, rule, Taken { granted, decision }, wanted, now)
    }

    fn answered_with(known: Option<Local>, rule: Rule, taken: Taken, wanted: u32, now: u64) -> Local {
        let leased = Leased {
            taken,
            held: 0,
            held_since_ms: 0,
        };
        merge(known, rule, leased, &lease(rule, wanted), now)
    }

    fn units(known: Option<&mut Local>, rule: &Rule, now: u64) -> u32 {
        next_lease(known, rule, false, now).units
    }

    #[test]
    fn leases_that_are_not_held_grow_with_use_and_never_for_strict_rules() {
        assert_eq!(units(None, &FAST, 0), 1);
        assert_eq!(units(Some(&mut local(1, 100)), &FAST, 50), 2);
        assert_eq!(units(Some(&mut local(8, 100)), &FAST, 50), 12);
        assert_eq!(units(Some(&mut local(12, 100)), &FAST, 100), 1);
        let strict = Rule {
            mode: Mode::Strict,
            ..FAST
        };
        assert_eq!(units(Some(&mut local(8, 100)), &strict, 50), 1);
        assert_eq!(next_lease(None, &strict, true, 50).units, 1);
    }

    #[test]
    fn leases_grow_where_thousands_may_come_in_a_second_too() {
        let many = Rule { quota: 100_000, ..FAST };
        let (mut known, mut now) = (answered(None, many, 1, 1, 0), 0);
        for leased in [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2000, 2000] {
            now += 2;
            let wanted = units(Some(&mut known), &many, now);
            assert_eq!(wanted, leased);
            known.units = 0;
            known = answered(Some(known), many, wanted, wanted, now);
        }
        // 2,000 units come again within 1,200 ms, and are void by then.
        assert_eq!(known.lease_until_ms, now + 1_200);
    }

    #[test]
    fn while_one_request_asks_for_a_lease_others_ask_for_one_unit() {
        let mut known = local(8, 100);
        assert_eq!(units(Some(&mut known), &FAST, 50), 12);
        assert_eq!(units(Some(&mut known), &FAST, 51), 1);
        let known = answered(Some(known), FAST, 12, 12, 60);
        assert_eq!((known.units, known.leased, known.asking_until_ms), (11, 12, 0));
    }

    #[test]
    fn what_was_granted_to_several_at_once_is_kept() {
        let first = answered(None, FAST, 12, 12, 0);
        let second = answered(Some(first), FAST, 12, 12, 1);
        assert_eq!((second.units, second.lease_until_ms), (22, first.lease_until_ms));
        let refused_late = answered(Some(second), FAST, 0, 1, 2);
        assert_eq!(
            (refused_late.units, refused_late.blocked_until_ms),
            (22, 0),
            "a late refusal takes nothing away"
        );
        let used_up = Local {
            units: 0,
            ..refused_late
        };
        assert_eq!(answered(Some(used_up), FAST, 0, 1, 3).blocked_until_ms, 103);
    }

    #[test]
    fn who_has_used_the_last_unit_is_blocked_before_being_refused() {
        let taken = Taken {
            granted: 1,
            decision: Decision {
                admitted: true,
                remaining: 0,
                reset_ms: 100,
            },
        };
        let known = answered_with(None, FAST, taken, 1, 5);
        assert_eq!(known.refusal(104).map(|refused| refused.reset_ms), Some(1));
        assert_eq!(known.refusal(105), None);
    }

    #[test]
    fn who_is_remembered_as_blocked_is_so_under_no_other_rule() {
        let refused = Taken {
            granted: 0,
            decision: Decision {
                admitted: false,
                remaining: 0,
                reset_ms: 60_000,
            },
        };
        let leased = Leased {
            taken: refused,
            held: 0,
            held_since_ms: 0,
        };
        note("blocked".to_owned(), FAST, leased, &lease(FAST, 1), 1_000);
        assert!(refuse("blocked", &FAST, 2_000).is_some() && decide("blocked", &FAST, 2_000).is_some());
        let changed = Rule {
            quota: 100_000,
            window_seconds: 1,
            ..FAST
        };
        let told = (refuse("blocked", &changed, 2_000), decide("blocked", &changed, 2_000));
        assert_eq!(told, (None, None), "the object decides");
    }

    /// A client that comes every five seconds is asked about once in twelve times, and its object has held as many units as
    /// it was told of at every moment.
    #[test]
    fn what_is_held_lasts_for_a_slow_client() {
        let (mut state, mut holds, mut known, mut asked) = (Tat::default(), Holds::default(), None::<Local>, 0);
        for now in (0..600_000).step_by(5_000) {
            if let Some(known) = known
                .as_mut()
                .filter(|known| known.units > 0 && known.lease_until_ms > now)
            {
                known.units -= 1;
                continue;
            }
            asked += 1;
            let wanted = next_lease(known.as_mut(), &FAST, true, now);
            let lease = Lease {
                returned: wanted.returned,
                held_since_ms: wanted.held_since_ms,
                hold_ms: HOLD_MS,
                ..lease(FAST, wanted.units)
            };
            let leased = holds.take(&mut state, &lease, now);
            assert_eq!((leased.taken.granted, leased.held), (12, 11));
            assert!(
                leased.taken.decision.remaining >= 600 - 23,
                "at most what is held and what was used"
            );
            known = Some(merge(known, FAST, leased, &lease, now));
        }
        assert_eq!(asked, 10);
    }
}
