//! `GET /api/admin/usage?from=&to=&user=&action=&limit=1..200&cursor=`: what users spent of their quotas, by the hour.

use axum::{
    Json,
    extract::{RawQuery, State},
};
use kado_shared::{problem::FieldError, quota::Action};
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    api::{
        openapi::parameters::{PageQuery, Period, UsageFilters},
        page::{Cursor, Page, page_of, parse_moment, timestamp},
    },
    database::DatabaseError,
    http::{authentication::Administrator, extract::query_pairs, failure::Failure},
    service::App,
};

/// One user in one hour.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Usage)]
pub(crate) struct UsageView {
    /// When it began.
    #[schema(format = DateTime)]
    hour: String,
    user_id: Uuid,
    email: String,
    counts: Counts,
}

/// How often each action was; without those that were not asked for.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[schema(as = UsageCounts)]
struct Counts {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = i64, required = false, minimum = 0)]
    image_process: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = i64, required = false, minimum = 0)]
    api_call: Option<i64>,
}

#[derive(Debug, Default)]
struct Filters {
    /// Included.
    from: Option<OffsetDateTime>,
    /// Not included.
    to: Option<OffsetDateTime>,
    user: Option<Uuid>,
    action: Option<Action>,
}

/// What users spent of their quotas, by the hour.
#[utoipa::path(get, path = "/api/admin/usage", params(Period, UsageFilters, PageQuery),
    responses((status = 200, description = "A page.", body = Page<UsageView>)))]
pub(crate) async fn get_usage(
    State(app): State<App>,
    Administrator(principal): Administrator,
    RawQuery(query): RawQuery,
) -> Result<Json<Page<UsageView>>, Failure> {
    let names = ["limit", "cursor", "from", "to", "user", "action"];
    let [limit, cursor, from, to, user, action] = query_pairs(query.as_deref(), names)?;
    let filters = parse([from, to, user, action])?;
    let (limit, after) = page_of(limit, cursor)?;
    let mut transaction = app.database.begin(principal.caller.tenant).await?;
    let rows = sqlx::query!(
        r#"select spent.hour, spent.user_id, spent.image_process as "image_process!", spent.api_call as "api_call!", u.email
           from (select hour, user_id,
                        coalesce(sum(count) filter (where action = 'IMAGE_PROCESS'), 0)::bigint as image_process,
                        coalesce(sum(count) filter (where action = 'API_CALL'), 0)::bigint as api_call
                 from usage_records
                 where ($1::timestamptz is null or (hour, user_id) > ($1, $2::uuid))
                   and ($3::timestamptz is null or hour >= $3) and ($4::timestamptz is null or hour < $4)
                   and ($5::uuid is null or user_id = $5) and ($6::text is null or action = $6)
                 group by hour, user_id order by hour, user_id limit $7) spent
                join users u on u.id = spent.user_id
           order by spent.hour, spent.user_id"#,
        after.map(|cursor| cursor.created_at),
        after.map(|cursor| cursor.id),
        filters.from,
        filters.to,
        filters.user,
        filters.action.map(Action::as_str),
        limit + 1,
    )
    .fetch_all(transaction.connection())
    .await
    .map_err(DatabaseError::from)?;
    transaction.commit().await?;
    let page = Page::of(rows, limit, |row| Cursor {
        created_at: row.hour,
        id: row.user_id,
    });
    let asked = |action| filters.action.is_none_or(|wanted| wanted == action);
    Ok(Json(page.map(|row| UsageView {
        hour: timestamp(row.hour),
        user_id: row.user_id,
        email: row.email,
        counts: Counts {
            image_process: asked(Action::ImageProcess).then_some(row.image_process),
            api_call: asked(Action::ApiCall).then_some(row.api_call),
        },
    })))
}

/// Every fault at once.
fn parse([from, to, user, action]: [Option<String>; 4]) -> Result<Filters, Failure> {
    let mut errors = Vec::new();
    let mut moment = |name, text: Option<String>| {
        text.and_then(|text| parse_moment(name, &text).map_err(|error| errors.push(error)).ok())
    };
    let (from, to) = (moment("from", from), moment("to", to));
    let mut complain = |field: &str, detail: String| {
        errors.push(FieldError {
            field: field.to_owned(),
            detail,
        });
    };
    let wanted_user = user.as_deref().and_then(|text| Uuid::try_parse(text).ok());
    if user.is_some() && wanted_user.is_none() {
        complain("user", "must be the identifier of a user".to_owned());
    }
    let wanted_action = action.as_deref().and_then(Action::from_name);
    if action.is_some() && wanted_action.is_none() {
        let names = Action::ALL.map(Action::as_str).join(" or ");
        complain("action", format!("must be {names}"));
    }
    if errors.is_empty() {
        Ok(Filters {
            from,
            to,
            user: wanted_user,
            action: wanted_action,
        })
    } else {
        Err(Failure::fields(errors))
    }
}

#[cfg(test)]
mod tests {
    use crate::api::testing::{TestApp, png};
    use serde_json::{Value, json};
    use time::Duration;

    #[tokio::test(flavor = "multi_thread")]
    async fn usage_is_told_by_hour_user_and_action() {
        let Some(app) = TestApp::start().await else { return };
        let (admin, user) = (app.admin_token().await, app.user_token("user@localhost").await);
        assert_eq!(app.upload(&user, png(4, 4)).await.status, 201);
        assert_eq!(app.get_as(&user, "/api/images").await.status, 200);
        app.clock.advance(Duration::minutes(14));
        app.execute("update sessions set last_seen_at = last_seen_at + interval '1 hour'")
            .await;
        app.clock.advance(Duration::minutes(46));
        let token = app.admin_token().await;
        let usage = |filters: &'static str| {
            let (app, token) = (&app, &token);
            async move {
                let answer = app.get_as(token, &format!("/api/admin/usage{filters}")).await;
                assert_eq!(answer.status, 200, "{}", answer.text());
                answer.json()["items"].as_array().unwrap().clone()
            }
        };
        let all = usage("").await;
        assert_eq!(all.len(), 2, "this request is in the hour it is made in: {all:?}");
        assert_eq!(
            (&all[0]["hour"], &all[0]["email"], &all[0]["counts"]),
            (
                &json!("2027-01-15T08:00:00Z"),
                &json!("user@localhost"),
                &json!({"IMAGE_PROCESS": 1, "API_CALL": 2})
            )
        );
        assert_eq!(all[1]["email"], "admin@localhost");
        let processed = usage("?action=IMAGE_PROCESS").await;
        assert_eq!(
            (processed.len(), &processed[0]["counts"]),
            (1, &json!({"IMAGE_PROCESS": 1}))
        );
        assert_eq!(usage("?to=2027-01-15T09:00:00Z").await.len(), 1);
        assert_eq!(usage("?from=2027-01-15T09:00:00Z").await.len(), 1);
        let nobody = usage("?user=6f1c1b9e-7c0a-4d8e-9d51-0b8f5a1f2e3d").await;
        assert!(nobody.is_empty());
        let first = app.get_as(&token, "/api/admin/usage?limit=1").await.json();
        let cursor = first["nextCursor"].as_str().unwrap();
        let second = app
            .get_as(&token, &format!("/api/admin/usage?limit=1&cursor={cursor}"))
            .await
            .json();
        assert_eq!(
            (&second["items"][0]["email"], &second["nextCursor"]),
            (&json!("admin@localhost"), &Value::Null)
        );
        let wrong = app
            .get_as(&token, "/api/admin/usage?from=now&user=me&action=SLEEP")
            .await;
        assert_eq!(
            (wrong.status, wrong.json()["errors"].as_array().unwrap().len()),
            (400, 3)
        );
        assert_eq!(app.get_as(&admin, "/api/admin/usage").await.status, 401);
    }
}
