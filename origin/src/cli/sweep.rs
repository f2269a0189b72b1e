//! What nobody asks for any more, removed now and then: old sessions and delays, bytes without pictures, remains of
//! uploads, purges that outlived every cached picture, signing keys that nobody comes with any more, originals of tenants
//! that were deleted, answers that nobody repeats a request for.

use kado_shared::tenant::TenantId;
use std::time::{Duration, SystemTime};
use time::Duration as Span;

use crate::{
    api::remove_unreferenced,
    audit::{self, Actor, Entry},
    blobs::BlobHash,
    database::DatabaseError,
    http::failure::chain,
    idempotency,
    identity::key_rotation,
    internal::events::KEEP_EVENTS,
    limits, purges, quota,
    service::App,
};

/// Time between sweeps.
const EVERY: Duration = Duration::from_secs(300);
/// How long an ended session is kept, for the list and for the edges.
const KEEP_SESSIONS: Span = Span::days(7);
/// Longest life of a session that any setting allows.
const OLDEST_SESSION: Span = Span::days(365);
/// A delay lasts a minute; its count is forgotten after a quarter of an hour.
const KEEP_DELAYS: Span = Span::hours(1);
/// No upload takes that long.
const KEEP_PENDING: Duration = Duration::from_secs(6 * 3600);
/// How long a deleted tenant's originals are looked for: longer than an upload takes.
const KEEP_DELETED: Span = Span::days(1);
/// Most rows of one statement.
const BATCH: i64 = 1000;
/// Most such statements of one step in a round.
const MOST_BATCHES: u32 = 200;

/// Sweeps until it is dropped.
pub(super) async fn forever(app: App) -> ! {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = limits::sweep(&app.database).await {
            tracing::warn!(event = "sweep-failed", error = %chain(&error));
        }
        let swept = once(&app).await;
        if swept == Swept::default() {
            continue;
        }
        let Swept {
            sessions,
            delays,
            blobs,
            pending,
            purges,
            idempotency_keys,
            events,
            quotas,
            keys,
            originals,
        } = swept;
        tracing::info!(
            event = "swept",
            sessions,
            delays,
            blobs,
            pending,
            purges,
            idempotency_keys,
            events,
            quotas,
            keys,
            originals
        );
    }
}

/// How many of each were removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Swept {
    sessions: u64,
    delays: u64,
    blobs: u64,
    pending: u32,
    purges: u64,
    idempotency_keys: u64,
    /// Events, and what is kept of counts.
    events: u64,
    /// Hours of usage, and what edges have spent.
    quotas: u64,
    /// Signing keys that were retired.
    keys: usize,
    /// Originals of deleted tenants.
    originals: u64,
}

/// One round. A step that fails keeps no other from its work.
pub(super) async fn once(app: &App) -> Swept {
    Swept {
        sessions: swept("sessions", sweep_sessions(app).await),
        delays: swept("delays", sweep_delays(app).await),
        blobs: swept("blobs", sweep_blobs(app).await),
        pending: sweep_pending(app).await,
        purges: swept(
            "purges",
            purges::sweep(app.database.system(), app.clock.now(), BATCH).await,
        ),
        idempotency_keys: swept("idempotency-keys", sweep_idempotency_keys(app).await),
        events: swept("events", sweep_events(app).await),
        quotas: swept("quotas", sweep_quotas(app).await),
        keys: swept("keys", retire_keys(app).await),
        originals: swept("originals", sweep_deleted_tenants(app).await),
    }
}

/// What a step removed. What failed is tried again in the next round.
fn swept<T: Default>(step: &'static str, removed: Result<T, DatabaseError>) -> T {
    removed.unwrap_or_else(|error| {
        tracing::warn!(event = "sweep-failed", step, error = %chain(&error));
        T::default()
    })
}

async fn sweep_sessions(app: &App) -> Result<u64, DatabaseError> {
    let now = app.clock.now();
    let removed = sqlx::query!(
        "delete from sessions where (tenant_id, id) in
             (select tenant_id, id from sessions where ended_at < $1 or created_at < $2 limit $3)",
        now - KEEP_SESSIONS,
        now - OLDEST_SESSION,
        BATCH,
    )
    .execute(app.database.system())
    .await?;
    Ok(removed.rows_affected())
}

async fn sweep_delays(app: &App) -> Result<u64, DatabaseError> {
    let before = app.clock.now() - KEEP_DELAYS;
    let removed = sqlx::query!("delete from login_delays where updated_at < $1", before)
        .execute(app.database.system())
        .await?;
    Ok(removed.rows_affected())
}

/// Removes bytes that no picture refers to.
async fn sweep_blobs(app: &App) -> Result<u64, DatabaseError> {
    let unreferenced = sqlx::query!(
        "select tenant_id, sha256 from blobs where reference_count = 0 limit $1",
        BATCH
    )
    .fetch_all(app.database.system())
    .await?;
    let mut removed = 0;
    for row in unreferenced {
        let Ok(hash) = <[u8; 32]>::try_from(row.sha256.as_slice()) else {
            continue;
        };
        match remove_unreferenced(app, TenantId(row.tenant_id), BlobHash(hash)).await {
            Ok(()) => removed += 1,
            Err(error) => tracing::warn!(event = "blob-removal-failed", error = %chain(&error)),
        }
    }
    Ok(removed)
}

/// Removes remains of uploads.
async fn sweep_pending(app: &App) -> u32 {
    let moment = SystemTime::UNIX_EPOCH + Duration::from_secs(crate::clock::unix(app.clock.now()));
    let removed = app.blobs.sweep_pending(moment, KEEP_PENDING).await;
    removed.unwrap_or_else(|error| {
        tracing::warn!(event = "pending-sweep-failed", error = %error);
        0
    })
}

/// Clients that send a key with every request leave more than one statement should remove.
async fn sweep_idempotency_keys(app: &App) -> Result<u64, DatabaseError> {
    let mut removed = 0;
    for _ in 0..MOST_BATCHES {
        match idempotency::sweep(app.database.system(), app.clock.now(), BATCH).await? {
            0 => break,
            batch => removed += batch,
        }
    }
    Ok(removed)
}

/// A busy site leaves more receipts in five minutes than one statement should remove.
async fn sweep_quotas(app: &App) -> Result<u64, DatabaseError> {
    let mut removed = 0;
    for _ in 0..MOST_BATCHES {
        match quota::sweep(app.database.system(), app.clock.now(), BATCH).await? {
            0 => break,
            batch => removed += batch,
        }
    }
    Ok(removed)
}

/// Retires signing keys whose time has passed.
async fn retire_keys(app: &App) -> Result<usize, DatabaseError> {
    let now = app.clock.now();
    let mut transaction = app.database.system().begin().await?;
    let retired = key_rotation::retire_due(&mut transaction, now).await?;
    for kid in &retired {
        let entry = Entry {
            tenant: None,
            at: now,
            actor: Actor::System,
            action: "keys.retire",
            target: Some(kid.clone()),
            before: None,
            after: None,
            request_id: None,
            client_ip: None,
        };
        audit::record(&mut transaction, entry).await?;
    }
    transaction.commit().await?;
    Ok(retired.len())
}

/// Removes the originals of tenants that were deleted, until an upload that was under way then is certainly over. Not of one
/// that is there again: its export was restored, and the originals are its own.
async fn sweep_deleted_tenants(app: &App) -> Result<u64, DatabaseError> {
    let pool = app.database.system();
    sqlx::query!(
        "delete from deleted_tenants d where deleted_at < $1 and exists (select from tenants t where t.id = d.id)",
        app.clock.now() - KEEP_DELETED,
    )
    .execute(pool)
    .await?;
    let deleted = sqlx::query!("select id, deleted_at from deleted_tenants limit $1", BATCH)
        .fetch_all(pool)
        .await?;
    let mut removed = 0;
    for row in deleted {
        // Asked for each: removing those before it may take long.
        let is_back = sqlx::query_scalar!(
            r#"select exists (select from tenants where id = $1) as "is_back!""#,
            row.id
        );
        if is_back.fetch_one(pool).await? {
            continue;
        }
        match app.blobs.remove_all(TenantId(row.id)).await {
            Ok(count) => removed += count,
            Err(error) => {
                tracing::warn!(event = "blob-removal-failed", error = %chain(&error));
                continue;
            }
        }
        if app.clock.now() - row.deleted_at > KEEP_DELETED {
            sqlx::query!("delete from deleted_tenants where id = $1", row.id)
                .execute(pool)
                .await?;
        }
    }
    Ok(removed)
}

/// Removes events and counts that have been kept long enough. A busy site makes more of them in five minutes than one
/// statement should remove.
async fn sweep_events(app: &App) -> Result<u64, DatabaseError> {
    let (pool, before) = (app.database.system(), app.clock.now() - KEEP_EVENTS);
    let mut removed = 0;
    for _ in 0..MOST_BATCHES {
        let events = sqlx::query!(
            "delete from image_events where (tenant_id, id) in
                 (select tenant_id, id from image_events where at < $1 limit $2)",
            before,
            BATCH,
        )
        .execute(pool)
        .await?
        .rows_affected();
        let counts = sqlx::query!("delete from edge_counts where hour < $1", before)
            .execute(pool)
            .await?
            .rows_affected();
        // A report of that age is refused, so it need not be remembered.
        let reports = sqlx::query!(
            "delete from edge_reports where id in (select id from edge_reports where received_at < $1 limit $2)",
            before,
            BATCH,
        )
        .execute(pool)
        .await?
        .rows_affected();
        removed += events + counts + reports;
        if events + counts + reports == 0 {
            break;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::{Swept, once};
    use crate::api::testing::{TestApp, png};
    use serde_json::json;
    use time::Duration;

    #[tokio::test(flavor = "multi_thread")]
    async fn it_removes_what_is_over_and_nothing_else() {
        let Some(app) = TestApp::start().await else { return };
        let (token, _open) = (app.admin_token().await, app.admin_token().await);
        app.upload(&token, png(4, 4)).await;
        app.upload(&token, png(5, 5)).await;
        app.execute("delete from images where width = 4; ").await;
        app.execute("update blobs set reference_count = 0 where sha256 not in (select sha256 from images)")
            .await;
        app.post(
            "/api/auth/login",
            &json!({"email": "nobody@localhost", "password": "wrong"}),
        )
        .await;
        app.post_as(&token, "/api/auth/logout", &json!({})).await;
        assert_eq!(
            once(&app.service).await,
            Swept {
                blobs: 1,
                ..Swept::default()
            }
        );
        let insert = "insert into image_events (tenant_id, id, at, received_at, kind, result, request_id, ms)
            select id, gen_random_uuid(), timestamptz '2027-01-15' - days * interval '1 day', now(), 'upload', 'ok', '12345678', 1
            from tenants, generate_series(75, 95, 5) as days";
        app.execute(insert).await;
        app.execute("delete from usage_records").await;
        app.execute(
            "insert into usage_records select tenant_id, id, 'API_CALL', timestamptz '2027-01-15' - days * interval '1 day', 1
             from users, generate_series(75, 95, 5) as days",
        )
        .await;
        app.execute(
            "insert into quota_receipts select tenant_id, gen_random_uuid(), id, 'IMAGE_PROCESS', '2027-01-15', 1, false, timestamptz '2027-01-15' + days * interval '1 day'
             from users, generate_series(5, 8) as days",
        )
        .await;
        app.clock.advance(Duration::days(8));
        let swept = once(&app.service).await;
        assert_eq!((swept.sessions, swept.delays, swept.blobs), (1, 1, 0));
        // After the 8 days: of 75, 80, 85, 90 and 95 days, three are more than 90.
        assert_eq!(
            (swept.events, app.count("select count(*) from image_events").await),
            (3, 2)
        );
        assert_eq!(swept.quotas, 3 + 3, "usage like events, receipts of more than a day");
        assert_eq!((app.files(), app.count("select count(*) from sessions").await), (1, 1));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_step_that_fails_keeps_no_other_from_its_work() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        app.upload(&token, png(4, 4)).await;
        app.execute("delete from images").await;
        app.execute("update blobs set reference_count = 0").await;
        app.execute(
            "insert into idempotency_keys (tenant_id, user_id, route, key_sha256, fingerprint, status, answer, created_at)
             select tenant_id, id, 'POST /api/images', sha256(n::text::bytea), sha256(''), 201, '', '2027-01-01'
             from users, generate_series(1, 2500) as n",
        )
        .await;
        app.execute("alter table sessions rename to elsewhere").await;
        app.execute("alter table image_events rename to also_elsewhere").await;
        assert_eq!(
            once(&app.service).await,
            Swept {
                blobs: 1,
                idempotency_keys: 2500,
                ..Swept::default()
            }
        );
    }

    #[tokio::test]
    async fn a_key_whose_time_has_passed_is_retired_and_that_is_told() {
        let Some(app) = TestApp::start().await else { return };
        app.execute(
            "insert into signing_keys (kid, public_key, sealed_private_key, state, created_at, retire_after)
             values ('retiring', sha256(''), '', 'retiring', '2027-01-01', '2027-01-15T08:30:00Z')",
        )
        .await;
        assert_eq!(once(&app.service).await.keys, 0);
        app.clock.advance(Duration::minutes(30));
        assert_eq!(once(&app.service).await.keys, 1);
        let told =
            "select count(*) from audit_logs where action = 'keys.retire' and actor = 'system' and target = 'retiring'";
        assert_eq!(app.count(told).await, 1);
    }
}
