//! What the limiter's objects count with, apart from the runtime: counters in memory, within a bound that all objects of
//! an isolate share, because they share its memory.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    rc::{Rc, Weak},
};

use kado_shared::limits::{
    Mode, gcra,
    protocol::{Lease, Leased, Taken},
    strict,
};
use serde::{Deserialize, Serialize};

/// Memory that the counters of all objects of an isolate may take, in bytes, as far as it can be told.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// What a counter takes beside its key and its log: the entry, its place in both collections, allocations.
const OVERHEAD: usize = 160;
/// An idle object is evicted after 10 s; what matters for longer is stored.
pub(super) const EVICTION_MS: u64 = 10_000;

/// Time between two looks at an object's counters for those that no longer matter, in milliseconds.
const SWEEP_EVERY_MS: u64 = 10_000;

thread_local! {
    /// What the counters of all objects take.
    static BYTES: Cell<usize> = const { Cell::new(0) };
    /// Those of all objects, the one that is swept next first, and when each was last.
    static ALL: RefCell<VecDeque<(Weak<RefCell<Counters>>, u64)>> = const { RefCell::new(VecDeque::new()) };
}

/// Counters of an object that is never evicted, self-hosted, are swept with everybody else's.
pub(super) fn of_object() -> Rc<RefCell<Counters>> {
    let counters = Rc::default();
    ALL.with_borrow_mut(|all| all.push_back((Rc::downgrade(&counters), 0)));
    counters
}

/// Drops what no longer matters of one object, whoever asks: an object that nobody asks any more would keep it for ever.
pub(super) fn sweep(now: u64) {
    ALL.with_borrow_mut(|all| {
        let due = |swept: u64| now.saturating_sub(swept) >= SWEEP_EVERY_MS;
        let Some((next, _)) = all.front().filter(|(_, swept)| due(*swept)) else {
            return;
        };
        if let Some(counters) = next.upgrade() {
            // Whoever counts in it just now is the one who asks; it has its turn again.
            if let Ok(mut counters) = counters.try_borrow_mut() {
                counters.drop_expired(now);
            }
            all.rotate_left(1);
            if let Some((_, swept)) = all.back_mut() {
                *swept = now;
            }
        } else {
            all.pop_front();
        }
    });
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Counter {
    Strict(strict::Log),
    Fast(gcra::Tat),
}

impl Counter {
    fn fresh(mode: Mode) -> Self {
        match mode {
            Mode::Strict => Self::Strict(strict::Log::default()),
            Mode::Fast => Self::Fast(gcra::Tat::default()),
        }
    }

    const fn mode(&self) -> Mode {
        match self {
            Self::Strict(_) => Mode::Strict,
            Self::Fast(_) => Mode::Fast,
        }
    }
}

/// A counter and when it stops to matter, Unix milliseconds; also the form in which it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    counter: Counter,
    /// Units of a fast rule that isolates hold.
    #[serde(default)]
    holds: gcra::Holds,
    pub(super) until_ms: u64,
}

impl Entry {
    fn bytes(&self, key: &str) -> usize {
        let log = match &self.counter {
            Counter::Strict(log) => log.len() * size_of::<u64>(),
            Counter::Fast(_) => 0,
        };
        // The key is kept twice: in the map and in the order of eviction.
        OVERHEAD + 2 * key.len() + log
    }
}

/// What counting came to.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) leased: Leased,
    /// The counter, where it must be stored before anybody is told.
    pub(super) to_store: Option<Entry>,
}

#[derive(Debug)]
struct Held {
    entry: Entry,
    /// Whether storage has it as it is here.
    stored: bool,
}

/// The counters of one object.
#[derive(Debug, Default)]
pub(super) struct Counters {
    held: HashMap<String, Held>,
    /// Keys in the order in which they came: the first is let go first.
    order: VecDeque<String>,
    bytes: usize,
    /// How often anything was let go: what was read from storage before that may be outdated.
    evictions: u64,
}

impl Drop for Counters {
    fn drop(&mut self) {
        BYTES.set(BYTES.get().saturating_sub(self.bytes));
    }
}

impl Counters {
    pub(super) fn has(&self, key: &str) -> bool {
        self.held.contains_key(key)
    }

    pub(super) const fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Takes over what storage had, unless the key is counted already.
    pub(super) fn load(&mut self, key: &str, entry: Entry) {
        if !self.has(key) {
            self.hold(key, Held { entry, stored: true });
        }
    }

    /// Decides about a request and counts it.
    pub(super) fn count(&mut self, lease: &Lease, now: u64) -> Counted {
        let take = &lease.take;
        let known = self.release(&take.key);
        let mut held = known
            .filter(|held| held.entry.counter.mode() == take.rule.mode)
            .unwrap_or_else(|| Held {
                entry: Entry {
                    counter: Counter::fresh(take.rule.mode),
                    holds: gcra::Holds::default(),
                    until_ms: 0,
                },
                stored: false,
            });
        let entry = &mut held.entry;
        // Under another rule than before a fast state may become less. Storage must not bring the old one back, which would
        // refuse whoever asks after the object was idle, again and again until it is over.
        let mut is_lowered = false;
        // What holds only is kept in memory for as long as that lasts: a holder lives in the same process, or holds nothing
        // for longer than an idle object lives.
        let (leased, matters_until) = match &mut entry.counter {
            Counter::Strict(log) => {
                let decision = log.take(&take.rule, now);
                let granted = u32::from(decision.admitted);
                let taken = Taken { granted, decision };
                (
                    Leased {
                        taken,
                        held: 0,
                        held_since_ms: 0,
                    },
                    log.matters_until(&take.rule).unwrap_or(now),
                )
            }
            Counter::Fast(tat) => {
                let before = tat.0;
                let leased = entry.holds.take(tat, lease, now);
                is_lowered = tat.0 < before;
                (leased, gcra::matters_until(*tat))
            }
        };
        entry.until_ms = matters_until.max(entry.holds.until_ms());
        let lasts = match &entry.counter {
            Counter::Strict(_) => true,
            Counter::Fast(_) => matters_until > now.saturating_add(EVICTION_MS),
        };
        let changed = leased.taken.granted > 0;
        held.stored = (held.stored && !changed) || lasts || is_lowered;
        let to_store = (changed && lasts || is_lowered).then(|| held.entry.clone());
        self.hold(&take.key, held);
        Counted { leased, to_store }
    }

    /// Lets go of counters while all objects together hold too much, the oldest of this one first, its last one too; gives
    /// back what storage must be told so that nothing is forgotten.
    pub(super) fn shrink(&mut self, now: u64) -> Vec<(String, Entry)> {
        self.shrink_to(MOST_BYTES, now)
    }

    fn shrink_to(&mut self, most: usize, now: u64) -> Vec<(String, Entry)> {
        let mut unstored = Vec::new();
        while BYTES.get() > most {
            let Some(key) = self.order.pop_front() else { break };
            let Some(held) = self.release(&key) else { continue };
            self.evictions += 1;
            if !held.stored && held.entry.until_ms > now {
                unstored.push((key, held.entry));
            }
        }
        unstored
    }

    /// Drops what no longer matters.
    pub(super) fn drop_expired(&mut self, now: u64) {
        let expired: Vec<String> = self
            .held
            .iter()
            .filter(|(_, held)| held.entry.until_ms <= now)
            .map(|(key, _)| key.clone())
            .collect();
        for key in expired {
            self.release(&key);
        }
        self.order.retain(|key| self.held.contains_key(key));
    }

    fn hold(&mut self, key: &str, held: Held) {
        let bytes = held.entry.bytes(key);
        self.bytes += bytes;
        BYTES.set(BYTES.get() + bytes);
        self.held.insert(key.to_owned(), held);
        // A key that was released to be counted has kept its place.
        if self.order.len() < self.held.len() {
            self.order.push_back(key.to_owned());
        }
    }

    fn release(&mut self, key: &str) -> Option<Held> {
        let held = self.held.remove(key)?;
        let bytes = held.entry.bytes(key);
        self.bytes = self.bytes.saturating_sub(bytes);
        BYTES.set(BYTES.get().saturating_sub(bytes));
        Some(held)
    }
}

#[cfg(test)]
mod tests {
    use super::{BYTES, Counters, EVICTION_MS, Entry, SWEEP_EVERY_MS, of_object, sweep};
    use kado_shared::limits::{
        Mode, OnFailure, Rule,
        protocol::{Lease, Take},
    };
    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};
    use std::collections::HashMap;

    fn take(key: &str, quota: u32, window_seconds: u32, mode: Mode) -> Lease {
        let take = Take {
            key: key.to_owned(),
            rule: Rule {
                quota,
                window_seconds,
                mode,
                on_failure: OnFailure::Open,
                shadow: false,
            },
            wanted: 1,
        };
        Lease {
            take,
            returned: 0,
            held_since_ms: 0,
            hold_ms: 0,
        }
    }

    #[test]
    fn every_admission_of_a_strict_rule_is_stored_and_no_refusal() {
        let mut counters = Counters::default();
        let take = take("a", 2, 60, Mode::Strict);
        let stored: Vec<_> = (0..4).map(|at| counters.count(&take, at).to_store.is_some()).collect();
        assert_eq!(stored, [true, true, false, false]);
    }

    #[test]
    fn a_fast_rule_is_stored_only_while_it_reaches_beyond_an_idle_object() {
        let mut counters = Counters::default();
        assert!(
            counters
                .count(&take("short", 1, 10, Mode::Fast), 1_000)
                .to_store
                .is_none()
        );
        assert!(
            counters
                .count(&take("long", 1, 11, Mode::Fast), 1_000)
                .to_store
                .is_some()
        );
        // Let go before its end, it is stored all the same.
        let unstored = counters.shrink_to(0, 1_000);
        assert_eq!(
            unstored.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(),
            ["short"]
        );
        assert_eq!(unstored[0].1.until_ms, 1_000 + EVICTION_MS);
        assert_eq!((counters.held.len(), counters.order.len(), BYTES.get()), (0, 0, 0));
    }

    #[test]
    fn what_is_over_is_dropped() {
        let mut counters = Counters::default();
        counters.count(&take("a", 2, 1, Mode::Strict), 0);
        counters.count(&take("b", 2, 5, Mode::Strict), 0);
        counters.drop_expired(1_000);
        assert_eq!(
            (counters.has("a"), counters.has("b"), counters.order.len()),
            (false, true, 1)
        );
        drop(counters);
        assert_eq!(BYTES.get(), 0);
    }

    #[test]
    fn what_no_longer_matters_goes_from_objects_that_nobody_asks_and_no_object_is_kept_for_it() {
        let (idle, busy, gone) = (of_object(), of_object(), of_object());
        let fast = take("a", 2, 5, Mode::Fast);
        for counters in [&idle, &busy, &gone] {
            counters.borrow_mut().count(&fast, 0);
        }
        drop(gone);
        let left = || (idle.borrow().held.len(), busy.borrow().held.len());
        sweep(SWEEP_EVERY_MS);
        assert_eq!(left(), (0, 1), "one at a time");
        sweep(SWEEP_EVERY_MS);
        assert_eq!(left(), (0, 0));
        for counters in [&idle, &busy] {
            counters.borrow_mut().count(&fast, SWEEP_EVERY_MS);
        }
        for _ in 0..5 {
            sweep(2 * SWEEP_EVERY_MS - 1);
        }
        assert_eq!(left(), (1, 1), "not again so soon");
        for _ in 0..2 {
            sweep(2 * SWEEP_EVERY_MS);
        }
        assert_eq!(
            (left(), super::ALL.with_borrow(std::collections::VecDeque::len)),
            ((0, 0), 2)
        );
    }

    #[test]
    fn a_state_that_a_changed_rule_lowers_is_stored() {
        let mut counters = Counters::default();
        let old = take("a", 1, 60, Mode::Fast);
        assert!(counters.count(&old, 1_000).to_store.is_some());
        let new = take("a", 100, 1, Mode::Fast);
        let refused = counters.count(&new, 2_000);
        assert!(!refused.leased.taken.decision.admitted);
        assert_eq!(refused.to_store.map(|entry| entry.until_ms), Some(3_000));
        assert!(counters.count(&new, 2_000).to_store.is_none(), "once");
    }

    proptest! {
        /// Rules change, and the object is evicted before whoever was refused comes again: they are admitted when they were
        /// told all the same.
        #[test]
        fn an_object_that_was_evicted_refuses_nobody_again_whom_it_has_told_when_to_come(
            rules in prop::collection::vec((1_u32..2_000, 1_u32..600), 2..4),
            steps in prop::collection::vec((0_u64..20_000, 0_usize..6, any::<bool>()), 1..100),
        ) {
            let (mut counters, mut storage) = (Counters::default(), None::<Entry>);
            let (mut now, mut current) = (1_000_000, 0);
            let evicted = |storage: &Option<Entry>, now| {
                let mut counters = Counters::default();
                if let Some(entry) = storage.clone().filter(|entry| entry.until_ms > now) {
                    counters.load("a", entry);
                }
                counters
            };
            for (step, change, is_holding) in steps {
                now += step;
                if step >= EVICTION_MS {
                    counters = evicted(&storage, now);
                }
                if change < rules.len() {
                    current = change;
                }
                let (quota, window) = rules[current];
                let mut asked = take("a", quota, window, Mode::Fast);
                if is_holding {
                    asked.take.wanted = quota.div_ceil(50);
                    asked.hold_ms = 4_000;
                }
                let counted = counters.count(&asked, now);
                if counted.to_store.is_some() {
                    storage = counted.to_store;
                }
                let decision = counted.leased.taken.decision;
                if !decision.admitted {
                    let later = now + decision.reset_ms;
                    let once = take("a", quota, window, Mode::Fast);
                    let again = evicted(&storage, later).count(&once, later).leased.taken;
                    prop_assert!(again.decision.admitted, "{:?} at {now}: {decision:?}, then {again:?}", asked.take.rule);
                }
            }
        }

        /// An object that keeps almost nothing in memory decides as one that keeps all, and memory stays within its bound.
        #[test]
        fn a_bound_changes_no_decision(
            most in 0_usize..3_000,
            steps in prop::collection::vec((0_u64..2_000, 0_u8..20, 0_u8..2), 1..300),
        ) {
            let (mut whole, mut bounded) = (Counters::default(), Counters::default());
            let mut storage: HashMap<String, Entry> = HashMap::new();
            let mut now = 1_000_000;
            for (step, key, mode) in steps {
                now += step;
                let mode = if mode == 0 { Mode::Strict } else { Mode::Fast };
                let mut take = take(&format!("{mode:?}/{key}"), 12, 20, mode);
                take.take.wanted = if mode == Mode::Fast { 3 } else { 1 };
                take.hold_ms = 9_000;
                let expected = whole.count(&take, now).leased;
                let key = &take.take.key;
                if !bounded.has(key) && let Some(entry) = storage.get(key).filter(|entry| entry.until_ms > now) {
                    bounded.load(key, entry.clone());
                }
                let counted = bounded.count(&take, now);
                prop_assert_eq!(counted.leased, expected);
                storage.extend(counted.to_store.map(|entry| (key.clone(), entry)));
                let others = BYTES.get() - bounded.bytes;
                storage.extend(bounded.shrink_to(others + most, now));
                prop_assert!(bounded.bytes <= most, "{} bytes of {most}", bounded.bytes);
                prop_assert_eq!(bounded.order.len(), bounded.held.len());
            }
        }
    }
}
