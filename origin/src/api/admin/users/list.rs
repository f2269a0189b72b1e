//! `GET /api/admin/users?role=&active=&email=&limit=1..200&cursor=`: the tenant's users, oldest first; as CSV all of them.

use axum::{
    Json,
    extract::{RawQuery, State},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use kado_shared::{problem::FieldError, tenant::TenantId};
use std::sync::Arc;

use super::{Row, UserView, role_name};
use crate::{
    api::{
        csv::{self, Batch},
        openapi::parameters::{ListFormat, PageQuery, UserFilters},
        page::{Cursor, Page, page_of, parse_flag, timestamp},
    },
    database::DatabaseError,
    http::{authentication::Administrator, extract::query_pairs, failure::Failure},
    service::App,
};

const HEADING: [&str; 10] = [
    "id",
    "email",
    "role",
    "active",
    "mustChangePassword",
    "createdAt",
    "updatedAt",
    "overrideImageProcess",
    "overrideApiCall",
    "overrideExpiresAt",
];

/// Which users are wanted.
#[derive(Debug, Default)]
struct Filters {
    role: Option<&'static str>,
    active: Option<bool>,
    /// What the address begins with.
    email: Option<String>,
}

/// The tenant's users, oldest first.
///
/// As CSV (RFC 4180) all of them, to `?format=csv` or `Accept: text/csv`.
#[utoipa::path(get, path = "/api/admin/users", params(UserFilters, PageQuery, ListFormat),
    responses((status = 200, description = "A page, or all as CSV.",
        content((Page<UserView> = "application/json"), (String = "text/csv")), headers(("Content-Disposition" = String, description = "Of CSV: its name as a file.")))))]
pub(crate) async fn get_users(
    State(app): State<App>,
    Administrator(principal): Administrator,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let names = ["limit", "cursor", "format", "role", "active", "email"];
    let [limit, cursor, format, role, active, email] = query_pairs(query.as_deref(), names)?;
    let filters = parse(role.as_deref(), active.as_deref(), email)?;
    let tenant = principal.caller.tenant;
    if csv::is_wanted(format.as_deref(), &headers)? {
        csv::refuse_position(limit.as_deref(), cursor.as_deref())?;
        return export(app, tenant, filters).await;
    }
    let (limit, after) = page_of(limit, cursor)?;
    let rows = find(&app, tenant, &filters, after, limit).await?;
    let now = app.clock.now();
    Ok(Json(page(rows, limit).map(|row| row.view(now))).into_response())
}

/// Every fault at once.
fn parse(role: Option<&str>, active: Option<&str>, email: Option<String>) -> Result<Filters, Failure> {
    let mut errors = Vec::new();
    let mut complain = |field: &str, detail: String| {
        errors.push(FieldError {
            field: field.to_owned(),
            detail,
        });
    };
    let role = role.and_then(|text| role_name(text).map_err(|detail| complain("role", detail)).ok());
    let active = active.and_then(|text| parse_flag("active", text).map_err(|error| errors.push(error)).ok());
    if errors.is_empty() {
        Ok(Filters {
            role,
            active,
            email: email.map(|text| text.trim().to_lowercase()),
        })
    } else {
        Err(Failure::fields(errors))
    }
}

async fn find(
    app: &App,
    tenant: TenantId,
    filters: &Filters,
    after: Option<Cursor>,
    limit: i64,
) -> Result<Vec<Row>, DatabaseError> {
    let mut transaction = app.database.begin(tenant).await?;
    let rows = sqlx::query_as!(
        Row,
        "select id, email, role, active, must_change_password, created_at, updated_at,
                quota_image_process, quota_api_call, quota_until
         from users
         where ($1::timestamptz is null or (created_at, id) > ($1, $2::uuid))
           and ($3::text is null or role = $3) and ($4::boolean is null or active = $4)
           and ($5::text is null or starts_with(email, $5))
         order by created_at, id limit $6",
        after.map(|cursor| cursor.created_at),
        after.map(|cursor| cursor.id),
        filters.role,
        filters.active,
        filters.email,
        limit + 1,
    )
    .fetch_all(transaction.connection())
    .await?;
    transaction.commit().await?;
    Ok(rows)
}

fn page(rows: Vec<Row>, limit: i64) -> Page<Row> {
    Page::of(rows, limit, |row| Cursor {
        created_at: row.created_at,
        id: row.id,
    })
}

async fn export(app: App, tenant: TenantId, filters: Filters) -> Result<Response, Failure> {
    let filters = Arc::new(filters);
    csv::answer("users", &HEADING, move |after| {
        let (app, filters) = (App::clone(&app), Arc::clone(&filters));
        async move {
            let rows = find(&app, tenant, &filters, after, csv::BATCH).await?;
            Ok(Batch::of(rows, line, |row| Cursor {
                created_at: row.created_at,
                id: row.id,
            }))
        }
    })
    .await
}

fn line(row: &Row) -> String {
    let number = |value: Option<i32>| value.map(|value| value.to_string()).unwrap_or_default();
    csv::line([
        row.id.to_string().as_str(),
        &row.email,
        &row.role,
        &row.active.to_string(),
        &row.must_change_password.to_string(),
        &timestamp(row.created_at),
        &timestamp(row.updated_at),
        &number(row.quota_image_process),
        &number(row.quota_api_call),
        &row.quota_until.map(timestamp).unwrap_or_default(),
    ])
}

#[cfg(test)]
mod tests {
    use crate::api::testing::TestApp;
    use serde_json::{Value, json};

    /// 450 more users, each second of them disabled, some with addresses that are formulas.
    async fn crowd(app: &TestApp) {
        app.execute(
            "insert into users (tenant_id, email, password_hash, role, active, created_at, updated_at)
             select id, case when n < 3 then '=cmd' else 'user' end || n || '@localhost', '',
                    case when n % 3 = 0 then 'PREMIUM' else 'USER' end, n % 2 = 0,
                    timestamptz '2027-01-01' + n / 4 * interval '1 second', now()
             from tenants, generate_series(1, 450) n",
        )
        .await;
        app.execute("update users set created_at = '2026-01-01' where role = 'ADMIN'")
            .await;
    }

    async fn all(app: &TestApp, token: &str, filters: &str) -> Vec<Value> {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let target = format!("/api/admin/users?limit=200{filters}{cursor}");
            let answer = app.get_as(token, &target).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let body = answer.json();
            found.extend(body["items"].as_array().unwrap().iter().cloned());
            match body["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return found,
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn users_are_listed_filtered_and_exported_without_formulas() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        crowd(&app).await;
        app.execute("insert into tenants (name) values ('other')").await;
        app.execute("insert into users (tenant_id, email, password_hash) select id, 'x@other', '' from tenants where name = 'other'")
            .await;
        let users = all(&app, &token, "").await;
        assert_eq!(users.len(), 451);
        assert!(users.iter().all(|user| user["email"] != "x@other"));
        assert_eq!(users[0]["email"], "admin@localhost");
        assert!(users[0].get("passwordHash").is_none() && users[0]["override"] == Value::Null);
        assert_eq!(all(&app, &token, "&role=PREMIUM").await.len(), 150);
        assert_eq!(all(&app, &token, "&role=PREMIUM&active=false").await.len(), 75);
        assert_eq!(all(&app, &token, "&email=User45").await.len(), 2, "45 and 450");
        assert_eq!(all(&app, &token, "&email=%25").await.len(), 0, "no pattern");

        let csv = app.get_as(&token, "/api/admin/users?format=csv").await;
        assert_eq!(
            csv.header("content-type"),
            Some("text/csv; charset=utf-8; header=present")
        );
        let text = csv.text();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 452, "all of them, batch by batch");
        assert!(lines[0].starts_with("id,email,role,active,"));
        assert!(text.contains(",\"'=cmd1@localhost\",USER,false,"), "{}", lines[2]);
        assert!(!text.contains(",=cmd"));
        let request = app
            .signed("GET", "/api/admin/users?role=ADMIN")
            .header("authorization", format!("Bearer {token}"))
            .header("accept", "text/csv");
        let filtered = app.send(request.body("".into()).unwrap()).await;
        assert_eq!(filtered.text().lines().count(), 2);
    }

    #[tokio::test]
    async fn what_is_wrong_is_named_and_others_see_nothing() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let answer = app.get_as(&token, "/api/admin/users?role=BOSS&active=maybe").await;
        let fields: Vec<_> = answer.json()["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|error| error["field"].clone())
            .collect();
        assert_eq!((answer.status, fields), (400, vec![json!("role"), json!("active")]));
        for target in ["limit=0", "cursor=x", "format=xml", "name=a", "format=csv&limit=5"] {
            let answer = app.get_as(&token, &format!("/api/admin/users?{target}")).await;
            assert_eq!(answer.status, 400, "{target}");
        }
        let user = app.user_token("user@localhost").await;
        assert_eq!(app.get_as(&user, "/api/admin/users").await.status, 403);
        assert_eq!(app.get("/api/admin/users").await.status, 401);
    }
}
