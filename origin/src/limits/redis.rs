//! Counters in Redis: one script decides and counts, by the server's clock, so that any number of origins are exact
//! together.

use kado_shared::{
    limits::{
        Decision, Mode,
        protocol::{Take, Taken},
    },
    tenant::TenantId,
};
use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::redis::Redis;

const SCRIPT: &str = include_str!("take.lua");
/// SHA-1 of the script, by which Redis knows it once it has seen it.
static SCRIPT_ID: std::sync::OnceLock<String> = std::sync::OnceLock::new();

/// Decides about a request and counts it.
pub(super) async fn take(redis: &Redis, tenant: TenantId, take: &Take) -> Result<Taken, RedisError> {
    take_at(redis, tenant, take, None).await
}

async fn take_at(redis: &Redis, tenant: TenantId, take: &Take, now_ms: Option<u64>) -> Result<Taken, RedisError> {
    let known = SCRIPT_ID.get();
    let decided = match known {
        Some(id) => decide(redis, "EVALSHA", id, tenant, take, now_ms).await,
        None => decide(redis, "EVAL", SCRIPT, tenant, take, now_ms).await,
    };
    match decided {
        // A Redis that was started anew has seen no script yet.
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
            decide(redis, "EVAL", SCRIPT, tenant, take, now_ms).await
        }
        Ok(taken) if known.is_none() => {
            let mut load = redis::cmd("SCRIPT");
            let id = redis.ask(load.arg("LOAD").arg(SCRIPT)).await?;
            let _ = SCRIPT_ID.set(id);
            Ok(taken)
        }
        decided => decided,
    }
}

async fn decide(
    redis: &Redis,
    command: &str,
    script: &str,
    tenant: TenantId,
    take: &Take,
    now_ms: Option<u64>,
) -> Result<Taken, RedisError> {
    let mode = match take.rule.mode {
        Mode::Strict => "strict",
        Mode::Fast => "fast",
    };
    let mut command = redis::cmd(command);
    command
        .arg(script)
        .arg(1)
        .arg(format!("kado:limit:{mode}:{tenant}/{}", take.key))
        .arg(mode)
        .arg(take.rule.quota)
        .arg(take.rule.window_ms())
        .arg(take.wanted)
        .arg(now_ms.map(|now| now.to_string()).unwrap_or_default());
    let (granted, admitted, remaining, reset_ms): (u32, u32, u32, u64) = redis.ask(&command).await?;
    Ok(Taken {
        granted,
        decision: Decision {
            admitted: admitted > 0,
            remaining,
            reset_ms,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::take_at;
    use crate::redis::{Redis, testing::Server};
    use kado_shared::{
        limits::{
            Mode, OnFailure, Rule, gcra,
            protocol::{Take, Taken},
            strict,
        },
        tenant::TenantId,
    };
    use proptest::{
        prelude::{Strategy, any, prop},
        strategy::ValueTree,
        test_runner::TestRunner,
    };
    use uuid::Uuid;

    /// The pure rules, as the limiter's objects apply them.
    #[derive(Default)]
    struct Pure {
        log: strict::Log,
        tat: gcra::Tat,
    }

    impl Pure {
        fn take(&mut self, take: &Take, now: u64) -> Taken {
            match take.rule.mode {
                Mode::Strict => {
                    let decision = self.log.take(&take.rule, now);
                    Taken {
                        granted: u32::from(decision.admitted),
                        decision,
                    }
                }
                Mode::Fast => {
                    let (granted, decision) = gcra::take(&mut self.tat, &take.rule, take.wanted, now);
                    Taken { granted, decision }
                }
            }
        }
    }

    /// Rules of a client, of which one after another is in force, and its steps: time that passes (it may go back), units
    /// wanted, and which rule is in force from then on, if it changes.
    type Case = (bool, [(u32, u32); 3], Vec<(i64, u32, usize)>);

    fn cases() -> impl Strategy<Value = Case> {
        let near = (1_u32..40, 30_u32..90);
        // From a few in an hour to many thousands in a second.
        let far = (1_u32..=10_000, 1_u32..=3_600);
        let steps = prop::collection::vec((-2_000_i64..9_000, 1_u32..6, 0_usize..12), 1..60);
        (any::<bool>(), near, far, steps).prop_map(|(is_strict, near, far, steps)| {
            let halved = (near.0.div_ceil(2), near.1);
            (is_strict, [near, halved, far], steps)
        })
    }

    #[tokio::test]
    async fn the_script_decides_as_the_rule_does() {
        let Some(server) = Server::start().await else { return };
        let redis = Redis::new(&server.address()).unwrap();
        let mut runner = TestRunner::deterministic();
        for case in 0..60_u128 {
            let (is_strict, rules, steps) = cases().new_tree(&mut runner).unwrap().current();
            let (mut pure, mut now, mut current) = (Pure::default(), 1_800_000_000_000_u64, 0);
            let tenant = TenantId(Uuid::from_u128(case));
            for (number, (step, wanted, change)) in steps.into_iter().enumerate() {
                now = now.saturating_add_signed(step);
                if change < rules.len() {
                    current = change;
                }
                let (quota, window_seconds) = rules[current];
                let take = Take {
                    key: "client".to_owned(),
                    rule: Rule {
                        quota,
                        window_seconds,
                        mode: if is_strict { Mode::Strict } else { Mode::Fast },
                        on_failure: OnFailure::Open,
                        shadow: false,
                    },
                    wanted: if is_strict { 1 } else { wanted },
                };
                let decided = take_at(&redis, tenant, &take, Some(now)).await.unwrap();
                assert_eq!(
                    decided,
                    pure.take(&take, now),
                    "case {case}, step {number}: {take:?} at {now}"
                );
                // Whatever rule was in force before, its refusal ends when this one says.
                if !is_strict && !decided.decision.admitted {
                    now += decided.decision.reset_ms;
                    let again = take_at(&redis, tenant, &take, Some(now)).await.unwrap();
                    assert_eq!(again, pure.take(&take, now), "case {case}, after step {number}");
                    assert!(
                        again.decision.admitted,
                        "case {case}, after step {number}: {take:?} at {now}"
                    );
                }
            }
        }
    }

    #[tokio::test]
    async fn a_counter_is_gone_when_it_no_longer_matters_and_a_new_server_learns_the_script() {
        let Some(server) = Server::start().await else { return };
        let redis = Redis::new(&server.address()).unwrap();
        let tenant = TenantId(Uuid::nil());
        for mode in [Mode::Strict, Mode::Fast] {
            let take = Take {
                key: "client".to_owned(),
                rule: Rule {
                    quota: 2,
                    window_seconds: 600,
                    mode,
                    on_failure: OnFailure::Open,
                    shadow: false,
                },
                wanted: 1,
            };
            assert!(super::take(&redis, tenant, &take).await.unwrap().decision.admitted);
            redis.ask::<()>(redis::cmd("SCRIPT").arg("FLUSH")).await.unwrap();
            assert!(super::take(&redis, tenant, &take).await.unwrap().decision.admitted);
            assert!(!super::take(&redis, tenant, &take).await.unwrap().decision.admitted);
            let mode = if mode == Mode::Strict { "strict" } else { "fast" };
            let key = format!("kado:limit:{mode}:{tenant}/client");
            let left: i64 = redis.ask(redis::cmd("PTTL").arg(&key)).await.unwrap();
            assert!((590_000..=600_000).contains(&left), "{mode}: {left}");
        }
    }
}
