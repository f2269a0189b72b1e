//! Password hashes: Argon2id in PHC form, off the async threads, and only so many at once.
//!
//! Users who were taken over from another system have bcrypt hashes until they sign in. While a tenant has any, each of its
//! sign-ins costs both: nobody can tell them from others, nor from addresses that nobody has.

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, phc::PasswordHash},
};
use kado_shared::secret::Secret;
use std::{sync::Arc, time::Duration};
use tokio::{sync::Semaphore, time::timeout};

use crate::{aside, entropy::SharedEntropy};

/// Memory of one hash in KiB (OWASP's minimum for two passes).
const MEMORY_KIB: u32 = 19_456;
/// Passes over it.
const PASSES: u32 = 2;
/// Lanes.
const LANES: u32 = 1;
/// Fewest and most characters of a password.
pub(crate) const LENGTH: std::ops::RangeInclusive<usize> = 8..=512;
/// Most rounds of a bcrypt hash that is accepted, as its logarithm: about a quarter of a second, which every sign-in of the
/// tenant costs then.
pub(crate) const MOST_BCRYPT_COST: u32 = 12;
/// Fewest rounds that bcrypt has.
const LEAST_BCRYPT_COST: u32 = 4;
/// Bytes of a password that bcrypt looks at.
const BCRYPT_BYTES: usize = 72;
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
    /// `taken_over` is the highest cost of the tenant's bcrypt hashes, where it has any.
    pub(crate) async fn verify(
        &self,
        stored: Option<String>,
        password: Secret,
        taken_over: Option<u32>,
    ) -> Result<Verdict, HashError> {
        let dummy = Arc::clone(&self.dummy);
        self.in_turn(move || {
            let stored = stored.as_deref();
            let bcrypt = stored.and_then(bcrypt_cost);
            let ours = stored.filter(|_| bcrypt.is_none());
            let verdict = verify_now(ours.unwrap_or(&dummy), password.expose());
            let foreign = bcrypt.and_then(|cost| Some((stored?, cost)));
            let foreign_verdict = verify_bcrypt(foreign, taken_over, password.expose());
            match (ours, foreign) {
                (Some(_), _) => verdict,
                (None, Some(_)) => foreign_verdict,
                (None, None) => Verdict::Wrong,
            }
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
        let worked = aside::run("hash", move || {
            let result = work();
            drop(turn);
            result
        });
        worked.await.ok_or(HashError::Failed)
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

/// The cost of a bcrypt hash that is accepted.
pub(crate) fn bcrypt_cost(stored: &str) -> Option<u32> {
    any_bcrypt_cost(stored).filter(|cost| (LEAST_BCRYPT_COST..=MOST_BCRYPT_COST).contains(cost))
}

/// The cost of a bcrypt hash, accepted or not.
pub(crate) fn any_bcrypt_cost(stored: &str) -> Option<u32> {
    let known = ["$2a$", "$2b$", "$2y$"];
    let parts: bcrypt::HashParts = stored
        .parse()
        .ok()
        .filter(|_| known.iter().any(|prefix| stored.starts_with(prefix)))?;
    Some(parts.get_cost())
}

/// Compares with a bcrypt hash of a cost, or with none, for as long as one of the cost `most` takes.
fn verify_bcrypt(stored: Option<(&str, u32)>, most: Option<u32>, password: &str) -> Verdict {
    // What bcrypt does not look at was never looked at.
    let bytes = password.as_bytes();
    let bytes = bytes.get(..BCRYPT_BYTES).unwrap_or(bytes);
    let (verdict, spent) = match stored {
        Some((hash, cost)) if bcrypt::verify(bytes, hash).unwrap_or(false) => {
            (Verdict::Right { outdated: true }, Some(cost))
        }
        Some((_, cost)) => (Verdict::Wrong, Some(cost)),
        None => (Verdict::Wrong, None),
    };
    let Some(most) = most else { return verdict };
    let idle = |cost| {
        let _ = std::hint::black_box(bcrypt::hash_with_salt(bytes, cost, [0; 16]));
    };
    // Each step doubles the time, so that 2^c and all from 2^c to 2^(most - 1) make 2^most.
    match spent {
        Some(cost) => (cost..most.min(MOST_BCRYPT_COST)).for_each(idle),
        None => idle(most.clamp(LEAST_BCRYPT_COST, MOST_BCRYPT_COST)),
    }
    verdict
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
            |stored: Option<&str>, given: &str| passwords.verify(stored.map(str::to_owned), Secret::new(given), None);
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
            .verify(Some(hash.to_string()), Secret::new("correct horse"), None)
            .await;
        assert_eq!(verdict, Ok(Verdict::Right { outdated: true }));
    }

    #[tokio::test]
    async fn who_cannot_wait_is_told_so() {
        let passwords = passwords(1);
        let _all = passwords.waiting.acquire_many(256).await.unwrap();
        assert_eq!(passwords.hash(Secret::new("correct horse")).await, Err(HashError::Busy));
    }

    /// Of `correct horse`, cost 5, as bcryptjs writes it; and the same with the prefixes of other libraries.
    fn taken_over(prefix: &str) -> String {
        let hash = bcrypt::hash_with_salt("correct horse", 5, [7; 16]).unwrap();
        hash.format_for_version(bcrypt::Version::TwoB)
            .replacen("$2b$", prefix, 1)
    }

    #[tokio::test]
    async fn bcrypt_is_accepted_and_to_be_replaced() {
        let passwords = passwords(1);
        for prefix in ["$2a$", "$2b$", "$2y$"] {
            let stored = taken_over(prefix);
            assert_eq!(super::bcrypt_cost(&stored), Some(5), "{stored}");
            for (password, most, wanted) in [
                ("correct horse", Some(5), Verdict::Right { outdated: true }),
                ("correct horse", Some(6), Verdict::Right { outdated: true }),
                ("correct horse", None, Verdict::Right { outdated: true }),
                ("wrong horse", Some(5), Verdict::Wrong),
            ] {
                let verdict = passwords
                    .verify(Some(stored.clone()), Secret::new(password), most)
                    .await;
                assert_eq!(verdict, Ok(wanted), "{prefix} {password} {most:?}");
            }
        }
        for bad in ["$2b$31$", "$2b$05$short", "$2x$05$", "!"] {
            assert_eq!(super::bcrypt_cost(bad), None, "{bad}");
        }
        let costs = |cost: &str| super::bcrypt_cost(&taken_over("$2b$").replacen("$05$", cost, 1));
        assert_eq!((costs("$12$"), costs("$13$")), (Some(12), None));
        // Others of that tenant are judged by their own hash.
        let ours = passwords.hash(Secret::new("correct horse")).await.unwrap();
        let verdict = passwords
            .verify(Some(ours), Secret::new("correct horse"), Some(5))
            .await;
        assert_eq!(verdict, Ok(Verdict::Right { outdated: false }));
        assert_eq!(
            passwords.verify(None, Secret::new("correct horse"), Some(5)).await,
            Ok(Verdict::Wrong)
        );
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
