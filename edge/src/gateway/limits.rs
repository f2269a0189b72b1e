//! Rate limits as the gateway applies them: leases for the fast rules, a memory of who is blocked, headers on every answer.

use std::{cell::RefCell, collections::HashMap};

use kado_shared::{
    limits::{
        Decision, Mode, OnFailure, Rule, headers, key,
        protocol::{Take, Taken},
    },
    problem::{Code, Problem},
};

use super::{
    Gateway,
    snapshot::Snapshot,
    telemetry::{LIMITS, count},
};
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
    /// Until when a larger lease is being asked for, Unix milliseconds; others then ask for one unit each.
    asking_until_ms: u64,
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
            Err(error) => {
                count(&snapshot.config.tenant.id.to_string(), LIMITS, &[name, "away"], 1);
                return limiter_away(&rule, name, &js::describe(&error));
            }
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
    let result = match (decision.admitted, rule.shadow) {
        (true, _) => "allowed",
        (false, true) => "shadow",
        (false, false) => "refused",
    };
    count(&snapshot.config.tenant.id.to_string(), LIMITS, &[name, result], 1);
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
    let wanted = LOCAL.with_borrow_mut(|local| next_lease(local.get_mut(&key), &rule, now));
    let take = Take { key, rule, wanted };
    let taken = rate_limiter::take(&gateway.env, name, &take, gateway.one_object_per_key()).await?;
    let now = js::now_ms();
    LOCAL.with_borrow_mut(|local| {
        if local.len() >= MOST_KEYS {
            local.retain(|_, known| known.lease_until_ms.max(known.blocked_until_ms) > now);
            if local.len() >= MOST_KEYS {
                // Every key is in use: what is leased is lost with it, which admits too few for a moment, never too many.
                local.clear();
            }
        }
        let known = local.remove(&take.key).filter(|known| known.rule == rule);
        local.insert(take.key, merge(known, rule, taken, wanted, now));
    });
    let spare = taken.granted.saturating_sub(1);
    Ok(Decision {
        admitted: taken.granted > 0,
        remaining: taken.decision.remaining.saturating_add(spare),
        reset_ms: taken.decision.reset_ms,
    })
}

/// What is known of a key after its object has answered: several requests may have asked at once, and what each of them
/// was granted is kept.
fn merge(known: Option<Local>, rule: Rule, taken: Taken, wanted: u32, now: u64) -> Local {
    let interval_ms = rule.window_ms() / u64::from(rule.quota.max(1));
    let kept = known.as_ref().filter(|known| known.lease_until_ms > now);
    let units = kept
        .map_or(0, |known| known.units)
        .saturating_add(taken.granted.saturating_sub(1));
    let lease_until_ms = now.saturating_add(interval_ms.saturating_mul(u64::from(taken.granted)));
    Local {
        rule,
        units,
        leased: if wanted > 1 {
            taken.granted.max(1)
        } else {
            known.as_ref().map_or(1, |known| known.leased)
        },
        asking_until_ms: known
            .as_ref()
            .filter(|_| wanted == 1)
            .map_or(0, |known| known.asking_until_ms),
        lease_until_ms: kept.map_or(0, |known| known.lease_until_ms).max(lease_until_ms),
        blocked_until_ms: if taken.granted == 0 && units == 0 {
            now + taken.decision.reset_ms
        } else {
            0
        },
        decision: taken.decision,
    }
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

/// How many units to ask for: one at a time for strict rules and slow clients, up to a fiftieth of the quota for fast ones,
/// and one while another request is asking for more.
fn next_lease(known: Option<&mut Local>, rule: &Rule, now: u64) -> u32 {
    /// An answer that takes longer than this is not waited for.
    const ASKING_MS: u64 = 1000;
    match (rule.mode, known) {
        (Mode::Fast, Some(known)) if known.lease_until_ms > now && known.asking_until_ms <= now => {
            known.asking_until_ms = now + ASKING_MS;
            known.leased.saturating_mul(2).min(rule.quota.div_ceil(50))
        }
        (Mode::Strict | Mode::Fast, _) => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::{Local, merge, next_lease};
    use kado_shared::limits::{Decision, Mode, OnFailure, Rule, protocol::Taken};

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
            asking_until_ms: 0,
            lease_until_ms,
            blocked_until_ms: 0,
            decision,
        }
    }

    fn taken(granted: u32) -> Taken {
        Taken {
            granted,
            decision: Decision {
                admitted: granted > 0,
                remaining: 0,
                reset_ms: 100,
            },
        }
    }

    #[test]
    fn leases_grow_with_use_and_never_for_strict_rules() {
        assert_eq!(next_lease(None, &FAST, 0), 1);
        assert_eq!(next_lease(Some(&mut local(1, 100)), &FAST, 50), 2);
        assert_eq!(next_lease(Some(&mut local(8, 100)), &FAST, 50), 12);
        assert_eq!(next_lease(Some(&mut local(12, 100)), &FAST, 100), 1);
        assert_eq!(
            next_lease(
                Some(&mut local(8, 100)),
                &Rule {
                    mode: Mode::Strict,
                    ..FAST
                },
                50
            ),
            1
        );
    }

    #[test]
    fn while_one_request_asks_for_a_lease_others_ask_for_one_unit() {
        let mut known = local(8, 100);
        assert_eq!(next_lease(Some(&mut known), &FAST, 50), 12);
        assert_eq!(next_lease(Some(&mut known), &FAST, 51), 1);
        let answered = merge(Some(known), FAST, taken(12), 12, 60);
        assert_eq!((answered.units, answered.leased, answered.asking_until_ms), (11, 12, 0));
    }

    #[test]
    fn what_was_granted_to_several_at_once_is_kept() {
        let first = merge(None, FAST, taken(12), 12, 0);
        let second = merge(Some(first), FAST, taken(12), 12, 1);
        assert_eq!(second.units, 22);
        let refused_late = merge(Some(second), FAST, taken(0), 1, 2);
        assert_eq!(
            (refused_late.units, refused_late.blocked_until_ms),
            (22, 0),
            "a late refusal takes nothing away"
        );
        let used_up = merge(
            Some(Local {
                units: 0,
                ..refused_late
            }),
            FAST,
            taken(0),
            1,
            3,
        );
        assert_eq!(used_up.blocked_until_ms, 103);
    }
}
