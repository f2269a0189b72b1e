//! `GET /api/health`: whether requests should be sent here.
//!
//! 503 while the database is down or slow, the schema too old, start-up incomplete, or the process drains. Redis away is
//! survivable: 200 and `degraded`. Nothing is remembered from call to call, so it recovers by itself.

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use std::{
    future::Future,
    time::{Duration, Instant},
};
use tokio::time::timeout;

use crate::{
    database::{MIN_SCHEMA, SchemaState, schema_state},
    http::failure::chain,
    service::App,
};

const DATABASE_TIMEOUT: Duration = Duration::from_millis(1500);
const REDIS_TIMEOUT: Duration = Duration::from_millis(800);

#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Health {
    #[schema(pattern = "^(healthy|degraded)$")]
    status: &'static str,
    ready: bool,
    components: Components,
    version: &'static str,
    /// Seconds since the process began.
    uptime: u64,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Components {
    database: Component,
    redis: Component,
    migrations: Component,
    startup: Component,
}

#[derive(Debug, Default, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct Component {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    skipped: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// Whether requests should be sent here.
///
/// With Redis configured and away it is 200 and `degraded`. With the origin away the edge answers by itself, and says so in
/// `components.origin`.
#[utoipa::path(get, path = "/api/health",
    responses(
        (status = 200, description = "Ready.", body = Health),
        (status = 503, description = "Not ready: the database, its schema or start-up, or it drains.", body = Health),
    ))]
pub(crate) async fn get_health(State(app): State<App>) -> Response {
    let (database, redis) = tokio::join!(ask_database(&app), ask_redis(&app));
    let (database, migrations) = database;
    let startup = startup(&app);
    let ready = database.ok && migrations.ok && startup.ok;
    let health = Health {
        status: if ready && redis.ok { "healthy" } else { "degraded" },
        ready,
        components: Components {
            database,
            redis,
            migrations,
            startup,
        },
        version: env!("CARGO_PKG_VERSION"),
        uptime: app.readiness.uptime().as_secs(),
    };
    if ready {
        Json(health).into_response()
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            [(header::RETRY_AFTER, HeaderValue::from_static("2"))],
            Json(health),
        )
            .into_response()
    }
}

/// What went wrong is for the log: an answer without a login tells no addresses.
async fn timed<T, E: std::error::Error + 'static>(
    name: &'static str,
    limit: Duration,
    question: impl Future<Output = Result<T, E>>,
) -> (Component, Option<T>) {
    let started = Instant::now();
    let answer = timeout(limit, question).await;
    let latency_ms = u64::try_from(started.elapsed().as_millis()).ok();
    let (detail, value) = match answer {
        Ok(Ok(value)) => {
            return (
                Component {
                    ok: true,
                    latency_ms,
                    ..Component::default()
                },
                Some(value),
            );
        }
        Ok(Err(error)) => {
            tracing::warn!(event = "health", component = name, error = %chain(&error));
            ("not reachable".to_owned(), None)
        }
        Err(_) => {
            let detail = format!("no answer within {} ms", limit.as_millis());
            tracing::warn!(event = "health", component = name, error = detail);
            (detail, None)
        }
    };
    (
        Component {
            ok: false,
            latency_ms,
            detail: Some(detail),
            ..Component::default()
        },
        value,
    )
}

async fn ask_database(app: &App) -> (Component, Component) {
    let (database, schema) = timed("database", DATABASE_TIMEOUT, schema_state(app.database.app())).await;
    let migrations = match schema {
        None => Component {
            detail: Some("unknown while the database is away".to_owned()),
            ..Component::default()
        },
        Some(SchemaState::Sufficient(version)) => Component {
            ok: true,
            version: Some(version),
            ..Component::default()
        },
        Some(SchemaState::TooOld(version)) => Component {
            version: Some(version),
            detail: Some(format!(
                "schema {version} is older than {MIN_SCHEMA}: run `kado migrate up`"
            )),
            ..Component::default()
        },
    };
    (database, migrations)
}

async fn ask_redis(app: &App) -> Component {
    match &app.redis {
        None => Component {
            ok: true,
            skipped: true,
            ..Component::default()
        },
        Some(redis) => timed("redis", REDIS_TIMEOUT, redis.ping()).await.0,
    }
}

fn startup(app: &App) -> Component {
    let detail = if app.readiness.is_draining() {
        Some("draining".to_owned())
    } else {
        app.readiness.obstacle()
    };
    Component {
        ok: detail.is_none(),
        detail,
        ..Component::default()
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        api::testing::{TestApp, unsigned},
        database::migration,
    };

    #[tokio::test]
    async fn a_ready_service_says_so() {
        let Some(app) = TestApp::start().await else { return };
        let answer = app.send(unsigned("GET", "/api/health")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let body = answer.json();
        assert_eq!((&body["status"], &body["ready"]), (&"healthy".into(), &true.into()));
        for component in ["database", "redis", "migrations", "startup"] {
            assert_eq!(body["components"][component]["ok"], true, "{component}");
        }
        assert_eq!(body["components"]["redis"]["skipped"], true);
        assert!(body["version"].is_string() && body["uptime"].is_u64());
    }

    #[tokio::test]
    async fn without_a_database_it_is_not_ready() {
        let app = TestApp::without_database();
        app.service.readiness.complete();
        let answer = app.send(unsigned("GET", "/api/health")).await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("2")));
        let body = answer.json();
        assert_eq!((&body["ready"], &body["status"]), (&false.into(), &"degraded".into()));
        assert_eq!(body["components"]["database"]["ok"], false);
    }

    #[tokio::test]
    async fn an_older_schema_is_not_ready_until_it_is_migrated() {
        let Some(app) = TestApp::start().await else { return };
        let mut connection = app.database().superuser().acquire().await.unwrap();
        migration::down(&mut connection, 1).await.unwrap();
        let answer = app.send(unsigned("GET", "/api/health")).await;
        assert_eq!(answer.status, 503);
        assert!(
            answer.json()["components"]["migrations"]["detail"]
                .as_str()
                .unwrap()
                .contains("kado migrate up")
        );
        migration::up(&mut connection, &migration::Passwords::default())
            .await
            .unwrap();
        assert_eq!(app.send(unsigned("GET", "/api/health")).await.status, 200);
    }

    #[tokio::test]
    async fn start_up_and_drain_are_not_ready() {
        let Some(app) = TestApp::start().await else { return };
        app.service.readiness.wait_for("the signing keys");
        let answer = app.send(unsigned("GET", "/api/health")).await;
        assert_eq!(
            (answer.status, &answer.json()["components"]["startup"]["detail"]),
            (503, &"the signing keys".into())
        );
        app.service.readiness.complete();
        app.service.readiness.drain();
        assert_eq!(app.send(unsigned("GET", "/api/health")).await.status, 503);
    }
}
