//! The password that somebody else gives a user: the first one, or one in place of a lost one.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use kado_shared::secret::Secret;

use super::password::{HashError, check_length, hash_now};
use crate::entropy::Entropy;

/// A password that was given, or drawn here.
#[derive(Debug)]
pub(crate) struct FirstPassword {
    pub(crate) secret: Secret,
    /// Whether it was drawn, and so has to be shown, once.
    pub(crate) random: bool,
    salt: [u8; 16],
}

impl FirstPassword {
    /// Takes the given one, or draws 18 random bytes as 24 characters.
    ///
    /// # Errors
    /// What would be right.
    pub(crate) fn choose(given: Option<String>, entropy: &dyn Entropy) -> Result<Self, String> {
        let salt = entropy.bytes();
        if let Some(password) = given {
            check_length(&password)?;
            return Ok(Self {
                secret: Secret::new(password),
                random: false,
                salt,
            });
        }
        Ok(Self {
            secret: Secret::new(URL_SAFE_NO_PAD.encode(entropy.bytes::<18>())),
            random: true,
            salt,
        })
    }

    /// Its hash, made on this thread: for commands.
    pub(crate) fn hash_now(&self) -> Result<String, HashError> {
        hash_now(self.secret.expose().as_bytes(), &self.salt)
    }

    /// What is to be shown, where it was drawn.
    pub(crate) fn drawn(&self) -> Option<String> {
        self.random.then(|| self.secret.expose().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::FirstPassword;
    use crate::entropy::testing::CountingEntropy;

    #[test]
    fn one_is_given_or_drawn() {
        let entropy = CountingEntropy::default();
        let given = FirstPassword::choose(Some("long enough".into()), &entropy).unwrap();
        assert!(given.drawn().is_none() && given.secret.expose() == "long enough");
        let drawn = FirstPassword::choose(None, &entropy).unwrap();
        assert!(drawn.drawn().is_some_and(|text| text.len() == 24));
        assert!(FirstPassword::choose(Some("short".into()), &entropy).is_err());
    }
}
