//! Quotas of users, counted in PostgreSQL alone: one row per user, action and hour, and one statement that spends. However
//! many replicas spend at once, the row's lock puts them one after another, and none passes the limit.
//!
//! What may be spent is decided in `kado_shared::quota`; who calls this decides what is work.

use kado_shared::{
    quota::{Action, Override, Standing, Verdict},
    tenant::TenantId,
};
use sqlx::{PgConnection, PgPool};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::{clock::unix, database::DatabaseError, http::failure::Failure};

/// How long an hour's row is kept.
pub(crate) const KEEP_USAGE: Duration = Duration::days(90);
/// How long it is remembered what an edge has spent.
const KEEP_RECEIPTS: Duration = Duration::days(1);

/// What is spent from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    pub(crate) tenant: TenantId,
    pub(crate) user: Uuid,
    pub(crate) action: Action,
}

/// How much is spent, and where that ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) count: u32,
    pub(crate) limit: u64,
    /// Whether the limit refuses, or only tells.
    pub(crate) enforced: bool,
}

/// What an administrator granted a user, as the table has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) image_process: Option<i32>,
    pub(crate) api_call: Option<i32>,
    pub(crate) until: Option<OffsetDateTime>,
}

impl Granted {
    /// What of it holds now.
    pub(crate) fn at(self, now: OffsetDateTime) -> Override {
        if self.until.is_none_or(|until| until <= now) {
            return Override::default();
        }
        let number = |value: Option<i32>| value.and_then(|value| u32::try_from(value).ok());
        Override {
            image_process: number(self.image_process),
            api_call: number(self.api_call),
        }
    }
}

/// The hour of a moment.
pub(crate) fn hour_of(now: OffsetDateTime) -> OffsetDateTime {
    let seconds = now.unix_timestamp();
    OffsetDateTime::from_unix_timestamp(seconds - seconds.rem_euclid(3600)).unwrap_or(now)
}

fn standing(hour: OffsetDateTime, limit: u64, spent: i64) -> Standing {
    Standing::of(
        limit,
        u64::try_from(spent).unwrap_or(0),
        unix(hour + Duration::hours(1)),
    )
}

/// Spends, in the hour of `now`, or refuses. It counts when the transaction is committed; until then others who spend
/// from the same account wait.
pub(crate) async fn spend(
    connection: &mut PgConnection,
    account: Account,
    cost: Cost,
    now: OffsetDateTime,
) -> Result<Verdict, DatabaseError> {
    let hour = hour_of(now);
    let most = i64::try_from(cost.limit)
        .ok()
        .filter(|_| cost.enforced)
        .unwrap_or(i64::MAX);
    let spent = sqlx::query_file_scalar!(
        "src/quota/spend.sql",
        account.tenant.0,
        account.user,
        account.action.as_str(),
        hour,
        i64::from(cost.count),
        most,
    )
    .fetch_optional(&mut *connection)
    .await?;
    Ok(match spent {
        Some(spent) => Verdict {
            admitted: true,
            standing: standing(hour, cost.limit, spent),
        },
        None => Verdict {
            admitted: false,
            standing: look(connection, account, cost.limit, hour).await?,
        },
    })
}

/// Where an account stands in an hour.
pub(crate) async fn look(
    connection: &mut PgConnection,
    account: Account,
    limit: u64,
    at: OffsetDateTime,
) -> Result<Standing, DatabaseError> {
    let hour = hour_of(at);
    let spent = sqlx::query_scalar!(
        "select count from usage_records where tenant_id = $1 and user_id = $2 and action = $3 and hour = $4",
        account.tenant.0,
        account.user,
        account.action.as_str(),
        hour,
    )
    .fetch_optional(connection)
    .await?;
    Ok(standing(hour, limit, spent.unwrap_or(0)))
}

/// Gives back to the hour it was spent in, never below nothing.
pub(crate) async fn refund(
    connection: &mut PgConnection,
    account: Account,
    count: i64,
    spent_at: OffsetDateTime,
) -> Result<(), DatabaseError> {
    sqlx::query!(
        "update usage_records set count = greatest(count - $5, 0)
         where tenant_id = $1 and user_id = $2 and action = $3 and hour = $4",
        account.tenant.0,
        account.user,
        account.action.as_str(),
        hour_of(spent_at),
        count,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The answer to whom a quota refuses.
pub(crate) fn exceeded(action: Action, standing: Standing, now: OffsetDateTime) -> Failure {
    let what = match action {
        Action::ImageProcess => "pictures",
        Action::ApiCall => "API calls",
    };
    let seconds = standing.wait(unix(now));
    Failure::quota_exceeded(
        action.as_str(),
        seconds,
        format!(
            "{} {what} an hour are what this user may spend; the next hour begins in {seconds} s",
            standing.limit
        ),
    )
}

/// Removes at most so many rows of each table that have been kept long enough; answers how many.
pub(crate) async fn sweep(pool: &PgPool, now: OffsetDateTime, batch: i64) -> Result<u64, DatabaseError> {
    let usage = sqlx::query!(
        "delete from usage_records where (tenant_id, user_id, action, hour) in
             (select tenant_id, user_id, action, hour from usage_records where hour < $1 limit $2)",
        now - KEEP_USAGE,
        batch,
    )
    .execute(pool)
    .await?;
    let receipts = sqlx::query!(
        "delete from quota_receipts where (tenant_id, id) in
             (select tenant_id, id from quota_receipts where created_at < $1 limit $2)",
        now - KEEP_RECEIPTS,
        batch,
    )
    .execute(pool)
    .await?;
    Ok(usage.rows_affected() + receipts.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::{Account, Cost, Granted, hour_of, look, refund, spend};
    use crate::{api::testing::TestApp, database::Database};
    use kado_shared::quota::{Action, Override};
    use std::sync::atomic::{AtomicU32, Ordering};
    use time::{Duration, macros::datetime};
    use uuid::Uuid;

    const LIMITED: Cost = Cost {
        count: 1,
        limit: 100,
        enforced: true,
    };

    async fn account(app: &TestApp) -> Account {
        let user: Uuid = sqlx::query_scalar("select id from users")
            .fetch_one(app.database().superuser())
            .await
            .unwrap();
        Account {
            tenant: app.tenant,
            user,
            action: Action::ImageProcess,
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_thousand_at_two_replicas_spend_the_limit_and_not_one_more() {
        let Some(app) = TestApp::start().await else { return };
        let (account, now) = (account(&app).await, app.service.clock.now());
        let replicas = [app.database().pools().clone(), app.database().other_pools()];
        let admitted = std::sync::Arc::new(AtomicU32::new(0));
        let mut tasks = tokio::task::JoinSet::new();
        for index in 0..1000_usize {
            let (database, admitted) = (Database::clone(&replicas[index % 2]), std::sync::Arc::clone(&admitted));
            tasks.spawn(async move {
                let mut transaction = database.begin(account.tenant).await.unwrap();
                let verdict = spend(transaction.connection(), account, LIMITED, now).await.unwrap();
                transaction.commit().await.unwrap();
                admitted.fetch_add(u32::from(verdict.admitted), Ordering::Relaxed);
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        assert_eq!(admitted.load(Ordering::Relaxed), 100);
        assert_eq!(app.count("select sum(count)::bigint from usage_records").await, 100);
        assert_eq!(app.count("select count(*) from usage_records").await, 1);
        replicas[1].close().await;
    }

    #[tokio::test]
    async fn several_at_once_are_spent_whole_or_not_at_all_and_a_refund_stays_in_its_hour() {
        let Some(app) = TestApp::start().await else { return };
        let (account, now) = (account(&app).await, app.service.clock.now());
        let mut transaction = app.service.database.begin(app.tenant).await.unwrap();
        let connection = transaction.connection();
        let cost = |count| Cost { count, ..LIMITED };
        let first = spend(connection, account, cost(101), now).await.unwrap();
        assert_eq!((first.admitted, first.standing.remaining), (false, 100));
        assert!(spend(connection, account, cost(98), now).await.unwrap().admitted);
        let third = spend(connection, account, cost(3), now).await.unwrap();
        assert_eq!((third.admitted, third.standing.remaining), (false, 2));
        let beyond = Cost {
            enforced: false,
            ..cost(3)
        };
        let counted = spend(connection, account, beyond, now).await.unwrap();
        assert_eq!((counted.admitted, counted.standing.remaining), (true, 0));

        let later = now + Duration::hours(1);
        assert!(spend(connection, account, LIMITED, later).await.unwrap().admitted);
        refund(connection, account, 500, now).await.unwrap();
        refund(connection, account, 1, now + Duration::hours(5)).await.unwrap();
        for (at, remaining) in [(now, 100), (later, 99)] {
            let standing = look(connection, account, 100, at).await.unwrap();
            assert_eq!(standing.remaining, remaining, "{at}");
        }
    }

    #[tokio::test]
    async fn spending_goes_by_the_primary_key() {
        let Some(app) = TestApp::start().await else { return };
        let account = account(&app).await;
        app.execute(
            "insert into users (tenant_id, email, password_hash)
             select id, 'user' || n || '@localhost', '' from tenants, generate_series(1, 30) n",
        )
        .await;
        app.execute(
            "insert into usage_records select tenant_id, id, 'API_CALL', h, 1
             from users, generate_series(timestamptz '2027-01-01', timestamptz '2027-01-15', interval '1 hour') h",
        )
        .await;
        app.execute("analyze usage_records").await;
        let mut transaction = app.service.database.begin(app.tenant).await.unwrap();
        let sql = format!("explain {}", include_str!("spend.sql"));
        let plan: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
            .bind(account.tenant.0)
            .bind(account.user)
            .bind("API_CALL")
            .bind(hour_of(app.service.clock.now()))
            .bind(1_i64)
            .bind(100_i64)
            .fetch_all(transaction.connection())
            .await
            .unwrap();
        let plan = plan.join("\n");
        assert!(
            plan.contains("Conflict Arbiter Indexes: usage_records_pkey") && !plan.contains("Scan"),
            "{plan}"
        );
        for sql in [
            "explain select count from usage_records where tenant_id = $1 and user_id = $2 and action = 'API_CALL' and hour = $3",
            "explain update usage_records set count = 0 where tenant_id = $1 and user_id = $2 and action = 'API_CALL' and hour = $3",
        ] {
            let plan: Vec<String> = sqlx::query_scalar(sql)
                .bind(account.tenant.0)
                .bind(account.user)
                .bind(hour_of(app.service.clock.now()))
                .fetch_all(transaction.connection())
                .await
                .unwrap();
            let plan = plan.join("\n");
            assert!(plan.contains("using usage_records_pkey"), "{plan}");
        }
    }

    #[test]
    fn what_was_granted_ends_and_hours_are_whole() {
        let now = datetime!(2027-01-15 08:59:59.9 UTC);
        assert_eq!(hour_of(now), datetime!(2027-01-15 08:00 UTC));
        let granted = Granted {
            image_process: Some(5),
            api_call: None,
            until: Some(now),
        };
        assert_eq!(granted.at(now), Override::default());
        assert_eq!(granted.at(now - Duration::SECOND).image_process, Some(5));
    }
}
