//! Memory that pictures made at the same time share, by their plans' estimates.

use std::sync::{Condvar, Mutex, PoisonError};

/// So many bytes, lent out and given back.
#[derive(Debug)]
pub(crate) struct Budget {
    total: u64,
    lent: Mutex<u64>,
    returned: Condvar,
}

/// A loan, given back when it goes.
#[derive(Debug)]
pub(crate) struct Loan<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Budget {
    pub(crate) fn new(total: u64) -> Self {
        Self {
            total,
            lent: Mutex::new(0),
            returned: Condvar::new(),
        }
    }

    /// Waits until so much is free. What is more than there is waits until it is alone.
    pub(crate) fn borrow(&self, bytes: u64) -> Loan<'_> {
        let bytes = bytes.min(self.total);
        let lent = self.lent.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lent = self
            .returned
            .wait_while(lent, |lent| *lent + bytes > self.total)
            .unwrap_or_else(PoisonError::into_inner);
        *lent += bytes;
        Loan { budget: self, bytes }
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        *self.budget.lent.lock().unwrap_or_else(PoisonError::into_inner) -= self.bytes;
        self.budget.returned.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::Budget;
    use std::{
        sync::atomic::{AtomicU64, Ordering},
        thread,
    };

    #[test]
    fn never_more_is_lent_than_there_is() {
        let budget = Budget::new(10);
        let (now, most) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for bytes in [3, 4, 7, 10, 2, 99, 5, 1] {
                let (budget, now, most) = (&budget, &now, &most);
                scope.spawn(move || {
                    let loan = budget.borrow(bytes);
                    most.fetch_max(
                        now.fetch_add(loan.bytes, Ordering::SeqCst) + loan.bytes,
                        Ordering::SeqCst,
                    );
                    thread::yield_now();
                    now.fetch_sub(loan.bytes, Ordering::SeqCst);
                });
            }
        });
        let most = most.into_inner();
        assert!((1..=10).contains(&most), "{most}");
    }
}
