//! What a source answered last where that was a failure: for a few seconds everybody is told the same, and it is left
//! alone. Different renderings of one broken picture are one question to its source.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use super::FetchError;

/// Addresses that are remembered at once.
const MOST: usize = 4096;

/// A failure that says something about the source, and not about us or about what may be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SourceFailure {
    /// It answered this.
    Status(StatusCode),
    /// It did not answer as it should.
    Fetch(FetchError),
}

impl SourceFailure {
    /// Of an answer's status.
    pub(crate) fn of_status(status: StatusCode) -> Option<Self> {
        (status.is_client_error() || status.is_server_error()).then_some(Self::Status(status))
    }

    /// Of a fetch that gave nothing.
    pub(crate) fn of_error(error: FetchError) -> Option<Self> {
        match error {
            FetchError::Dns | FetchError::Connect | FetchError::Tls | FetchError::Timeout | FetchError::Protocol => {
                Some(Self::Fetch(error))
            }
            // The next may be allowed more, or listed otherwise.
            FetchError::AddressRefused | FetchError::TooLarge => None,
        }
    }
}

/// Remembers failures by address.
pub(crate) struct Failures {
    kept: Duration,
    known: Mutex<HashMap<String, (Instant, SourceFailure)>>,
}

impl Failures {
    pub(crate) fn new(kept: Duration) -> Self {
        Self {
            kept,
            known: Mutex::default(),
        }
    }

    /// How an address failed a moment ago.
    pub(crate) fn of(&self, address: &str) -> Option<SourceFailure> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .get(address)
            .filter(|(at, _)| at.elapsed() < self.kept)
            .map(|(_, failure)| *failure)
    }

    pub(crate) fn note(&self, address: &str, failure: SourceFailure) {
        if self.kept.is_zero() {
            return;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.retain(|_, (at, _)| at.elapsed() < self.kept);
        }
        if known.len() < MOST {
            known.insert(address.to_owned(), (Instant::now(), failure));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn failures_are_remembered_for_seconds_and_within_bounds() {
        let failures = Failures::new(Duration::from_secs(3));
        let failure = SourceFailure::of_status(StatusCode::BAD_GATEWAY).unwrap();
        failures.note("a", failure);
        tokio::time::advance(Duration::from_millis(2_999)).await;
        assert_eq!((failures.of("a"), failures.of("b")), (Some(failure), None));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(failures.of("a"), None);
        for number in 0..2 * MOST {
            failures.note(&number.to_string(), failure);
        }
        assert_eq!(failures.known.lock().unwrap().len(), MOST);
        tokio::time::advance(Duration::from_secs(3)).await;
        failures.note("new", failure);
        assert_eq!(failures.of("new"), Some(failure), "what is over makes room");
    }

    #[test]
    fn what_is_ours_to_decide_is_not_remembered() {
        assert_eq!(SourceFailure::of_error(FetchError::AddressRefused), None);
        assert_eq!(SourceFailure::of_error(FetchError::TooLarge), None);
        assert!(SourceFailure::of_error(FetchError::Timeout).is_some());
        assert_eq!(SourceFailure::of_status(StatusCode::OK), None);
        assert_eq!(SourceFailure::of_status(StatusCode::FOUND), None);
    }
}
