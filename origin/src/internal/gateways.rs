//! `POST /internal/gateways`: a gateway says that it is there, every few seconds, and that it leaves. Without Redis each
//! gateway counts strict limits by itself, so a second one is refused.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use kado_shared::{
    edge_config::LimitStore,
    gateways::{LEASE_SECONDS, Membership, Presence},
    problem::Code,
};

use crate::{
    database::DatabaseError,
    http::{extract::JsonBody, failure::Failure},
    service::App,
};

/// Serialises the decisions; any number of ours.
const LOCK: i64 = 0x6B61_646F_0010;

/// Why a gateway may not join.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JoinError {
    #[error("{0} is there already, and there is no Redis")]
    Alone(String),
    #[error("the name has {0} characters")]
    Name(usize),
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl IntoResponse for JoinError {
    fn into_response(self) -> Response {
        let failure = match self {
            ref alone @ Self::Alone(ref other) => Failure::new(
                Code::Conflict,
                format!(
                    "The gateway {other} serves this site already, and two gateways can share limits only through Redis: \
                     set REDIS_URL at the origin, or stop the other one (it is forgotten {LEASE_SECONDS} s later)"
                ),
            )
            .because(alone),
            Self::Name(_) => Failure::field("name", "must have 1 to 300 characters"),
            Self::Database(error) => error.into(),
        };
        failure.into_response()
    }
}

pub(crate) async fn post_gateways(
    State(app): State<App>,
    JsonBody(presence): JsonBody<Presence>,
) -> Result<Json<Membership>, JoinError> {
    let length = presence.name.chars().count();
    if !(1..=300).contains(&length) {
        return Err(JoinError::Name(length));
    }
    let limits = app.limit_store();
    let mut transaction = app.database.system().begin().await.map_err(DatabaseError::from)?;
    sqlx::query_scalar!(r#"select pg_advisory_xact_lock($1)::text as "locked""#, LOCK)
        .fetch_one(&mut *transaction)
        .await
        .map_err(DatabaseError::from)?;
    sqlx::query!(
        "delete from gateways where seen_at < clock_timestamp() - make_interval(secs => $1) or ($2 and id = $3)",
        f64::from(LEASE_SECONDS),
        presence.leaving,
        presence.id,
    )
    .execute(&mut *transaction)
    .await
    .map_err(DatabaseError::from)?;
    if !presence.leaving {
        let other = sqlx::query_scalar!(
            "select name from gateways where id <> $1 order by joined_at, id limit 1",
            presence.id
        )
        .fetch_optional(&mut *transaction)
        .await
        .map_err(DatabaseError::from)?;
        if let Some(other) = other.filter(|_| limits == LimitStore::Gateway) {
            return Err(JoinError::Alone(other));
        }
        sqlx::query!(
            "insert into gateways (id, name) values ($1, $2)
             on conflict (id) do update set name = $2, seen_at = clock_timestamp()",
            presence.id,
            presence.name,
        )
        .execute(&mut *transaction)
        .await
        .map_err(DatabaseError::from)?;
    }
    transaction.commit().await.map_err(DatabaseError::from)?;
    Ok(Json(Membership { limits }))
}

#[cfg(test)]
mod tests {
    use crate::api::testing::TestApp;
    use kado_shared::secret::Secret;
    use serde_json::{Value, json};
    use uuid::Uuid;

    fn presence(number: u128, leaving: bool) -> Value {
        json!({ "id": Uuid::from_u128(number), "name": format!("host-{number}"), "leaving": leaving })
    }

    #[tokio::test]
    async fn without_redis_there_is_one_gateway_at_a_time() {
        let Some(app) = TestApp::start().await else { return };
        let say = |number, leaving| app.post_internal_owned("/internal/gateways", presence(number, leaving));
        assert_eq!(say(1, false).await.json()["limits"], "gateway");
        assert_eq!(say(1, false).await.status, 200, "the same one again");
        let refused = say(2, false).await;
        assert_eq!(
            (refused.status, refused.json()["code"].as_str()),
            (409, Some("conflict"))
        );
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("host-1") && detail.contains("REDIS_URL"), "{detail}");
        assert_eq!(say(1, true).await.status, 200);
        assert_eq!(say(2, false).await.status, 200, "the first has left");
        app.execute("update gateways set seen_at = now() - interval '1 minute'")
            .await;
        assert_eq!(say(3, false).await.status, 200, "the second was not heard of");
        assert_eq!(app.count("select count(*) from gateways").await, 1);
    }

    #[tokio::test]
    async fn with_redis_there_may_be_several() {
        let nobody = Secret::new("redis://127.0.0.1:1/");
        let Some(app) = TestApp::start_with_redis(&nobody).await else {
            return;
        };
        for number in 1..4 {
            let answer = app.post_internal("/internal/gateways", &presence(number, false)).await;
            assert_eq!((answer.status, answer.json()["limits"].as_str()), (200, Some("shared")));
        }
        assert_eq!(app.count("select count(*) from gateways").await, 3);
    }
}
