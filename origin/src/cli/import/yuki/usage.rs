//! What users spent, summed by user, action and hour. An hour that is here keeps the larger of the two counts: a repeated
//! import adds nothing, and one after the old system went on takes what that counted since.

use kado_shared::{quota::Action, tenant::TenantId};
use sqlx::PgConnection;
use std::collections::{BTreeMap, HashSet};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Part, has_column, identifier};
use crate::{database::DatabaseError, quota::KEEP_USAGE};

#[derive(sqlx::FromRow)]
struct OldHour {
    user_id: Option<String>,
    email: Option<String>,
    action: String,
    hour: OffsetDateTime,
    count: i64,
}

/// An hour that is taken.
struct Hour {
    user: Uuid,
    action: Action,
    hour: OffsetDateTime,
    count: i64,
}

impl OldHour {
    /// The hour here, or what is not taken and why.
    fn translate(self, users: &HashSet<Uuid>, now: OffsetDateTime) -> Result<Hour, (String, &'static str)> {
        let Some(action) = Action::from_name(&self.action) else {
            return Err((self.action, "this version does not count it"));
        };
        let Some(user_id) = self.user_id else {
            return Err((self.action, "it belongs to no user"));
        };
        let whose = self.email.unwrap_or_else(|| user_id.clone());
        let user = identifier("user", &user_id);
        if !users.contains(&user) {
            Err((whose, "the user was not taken"))
        } else if self.hour < now - KEEP_USAGE {
            Err((self.action, "usage is kept for 90 days"))
        } else if self.hour > now {
            Err((whose, "the hour has not begun"))
        } else if self.count <= 0 {
            Err((whose, "nothing was counted"))
        } else {
            Ok(Hour {
                user,
                action,
                hour: self.hour,
                count: self.count,
            })
        }
    }
}

pub(super) async fn take(
    source: &mut PgConnection,
    target: &mut PgConnection,
    tenant: TenantId,
    now: OffsetDateTime,
) -> Result<Part, DatabaseError> {
    let mut part = Part::new("usage");
    if !has_column(source, "usage_records", "periodStart").await? {
        part.skip(
            "usage_records",
            "there is no such table with a column periodStart there",
        );
        return Ok(part);
    }
    // A period of any length counts in the hour that it began in.
    let hours: Vec<OldHour> = sqlx::query_as(
        r#"select r."userId" as user_id, u.email, r.action::text as action,
                  date_trunc('hour', r."periodStart") at time zone 'UTC' as hour, sum(r.count)::bigint as count
           from usage_records r left join users u on u.id = r."userId"
           group by 1, 2, 3, 4 order by 4, 1, 3"#,
    )
    .fetch_all(source)
    .await?;
    let users = sqlx::query_scalar!("select id from users where tenant_id = $1", tenant.0)
        .fetch_all(&mut *target)
        .await?;
    let users: HashSet<Uuid> = users.into_iter().collect();
    let mut skipped = BTreeMap::<_, u64>::new();
    for old in hours {
        match old.translate(&users, now) {
            Ok(hour) if write(target, tenant, &hour).await? => part.taken += 1,
            Ok(_) => part.already += 1,
            Err(what) => *skipped.entry(what).or_default() += 1,
        }
    }
    for ((what, why), hours) in skipped {
        part.skip(&what, format!("{why} ({hours} hours)"));
    }
    Ok(part)
}

/// Whether there was less before.
async fn write(target: &mut PgConnection, tenant: TenantId, hour: &Hour) -> Result<bool, DatabaseError> {
    let written = sqlx::query!(
        "insert into usage_records as known (tenant_id, user_id, action, hour, count) values ($1, $2, $3, $4, $5)
         on conflict (tenant_id, user_id, action, hour) do update set count = excluded.count
         where known.count < excluded.count",
        tenant.0,
        hour.user,
        hour.action.as_str(),
        hour.hour,
        hour.count,
    )
    .execute(target)
    .await?;
    Ok(written.rows_affected() == 1)
}

#[cfg(test)]
mod tests {
    use crate::{
        api::testing::TestApp,
        cli::import::yuki::{
            tests::{old_system, take},
            to_json,
        },
    };
    use serde_json::json;

    #[tokio::test]
    async fn usage_is_summed_by_the_hour_once_and_what_is_not_is_told() {
        let Some(app) = TestApp::start().await else { return };
        old_system(&app).await;
        app.execute(
            r#"insert into yuki.usage_records ("userId", action, count, "periodStart") values
               ('c1', 'API_CALL', 3, '2027-01-15 06:00'), ('c1', 'API_CALL', 4, '2027-01-15 06:59:59.999'),
               ('c1', 'API_CALL', 1, '2027-01-15 07:00'), ('c1', 'IMAGE_PROCESS', 2, '2027-01-15 06:10'),
               ('c3', 'API_CALL', 5, '2026-12-01 00:00'), ('c1', 'API_CALL', 9, '2026-01-01 00:00'),
               ('c1', 'API_CALL', 9, '2027-01-16 00:00'), ('c1', 'IMAGE_PROCESS', 0, '2027-01-15 01:00'),
               ('c1', 'COPY_GENERATE', 1, '2027-01-15 06:00'), (null, 'API_CALL', 1, '2027-01-15 06:00'),
               ('c5', 'API_CALL', 1, '2027-01-15 06:00'), ('c5', 'API_CALL', 1, '2027-01-15 07:00')"#,
        )
        .await;
        let told = to_json(&take(&app, true).await, false);
        let part = &told["parts"][2];
        assert_eq!(
            part,
            &json!({"part": "usage", "taken": 4, "already": 0, "skipped": [
                {"what": "API_CALL", "why": "it belongs to no user (1 hours)"},
                {"what": "API_CALL", "why": "usage is kept for 90 days (1 hours)"},
                {"what": "COPY_GENERATE", "why": "this version does not count it (1 hours)"},
                {"what": "Mixed.Case@Example.com", "why": "nothing was counted (1 hours)"},
                {"what": "Mixed.Case@Example.com", "why": "the hour has not begun (1 hours)"},
                {"what": "plain@example.com", "why": "the user was not taken (2 hours)"},
            ]})
        );
        let token = app.admin_token().await;
        let usage = app
            .get_as(&token, "/api/admin/usage?to=2027-01-15T07:30:00Z")
            .await
            .json();
        let seen: Vec<_> = usage["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| (item["hour"].clone(), item["email"].clone(), item["counts"].clone()))
            .collect();
        let of = |hour: &str, email: &str, pictures: u32, calls: u32| {
            let counts = json!({"IMAGE_PROCESS": pictures, "API_CALL": calls});
            (json!(hour), json!(email), counts)
        };
        assert_eq!(
            seen,
            [
                of("2026-12-01T00:00:00Z", "gone@example.com", 0, 5),
                of("2027-01-15T06:00:00Z", "mixed.case@example.com", 2, 7),
                of("2027-01-15T07:00:00Z", "mixed.case@example.com", 0, 1),
            ]
        );

        let again = to_json(&take(&app, true).await, false);
        assert_eq!(
            (&again["parts"][2]["taken"], &again["parts"][2]["already"]),
            (&json!(0), &json!(4))
        );
        assert_eq!(again["parts"][2]["skipped"], part["skipped"]);
        app.execute(
            r#"insert into yuki.usage_records ("userId", action, count, "periodStart") values
               ('c1', 'API_CALL', 2, '2027-01-15 07:20')"#,
        )
        .await;
        let later = to_json(&take(&app, true).await, false);
        assert_eq!(later["parts"][2]["taken"], 1);
        assert_eq!(
            app.count("select sum(count)::bigint from usage_records where hour = '2027-01-15 07:00Z'")
                .await,
            3
        );
    }
}
