//! What the gateway tells of itself: counts, durations and events.
//!
//! Counts are kept in the isolate and cost a request a few map look-ups. Five seconds after the first of them, behind its
//! answer, they go to the origin, or to the outbox where it is away: an isolate that dies loses those of its last five seconds, and
//! nothing else. Events are exact: they are in the outbox before the answer that tells of their work leaves (see [`record`]).

pub(super) mod record;
pub(super) mod scrape;
pub(crate) mod spans;

use std::{cell::RefCell, collections::HashMap, time::Duration};

use kado_shared::{
    event::{self, Count, Counts},
    exposition::{Durations, Exemplar},
};
use serde::Serialize;
use uuid::Uuid;
use worker::{Context, Delay};

use super::{Facts, Gateway, HEALTH_CHECK_HOST, limits};
use crate::{answer::Answer, exchange::Exchange, js, objects::outbox};

/// Time between two reports of an isolate, in milliseconds.
const REPORT_EVERY_MS: u64 = 5_000;
/// A report that was not made by then, in milliseconds, will not be: the runtime has ended what was to make it.
const REPORT_LATE_MS: u64 = 15_000;
/// Different counts that wait to be reported; beyond it new ones wait under no tenant.
const MOST_WAITING: usize = 5_000;
/// Counts of one report; well below [`event::MOST_BYTES`].
const MOST_OF_A_REPORT: usize = 400;

/// A family of counts, with its labels' names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Family {
    /// Name in reports; the metric is `kado_gateway_<name>_total`.
    pub(crate) name: &'static str,
    pub(crate) labels: &'static [&'static str],
    pub(crate) help: &'static str,
}

/// Requests by route and status.
pub(crate) const REQUESTS: Family = Family {
    name: "requests",
    labels: &["route", "status"],
    help: "Requests by route and class of status.",
};
/// Bytes of answers whose length is known, by route.
pub(crate) const SENT: Family = Family {
    name: "sent_bytes",
    labels: &["route"],
    help: "Bytes of answers whose length is known.",
};
/// Image requests by what the cache had.
pub(crate) const CACHE: Family = Family {
    name: "cache",
    labels: &["result"],
    help: "Image requests by what the cache had: hit, stale or miss.",
};
/// Bytes of image answers by what the cache had.
pub(crate) const CACHE_BYTES: Family = Family {
    name: "cache_bytes",
    labels: &["result"],
    help: "Bytes of image answers by what the cache had.",
};
/// Decisions of the rate limits.
pub(crate) const LIMITS: Family = Family {
    name: "limits",
    labels: &["rule", "result"],
    help: "Decisions of the rate limits, those that tenants name as `custom`: allowed, refused, shadow (would have been refused) or away (no limiter).",
};
/// Events by what became of them on their way to the outbox.
pub(crate) const EVENTS: Family = Family {
    name: "events",
    labels: &["kind", "result"],
    help: "Events handed to the outbox: kept, or lost because it did not take them; a lost one is in the log.",
};
/// Requests that were repeated to the shadow origin, by how its answers compare.
pub(crate) const SHADOW: Family = Family {
    name: "shadow",
    labels: &["route", "result"],
    help: "Requests repeated to the shadow origin: same, another status, another size, failed, or skipped because too many were under way.",
};
/// Every family, in the order in which metrics show them.
const FAMILIES: [Family; 7] = [REQUESTS, SENT, CACHE, CACHE_BYTES, LIMITS, EVENTS, SHADOW];

/// Values of a family's labels; what a family does not have is empty.
type Values = [&'static str; 2];

#[derive(Debug, Default)]
struct Tally {
    /// Since the isolate began.
    totals: HashMap<(&'static str, Values), u64>,
    /// Since the last report, by tenant; no tenant is the empty text.
    waiting: HashMap<String, HashMap<(&'static str, Values), u64>>,
    /// Durations of answers by route.
    durations: HashMap<&'static str, Durations>,
}

thread_local! {
    static TALLY: RefCell<Tally> = RefCell::default();
    static REPORTING: RefCell<Reporting> = RefCell::default();
}

/// When reports are made: what is counted within [`REPORT_EVERY_MS`] of the first count is one.
#[derive(Debug, Default)]
struct Reporting {
    /// When one was begun that has not been made, Unix milliseconds.
    begun_ms: Option<u64>,
}

impl Reporting {
    /// Begins a report, unless nothing waits or one is under way that will be made: how long to gather for it.
    fn begin(&mut self, waits: bool, now: u64) -> Option<Duration> {
        let is_late = |begun: u64| now.saturating_sub(begun) >= REPORT_LATE_MS;
        if !waits || !self.begun_ms.is_none_or(is_late) {
            return None;
        }
        self.begun_ms = Some(now);
        Some(Duration::from_millis(REPORT_EVERY_MS))
    }

    /// It is being made; what is counted from now on is the next one's.
    const fn make(&mut self) {
        self.begun_ms = None;
    }
}

/// Counts something for a tenant; an empty tenant is none. `labels` are the values of the family's labels.
pub(crate) fn count(tenant: &str, family: Family, labels: &[&'static str], count: u64) {
    let values = [
        labels.first().copied().unwrap_or_default(),
        labels.get(1).copied().unwrap_or_default(),
    ];
    TALLY.with_borrow_mut(|tally| {
        *tally.totals.entry((family.name, values)).or_default() += count;
        let full = tally.waiting.len() >= MOST_WAITING && !tally.waiting.contains_key(tenant);
        let tenant = if full { "" } else { tenant };
        // The tenant's name is copied at its first count of a report only.
        if let Some(counts) = tally.waiting.get_mut(tenant) {
            *counts.entry((family.name, values)).or_default() += count;
        } else {
            let first = HashMap::from([((family.name, values), count)]);
            tally.waiting.insert(tenant.to_owned(), first);
        }
    });
}

/// Counts a request that is answered, and reports what was counted if it is time.
pub(super) fn answered(gateway: &Gateway, exchange: &Exchange, context: &Context, answer: &Answer, facts: &Facts) {
    let tenant = facts.tenant.as_deref().unwrap_or_default();
    let bytes = answer.header("content-length").and_then(|length| length.parse().ok());
    let bytes: u64 = if exchange.method == "HEAD" {
        0
    } else {
        bytes.unwrap_or_default()
    };
    // The checks of `kado edge` are of no interest.
    if exchange.host != HEALTH_CHECK_HOST {
        count(tenant, REQUESTS, &[facts.route, class(answer.status())], 1);
        count(tenant, SENT, &[facts.route], bytes);
    }
    for (name, outcome) in &facts.limits {
        count(tenant, LIMITS, &[limits::metric_name(name), outcome.as_str()], 1);
    }
    spans::answered(exchange, answer, facts);
    if let Some(cache) = facts.cache {
        count(tenant, CACHE, &[cache], 1);
        count(tenant, CACHE_BYTES, &[cache], bytes);
    }
    let now = js::now_ms();
    #[expect(clippy::cast_precision_loss, reason = "a request takes minutes at most")]
    let seconds = now.saturating_sub(exchange.started_ms) as f64 / 1000.0;
    let exemplar = Exemplar {
        trace_id: record::trace_id(exchange),
        value: seconds,
        at_ms: now,
    };
    TALLY.with_borrow_mut(|tally| {
        let durations = tally.durations.entry(facts.route).or_default();
        durations.observe(seconds, Some(exemplar));
    });
    let waits = TALLY.with_borrow(|tally| !tally.waiting.is_empty());
    if let Some(gathering) = REPORTING.with_borrow_mut(|reporting| reporting.begin(waits, now)) {
        let gateway = gateway.clone();
        // What comes until then goes with it, and the last request of an hour is reported as soon as any.
        context.wait_until(async move {
            Delay::from(gathering).await;
            REPORTING.with_borrow_mut(Reporting::make);
            let now = js::now_ms();
            let (counts, spans) = (take_reports(now), spans::take_reports(now));
            report(&gateway, counts.iter().map(|report| (report.id, report))).await;
            report(&gateway, spans.iter().map(|report| (report.id, report))).await;
        });
    }
}

const fn class(status: u16) -> &'static str {
    match status {
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    }
}

/// What waits, in reports of a bounded size.
fn take_reports(now: u64) -> Vec<Counts> {
    let waiting = TALLY.with_borrow_mut(|tally| std::mem::take(&mut tally.waiting));
    let mut counts: Vec<Count> = Vec::new();
    for (tenant, tenants) in waiting {
        let tenant = tenant.parse().ok();
        counts.extend(
            tenants
                .into_iter()
                .filter(|(_, count)| *count > 0)
                .map(|(key, count)| Count {
                    tenant,
                    name: name(key),
                    count,
                }),
        );
    }
    let report = |counts: &[Count]| {
        Some(Counts {
            id: event::identifier(now, js::random().ok()?),
            kind: event::COUNTS.to_owned(),
            at: now,
            counts: counts.to_vec(),
        })
    };
    counts.chunks(MOST_OF_A_REPORT).filter_map(report).collect()
}

/// A count's name in a report: `limits.api.refused`. Routes are told by their first word.
fn name((family, values): (&'static str, Values)) -> String {
    let mut name = family.to_owned();
    for value in values.into_iter().filter(|value| !value.is_empty()) {
        name.push('.');
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let mut separated = false;
        for c in value.chars() {
            if plain(c) {
                name.push(c);
                separated = false;
            } else if !separated && !name.ends_with('.') {
                name.push('-');
                separated = true;
            }
        }
    }
    name.truncate(64);
    name
}

/// Tells the origin of reports, or the outbox where it is away. Whoever writes to disk waits for it, and the process with him.
async fn report<'a, R: Serialize + 'a>(gateway: &Gateway, reports: impl Iterator<Item = (Uuid, &'a R)>) {
    let mut is_heard = true;
    for (id, report) in reports {
        let Ok(json) = serde_json::to_string(report) else {
            continue;
        };
        is_heard = is_heard && outbox::tell(&gateway.env, &json).await.is_ok();
        if is_heard {
            continue;
        }
        if let Err(error) = outbox::put(&gateway.env, id, &json, gateway.one_object_per_key()).await {
            // The same report may be stored although its answer was lost, so it is not sent again under another name.
            crate::log::line(
                &serde_json::json!({ "level": "error", "event": "report-lost", "message": js::describe(&error), "bytes": json.len() }),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CACHE, LIMITS, REQUESTS, Reporting, TALLY, count, name};
    use kado_shared::event::is_name;

    #[test]
    fn names_of_counts_are_names() {
        for (values, wanted) in [
            (
                [REQUESTS.name, "/img/{options}/{source}", "2xx"],
                "requests.img-options-source-.2xx",
            ),
            ([LIMITS.name, "api", "refused"], "limits.api.refused"),
            ([CACHE.name, "hit", ""], "cache.hit"),
        ] {
            let [family, first, second] = values;
            let name = name((family, [first, second]));
            assert_eq!(name, wanted);
            assert!(is_name(&name));
        }
    }

    /// One that is answered every millisecond of a minute, whose reports are made when they are due.
    #[test]
    fn a_busy_isolate_reports_every_five_seconds_and_an_idle_one_never() {
        let (mut reporting, mut due_ms, mut reports) = (Reporting::default(), None, 0);
        for now in 1_000_000..1_060_000_u64 {
            if due_ms == Some(now) {
                reporting.make();
                reports += 1;
                due_ms = None;
            }
            if let Some(gathering) = reporting.begin(true, now) {
                assert_eq!((due_ms, gathering.as_millis()), (None, 5_000), "one at a time");
                due_ms = Some(now + 5_000);
            }
        }
        assert_eq!(reports, 11, "the twelfth is due after the minute");
        assert_eq!(Reporting::default().begin(false, 1_000_000), None);
    }

    #[test]
    fn a_report_that_the_runtime_has_ended_is_begun_anew() {
        let mut reporting = Reporting::default();
        assert!(reporting.begin(true, 1_000_000).is_some());
        assert_eq!(reporting.begin(true, 1_014_999), None);
        assert!(reporting.begin(true, 1_015_000).is_some());
        assert_eq!(reporting.begin(true, 1_015_001), None);
    }

    #[test]
    fn equal_counts_add_up() {
        for _ in 0..3 {
            count("a", CACHE, &["hit"], 2);
        }
        let counted = TALLY.with_borrow(|tally| tally.waiting["a"][&(CACHE.name, ["hit", ""])]);
        assert_eq!(counted, 6);
        assert_eq!(TALLY.with_borrow(|tally| tally.totals[&(CACHE.name, ["hit", ""])]), 6);
    }
}
