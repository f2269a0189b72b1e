//! Rate limits as the gateway applies them: leases for the fast rules, a memory of who is blocked, headers on every answer.

use std::{cell::RefCell, collections::HashMap};

use kado_shared::{
    limits::{Decision, Mode, OnFailure, Rule, headers, key, protocol::Take},
    problem::{Code, Problem},
};

use super::{Gateway, snapshot::Snapshot};
use crate::{
    answer::{Answer, Refusal},
    exchange::Exchange,
    js,
    objects::rate_limiter,
};

/// Keys an isolate remembers leases and blocks of.
const MOST_KEYS: usize = 20_000;

/// What an isolate knows about a key without asking its object.
#[derive(Clone, Copy, Debug)]
struct Local {
    rule: Rule,
    /// Units that the object granted in advance.
    units: u32,
    /// How many were leased last: doubled while they are used up, so that a slow client never wastes what it needs.
    leased: u32,
    /// When what is left of the lease is void, Unix milliseconds: by then the object has granted as much again.
    lease_until_ms: u64,
    /// Until when the object said no, Unix milliseconds.
    blocked_until_ms: u64,
    decision: Decision,
}

thread_local! {
    static LOCAL: RefCell<HashMap<String, Local>> = RefCell::new(HashMap::new());
}

/// Where a request stands with its limit; goes onto whatever is answered.
#[derive(Debug)]
pub(crate) struct Standing(Vec<(&'static str, String)>);

impl Standing {
    /// Puts the headers onto an answer or a refusal. They are added after the cache and never stored.
    pub(crate) fn on(self, result: Result<Answer, Refusal>) -> Result<Answer, Refusal> {
        match result {
            Ok(mut answer) => {
                // The limit that was counted last is the narrower one: its word stands.
                if answer.header("ratelimit").is_none() {
                    for (name, value) in &self.0 {
                        answer.set(name, value);
                    }
                }
                Ok(answer)
            }
            Err(mut refusal) => {
                if !refusal.headers.iter().any(|(name, _)| *name == "ratelimit") {
                    refusal.headers.extend(self.0);
                }
                Err(refusal)
            }
        }
    }
}

/// Counts a request under the rule in `setting`, publicly called `name`.
///
/// # Errors
/// 429 where the rule refuses, 503 where the limiter is away and the rule closes then.
pub(crate) async fn check(
    gateway: &Gateway,
    exchange: &Exchange,
    snapshot: &Snapshot,
    setting: &str,
    name: &'static str,
) -> Result<Standing, Refusal> {
    let (Some(rule), Some(client)) = (snapshot.settings.limit(setting), exchange.client_ip) else {
        // No client address means no peer: only the runtime itself asks like this.
        return Ok(Standing(Vec::new()));
    };
    let mut tightest: Option<(Rule, Decision)> = None;
    for (client, factor) in key::of_client(client) {
        let rule = Rule {
            quota: rule.quota.saturating_mul(factor),
            ..rule
        };
        let key = format!("{}/{name}/{client}", snapshot.config.tenant.id);
        let decision = match decide(gateway, name, key, rule).await {
            Ok(decision) => decision,
            Err(error) => return limiter_away(&rule, name, &js::describe(&error)),
        };
        let tighter = tightest
            .is_none_or(|(_, known)| (decision.admitted, decision.remaining) < (known.admitted, known.remaining));
        if tighter {
            tightest = Some((rule, decision));
        }
        if !decision.admitted {
            break;
        }
    }
    let Some((rule, decision)) = tightest else {
        return Ok(Standing(Vec::new()));
    };
    let headers = headers::of(name, &rule, decision, js::now_ms());
    if decision.admitted || rule.shadow {
        Ok(Standing(headers))
    } else {
        Err(refused(name, &rule, decision, headers))
    }
}

fn refused(name: &str, rule: &Rule, decision: Decision, headers: Vec<(&'static str, String)>) -> Refusal {
    let seconds = decision.reset_ms.div_ceil(1000).max(1);
    let detail = format!(
        "the limit {name:?} admits {} requests in {} s; the next one is admitted in {seconds} s",
        rule.quota, rule.window_seconds
    );
    Refusal {
        problem: Box::new(Problem::new(Code::RateLimited, detail).with_violated_policy(name)),
        headers,
    }
}

fn limiter_away(rule: &Rule, name: &str, error: &str) -> Result<Standing, Refusal> {
    crate::log::line(
        &serde_json::json!({ "level": "error", "event": "limiter-away", "limit": name, "message": error }),
    );
    match rule.on_failure {
        OnFailure::Open => Ok(Standing(Vec::new())),
        OnFailure::Closed => Err(Refusal::new(Code::Unavailable, "the rate limiter is away").with("retry-after", "1")),
    }
}

async fn decide(gateway: &Gateway, name: &str, key: String, rule: Rule) -> Result<Decision, wasm_bindgen::JsValue> {
    let now = js::now_ms();
    if let Some(decision) = decide_locally(&key, &rule, now) {
        return Ok(decision);
    }
    let wanted = LOCAL.with_borrow(|local| next_lease(local.get(&key), &rule, now));
    let take = Take { key, rule, wanted };
    let taken = rate_limiter::take(&gateway.env, name, &take, gateway.one_object_per_key()).await?;
    let now = js::now_ms();
    LOCAL.with_borrow_mut(|local| {
        if local.len() >= MOST_KEYS {
            local.retain(|_, known| known.lease_until_ms.max(known.blocked_until_ms) > now);
            if local.len() >= MOST_KEYS {
                // Every key is in use: forgetting them costs an object call each, and nothing else.
                local.clear();
            }
        }
        let interval_ms = rule.window_ms() / u64::from(rule.quota.max(1));
        local.insert(
            take.key,
            Local {
                rule,
                units: taken.granted.saturating_sub(1),
                leased: taken.granted.max(1),
                lease_until_ms: now + interval_ms * u64::from(taken.granted),
                blocked_until_ms: if taken.granted == 0 {
                    now + taken.decision.reset_ms
                } else {
                    0
                },
                decision: taken.decision,
            },
        );
    });
    let spare = taken.granted.saturating_sub(1);
    Ok(Decision {
        admitted: taken.granted > 0,
        remaining: taken.decision.remaining.saturating_add(spare),
        reset_ms: taken.decision.reset_ms,
    })
}

/// Decides without asking: from what is leased, or from a block that has not ended.
fn decide_locally(key: &str, rule: &Rule, now: u64) -> Option<Decision> {
    LOCAL.with_borrow_mut(|local| {
        let known = local.get_mut(key).filter(|known| known.rule == *rule)?;
        if known.blocked_until_ms > now {
            return Some(Decision {
                admitted: false,
                remaining: 0,
                reset_ms: known.blocked_until_ms - now,
            });
        }
        if known.units == 0 || known.lease_until_ms <= now {
            return None;
        }
        known.units -= 1;
        Some(Decision {
            admitted: true,
            remaining: known.decision.remaining.saturating_add(known.units),
            ..known.decision
        })
    })
}

/// How many units to ask for: one at a time for strict rules and slow clients, up to a fiftieth of the quota for fast ones.
fn next_lease(known: Option<&Local>, rule: &Rule, now: u64) -> u32 {
    match (rule.mode, known) {
        (Mode::Strict, _) | (Mode::Fast, None) => 1,
        (Mode::Fast, Some(known)) if known.lease_until_ms <= now => 1,
        (Mode::Fast, Some(known)) => known.leased.saturating_mul(2).min(rule.quota.div_ceil(50)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Local, next_lease};
    use kado_shared::limits::{Decision, Mode, OnFailure, Rule};

    const FAST: Rule = Rule {
        quota: 600,
        window_seconds: 60,
        mode: Mode::Fast,
        on_failure: OnFailure::Open,
        shadow: false,
    };

    fn local(leased: u32, lease_until_ms: u64) -> Local {
        let decision = Decision {
            admitted: true,
            remaining: 1,
            reset_ms: 1,
        };
        Local {
            rule: FAST,
            units: 0,
            leased,
            lease_until_ms,
            blocked_until_ms: 0,
            decision,
        }
    }

    #[test]
    fn leases_grow_with_use_and_never_for_strict_rules() {
        assert_eq!(next_lease(None, &FAST, 0), 1);
        assert_eq!(next_lease(Some(&local(1, 100)), &FAST, 50), 2);
        assert_eq!(next_lease(Some(&local(8, 100)), &FAST, 50), 12);
        assert_eq!(next_lease(Some(&local(12, 100)), &FAST, 100), 1);
        assert_eq!(
            next_lease(
                Some(&local(8, 100)),
                &Rule {
                    mode: Mode::Strict,
                    ..FAST
                },
                50
            ),
            1
        );
    }
}
