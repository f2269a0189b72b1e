//! How an edge judges access tokens: by the keys and revocations of its snapshot, with what it remembers of tokens whose
//! signature it has seen to be right.

use std::collections::HashSet;
use uuid::Uuid;

use crate::{
    claims::{AccessClaims, Expiry, Jwk, LEEWAY, TokenError, Verifier},
    edge_config::EdgeConfig,
    tenant::TenantId,
};

/// What a snapshot says of tokens, made ready once: keys decoded, revocations in a set.
#[derive(Clone, Debug)]
pub struct Judge {
    verifier: Verifier,
    keys: Vec<Jwk>,
    issuer: String,
    tenant: TenantId,
    epoch: u64,
    revoked: HashSet<Uuid>,
}

/// A token whose signature is right, and the key that says so. It may have expired or been revoked since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// What the token says.
    pub claims: AccessClaims,
    key: Jwk,
}

impl Judge {
    /// The judge of a snapshot.
    #[must_use]
    pub fn of(config: &EdgeConfig) -> Self {
        Self {
            verifier: Verifier::new(&config.keys, config.global.issuer.as_str()),
            keys: config.keys.clone(),
            issuer: config.global.issuer.clone(),
            tenant: config.tenant.id,
            epoch: config.global.epoch,
            revoked: config.revoked.iter().copied().collect(),
        }
    }

    /// Checks a token's form, algorithm, key, signature, issuer and audience: what does not change while the key is one of
    /// the site's. Whether it counts now is for [`Judge::accept`] to say.
    ///
    /// # Errors
    /// Why it never will.
    pub fn verify(&self, token: &str, now: u64) -> Result<Verified, TokenError> {
        let claims = self.verifier.verify(token, now, Expiry::Ignored)?;
        let kid = Verifier::key_id(token).ok_or(TokenError::UnknownKey)?;
        let key = self.key(&kid).ok_or(TokenError::UnknownKey)?.clone();
        Ok(Verified { claims, key })
    }

    /// Decides whether a token that was verified, now or earlier, counts at this moment. With [`Expiry::Ignored`], as for
    /// rotation, it is left to the origin whether its session goes on.
    ///
    /// # Errors
    /// Why it does not.
    pub fn accept(&self, verified: &Verified, now: u64, expiry: Expiry) -> Result<(), TokenError> {
        let Verified { claims, key } = verified;
        if self.key(&key.kid) != Some(key) {
            return Err(TokenError::UnknownKey);
        }
        if claims.tenant != self.tenant || claims.iss != self.issuer {
            return Err(TokenError::Foreign);
        }
        if claims.iat > now.saturating_add(LEEWAY) {
            return Err(TokenError::NotYetValid);
        }
        let is_over =
            now >= claims.exp.saturating_add(LEEWAY) || claims.epoch < self.epoch || self.revoked.contains(&claims.sid);
        if expiry == Expiry::Required && is_over {
            return Err(TokenError::Expired);
        }
        Ok(())
    }

    fn key(&self, kid: &str) -> Option<&Jwk> {
        self.keys.iter().find(|key| key.kid == kid)
    }
}

#[cfg(test)]
mod tests {
    use super::{Judge, Verified};
    use crate::{
        claims::{AccessClaims, Expiry, Jwk, LEEWAY, Role, SigningKey, TokenError, sign},
        edge_config::{EdgeConfig, Global, LimitStore, SCHEMA, Tenant},
        tenant::TenantId,
    };
    use std::collections::BTreeMap;
    use uuid::Uuid;

    const NOW: u64 = 1_800_000_000;
    const SESSION: Uuid = Uuid::from_u128(2);

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn jwk(kid: &str, seed: u8) -> Jwk {
        Jwk::new(kid, key(seed).verifying_key().as_bytes())
    }

    fn config() -> EdgeConfig {
        EdgeConfig {
            schema: SCHEMA,
            revision: 1,
            global: Global {
                issuer: "https://kado.example".into(),
                epoch: 4,
                generation: 1,
                limits: LimitStore::Gateway,
                trace_share: 0.0,
            },
            tenant: Tenant {
                id: TenantId(Uuid::from_u128(5)),
                name: "a".into(),
                generation: 1,
                settings: BTreeMap::new(),
                preset_options: BTreeMap::new(),
                address_keys: Vec::new(),
                presets: BTreeMap::new(),
            },
            keys: vec![jwk("k1", 9)],
            revoked: vec![],
            purges: vec![],
            restore_id: Uuid::nil(),
        }
    }

    fn token() -> String {
        let claims = AccessClaims {
            iss: "https://kado.example".into(),
            sub: Uuid::from_u128(1),
            sid: SESSION,
            generation: 0,
            epoch: 4,
            role: Role::User,
            tenant: TenantId(Uuid::from_u128(5)),
            iat: NOW,
            exp: NOW + 900,
        };
        sign(&claims, "k1", &key(9)).unwrap()
    }

    fn verified() -> Verified {
        Judge::of(&config()).verify(&token(), NOW).unwrap()
    }

    fn accept(change: impl FnOnce(&mut EdgeConfig), now: u64, expiry: Expiry) -> Result<(), TokenError> {
        let mut config = config();
        change(&mut config);
        Judge::of(&config).accept(&verified(), now, expiry)
    }

    #[test]
    fn a_remembered_token_counts_only_while_everything_it_rests_on_stands() {
        let end = NOW + 900 + LEEWAY;
        assert_eq!(accept(|_| {}, end - 1, Expiry::Required), Ok(()));
        assert_eq!(accept(|_| {}, end, Expiry::Required), Err(TokenError::Expired));
        assert_eq!(
            accept(|_| {}, NOW - LEEWAY - 1, Expiry::Required),
            Err(TokenError::NotYetValid)
        );
        let now = |change: fn(&mut EdgeConfig)| accept(change, NOW, Expiry::Required);
        assert_eq!(now(|config| config.global.epoch = 5), Err(TokenError::Expired));
        assert_eq!(now(|config| config.revoked = vec![SESSION]), Err(TokenError::Expired));
        assert_eq!(now(|config| config.keys.clear()), Err(TokenError::UnknownKey));
        assert_eq!(
            now(|config| config.keys = vec![jwk("k1", 8)]),
            Err(TokenError::UnknownKey),
            "another key of that name"
        );
        assert_eq!(
            now(|config| config.global.issuer = "https://other".into()),
            Err(TokenError::Foreign)
        );
        assert_eq!(
            now(|config| config.tenant.id = TenantId(Uuid::nil())),
            Err(TokenError::Foreign)
        );
    }

    #[test]
    fn for_rotation_the_signature_is_enough() {
        let rotates = |change: fn(&mut EdgeConfig)| accept(change, NOW + 100_000, Expiry::Ignored);
        assert_eq!(rotates(|config| config.global.epoch = 5), Ok(()));
        assert_eq!(rotates(|config| config.revoked = vec![SESSION]), Ok(()));
        assert_eq!(
            rotates(|config| config.tenant.id = TenantId(Uuid::nil())),
            Err(TokenError::Foreign)
        );
    }

    #[test]
    fn an_expired_token_is_verified_and_a_forged_one_is_not() {
        let judge = Judge::of(&config());
        assert!(judge.verify(&token(), NOW + 100_000).is_ok());
        let mut forged = token();
        let last = forged.pop().unwrap();
        forged.push(if last == 'A' { 'Q' } else { 'A' });
        assert_eq!(judge.verify(&forged, NOW), Err(TokenError::Signature));
        let mut unknown = config();
        unknown.keys = vec![jwk("k2", 9)];
        assert_eq!(Judge::of(&unknown).verify(&token(), NOW), Err(TokenError::UnknownKey));
    }
}
