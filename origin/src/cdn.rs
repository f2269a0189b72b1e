//! The purge hook: what was purged here is purged by its tags at a CDN in front.
//!
//! `POST <cdnPurgeUrl>` with `{"tags": [..]}`, at most 30, and `Authorization: Bearer <cdnPurgeSecret>`: what Cloudflare's
//! `purge_cache` takes, and small enough to be translated for any other. `Kado-Delivery` names the delivery, which may
//! come more than once. Any 2xx confirms it; everything else is tried again, with growing pauses.
//!
//! Every purge is told twice: at once, and again when every edge knows of it.

use axum::{
    body::Bytes,
    http::{HeaderName, HeaderValue, header},
};
use futures_util::future::join_all;
use kado_edge_host::Poster;
use kado_shared::{secret::Secret, tenant::TenantId};
use serde_json::json;
use sqlx::PgConnection;
use std::time::Duration;
use time::{Duration as Span, OffsetDateTime};
use url::Url;
use uuid::Uuid;

use crate::{
    database::DatabaseError,
    http::failure::chain,
    seal::{OpenError, Sealer},
    service::App,
    settings::{self, Layers},
};

/// Setting that holds the hook's address.
pub(crate) const URL: &str = "cdnPurgeUrl";
/// Setting that holds what the hook is spoken to with.
pub(crate) const SECRET: &str = "cdnPurgeSecret";
/// Tags of one delivery.
const MOST_TAGS: usize = 30;
/// How long after a purge it is told again. An edge may not know of it for 5 s, and one that still answers the old picture
/// fills the CDN with it anew, where it would stay for as long as pictures live. Told only then, everybody would be shown the
/// old one for that long; told at once too, only who asks such an edge is.
const AGAIN_AFTER: Span = Span::seconds(6);
/// Time between two looks at what is due.
const EVERY: Duration = Duration::from_secs(1);
/// Deliveries under way at once.
const AT_ONCE: i64 = 16;
/// How long a delivery is its taker's: longer than a post may take.
const TAKEN_FOR: Span = Span::seconds(30);
/// Attempts before a delivery is given up: the last comes a good hour after the first.
const MOST_ATTEMPTS: i32 = 13;

/// Where purges of a tenant are told.
#[derive(Debug, PartialEq)]
struct Hook {
    url: Url,
    secret: Option<Secret>,
    /// Whether an operator named it, for all tenants.
    trusted: bool,
}

/// Why a hook cannot be called.
#[derive(Debug, thiserror::Error)]
enum HookError {
    #[error("{SECRET} does not open")]
    Secret(#[from] OpenError),
    #[error("{URL} is no address")]
    Url,
}

/// Address and secret are of one layer: a tenant that names an address of its own is not given the operator's secret.
fn hook_of(layers: &Layers, tenant: TenantId, sealer: &Sealer) -> Result<Option<Hook>, HookError> {
    let (values, scope) = if layers.tenant.contains_key(URL) {
        (&layers.tenant, Some(tenant))
    } else {
        (&layers.global, None)
    };
    let Some(address) = values
        .get(URL)
        .and_then(serde_json::Value::as_str)
        .filter(|address| !address.is_empty())
    else {
        return Ok(None);
    };
    let secret = values
        .get(SECRET)
        .map(|value| settings::open_secret(sealer, scope, SECRET, value))
        .transpose()?;
    Ok(Some(Hook {
        url: Url::parse(address).map_err(|_| HookError::Url)?,
        secret: secret.filter(|secret| !secret.expose().is_empty()),
        trusted: scope.is_none(),
    }))
}

/// Notes what a CDN has to be told, in the transaction of the purge. Nothing where the tenant has no hook.
pub(crate) async fn enqueue(
    connection: &mut PgConnection,
    tenant: TenantId,
    tags: &[String],
    now: OffsetDateTime,
) -> Result<(), DatabaseError> {
    let layers = settings::load(connection, tenant).await?;
    if layers.resolve().text(URL).is_empty() {
        return Ok(());
    }
    for tags in tags.chunks(MOST_TAGS) {
        // Each is a delivery of its own: a receiver may drop what it has had under the same name.
        sqlx::query!(
            "insert into purge_deliveries (tenant_id, tags, created_at, next_at) values ($1, $2, $3, $3), ($1, $2, $3, $4)",
            tenant.0,
            tags,
            now,
            now + AGAIN_AFTER,
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Notes a purge of everything, for every tenant.
pub(crate) async fn enqueue_everything(
    connection: &mut PgConnection,
    now: OffsetDateTime,
) -> Result<(), DatabaseError> {
    let tenants = sqlx::query_scalar!("select id from tenants")
        .fetch_all(&mut *connection)
        .await?;
    for tenant in tenants.into_iter().map(TenantId) {
        enqueue(connection, tenant, &[kado_shared::purge::tenant_tag(tenant)], now).await?;
    }
    Ok(())
}

/// Delivers until it is dropped.
pub(crate) async fn forever(app: App, poster: &Poster) -> ! {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = once(&app, poster).await {
            tracing::warn!(event = "cdn-purge-failed", error = %chain(&error));
        }
    }
}

struct Delivery {
    tenant: TenantId,
    id: Uuid,
    tags: Vec<String>,
    /// This one included.
    attempt: i32,
}

/// Takes on what is due and tries it; answers how many were confirmed.
async fn once(app: &App, poster: &Poster) -> Result<usize, DatabaseError> {
    let now = app.clock.now();
    let taken = sqlx::query!(
        "update purge_deliveries set attempts = attempts + 1, next_at = $1
         where (tenant_id, id) in
             (select tenant_id, id from purge_deliveries where next_at <= $2 order by next_at limit $3
              for update skip locked)
         returning tenant_id, id, tags, attempts",
        now + TAKEN_FOR,
        now,
        AT_ONCE,
    )
    .fetch_all(app.database.system())
    .await?;
    let deliveries = taken.into_iter().map(|row| Delivery {
        tenant: TenantId(row.tenant_id),
        id: row.id,
        tags: row.tags,
        attempt: row.attempts,
    });
    let outcomes = join_all(deliveries.map(|delivery| attempt(app, poster, delivery))).await;
    let mut confirmed = 0;
    for outcome in outcomes {
        confirmed += usize::from(outcome?);
    }
    Ok(confirmed)
}

async fn attempt(app: &App, poster: &Poster, delivery: Delivery) -> Result<bool, DatabaseError> {
    let mut connection = app.database.system().acquire().await?;
    let layers = settings::load(&mut connection, delivery.tenant).await?;
    drop(connection);
    let outcome = match hook_of(&layers, delivery.tenant, &app.settings_sealer) {
        // Nobody is to be told any more.
        Ok(None) => return remove(app, &delivery).await.map(|()| false),
        Ok(Some(hook)) => tell(poster, &hook, &delivery).await,
        Err(error) => Err(chain(&error)),
    };
    let Err(reason) = outcome else {
        remove(app, &delivery).await?;
        tracing::info!(event = "cdn-purged", tenant = %delivery.tenant, delivery = %delivery.id, tags = delivery.tags.len(), attempt = delivery.attempt);
        return Ok(true);
    };
    if delivery.attempt >= MOST_ATTEMPTS {
        tracing::error!(event = "cdn-purge-given-up", tenant = %delivery.tenant, delivery = %delivery.id, reason, tags = ?delivery.tags);
        return remove(app, &delivery).await.map(|()| false);
    }
    tracing::warn!(event = "cdn-purge-retried", tenant = %delivery.tenant, delivery = %delivery.id, reason, attempt = delivery.attempt);
    sqlx::query!(
        "update purge_deliveries set next_at = $3 where tenant_id = $1 and id = $2",
        delivery.tenant.0,
        delivery.id,
        app.clock.now() + pause(delivery.attempt),
    )
    .execute(app.database.system())
    .await?;
    Ok(false)
}

/// The pause after an attempt: 1 s, doubled each time.
fn pause(attempt: i32) -> Span {
    Span::seconds(1_i64 << attempt.saturating_sub(1).clamp(0, 12))
}

async fn tell(poster: &Poster, hook: &Hook, delivery: &Delivery) -> Result<(), String> {
    let value = |text: &str| HeaderValue::from_str(text).map_err(|_| format!("{SECRET} cannot stand in a header"));
    let mut headers = vec![
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (
            HeaderName::from_static("kado-delivery"),
            value(&delivery.id.to_string())?,
        ),
    ];
    if let Some(secret) = &hook.secret {
        let mut bearer = value(&format!("Bearer {}", secret.expose()))?;
        bearer.set_sensitive(true);
        headers.push((header::AUTHORIZATION, bearer));
    }
    let body = Bytes::from(json!({ "tags": delivery.tags }).to_string());
    match poster.post(&hook.url, &headers, body, hook.trusted).await {
        Ok(200..=299) => Ok(()),
        Ok(status) => Err(format!("status {status}")),
        Err(error) => Err(error.to_string()),
    }
}

async fn remove(app: &App, delivery: &Delivery) -> Result<(), DatabaseError> {
    sqlx::query!(
        "delete from purge_deliveries where tenant_id = $1 and id = $2",
        delivery.tenant.0,
        delivery.id
    )
    .execute(app.database.system())
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{AGAIN_AFTER, MOST_ATTEMPTS, Poster, once, pause};
    use crate::api::testing::TestApp;
    use serde_json::{Value, json};
    use std::sync::{Arc, Mutex};
    use time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// A CDN that answers with the statuses it was given, the last one for ever, and keeps what it was told.
    struct Cdn {
        url: String,
        heard: Arc<Mutex<Vec<String>>>,
    }

    impl Cdn {
        async fn start(statuses: &[u16]) -> Self {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}/purge", listener.local_addr().unwrap());
            let heard: Arc<Mutex<Vec<String>>> = Arc::default();
            let (kept, statuses) = (Arc::clone(&heard), statuses.to_vec());
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    let mut request = Vec::new();
                    while !request.ends_with(b"]}") {
                        let mut buffer = [0; 4096];
                        let read = stream.read(&mut buffer).await.unwrap();
                        assert!(read > 0, "the request was cut");
                        request.extend_from_slice(&buffer[..read]);
                    }
                    let status = {
                        let mut kept = kept.lock().unwrap();
                        kept.push(String::from_utf8(request).unwrap());
                        *statuses.get(kept.len() - 1).or(statuses.last()).unwrap()
                    };
                    let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            });
            Self { url, heard }
        }

        fn heard(&self) -> Vec<String> {
            self.heard.lock().unwrap().clone()
        }
    }

    /// A tenant whose operator has a CDN at this address.
    async fn app_behind(url: &str) -> Option<(TestApp, String, Poster)> {
        let app = TestApp::start().await?;
        app.execute(&format!(
            "insert into system_settings (tenant_id, name, value) values (null, 'cdnPurgeUrl', '\"{url}\"')"
        ))
        .await;
        let token = app.admin_token().await;
        Some((app, token, Poster::new().unwrap()))
    }

    async fn purge(app: &TestApp, token: &str, body: Value) {
        let answer = app.post_as(token, "/api/admin/purge", &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    async fn waiting(app: &TestApp) -> i64 {
        app.count("select count(*) from purge_deliveries").await
    }

    #[tokio::test]
    async fn a_purge_is_told_by_tags_and_again_until_it_is_confirmed() {
        let cdn = Cdn::start(&[500, 429, 200]).await;
        let Some((app, token, poster)) = app_behind(&cdn.url).await else {
            return;
        };
        purge(&app, &token, json!({"source": "https://a.example/b", "preset": "menu"})).await;
        assert_eq!(
            (waiting(&app).await, cdn.heard().len()),
            (2, 0),
            "the purge waits for nobody"
        );
        assert_eq!(once(&app.service, &poster).await.unwrap(), 0);
        assert_eq!(
            once(&app.service, &poster).await.unwrap(),
            0,
            "not before the pause is over"
        );
        assert_eq!(cdn.heard().len(), 1);
        app.clock.advance(Duration::seconds(1));
        assert_eq!(once(&app.service, &poster).await.unwrap(), 0);
        app.clock.advance(Duration::seconds(2));
        assert_eq!(once(&app.service, &poster).await.unwrap(), 1);
        assert_eq!(waiting(&app).await, 1, "that which tells it again");
        let heard = cdn.heard();
        assert_eq!(heard.len(), 3);
        let (head, body) = heard[2].split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /purge HTTP/1.1\r\n"), "{head}");
        let tenant = app.tenant.0.simple();
        let source = kado_shared::purge::source_hash("https://a.example/b");
        assert_eq!(
            serde_json::from_str::<Value>(body).unwrap(),
            json!({"tags": [format!("kado-{tenant}-p-menu"), format!("kado-{tenant}-s-{source}")]})
        );
        assert_eq!(delivery(&heard[0]), delivery(&heard[2]), "the same one each time");
    }

    fn delivery(heard: &str) -> &str {
        heard.lines().find(|line| line.starts_with("kado-delivery")).unwrap()
    }

    /// An edge that does not know of the purge yet may have filled the CDN again.
    #[tokio::test]
    async fn a_purge_is_told_again_when_every_edge_knows_of_it_by_an_origin_that_was_started_anew_too() {
        let cdn = Cdn::start(&[200]).await;
        let Some((app, token, poster)) = app_behind(&cdn.url).await else {
            return;
        };
        purge(&app, &token, json!({"preset": "menu"})).await;
        assert_eq!(once(&app.service, &poster).await.unwrap(), 1, "at once");
        // Confirmed or not, the first leaves the second alone.
        let anew = TestApp::on(app.database().other_pools());
        let edges_know = Duration::milliseconds(5_001);
        anew.clock.advance(edges_know);
        assert_eq!(once(&anew.service, &poster).await.unwrap(), 0, "not before all know");
        anew.clock.advance(AGAIN_AFTER - edges_know);
        assert_eq!(once(&anew.service, &poster).await.unwrap(), 1);
        assert_eq!(waiting(&app).await, 0);
        let heard = cdn.heard();
        let body = |text: &str| text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        assert_eq!((heard.len(), body(&heard[0])), (2, body(&heard[1])));
        assert_ne!(
            delivery(&heard[0]),
            delivery(&heard[1]),
            "no receiver takes it for the first"
        );
    }

    #[tokio::test]
    async fn a_secret_is_sealed_masked_and_sent() {
        let cdn = Cdn::start(&[200]).await;
        let Some((app, token, poster)) = app_behind(&cdn.url).await else {
            return;
        };
        let set = |value: Value| {
            let (app, token) = (&app, &token);
            async move {
                app.patch_as(token, "/api/admin/settings", &json!({"cdnPurgeSecret": value}), None)
                    .await
            }
        };
        let answer = set(json!("hunter2-hunter2")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(!answer.text().contains("hunter2"));
        assert_eq!(
            answer.json()["sections"]["cache"]["cdnPurgeSecret"]["value"],
            "********"
        );
        assert_eq!(set(json!("line\nbreak")).await.status, 400);
        for (table, column) in [("system_settings", "value"), ("audit_logs", "after")] {
            let plain = format!("select count(*) from {table} where {column}::text like '%hunter2%'");
            assert_eq!(app.count(&plain).await, 0, "{table}");
        }
        // The operator's address is not spoken to with a tenant's secret, nor the other way round.
        purge(&app, &token, json!({"all": true})).await;
        assert_eq!(once(&app.service, &poster).await.unwrap(), 1);
        assert!(!cdn.heard()[0].contains("hunter2"));
        app.execute("update system_settings set tenant_id = (select id from tenants) where name = 'cdnPurgeUrl'")
            .await;
        purge(&app, &token, json!({"all": true})).await;
        assert_eq!(once(&app.service, &poster).await.unwrap(), 0);
        assert_eq!(cdn.heard().len(), 1, "a tenant's own address must be public");
    }

    #[tokio::test]
    async fn what_nobody_takes_is_given_up_in_the_end_and_without_a_hook_nothing_waits() {
        let cdn = Cdn::start(&[404]).await;
        let Some((app, token, poster)) = app_behind(&cdn.url).await else {
            return;
        };
        purge(&app, &token, json!({"all": true})).await;
        for _ in 0..=MOST_ATTEMPTS {
            once(&app.service, &poster).await.unwrap();
            app.clock.advance(Duration::hours(2));
        }
        assert_eq!((waiting(&app).await, cdn.heard().len()), (0, 2 * 13));
        app.execute("delete from system_settings where name = 'cdnPurgeUrl'")
            .await;
        purge(&app, &app.admin_token().await, json!({"all": true})).await;
        assert_eq!(waiting(&app).await, 0);
    }

    #[test]
    fn pauses_grow_to_more_than_an_hour_in_all() {
        let all: Duration = (1..MOST_ATTEMPTS).map(pause).sum();
        assert_eq!((pause(1), pause(4)), (Duration::seconds(1), Duration::seconds(8)));
        assert!(all > Duration::hours(1) && all < Duration::hours(2), "{all}");
    }
}
