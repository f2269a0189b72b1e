//! Headers of a limited answer: the working group's draft (`RateLimit-Policy`, `RateLimit`) and the older `X-RateLimit-*`.

use super::{Decision, Rule};

/// Name and value of each header of a limited answer.
///
/// `t`, `X-RateLimit-Reset` and `Retry-After` say when one more request will be admitted than now, rounded up to whole
/// seconds, so that who waits that long is not refused again.
#[must_use]
pub fn of(name: &str, rule: &Rule, decision: Decision, now_ms: u64) -> Vec<(&'static str, String)> {
    let seconds = decision.reset_ms.div_ceil(1000);
    let at = now_ms.saturating_add(decision.reset_ms).div_ceil(1000);
    let mut headers = vec![
        ("x-ratelimit-limit", rule.quota.to_string()),
        ("x-ratelimit-remaining", decision.remaining.to_string()),
        ("x-ratelimit-reset", at.to_string()),
        ("x-ratelimit-reset-after", seconds.to_string()),
        (
            "ratelimit-policy",
            format!("\"{name}\";q={};w={}", rule.quota, rule.window_seconds),
        ),
        ("ratelimit", format!("\"{name}\";r={};t={seconds}", decision.remaining)),
    ];
    if !decision.admitted && !rule.shadow {
        headers.push(("retry-after", seconds.max(1).to_string()));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::of;
    use crate::limits::{Decision, Mode, OnFailure, Rule};

    const RULE: Rule = Rule {
        quota: 20,
        window_seconds: 60,
        mode: Mode::Strict,
        on_failure: OnFailure::Open,
        shadow: false,
    };

    fn value(headers: &[(&'static str, String)], name: &str) -> Option<String> {
        headers
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.clone())
    }

    #[test]
    fn an_admitted_request_is_told_where_it_stands() {
        let headers = of(
            "process",
            &RULE,
            Decision {
                admitted: true,
                remaining: 19,
                reset_ms: 41_001,
            },
            1_000_500,
        );
        assert_eq!(value(&headers, "ratelimit").unwrap(), "\"process\";r=19;t=42");
        assert_eq!(value(&headers, "ratelimit-policy").unwrap(), "\"process\";q=20;w=60");
        assert_eq!(value(&headers, "x-ratelimit-reset").unwrap(), "1042");
        assert_eq!(value(&headers, "x-ratelimit-reset-after").unwrap(), "42");
        assert_eq!(value(&headers, "retry-after"), None);
    }

    #[test]
    fn a_refused_request_is_told_when_to_come_back() {
        let refused = Decision {
            admitted: false,
            remaining: 0,
            reset_ms: 1,
        };
        assert_eq!(value(&of("process", &RULE, refused, 0), "retry-after").unwrap(), "1");
        let shadow = Rule { shadow: true, ..RULE };
        assert_eq!(value(&of("process", &shadow, refused, 0), "retry-after"), None);
    }
}
