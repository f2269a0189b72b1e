//! Access tokens: Ed25519 JWTs (RFC 9068-shaped, RFC 8725 in their checks), signed at the origin, verified on both sides.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use ed25519_dalek::VerifyingKey;
use jwt_compact::{AlgorithmExt, Claims, Header, UntrustedToken, alg::Ed25519};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::tenant::TenantId;

pub use ed25519_dalek::SigningKey;

/// `aud` of every token.
pub const AUDIENCE: &str = "kado";
/// `typ` of every token (RFC 9068).
pub const TOKEN_TYPE: &str = "at+jwt";
/// Clock difference that is forgiven, in seconds.
pub const LEEWAY: u64 = 5;
/// Longest token that is looked at, in bytes.
pub const MAX_TOKEN_BYTES: usize = 4096;
/// Longest key identifier that is looked up.
pub const MAX_KID_BYTES: usize = 64;

/// What a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Role {
    /// Signs in and uses the service within the default quotas.
    User,
    /// As a user, with larger quotas.
    Premium,
    /// Administers the tenant.
    Admin,
}

/// Claims of an access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessClaims {
    /// Issuer: the site's public URL.
    pub iss: String,
    /// The user.
    pub sub: Uuid,
    /// The session.
    pub sid: Uuid,
    /// Rotation counter of the session, from 0.
    pub generation: u32,
    /// Revocation epoch that was current when the token was issued.
    pub epoch: u64,
    /// The user's role.
    pub role: Role,
    /// The tenant it is good for.
    pub tenant: TenantId,
    /// Issued at, Unix seconds.
    pub iat: u64,
    /// Expires at, Unix seconds.
    pub exp: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct CustomClaims {
    iss: String,
    aud: String,
    sub: Uuid,
    sid: Uuid,
    #[serde(rename = "gen")]
    generation: u32,
    ep: u64,
    role: Role,
    tenant: TenantId,
}

/// Header parameters that would let a token choose its own key, or demand what we do not know.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Refused {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jwk: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    x5c: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crit: Option<serde_json::Value>,
}

/// Why a token does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a compact JWS of a sane size with the header we issue.
    #[error("the token is malformed")]
    Malformed,
    /// Signed with another algorithm than the key's.
    #[error("the token's algorithm is not accepted")]
    Algorithm,
    /// No key of ours has this identifier.
    #[error("the token's key is unknown")]
    UnknownKey,
    /// The signature is wrong.
    #[error("the token's signature is wrong")]
    Signature,
    /// Issued by or for somebody else.
    #[error("the token was issued for another site")]
    Foreign,
    /// Expired.
    #[error("the token has expired")]
    Expired,
    /// Issued in the future.
    #[error("the token is not valid yet")]
    NotYetValid,
}

/// Signs claims.
///
/// # Errors
/// [`TokenError::Malformed`] where the times lie outside what a JWT can say.
pub fn sign(claims: &AccessClaims, kid: &str, key: &SigningKey) -> Result<String, TokenError> {
    let mut body = Claims::new(CustomClaims {
        iss: claims.iss.clone(),
        aud: AUDIENCE.to_owned(),
        sub: claims.sub,
        sid: claims.sid,
        generation: claims.generation,
        ep: claims.epoch,
        role: claims.role,
        tenant: claims.tenant,
    });
    body.issued_at = Some(moment(claims.iat).ok_or(TokenError::Malformed)?);
    body.expiration = Some(moment(claims.exp).ok_or(TokenError::Malformed)?);
    let header = Header::empty().with_key_id(kid).with_token_type(TOKEN_TYPE);
    Ed25519::with_specific_name()
        .token(&header, &body, key)
        .map_err(|_| TokenError::Malformed)
}

fn moment(unix: u64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(i64::try_from(unix).ok()?, 0)
}

/// Whether the expiry counts: `rotate` takes an expired token, nothing else does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// An expired token is refused.
    Required,
    /// Only the signature and the claims' other checks count.
    Ignored,
}

/// A public signing key as JWK (RFC 8037).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwk {
    /// Key type, `OKP`.
    pub kty: String,
    /// Curve, `Ed25519`.
    pub crv: String,
    /// Key identifier.
    pub kid: String,
    /// Public key, base64url.
    pub x: String,
    /// The one algorithm it is for, `Ed25519`.
    pub alg: String,
    /// What it is for, `sig`.
    #[serde(rename = "use")]
    pub usage: String,
}

impl Jwk {
    /// The JWK of a public key.
    #[must_use]
    pub fn new(kid: &str, public: &[u8; 32]) -> Self {
        Self {
            kty: "OKP".to_owned(),
            crv: "Ed25519".to_owned(),
            kid: kid.to_owned(),
            x: URL_SAFE_NO_PAD.encode(public),
            alg: "Ed25519".to_owned(),
            usage: "sig".to_owned(),
        }
    }

    fn verifying_key(&self) -> Option<VerifyingKey> {
        if self.kty != "OKP" || self.crv != "Ed25519" || self.alg != "Ed25519" {
            return None;
        }
        let bytes: [u8; 32] = URL_SAFE_NO_PAD.decode(&self.x).ok()?.try_into().ok()?;
        VerifyingKey::from_bytes(&bytes).ok()
    }
}

/// A set of public keys, as `/.well-known/jwks.json` answers it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwks {
    /// The keys.
    pub keys: Vec<Jwk>,
}

/// Verifies tokens against the keys of one issuer.
#[derive(Clone, Debug)]
pub struct Verifier {
    keys: Vec<(String, VerifyingKey)>,
    issuer: String,
}

impl Verifier {
    /// A verifier; a key that is not Ed25519 for `Ed25519` is left out.
    #[must_use]
    pub fn new(keys: &[Jwk], issuer: impl Into<String>) -> Self {
        let keys = keys
            .iter()
            .filter_map(|key| Some((key.kid.clone(), key.verifying_key()?)))
            .collect();
        Self {
            keys,
            issuer: issuer.into(),
        }
    }

    /// The key identifier a token names, if it is one that may be looked up.
    #[must_use]
    pub fn key_id(token: &str) -> Option<String> {
        parse(token)
            .ok()?
            .header()
            .key_id
            .clone()
            .filter(|kid| kid.len() <= MAX_KID_BYTES)
    }

    /// Checks form, algorithm, key, signature, issuer, audience and times. Tenant, epoch and session are the caller's.
    ///
    /// # Errors
    /// Why the token does not count.
    pub fn verify(&self, token: &str, now: u64, expiry: Expiry) -> Result<AccessClaims, TokenError> {
        let token = parse(token)?;
        if token.algorithm() != "Ed25519" {
            return Err(TokenError::Algorithm);
        }
        let header = token.header();
        let chooses_its_key = header.key_set_url.is_some()
            || header.certificate_url.is_some()
            || header.other_fields.jwk.is_some()
            || header.other_fields.x5c.is_some()
            || header.other_fields.crit.is_some();
        if chooses_its_key || header.token_type.as_deref() != Some(TOKEN_TYPE) {
            return Err(TokenError::Malformed);
        }
        let kid = header
            .key_id
            .as_deref()
            .filter(|kid| kid.len() <= MAX_KID_BYTES)
            .ok_or(TokenError::UnknownKey)?;
        let (_, key) = self
            .keys
            .iter()
            .find(|(known, _)| known == kid)
            .ok_or(TokenError::UnknownKey)?;
        let verified = Ed25519::with_specific_name()
            .validator::<CustomClaims>(key)
            .validate(&token)
            .map_err(|_| TokenError::Signature)?;
        let claims = verified.claims();
        let seconds = |time: Option<DateTime<Utc>>| {
            time.and_then(|time| u64::try_from(time.timestamp()).ok())
                .ok_or(TokenError::Malformed)
        };
        let (iat, exp) = (seconds(claims.issued_at)?, seconds(claims.expiration)?);
        let starts = claims.not_before.map_or(Ok(iat), |time| seconds(Some(time)))?.max(iat);
        let custom = &claims.custom;
        if custom.iss != self.issuer || custom.aud != AUDIENCE {
            return Err(TokenError::Foreign);
        }
        if starts > now.saturating_add(LEEWAY) {
            return Err(TokenError::NotYetValid);
        }
        if expiry == Expiry::Required && now >= exp.saturating_add(LEEWAY) {
            return Err(TokenError::Expired);
        }
        Ok(AccessClaims {
            iss: custom.iss.clone(),
            sub: custom.sub,
            sid: custom.sid,
            generation: custom.generation,
            epoch: custom.ep,
            role: custom.role,
            tenant: custom.tenant,
            iat,
            exp,
        })
    }
}

fn parse(token: &str) -> Result<UntrustedToken<'_, Refused>, TokenError> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(TokenError::Malformed);
    }
    UntrustedToken::try_from(token).map_err(|_| TokenError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::{AccessClaims, Expiry, Jwk, Role, SigningKey, TokenError, Verifier, sign};
    use crate::tenant::TenantId;
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use ed25519_dalek::Signer;
    use hmac::Mac;
    use proptest::prelude::{any, prop_assert, proptest};
    use uuid::Uuid;

    const NOW: u64 = 1_800_000_000;
    const ISSUER: &str = "https://kado.example";

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[9; 32])
    }

    fn verifier() -> Verifier {
        Verifier::new(&[Jwk::new("k1", key().verifying_key().as_bytes())], ISSUER)
    }

    fn claims() -> AccessClaims {
        AccessClaims {
            iss: ISSUER.into(),
            sub: Uuid::from_u128(1),
            sid: Uuid::from_u128(2),
            generation: 3,
            epoch: 4,
            role: Role::Admin,
            tenant: TenantId(Uuid::from_u128(5)),
            iat: NOW,
            exp: NOW + 900,
        }
    }

    /// A token with any header and body, rightly signed.
    fn forged(header: &str, body: &str) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(body));
        let signature = key().sign(message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }

    fn body() -> String {
        let token = sign(&claims(), "k1", &key()).unwrap();
        String::from_utf8(URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
    }

    #[test]
    fn what_was_signed_is_read_back() {
        let token = sign(&claims(), "k1", &key()).unwrap();
        assert_eq!(verifier().verify(&token, NOW, Expiry::Required), Ok(claims()));
        assert_eq!(Verifier::key_id(&token).as_deref(), Some("k1"));
    }

    #[test]
    fn the_header_is_the_one_of_the_contract() {
        let token = sign(&claims(), "k1", &key()).unwrap();
        let header: serde_json::Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap()).unwrap();
        assert_eq!(
            header,
            serde_json::json!({"alg": "Ed25519", "typ": "at+jwt", "kid": "k1"})
        );
    }

    #[test]
    fn times_are_checked_with_leeway() {
        let token = sign(&claims(), "k1", &key()).unwrap();
        let verify = |now, expiry| verifier().verify(&token, now, expiry).map(|claims| claims.exp);
        assert!(verify(NOW + 904, Expiry::Required).is_ok());
        assert_eq!(verify(NOW + 905, Expiry::Required), Err(TokenError::Expired));
        assert!(verify(NOW + 905, Expiry::Ignored).is_ok());
        assert!(verify(NOW - 5, Expiry::Required).is_ok());
        assert_eq!(verify(NOW - 6, Expiry::Required), Err(TokenError::NotYetValid));
        assert_eq!(verify(NOW - 6, Expiry::Ignored), Err(TokenError::NotYetValid));
    }

    #[test]
    fn foreign_tokens_are_refused() {
        let other_issuer = sign(
            &AccessClaims {
                iss: "https://evil.example".into(),
                ..claims()
            },
            "k1",
            &key(),
        )
        .unwrap();
        assert_eq!(
            verifier().verify(&other_issuer, NOW, Expiry::Required),
            Err(TokenError::Foreign)
        );
        let other_audience = forged(
            r#"{"alg":"Ed25519","typ":"at+jwt","kid":"k1"}"#,
            &body().replace(r#""kado""#, r#""other""#),
        );
        assert_eq!(
            verifier().verify(&other_audience, NOW, Expiry::Required),
            Err(TokenError::Foreign)
        );
    }

    #[test]
    fn headers_that_attack_the_verifier_are_refused() {
        for (header, error) in [
            (r#"{"alg":"none","typ":"at+jwt","kid":"k1"}"#, TokenError::Algorithm),
            (r#"{"alg":"HS256","typ":"at+jwt","kid":"k1"}"#, TokenError::Algorithm),
            (r#"{"alg":"EdDSA","typ":"at+jwt","kid":"k1"}"#, TokenError::Algorithm),
            (r#"{"alg":"ed25519","typ":"at+jwt","kid":"k1"}"#, TokenError::Algorithm),
            (r#"{"alg":"Ed25519","typ":"JWT","kid":"k1"}"#, TokenError::Malformed),
            (r#"{"alg":"Ed25519","kid":"k1"}"#, TokenError::Malformed),
            (r#"{"alg":"Ed25519","typ":"at+jwt"}"#, TokenError::UnknownKey),
            (r#"{"alg":"Ed25519","typ":"at+jwt","kid":"k2"}"#, TokenError::UnknownKey),
            (
                r#"{"alg":"Ed25519","typ":"at+jwt","kid":"../../etc/passwd"}"#,
                TokenError::UnknownKey,
            ),
            (
                r#"{"alg":"Ed25519","typ":"at+jwt","kid":"k1","jku":"https://evil.example"}"#,
                TokenError::Malformed,
            ),
            (
                r#"{"alg":"Ed25519","typ":"at+jwt","kid":"k1","jwk":{"kty":"OKP"}}"#,
                TokenError::Malformed,
            ),
            (
                r#"{"alg":"Ed25519","typ":"at+jwt","kid":"k1","x5u":"https://evil.example"}"#,
                TokenError::Malformed,
            ),
            (
                r#"{"alg":"Ed25519","typ":"at+jwt","kid":"k1","crit":["exp"]}"#,
                TokenError::Malformed,
            ),
        ] {
            assert_eq!(
                verifier().verify(&forged(header, &body()), NOW, Expiry::Required),
                Err(error),
                "{header}"
            );
        }
    }

    #[test]
    fn a_mac_with_the_public_key_is_no_signature() {
        let public = key().verifying_key();
        for header in [
            r#"{"alg":"HS256","typ":"at+jwt","kid":"k1"}"#,
            r#"{"alg":"Ed25519","typ":"at+jwt","kid":"k1"}"#,
        ] {
            let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(body()));
            let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(public.as_bytes()).unwrap();
            mac.update(message.as_bytes());
            let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()));
            assert!(verifier().verify(&token, NOW, Expiry::Required).is_err(), "{header}");
        }
    }

    #[test]
    fn a_stripped_or_changed_signature_is_refused() {
        let token = sign(&claims(), "k1", &key()).unwrap();
        let (message, signature) = token.rsplit_once('.').unwrap();
        assert!(verifier().verify(message, NOW, Expiry::Required).is_err());
        assert!(
            verifier()
                .verify(&format!("{message}."), NOW, Expiry::Required)
                .is_err()
        );
        let other = sign(
            &AccessClaims {
                generation: 4,
                ..claims()
            },
            "k1",
            &key(),
        )
        .unwrap();
        let mixed = format!("{}.{signature}", other.rsplit_once('.').unwrap().0);
        assert_eq!(
            verifier().verify(&mixed, NOW, Expiry::Required),
            Err(TokenError::Signature)
        );
        assert_eq!(
            verifier().verify(&"a".repeat(5000), NOW, Expiry::Required),
            Err(TokenError::Malformed)
        );
    }

    #[test]
    fn a_key_for_another_algorithm_is_left_out() {
        let mut jwk = Jwk::new("k1", key().verifying_key().as_bytes());
        jwk.alg = "EdDSA".into();
        let token = sign(&claims(), "k1", &key()).unwrap();
        assert_eq!(
            Verifier::new(&[jwk], ISSUER).verify(&token, NOW, Expiry::Required),
            Err(TokenError::UnknownKey)
        );
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in any::<String>()) {
            prop_assert!(verifier().verify(&text, NOW, Expiry::Required).is_err());
        }
    }
}
