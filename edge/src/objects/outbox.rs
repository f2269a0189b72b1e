//! `Outbox`: what the origin has to hear of, on disk until it has confirmed it.
//!
//! A record is stored before the request that brought it is answered, and removed when the origin says that it is stored
//! or refused, by identifier: so nothing is lost while the origin is away or either side dies, and the origin, which
//! stores an identifier once, counts nothing twice. An alarm delivers; while deliveries fail it comes ever later, up to a
//! minute. A full outbox keeps what it has and counts what it cannot take, by tenant; the numbers are delivered later.

use std::cell::{Cell, RefCell};

use kado_shared::event::{self, Confirmation, Count, Counts};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use wasm_bindgen::JsValue;
use worker::{DurableObject, Env, Method, Request, Response, Result, SqlStorage, State, durable_object};

use crate::{
    environment::Environment,
    internal::{self, Principal},
    js,
};

const NAMESPACE: &str = "OUTBOX";
/// Objects self-hosted: one process does all their work, so a few are enough to keep deliveries apart.
const SHARDS_HERE: u32 = 4;
/// Objects on Cloudflare, where each is a thread of its own somewhere.
const SHARDS_THERE: u32 = 32;
/// From a record to its delivery: long enough for others to come along, in milliseconds.
const GATHER_MS: u64 = 1_000;
/// How long a delivery may take, in milliseconds.
const DELIVERY_MS: u64 = 10_000;
/// How long the origin may take for a record that is not stored here yet, in milliseconds: an isolate may end.
const TELLING_MS: u64 = 2_000;
/// Deliveries in one alarm; then the next alarm goes on.
const DELIVERIES: u32 = 20;
/// Size of a shard's database above which it takes no more, in bytes. An event takes about 500, so that a shard holds a
/// quarter of a million.
const MOST_BYTES: usize = 128 * 1024 * 1024;
/// An alarm that is late by this much is not coming, in milliseconds.
const OVERDUE_MS: u64 = 5_000;
const ORIGIN_PATH: &str = "/internal/events";

const SCHEMA: &str = "
    create table if not exists records (id text primary key, body text not null) without rowid;
    create table if not exists overflow (tenant text primary key, count integer not null) without rowid;
    create table if not exists state (
        singleton integer primary key check (singleton = 0),
        failures integer not null default 0,
        overflowed integer not null default 0,
        refused integer not null default 0
    );
    insert or ignore into state (singleton) values (0);
";

/// How much an outbox holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Depth {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// When the oldest record was made, Unix milliseconds.
    pub(crate) oldest_ms: Option<u64>,
    /// Deliveries that failed since the last one that did not.
    pub(crate) failures: u32,
    /// Events that found it full, since it began.
    pub(crate) overflowed: u64,
    /// Records that the origin refused, since it began.
    pub(crate) refused: u64,
}

impl Depth {
    /// Adds another shard's.
    pub(crate) fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.bytes += other.bytes;
        self.oldest_ms = match (self.oldest_ms, other.oldest_ms) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.failures = self.failures.max(other.failures);
        self.overflowed += other.overflowed;
        self.refused += other.refused;
    }
}

/// The object.
#[durable_object(alarm)]
pub struct Outbox {
    state: State,
    env: Env,
    /// Whether the tables are there.
    ready: Cell<bool>,
    alarm: Cell<Alarm>,
    full_logged: RefCell<bool>,
}

/// What an instance knows of its alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alarm {
    /// Nothing: an evicted object has forgotten it.
    Unknown,
    Unset,
    Set,
}

#[derive(Debug, Deserialize)]
struct Row {
    id: String,
    body: String,
}

#[derive(Debug, Deserialize)]
struct Overflow {
    tenant: String,
    count: f64,
}

#[derive(Debug, Deserialize)]
struct Numbers {
    records: f64,
    oldest: Option<String>,
    failures: f64,
    overflowed: f64,
    refused: f64,
}

/// What came of one delivery.
enum Delivery {
    /// Nothing is left.
    Empty,
    /// Something was confirmed, and there may be more.
    Confirmed,
    /// The origin is away or does not take it; why.
    Failed(String),
}

impl DurableObject for Outbox {
    fn new(state: State, env: Env) -> Self {
        Self {
            state,
            env,
            ready: Cell::new(false),
            alarm: Cell::new(Alarm::Unknown),
            full_logged: RefCell::new(false),
        }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        if request.method() == Method::Get {
            return Response::from_json(&self.depth()?);
        }
        let id = request.path().trim_start_matches('/').to_owned();
        let body = request.text().await?;
        self.know_alarm().await?;
        // What is written without waiting in between is one transaction, and the process waits for the disk once.
        self.take(&id, &body)?;
        self.wake_in(GATHER_MS).await?;
        Response::empty()
    }

    async fn alarm(&self) -> Result<Response> {
        self.alarm.set(Alarm::Unset);
        let outcome = self.deliver_all().await;
        // Whatever happens, the next attempt is set: an alarm that fails is repeated by the runtime a few times only.
        let (failures, next_ms) = match outcome {
            Ok(Delivery::Empty) => (0, None),
            Ok(Delivery::Confirmed) => (0, Some(0)),
            Ok(Delivery::Failed(message)) => self.failed(&message),
            Err(error) => self.failed(&error.to_string()),
        };
        // Nothing is written where nothing has changed: that would wait for the disk, too.
        self.sql()?.exec(
            "update state set failures = ?1 where failures <> ?1",
            vec![i64::from(failures).into()],
        )?;
        if let Some(delay_ms) = next_ms {
            self.alarm.set(Alarm::Set);
            let delay = std::time::Duration::from_millis(delay_ms);
            self.state.storage().set_alarm(delay).await?;
        }
        Response::empty()
    }
}

impl Outbox {
    fn sql(&self) -> Result<SqlStorage> {
        let sql = self.state.storage().sql();
        if !self.ready.get() {
            sql.exec(SCHEMA, None)?;
            self.ready.set(true);
        }
        Ok(sql)
    }

    /// Stores a record, or counts it where there is no room. The same identifier is stored once.
    fn take(&self, id: &str, body: &str) -> Result<()> {
        let sql = self.sql()?;
        if sql.database_size() < MOST_BYTES {
            self.full_logged.replace(false);
            sql.exec(
                "insert or ignore into records (id, body) values (?, ?)",
                vec![id.into(), body.into()],
            )?;
            return Ok(());
        }
        if !self.full_logged.replace(true) {
            crate::log::line(
                &serde_json::json!({ "level": "error", "event": "outbox-full", "bytes": sql.database_size() }),
            );
        }
        let value: serde_json::Value = serde_json::from_str(body)?;
        if value.get("kind").and_then(serde_json::Value::as_str) != Some(event::COUNTS) {
            let tenant = value
                .get("tenant")
                .and_then(serde_json::Value::as_str)
                .unwrap_or_default();
            sql.exec(
                "insert into overflow (tenant, count) values (?, 1) on conflict (tenant) do update set count = count + 1",
                vec![tenant.into()],
            )?;
            sql.exec("update state set overflowed = overflowed + 1", None)?;
        }
        Ok(())
    }

    /// Finds out whether an alarm is set: an evicted object has forgotten its alarm; the alarm has not forgotten it, unless
    /// the process died over it.
    async fn know_alarm(&self) -> Result<()> {
        if self.alarm.get() != Alarm::Unknown {
            return Ok(());
        }
        let pending = self.state.storage().get_alarm().await?;
        let due_ms = pending.and_then(|at| u64::try_from(at).ok());
        let late = due_ms.is_none_or(|due| due + OVERDUE_MS < js::now_ms());
        // Others may have set it meanwhile.
        if self.alarm.get() == Alarm::Unknown {
            self.alarm.set(if late { Alarm::Unset } else { Alarm::Set });
        }
        Ok(())
    }

    /// Sets the alarm, unless one is set.
    async fn wake_in(&self, delay_ms: u64) -> Result<()> {
        if self.alarm.get() == Alarm::Set {
            return Ok(());
        }
        self.alarm.set(Alarm::Set);
        let delay = std::time::Duration::from_millis(delay_ms);
        let set = self.state.storage().set_alarm(delay).await;
        if set.is_err() {
            self.alarm.set(Alarm::Unset);
        }
        set
    }

    fn failed(&self, message: &str) -> (u32, Option<u64>) {
        let failures = self
            .numbers()
            .map_or(0, |numbers| number(numbers.failures))
            .saturating_add(1);
        let failures = u32::try_from(failures).unwrap_or(u32::MAX);
        crate::log::line(
            &serde_json::json!({ "level": "warn", "event": "events-not-delivered", "message": message, "failures": failures }),
        );
        let [random] = js::random().unwrap_or([0]);
        (failures, Some(event::backoff_ms(failures, random)))
    }

    async fn deliver_all(&self) -> Result<Delivery> {
        self.report_overflow()?;
        for _ in 0..DELIVERIES {
            match self.deliver().await? {
                Delivery::Confirmed => {}
                ended => return Ok(ended),
            }
        }
        Ok(Delivery::Confirmed)
    }

    /// Turns the numbers of what found no room into one report, once there is room again.
    fn report_overflow(&self) -> Result<()> {
        let sql = self.sql()?;
        if sql.database_size() >= MOST_BYTES {
            return Ok(());
        }
        let rows: Vec<Overflow> = sql
            .exec("select tenant, count from overflow order by tenant limit 400", None)?
            .to_array()?;
        if rows.is_empty() {
            return Ok(());
        }
        let now = js::now_ms();
        let random = js::random().map_err(worker::Error::from)?;
        let counts = rows.iter().map(|row| Count {
            tenant: row.tenant.parse().ok(),
            name: "outbox.overflow".to_owned(),
            count: number(row.count),
        });
        let report = Counts {
            id: event::identifier(now, random),
            kind: event::COUNTS.to_owned(),
            at: now,
            counts: counts.collect(),
        };
        let body = serde_json::to_string(&report)?;
        // Without waiting in between, both statements are one transaction of the object.
        sql.exec(
            "insert into records (id, body) values (?, ?)",
            vec![report.id.to_string().into(), body.into()],
        )?;
        let tenants = serde_json::to_string(&rows.iter().map(|row| &row.tenant).collect::<Vec<_>>())?;
        sql.exec(
            "delete from overflow where tenant in (select value from json_each(?))",
            vec![tenants.into()],
        )?;
        Ok(())
    }

    /// Delivers the oldest records.
    async fn deliver(&self) -> Result<Delivery> {
        let limit = i64::try_from(event::MOST_RECORDS).unwrap_or(i64::MAX);
        let rows: Vec<Row> = self
            .sql()?
            .exec("select id, body from records order by id limit ?", vec![limit.into()])?
            .to_array()?;
        let mut bytes = 0;
        let batch: Vec<&Row> = rows
            .iter()
            .take_while(|row| {
                let first = bytes == 0;
                bytes += row.body.len() + 1;
                first || bytes <= event::MOST_BATCH_BYTES
            })
            .collect();
        if batch.is_empty() {
            return Ok(Delivery::Empty);
        }
        let bodies: Vec<&str> = batch.iter().map(|row| row.body.as_str()).collect();
        let confirmation = match send(&self.env, &bodies, DELIVERY_MS).await {
            Ok(confirmation) => confirmation,
            Err(message) => return Ok(Delivery::Failed(message)),
        };
        let refused = confirmation
            .refused
            .iter()
            .filter_map(|refused| batch.get(refused.index));
        let done: Vec<String> = confirmation
            .stored
            .iter()
            .map(Uuid::to_string)
            .chain(refused.map(|row| row.id.clone()))
            .collect();
        let sql = self.sql()?;
        let removed = sql.exec(
            "delete from records where id in (select value from json_each(?)) returning 1 as one",
            vec![serde_json::to_string(&done)?.into()],
        )?;
        let removed = removed.to_array::<serde_json::Value>()?.len();
        let refused = i64::try_from(confirmation.refused.len()).unwrap_or(0);
        if refused > 0 {
            sql.exec("update state set refused = refused + ?", vec![refused.into()])?;
        }
        if removed == 0 {
            return Ok(Delivery::Failed("the origin confirmed nothing of a batch".to_owned()));
        }
        Ok(Delivery::Confirmed)
    }

    fn numbers(&self) -> Result<Numbers> {
        self.sql()?
            .exec(
                "select (select count(*) from records) as records, (select min(id) from records) as oldest,
                        failures, overflowed, refused from state",
                None,
            )?
            .one()
    }

    fn depth(&self) -> Result<Depth> {
        let numbers = self.numbers()?;
        let oldest = numbers.oldest.and_then(|id| Uuid::try_parse(&id).ok());
        Ok(Depth {
            records: number(numbers.records),
            bytes: self.sql()?.database_size() as u64,
            oldest_ms: oldest.and_then(made_ms),
            failures: u32::try_from(number(numbers.failures)).unwrap_or(u32::MAX),
            overflowed: number(numbers.overflowed),
            refused: number(numbers.refused),
        })
    }
}

/// Sends records to the origin; answers what became of each. What was refused is logged: nobody else has it any more.
async fn send(env: &Env, bodies: &[&str], timeout_ms: u64) -> std::result::Result<Confirmation, String> {
    let described = |error: JsValue| js::describe(&error);
    let environment = Environment::of(env).map_err(|error| error.to_string())?;
    let request_id = kado_shared::request_id::from_random(js::random().map_err(described)?);
    let principal = Principal {
        tenant: "",
        client_ip: "",
        request_id: &request_id,
        traceparent: "",
    };
    let service = js::binding(env, "INTERNAL");
    let body = format!("{{\"events\":[{}]}}", bodies.join(","));
    let response = internal::post_json(
        &environment,
        service.as_ref(),
        ORIGIN_PATH,
        &principal,
        &body,
        timeout_ms,
    )
    .await
    .map_err(described)?;
    if response.status() != 200 {
        return Err(format!("the origin answered {}", response.status()));
    }
    let text = js::text(&response).await.map_err(described)?;
    let confirmation: Confirmation = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    for refused in &confirmation.refused {
        let lost = bodies.get(refused.index);
        crate::log::line(
            &serde_json::json!({ "level": "error", "event": "event-refused", "detail": refused.detail, "lost": lost }),
        );
    }
    Ok(confirmation)
}

/// When an identifier was made, Unix milliseconds.
fn made_ms(id: Uuid) -> Option<u64> {
    let (seconds, nanoseconds) = id.get_timestamp()?.to_unix();
    Some(seconds * 1000 + u64::from(nanoseconds) / 1_000_000)
}

/// A count as the runtime gives it.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts are positive integers below 2^53"
)]
fn number(count: f64) -> u64 {
    count as u64
}

/// Names of all objects.
pub(crate) fn shards(one_object_per_key: bool) -> impl Iterator<Item = String> {
    let count = if one_object_per_key { SHARDS_THERE } else { SHARDS_HERE };
    (0..count).map(|shard| format!("outbox/{shard}"))
}

/// Stores a record; when this returns it is on disk.
pub(crate) async fn put(env: &Env, id: Uuid, json: &str, one_object_per_key: bool) -> std::result::Result<(), JsValue> {
    let id = id.to_string();
    let count = if one_object_per_key { SHARDS_THERE } else { SHARDS_HERE };
    let name = format!("outbox/{}", super::fnv1a(&id) % count);
    let url = format!("http://outbox/{id}");
    super::ask(env, NAMESPACE, &name, &url, Some(json), Some(DELIVERY_MS))
        .await
        .map(|_| ())
}

/// Tells the origin of a record without storing it here before: for those that may be lost with the isolate anyway.
///
/// # Errors
/// Where the origin has not confirmed it; it may have stored it all the same, and does so once by its identifier.
pub(crate) async fn tell(env: &Env, json: &str) -> std::result::Result<(), String> {
    let confirmation = send(env, &[json], TELLING_MS).await?;
    if confirmation.stored.is_empty() && confirmation.refused.is_empty() {
        return Err("the origin has not confirmed it".to_owned());
    }
    Ok(())
}

/// How much a shard holds.
pub(crate) async fn depth(env: &Env, shard: &str) -> std::result::Result<Depth, JsValue> {
    super::read(&super::ask(env, NAMESPACE, shard, "http://outbox/", None, Some(1_000)).await?)
}

#[cfg(test)]
mod tests {
    use super::{Depth, made_ms};
    use kado_shared::event::identifier;

    #[test]
    fn an_identifier_tells_its_time() {
        assert_eq!(made_ms(identifier(1_700_000_000_123, [9; 10])), Some(1_700_000_000_123));
    }

    #[test]
    fn shards_add_up_to_the_oldest_and_the_worst() {
        let mut sum = Depth::default();
        for (records, oldest_ms, failures) in [(2, Some(50), 1), (0, None, 0), (3, Some(40), 7)] {
            sum.add(&Depth {
                records,
                oldest_ms,
                failures,
                ..Depth::default()
            });
        }
        assert_eq!((sum.records, sum.oldest_ms, sum.failures), (5, Some(40), 7));
    }
}
