//! API keys: drawn once, kept as a hash, looked up by their prefix.

use kado_shared::{
    api_key::{Fingerprint, PREFIX_DIGITS, SECRET_DIGITS, START, Scope},
    claims::Role,
    limits::Rule,
};
use serde_json::Value;
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::session::role_from_name;
use crate::{database::DatabaseError, entropy::Entropy, hex, quota::Granted};

/// How often `last_used_at` is written at most: a busy client costs no write per request.
const USED_EVERY: Duration = Duration::seconds(60);

/// A new key, for the one answer that shows it.
pub(crate) fn draw(entropy: &dyn Entropy) -> String {
    let (prefix, secret): ([u8; PREFIX_DIGITS / 2], [u8; SECRET_DIGITS / 2]) = (entropy.bytes(), entropy.bytes());
    format!("{START}{}_{}", hex::encode(&prefix), hex::encode(&secret))
}

/// A key that counts, with the user it acts for.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) id: Uuid,
    pub(crate) user: Uuid,
    pub(crate) email: String,
    pub(crate) role: Role,
    pub(crate) scopes: Vec<Scope>,
    pub(crate) limit: Option<Rule>,
    pub(crate) expires_at: Option<OffsetDateTime>,
    pub(crate) last_used_at: Option<OffsetDateTime>,
    /// Revision that settings are cached by.
    pub(crate) revision: u64,
    pub(crate) granted: Granted,
}

/// Why a key does not count. The client is told none of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("what was presented has not the form of a key")]
    Malformed,
    #[error("there is no such key")]
    Unknown,
    #[error("the key has expired")]
    Expired,
    #[error("the user whom the key acts for is disabled, or has not chosen a password yet")]
    Disabled,
}

/// Looks a key up in the transaction's tenant.
pub(crate) async fn find(
    connection: &mut PgConnection,
    key: &Fingerprint,
    now: OffsetDateTime,
) -> Result<Result<Stored, Refusal>, DatabaseError> {
    let row = sqlx::query!(
        r#"select k.id, k.user_id, k.sha256, k.scopes, k.rate_limit, k.expires_at, k.last_used_at,
                  u.email, u.role, u.active and not u.must_change_password as "may_act!", e.revision,
                  u.quota_image_process, u.quota_api_call, u.quota_until
           from api_keys k join users u on u.tenant_id = k.tenant_id and u.id = k.user_id cross join edge_state e
           where k.prefix = $1"#,
        key.prefix,
    )
    .fetch_optional(connection)
    .await?;
    // The prefix is public, and what is compared is a hash: how long it takes tells nothing of the secret.
    let Some(row) = row.filter(|row| row.sha256 == key.sha256) else {
        return Ok(Err(Refusal::Unknown));
    };
    if row.expires_at.is_some_and(|at| at <= now) {
        return Ok(Err(Refusal::Expired));
    }
    if !row.may_act {
        return Ok(Err(Refusal::Disabled));
    }
    Ok(Ok(Stored {
        id: row.id,
        user: row.user_id,
        email: row.email,
        role: role_from_name(&row.role),
        scopes: row.scopes.iter().filter_map(|name| Scope::from_name(name)).collect(),
        limit: row
            .rate_limit
            .as_ref()
            .and_then(|value: &Value| Rule::from_json(value).ok()),
        expires_at: row.expires_at,
        last_used_at: row.last_used_at,
        revision: u64::try_from(row.revision).unwrap_or(0),
        granted: Granted {
            image_process: row.quota_image_process,
            api_call: row.quota_api_call,
            until: row.quota_until,
        },
    }))
}

/// Notes that a key was used, now and then.
pub(crate) async fn touch(
    connection: &mut PgConnection,
    key: &Stored,
    now: OffsetDateTime,
) -> Result<(), DatabaseError> {
    if key.last_used_at.is_none_or(|at| now - at >= USED_EVERY) {
        sqlx::query!(
            "update api_keys set last_used_at = greatest(last_used_at, $2) where id = $1",
            key.id,
            now
        )
        .execute(connection)
        .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::draw;
    use crate::entropy::testing::CountingEntropy;
    use kado_shared::api_key::Fingerprint;

    #[test]
    fn a_drawn_key_has_the_form_of_one_and_no_two_are_alike() {
        let entropy = CountingEntropy::default();
        let keys = [draw(&entropy), draw(&entropy)].map(|key| Fingerprint::of(&key).unwrap());
        assert!(keys[0].prefix != keys[1].prefix && keys[0].sha256 != keys[1].sha256);
    }
}
