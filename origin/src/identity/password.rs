//! Password hashes: Argon2id in PHC form, off the async threads, and only so many at once.

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, phc::PasswordHash},
};
use kado_shared::secret::Secret;
use std::{sync::Arc, time::Duration};
use tokio::{sync::Semaphore, time::timeout};

use crate::entropy::SharedEntropy;

/// Memory of one hash in KiB (OWASP's minimum for two passes).
const MEMORY_KIB: u32 = 19_456;
/// Passes over it.
const PASSES: u32 = 2;
/// Lanes.
const LANES: u32 = 1;
/// Fewest and most characters of a password.
pub(crate) const LENGTH: std::ops::RangeInclusive<usize> = 8..=512;
/// How many requests may wait for a hash: more would time out anyway.
const MOST_WAITING: usize = 256;
/// Longest wait for a turn.
const LONGEST_WAIT: Duration = Duration::from_secs(8);

/// Why no verdict was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HashError {
    /// Too many are waiting already.
    #[error("too many passwords are being checked at once")]
    Busy,
    /// The hash function refused, or its thread died.
    #[error("the password could not be hashed")]
    Failed,
}

/// What a password check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The password is right.
    Right {
        /// The stored hash is weaker than today's and should be replaced.
        outdated: bool,
    },
    /// It is wrong, or there was no hash to compare it with.
    Wrong,
}

/// Hashes and checks passwords.
pub(crate) struct Passwords {
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    entropy: SharedEntropy,
    /// A hash with today's parameters that no password has: unknown users cost what known ones cost.
    dummy: Arc<str>,
}

impl std::fmt::Debug for Passwords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Passwords")
            .field("free", &self.running.available_permits())
            .finish_non_exhaustive()
    }
}

impl Passwords {
    /// Allows this many hashes at once; each takes 19 MiB and a core.
    pub(crate) fn new(at_once: usize, entropy: SharedEntropy) -> Result<Self, HashError> {
        let unguessable: [u8; 32] = entropy.bytes();
        let dummy = hash_now(&unguessable, &entropy.bytes())?;
        Ok(Self {
            running: Arc::new(Semaphore::new(at_once.max(1))),
            waiting: Arc::new(Semaphore::new(MOST_WAITING)),
            entropy,
            dummy: dummy.into(),
        })
    }

    /// A new hash of a password.
    pub(crate) async fn hash(&self, password: Secret) -> Result<String, HashError> {
        let salt: [u8; 16] = self.entropy.bytes();
        self.in_turn(move || hash_now(password.expose().as_bytes(), &salt))
            .await?
    }

    /// Compares a password with a stored hash; without one, with a hash that nothing matches, in the same time.
    pub(crate) async fn verify(&self, stored: Option<String>, password: Secret) -> Result<Verdict, HashError> {
        let dummy = Arc::clone(&self.dummy);
        self.in_turn(move || {
            let known = stored.is_some();
            let verdict = verify_now(stored.as_deref().unwrap_or(&dummy), password.expose());
            if known { verdict } else { Verdict::Wrong }
        })
        .await
    }

    async fn in_turn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, HashError> {
        let _place = self.waiting.try_acquire().map_err(|_| HashError::Busy)?;
        let turn = timeout(LONGEST_WAIT, Arc::clone(&self.running).acquire_owned());
        let turn = turn
            .await
            .map_err(|_| HashError::Busy)?
            .map_err(|_| HashError::Failed)?;
        // The permit goes along: a client that hangs up does not make room while its hash still runs.
        let worked = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(turn);
            result
        });
        worked.await.map_err(|_| HashError::Failed)
    }
}

/// Hashes on this thread; for the service [`Passwords::hash`], for commands this.
pub(crate) fn hash_now(password: &[u8], salt: &[u8; 16]) -> Result<String, HashError> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|_| HashError::Failed)?;
    let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash: PasswordHash = hasher
        .hash_password_with_salt(password, salt)
        .map_err(|_| HashError::Failed)?;
    Ok(hash.to_string())
}

fn verify_now(stored: &str, password: &str) -> Verdict {
    use argon2::PasswordVerifier;
    let Ok(hash) = PasswordHash::new(stored) else {
        return Verdict::Wrong;
    };
    let right = Argon2::default().verify_password(password.as_bytes(), &hash).is_ok();
    if right {
        Verdict::Right {
            outdated: is_outdated(&hash),
        }
    } else {
        Verdict::Wrong
    }
}

fn is_outdated(hash: &PasswordHash) -> bool {
    let number = |name: &str| hash.params.get_decimal(name).unwrap_or(0);
    hash.algorithm.as_str() != "argon2id" || number("m") < MEMORY_KIB || number("t") < PASSES
}

/// Checks the length of a password that a user chooses.
pub(crate) fn check_length(password: &str) -> Result<(), String> {
    let (least, most) = (LENGTH.start(), LENGTH.end());
    // Counting stops where it cannot matter any more.
    let length = password.chars().take(most + 1).count();
    if LENGTH.contains(&length) {
        Ok(())
    } else {
        Err(format!("must have {least} to {most} characters"))
    }
}

#[cfg(test)]
mod tests {
    use super::{HashError, LENGTH, Passwords, Verdict, check_length, hash_now};
    use crate::entropy::testing::CountingEntropy;
    use argon2::{
        Algorithm, Argon2, Params, Version,
        password_hash::{PasswordHasher, phc::PasswordHash},
    };
    use kado_shared::secret::Secret;
    use std::sync::Arc;

    fn passwords(at_once: usize) -> Passwords {
        Passwords::new(at_once, Arc::new(CountingEntropy::default())).unwrap()
    }

    #[tokio::test]
    async fn the_right_password_is_right_and_no_other() {
        let passwords = passwords(2);
        let hash = passwords.hash(Secret::new("correct horse")).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        let verify =
            |stored: Option<&str>, given: &str| passwords.verify(stored.map(str::to_owned), Secret::new(given));
        assert_eq!(
            verify(Some(&hash), "correct horse").await,
            Ok(Verdict::Right { outdated: false })
        );
        assert_eq!(verify(Some(&hash), "correct horsf").await, Ok(Verdict::Wrong));
        assert_eq!(verify(Some("not a hash"), "correct horse").await, Ok(Verdict::Wrong));
        assert_eq!(verify(None, "correct horse").await, Ok(Verdict::Wrong));
    }

    #[tokio::test]
    async fn a_weaker_hash_is_noticed() {
        let weak = Argon2::new(
            Algorithm::Argon2id,
            Version::V0x13,
            Params::new(8_192, 1, 1, None).unwrap(),
        );
        let hash: PasswordHash = weak.hash_password_with_salt(b"correct horse", &[1; 16]).unwrap();
        let verdict = passwords(1)
            .verify(Some(hash.to_string()), Secret::new("correct horse"))
            .await;
        assert_eq!(verdict, Ok(Verdict::Right { outdated: true }));
    }

    #[tokio::test]
    async fn who_cannot_wait_is_told_so() {
        let passwords = passwords(1);
        let _all = passwords.waiting.acquire_many(256).await.unwrap();
        assert_eq!(passwords.hash(Secret::new("correct horse")).await, Err(HashError::Busy));
    }

    #[test]
    fn the_same_password_has_another_hash_each_time() {
        assert_ne!(hash_now(b"a", &[1; 16]), hash_now(b"a", &[2; 16]));
    }

    #[test]
    fn lengths_count_characters() {
        assert!(check_length("12345678").is_ok() && check_length(&"ü".repeat(*LENGTH.end())).is_ok());
        assert!(check_length("1234567").is_err() && check_length(&"a".repeat(513)).is_err());
    }
}
