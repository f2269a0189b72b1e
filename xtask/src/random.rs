//! Secrets and names from the system's random source.

use std::fs::File;
use std::io::Read;

use anyhow::{Context, Result};

/// Letters and digits that a person can copy from a screen without mistaking one for another.
const LEGIBLE: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz23456789x";

/// `count` random bytes.
///
/// # Errors
/// When `/dev/urandom` cannot be read.
pub fn bytes(count: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .context("reading /dev/urandom")?;
    Ok(bytes)
}

/// `count` random bytes as lower-case hexadecimal, `2 * count` characters.
///
/// # Errors
/// When the system's random source fails.
pub fn hex(count: usize) -> Result<String> {
    Ok(to_hex(&bytes(count)?))
}

/// A password for people: groups of four legible characters, e.g. `k3fm-wq7t-…`, five bits a character.
///
/// # Errors
/// When the system's random source fails.
pub fn password(groups: usize) -> Result<String> {
    let drawn = bytes(groups * 4)?;
    let characters: Vec<char> = drawn
        .iter()
        .map(|byte| char::from(LEGIBLE[usize::from(byte % 32)]))
        .collect();
    let groups: Vec<String> = characters.chunks(4).map(|group| group.iter().collect()).collect();
    Ok(groups.join("-"))
}

/// Bytes as lower-case hexadecimal.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_groups_of_four_and_never_the_same_twice() {
        let first = password(4).unwrap();
        assert_eq!(first.len(), 19);
        assert!(first.split('-').all(|group| group.len() == 4));
        assert_ne!(first, password(4).unwrap());
    }

    #[test]
    fn hexadecimal_keeps_leading_zeros() {
        assert_eq!(to_hex(&[0, 10, 255]), "000aff");
    }
}
