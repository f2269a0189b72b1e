//! Secrets at rest: XChaCha20-Poly1305 under a key that HKDF-SHA256 derives from `JWT_SECRET` for one purpose.
//!
//! Form: `v1.<kid>.<nonce>.<ciphertext>`, the last two base64url. `kid` names the secret that sealed, without telling
//! anything of it. The associated data binds a value to its table, column, tenant and row: moved elsewhere, it does not
//! open.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use hkdf::Hkdf;
use kado_shared::{secret::Secret, tenant::TenantId};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{entropy::Entropy, hex};

/// Fewest bytes of a secret that may seal.
pub(crate) const MIN_SECRET_BYTES: usize = 32;

/// What a key is for; each purpose has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Purpose(&'static str);

impl Purpose {
    /// Private keys in `signing_keys`.
    pub(crate) const SIGNING_KEYS: Self = Self("signing-keys");
    /// Secrets among the settings.
    pub(crate) const SETTINGS: Self = Self("settings");
    /// Keys of signed image addresses, in `address_keys`.
    pub(crate) const ADDRESS_KEYS: Self = Self("address-keys");
}

/// Where a sealed value lives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) table: &'a str,
    pub(crate) column: &'a str,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) id: &'a str,
}

impl Place<'_> {
    /// Each field with its length in front, so that no two places share their bytes.
    fn associated_data(&self) -> Vec<u8> {
        let tenant = self.tenant.map(|tenant| tenant.to_string()).unwrap_or_default();
        let mut data = Vec::new();
        for field in [self.table, self.column, &tenant, self.id] {
            data.extend_from_slice(&(field.len() as u64).to_be_bytes());
            data.extend_from_slice(field.as_bytes());
        }
        data
    }
}

/// Why a value cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OpenError {
    /// Not of the form above.
    #[error("the sealed value is malformed")]
    Malformed,
    /// The secret that sealed it is no longer listed.
    #[error(
        "it was sealed by a JWT_SECRET that is no longer listed (key {0}): put that secret back at the end of the list, then run `kado keys reseal`"
    )]
    SecretMissing(String),
    /// Changed, or moved from another place.
    #[error("the sealed value was changed or moved")]
    Wrong,
}

/// Seals and opens values of one purpose.
pub(crate) struct Sealer {
    keys: Vec<(String, XChaCha20Poly1305)>,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer")
            .field("keys", &self.keys.iter().map(|(kid, _)| kid).collect::<Vec<_>>())
            .finish()
    }
}

impl Sealer {
    /// Derives one key per listed secret; the first seals, all open. An empty list opens nothing.
    pub(crate) fn new(secrets: &Secret, purpose: Purpose) -> Self {
        let keys = secrets.list().iter().map(|secret| derive(secret, purpose)).collect();
        Self { keys }
    }

    /// Seals a value for a place; `None` only where no secret is listed.
    pub(crate) fn seal(&self, plain: &[u8], place: Place<'_>, entropy: &dyn Entropy) -> Option<String> {
        let (kid, cipher) = self.keys.first()?;
        let nonce: [u8; 24] = entropy.bytes();
        let payload = Payload {
            msg: plain,
            aad: &place.associated_data(),
        };
        let sealed = cipher.encrypt(&XNonce::from(nonce), payload).ok()?;
        Some(format!(
            "v1.{kid}.{}.{}",
            URL_SAFE_NO_PAD.encode(nonce),
            URL_SAFE_NO_PAD.encode(sealed)
        ))
    }

    /// Opens a value that was sealed for this place.
    pub(crate) fn open(&self, sealed: &str, place: Place<'_>) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let mut parts = sealed.split('.');
        let (Some("v1"), Some(kid), Some(nonce), Some(text), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(OpenError::Malformed);
        };
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| OpenError::Malformed);
        let nonce: [u8; 24] = decode(nonce)?.try_into().map_err(|_| OpenError::Malformed)?;
        let text = decode(text)?;
        let (_, cipher) = self.keys.iter().find(|(known, _)| known == kid).ok_or_else(|| {
            OpenError::SecretMissing(kid.chars().filter(char::is_ascii_alphanumeric).take(16).collect())
        })?;
        let payload = Payload {
            msg: &text,
            aad: &place.associated_data(),
        };
        cipher
            .decrypt(&XNonce::from(nonce), payload)
            .map(Zeroizing::new)
            .map_err(|_| OpenError::Wrong)
    }
}

/// The key of a purpose and its public name. Both come out of one-way expansions with different labels.
fn derive(secret: &Secret, purpose: Purpose) -> (String, XChaCha20Poly1305) {
    let extract = Hkdf::<Sha256>::new(None, secret.expose().as_bytes());
    let mut key = Zeroizing::new([0; 32]);
    let mut name = [0; 6];
    let expanded = extract
        .expand(format!("kado/{}/v1", purpose.0).as_bytes(), key.as_mut())
        .and_then(|()| extract.expand(format!("kado/{}/v1/kid", purpose.0).as_bytes(), &mut name));
    debug_assert!(expanded.is_ok(), "32 bytes are far under HKDF's bound");
    (hex::encode(&name), XChaCha20Poly1305::new((&*key).into()))
}

#[cfg(test)]
mod tests {
    use super::{OpenError, Place, Purpose, Sealer};
    use crate::entropy::testing::CountingEntropy;
    use kado_shared::{secret::Secret, tenant::TenantId};
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
    use uuid::Uuid;

    const NEW: &str = "new-secret-new-secret-new-secret-32";
    const OLD: &str = "old-secret-old-secret-old-secret-32";
    const PLACE: Place<'static> = Place {
        table: "signing_keys",
        column: "sealed_private_key",
        tenant: None,
        id: "k1",
    };

    fn sealer(list: &str) -> Sealer {
        Sealer::new(&Secret::new(list), Purpose::SIGNING_KEYS)
    }

    fn sealed(by: &Sealer) -> String {
        by.seal(b"plain", PLACE, &CountingEntropy::default()).unwrap()
    }

    #[test]
    fn what_was_sealed_opens_in_its_place_only() {
        let sealer = sealer(NEW);
        let sealed = sealed(&sealer);
        assert!(sealed.starts_with("v1."));
        assert_eq!(sealer.open(&sealed, PLACE).unwrap().as_slice(), b"plain");
        for other in [
            Place {
                table: "settings",
                ..PLACE
            },
            Place {
                column: "other",
                ..PLACE
            },
            Place {
                tenant: Some(TenantId(Uuid::nil())),
                ..PLACE
            },
            Place { id: "k2", ..PLACE },
        ] {
            assert_eq!(sealer.open(&sealed, other), Err(OpenError::Wrong), "{other:?}");
        }
        let other_purpose = Sealer::new(&Secret::new(NEW), Purpose("other"));
        assert!(matches!(
            other_purpose.open(&sealed, PLACE),
            Err(OpenError::SecretMissing(_))
        ));
    }

    #[test]
    fn the_first_secret_seals_and_all_open() {
        let by_old = sealed(&sealer(OLD));
        let both = sealer(&format!("{NEW},{OLD}"));
        assert!(both.open(&by_old, PLACE).is_ok());
        assert!(sealer(NEW).open(&sealed(&both), PLACE).is_ok());
    }

    #[test]
    fn a_dropped_secret_names_the_way_out() {
        let error = sealer(NEW).open(&sealed(&sealer(OLD)), PLACE).unwrap_err();
        assert!(error.to_string().contains("kado keys reseal"), "{error}");
    }

    #[test]
    fn without_a_secret_nothing_is_sealed() {
        assert_eq!(sealer("").seal(b"plain", PLACE, &CountingEntropy::default()), None);
    }

    proptest! {
        #[test]
        fn no_text_panics_and_no_change_opens(text in any::<String>(), at in any::<proptest::sample::Index>(), to in any::<u8>()) {
            let sealer = sealer(NEW);
            prop_assert!(sealer.open(&text, PLACE).is_err());
            let sealed = sealed(&sealer);
            let mut changed = sealed.clone().into_bytes();
            let at = at.index(changed.len());
            changed[at] = to;
            if let Ok(changed) = String::from_utf8(changed) && let Ok(plain) = sealer.open(&changed, PLACE) {
                    prop_assert_eq!(plain.as_slice(), b"plain");
                    prop_assert_eq!(changed, sealed);
            }
        }
    }
}
