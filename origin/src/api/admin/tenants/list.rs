//! `GET /api/admin/tenants?active=&limit=1..200&cursor=`: the tenants that one manages, oldest first.

use axum::{
    Json,
    extract::{RawQuery, State},
};

use super::{Row, TenantView};
use crate::{
    api::{
        openapi::parameters::{PageQuery, TenantFilters},
        page::{Cursor, Page, page_of, parse_flag},
    },
    database::DatabaseError,
    http::{authentication::Administrator, extract::query_pairs, failure::Failure},
    service::App,
    tenants::operator::Sight,
};

/// All tenants, oldest first, for administrators of an operator tenant; for others their own.
#[utoipa::path(get, path = "/api/admin/tenants", params(TenantFilters, PageQuery),
    responses((status = 200, description = "A page.", body = Page<TenantView>)))]
pub(crate) async fn get_tenants(
    State(app): State<App>,
    Administrator(principal): Administrator,
    RawQuery(query): RawQuery,
) -> Result<Json<Page<TenantView>>, Failure> {
    let [limit, cursor, active] = query_pairs(query.as_deref(), ["limit", "cursor", "active"])?;
    let active = active
        .map(|text| parse_flag("active", &text))
        .transpose()
        .map_err(|error| Failure::fields(vec![error]))?;
    let (limit, after) = page_of(limit, cursor)?;
    let mut sight = Sight::begin(&app, &principal).await?;
    let rows = sqlx::query_as!(
        Row,
        r#"select id, name, active, operator, created_at,
                  array(select host from tenant_hosts h where h.tenant_id = t.id order by host) as "hosts!",
                  (select count(*) from users u where u.tenant_id = t.id) as "users!",
                  (select count(*) from images i where i.tenant_id = t.id) as "images!",
                  (select coalesce(sum(bytes), 0)::bigint from blobs b where b.tenant_id = t.id) as "bytes!"
           from tenants t
           where ($1::timestamptz is null or (created_at, id) > ($1, $2::uuid)) and ($3::boolean is null or active = $3)
           order by created_at, id limit $4"#,
        after.map(|cursor| cursor.created_at),
        after.map(|cursor| cursor.id),
        active,
        limit + 1,
    )
    .fetch_all(sight.connection())
    .await
    .map_err(DatabaseError::from)?;
    sight.commit().await?;
    let page = Page::of(rows, limit, |row| Cursor {
        created_at: row.created_at,
        id: row.id,
    });
    Ok(Json(page.map(Row::view)))
}

#[cfg(test)]
mod tests {
    use crate::api::testing::{TestApp, png};
    use serde_json::{Value, json};

    #[tokio::test(flavor = "multi_thread")]
    async fn an_operator_sees_all_by_pages_with_what_they_have() {
        let Some(app) = TestApp::start().await else { return };
        app.execute("update tenants set operator = true").await;
        app.execute(
            "insert into tenants (name, active, created_at)
             select 't' || n, n <> 2, '2020-01-01T00:00:00Z'::timestamptz + (n / 2) * interval '1 day'
             from generate_series(1, 4) n",
        )
        .await;
        let token = app.admin_token().await;
        for bytes in [png(4, 4), png(4, 4), png(5, 5)] {
            app.upload(&token, bytes).await;
        }
        let (mut found, mut cursor): (Vec<Value>, _) = (Vec::new(), String::new());
        loop {
            let answer = app.get_as(&token, &format!("/api/admin/tenants?limit=2{cursor}")).await;
            let body = answer.json();
            assert_eq!(answer.status, 200, "{body}");
            found.extend(body["items"].as_array().unwrap().clone());
            let Some(next) = body["nextCursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        let mut names: Vec<_> = found.iter().map(|item| item["name"].as_str().unwrap()).collect();
        let own = found.last().unwrap();
        assert_eq!(
            (&own["name"], &own["hosts"], &own["operator"], &own["users"]),
            (&json!("test"), &json!(["localhost"]), &json!(true), &json!(1))
        );
        let bytes = app.count("select sum(bytes)::bigint from blobs").await;
        assert_eq!((&own["images"], &own["bytes"]), (&json!(3), &json!(bytes)));
        assert_eq!(names.remove(0), "t1");
        names.sort_unstable();
        assert_eq!(names, ["t2", "t3", "t4", "test"]);

        let suspended = app.get_as(&token, "/api/admin/tenants?active=false").await.json();
        let items = suspended["items"].as_array().unwrap();
        assert_eq!((items.len(), &items[0]["name"]), (1, &json!("t2")));
        for (query, field) in [("active=maybe", "active"), ("limit=0", "limit"), ("name=a", "name")] {
            let answer = app.get_as(&token, &format!("/api/admin/tenants?{query}")).await;
            assert_eq!(
                (answer.status, answer.json()["errors"][0]["field"].as_str()),
                (400, Some(field))
            );
        }
    }
}
