//! `GET /api/admin/audit?action=&actor=&target=&from=&to=&order=asc|desc&limit=1..200&cursor=`: who changed what, and how it
//! was before; as CSV all of it. Nothing changes or removes an entry.

use axum::{
    Json,
    extract::{RawQuery, State},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use kado_shared::{problem::FieldError, tenant::TenantId};
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    api::{
        csv::{self, Batch},
        openapi::{
            parameters::{AuditFilters, ListFormat, PageQuery, Period},
            schemas,
        },
        page::{Cursor, Page, page_of, parse_moment, timestamp},
    },
    database::DatabaseError,
    http::{authentication::Administrator, extract::query_pairs, failure::Failure},
    service::App,
};

const HEADING: [&str; 10] = [
    "id",
    "createdAt",
    "actor",
    "userId",
    "action",
    "target",
    "before",
    "after",
    "requestId",
    "clientIp",
];
/// Longest action or target asked for, in characters: none is longer.
const LONGEST: usize = 300;

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AuditEntry)]
struct EntryView {
    id: Uuid,
    #[schema(format = DateTime)]
    created_at: String,
    /// `user`, `operator` (at the command line, or of an operator tenant), or `system`.
    #[schema(schema_with = schemas::actor_kind)]
    actor: String,
    user_id: Option<Uuid>,
    #[schema(example = "settings.update")]
    action: String,
    target: Option<String>,
    /// What it was before, of a form that goes with the action.
    before: Option<Value>,
    after: Option<Value>,
    request_id: Option<String>,
    client_ip: Option<String>,
}

#[derive(Debug)]
struct Row {
    id: Uuid,
    created_at: OffsetDateTime,
    actor: String,
    user_id: Option<Uuid>,
    action: String,
    target: Option<String>,
    before: Option<Value>,
    after: Option<Value>,
    request_id: Option<String>,
    client_ip: Option<String>,
}

impl Row {
    const fn position(&self) -> Cursor {
        Cursor {
            created_at: self.created_at,
            id: self.id,
        }
    }

    fn view(self) -> EntryView {
        EntryView {
            id: self.id,
            created_at: timestamp(self.created_at),
            actor: self.actor,
            user_id: self.user_id,
            action: self.action,
            target: self.target,
            before: self.before,
            after: self.after,
            request_id: self.request_id,
            client_ip: self.client_ip,
        }
    }

    fn line(&self) -> String {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let json = |value: &Option<Value>| value.as_ref().map(Value::to_string).unwrap_or_default();
        csv::line([
            self.id.to_string().as_str(),
            &timestamp(self.created_at),
            &self.actor,
            &self.user_id.map(|id| id.to_string()).unwrap_or_default(),
            &self.action,
            &text(&self.target),
            &json(&self.before),
            &json(&self.after),
            &text(&self.request_id),
            &text(&self.client_ip),
        ])
    }
}

/// Which entries are wanted, and in which order.
#[derive(Debug, Default)]
struct Filters {
    action: Option<String>,
    actor: Option<String>,
    user: Option<Uuid>,
    target: Option<String>,
    /// Included.
    from: Option<OffsetDateTime>,
    /// Not included.
    to: Option<OffsetDateTime>,
    newest_first: bool,
}

/// Who changed what, and how it was before.
///
/// As CSV (RFC 4180) all of it, to `?format=csv` or `Accept: text/csv`.
#[utoipa::path(get, path = "/api/admin/audit", params(AuditFilters, Period, PageQuery, ListFormat),
    responses((status = 200, description = "A page, or all as CSV.",
        content((Page<EntryView> = "application/json"), (String = "text/csv")), headers(("Content-Disposition" = String, description = "Of CSV: its name as a file.")))))]
pub(crate) async fn get_audit(
    State(app): State<App>,
    Administrator(principal): Administrator,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let names = [
        "limit", "cursor", "format", "order", "action", "actor", "target", "from", "to",
    ];
    let [limit, cursor, format, order, action, actor, target, from, to] = query_pairs(query.as_deref(), names)?;
    let filters = parse([order, action, actor, target, from, to])?;
    let tenant = principal.caller.tenant;
    if csv::is_wanted(format.as_deref(), &headers)? {
        csv::refuse_position(limit.as_deref(), cursor.as_deref())?;
        return export(app, tenant, filters).await;
    }
    let (limit, after) = page_of(limit, cursor)?;
    let rows = find(&app, tenant, &filters, after, limit).await?;
    let page = Page::of(rows, limit, Row::position);
    Ok(Json(page.map(Row::view)).into_response())
}

/// Every fault at once.
fn parse([order, action, actor, target, from, to]: [Option<String>; 6]) -> Result<Filters, Failure> {
    let mut errors = Vec::new();
    let newest_first = match order.as_deref() {
        None | Some("asc") => false,
        Some("desc") => true,
        Some(_) => {
            errors.push(fault("order", "must be asc (oldest first) or desc".to_owned()));
            false
        }
    };
    for (name, text) in [("action", &action), ("target", &target)] {
        if text.as_ref().is_some_and(|text| text.chars().count() > LONGEST) {
            errors.push(fault(name, format!("may have at most {LONGEST} characters")));
        }
    }
    let (mut kind, mut user) = (None, None);
    if let Some(text) = actor {
        match Uuid::try_parse(&text) {
            Ok(id) => user = Some(id),
            Err(_) if ["user", "operator", "system"].contains(&text.as_str()) => kind = Some(text),
            Err(_) => errors.push(fault(
                "actor",
                "must be user, operator, system or the identifier of a user".to_owned(),
            )),
        }
    }
    let mut moment = |name, text: Option<String>| {
        text.and_then(|text| parse_moment(name, &text).map_err(|error| errors.push(error)).ok())
    };
    let (from, to) = (moment("from", from), moment("to", to));
    if errors.is_empty() {
        Ok(Filters {
            action,
            actor: kind,
            user,
            target,
            from,
            to,
            newest_first,
        })
    } else {
        Err(Failure::fields(errors))
    }
}

fn fault(field: &str, detail: String) -> FieldError {
    FieldError {
        field: field.to_owned(),
        detail,
    }
}

async fn find(
    app: &App,
    tenant: TenantId,
    filters: &Filters,
    after: Option<Cursor>,
    limit: i64,
) -> Result<Vec<Row>, DatabaseError> {
    // Two statements, so that each goes through the index the way it wants.
    macro_rules! rows {
        ($beyond:tt, $order:tt) => {
            sqlx::query_as!(
                Row,
                "select id, created_at, actor, user_id, action, target, before, after, request_id, client_ip
                 from audit_logs
                 where ($1::timestamptz is null or (created_at, id) " + $beyond + " ($1, $2::uuid))
                   and ($3::text is null or action = $3) and ($4::text is null or actor = $4)
                   and ($5::uuid is null or user_id = $5) and ($6::text is null or target = $6)
                   and ($7::timestamptz is null or created_at >= $7) and ($8::timestamptz is null or created_at < $8)
                 order by " + $order + " limit $9",
                after.map(|cursor| cursor.created_at),
                after.map(|cursor| cursor.id),
                filters.action,
                filters.actor,
                filters.user,
                filters.target,
                filters.from,
                filters.to,
                limit + 1,
            )
        };
    }
    let mut transaction = app.database.begin(tenant).await?;
    let rows = if filters.newest_first {
        rows!("<", "created_at desc, id desc")
            .fetch_all(transaction.connection())
            .await?
    } else {
        rows!(">", "created_at, id").fetch_all(transaction.connection()).await?
    };
    transaction.commit().await?;
    Ok(rows)
}

async fn export(app: App, tenant: TenantId, filters: Filters) -> Result<Response, Failure> {
    let filters = Arc::new(filters);
    csv::answer("audit", &HEADING, move |after| {
        let (app, filters) = (App::clone(&app), Arc::clone(&filters));
        async move {
            let rows = find(&app, tenant, &filters, after, csv::BATCH).await?;
            Ok(Batch::of(rows, Row::line, Row::position))
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use crate::api::testing::TestApp;
    use serde_json::{Value, json};

    async fn history(app: &TestApp) {
        app.execute("delete from audit_logs").await;
        app.execute(
            "insert into audit_logs (tenant_id, created_at, actor, action, target, before, after)
             select id, timestamptz '2027-01-01' + n / 3 * interval '1 minute', case when n % 2 = 0 then 'operator' else 'system' end,
                    case when n % 5 = 0 then 'settings.update' else 'cache.purge' end,
                    case when n = 7 then '=1+1' else 'target-' || n end, jsonb_build_object('n', n), '{\"a\": \"x,y\"}'
             from tenants, generate_series(1, 420) n",
        )
        .await;
    }

    async fn all(app: &TestApp, token: &str, filters: &str) -> Vec<Value> {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let target = format!("/api/admin/audit?limit=100{filters}{cursor}");
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
    async fn entries_come_in_either_order_filtered_and_none_twice() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        history(&app).await;
        app.execute("insert into tenants (name) values ('other')").await;
        app.execute("insert into audit_logs (tenant_id, actor, action) select id, 'system', 'x' from tenants where name = 'other'")
            .await;
        let oldest_first = all(&app, &token, "").await;
        assert_eq!(oldest_first.len(), 420);
        let mut newest_first = all(&app, &token, "&order=desc").await;
        newest_first.reverse();
        assert_eq!(oldest_first, newest_first);
        for (filters, count) in [
            ("&action=settings.update", 84),
            ("&actor=operator", 210),
            ("&actor=operator&action=settings.update", 42),
            ("&target=target-9", 1),
            ("&from=2027-01-01T01:00:00Z&to=2027-01-01T02:00:00%2B00:00", 180),
            ("&actor=6f1c1b9e-7c0a-4d8e-9d51-0b8f5a1f2e3d", 0),
        ] {
            assert_eq!(all(&app, &token, filters).await.len(), count, "{filters}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_change_is_there_with_who_made_it_and_how_it_was() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let change = json!({"maxFileSize": 2048});
        app.patch_as(&token, "/api/admin/settings", &change, None).await;
        let me = app.get_as(&token, "/api/auth/me").await.json();
        let actor = me["user"]["id"].as_str().unwrap();
        let found = all(&app, &token, &format!("&actor={actor}&action=settings.update")).await;
        assert_eq!(found.len(), 1);
        let entry = &found[0];
        assert_eq!(
            (&entry["before"], &entry["after"], &entry["clientIp"]),
            (&json!({"maxFileSize": null}), &change, &json!("203.0.113.9"))
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_export_has_every_line_and_no_formula() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        history(&app).await;
        let csv = app.get_as(&token, "/api/admin/audit?format=csv&order=desc").await;
        let disposition = csv.header("content-disposition");
        assert_eq!(
            (csv.status, disposition),
            (200, Some("attachment; filename=\"audit.csv\""))
        );
        let text = csv.text();
        assert_eq!(text.lines().count(), 421);
        assert!(
            text.contains(",\"'=1+1\",\"{\"\"n\"\":7}\",\"{\"\"a\"\":\"\"x,y\"\"}\","),
            "{text}"
        );
        assert!(text.lines().nth(1).unwrap().contains("target-420"));
    }

    #[tokio::test]
    async fn what_is_wrong_is_named_and_others_see_nothing() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let answer = app
            .get_as(
                &token,
                "/api/admin/audit?order=up&actor=me&from=yesterday&to=-0001-01-01T00:00:00Z",
            )
            .await;
        let body = answer.json();
        let fields: Vec<_> = body["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|error| error["field"].as_str().unwrap())
            .collect();
        assert_eq!((answer.status, fields), (400, vec!["order", "actor", "from", "to"]));
        let user = app.user_token("user@localhost").await;
        assert_eq!(app.get_as(&user, "/api/admin/audit?format=csv").await.status, 403);
        assert_eq!(app.get("/api/admin/audit").await.status, 401);
    }
}
