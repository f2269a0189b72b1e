//! Signed image addresses: HMAC-SHA256 under a tenant's key over the raw path and query without `,sig=..`, in lower-case
//! hexadecimal.
//!
//! The key is text, and its bytes are the HMAC's key, so that any language and `openssl dgst -hmac` make the same.

use std::fmt;

use hmac::{Hmac, Mac};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::{cache_key::hex, secret::Secret};

/// Fewest bytes of a key.
pub const MIN_KEY_BYTES: usize = 32;
/// Most bytes of a key: one block of SHA-256.
const BLOCK_BYTES: usize = 64;
/// What every signed address begins with.
pub const PREFIX: &str = "/img/";

/// A key that a tenant's addresses are signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct AddressKey(Secret);

impl AddressKey {
    /// A key of 32 to 64 printable ASCII characters; `None` where it is something else.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let right =
            (MIN_KEY_BYTES..=BLOCK_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        right.then(|| Self(Secret::new(text)))
    }

    /// The key itself, for who signs with it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// The signature of a message.
    #[must_use]
    pub fn sign(&self, message: &str) -> String {
        // HMAC pads a key to one block; one of exactly a block cannot be refused.
        let mut block = [0; BLOCK_BYTES];
        block
            .iter_mut()
            .zip(self.expose().bytes())
            .for_each(|(to, from)| *to = from);
        let mut mac = <Hmac<Sha256> as hmac::digest::KeyInit>::new(&block.into());
        mac.update(message.as_bytes());
        hex(&mac.finalize().into_bytes())
    }
}

impl fmt::Debug for AddressKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl Serialize for AddressKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}

impl<'de> Deserialize<'de> for AddressKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).ok_or_else(|| serde::de::Error::custom("a key has 32 to 64 printable characters"))
    }
}

/// Whether one of these keys made a signature. Takes the same time whatever the signature is, and whichever key it was.
#[must_use]
pub fn verify(keys: &[AddressKey], message: &str, signature: &str) -> bool {
    let one = |key: &AddressKey| key.sign(message).as_bytes().ct_eq(signature.as_bytes());
    keys.iter()
        .fold(subtle::Choice::from(0), |found, key| found | one(key))
        .into()
}

/// Why an address is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// 403.
    BadSignature,
    /// 410: the signature is right, and its time is over.
    Expired,
}

/// Judges a signed address: the signature first, so that nobody learns anything of an address by changing its time.
///
/// # Errors
/// [`Refused`].
pub fn judge(
    keys: &[AddressKey],
    message: &str,
    signature: &str,
    expires: Option<u64>,
    now: u64,
) -> Result<(), Refused> {
    if !verify(keys, message, signature) {
        return Err(Refused::BadSignature);
    }
    if expires.is_some_and(|expires| expires <= now) {
        return Err(Refused::Expired);
    }
    Ok(())
}

/// Why an address cannot be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnsignableError {
    /// Something else than an image address.
    #[error("an image address is /img/<options>/<source>, with or without https://<host> in front")]
    NoImage,
    /// It has `exp` or `sig` already.
    #[error("the address has exp or sig already")]
    Signed,
}

/// Signs an image address, with or without scheme and host in front; a fragment is dropped.
///
/// # Errors
/// [`UnsignableError`].
pub fn sign_address(address: &str, key: &AddressKey, expires: Option<u64>) -> Result<String, UnsignableError> {
    let start = match address.split_once("://") {
        Some((scheme, rest)) if matches!(scheme, "http" | "https") => {
            let host = rest.find('/').ok_or(UnsignableError::NoImage)?;
            scheme.len() + "://".len() + host
        }
        _ => 0,
    };
    let (front, path) = address.split_at_checked(start).ok_or(UnsignableError::NoImage)?;
    let path = path.split('#').next().unwrap_or_default();
    let (options, source) = path
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.split_once('/'))
        .ok_or(UnsignableError::NoImage)?;
    if options
        .split(',')
        .any(|part| part.starts_with("exp=") || part.starts_with("sig="))
    {
        return Err(UnsignableError::Signed);
    }
    let mut options = options.to_owned();
    let add = |options: &mut String, part: String| {
        if !options.is_empty() {
            options.push(',');
        }
        options.push_str(&part);
    };
    if let Some(expires) = expires {
        add(&mut options, format!("exp={expires}"));
    }
    let signature = key.sign(&format!("{PREFIX}{options}/{source}"));
    add(&mut options, format!("sig={signature}"));
    Ok(format!("{front}{PREFIX}{options}/{source}"))
}

#[cfg(test)]
mod tests {
    use super::{AddressKey, Refused, UnsignableError, judge, sign_address, verify};
    use proptest::prelude::{any, prop_assert, proptest};

    fn key(letter: char) -> AddressKey {
        AddressKey::new(&letter.to_string().repeat(32)).unwrap()
    }

    #[test]
    fn openssl_makes_the_same_signature() {
        // printf %s "/img/w=400/u/1" | openssl dgst -sha256 -hmac kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk
        assert_eq!(
            key('k').sign("/img/w=400/u/1"),
            "6e71ea1d2dd3c3e201a52c66dc3d87facb41ddc33642eaefd583946756543b95"
        );
    }

    #[test]
    fn any_active_key_verifies_and_no_other() {
        let signature = key('b').sign("message");
        assert!(verify(&[key('a'), key('b')], "message", &signature));
        assert!(!verify(&[key('a')], "message", &signature));
        assert!(!verify(&[], "message", &signature));
        for wrong in [
            "",
            "00",
            &signature.to_uppercase(),
            &signature[1..],
            &format!("{signature}0"),
        ] {
            assert!(!verify(&[key('b')], "message", wrong), "{wrong}");
        }
        assert!(!verify(&[key('b')], "message2", &signature));
    }

    #[test]
    fn the_signature_is_judged_before_the_time() {
        let (keys, right) = ([key('a')], key('a').sign("m"));
        assert_eq!(judge(&keys, "m", &right, Some(11), 10), Ok(()));
        assert_eq!(judge(&keys, "m", &right, None, 10), Ok(()));
        assert_eq!(judge(&keys, "m", &right, Some(10), 10), Err(Refused::Expired));
        assert_eq!(judge(&keys, "m", "x", Some(9), 10), Err(Refused::BadSignature));
    }

    #[test]
    fn addresses_are_signed_as_they_will_be_sent() {
        let signed = sign_address("/img/w=400/https://a.example/b?c=%20#d", &key('a'), Some(99)).unwrap();
        let message = "/img/w=400,exp=99/https://a.example/b?c=%20";
        let expected = format!(
            "/img/w=400,exp=99,sig={}/https://a.example/b?c=%20",
            key('a').sign(message)
        );
        assert_eq!(signed, expected);
        let absolute = sign_address("https://shop.example/img//u/1", &key('a'), None).unwrap();
        assert_eq!(
            absolute,
            format!("https://shop.example/img/sig={}/u/1", key('a').sign("/img//u/1"))
        );
        for bad in ["", "/w=1/a", "/img/w=1", "https://a.example", "ftp://a/img/w=1/b"] {
            assert_eq!(
                sign_address(bad, &key('a'), None),
                Err(UnsignableError::NoImage),
                "{bad}"
            );
        }
        assert_eq!(
            sign_address("/img/w=1,exp=1/a", &key('a'), None),
            Err(UnsignableError::Signed)
        );
    }

    #[test]
    fn a_weak_key_is_none_and_a_key_never_prints() {
        assert_eq!(AddressKey::new(&"k".repeat(31)), None);
        assert_eq!(AddressKey::new(&"k".repeat(65)), None);
        assert_eq!(AddressKey::new(&"ä".repeat(32)), None);
        assert_eq!(format!("{:?}", key('k')), "[secret]");
    }

    proptest! {
        #[test]
        fn no_other_message_or_signature_counts(message in any::<String>(), other in any::<String>(), signature in any::<String>()) {
            let right = key('a').sign(&message);
            prop_assert!(verify(&[key('a')], &message, &right));
            prop_assert!(message == other || !verify(&[key('a')], &other, &right));
            prop_assert!(signature == right || !verify(&[key('a')], &message, &signature));
            let _ = sign_address(&other, &key('a'), None);
        }
    }
}
