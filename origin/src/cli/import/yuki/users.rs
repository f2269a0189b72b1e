//! Users keep their password: its hash is accepted until they sign in, and replaced then.

use kado_shared::tenant::TenantId;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::{Part, identifier};
use crate::{
    database::DatabaseError,
    identity::{
        email::Email,
        password::{MOST_BCRYPT_COST, any_bcrypt_cost, bcrypt_cost},
    },
};

#[derive(sqlx::FromRow)]
struct OldUser {
    id: String,
    email: String,
    password_hash: String,
    role: String,
    active: bool,
    created_at: OffsetDateTime,
}

pub(super) async fn take(
    source: &mut PgConnection,
    target: &mut PgConnection,
    tenant: TenantId,
    now: OffsetDateTime,
) -> Result<Part, DatabaseError> {
    // Oldest first: of two addresses that differ in case alone, the older one's owner keeps it.
    let users: Vec<OldUser> = sqlx::query_as(
        r#"select id, email, "passwordHash" as password_hash, role::text as role, "isActive" as active,
                  "createdAt" at time zone 'UTC' as created_at
           from users order by "createdAt", id"#,
    )
    .fetch_all(source)
    .await?;
    let mut part = Part::new("users");
    for user in users {
        let email = match Email::parse(&user.email) {
            Ok(email) => email,
            Err(error) => {
                part.skip(&user.email, error.to_string());
                continue;
            }
        };
        if bcrypt_cost(&user.password_hash).is_none() {
            let why = match any_bcrypt_cost(&user.password_hash) {
                Some(cost) if cost > MOST_BCRYPT_COST => {
                    format!("its password is hashed with bcrypt of cost {cost}, and {MOST_BCRYPT_COST} is the most")
                }
                _ => format!("its password is not hashed with bcrypt of a cost up to {MOST_BCRYPT_COST}"),
            };
            part.skip(&user.email, why);
            continue;
        }
        let role = match user.role.as_str() {
            role @ ("USER" | "PREMIUM" | "ADMIN") => role,
            other => {
                part.skip(&user.email, format!("there is no role {other} here"));
                continue;
            }
        };
        let id = identifier("user", &user.id);
        let inserted = sqlx::query!(
            "insert into users (tenant_id, id, email, password_hash, role, active, created_at, updated_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict do nothing",
            tenant.0,
            id,
            email.as_str(),
            user.password_hash,
            role,
            user.active,
            user.created_at,
            now,
        )
        .execute(&mut *target)
        .await?;
        if inserted.rows_affected() == 1 {
            part.taken += 1;
            continue;
        }
        let known = sqlx::query_scalar!(
            r#"select exists (select from users where tenant_id = $1 and id = $2) as "known!""#,
            tenant.0,
            id
        )
        .fetch_one(&mut *target)
        .await?;
        if known {
            part.already += 1;
        } else {
            part.skip(&user.email, "another user has this address already");
        }
    }
    Ok(part)
}
