//! Request identifiers.

/// Whether an identifier from outside may be taken over: `[A-Za-z0-9-]{8,64}`.
#[must_use]
pub fn is_acceptable(id: &str) -> bool {
    (8..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// A new identifier from 16 random bytes: 32 lower-case hexadecimal digits.
#[must_use]
pub fn from_random(bytes: [u8; 16]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(32), |mut id, byte| {
        // Writing to a `String` cannot fail.
        let _ = write!(id, "{byte:02x}");
        id
    })
}

#[cfg(test)]
mod tests {
    use super::{from_random, is_acceptable};

    #[test]
    fn only_plain_identifiers_are_taken_over() {
        assert!(is_acceptable("abcDEF12-") && is_acceptable(&"a".repeat(64)));
        for bad in [
            "short",
            "",
            &"a".repeat(65),
            "has space",
            "line\nbreak",
            "quote\"quote",
            "ünïcödé12",
        ] {
            assert!(!is_acceptable(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_new_one_is_acceptable() {
        assert_eq!(from_random([0xAB; 16]), "ab".repeat(16));
        assert!(is_acceptable(&from_random([0; 16])));
    }
}
