//! A bounded queue in which tenants take turns. Pure.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Names an item that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

/// What became of a push.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pushed<T> {
    /// It waits.
    Waits(Ticket),
    /// It waits, and the last item of the longest lane had to go for it.
    WaitsInsteadOf(Ticket, T),
    /// The queue is full, and nobody has more in it than this lane.
    Full(T),
}

/// Lanes, one per key, served round robin. However much one tenant sends, the next job of another waits for at most
/// one job of each tenant. When the queue is full the longest lane gives way, so nobody can keep others out of it.
#[derive(Debug)]
pub(crate) struct FairQueue<K, T> {
    lanes: HashMap<K, VecDeque<(Ticket, T)>>,
    /// Lanes that hold something, next first.
    turns: VecDeque<K>,
    len: usize,
    capacity: usize,
    next_ticket: u64,
}

impl<K: Clone + Eq + Hash, T> FairQueue<K, T> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            lanes: HashMap::new(),
            turns: VecDeque::new(),
            len: 0,
            capacity,
            next_ticket: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn push(&mut self, key: &K, item: T) -> Pushed<T> {
        if self.len < self.capacity {
            return Pushed::Waits(self.append(key, item, false));
        }
        let own = self.lanes.get(key).map_or(0, VecDeque::len);
        let longest = self
            .lanes
            .iter()
            .max_by_key(|(_, lane)| lane.len())
            .map(|(k, lane)| (k.clone(), lane.len()));
        match longest {
            Some((other, length)) if length > own + 1 => {
                let displaced = self
                    .lanes
                    .get(&other)
                    .and_then(|lane| lane.back())
                    .map(|(ticket, _)| *ticket);
                match displaced.and_then(|ticket| self.remove(&other, ticket)) {
                    Some(displaced) => Pushed::WaitsInsteadOf(self.append(key, item, false), displaced),
                    None => Pushed::Full(item),
                }
            }
            _ => Pushed::Full(item),
        }
    }

    /// Puts an item that had its turn already before all others, whatever the bound.
    pub(crate) fn push_again(&mut self, key: &K, item: T) -> Ticket {
        self.append(key, item, true)
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        let key = self.turns.pop_front()?;
        let lane = self.lanes.get_mut(&key)?;
        let (_, item) = lane.pop_front()?;
        self.len -= 1;
        if lane.is_empty() {
            self.lanes.remove(&key);
        } else {
            self.turns.push_back(key);
        }
        Some(item)
    }

    /// Takes an item out of turn: its client left.
    pub(crate) fn remove(&mut self, key: &K, ticket: Ticket) -> Option<T> {
        let lane = self.lanes.get_mut(key)?;
        let at = lane.iter().position(|(known, _)| *known == ticket)?;
        let (_, item) = lane.remove(at)?;
        self.len -= 1;
        if lane.is_empty() {
            self.lanes.remove(key);
            self.turns.retain(|known| known != key);
        }
        Some(item)
    }

    fn append(&mut self, key: &K, item: T, first: bool) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.len += 1;
        let lane = self.lanes.entry(key.clone()).or_default();
        if first {
            lane.push_front((ticket, item));
            self.turns.retain(|known| known != key);
            self.turns.push_front(key.clone());
        } else {
            if lane.is_empty() {
                self.turns.push_back(key.clone());
            }
            lane.push_back((ticket, item));
        }
        ticket
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn queue(capacity: usize, items: &[(&'static str, u32)]) -> FairQueue<&'static str, u32> {
        let mut queue = FairQueue::new(capacity);
        for (key, item) in items {
            queue.push(key, *item);
        }
        queue
    }

    fn drain(mut queue: FairQueue<&'static str, u32>) -> Vec<u32> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn tenants_take_turns_and_each_is_served_in_order() {
        let queue = queue(10, &[("a", 1), ("a", 2), ("a", 3), ("b", 10), ("c", 20), ("b", 11)]);
        assert_eq!(drain(queue), [1, 10, 20, 2, 11, 3]);
    }

    #[test]
    fn a_full_queue_refuses_the_longest_lane_and_makes_room_for_others() {
        let mut queue = queue(3, &[("a", 1), ("a", 2), ("a", 3)]);
        assert_eq!(queue.push(&"a", 4), Pushed::Full(4));
        assert!(matches!(queue.push(&"b", 10), Pushed::WaitsInsteadOf(_, 3)));
        assert_eq!(
            queue.push(&"b", 11),
            Pushed::Full(11),
            "an equal share is no reason to displace"
        );
        assert_eq!(drain(queue), [1, 10, 2]);
    }

    #[test]
    fn an_item_taken_out_leaves_the_others_in_turn() {
        let mut queue = queue(10, &[("a", 1), ("b", 10)]);
        let Pushed::Waits(ticket) = queue.push(&"a", 2) else {
            panic!("there is room")
        };
        assert_eq!(queue.remove(&"a", ticket), Some(2));
        assert_eq!(queue.remove(&"a", ticket), None);
        assert_eq!(drain(queue), [1, 10]);
    }

    #[test]
    fn what_was_interrupted_comes_first_even_past_the_bound() {
        let mut queue = queue(2, &[("a", 1), ("b", 10)]);
        queue.push_again(&"b", 9);
        assert_eq!(queue.len(), 3);
        assert_eq!(drain(queue), [9, 1, 10]);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push(u8),
        Again(u8),
        Pop,
        Remove(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0_u8..4).prop_map(Step::Push),
            1 => (0_u8..4).prop_map(Step::Again),
            3 => Just(Step::Pop),
            1 => (0_usize..50).prop_map(Step::Remove),
        ];
        proptest::collection::vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_doubled_and_the_bound_holds(steps in steps(), capacity in 1_usize..8) {
            let mut queue = FairQueue::new(capacity);
            let mut waiting: Vec<(u8, Ticket, usize)> = Vec::new();
            let mut again = 0;
            for (item, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Push(key) => match queue.push(&key, item) {
                        Pushed::Waits(ticket) => waiting.push((key, ticket, item)),
                        Pushed::WaitsInsteadOf(ticket, displaced) => {
                            waiting.retain(|(_, _, known)| *known != displaced);
                            waiting.push((key, ticket, item));
                        }
                        Pushed::Full(back) => prop_assert_eq!(back, item),
                    },
                    Step::Again(key) => {
                        waiting.push((key, queue.push_again(&key, item), item));
                        again += 1;
                    }
                    Step::Pop => match queue.pop() {
                        Some(item) => {
                            prop_assert!(waiting.iter().any(|(_, _, known)| *known == item));
                            waiting.retain(|(_, _, known)| *known != item);
                        }
                        None => prop_assert!(waiting.is_empty()),
                    },
                    Step::Remove(at) => {
                        if let Some((key, ticket, item)) = waiting.get(at).copied() {
                            prop_assert_eq!(queue.remove(&key, ticket), Some(item));
                            waiting.remove(at);
                        }
                    }
                }
                prop_assert_eq!(queue.len(), waiting.len());
                prop_assert!(queue.len() <= capacity + again);
            }
        }

        #[test]
        fn a_newcomer_waits_for_at_most_one_item_of_each_other_lane(
            loads in proptest::collection::vec(0_usize..20, 1..6),
        ) {
            let mut queue = FairQueue::new(1000);
            for (lane, load) in loads.iter().enumerate() {
                for _ in 0..*load {
                    queue.push(&lane, false);
                }
            }
            queue.push(&usize::MAX, true);
            let before = std::iter::from_fn(|| queue.pop()).take_while(|newcomer| !newcomer).count();
            prop_assert!(before <= loads.len());
        }
    }
}
