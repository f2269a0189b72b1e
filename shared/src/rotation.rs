//! Rotation of a session's token: who gets a successor, who gets the same one again, and who is a thief.
//!
//! A session keeps no token, only the generation of the current one and when it was issued. A reply that was lost and two
//! tabs of one browser both present the token before the current one; so does whoever has stolen it, but later.

/// How long the same `Idempotency-Key` gets the same answer, in milliseconds.
pub const SAME_KEY_MS: u64 = 60_000;

/// What a session remembers of its last rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Generation of the current token.
    pub generation: u32,
    /// When that was issued, Unix milliseconds.
    pub issued_ms: u64,
    /// Hash of the `Idempotency-Key` that it was asked for with.
    pub key: Option<[u8; 32]>,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presented {
    /// Generation of the token that was presented.
    pub generation: u32,
    /// Hash of the request's `Idempotency-Key`.
    pub key: Option<[u8; 32]>,
}

/// What becomes of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A successor is issued.
    Advance,
    /// The current token is issued again, as it was.
    Repeat,
    /// A token that was superseded long ago: the session ends.
    Replay,
    /// A token of a generation that was never issued, as after a restored backup: it does not count, and proves nothing.
    Unknown,
}

/// Decides by what was presented, what is stored, and for how long a superseded token may come back, in milliseconds.
#[must_use]
pub fn decide(now_ms: u64, presented: Presented, stored: Stored, reuse_ms: u64) -> Decision {
    let age_ms = now_ms.saturating_sub(stored.issued_ms);
    let same_key = presented.key.is_some() && presented.key == stored.key && age_ms <= SAME_KEY_MS;
    match stored.generation.checked_sub(presented.generation) {
        None => Decision::Unknown,
        Some(0 | 1) if same_key => Decision::Repeat,
        Some(0) => Decision::Advance,
        Some(1) if age_ms <= reuse_ms => Decision::Repeat,
        Some(_) => Decision::Replay,
    }
}

#[cfg(test)]
mod tests {
    use super::{Decision, Presented, Stored, decide};
    use proptest::prelude::*;

    const REUSE_MS: u64 = 10_000;
    const KEY: Option<[u8; 32]> = Some([7; 32]);
    const OTHER: Option<[u8; 32]> = Some([8; 32]);

    #[test]
    fn every_case_has_its_answer() {
        let at = |generation, key, stored_key, age_ms: u64| {
            let stored = Stored {
                generation: 5,
                issued_ms: 1_000_000,
                key: stored_key,
            };
            decide(1_000_000 + age_ms, Presented { generation, key }, stored, REUSE_MS)
        };
        for (generation, key, stored_key, age_ms, expected) in [
            // The current token.
            (5, None, None, 0, Decision::Advance),
            (5, None, KEY, 0, Decision::Advance),
            (5, OTHER, KEY, 0, Decision::Advance),
            (5, KEY, KEY, 60_000, Decision::Repeat),
            (5, KEY, KEY, 60_001, Decision::Advance),
            // The one before: a lost reply, or another tab.
            (4, None, None, 10_000, Decision::Repeat),
            (4, None, KEY, 10_000, Decision::Repeat),
            (4, OTHER, KEY, 10_000, Decision::Repeat),
            (4, KEY, KEY, 60_000, Decision::Repeat),
            // And too late.
            (4, None, None, 10_001, Decision::Replay),
            (4, OTHER, KEY, 10_001, Decision::Replay),
            (4, KEY, KEY, 60_001, Decision::Replay),
            // Older ones.
            (3, None, None, 0, Decision::Replay),
            (3, KEY, KEY, 0, Decision::Replay),
            (0, None, None, 0, Decision::Replay),
            // From nowhere.
            (6, None, None, 0, Decision::Unknown),
            (6, KEY, KEY, 0, Decision::Unknown),
        ] {
            assert_eq!(
                at(generation, key, stored_key, age_ms),
                expected,
                "{generation} {key:?} {stored_key:?} {age_ms}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_token_has_one_successor(times in prop::collection::vec(0u64..20_000, 1..40)) {
            // Any number of requests with one token, whenever they come, leave the session at most one generation on.
            let mut times = times;
            times.sort_unstable();
            let mut stored = Stored { generation: 0, issued_ms: 0, key: None };
            for now in times {
                if decide(now, Presented { generation: 0, key: None }, stored, REUSE_MS) == Decision::Advance {
                    stored = Stored { generation: stored.generation + 1, issued_ms: now, key: None };
                }
            }
            prop_assert_eq!(stored.generation, 1);
        }
    }
}
