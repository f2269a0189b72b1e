//! `GET /api/admin/images?user=&format=&from=&to=&limit=1..200&cursor=`: the originals of all users, oldest first.

use axum::{
    Json,
    extract::{RawQuery, State},
};
use kado_imaging::Format;
use kado_shared::problem::FieldError;
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    api::{
        images::{ImageView, Links},
        openapi::parameters::{ImageFilters, PageQuery, Period},
        page::{Cursor, Page, page_of, parse_moment, timestamp},
    },
    database::DatabaseError,
    http::{authentication::Administrator, extract::query_pairs, failure::Failure},
    service::App,
};

/// Formats that an original can be of.
pub(crate) const FORMATS: [Format; 9] = [
    Format::Jpeg,
    Format::Png,
    Format::WebP,
    Format::Gif,
    Format::Avif,
    Format::Heic,
    Format::Bmp,
    Format::Tiff,
    Format::Svg,
];

/// A stored original and who stored it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ImageOfUser)]
pub(crate) struct OwnedView {
    #[serde(flatten)]
    view: ImageView,
    /// `null` where there is no such user any more.
    user_id: Option<Uuid>,
    /// Likewise.
    email: Option<String>,
}

/// Which pictures are wanted.
#[derive(Debug, Default)]
struct Filters {
    user: Option<Uuid>,
    format: Option<Format>,
    /// Included.
    from: Option<OffsetDateTime>,
    /// Not included.
    to: Option<OffsetDateTime>,
}

/// The originals of all users, oldest first.
#[utoipa::path(get, path = "/api/admin/images", operation_id = "get_images_of_all", params(ImageFilters, Period, PageQuery),
    responses((status = 200, description = "A page.", body = Page<OwnedView>)))]
pub(crate) async fn get_images(
    State(app): State<App>,
    Administrator(principal): Administrator,
    RawQuery(query): RawQuery,
) -> Result<Json<Page<OwnedView>>, Failure> {
    let names = ["limit", "cursor", "user", "format", "from", "to"];
    let [limit, cursor, user, format, from, to] = query_pairs(query.as_deref(), names)?;
    let filters = parse([user, format, from, to])?;
    let (limit, after) = page_of(limit, cursor)?;
    let mut transaction = app.database.begin(principal.caller.tenant).await?;
    // Each combination of filters has an index of its own, which a plan for all of them would pass by.
    sqlx::query!("set local plan_cache_mode = force_custom_plan")
        .execute(transaction.connection())
        .await
        .map_err(DatabaseError::from)?;
    let rows = sqlx::query!(
        r#"select i.id, i.width, i.height, i.format, i.created_at, i.user_id, b.bytes, u.email as "email?"
           from images i join blobs b on b.tenant_id = i.tenant_id and b.sha256 = i.sha256
                left join users u on u.tenant_id = i.tenant_id and u.id = i.user_id
           where ($1::timestamptz is null or (i.created_at, i.id) > ($1, $2::uuid))
             and ($3::uuid is null or i.user_id = $3) and ($4::text is null or i.format = $4)
             and ($5::timestamptz is null or i.created_at >= $5) and ($6::timestamptz is null or i.created_at < $6)
           order by i.created_at, i.id limit $7"#,
        after.map(|cursor| cursor.created_at),
        after.map(|cursor| cursor.id),
        filters.user,
        filters.format.map(Format::as_str),
        filters.from,
        filters.to,
        limit + 1,
    )
    .fetch_all(transaction.connection())
    .await
    .map_err(DatabaseError::from)?;
    transaction.commit().await?;
    let page = Page::of(rows, limit, |row| Cursor {
        created_at: row.created_at,
        id: row.id,
    });
    Ok(Json(page.map(|row| OwnedView {
        view: ImageView {
            id: row.id,
            width: row.width,
            height: row.height,
            format: row.format,
            bytes: row.bytes,
            created_at: timestamp(row.created_at),
            links: Links::of(row.id),
        },
        user_id: row.user_id,
        email: row.email,
    })))
}

/// Every fault at once.
fn parse([user, format, from, to]: [Option<String>; 4]) -> Result<Filters, Failure> {
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
    let wanted_format = FORMATS
        .into_iter()
        .find(|known| format.as_deref() == Some(known.as_str()));
    if format.is_some() && wanted_format.is_none() {
        complain(
            "format",
            format!("must be one of {}", FORMATS.map(Format::as_str).join(", ")),
        );
    }
    if errors.is_empty() {
        Ok(Filters {
            user: wanted_user,
            format: wanted_format,
            from,
            to,
        })
    } else {
        Err(Failure::fields(errors))
    }
}

#[cfg(test)]
mod tests {
    use crate::api::testing::{TestApp, png};
    use serde_json::{Value, json};
    use time::{Duration, format_description::well_known::Rfc3339};

    async fn ids(app: &TestApp, token: &str, query: &str) -> Vec<String> {
        let answer = app.get_as(token, &format!("/api/admin/images?{query}")).await;
        let body = answer.json();
        assert_eq!(answer.status, 200, "{query}: {body}");
        let items = body["items"].as_array().unwrap().iter();
        items.map(|item| item["id"].as_str().unwrap().to_owned()).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn all_pictures_are_listed_with_who_stored_them_and_found_by_filters() {
        let Some(app) = TestApp::start().await else { return };
        let (admin, user) = (app.admin_token().await, app.user_token("user@localhost").await);
        let mut stored = Vec::new();
        for (token, width) in [(&admin, 4), (&user, 5), (&admin, 6), (&user, 7)] {
            let id = app.upload(token, png(width, 4)).await.json()["id"].clone();
            stored.push(id.as_str().unwrap().to_owned());
            app.clock.advance(Duration::seconds(10));
        }
        app.execute("update images set format = 'gif' where width = 7").await;
        assert_eq!(ids(&app, &admin, "").await, stored);
        let listed = app.get_as(&admin, "/api/admin/images").await.json();
        let of: String = sqlx::query_scalar("select id::text from users where email = 'user@localhost'")
            .fetch_one(app.database().superuser())
            .await
            .unwrap();
        let second = &listed["items"][1];
        assert_eq!(
            (&second["userId"], &second["email"], &second["width"]),
            (&json!(of), &json!("user@localhost"), &json!(5))
        );
        let itself = format!("/api/images/{}", stored[1]);
        assert_eq!(second["links"]["self"], json!(itself));
        assert_eq!(
            ids(&app, &admin, &format!("user={of}")).await,
            [&*stored[1], &*stored[3]]
        );
        assert_eq!(ids(&app, &admin, "format=gif").await, [&*stored[3]]);
        assert_eq!(ids(&app, &admin, &format!("user={of}&format=png")).await, [&*stored[1]]);
        let at = |index: usize| listed["items"][index]["createdAt"].as_str().unwrap();
        let period = format!("from={}&to={}", at(1), at(3));
        assert_eq!(ids(&app, &admin, &period).await, [&*stored[1], &*stored[2]]);
        let later = (app.service.clock.now() + Duration::days(1)).format(&Rfc3339).unwrap();
        assert!(ids(&app, &admin, &format!("from={later}")).await.is_empty());

        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let body = app
                .get_as(&admin, &format!("/api/admin/images?limit=3{cursor}"))
                .await
                .json();
            found.extend(body["items"].as_array().unwrap().iter().map(|item| item["id"].clone()));
            let Some(next) = body["nextCursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(found, stored.iter().map(|id| json!(id)).collect::<Vec<Value>>());

        app.execute("delete from users where email = 'user@localhost'").await;
        let orphan = &app.get_as(&admin, "/api/admin/images").await.json()["items"][1];
        assert_eq!((&orphan["userId"], &orphan["email"]), (&Value::Null, &Value::Null));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_wrong_is_named_and_users_see_nothing() {
        let Some(app) = TestApp::start().await else { return };
        let admin = app.admin_token().await;
        let wrong = "user=me&format=json&from=now&to=2027";
        let answer = app.get_as(&admin, &format!("/api/admin/images?{wrong}")).await;
        let body = answer.json();
        let fields: Vec<_> = body["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|error| error["field"].as_str().unwrap())
            .collect();
        assert_eq!((answer.status, fields), (400, vec!["from", "to", "user", "format"]));
        for query in ["limit=0", "cursor=x", "order=desc"] {
            let answer = app.get_as(&admin, &format!("/api/admin/images?{query}")).await;
            assert_eq!(answer.status, 400, "{query}");
        }
        let user = app.user_token("user@localhost").await;
        assert_eq!(app.get_as(&user, "/api/admin/images").await.status, 403);
        assert_eq!(app.get("/api/admin/images").await.status, 401);
    }
}
