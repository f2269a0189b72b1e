//! Keys in groups, so that loads from disk and writes of one key take notice of each other.

use std::sync::{Mutex, PoisonError};

/// Groups: also the most loads from disk at once, which bounds the memory they take.
const STRIPES: usize = 64;

/// A fixed number of groups of keys.
pub(crate) struct Stripes(Vec<Stripe>);

/// One group.
#[derive(Default)]
pub(crate) struct Stripe {
    /// Held during a load from disk: whoever comes for the same entry finds it in memory afterwards.
    pub(crate) loading: tokio::sync::Mutex<()>,
    /// Writes so far.
    writes: Mutex<u64>,
}

impl Stripes {
    pub(crate) fn new() -> Self {
        Self((0..STRIPES).map(|_| Stripe::default()).collect())
    }

    /// The group of a key that begins with this byte; keys are hashes, so any byte will do.
    pub(crate) fn of(&self, first_byte: u8) -> Option<&Stripe> {
        self.0.get(usize::from(first_byte) % STRIPES)
    }
}

impl Stripe {
    pub(crate) fn writes(&self) -> u64 {
        *self.writes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes, alone in this group.
    pub(crate) fn write<T>(&self, work: impl FnOnce() -> T) -> T {
        let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        *writes += 1;
        work()
    }

    /// Does the work if nothing was written in this group since it stood at `writes`.
    pub(crate) fn unless_written<T>(&self, writes: u64, work: impl FnOnce() -> T) -> Option<T> {
        let now = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        (*now == writes).then(work)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_done_only_while_nothing_was_written() {
        let stripes = Stripes::new();
        let stripe = stripes.of(200).unwrap();
        let seen = stripe.writes();
        assert_eq!(stripe.unless_written(seen, || 1), Some(1));
        stripe.write(|| ());
        assert_eq!(stripe.unless_written(seen, || 1), None);
        assert!((0..=255).all(|byte| stripes.of(byte).is_some()));
    }
}
