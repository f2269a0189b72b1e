//! What an isolate knows of limits without asking: units leased in advance, and who is blocked until when.

use std::cell::RefCell;

use kado_shared::{
    limits::{Decision, Mode, Rule, protocol::Taken},
    recent::Recent,
};

/// Keys an isolate remembers: those of twenty thousand clients under three limits each, in about 16 MB. What is forgotten
/// costs a question more, and what was leased with it is lost: that admits too few for a moment, never too many.
const MOST_KEYS: usize = 65_536;

/// What is known of a key.
#[derive(Clone, Copy, Debug)]
struct Local {
    rule: Rule,
    /// Units that were granted in advance.
    units: u32,
    /// How many were leased last: doubled while they are used up, so that a slow client never wastes what it needs.
    leased: u32,
    /// Until when a larger lease is being asked for, Unix milliseconds; others then ask for one unit each.
    asking_until_ms: u64,
    /// When what is left of the lease is void, Unix milliseconds: by then as much again has been granted.
    lease_until_ms: u64,
    /// Until when another request is reason to lease more, Unix milliseconds: where a unit comes again within a
    /// millisecond, a lease of one is void before anybody could use it.
    busy_until_ms: u64,
    /// Until when the answer is no, Unix milliseconds.
    blocked_until_ms: u64,
    decision: Decision,
}

thread_local! {
    static LOCAL: RefCell<Recent<String, Local>> = RefCell::new(Recent::new(MOST_KEYS));
}

/// Decides without asking: from what is leased, or from a block that has not ended.
pub(super) fn decide(key: &str, rule: &Rule, now: u64) -> Option<Decision> {
    LOCAL.with_borrow_mut(|local| {
        let known = local.get_mut(key).filter(|known| known.rule == *rule)?;
        if known.blocked_until_ms > now {
            return Some(Decision {
                admitted: false,
                remaining: 0,
                reset_ms: known.blocked_until_ms - now,
            });
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

/// How many units to ask for.
pub(super) fn wanted(key: &str, rule: &Rule, now: u64) -> u32 {
    LOCAL.with_borrow_mut(|local| next_lease(local.get_mut(key), rule, now))
}

/// Notes what was granted.
pub(super) fn note(key: String, rule: Rule, taken: Taken, wanted: u32, now: u64) {
    LOCAL.with_borrow_mut(|local| {
        let known = local.remove(&key).filter(|known| known.rule == rule);
        local.insert(key, merge(known, rule, taken, wanted, now));
    });
}

/// What is known of a key after its object has answered: several requests may have asked at once, and what each of them
/// was granted is kept.
fn merge(known: Option<Local>, rule: Rule, taken: Taken, wanted: u32, now: u64) -> Local {
    /// Requests this close to each other are many.
    const BUSY_MS: u64 = 10;
    // Multiplied first: of a rule for thousands a second a unit's time is no whole millisecond.
    let lease_ms = rule.window_ms().saturating_mul(u64::from(taken.granted)) / u64::from(rule.quota.max(1));
    let kept = known.as_ref().filter(|known| known.lease_until_ms > now);
    let units = kept
        .map_or(0, |known| known.units)
        .saturating_add(taken.granted.saturating_sub(1));
    let lease_until_ms = now.saturating_add(lease_ms);
    Local {
        rule,
        units,
        leased: if wanted > 1 {
            taken.granted.max(1)
        } else {
            known.as_ref().map_or(1, |known| known.leased)
        },
        asking_until_ms: known
            .as_ref()
            .filter(|_| wanted == 1)
            .map_or(0, |known| known.asking_until_ms),
        busy_until_ms: now.saturating_add(lease_ms.max(BUSY_MS)),
        lease_until_ms: kept.map_or(0, |known| known.lease_until_ms).max(lease_until_ms),
        blocked_until_ms: if taken.granted == 0 && units == 0 {
            now + taken.decision.reset_ms
        } else {
            0
        },
        decision: taken.decision,
    }
}

/// How many units to ask for: one at a time for strict rules and slow clients, up to a fiftieth of the quota for fast ones,
/// and one while another request is asking for more.
fn next_lease(known: Option<&mut Local>, rule: &Rule, now: u64) -> u32 {
    /// An answer that takes longer than this is not waited for.
    const ASKING_MS: u64 = 1000;
    match (rule.mode, known) {
        (Mode::Fast, Some(known)) if known.busy_until_ms > now && known.asking_until_ms <= now => {
            known.asking_until_ms = now + ASKING_MS;
            known.leased.saturating_mul(2).min(rule.quota.div_ceil(50))
        }
        (Mode::Strict | Mode::Fast, _) => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::{Local, merge, next_lease};
    use kado_shared::limits::{Decision, Mode, OnFailure, Rule, protocol::Taken};

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
            leased,
            asking_until_ms: 0,
            lease_until_ms,
            busy_until_ms: lease_until_ms,
            blocked_until_ms: 0,
            decision,
        }
    }

    fn taken(granted: u32) -> Taken {
        Taken {
            granted,
            decision: Decision {
                admitted: granted > 0,
                remaining: 0,
                reset_ms: 100,
            },
        }
    }

    #[test]
    fn leases_grow_with_use_and_never_for_strict_rules() {
        assert_eq!(next_lease(None, &FAST, 0), 1);
        assert_eq!(next_lease(Some(&mut local(1, 100)), &FAST, 50), 2);
        assert_eq!(next_lease(Some(&mut local(8, 100)), &FAST, 50), 12);
        assert_eq!(next_lease(Some(&mut local(12, 100)), &FAST, 100), 1);
        assert_eq!(
            next_lease(
                Some(&mut local(8, 100)),
                &Rule {
                    mode: Mode::Strict,
                    ..FAST
                },
                50
            ),
            1
        );
    }

    #[test]
    fn leases_grow_where_thousands_may_come_in_a_second_too() {
        let many = Rule { quota: 100_000, ..FAST };
        let (mut known, mut now) = (merge(None, many, taken(1), 1, 0), 0);
        for leased in [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2000, 2000] {
            now += 2;
            let wanted = next_lease(Some(&mut known), &many, now);
            assert_eq!(wanted, leased);
            known = merge(Some(known), many, taken(wanted), wanted, now);
        }
        // 2,000 units come again within 1,200 ms, and are void by then.
        assert_eq!(known.lease_until_ms, now + 1_200);
    }

    #[test]
    fn while_one_request_asks_for_a_lease_others_ask_for_one_unit() {
        let mut known = local(8, 100);
        assert_eq!(next_lease(Some(&mut known), &FAST, 50), 12);
        assert_eq!(next_lease(Some(&mut known), &FAST, 51), 1);
        let answered = merge(Some(known), FAST, taken(12), 12, 60);
        assert_eq!((answered.units, answered.leased, answered.asking_until_ms), (11, 12, 0));
    }

    #[test]
    fn what_was_granted_to_several_at_once_is_kept() {
        let first = merge(None, FAST, taken(12), 12, 0);
        let second = merge(Some(first), FAST, taken(12), 12, 1);
        assert_eq!(second.units, 22);
        let refused_late = merge(Some(second), FAST, taken(0), 1, 2);
        assert_eq!(
            (refused_late.units, refused_late.blocked_until_ms),
            (22, 0),
            "a late refusal takes nothing away"
        );
        let used_up = merge(
            Some(Local {
                units: 0,
                ..refused_late
            }),
            FAST,
            taken(0),
            1,
            3,
        );
        assert_eq!(used_up.blocked_until_ms, 103);
    }
}
