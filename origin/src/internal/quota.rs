//! `POST /internal/quota`: an edge spends from a user's quota before it works on their behalf, and takes back what it spent
//! when the work failed. The tenant is the signature's. Each identifier counts once, however often and in whichever order
//! its spending and its refund come.

use axum::{
    Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use kado_shared::{
    claims::Role,
    problem::Code,
    quota::{Allowance, Direction, MOST_AT_ONCE, Order, Verdict},
    tenant::TenantId,
};
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::{
    database::DatabaseError,
    http::{edge::signed_tenant, extract::JsonBody, failure::Failure},
    identity::session::role_from_name,
    quota::{self, Account, Cost, Granted},
    service::App,
};

/// Why nothing was spent or given back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QuotaError {
    #[error("the request speaks for no tenant")]
    NoTenant,
    #[error("the count is out of range")]
    Count,
    #[error("the tenant has no such user")]
    NoUser,
    #[error("the user is disabled")]
    Disabled,
    #[error("the identifier was used for another spending")]
    OtherOrder,
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl IntoResponse for QuotaError {
    fn into_response(self) -> Response {
        let failure = match self {
            Self::NoTenant => Failure::field("kado-tenant", "must name the tenant whose user it is"),
            Self::Count => Failure::field("count", format!("must be 1 to {MOST_AT_ONCE}")),
            Self::NoUser => Failure::new(Code::NotFound, "The tenant has no user of this identifier"),
            Self::Disabled => Failure::new(Code::Forbidden, "The user is disabled"),
            Self::OtherOrder => Failure::new(
                Code::IdempotencyMismatch,
                "The id was used for another user, action or count: draw a new one for each spending",
            ),
            Self::Database(error) => error.into(),
        };
        failure.into_response()
    }
}

pub(crate) async fn post_quota(
    State(app): State<App>,
    headers: HeaderMap,
    JsonBody(order): JsonBody<Order>,
) -> Result<Json<Verdict>, QuotaError> {
    let tenant = signed_tenant(&headers).ok_or(QuotaError::NoTenant)?;
    if !(1..=MOST_AT_ONCE).contains(&order.count) {
        return Err(QuotaError::Count);
    }
    let now = app.clock.now();
    let mut transaction = app.database.begin(tenant).await?;
    let user = load_user(&app, transaction.connection(), tenant, &order, now).await?;
    let verdict = match order.direction {
        Direction::Spend if !user.active => return Err(QuotaError::Disabled),
        Direction::Spend => spend(transaction.connection(), tenant, &order, user.limit, now).await?,
        Direction::Refund => refund(transaction.connection(), tenant, &order, user.limit, now).await?,
    };
    if order.direction == Direction::Spend {
        app.metrics.spent(order.action, order.count, verdict.admitted);
    }
    // What was refused leaves no receipt: the same may be asked again when there is more to spend.
    if verdict.admitted || order.direction == Direction::Refund {
        transaction.commit().await?;
    }
    Ok(Json(verdict))
}

struct User {
    active: bool,
    limit: u64,
}

async fn load_user(
    app: &App,
    connection: &mut PgConnection,
    tenant: TenantId,
    order: &Order,
    now: OffsetDateTime,
) -> Result<User, QuotaError> {
    let row = sqlx::query!(
        "select u.role, u.active, u.quota_image_process, u.quota_api_call, u.quota_until, e.revision
         from users u cross join edge_state e where u.id = $1",
        order.user,
    )
    .fetch_optional(&mut *connection)
    .await
    .map_err(DatabaseError::from)?
    .ok_or(QuotaError::NoUser)?;
    let revision = u64::try_from(row.revision).unwrap_or(0);
    let settings = app.settings.of_revision(connection, tenant, revision).await?;
    let granted = Granted {
        image_process: row.quota_image_process,
        api_call: row.quota_api_call,
        until: row.quota_until,
    };
    let role: Role = role_from_name(&row.role);
    Ok(User {
        active: row.active,
        limit: Allowance::of(&settings, role, granted.at(now)).for_action(order.action),
    })
}

const fn account(tenant: TenantId, order: &Order) -> Account {
    Account {
        tenant,
        user: order.user,
        action: order.action,
    }
}

async fn spend(
    connection: &mut PgConnection,
    tenant: TenantId,
    order: &Order,
    limit: u64,
    now: OffsetDateTime,
) -> Result<Verdict, QuotaError> {
    if !write_receipt(connection, tenant, order, false, now).await? {
        let receipt = load_receipt(connection, order).await?;
        let standing = quota::look(connection, account(tenant, order), limit, receipt.hour).await?;
        return Ok(Verdict {
            admitted: !receipt.refunded,
            standing,
        });
    }
    let cost = Cost {
        count: order.count,
        limit,
        enforced: true,
    };
    Ok(quota::spend(connection, account(tenant, order), cost, now).await?)
}

async fn refund(
    connection: &mut PgConnection,
    tenant: TenantId,
    order: &Order,
    limit: u64,
    now: OffsetDateTime,
) -> Result<Verdict, QuotaError> {
    let account = account(tenant, order);
    if write_receipt(connection, tenant, order, true, now).await? {
        let standing = quota::look(connection, account, limit, now).await?;
        return Ok(Verdict {
            admitted: false,
            standing,
        });
    }
    let receipt = load_receipt(connection, order).await?;
    if !receipt.refunded {
        mark_refunded(connection, order).await?;
        quota::refund(connection, account, i64::from(order.count), receipt.hour).await?;
    }
    Ok(Verdict {
        admitted: !receipt.refunded,
        standing: quota::look(connection, account, limit, receipt.hour).await?,
    })
}

/// Writes the receipt of an order where there is none yet; answers whether it did. Of two at once the second waits for the
/// first.
async fn write_receipt(
    connection: &mut PgConnection,
    tenant: TenantId,
    order: &Order,
    refunded: bool,
    now: OffsetDateTime,
) -> Result<bool, DatabaseError> {
    let written = sqlx::query!(
        "insert into quota_receipts (tenant_id, id, user_id, action, hour, count, refunded, created_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (tenant_id, id) do nothing",
        tenant.0,
        order.id,
        order.user,
        order.action.as_str(),
        quota::hour_of(now),
        i64::from(order.count),
        refunded,
        now,
    )
    .execute(connection)
    .await?;
    Ok(written.rows_affected() == 1)
}

struct Receipt {
    hour: OffsetDateTime,
    refunded: bool,
}

async fn load_receipt(connection: &mut PgConnection, order: &Order) -> Result<Receipt, QuotaError> {
    sqlx::query_as!(
        Receipt,
        "select hour, refunded from quota_receipts
         where id = $1 and user_id = $2 and action = $3 and count = $4 for update",
        order.id,
        order.user,
        order.action.as_str(),
        i64::from(order.count),
    )
    .fetch_optional(connection)
    .await
    .map_err(DatabaseError::from)?
    .ok_or(QuotaError::OtherOrder)
}

async fn mark_refunded(connection: &mut PgConnection, order: &Order) -> Result<(), DatabaseError> {
    sqlx::query!("update quota_receipts set refunded = true where id = $1", order.id)
        .execute(connection)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::api::testing::{Answer, TestApp};
    use serde_json::{Value, json};
    use time::Duration;
    use uuid::Uuid;

    struct Edge {
        app: TestApp,
        user: Uuid,
    }

    impl Edge {
        /// With a user who may have three pictures an hour.
        async fn start() -> Option<Self> {
            let app = TestApp::start().await?;
            app.execute(
                "update users set role = 'USER', quota_image_process = 3, quota_until = timestamptz '2100-01-01'",
            )
            .await;
            let user = sqlx::query_scalar("select id from users")
                .fetch_one(app.database().superuser())
                .await
                .unwrap();
            Some(Self { app, user })
        }

        fn order(&self, id: u128, direction: &str) -> Value {
            json!({"id": Uuid::from_u128(id), "direction": direction, "user": self.user, "action": "IMAGE_PROCESS", "count": 1})
        }

        async fn send(&self, body: &Value) -> Answer {
            self.app.post_internal("/internal/quota", body).await
        }

        async fn ask(&self, id: u128, direction: &str) -> (bool, u64) {
            let answer = self.send(&self.order(id, direction)).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let body = answer.json();
            (
                body["admitted"].as_bool().unwrap(),
                body["standing"]["remaining"].as_u64().unwrap(),
            )
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn each_identifier_counts_once_whatever_comes_twice_or_late() {
        let Some(edge) = Edge::start().await else { return };
        assert_eq!(edge.ask(1, "spend").await, (true, 2));
        assert_eq!(edge.ask(1, "spend").await, (true, 2), "a repetition");
        assert_eq!(edge.ask(1, "refund").await, (true, 3));
        assert_eq!(edge.ask(1, "refund").await, (false, 3), "a repetition");
        assert_eq!(edge.ask(1, "spend").await, (false, 3), "it was taken back");
        assert_eq!(edge.ask(2, "refund").await, (false, 3), "before its spending");
        assert_eq!(edge.ask(2, "spend").await, (false, 3), "late");
        for id in 10..13 {
            assert!(edge.ask(id, "spend").await.0);
        }
        assert_eq!(edge.ask(13, "spend").await, (false, 0));
        assert_eq!(edge.ask(10, "refund").await, (true, 1));
        assert_eq!(
            edge.ask(13, "spend").await,
            (true, 0),
            "what was refused may be asked again"
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_refund_goes_to_its_own_hour() {
        let Some(edge) = Edge::start().await else { return };
        assert_eq!(edge.ask(1, "spend").await, (true, 2));
        edge.app.clock.advance(Duration::hours(1));
        assert_eq!(edge.ask(2, "spend").await, (true, 2));
        assert_eq!(edge.ask(1, "refund").await, (true, 3));
        assert_eq!(edge.ask(3, "spend").await, (true, 1), "this hour had nothing back");
        let counts = "select string_agg(count::text, ',' order by hour) = '0,2' from usage_records";
        assert_eq!(edge.app.count(&format!("select ({counts})::int::bigint")).await, 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn at_once_repetitions_and_refunds_leave_the_sum_right() {
        let Some(edge) = Edge::start().await else { return };
        let spends = (0..24_u128).map(|index| edge.ask(index % 6, "spend"));
        let answers = futures_util::future::join_all(spends).await;
        let total = "select count from usage_records";
        assert_eq!(edge.app.count(total).await, 3);
        assert_eq!(edge.app.count("select count(*) from quota_receipts").await, 3);
        assert!(answers.iter().filter(|(admitted, _)| *admitted).count() >= 3);
        let refunds = (0..24_u128).map(|index| edge.ask(index % 6, "refund"));
        let refunded = futures_util::future::join_all(refunds).await;
        assert_eq!(refunded.iter().filter(|(given, _)| *given).count(), 3);
        assert_eq!(edge.app.count(total).await, 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_wrong_is_named() {
        let Some(edge) = Edge::start().await else { return };
        assert_eq!(edge.ask(1, "spend").await, (true, 2));
        for (change, status, code) in [
            (json!({"count": 0}), 400, "validation-failed"),
            (json!({"count": 1001}), 400, "validation-failed"),
            (json!({"action": "SLEEP"}), 400, "validation-failed"),
            (json!({"tenant": "other"}), 400, "validation-failed"),
            (json!({"user": Uuid::nil()}), 404, "not-found"),
            (json!({"count": 2}), 422, "idempotency-mismatch"),
            (json!({"action": "API_CALL"}), 422, "idempotency-mismatch"),
        ] {
            let mut body = edge.order(1, "spend");
            body.as_object_mut()
                .unwrap()
                .extend(change.as_object().unwrap().clone());
            let answer = edge.send(&body).await;
            assert_eq!(
                (answer.status, answer.json()["code"].as_str()),
                (status, Some(code)),
                "{change}"
            );
        }
        edge.app.execute("update users set active = false").await;
        assert_eq!(edge.send(&edge.order(5, "spend")).await.status, 403);
        assert_eq!(
            edge.ask(1, "refund").await,
            (true, 3),
            "what failed is given back still"
        );
    }
}
