//! `POST /internal/limit`: decides about a request under a limit that several gateways share, and counts it. The tenant is
//! the signature's.

use axum::{
    Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use kado_shared::limits::protocol::{MAX_KEY_BYTES, Take, Taken};

use crate::{
    database::DatabaseError,
    http::{edge::signed_tenant, extract::JsonBody, failure::Failure},
    service::App,
};

/// Why nothing was decided.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LimitError {
    #[error("the request speaks for no tenant")]
    NoTenant,
    #[error("{field} {detail}")]
    Field { field: &'static str, detail: String },
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl IntoResponse for LimitError {
    fn into_response(self) -> Response {
        let failure = match self {
            Self::NoTenant => Failure::field("kado-tenant", "must name the tenant whose limit it is"),
            Self::Field { field, detail } => Failure::field(field, detail),
            Self::Database(error) => error.into(),
        };
        failure.into_response()
    }
}

pub(crate) async fn post_limit(
    State(app): State<App>,
    headers: HeaderMap,
    JsonBody(take): JsonBody<Take>,
) -> Result<Json<Taken>, LimitError> {
    let tenant = signed_tenant(&headers).ok_or(LimitError::NoTenant)?;
    check(&take)?;
    Ok(Json(app.limits.take(&app, tenant, &take).await?))
}

fn check(take: &Take) -> Result<(), LimitError> {
    let wrong = |field, detail| LimitError::Field { field, detail };
    take.rule.check().map_err(|detail| wrong("rule", detail))?;
    if take.key.is_empty() || take.key.len() > MAX_KEY_BYTES || take.key.chars().any(char::is_control) {
        return Err(wrong(
            "key",
            format!("must be 1 to {MAX_KEY_BYTES} bytes without control characters"),
        ));
    }
    if !(1..=take.rule.quota).contains(&take.wanted) {
        return Err(wrong("wanted", "must be 1 to the rule's quota".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::{api::testing::TestApp, redis::testing::Server, telemetry::testing::Captured};
    use serde_json::{Value, json};
    use std::time::Duration;

    fn take(key: &str, quota: u32) -> Value {
        json!({
            "key": key,
            "rule": { "quota": quota, "windowSeconds": 600, "mode": "strict" },
            "wanted": 1,
        })
    }

    async fn admitted(app: &TestApp, key: &str, quota: u32, times: u32) -> u32 {
        let mut admitted = 0;
        for _ in 0..times {
            let answer = app.post_internal("/internal/limit", &take(key, quota)).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            admitted += u32::try_from(answer.json()["granted"].as_u64().unwrap()).unwrap();
        }
        admitted
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn redis_lost_costs_no_service_and_comes_back_by_itself() {
        let Some(mut server) = Server::start().await else {
            return;
        };
        let Some(app) = TestApp::start_with_redis(&server.address()).await else {
            return;
        };
        let (captured, _guard) = Captured::start();
        assert_eq!(admitted(&app, "client", 5, 8).await, 5);
        server.kill();
        // The database has counted nothing yet; it admits the quota and not one more.
        assert_eq!(admitted(&app, "client", 5, 8).await, 5);
        assert_eq!(app.count("select count(*) from limit_counters").await, 1);
        server.start_again().await;
        tokio::time::timeout(Duration::from_secs(10), async {
            while !captured.lines().iter().any(|line| line["event"] == "limits-in-redis") {
                admitted(&app, "other", 5, 1).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await
        .expect("Redis is used again");
        let lost: Vec<_> = captured
            .lines()
            .into_iter()
            .filter(|line| line["event"] == "limits-in-database")
            .collect();
        assert_eq!(lost.len(), 1, "told once");
        assert_eq!(
            admitted(&app, "client", 5, 8).await,
            5,
            "a Redis that kept nothing begins anew"
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn without_redis_the_database_counts_and_what_is_wrong_is_named() {
        let Some(app) = TestApp::start().await else { return };
        assert_eq!(admitted(&app, "client", 3, 5).await, 3);
        for (change, field) in [
            (json!({"key": ""}), "key"),
            (json!({"key": "x".repeat(300)}), "key"),
            (json!({"wanted": 0}), "wanted"),
            (json!({"wanted": 4}), "wanted"),
            (
                json!({"rule": {"quota": 0, "windowSeconds": 1, "mode": "fast"}}),
                "rule",
            ),
        ] {
            let mut body = take("client", 3);
            body.as_object_mut()
                .unwrap()
                .extend(change.as_object().unwrap().clone());
            let answer = app.post_internal("/internal/limit", &body).await;
            assert_eq!(
                (answer.status, answer.json()["errors"][0]["field"].as_str()),
                (400, Some(field)),
                "{body}"
            );
        }
    }
}
