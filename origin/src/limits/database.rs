//! Counters in the database: a row per counter, locked while the pure rule decides, so that any number of origins are
//! exact together.

use kado_shared::{
    limits::{
        Mode, gcra,
        protocol::{Take, Taken},
        strict,
    },
    tenant::TenantId,
};
use serde::{Deserialize, Serialize};

use crate::database::{Database, DatabaseError};

/// Most rows of one sweep.
const BATCH: i64 = 10_000;

/// A counter as it is stored.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Counter {
    Strict(strict::Log),
    Fast(gcra::Tat),
}

impl Counter {
    /// The stored counter; a new one where there is none of this mode.
    fn read(state: serde_json::Value, mode: Mode) -> Self {
        match (serde_json::from_value(state), mode) {
            (Ok(counter @ Self::Strict(_)), Mode::Strict) | (Ok(counter @ Self::Fast(_)), Mode::Fast) => counter,
            (_, Mode::Strict) => Self::Strict(strict::Log::default()),
            (_, Mode::Fast) => Self::Fast(gcra::Tat::default()),
        }
    }

    /// Decides, counts, and says until when the counter matters, Unix milliseconds.
    fn take(&mut self, take: &Take, now_ms: u64) -> (Taken, u64) {
        match self {
            Self::Strict(log) => {
                let decision = log.take(&take.rule, now_ms);
                let granted = u32::from(decision.admitted);
                (
                    Taken { granted, decision },
                    log.matters_until(&take.rule).unwrap_or(now_ms),
                )
            }
            Self::Fast(tat) => {
                let (granted, decision) = gcra::take(tat, &take.rule, take.wanted, now_ms);
                (Taken { granted, decision }, gcra::matters_until(*tat))
            }
        }
    }
}

/// Decides about a request and counts it.
pub(super) async fn take(database: &Database, tenant: TenantId, take: &Take) -> Result<Taken, DatabaseError> {
    let mut transaction = database.begin(tenant).await?;
    // What a crash takes of the last moments is no more than the loss of Redis took before.
    sqlx::query!("set local synchronous_commit = off")
        .execute(transaction.connection())
        .await?;
    // Makes the row or waits for it; the clock is read when it is ours, and is the same for every origin.
    let row = sqlx::query!(
        r#"insert into limit_counters (tenant_id, key, state, until_ms) values ($1, $2, 'null', 0)
           on conflict (tenant_id, key) do update set until_ms = limit_counters.until_ms
           returning state, (extract(epoch from clock_timestamp()) * 1000)::bigint as "now_ms!""#,
        tenant.0,
        take.key,
    )
    .fetch_one(transaction.connection())
    .await?;
    let mut counter = Counter::read(row.state, take.rule.mode);
    let (taken, until_ms) = counter.take(take, u64::try_from(row.now_ms).unwrap_or(0));
    sqlx::query!(
        "update limit_counters set state = $3, until_ms = $4 where tenant_id = $1 and key = $2",
        tenant.0,
        take.key,
        serde_json::to_value(&counter).unwrap_or_default(),
        i64::try_from(until_ms).unwrap_or(i64::MAX),
    )
    .execute(transaction.connection())
    .await?;
    transaction.commit().await?;
    Ok(taken)
}

/// Removes counters that no longer matter; answers how many.
pub(crate) async fn sweep(database: &Database) -> Result<u64, DatabaseError> {
    // A row that is being counted with is left for the next time.
    let swept = sqlx::query!(
        "delete from limit_counters where (tenant_id, key) in
             (select tenant_id, key from limit_counters
              where until_ms < extract(epoch from clock_timestamp()) * 1000 limit $1 for update skip locked)",
        BATCH,
    )
    .execute(database.system())
    .await?;
    Ok(swept.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::{Counter, sweep, take};
    use crate::testing::TestDatabase;
    use kado_shared::{
        limits::{Mode, OnFailure, Rule, protocol::Take},
        tenant::TenantId,
    };
    use proptest::prelude::{any, prop, prop_assert, proptest};
    use uuid::Uuid;

    proptest! {
        /// The row is all that is known of a key, and the rule may be another each time.
        #[test]
        fn a_changed_rule_refuses_nobody_for_longer_than_it_says(
            rules in prop::collection::vec((1_u32..=10_000, 1_u32..=3_600, any::<bool>()), 2..4),
            steps in prop::collection::vec((0_u64..9_000, 0_usize..12), 1..60),
        ) {
            let (mut state, mut now, mut current) = (serde_json::Value::Null, 1_800_000_000_000, 0);
            for (step, change) in steps {
                now += step;
                current = if change < rules.len() { change } else { current };
                let (quota, window_seconds, is_strict) = rules[current];
                let mode = if is_strict { Mode::Strict } else { Mode::Fast };
                let mut take = request("client", quota, mode);
                take.rule.window_seconds = window_seconds;
                let mut counter = Counter::read(state, mode);
                let (taken, _) = counter.take(&take, now);
                state = serde_json::to_value(&counter).unwrap();
                if !taken.decision.admitted {
                    let later = now + taken.decision.reset_ms;
                    let (again, _) = Counter::read(state.clone(), mode).take(&take, later);
                    prop_assert!(again.decision.admitted, "{take:?} at {now}: {taken:?}, then {again:?}");
                }
            }
        }
    }

    fn request(key: &str, quota: u32, mode: Mode) -> Take {
        Take {
            key: key.to_owned(),
            rule: Rule {
                quota,
                window_seconds: 600,
                mode,
                on_failure: OnFailure::Open,
                shadow: false,
            },
            wanted: 1,
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn at_once_exactly_the_quota_is_admitted_and_a_tenant_counts_for_itself() {
        let Some(database) = TestDatabase::create().await else {
            return;
        };
        let tenants = [1, 2].map(|number| TenantId(Uuid::from_u128(number)));
        for tenant in tenants {
            sqlx::query("insert into tenants (id, name) values ($1, $1::text)")
                .bind(tenant.0)
                .execute(database.superuser())
                .await
                .unwrap();
        }
        for mode in [Mode::Strict, Mode::Fast] {
            for tenant in tenants {
                let asks = (0..30).map(|_| {
                    let pools = database.pools().clone();
                    tokio::spawn(async move { take(&pools, tenant, &request("client", 7, mode)).await })
                });
                let mut admitted = 0;
                for ask in asks.collect::<Vec<_>>() {
                    admitted += u32::from(ask.await.unwrap().unwrap().decision.admitted);
                }
                assert_eq!(admitted, 7, "{mode:?}");
            }
        }
        assert_eq!(sweep(database.pools()).await.unwrap(), 0);
        sqlx::query("update limit_counters set until_ms = 1")
            .execute(database.superuser())
            .await
            .unwrap();
        assert_eq!(sweep(database.pools()).await.unwrap(), 2);
    }
}
