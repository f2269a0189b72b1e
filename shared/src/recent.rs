//! A map that cannot grow: what was not used for longest is forgotten first, a half at a time.
//!
//! Two generations, each at most half of the capacity. What is used moves into the young one; when that is full it becomes
//! the old one, and what the old one held by then is forgotten. So nothing is moved one by one, no clock is needed, and
//! what was used among the last half of the capacity is always there.

use std::{borrow::Borrow, collections::HashMap, hash::Hash};

/// The map.
#[derive(Clone, Debug)]
pub struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    half: usize,
}

impl<K: Eq + Hash, V> Recent<K, V> {
    /// A map of at most `capacity` entries, at least 2.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            half: (capacity / 2).max(1),
        }
    }

    /// What is known of a key; it counts as used.
    pub fn get_mut<Q>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        if !self.young.contains_key(key)
            && let Some((key, value)) = self.old.remove_entry(key)
        {
            self.insert(key, value);
        }
        self.young.get_mut(key)
    }

    /// Forgets a key, and gives back what was known of it.
    pub fn remove<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let (young, old) = (self.young.remove(key), self.old.remove(key));
        young.or(old)
    }

    /// Remembers a key.
    pub fn insert(&mut self, key: K, value: V) {
        self.old.remove(&key);
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    /// How many keys are remembered; never more than the capacity.
    #[must_use]
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::Recent;
    use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

    #[test]
    fn what_is_used_stays_and_what_is_not_goes() {
        let mut map = Recent::new(8);
        map.insert(0, "used");
        for key in 1..100 {
            map.insert(key, "once");
            assert_eq!(map.get_mut(&0), Some(&mut "used"), "after {key}");
        }
        assert_eq!(map.get_mut(&1), None);
        assert_eq!(map.remove(&0), Some("used"));
        assert_eq!(map.get_mut(&0), None);
    }

    proptest! {
        #[test]
        fn it_never_passes_its_capacity_and_never_lies(
            capacity in 2_usize..20,
            steps in prop::collection::vec((0_u8..30, 0_u8..3), 1..400),
        ) {
            let mut map = Recent::new(capacity);
            let mut truth = std::collections::HashMap::new();
            let mut last = Vec::new();
            for (number, (key, what)) in steps.into_iter().enumerate() {
                match what {
                    0 => {
                        map.remove(&key);
                        truth.remove(&key);
                    }
                    1 => {
                        map.insert(key, number);
                        truth.insert(key, number);
                        last.retain(|known| *known != key);
                        last.push(key);
                    }
                    _ => {
                        if let Some(found) = map.get_mut(&key) {
                            prop_assert_eq!(truth.get(&key), Some(&*found));
                            last.retain(|known| *known != key);
                            last.push(key);
                        }
                    }
                }
                prop_assert!(map.len() <= capacity);
                for key in last.iter().rev().take(capacity / 2).filter(|key| truth.contains_key(*key)) {
                    prop_assert!(map.young.contains_key(key) || map.old.contains_key(key));
                }
            }
        }
    }
}
