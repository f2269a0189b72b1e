//! What a failed login costs: a delay per pair of address and client IP, unknown addresses included.
//!
//! While a delay runs, every attempt gets the answer of a wrong password after the time of a wrong password, and does not
//! make the delay longer: locking out the owner is not what guessing should buy.

use hmac::{Hmac, Mac};
use kado_shared::secret::Secret;
use sha2::Sha256;
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::email::Email;
use crate::database::DatabaseError;

/// Failures that cost nothing yet.
const FREE_FAILURES: i32 = 2;
/// Longest delay.
const LONGEST: Duration = Duration::seconds(60);
/// After this time without a failure the count begins anew.
const FORGOTTEN_AFTER: Duration = Duration::minutes(15);

/// Delay after this many failures in a row: none, none, 1 s, 2 s, 4 s, ... 60 s.
fn after(failures: i32) -> Duration {
    let doublings = failures - FREE_FAILURES - 1;
    match u32::try_from(doublings) {
        Err(_) => Duration::ZERO,
        Ok(doublings) => Duration::seconds(1_i64.checked_shl(doublings.min(32)).unwrap_or(i64::MAX)).min(LONGEST),
    }
}

/// Key of an address and a client, which tells nobody either of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DelayKey([u8; 32]);

/// Makes keys; its own key comes from `JWT_SECRET`.
#[derive(Clone)]
pub(crate) struct DelayKeys(Hmac<Sha256>);

impl std::fmt::Debug for DelayKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DelayKeys")
    }
}

impl DelayKeys {
    /// Derived from the newest secret: a new one forgets the delays that ran.
    pub(crate) fn new(secrets: &Secret) -> Self {
        let newest = secrets
            .list()
            .first()
            .map(|secret| secret.expose().as_bytes().to_vec())
            .unwrap_or_default();
        // A whole block of SHA-256, which HMAC takes as it is.
        let mut key = [0; 64];
        let expanded = hkdf::Hkdf::<Sha256>::new(None, &newest).expand(b"kado/login-delay/v1", &mut key);
        debug_assert!(expanded.is_ok(), "64 bytes are far under HKDF's bound");
        Self(<Hmac<Sha256> as hmac::digest::KeyInit>::new((&key).into()))
    }

    /// The key of one address and one client.
    pub(crate) fn key(&self, email: &Email, client_ip: &str) -> DelayKey {
        let mut mac = self.0.clone();
        mac.update(&(email.as_str().len() as u64).to_be_bytes());
        mac.update(email.as_str().as_bytes());
        mac.update(client_ip.as_bytes());
        DelayKey(mac.finalize().into_bytes().into())
    }
}

/// Whether a delay runs at this moment.
pub(crate) async fn is_running(
    connection: &mut PgConnection,
    key: DelayKey,
    now: OffsetDateTime,
) -> Result<bool, DatabaseError> {
    let until = sqlx::query_scalar!("select blocked_until from login_delays where key = $1", &key.0[..])
        .fetch_optional(connection)
        .await?;
    Ok(until.is_some_and(|until| until > now))
}

/// Counts a failure; while a delay runs it only does the same work, so that the time of an answer tells nothing.
pub(crate) async fn record_failure(
    connection: &mut PgConnection,
    tenant: Uuid,
    key: DelayKey,
    delayed: bool,
    now: OffsetDateTime,
) -> Result<(), DatabaseError> {
    let failures = sqlx::query_scalar!(
        "insert into login_delays as d (tenant_id, key, failures, blocked_until, updated_at) values ($1, $2, 1, $3, $3)
         on conflict (tenant_id, key) do update
         set failures = case when $5 then d.failures when d.updated_at < $4 then 1 else least(d.failures + 1, 1000) end,
             updated_at = case when $5 then d.updated_at else $3 end
         returning failures",
        tenant,
        &key.0[..],
        now,
        now - FORGOTTEN_AFTER,
        delayed,
    )
    .fetch_one(&mut *connection)
    .await?;
    sqlx::query!(
        "update login_delays set blocked_until = case when $3 then blocked_until else $2 end where key = $1",
        &key.0[..],
        now + after(failures),
        delayed,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets the failures before a success.
pub(crate) async fn forget(connection: &mut PgConnection, key: DelayKey) -> Result<(), DatabaseError> {
    sqlx::query!("delete from login_delays where key = $1", &key.0[..])
        .execute(connection)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{DelayKeys, LONGEST, after};
    use crate::identity::email::Email;
    use kado_shared::secret::Secret;
    use proptest::prelude::{any, prop_assert, proptest};
    use time::Duration;

    #[test]
    fn delays_double_up_to_a_minute() {
        let seconds: Vec<_> = (0..11).map(|failures| after(failures).whole_seconds()).collect();
        assert_eq!(seconds, [0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn a_key_depends_on_address_client_and_secret() {
        let keys = DelayKeys::new(&Secret::new("a".repeat(32)));
        let email = |text| Email::parse(text).unwrap();
        let key = keys.key(&email("a@b"), "203.0.113.9");
        assert_eq!(key, keys.key(&email("A@B"), "203.0.113.9"));
        assert_ne!(key, keys.key(&email("a@b2"), "03.0.113.9"));
        assert_ne!(key, keys.key(&email("a@b"), "203.0.113.8"));
        assert_ne!(
            key,
            DelayKeys::new(&Secret::new("b".repeat(32))).key(&email("a@b"), "203.0.113.9")
        );
    }

    proptest! {
        #[test]
        fn no_count_delays_for_longer(failures in any::<i32>().prop_filter("counts are not negative", |n| *n >= 0)) {
            prop_assert!((Duration::ZERO..=LONGEST).contains(&after(failures)));
        }
    }
    use proptest::strategy::Strategy;
}
