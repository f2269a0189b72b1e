//! Rate limits as the gateway applies them: which rules a request meets, whom they count, and what the client is told.
//!
//! A request must be admitted by every rule that it meets. The tightest of them speaks in the headers. A rule in shadow
//! mode counts like the others, but refuses nobody and tells the client nothing.

mod local;
mod store;

use std::borrow::Cow;

use kado_shared::{
    edge_config::LimitStore,
    limits::{
        Decision, OnFailure, Rule, Subject, headers, key,
        policy::{API_KEY_LIMIT, BUILT_IN},
        protocol::{Lease, Take},
    },
    problem::{Code, Problem},
    settings::Settings,
};
use serde_json::json;
use wasm_bindgen::JsValue;

use super::{Facts, Gateway, snapshot::Snapshot};
use crate::{
    answer::{Answer, Refusal},
    exchange::Exchange,
    js,
};
use store::Counters;

/// What a rule said to a request, for its log line and for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Admitted,
    Refused,
    /// A rule in shadow mode would have refused.
    Shadowed,
    /// The limiter was away and the rule is open then.
    AwayOpen,
    /// The limiter was away and the rule is closed then.
    AwayClosed,
}

impl Outcome {
    /// As metrics name it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Admitted => "allowed",
            Self::Refused => "refused",
            Self::Shadowed => "shadow",
            Self::AwayOpen | Self::AwayClosed => "away",
        }
    }
}

/// A limit's name for metrics: tenants may name as many as they like, so theirs are one.
pub(crate) fn metric_name(name: &str) -> &'static str {
    let others = ["transform-tenant", "health", API_KEY_LIMIT];
    BUILT_IN
        .iter()
        .map(|(_, known)| *known)
        .chain(others)
        .find(|known| *known == name)
        .unwrap_or("custom")
}

/// Where a request stands with its limits; goes onto whatever is answered.
#[derive(Debug, Default)]
pub(crate) struct Standing(Option<Said>);

/// What one rule said.
#[derive(Debug)]
struct Said {
    name: String,
    rule: Rule,
    decision: Decision,
}

impl Standing {
    /// The tighter of two.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self.0, other.0) {
            (Some(one), Some(other)) if one.is_tighter_than(&other) => Self(Some(one)),
            (one, other) => Self(other.or(one)),
        }
    }

    /// Puts the headers onto an answer or a refusal. They are added after the cache and never stored.
    pub(crate) fn on(self, result: Result<Answer, Refusal>) -> Result<Answer, Refusal> {
        let headers = self.0.map(|said| said.headers()).unwrap_or_default();
        match result {
            Ok(mut answer) => {
                // The limit that was counted last is the narrower one: its word stands.
                if answer.header("ratelimit").is_none() {
                    for (name, value) in &headers {
                        answer.set(name, value);
                    }
                }
                Ok(answer)
            }
            Err(mut refusal) => {
                if !refusal.headers.iter().any(|(name, _)| *name == "ratelimit") {
                    refusal.headers.extend(headers);
                }
                Err(refusal)
            }
        }
    }
}

impl Said {
    fn is_tighter_than(&self, other: &Self) -> bool {
        let rank = |said: &Self| (said.decision.admitted, said.decision.remaining);
        rank(self) <= rank(other)
    }

    fn headers(&self) -> Vec<(&'static str, String)> {
        headers::of(&self.name, &self.rule, self.decision, js::now_ms())
    }

    fn refusal(&self) -> Refusal {
        let Self { name, rule, decision } = self;
        let seconds = decision.reset_ms.div_ceil(1000).max(1);
        let detail = format!(
            "the limit {name:?} admits {} requests in {} s; the next one is admitted in {seconds} s",
            rule.quota, rule.window_seconds
        );
        Refusal {
            problem: Box::new(Problem::new(Code::RateLimited, detail).with_violated_policy(name.as_str())),
            headers: self.headers(),
        }
    }
}

/// Who asks, as far as the edge has found out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Who {
    pub(crate) user: Option<String>,
    pub(crate) api_key: Option<String>,
    /// The limit that the key brings with it.
    pub(crate) key_limit: Option<Rule>,
}

/// Counts a request under a built-in limit, and under the tenant's rules that need not know who asks.
///
/// # Errors
/// 429 where a rule refuses, 503 where the limiter is away and a rule closes then.
pub(crate) async fn check(
    gateway: &Gateway,
    exchange: &Exchange,
    facts: &mut Facts,
    snapshot: &Snapshot,
    setting: &str,
) -> Result<Standing, Refusal> {
    let built_in = built_in_rule(snapshot, setting).map(|(name, rule)| (name, rule, client_keys(exchange)));
    let of_tenant = snapshot.policy.rules_for(&exchange.path).filter_map(|named| {
        let keys = match named.subject {
            Subject::Ip => client_keys(exchange),
            Subject::Tenant => vec![("all".to_owned(), 1)],
            Subject::User | Subject::ApiKey => return None,
        };
        Some((named.name.as_str(), named.rule, keys))
    });
    let met: Vec<_> = built_in.into_iter().chain(of_tenant).collect();
    let tenant = snapshot.config.tenant.id.to_string();
    let counters = counters_of(&tenant, snapshot);
    // Who is known to be blocked by one of them is counted by none.
    for (name, rule, keys) in &met {
        refuse_blocked(facts, counters, name, *rule, keys)?;
    }
    let mut standing = Standing::default();
    for (name, rule, keys) in met {
        standing = standing.and(admit(gateway, facts, counters, name, rule, keys).await?);
    }
    Ok(standing)
}

/// Counts a request under the tenant's rules for whoever asks, and under the limit of their API key.
///
/// # Errors
/// As [`check`].
pub(crate) async fn check_who(
    gateway: &Gateway,
    exchange: &Exchange,
    facts: &mut Facts,
    snapshot: &Snapshot,
    who: &Who,
) -> Result<Standing, Refusal> {
    let mut standing = Standing::default();
    let tenant = snapshot.config.tenant.id.to_string();
    let counters = counters_of(&tenant, snapshot);
    if let (Some(key), Some(rule)) = (&who.api_key, who.key_limit) {
        let keys = vec![(format!("key/{key}"), 1)];
        standing = standing.and(admit(gateway, facts, counters, API_KEY_LIMIT, rule, keys).await?);
    }
    for named in snapshot.policy.rules_for(&exchange.path) {
        let known = match named.subject {
            Subject::User => who.user.as_ref().map(|user| format!("user/{user}")),
            Subject::ApiKey => who.api_key.as_ref().map(|key| format!("key/{key}")),
            Subject::Ip | Subject::Tenant => None,
        };
        if let Some(key) = known {
            standing = standing.and(admit(gateway, facts, counters, &named.name, named.rule, vec![(key, 1)]).await?);
        }
    }
    Ok(standing)
}

/// Whether a rule of the tenant counts this request by who asks.
pub(crate) fn must_know_who(exchange: &Exchange, snapshot: &Snapshot) -> bool {
    snapshot
        .policy
        .rules_for(&exchange.path)
        .any(|named| matches!(named.subject, Subject::User | Subject::ApiKey))
}

/// Counts an image request that missed the cache: under its address's limit, and under the whole tenant's.
///
/// # Errors
/// As [`check`].
pub(crate) async fn check_miss(
    gateway: &Gateway,
    exchange: &Exchange,
    facts: &mut Facts,
    snapshot: &Snapshot,
) -> Result<Standing, Refusal> {
    let standing = built_in(gateway, exchange, facts, snapshot, "limitTransform").await?;
    let Some(rule) = snapshot.policy.built_in("limitTransformTenant") else {
        return Ok(standing);
    };
    let tenant = snapshot.config.tenant.id.to_string();
    let counters = counters_of(&tenant, snapshot);
    let all = vec![("all".to_owned(), 1)];
    Ok(standing.and(admit(gateway, facts, counters, "transform-tenant", rule, all).await?))
}

/// Counts a question after readiness. It belongs to no tenant and must be answered whatever is away, so the default rule
/// for API requests counts it, under a name of its own.
///
/// # Errors
/// As [`check`].
pub(crate) async fn check_readiness(
    gateway: &Gateway,
    exchange: &Exchange,
    facts: &mut Facts,
) -> Result<Standing, Refusal> {
    match Settings::default().limit("limitApi") {
        Some(rule) => {
            let own = Counters {
                tenant: "",
                store: LimitStore::Gateway,
            };
            admit(gateway, facts, own, "health", rule, client_keys(exchange)).await
        }
        None => Ok(Standing::default()),
    }
}

async fn built_in(
    gateway: &Gateway,
    exchange: &Exchange,
    facts: &mut Facts,
    snapshot: &Snapshot,
    setting: &str,
) -> Result<Standing, Refusal> {
    let Some((name, rule)) = built_in_rule(snapshot, setting) else {
        return Ok(Standing::default());
    };
    let tenant = snapshot.config.tenant.id.to_string();
    admit(
        gateway,
        facts,
        counters_of(&tenant, snapshot),
        name,
        rule,
        client_keys(exchange),
    )
    .await
}

/// A built-in limit's name and rule.
fn built_in_rule(snapshot: &Snapshot, setting: &str) -> Option<(&'static str, Rule)> {
    let (_, name) = BUILT_IN.iter().find(|(known, _)| *known == setting)?;
    Some((name, snapshot.policy.built_in(setting)?))
}

fn counters_of<'a>(tenant: &'a str, snapshot: &Snapshot) -> Counters<'a> {
    Counters {
        tenant,
        store: snapshot.config.global.limits,
    }
}

/// Keys of the client's address. Without one there is no peer: only the runtime itself asks like this.
fn client_keys(exchange: &Exchange) -> Vec<(String, u32)> {
    exchange.client_ip.map(key::of_client).unwrap_or_default()
}

/// A rule with its quota so many times over.
const fn times(rule: Rule, factor: u32) -> Rule {
    Rule {
        quota: rule.quota.saturating_mul(factor),
        ..rule
    }
}

/// What a key is known as in the isolate.
fn known_as(counters: Counters<'_>, name: &str, subject: &str) -> String {
    format!("{}/{name}/{subject}", counters.tenant)
}

/// Refuses whom the isolate knows to be blocked under a rule.
fn refuse_blocked(
    facts: &mut Facts,
    counters: Counters<'_>,
    name: &str,
    rule: Rule,
    keys: &[(String, u32)],
) -> Result<(), Refusal> {
    let now = js::now_ms();
    for (subject, factor) in keys {
        let rule = times(rule, *factor);
        let refused = local::refuse(&known_as(counters, name, subject), &rule, now);
        if let Some(decision) = refused.filter(|_| !rule.shadow) {
            facts.limits.push((name.to_owned(), Outcome::Refused));
            let name = name.to_owned();
            return Err(Said { name, rule, decision }.refusal());
        }
    }
    Ok(())
}

/// Counts a request under one rule, for each of these keys with its factor.
async fn admit(
    gateway: &Gateway,
    facts: &mut Facts,
    counters: Counters<'_>,
    name: &str,
    rule: Rule,
    keys: Vec<(String, u32)>,
) -> Result<Standing, Refusal> {
    let mut tightest: Option<Said> = None;
    for (subject, factor) in keys {
        let rule = times(rule, factor);
        let decision = match decide(gateway, counters, name, &subject, rule).await {
            Ok(decision) => decision,
            Err(error) => return limiter_away(facts, name, &rule, &error),
        };
        let said = Said {
            name: name.to_owned(),
            rule,
            decision,
        };
        tightest = match tightest {
            Some(known) if known.is_tighter_than(&said) => Some(known),
            _ => Some(said),
        };
        if !decision.admitted {
            break;
        }
    }
    let Some(said) = tightest else {
        return Ok(Standing::default());
    };
    let outcome = match (said.decision.admitted, rule.shadow) {
        (true, _) => Outcome::Admitted,
        (false, true) => Outcome::Shadowed,
        (false, false) => Outcome::Refused,
    };
    facts.limits.push((name.to_owned(), outcome));
    match outcome {
        Outcome::Refused => Err(said.refusal()),
        _ if rule.shadow => Ok(Standing::default()),
        _ => Ok(Standing(Some(said))),
    }
}

fn limiter_away(facts: &mut Facts, name: &str, rule: &Rule, error: &JsValue) -> Result<Standing, Refusal> {
    crate::log::line(
        &json!({ "level": "error", "event": "limiter-away", "limit": name, "message": js::describe(error) }),
    );
    match rule.on_failure {
        OnFailure::Closed if !rule.shadow => {
            facts.limits.push((name.to_owned(), Outcome::AwayClosed));
            let detail = format!("the limit {name:?} cannot be counted at the moment");
            Err(Refusal::new(Code::Unavailable, detail).with("retry-after", "1"))
        }
        OnFailure::Open | OnFailure::Closed => {
            facts.limits.push((name.to_owned(), Outcome::AwayOpen));
            Ok(Standing::default())
        }
    }
}

async fn decide(
    gateway: &Gateway,
    counters: Counters<'_>,
    name: &str,
    subject: &str,
    rule: Rule,
) -> Result<Decision, JsValue> {
    let now = js::now_ms();
    let known_as = known_as(counters, name, subject);
    if let Some(decision) = local::decide(&known_as, &rule, now) {
        return Ok(decision);
    }
    let hold_ms = match (counters.are_shared(gateway), gateway.one_object_per_key()) {
        (true, _) => 0,
        (false, true) => local::HOLD_MS_OF_MANY,
        (false, false) => local::HOLD_MS,
    };
    let wanted = local::wanted(&known_as, &rule, hold_ms > 0, now);
    let take = Take {
        key: format!("{name}/{subject}"),
        rule,
        wanted: wanted.units,
    };
    let lease = Lease {
        take,
        returned: wanted.returned,
        held_since_ms: wanted.held_since_ms,
        hold_ms: if wanted.units > 1 { hold_ms } else { 0 },
    };
    let leased = store::take(gateway, counters, name, &lease).await?;
    local::note(known_as, rule, leased, &lease, js::now_ms());
    let taken = leased.taken;
    let spare = taken.granted.saturating_sub(1);
    Ok(Decision {
        admitted: taken.granted > 0,
        remaining: taken.decision.remaining.saturating_add(spare),
        reset_ms: taken.decision.reset_ms,
    })
}

/// What the log line says of limits: the one that was counted last or refused, and those of which something is to be told.
pub(crate) fn for_log(limits: &[(String, Outcome)]) -> serde_json::Map<String, serde_json::Value> {
    let named = |wanted: &[Outcome]| -> Vec<Cow<'_, str>> {
        limits
            .iter()
            .filter(|(_, outcome)| wanted.contains(outcome))
            .map(|(name, _)| Cow::Borrowed(name.as_str()))
            .collect()
    };
    let mut fields = serde_json::Map::new();
    fields.insert("limit".to_owned(), json!(limits.last().map(|(name, _)| name)));
    for (field, names) in [
        ("limitRefused", named(&[Outcome::Refused])),
        ("limitShadowed", named(&[Outcome::Shadowed])),
        ("limitAway", named(&[Outcome::AwayOpen, Outcome::AwayClosed])),
    ] {
        if !names.is_empty() {
            fields.insert(field.to_owned(), json!(names));
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::{Outcome, Said, Standing, for_log};
    use kado_shared::limits::{Decision, Mode, OnFailure, Rule};

    fn standing(name: &str, admitted: bool, remaining: u32) -> Standing {
        Standing(Some(Said {
            name: name.to_owned(),
            rule: Rule {
                quota: 10,
                window_seconds: 60,
                mode: Mode::Strict,
                on_failure: OnFailure::Open,
                shadow: false,
            },
            decision: Decision {
                admitted,
                remaining,
                reset_ms: 1,
            },
        }))
    }

    #[test]
    fn the_tightest_speaks() {
        let of = |standing: Standing| standing.0.map(|said| said.name);
        assert_eq!(
            of(standing("a", true, 3).and(standing("b", true, 2))).as_deref(),
            Some("b")
        );
        assert_eq!(
            of(standing("a", true, 1).and(standing("b", true, 2))).as_deref(),
            Some("a")
        );
        assert_eq!(
            of(standing("a", true, 0).and(standing("b", false, 0))).as_deref(),
            Some("b")
        );
        assert_eq!(
            of(standing("a", true, 3).and(Standing::default())).as_deref(),
            Some("a")
        );
        assert_eq!(
            of(Standing::default().and(standing("b", true, 3))).as_deref(),
            Some("b")
        );
        assert_eq!(of(Standing::default().and(Standing::default())), None);
    }

    #[test]
    fn the_log_tells_of_shadows_and_absence() {
        let limits = [
            ("api".to_owned(), Outcome::Admitted),
            ("trial".to_owned(), Outcome::Shadowed),
            ("all".to_owned(), Outcome::AwayOpen),
        ];
        assert_eq!(
            serde_json::Value::from(for_log(&limits)).to_string(),
            r#"{"limit":"all","limitAway":["all"],"limitShadowed":["trial"]}"#
        );
        assert_eq!(serde_json::Value::from(for_log(&[])).to_string(), r#"{"limit":null}"#);
    }
}
