//! `POST /internal/events`: what the edges did and counted. A batch is one transaction; each of its records is stored
//! once, however often it comes, and one that is malformed is told so and holds up no other.

use axum::{Json, body::Bytes, extract::State};
use kado_shared::{
    event::{Confirmation, Counts, Event, MOST_RECORDS, Record, Refused},
    problem::Code,
    tenant::TenantId,
};
use serde::Deserialize;
use serde_json::Value;
use sqlx::PgConnection;
use std::collections::{BTreeMap, HashSet};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::{database::DatabaseError, http::failure::Failure, service::App};

/// How long events are kept. An older one is refused: it may have been stored and swept already.
pub(crate) const KEEP_EVENTS: Duration = Duration::days(90);

#[derive(Deserialize)]
struct Batch {
    events: Vec<Value>,
}

pub(crate) async fn post_events(State(app): State<App>, body: Bytes) -> Result<Json<Confirmation>, Failure> {
    let batch: Batch = serde_json::from_slice(&body)
        .map_err(|error| Failure::new(Code::BadRequest, format!("The body is no batch of events: {error}")))?;
    if batch.events.len() > MOST_RECORDS {
        return Err(Failure::field(
            "events",
            format!("may have at most {MOST_RECORDS} records"),
        ));
    }
    let (mut confirmation, records) = sort(&batch.events, app.clock.now());
    let mut transaction = app.database.system().begin().await.map_err(DatabaseError::from)?;
    let tenants = lock_tenants(&mut transaction, &records).await?;
    let (mut events, mut counts, mut spans) = (Vec::new(), Vec::new(), Vec::new());
    for (index, record) in &records {
        match record {
            Record::Event(event) if !tenants.contains(&event.tenant) => {
                confirmation.refused.push(refused(
                    *index,
                    Some(event.id.to_string()),
                    "tenant: there is none of this identifier",
                ));
            }
            Record::Event(event) => events.push(event.as_ref()),
            Record::Counts(report) => counts.push(report),
            Record::Spans(report) => spans.push(report),
        }
    }
    confirmation.stored.extend(events.iter().map(|event| event.id));
    confirmation.stored.extend(counts.iter().map(|report| report.id));
    confirmation.stored.extend(spans.iter().map(|report| report.id));
    let now = app.clock.now();
    let new: HashSet<Uuid> = store_events(&mut transaction, &events, now)
        .await?
        .into_iter()
        .collect();
    store_counts(&mut transaction, &counts, &tenants, now).await?;
    transaction.commit().await.map_err(DatabaseError::from)?;
    // A report that comes again names the same spans again, by which whoever reads traces knows them.
    for span in spans.iter().flat_map(|report| &report.spans) {
        app.spans.of_edge(span.clone());
    }
    let sent = events.len();
    let mut told = HashSet::new();
    events.retain(|event| new.contains(&event.id) && told.insert(event.id));
    let (repeated, refused) = (sent - events.len(), confirmation.refused.len());
    app.metrics.stored(&events, repeated as u64, refused as u64);
    for refused in &confirmation.refused {
        tracing::error!(
            event = "event-refused",
            id = refused.id.as_deref(),
            detail = refused.detail.as_str()
        );
    }
    Ok(Json(confirmation))
}

fn refused(index: usize, id: Option<String>, detail: impl Into<String>) -> Refused {
    Refused {
        id,
        index,
        detail: detail.into(),
    }
}

/// The good records, by identifier so that two batches lock rows in one order, and what is refused of the others.
fn sort(events: &[Value], now: OffsetDateTime) -> (Confirmation, Vec<(usize, Record)>) {
    let mut confirmation = Confirmation::default();
    let mut records = Vec::new();
    for (index, value) in events.iter().enumerate() {
        match Record::parse(value).and_then(|record| check_age(record, now)) {
            Ok(record) => records.push((index, record)),
            Err(detail) => {
                let id = value
                    .get("id")
                    .and_then(Value::as_str)
                    .map(|id| id.chars().take(64).collect());
                confirmation.refused.push(refused(index, id, detail));
            }
        }
    }
    records.sort_by_key(|(_, record)| record.id());
    (confirmation, records)
}

fn check_age(record: Record, now: OffsetDateTime) -> Result<Record, String> {
    if moment(record.at(), now) >= now - KEEP_EVENTS {
        Ok(record)
    } else {
        Err(format!("at: is more than {} days ago", KEEP_EVENTS.whole_days()))
    }
}

/// A moment by the edge's clock; what would be in the future was now.
fn moment(ms: u64, now: OffsetDateTime) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).map_or(now, |moment| moment.min(now))
}

/// Those of the records' tenants that exist, kept from being deleted until the transaction ends.
async fn lock_tenants(
    connection: &mut PgConnection,
    records: &[(usize, Record)],
) -> Result<HashSet<TenantId>, DatabaseError> {
    let mut named = HashSet::new();
    for (_, record) in records {
        match record {
            Record::Event(event) => {
                named.insert(event.tenant.0);
            }
            Record::Counts(report) => {
                named.extend(
                    report
                        .counts
                        .iter()
                        .filter_map(|count| count.tenant)
                        .map(|tenant| tenant.0),
                );
            }
            Record::Spans(_) => {}
        }
    }
    let named: Vec<Uuid> = named.into_iter().collect();
    let found = sqlx::query_scalar!(
        "select id from tenants where id = any($1) order by id for key share",
        &named
    )
    .fetch_all(connection)
    .await?;
    Ok(found.into_iter().map(TenantId).collect())
}

/// Stores the events that are new, and says which those are.
async fn store_events(
    connection: &mut PgConnection,
    events: &[&Event],
    now: OffsetDateTime,
) -> Result<Vec<Uuid>, DatabaseError> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    fn column<T>(events: &[&Event], of: impl Fn(&Event) -> T) -> Vec<T> {
        events.iter().map(|event| of(event)).collect()
    }
    let number = |number: Option<u64>| number.and_then(|number| i64::try_from(number).ok());
    Ok(sqlx::query_scalar!(
        "insert into image_events (tenant_id, id, at, received_at, kind, result, request_id, trace_id, user_id, ms, lane,
                                   source_format, bytes_in, format, width, height, bytes_out)
         select tenant_id, id, at, $4, kind, result, request_id, trace_id, user_id, ms, lane,
                source_format, bytes_in, format, width, height, bytes_out
         from unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $5::text[], $6::text[], $7::text[], $8::text[],
                     $9::uuid[], $10::bigint[], $11::text[], $12::text[], $13::bigint[], $14::text[], $15::bigint[],
                     $16::bigint[], $17::bigint[])
              as batch (tenant_id, id, at, kind, result, request_id, trace_id, user_id, ms, lane,
                        source_format, bytes_in, format, width, height, bytes_out)
         on conflict (tenant_id, id) do nothing returning id",
        &column(events, |event| event.tenant.0),
        &column(events, |event| event.id),
        &column(events, |event| moment(event.at, now)),
        now,
        &column(events, |event| event.kind.clone()),
        &column(events, |event| event.result.clone()),
        &column(events, |event| event.request_id.clone()),
        &column(events, |event| event.trace_id.clone()) as &[Option<String>],
        &column(events, |event| event.user) as &[Option<Uuid>],
        &column(events, |event| i64::from(event.ms)),
        &column(events, |event| event.picture.lane.clone()) as &[Option<String>],
        &column(events, |event| event.picture.source_format.clone()) as &[Option<String>],
        &column(events, |event| number(event.picture.bytes_in)) as &[Option<i64>],
        &column(events, |event| event.picture.format.clone()) as &[Option<String>],
        &column(events, |event| event.picture.width.map(i64::from)) as &[Option<i64>],
        &column(events, |event| event.picture.height.map(i64::from)) as &[Option<i64>],
        &column(events, |event| number(event.picture.bytes_out)) as &[Option<i64>],
    )
    .fetch_all(connection)
    .await?)
}

/// Adds the reports that are new. Counts of a tenant that is gone count for nobody.
async fn store_counts(
    connection: &mut PgConnection,
    reports: &[&Counts],
    tenants: &HashSet<TenantId>,
    now: OffsetDateTime,
) -> Result<(), DatabaseError> {
    if reports.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = reports.iter().map(|report| report.id).collect();
    let new: HashSet<Uuid> = sqlx::query_scalar!(
        "insert into edge_reports (id, received_at) select id, $2 from unnest($1::uuid[]) as batch (id)
         on conflict (id) do nothing returning id",
        &ids,
        now,
    )
    .fetch_all(&mut *connection)
    .await?
    .into_iter()
    .collect();
    // Sorted, so that two batches lock rows in one order.
    let mut sums: BTreeMap<(Option<Uuid>, OffsetDateTime, &str), i64> = BTreeMap::new();
    let mut counted = HashSet::new();
    for report in reports
        .iter()
        .filter(|report| new.contains(&report.id) && counted.insert(report.id))
    {
        let at = moment(report.at, now);
        let hour = at
            - Duration::nanoseconds(
                i64::from(at.minute()) * 60_000_000_000
                    + i64::from(at.second()) * 1_000_000_000
                    + i64::from(at.nanosecond()),
            );
        for count in &report.counts {
            let tenant = count
                .tenant
                .filter(|tenant| tenants.contains(tenant))
                .map(|tenant| tenant.0);
            let sum = sums.entry((tenant, hour, count.name.as_str())).or_default();
            *sum = sum.saturating_add(i64::try_from(count.count).unwrap_or(i64::MAX));
        }
    }
    let owners: Vec<Option<Uuid>> = sums.keys().map(|(tenant, ..)| *tenant).collect();
    let hours: Vec<OffsetDateTime> = sums.keys().map(|(_, hour, _)| *hour).collect();
    let names: Vec<String> = sums.keys().map(|(.., name)| (*name).to_owned()).collect();
    let counts: Vec<i64> = sums.values().copied().collect();
    sqlx::query!(
        "insert into edge_counts (tenant_id, hour, name, count)
         select tenant_id, hour, name, count
         from unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::bigint[]) as batch (tenant_id, hour, name, count)
         on conflict (tenant_id, hour, name) do update
             set count = least(edge_counts.count::numeric + excluded.count, 9223372036854775807)::bigint",
        &owners as &[Option<Uuid>],
        &hours,
        &names,
        &counts,
    )
    .execute(connection)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::api::testing::TestApp;
    use kado_shared::event::identifier;
    use serde_json::{Value, json};
    use time::Duration;
    use uuid::Uuid;

    fn now_ms(app: &TestApp) -> u64 {
        crate::clock::unix(crate::clock::Clock::now(&*app.clock)) * 1000
    }

    fn event(app: &TestApp, number: u8) -> Value {
        json!({
            "id": identifier(now_ms(app), [number; 10]), "kind": "transform", "tenant": app.tenant, "at": now_ms(app),
            "result": "ok", "requestId": "0123456789abcdef", "traceId": "0af7651916cd43dd8448eb211c80319c", "ms": 12,
            "lane": "edge", "sourceFormat": "jpeg", "bytesIn": 3000, "format": "webp", "width": 40, "height": 30, "bytesOut": 200,
        })
    }

    fn report(app: &TestApp, number: u8, hits: u64) -> Value {
        json!({
            "id": identifier(now_ms(app), [number; 10]), "kind": "counts", "at": now_ms(app),
            "counts": [
                {"tenant": app.tenant, "name": "cache.hit", "count": hits},
                {"name": "requests.none.4xx", "count": 1},
            ],
        })
    }

    const HITS: &str = "select coalesce(sum(count), 0)::bigint from edge_counts where name = 'cache.hit'";

    #[tokio::test]
    async fn a_batch_that_comes_again_is_confirmed_and_counted_once() {
        let Some(app) = TestApp::start().await else { return };
        let batch = json!({"events": [event(&app, 1), report(&app, 2, 5), event(&app, 3), event(&app, 3)]});
        for _ in 0..3 {
            let answer = app.post_internal("/internal/events", &batch).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(
                answer.json()["stored"].as_array().unwrap().len(),
                4,
                "{}",
                answer.text()
            );
        }
        assert_eq!(app.count("select count(*) from image_events").await, 2);
        assert_eq!(app.count(HITS).await, 5);
        app.post_internal("/internal/events", &json!({"events": [report(&app, 9, 7)]}))
            .await;
        assert_eq!(app.count(HITS).await, 12);
        assert_eq!(
            app.count(
                "select count(*) from image_events where lane = 'edge' and bytes_in = 3000 and width = 40 and ms = 12"
            )
            .await,
            2
        );
    }

    #[tokio::test]
    async fn a_malformed_record_holds_up_no_other() {
        let Some(app) = TestApp::start().await else { return };
        let mut foreign = event(&app, 1);
        foreign["tenant"] = json!(Uuid::from_u128(99));
        let mut old = event(&app, 2);
        old["at"] = json!(now_ms(&app) - 91 * 24 * 3600 * 1000);
        let mut future = event(&app, 3);
        future["at"] = json!(now_ms(&app) + 3_600_000);
        let batch = json!({"events": [foreign, 7, {"kind": "x"}, old, {"id": "no uuid", "kind": "upload"}, future, event(&app, 4)]});
        let answer = app.post_internal("/internal/events", &batch).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let body = answer.json();
        let mut refused: Vec<_> = body["refused"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["index"].as_u64().unwrap())
            .collect();
        refused.sort_unstable();
        assert_eq!(
            (refused, body["stored"].as_array().unwrap().len()),
            (vec![0, 1, 2, 3, 4], 2),
            "{body}"
        );
        assert_eq!(
            app.count("select count(*) from image_events where at <= received_at")
                .await,
            2
        );
    }

    #[tokio::test]
    async fn batches_at_once_are_added_up_exactly() {
        let Some(app) = TestApp::start().await else { return };
        let batches: Vec<_> = (0..24_u8)
            .map(|number| {
                // Each comes twice, at the same time.
                let number = number / 2;
                json!({"events": [report(&app, number, 1), event(&app, 100 + number), report(&app, 50 + number, 1)]})
            })
            .collect();
        let answers =
            futures_util::future::join_all(batches.iter().map(|batch| app.post_internal("/internal/events", batch)))
                .await;
        for answer in answers {
            // A deadlock or a wait that is too long would be 503, and the edge would come again.
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        assert_eq!(app.count(HITS).await, 24);
        assert_eq!(app.count("select count(*) from image_events").await, 12);
    }

    #[tokio::test]
    async fn what_is_no_batch_is_refused_as_a_whole() {
        let Some(app) = TestApp::start().await else { return };
        let many: Vec<_> = (0..1001).collect();
        for bad in [json!([]), json!({"events": 1}), json!({"events": many})] {
            assert_eq!(app.post_internal("/internal/events", &bad).await.status, 400);
        }
        assert_eq!(app.internal("GET", "/internal/events").await.status, 405);
    }

    #[tokio::test]
    async fn a_deleted_tenant_takes_its_events_along_and_its_late_counts_are_nobodys() {
        let Some(app) = TestApp::start().await else { return };
        let batch = json!({"events": [event(&app, 1), report(&app, 2, 5)]});
        app.post_internal("/internal/events", &batch).await;
        app.execute("delete from users; ").await;
        app.execute("delete from tenants").await;
        assert_eq!(app.count("select count(*) from image_events").await, 0);
        app.clock.advance(Duration::seconds(1));
        let late = app
            .post_internal(
                "/internal/events",
                &json!({"events": [event(&app, 3), report(&app, 4, 2)]}),
            )
            .await;
        assert_eq!(
            (late.status, late.json()["refused"].as_array().unwrap().len()),
            (200, 1)
        );
        assert_eq!(app.count(HITS).await, 2);
    }
}
