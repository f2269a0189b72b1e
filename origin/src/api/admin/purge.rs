//! `POST /api/admin/purge`: throws pictures of the own tenant out of every cache.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use kado_shared::problem::FieldError;
use serde::{Deserialize, Serialize};

use crate::{
    audit,
    database::DatabaseError,
    http::{authentication::Administrator, extract::JsonBody, failure::Failure},
    purges::{self, REQUESTS, WINDOW, Wanted},
    service::App,
    settings,
};

/// Seconds within which every edge knows.
const SEEN_WITHIN: u64 = 5;

/// One, or several.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(untagged, expecting = "must be a text or a list of texts")]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    fn list(value: Option<Self>) -> Vec<String> {
        match value {
            None => Vec::new(),
            Some(Self::One(text)) => vec![text],
            Some(Self::More(texts)) => texts,
        }
    }
}

/// What is to go.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Purge, min_properties = 1, example = json!({ "source": ["https://images.example.com/a.jpg"] }))]
pub(crate) struct Body {
    /// Image addresses, with or without the tenant's host; any spelling of the options.
    address: Option<OneOrMore>,
    /// Sources, written as in an address: whatever was made of them.
    source: Option<OneOrMore>,
    /// Names of presets: whatever was made by them.
    preset: Option<OneOrMore>,
    /// Everything of the tenant.
    #[serde(default)]
    all: bool,
}

/// What was purged.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Purged {
    addresses: usize,
    sources: usize,
    presets: usize,
    /// Everything of the tenant: as asked for, or because of more than 10,000 single purges in a week.
    all: bool,
    /// The tenant's generation.
    generation: i64,
    /// Seconds within which every edge knows.
    seen_within: u64,
}

/// Why nothing was purged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PurgeError {
    #[error("the fields are not valid")]
    Fields(Vec<FieldError>),
    #[error("too many purges; the next may come in {0} s")]
    TooMany(u64),
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl IntoResponse for PurgeError {
    fn into_response(self) -> Response {
        let failure = match self {
            Self::Fields(errors) => Failure::fields(errors),
            Self::TooMany(seconds) => Failure::rate_limited(
                "purge",
                seconds,
                format!(
                    "A tenant may purge {REQUESTS} times in {} s, up to {} things at once",
                    WINDOW.whole_seconds(),
                    purges::MOST_AT_ONCE
                ),
            ),
            Self::Database(error) => error.into(),
        };
        failure.into_response()
    }
}

/// Throws pictures of the own tenant out of every cache.
///
/// At least one of the fields; 100 addresses, sources and presets in all, 10 requests a minute.
#[utoipa::path(post, path = "/api/admin/purge", request_body = Body,
    responses(
        (status = 200, description = "Every edge knows within `seenWithin` seconds.", body = Purged),
        (status = 429, description = "The tenant has purged 10 times in a minute, or a rate limit refused."),
    ))]
pub(crate) async fn post_purge(
    State(app): State<App>,
    Administrator(principal): Administrator,
    JsonBody(body): JsonBody<Body>,
) -> Result<Json<Purged>, PurgeError> {
    let wanted = Wanted {
        addresses: OneOrMore::list(body.address),
        sources: OneOrMore::list(body.source),
        presets: OneOrMore::list(body.preset),
        all: body.all,
    };
    let (tenant, now) = (principal.caller.tenant, app.clock.now());
    let mut transaction = app.database.begin(tenant).await?;
    let settings = settings::load(transaction.connection(), tenant).await?.resolve();
    let hosts = sqlx::query_scalar!("select host from tenant_hosts")
        .fetch_all(transaction.connection())
        .await
        .map_err(DatabaseError::from)?;
    let order = wanted
        .read(&settings.text("imageOrigin"), &hosts)
        .map_err(PurgeError::Fields)?;
    if let Some(seconds) = purges::wait(transaction.connection(), tenant, now).await? {
        return Err(PurgeError::TooMany(seconds));
    }
    let done = order
        .carry_out(transaction.connection(), tenant, Some(principal.user), now)
        .await?;
    let mut entry = principal.entry(&app, "cache.purge");
    entry.after = Some(wanted.to_json());
    audit::record(transaction.connection(), entry).await?;
    transaction.commit().await?;
    Ok(Json(Purged {
        addresses: wanted.addresses.len(),
        sources: wanted.sources.len(),
        presets: wanted.presets.len(),
        all: done.raised,
        generation: done.generation,
        seen_within: SEEN_WITHIN,
    }))
}

#[cfg(test)]
mod tests {
    use crate::api::testing::TestApp;
    use kado_shared::{edge_config::EdgeConfig, purge};
    use serde_json::json;
    use time::Duration;

    async fn config(app: &TestApp) -> EdgeConfig {
        EdgeConfig::from_json(&app.internal("GET", "/internal/edge-config?host=localhost").await.body).unwrap()
    }

    #[tokio::test]
    async fn a_purge_is_told_to_the_edges_audited_and_forgotten_after_a_week() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let body =
            json!({"address": "/img/w=1/https://a.example/b", "source": ["https://a.example/c"], "preset": "menu"});
        let answer = app.post_as(&token, "/api/admin/purge", &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(
            answer.json(),
            json!({"addresses": 1, "sources": 1, "presets": 1, "all": false, "generation": 1, "seenWithin": 5})
        );
        let config_now = config(&app).await;
        let mut hashes: Vec<_> = config_now.purges.iter().map(|purge| purge.hash.clone()).collect();
        hashes.sort();
        let mut expected = [
            purge::address_hash("width=1", "https://a.example/b"),
            purge::source_hash("https://a.example/c"),
        ];
        expected.sort();
        assert_eq!(hashes, expected);
        assert!(config_now.purges.iter().all(|purge| purge.time == app.now() * 1000));
        assert_eq!(config_now.tenant.presets, [("menu".to_owned(), 1)].into());
        let audited: serde_json::Value =
            sqlx::query_scalar("select after from audit_logs where action = 'cache.purge'")
                .fetch_one(app.database().superuser())
                .await
                .unwrap();
        assert_eq!(audited["source"], json!(["https://a.example/c"]));
        app.clock.advance(Duration::days(7));
        assert!(config(&app).await.purges.is_empty());
    }

    #[tokio::test]
    async fn everything_and_too_many_single_ones_raise_the_generation() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let purge = |body: serde_json::Value| {
            let (app, token) = (&app, &token);
            async move { app.post_as(token, "/api/admin/purge", &body).await.json() }
        };
        assert_eq!(purge(json!({"source": "https://a.example/1"})).await["all"], false);
        assert_eq!(purge(json!({"all": true})).await["generation"], 2);
        let now = config(&app).await;
        assert_eq!((now.tenant.generation, now.purges.len()), (2, 0));
        // 9,999 more, as a week of them might leave.
        app.execute(
            "insert into cache_purges (tenant_id, requested_at, hashes)
             select id, '2027-01-15 08:00:00+00', array(select md5(n || '-' || m) from generate_series(1, 99) m)
             from tenants, generate_series(1, 101) n",
        )
        .await;
        assert_eq!(purge(json!({"source": "https://a.example/2"})).await["all"], false);
        assert_eq!(config(&app).await.purges.len(), 10_000);
        assert_eq!(purge(json!({"source": "https://a.example/3"})).await["all"], true);
        let now = config(&app).await;
        assert_eq!((now.tenant.generation, now.purges.len()), (3, 0));
    }

    #[tokio::test]
    async fn a_tenant_purges_ten_times_a_minute() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let purge = || async {
            app.post_as(&token, "/api/admin/purge", &json!({"source": "https://a.example/"}))
                .await
        };
        let all = futures_util::future::join_all((0..14).map(|_| purge())).await;
        let let_through = all.iter().filter(|answer| answer.status == 200).count();
        assert_eq!(let_through, 10, "at once or one after another");
        app.clock.advance(Duration::seconds(31));
        let refused = purge().await;
        assert_eq!(
            (refused.status, refused.header("retry-after")),
            (429, Some("29")),
            "{}",
            refused.text()
        );
        assert_eq!(refused.json()["violated-policies"], json!(["purge"]));
        app.clock.advance(Duration::seconds(29));
        assert_eq!(purge().await.status, 200);
    }

    #[tokio::test]
    async fn each_purge_of_a_preset_has_a_number_that_no_preset_had() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        for (presets, told) in [
            (json!(["a"]), json!({"a": 1})),
            (json!(["a"]), json!({"a": 2})),
            // Where `a` has been: with equal options, what was made for it would be found.
            (json!(["b"]), json!({"a": 2, "b": 3})),
            (json!(["c", "a"]), json!({"a": 4, "b": 3, "c": 4})),
            (json!(["c"]), json!({"a": 4, "b": 3, "c": 5})),
        ] {
            let answer = app
                .post_as(&token, "/api/admin/purge", &json!({"preset": presets}))
                .await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(json!(config(&app).await.tenant.presets), told, "{presets}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_purge_and_the_end_of_all_sessions_at_once_both_succeed() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let mut obstacle = app.database().superuser().begin().await.unwrap();
        sqlx::query("select from edge_state for update")
            .execute(&mut *obstacle)
            .await
            .unwrap();
        let waiting = async |most: i64| {
            let waits = async {
                let sql = "select count(*) from pg_stat_activity
                     where datname = current_database() and wait_event_type = 'Lock'";
                while app.count(sql).await < most {
                    tokio::task::yield_now().await;
                }
            };
            let waited = tokio::time::timeout(std::time::Duration::from_secs(10), waits);
            waited.await.expect("both wait");
        };
        let (purge, nothing) = (json!({"all": true}), json!({}));
        let purged = app.post_as(&token, "/api/admin/purge", &purge);
        let ended = async {
            waiting(1).await;
            app.post_as(&token, "/api/admin/sessions/revoke-all", &nothing).await
        };
        let release = async {
            waiting(2).await;
            obstacle.rollback().await.unwrap();
        };
        let (purged, ended, ()) = tokio::join!(purged, ended, release);
        assert_eq!((purged.status, ended.status), (200, 200), "{}", purged.text());
    }

    #[tokio::test]
    async fn wrong_purges_and_wrong_people_change_nothing() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        for (body, field) in [
            (json!({}), "all"),
            (json!({"all": false}), "all"),
            (json!({"source": "u/x"}), "source[0]"),
            (
                json!({"address": ["/img/w=1/u/6f1c1b9e-7c0a-4d8e-9d51-0b8f5a1f2e3d", "/w=1/a"]}),
                "address[1]",
            ),
            (json!({"preset": "A"}), "preset[0]"),
            (json!({"source": 1}), "source"),
            (json!({"tenant": "other"}), "tenant"),
        ] {
            let answer = app.post_as(&token, "/api/admin/purge", &body).await;
            assert_eq!(
                (answer.status, &answer.json()["errors"][0]["field"]),
                (400, &json!(field)),
                "{body}: {}",
                answer.text()
            );
        }
        let user = app.user_token("user@localhost").await;
        assert_eq!(
            app.post_as(&user, "/api/admin/purge", &json!({"all": true}))
                .await
                .status,
            403
        );
        assert_eq!(app.post("/api/admin/purge", &json!({"all": true})).await.status, 401);
        assert_eq!(app.count("select count(*) from cache_purges").await, 0);
    }

    #[tokio::test]
    async fn a_handler_that_forgets_the_tenant_gets_no_purges() {
        let Some(app) = TestApp::start().await else { return };
        app.execute("insert into cache_purges (tenant_id, requested_at, hashes) select id, now(), '{a}' from tenants")
            .await;
        app.execute("insert into preset_generations (tenant_id, preset, generation) select id, 'a', 1 from tenants")
            .await;
        for table in ["cache_purges", "preset_generations"] {
            let seen: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("select count(*) from {table}")))
                .fetch_one(app.service.database.app())
                .await
                .unwrap();
            assert_eq!(seen, 0, "{table}");
        }
    }
}
