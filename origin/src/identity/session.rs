//! Sessions: opened at login, checked on every authenticated request, ended once and for all.
//!
//! The table keeps no token. Generation, issue time and key are enough to know which token is the current one.

use kado_shared::{
    claims::{AccessClaims, Role, TokenError},
    tenant::TenantId,
};
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::keyring::Keys;
use crate::{clock::unix, database::DatabaseError, quota::Granted};

/// Life of an access token.
pub(crate) const TOKEN_LIFE: Duration = Duration::minutes(15);
/// How often `last_seen_at` is written at most: a busy client costs no write per request.
const SEEN_EVERY: Duration = Duration::seconds(30);

/// The role of a name, which is the same in the database and on the wire; the column's check constraint admits no other.
pub(crate) fn role_from_name(name: &str) -> Role {
    match name {
        "ADMIN" => Role::Admin,
        "PREMIUM" => Role::Premium,
        _ => Role::User,
    }
}

/// What a session is opened with.
#[derive(Debug)]
pub(crate) struct Opening<'a> {
    pub(crate) tenant: TenantId,
    pub(crate) user: Uuid,
    pub(crate) role: Role,
    /// Random.
    pub(crate) id: Uuid,
    pub(crate) now: OffsetDateTime,
    pub(crate) user_agent: Option<&'a str>,
    pub(crate) client_ip: Option<&'a str>,
    pub(crate) issuer: &'a str,
}

/// Opens a session; answers the claims of its first token.
pub(crate) async fn open(
    connection: &mut PgConnection,
    opening: Opening<'_>,
    keys: &Keys,
) -> Result<AccessClaims, DatabaseError> {
    let user_agent = opening
        .user_agent
        .map(|text| text.chars().filter(|c| !c.is_control()).take(512).collect::<String>());
    let epoch = sqlx::query_scalar!(
        "insert into sessions (tenant_id, id, user_id, epoch, key_id, issued_at, created_at, last_seen_at, user_agent, client_ip)
         select $1, $2, $3, e.epoch + t.epoch, $4, $5, $5, $5, $6, $7 from edge_state e join tenants t on t.id = $1
         returning epoch",
        opening.tenant.0,
        opening.id,
        opening.user,
        keys.kid,
        opening.now,
        user_agent,
        opening.client_ip.filter(|ip| !ip.is_empty()),
    )
    .fetch_one(connection)
    .await?;
    let claims = AccessClaims {
        iss: opening.issuer.to_owned(),
        sub: opening.user,
        sid: opening.id,
        generation: 0,
        epoch: u64::try_from(epoch).unwrap_or(0),
        role: opening.role,
        tenant: opening.tenant,
        iat: 0,
        exp: 0,
    };
    Ok(issued(claims, opening.now))
}

/// Claims as they are issued at a time.
pub(crate) fn issued(claims: AccessClaims, at: OffsetDateTime) -> AccessClaims {
    let iat = unix(at);
    AccessClaims {
        iat,
        exp: iat + TOKEN_LIFE.whole_seconds().unsigned_abs(),
        ..claims
    }
}

/// Signs the token of some claims.
pub(crate) fn mint(claims: &AccessClaims, keys: &Keys) -> Result<String, TokenError> {
    kado_shared::claims::sign(claims, &keys.kid, &keys.signing)
}

/// Ends every session of the transaction's tenant, by its epoch.
pub(crate) async fn raise_tenants_epoch(connection: &mut PgConnection, tenant: TenantId) -> Result<i64, DatabaseError> {
    Ok(sqlx::query_scalar!(
        "update tenants set epoch = epoch + 1 where id = $1 returning epoch",
        tenant.0
    )
    .fetch_one(connection)
    .await?)
}

/// Ends every session of every tenant, by the site's epoch.
pub(crate) async fn raise_sites_epoch(connection: &mut PgConnection) -> Result<i64, DatabaseError> {
    Ok(
        sqlx::query_scalar!("update edge_state set epoch = epoch + 1, revision = revision + 1 returning epoch")
            .fetch_one(connection)
            .await?,
    )
}

/// What the database knows of a token's session and user.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) user: Uuid,
    pub(crate) email: String,
    pub(crate) role: Role,
    pub(crate) active: bool,
    pub(crate) must_change_password: bool,
    pub(crate) generation: u32,
    pub(crate) session_epoch: u64,
    pub(crate) created_at: OffsetDateTime,
    pub(crate) last_seen_at: OffsetDateTime,
    pub(crate) ended: bool,
    /// What the current token was issued with.
    pub(crate) issued_at: OffsetDateTime,
    pub(crate) key_id: String,
    pub(crate) rotation_key: Option<[u8; 32]>,
    /// Epoch of the site and the tenant together.
    pub(crate) epoch: u64,
    /// Revision that settings are cached by.
    pub(crate) revision: u64,
    pub(crate) granted: Granted,
}

/// Loads a session with its user.
pub(crate) async fn load(connection: &mut PgConnection, id: Uuid) -> Result<Option<Stored>, DatabaseError> {
    let row = sqlx::query!(
        r#"select s.user_id, s.generation, s.epoch as session_epoch, s.created_at, s.last_seen_at,
                  s.ended_at is not null as "ended!", s.issued_at, s.key_id, s.rotation_key,
                  u.email, u.role, u.active, u.must_change_password, e.epoch + t.epoch as "epoch!", e.revision,
                  u.quota_image_process, u.quota_api_call, u.quota_until
           from sessions s join users u on u.tenant_id = s.tenant_id and u.id = s.user_id
                join tenants t on t.id = s.tenant_id cross join edge_state e
           where s.id = $1"#,
        id,
    )
    .fetch_optional(connection)
    .await?;
    let count = |number: i64| u64::try_from(number).unwrap_or(0);
    Ok(row.map(|row| Stored {
        user: row.user_id,
        email: row.email,
        role: role_from_name(&row.role),
        active: row.active,
        must_change_password: row.must_change_password,
        generation: u32::try_from(row.generation).unwrap_or(0),
        session_epoch: count(row.session_epoch),
        created_at: row.created_at,
        last_seen_at: row.last_seen_at,
        ended: row.ended,
        issued_at: row.issued_at,
        key_id: row.key_id,
        rotation_key: row.rotation_key.and_then(|key| key.try_into().ok()),
        epoch: count(row.epoch),
        revision: count(row.revision),
        granted: Granted {
            image_process: row.quota_image_process,
            api_call: row.quota_api_call,
            until: row.quota_until,
        },
    }))
}

/// Loads a session with its user, and keeps others from changing it before this transaction ends.
pub(crate) async fn load_for_update(connection: &mut PgConnection, id: Uuid) -> Result<Option<Stored>, DatabaseError> {
    // Locked by itself first: what is read afterwards is what whoever held the lock has left.
    sqlx::query!("select from sessions where id = $1 for update", id)
        .fetch_optional(&mut *connection)
        .await?;
    load(connection, id).await
}

/// Notes that the successor of the current token was issued.
pub(crate) async fn advance(
    connection: &mut PgConnection,
    successor: &AccessClaims,
    kid: &str,
    key: Option<[u8; 32]>,
    now: OffsetDateTime,
) -> Result<(), DatabaseError> {
    sqlx::query!(
        "update sessions set generation = $2, issued_at = $3, last_seen_at = $3, key_id = $4, rotation_key = $5
         where id = $1",
        successor.sid,
        i32::try_from(successor.generation).unwrap_or(i32::MAX),
        now,
        kid,
        key.as_ref().map(<[u8; 32]>::as_slice),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Why a token that verifies does not count any more. The client is told none of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the token is for another tenant")]
    OtherTenant,
    #[error("there is no such session")]
    NoSession,
    #[error("the session has ended")]
    Ended,
    #[error("the user is disabled")]
    Disabled,
    #[error("the token was superseded")]
    Superseded,
    #[error("the role has changed since")]
    RoleChanged,
    #[error("every session of this epoch was revoked")]
    OldEpoch,
    #[error("the session was idle for too long")]
    Idle,
    #[error("the session is too old")]
    TooOld,
}

/// Limits of a session's life, from the settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetimes {
    pub(crate) idle: Duration,
    pub(crate) whole: Duration,
}

/// Decides whether a verified token counts.
pub(crate) fn check(
    claims: &AccessClaims,
    tenant: TenantId,
    stored: &Stored,
    lifetimes: Lifetimes,
    now: OffsetDateTime,
) -> Result<(), Refusal> {
    let refusals = [
        (claims.tenant != tenant, Refusal::OtherTenant),
        (stored.user != claims.sub, Refusal::NoSession),
        (stored.ended, Refusal::Ended),
        (!stored.active, Refusal::Disabled),
        (stored.generation != claims.generation, Refusal::Superseded),
        (stored.role != claims.role, Refusal::RoleChanged),
        (
            claims.epoch < stored.epoch || stored.session_epoch < stored.epoch,
            Refusal::OldEpoch,
        ),
        (now - stored.last_seen_at > lifetimes.idle, Refusal::Idle),
        (now - stored.created_at > lifetimes.whole, Refusal::TooOld),
    ];
    refusals
        .into_iter()
        .find(|(applies, _)| *applies)
        .map_or(Ok(()), |(_, refusal)| Err(refusal))
}

/// Whether the time of the last request should be written.
pub(crate) fn is_due(stored: &Stored, now: OffsetDateTime) -> bool {
    now - stored.last_seen_at >= SEEN_EVERY
}

/// Writes the time of the last request.
pub(crate) async fn touch(connection: &mut PgConnection, id: Uuid, now: OffsetDateTime) -> Result<(), DatabaseError> {
    sqlx::query!(
        "update sessions set last_seen_at = greatest(last_seen_at, $2) where id = $1",
        id,
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether a session has not been ended. Asked while its user's row is held, it stays so.
pub(crate) async fn is_open(connection: &mut PgConnection, id: Uuid) -> Result<bool, DatabaseError> {
    Ok(sqlx::query_scalar!(
        r#"select exists (select from sessions where id = $1 and ended_at is null) as "exists!""#,
        id
    )
    .fetch_one(connection)
    .await?)
}

/// Ends a session; answers whether it was still open.
pub(crate) async fn end(
    connection: &mut PgConnection,
    id: Uuid,
    reason: &str,
    now: OffsetDateTime,
) -> Result<bool, DatabaseError> {
    let ended = sqlx::query!(
        "update sessions set ended_at = $2, end_reason = $3 where id = $1 and ended_at is null",
        id,
        now,
        reason,
    )
    .execute(connection)
    .await?;
    Ok(ended.rows_affected() == 1)
}

/// Ends every session of a user, or every one but one; answers how many.
pub(crate) async fn end_others(
    connection: &mut PgConnection,
    user: Uuid,
    but: Option<Uuid>,
    reason: &str,
    now: OffsetDateTime,
) -> Result<u64, DatabaseError> {
    let ended = sqlx::query!(
        "update sessions set ended_at = $3, end_reason = $4 where user_id = $1 and id is distinct from $2
         and ended_at is null",
        user,
        but,
        now,
        reason,
    )
    .execute(connection)
    .await?;
    Ok(ended.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::{Granted, Lifetimes, Refusal, Stored, check, role_from_name};
    use kado_shared::{
        claims::{AccessClaims, Role},
        tenant::TenantId,
    };
    use time::{Duration, OffsetDateTime, macros::datetime};
    use uuid::Uuid;

    const NOW: OffsetDateTime = datetime!(2027-01-15 08:00:00 UTC);
    const TENANT: TenantId = TenantId(Uuid::from_u128(5));
    const LIFETIMES: Lifetimes = Lifetimes {
        idle: Duration::minutes(30),
        whole: Duration::days(30),
    };

    fn claims() -> AccessClaims {
        AccessClaims {
            iss: String::new(),
            sub: Uuid::from_u128(1),
            sid: Uuid::from_u128(2),
            generation: 3,
            epoch: 4,
            role: Role::Admin,
            tenant: TENANT,
            iat: 0,
            exp: 0,
        }
    }

    fn stored() -> Stored {
        Stored {
            user: Uuid::from_u128(1),
            email: "a@b".into(),
            role: Role::Admin,
            active: true,
            must_change_password: false,
            generation: 3,
            session_epoch: 4,
            created_at: NOW - Duration::days(29),
            last_seen_at: NOW - Duration::minutes(29),
            ended: false,
            issued_at: NOW,
            key_id: String::new(),
            rotation_key: None,
            epoch: 4,
            revision: 1,
            granted: Granted::default(),
        }
    }

    #[test]
    fn every_reason_is_a_reason() {
        let refuse = |stored: Stored| check(&claims(), TENANT, &stored, LIFETIMES, NOW).unwrap_err();
        assert_eq!(check(&claims(), TENANT, &stored(), LIFETIMES, NOW), Ok(()));
        assert_eq!(
            check(&claims(), TenantId(Uuid::nil()), &stored(), LIFETIMES, NOW),
            Err(Refusal::OtherTenant)
        );
        assert_eq!(
            refuse(Stored {
                user: Uuid::nil(),
                ..stored()
            }),
            Refusal::NoSession
        );
        assert_eq!(
            refuse(Stored {
                ended: true,
                ..stored()
            }),
            Refusal::Ended
        );
        assert_eq!(
            refuse(Stored {
                active: false,
                ..stored()
            }),
            Refusal::Disabled
        );
        assert_eq!(
            refuse(Stored {
                generation: 4,
                ..stored()
            }),
            Refusal::Superseded
        );
        assert_eq!(
            refuse(Stored {
                generation: 2,
                ..stored()
            }),
            Refusal::Superseded
        );
        assert_eq!(
            refuse(Stored {
                role: Role::User,
                ..stored()
            }),
            Refusal::RoleChanged
        );
        assert_eq!(refuse(Stored { epoch: 5, ..stored() }), Refusal::OldEpoch);
        assert_eq!(
            refuse(Stored {
                session_epoch: 3,
                ..stored()
            }),
            Refusal::OldEpoch
        );
        assert_eq!(
            refuse(Stored {
                last_seen_at: NOW - Duration::minutes(31),
                ..stored()
            }),
            Refusal::Idle
        );
        assert_eq!(
            refuse(Stored {
                created_at: NOW - Duration::days(31),
                ..stored()
            }),
            Refusal::TooOld
        );
    }

    #[test]
    fn roles_have_one_name() {
        for role in [Role::User, Role::Premium, Role::Admin] {
            let name = serde_json::to_value(role).unwrap();
            assert_eq!(role_from_name(name.as_str().unwrap()), role);
        }
    }
}
