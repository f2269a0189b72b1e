//! The configuration snapshot of a tenant, kept by host: in the isolate, and in an object that outlives it.
//!
//! Isolates have no timers, so age is looked at when a request comes: a young snapshot is used, an older one is used and
//! renewed behind the request, a still older one is renewed first, for a short time. An origin that is away therefore
//! never stops what can go on without it.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
};

use futures_util::future::{Either, select};
use kado_shared::{
    edge_config::{self, AWAIT_MS, EdgeConfig, Freshness},
    edge_token::Judge,
    limits::Policy,
    problem::Code,
    purge::PurgeIndex,
    settings::Settings,
    tenant,
};
use worker::Context;

use super::Gateway;
use crate::{answer::Refusal, internal, js, objects::snapshot as object};

/// Hosts an isolate remembers; beyond that the oldest knowledge goes.
const MOST_HOSTS: usize = 1000;
/// How long a fetch from the origin may take, in milliseconds.
const FETCH_MS: u64 = 2_000;
/// How long a failed or running renewal keeps others from trying, in milliseconds.
const RETRY_MS: u64 = 500;

/// A snapshot in use.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) config: Rc<EdgeConfig>,
    pub(crate) settings: Rc<Settings>,
    pub(crate) purges: Rc<PurgeIndex>,
    pub(crate) policy: Rc<Policy>,
    pub(crate) judge: Rc<Judge>,
    /// When the origin was last heard of, Unix milliseconds.
    pub(crate) confirmed_ms: u64,
}

#[derive(Clone, Debug)]
struct Known {
    /// `None`: the origin does not serve this host.
    snapshot: Option<Snapshot>,
    confirmed_ms: u64,
    /// When somebody last set out to renew it.
    attempt_ms: u64,
    /// When the object that outlives isolates last heard of it.
    stored_ms: u64,
}

thread_local! {
    static HOSTS: RefCell<HashMap<String, Known>> = RefCell::new(HashMap::new());
    /// The current second, and how many hosts were met in it.
    static MEETINGS: Cell<(u64, u32)> = const { Cell::new((0, 0)) };
    /// Age of the snapshot that was used last, in milliseconds.
    static USED_AGE_MS: Cell<u64> = const { Cell::new(0) };
}

/// What the origin answered.
enum Fetched {
    Config {
        config: Box<EdgeConfig>,
        json: String,
    },
    Unchanged,
    UnknownHost,
    /// Away, slow, or saying what this edge cannot read.
    Nothing,
}

/// The snapshot for a `Host` header.
///
/// # Errors
/// 421 for a host that is not served, 503 where nothing is known of it and the origin is away.
pub(crate) async fn of_host(gateway: &Gateway, host: &str, context: &Context) -> Result<Snapshot, Refusal> {
    let misdirected = || Refusal::new(Code::MisdirectedRequest, "this host belongs to no tenant of this site");
    let host = tenant::normalize_host(host).ok_or_else(misdirected)?;
    let now = js::now_ms();
    let Some(known) = HOSTS.with_borrow(|hosts| hosts.get(&host).cloned()) else {
        return first_sight(gateway, &host).await?.ok_or_else(misdirected);
    };
    USED_AGE_MS.set(now.saturating_sub(known.confirmed_ms));
    match edge_config::freshness(now.saturating_sub(known.confirmed_ms)) {
        Freshness::RenewBehind if may_attempt(&host, now) => {
            let (gateway, host) = (gateway.clone(), host);
            context.wait_until(async move {
                renew(&gateway, &host).await;
            });
            known.snapshot.ok_or_else(misdirected)
        }
        Freshness::Fresh | Freshness::RenewBehind => known.snapshot.ok_or_else(misdirected),
        Freshness::AwaitRenewal => {
            if may_attempt(&host, now) {
                let (behind, name) = (gateway.clone(), host.clone());
                let (done, finished) = futures_channel::oneshot::channel();
                context.wait_until(async move {
                    renew(&behind, &name).await;
                    // Nobody waits any more where the time limit was faster.
                    let _ = done.send(());
                });
                let limit = worker::Delay::from(std::time::Duration::from_millis(AWAIT_MS));
                match select(Box::pin(finished), Box::pin(limit)).await {
                    Either::Left(_) | Either::Right(_) => {}
                }
            } else {
                await_other(&host, known.confirmed_ms).await;
            }
            HOSTS
                .with_borrow(|hosts| hosts.get(&host).and_then(|known| known.snapshot.clone()))
                .ok_or_else(misdirected)
        }
    }
}

/// Hosts that this isolate has a snapshot of.
pub(super) fn hosts() -> u64 {
    HOSTS.with_borrow(|hosts| hosts.values().filter(|known| known.snapshot.is_some()).count() as u64)
}

/// Age of the snapshot that was used last, in milliseconds.
pub(super) fn age_ms() -> u64 {
    USED_AGE_MS.get()
}

/// Waits for the renewal of another request. Its promise is not ours to await, but what it learns is.
async fn await_other(host: &str, confirmed_ms: u64) {
    const STEP_MS: u64 = 20;
    for _ in 0..AWAIT_MS / STEP_MS {
        worker::Delay::from(std::time::Duration::from_millis(STEP_MS)).await;
        if HOSTS.with_borrow(|hosts| hosts.get(host).is_none_or(|known| known.confirmed_ms > confirmed_ms)) {
            return;
        }
    }
}

/// Asks the origin and waits for its answer, for a route that must not be served from a snapshot as old as this one.
pub(crate) async fn insist(gateway: &Gateway, host: &str) -> Option<Snapshot> {
    let host = tenant::normalize_host(host)?;
    renew(gateway, &host).await;
    HOSTS.with_borrow(|hosts| hosts.get(&host).and_then(|known| known.snapshot.clone()))
}

/// What is known after a token's key was not: a snapshot fetched at once, at most one in 5 s however many ask, or what
/// others have fetched meanwhile.
pub(crate) async fn renew_for_unknown_key(gateway: &Gateway, host: &str) -> Option<Snapshot> {
    const APART_MS: u64 = 5_000;
    let host = tenant::normalize_host(host)?;
    let now = js::now_ms();
    let (first, confirmed_ms, under_way) = HOSTS.with_borrow_mut(|hosts| {
        let known = hosts.get_mut(&host)?;
        let first = now.saturating_sub(known.confirmed_ms.max(known.attempt_ms)) >= APART_MS;
        let under_way = known.attempt_ms > known.confirmed_ms && now.saturating_sub(known.attempt_ms) < AWAIT_MS;
        if first {
            known.attempt_ms = now;
        }
        Some((first, known.confirmed_ms, under_way))
    })?;
    if first {
        renew(gateway, &host).await;
    } else if under_way {
        await_other(&host, confirmed_ms).await;
    }
    HOSTS.with_borrow(|hosts| hosts.get(&host).and_then(|known| known.snapshot.clone()))
}

fn may_attempt(host: &str, now: u64) -> bool {
    HOSTS.with_borrow_mut(|hosts| {
        hosts.get_mut(host).is_some_and(|known| {
            let free = now.saturating_sub(known.attempt_ms) >= RETRY_MS;
            if free {
                known.attempt_ms = now;
            }
            free
        })
    })
}

/// Whether the origin may be asked for one more host: a flood of invented names must not become a flood of queries.
fn may_meet(now: u64) -> bool {
    const MOST_IN_A_SECOND: u32 = 100;
    MEETINGS.with(|meetings| {
        let (second, count) = meetings.get();
        let count = if second == now / 1000 { count + 1 } else { 1 };
        meetings.set((now / 1000, count));
        count <= MOST_IN_A_SECOND
    })
}

/// A host this isolate has never seen: the origin is asked, and where it is away, the object that outlives isolates.
async fn first_sight(gateway: &Gateway, host: &str) -> Result<Option<Snapshot>, Refusal> {
    let asked_ms = js::now_ms();
    if !may_meet(asked_ms) {
        return Err(
            Refusal::new(Code::Busy, "too many hosts that this edge does not know yet").with("retry-after", "1"),
        );
    }
    match ask_origin(gateway, host, None).await {
        Fetched::Config { config, json } => {
            let snapshot = learn(host, *config, asked_ms);
            object::store(&gateway.env, host, &json, snapshot.confirmed_ms).await;
            Ok(Some(snapshot))
        }
        Fetched::UnknownHost => {
            forget(host);
            Ok(None)
        }
        Fetched::Unchanged | Fetched::Nothing => match object::load(&gateway.env, host).await {
            Some((config, confirmed_ms)) => Ok(Some(learn(host, config, confirmed_ms))),
            None => Err(Refusal::new(
                Code::Unavailable,
                "the origin is away and nothing is known of this host yet",
            )
            .with("retry-after", "5")),
        },
    }
}

async fn renew(gateway: &Gateway, host: &str) {
    let etag = HOSTS.with_borrow(|hosts| {
        hosts
            .get(host)
            .and_then(|known| known.snapshot.as_ref().map(|snapshot| snapshot.config.etag()))
    });
    let asked_ms = js::now_ms();
    match ask_origin(gateway, host, etag).await {
        Fetched::Config { config, json } => {
            let snapshot = learn(host, *config, asked_ms);
            object::store(&gateway.env, host, &json, snapshot.confirmed_ms).await;
        }
        Fetched::Unchanged => {
            if let Some(config) = confirm(host, asked_ms)
                && let Ok(json) = serde_json::to_string(&*config)
            {
                object::store(&gateway.env, host, &json, asked_ms).await;
            }
        }
        Fetched::UnknownHost => forget(host),
        Fetched::Nothing => {}
    }
}

async fn ask_origin(gateway: &Gateway, host: &str, etag: Option<String>) -> Fetched {
    let path = format!(
        "/internal/edge-config?host={}",
        host.replace('[', "%5B").replace(']', "%5D")
    );
    let extra: Vec<_> = etag.iter().map(|etag| ("if-none-match", etag.as_str())).collect();
    let principal = internal::Principal {
        tenant: "",
        client_ip: "",
        request_id: &gateway.request_id,
        traceparent: &gateway.traceparent,
    };
    let service = gateway.binding("INTERNAL");
    let response = match internal::get(
        &gateway.environment,
        service.as_ref(),
        &path,
        &principal,
        &extra,
        FETCH_MS,
    )
    .await
    {
        Ok(response) => response,
        Err(error) => {
            crate::log::line(
                &serde_json::json!({ "level": "warn", "event": "snapshot-unreachable", "message": js::describe(&error) }),
            );
            return Fetched::Nothing;
        }
    };
    match response.status() {
        304 => Fetched::Unchanged,
        // Only the origin itself says this. A 404 is what it says to a signature that it does not take: a wrong secret or
        // clock must not make hosts that are known unknown.
        421 => Fetched::UnknownHost,
        200 => {
            let Ok(json) = js::text(&response).await else {
                return Fetched::Nothing;
            };
            match EdgeConfig::from_json(json.as_bytes()) {
                Ok(config) => Fetched::Config {
                    config: Box::new(config),
                    json,
                },
                Err(error) => {
                    crate::log::line(
                        &serde_json::json!({ "level": "error", "event": "snapshot-refused", "message": error.to_string() }),
                    );
                    Fetched::Nothing
                }
            }
        }
        status => {
            crate::log::line(&serde_json::json!({ "level": "warn", "event": "snapshot-failed", "status": status }));
            Fetched::Nothing
        }
    }
}

/// Notes that the origin has nothing newer. Once a minute it gives back what the object should hear of again.
fn confirm(host: &str, asked_ms: u64) -> Option<Rc<EdgeConfig>> {
    const STORE_EVERY_MS: u64 = 60_000;
    HOSTS.with_borrow_mut(|hosts| {
        let known = hosts.get_mut(host)?;
        known.confirmed_ms = known.confirmed_ms.max(asked_ms);
        let snapshot = known.snapshot.as_mut()?;
        snapshot.confirmed_ms = known.confirmed_ms;
        if asked_ms.saturating_sub(known.stored_ms) < STORE_EVERY_MS {
            return None;
        }
        known.stored_ms = asked_ms;
        Some(Rc::clone(&snapshot.config))
    })
}

/// Takes a snapshot into use, unless a newer one came first: answers may overtake each other.
fn learn(host: &str, config: EdgeConfig, confirmed_ms: u64) -> Snapshot {
    super::telemetry::spans::set_share(config.global.trace_share);
    let newer = HOSTS.with_borrow(|hosts| {
        let known = hosts.get(host)?.snapshot.as_ref()?;
        let same_history = known.config.restore_id == config.restore_id;
        (same_history && known.config.revision > config.revision).then(|| known.clone())
    });
    if let Some(newer) = newer {
        return newer;
    }
    let settings = Rc::new(config.settings());
    let purges = Rc::new(PurgeIndex::new(&config.purges));
    let snapshot = Snapshot {
        judge: Rc::new(Judge::of(&config)),
        config: Rc::new(config),
        policy: Rc::new(Policy::of(&settings)),
        settings,
        purges,
        confirmed_ms,
    };
    remember(host, Some(snapshot.clone()), confirmed_ms);
    snapshot
}

fn forget(host: &str) {
    remember(host, None, js::now_ms());
}

fn remember(host: &str, snapshot: Option<Snapshot>, confirmed_ms: u64) {
    HOSTS.with_borrow_mut(|hosts| {
        if hosts.len() >= MOST_HOSTS && !hosts.contains_key(host) {
            // Hosts that nobody serves go first: a flood of invented names must not push out real tenants.
            let oldest = hosts
                .iter()
                .min_by_key(|(_, known)| (known.snapshot.is_some(), known.confirmed_ms))
                .map(|(host, _)| host.clone());
            if let Some(oldest) = oldest {
                hosts.remove(&oldest);
            }
        }
        hosts.insert(
            host.to_owned(),
            Known {
                snapshot,
                confirmed_ms,
                attempt_ms: js::now_ms(),
                stored_ms: js::now_ms(),
            },
        );
    });
}
