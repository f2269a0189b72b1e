//! What nobody asks for any more, removed now and then: old sessions and delays, bytes without pictures, remains of
//! uploads, purges that outlived every cached picture.

use kado_shared::tenant::TenantId;
use std::time::{Duration, SystemTime};
use time::Duration as Span;

use crate::{
    api::remove_unreferenced, blobs::BlobHash, database::DatabaseError, http::failure::chain, limits, purges,
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
/// Most rows of one statement.
const BATCH: i64 = 1000;

/// Sweeps until it is dropped.
pub(super) async fn forever(app: App) -> ! {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = limits::sweep(&app.database).await {
            tracing::warn!(event = "sweep-failed", error = %chain(&error));
        }
        match once(&app).await {
            Ok(swept) if swept == Swept::default() => {}
            Ok(swept) => {
                let Swept {
                    sessions,
                    delays,
                    blobs,
                    pending,
                    purges,
                } = swept;
                tracing::info!(event = "swept", sessions, delays, blobs, pending, purges);
            }
            // The next round tries again.
            Err(error) => tracing::warn!(event = "sweep-failed", error = %chain(&error)),
        }
    }
}

/// How many of each were removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Swept {
    sessions: u64,
    delays: u64,
    blobs: u64,
    pending: u32,
    purges: u64,
}

async fn once(app: &App) -> Result<Swept, DatabaseError> {
    let (pool, now) = (app.database.system(), app.clock.now());
    let sessions = sqlx::query!(
        "delete from sessions where (tenant_id, id) in
             (select tenant_id, id from sessions where ended_at < $1 or created_at < $2 limit $3)",
        now - KEEP_SESSIONS,
        now - OLDEST_SESSION,
        BATCH,
    )
    .execute(pool)
    .await?
    .rows_affected();
    let delays = sqlx::query!("delete from login_delays where updated_at < $1", now - KEEP_DELAYS)
        .execute(pool)
        .await?
        .rows_affected();
    let unreferenced = sqlx::query!(
        "select tenant_id, sha256 from blobs where reference_count = 0 limit $1",
        BATCH
    )
    .fetch_all(pool)
    .await?;
    let mut blobs = 0;
    for row in unreferenced {
        let Ok(hash) = <[u8; 32]>::try_from(row.sha256.as_slice()) else {
            continue;
        };
        match remove_unreferenced(app, TenantId(row.tenant_id), BlobHash(hash)).await {
            Ok(()) => blobs += 1,
            Err(error) => tracing::warn!(event = "blob-removal-failed", error = %chain(&error)),
        }
    }
    let moment = SystemTime::UNIX_EPOCH + Duration::from_secs(crate::clock::unix(now));
    let pending = app
        .blobs
        .sweep_pending(moment, KEEP_PENDING)
        .await
        .unwrap_or_else(|error| {
            tracing::warn!(event = "pending-sweep-failed", error = %error);
            0
        });
    let purges = purges::sweep(pool, now, BATCH).await?;
    Ok(Swept {
        sessions,
        delays,
        blobs,
        pending,
        purges,
    })
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
            once(&app.service).await.unwrap(),
            Swept {
                blobs: 1,
                ..Swept::default()
            }
        );
        app.clock.advance(Duration::days(8));
        let swept = once(&app.service).await.unwrap();
        assert_eq!((swept.sessions, swept.delays, swept.blobs), (1, 1, 0));
        assert_eq!((app.files(), app.count("select count(*) from sessions").await), (1, 1));
    }
}
