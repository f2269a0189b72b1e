//! Signature of a request from the edge to the origin.
//!
//! Header `Kado-Edge: v1;t=<unix seconds>;n=<nonce>;mac=<base64url>`. The MAC is HMAC-SHA256 under a key that HKDF
//! derives from `EDGE_SECRET` for one purpose: a signature for a forwarded request never opens `/internal`. Every field
//! enters the MAC with its length in front, so no two requests share a message.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::collections::{HashMap, VecDeque};

use crate::secret::Secret;

/// How far the two clocks may be apart, in seconds.
pub const MAX_SKEW: u64 = 30;
/// Fewest bytes of a secret that may sign.
pub const MIN_SECRET_BYTES: usize = 32;

/// What a signature is for; each purpose has a key of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A client's request that the edge passes on.
    Forward,
    /// A request of the edge itself to `/internal`.
    Internal,
}

impl Purpose {
    const fn info(self) -> &'static [u8] {
        match self {
            Self::Forward => b"kado/edge-forward/v1",
            Self::Internal => b"kado/edge-internal/v1",
        }
    }
}

/// What the signature covers, besides time and nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts<'a> {
    /// Request method, upper-case.
    pub method: &'a str,
    /// Path and query exactly as sent.
    pub path_and_query: &'a str,
    /// Tenant the request speaks for; empty where it speaks for none.
    pub tenant: &'a str,
    /// Client address; empty where there is no client.
    pub client_ip: &'a str,
    /// Request identifier.
    pub request_id: &'a str,
    /// SHA-256 of the body: always for [`Purpose::Internal`], never for a streamed forward.
    pub body_sha256: Option<[u8; 32]>,
}

/// Why a signature does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// No header, or not of the form above.
    #[error("the edge signature is missing or malformed")]
    Malformed,
    /// Signed too long ago, or in the future.
    #[error("the edge signature is older than {MAX_SKEW} s, or the clocks differ")]
    Stale,
    /// No key of ours made it.
    #[error("the edge signature is wrong")]
    Wrong,
    /// The nonce was seen before.
    #[error("the edge signature was used before")]
    Replayed,
}

/// Why a list of secrets cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("EDGE_SECRET needs at least one secret of {MIN_SECRET_BYTES} bytes, and none shorter")]
pub struct WeakSecret;

/// The keys of one purpose, in order: the first signs, all verify.
#[derive(Clone)]
pub struct EdgeKeys {
    keys: Vec<[u8; 64]>,
}

impl std::fmt::Debug for EdgeKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EdgeKeys({} keys)", self.keys.len())
    }
}

impl EdgeKeys {
    /// Derives the keys of a purpose from an ordered, comma-separated list of secrets.
    ///
    /// # Errors
    /// [`WeakSecret`] where the list is empty or one of its secrets is short.
    pub fn from_secret_list(list: &Secret, purpose: Purpose) -> Result<Self, WeakSecret> {
        let secrets = list.list();
        if secrets.is_empty() || secrets.iter().any(|secret| secret.expose().len() < MIN_SECRET_BYTES) {
            return Err(WeakSecret);
        }
        let derive = |secret: &Secret| {
            let mut key = [0; 64];
            // One block of SHA-256, far under the bound of 255 outputs that HKDF has.
            Hkdf::<Sha256>::new(None, secret.expose().as_bytes())
                .expand(purpose.info(), &mut key)
                .map(|()| key)
        };
        secrets
            .iter()
            .map(derive)
            .collect::<Result<_, _>>()
            .map(|keys| Self { keys })
            .map_err(|_| WeakSecret)
    }

    /// The header's value for a request. The nonce is 16 random bytes, new for every attempt.
    #[must_use]
    pub fn sign(&self, parts: &Parts<'_>, now: u64, nonce: [u8; 16]) -> String {
        let nonce = URL_SAFE_NO_PAD.encode(nonce);
        let mac = self
            .keys
            .first()
            .map(|key| URL_SAFE_NO_PAD.encode(mac(key, parts, now, &nonce).finalize().into_bytes()))
            .unwrap_or_default();
        format!("v1;t={now};n={nonce};mac={mac}")
    }

    /// Checks a header and gives back its nonce, which the caller must remember (see [`NonceMemory`]).
    ///
    /// # Errors
    /// Why the signature does not count.
    pub fn verify<'h>(&self, parts: &Parts<'_>, header: &'h str, now: u64) -> Result<&'h str, SignatureError> {
        let mut fields = header.split(';');
        let mut field = |prefix: &str| {
            fields
                .next()
                .and_then(|field| field.strip_prefix(prefix))
                .ok_or(SignatureError::Malformed)
        };
        field("v1")?;
        let (time, nonce, given) = (field("t=")?, field("n=")?, field("mac=")?);
        if fields.next().is_some() || nonce.len() != 22 {
            return Err(SignatureError::Malformed);
        }
        let time: u64 = time.parse().map_err(|_| SignatureError::Malformed)?;
        let given = URL_SAFE_NO_PAD.decode(given).map_err(|_| SignatureError::Malformed)?;
        if now.abs_diff(time) > MAX_SKEW {
            return Err(SignatureError::Stale);
        }
        let right = self
            .keys
            .iter()
            .any(|key| mac(key, parts, time, nonce).verify_slice(&given).is_ok());
        if right { Ok(nonce) } else { Err(SignatureError::Wrong) }
    }
}

fn mac(key: &[u8; 64], parts: &Parts<'_>, time: u64, nonce: &str) -> Hmac<Sha256> {
    // A key of exactly one block cannot be refused.
    let mut mac = <Hmac<Sha256> as hmac::digest::KeyInit>::new(key.into());
    let time = time.to_string();
    let body: &[u8] = parts.body_sha256.as_ref().map_or(&[], |hash| hash);
    for field in [
        b"kado-edge-v1".as_slice(),
        parts.method.as_bytes(),
        parts.path_and_query.as_bytes(),
        parts.tenant.as_bytes(),
        parts.client_ip.as_bytes(),
        parts.request_id.as_bytes(),
        time.as_bytes(),
        nonce.as_bytes(),
        body,
    ] {
        mac.update(&(field.len() as u64).to_be_bytes());
        mac.update(field);
    }
    mac
}

/// Nonces seen within twice the allowed skew, so that no signature counts twice.
#[derive(Debug, Default)]
pub struct NonceMemory {
    seen: HashMap<String, u64>,
    order: VecDeque<(u64, String)>,
}

impl NonceMemory {
    /// Remembers a nonce.
    ///
    /// # Errors
    /// [`SignatureError::Replayed`] if it was seen before.
    pub fn remember(&mut self, nonce: &str, now: u64) -> Result<(), SignatureError> {
        while let Some((time, _)) = self.order.front() {
            if now.saturating_sub(*time) <= 2 * MAX_SKEW {
                break;
            }
            if let Some((_, old)) = self.order.pop_front() {
                self.seen.remove(&old);
            }
        }
        if self.seen.contains_key(nonce) {
            return Err(SignatureError::Replayed);
        }
        self.seen.insert(nonce.to_owned(), now);
        self.order.push_back((now, nonce.to_owned()));
        Ok(())
    }

    /// How many nonces are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether none is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::{EdgeKeys, MAX_SKEW, NonceMemory, Parts, Purpose, SignatureError};
    use crate::secret::Secret;

    const NOW: u64 = 1_800_000_000;

    fn parts() -> Parts<'static> {
        Parts {
            method: "POST",
            path_and_query: "/api/images?x=1",
            tenant: "6f1c1b9e-7c0a-4d8e-9d51-0b8f5a1f2e3d",
            client_ip: "203.0.113.9",
            request_id: "0123456789abcdef",
            body_sha256: None,
        }
    }

    fn keys(list: &str, purpose: Purpose) -> EdgeKeys {
        EdgeKeys::from_secret_list(&Secret::new(list), purpose).unwrap()
    }

    const NEW: &str = "new-secret-new-secret-new-secret-32";
    const OLD: &str = "old-secret-old-secret-old-secret-32";

    #[test]
    fn a_signature_counts_for_its_request_only() {
        let keys = keys(NEW, Purpose::Forward);
        let header = keys.sign(&parts(), NOW, [7; 16]);
        assert!(keys.verify(&parts(), &header, NOW + MAX_SKEW).is_ok());
        let others = [
            Parts {
                method: "GET",
                ..parts()
            },
            Parts {
                path_and_query: "/api/images?x=2",
                ..parts()
            },
            Parts { tenant: "", ..parts() },
            Parts {
                client_ip: "203.0.113.8",
                ..parts()
            },
            Parts {
                request_id: "0123456789abcdee",
                ..parts()
            },
            Parts {
                body_sha256: Some([0; 32]),
                ..parts()
            },
            Parts {
                tenant: "6f1c1b9e-7c0a-4d8e-9d51-0b8f5a1f2e3d2",
                client_ip: "03.0.113.9",
                ..parts()
            },
        ];
        for other in others {
            assert_eq!(
                keys.verify(&other, &header, NOW),
                Err(SignatureError::Wrong),
                "{other:?}"
            );
        }
    }

    #[test]
    fn a_forwarding_signature_does_not_open_internal() {
        let header = keys(NEW, Purpose::Forward).sign(&parts(), NOW, [7; 16]);
        assert_eq!(
            keys(NEW, Purpose::Internal).verify(&parts(), &header, NOW),
            Err(SignatureError::Wrong)
        );
    }

    #[test]
    fn the_first_secret_signs_and_all_verify() {
        let both = keys(&format!("{NEW},{OLD}"), Purpose::Forward);
        let by_old = keys(OLD, Purpose::Forward).sign(&parts(), NOW, [1; 16]);
        assert!(both.verify(&parts(), &by_old, NOW).is_ok());
        let by_both = both.sign(&parts(), NOW, [1; 16]);
        assert!(keys(NEW, Purpose::Forward).verify(&parts(), &by_both, NOW).is_ok());
        assert_eq!(
            keys(OLD, Purpose::Forward).verify(&parts(), &by_both, NOW),
            Err(SignatureError::Wrong)
        );
    }

    #[test]
    fn stale_and_malformed_headers_are_refused() {
        let keys = keys(NEW, Purpose::Forward);
        let header = keys.sign(&parts(), NOW, [7; 16]);
        assert_eq!(
            keys.verify(&parts(), &header, NOW + MAX_SKEW + 1),
            Err(SignatureError::Stale)
        );
        assert_eq!(
            keys.verify(&parts(), &header, NOW - MAX_SKEW - 1),
            Err(SignatureError::Stale)
        );
        for bad in [
            "",
            "v1",
            "v2;t=1;n=a;mac=b",
            &format!("{header};x=1"),
            "v1;t=x;n=BwcHBwcHBwcHBwcHBwcHBw;mac=",
            "v1;t=-1;n=BwcHBwcHBwcHBwcHBwcHBw;mac=AA",
        ] {
            assert_eq!(keys.verify(&parts(), bad, NOW), Err(SignatureError::Malformed), "{bad}");
        }
    }

    #[test]
    fn short_secrets_are_refused() {
        for list in ["", "short", &format!("{NEW},short")] {
            assert!(
                EdgeKeys::from_secret_list(&Secret::new(list), Purpose::Forward).is_err(),
                "{list}"
            );
        }
    }

    #[test]
    fn a_nonce_counts_once_and_is_forgotten_in_the_end() {
        let mut memory = NonceMemory::default();
        assert!(memory.remember("a", NOW).is_ok());
        assert_eq!(memory.remember("a", NOW + 2 * MAX_SKEW), Err(SignatureError::Replayed));
        assert!(memory.remember("b", NOW + 2 * MAX_SKEW + 1).is_ok());
        assert_eq!(memory.len(), 1);
    }
}
