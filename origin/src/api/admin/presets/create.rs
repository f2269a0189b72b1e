//! `POST /api/admin/presets`: a new preset.

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use kado_imaging::options::PresetName;
use kado_shared::problem::{Code, FieldError};
use serde::Deserialize;

use super::{Content, PresetView, Row};
use crate::{
    api::openapi::parameters::IdempotencyKey,
    audit,
    database::DatabaseError,
    http::{authentication::Administrator, failure::Failure},
    idempotency::{KeyedJson, NotFirst},
    presets::{self, MOST},
    service::App,
};

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPreset {
    #[schema(pattern = "^[a-z0-9_-]{1,64}$")]
    name: String,
    /// As in an image address, without `preset`, `exp` and `sig`.
    #[schema(max_length = 2_000, example = "width=400,height=300,fit=cover")]
    options: String,
    /// For people.
    #[serde(default)]
    #[schema(
        pattern = r"^[\t-\r \u0085]*[^\u0000-\u001f\u007f-\u009f]{0,100}[\t-\r \u0085]*$",
        default = ""
    )]
    title: String,
    /// For people.
    #[serde(default)]
    #[schema(
        pattern = r"^[\t-\r \u0085]*[^\u0000-\u0009\u000b-\u001f\u007f-\u009f]{0,500}[\t-\r \u0085]*$",
        default = ""
    )]
    description: String,
    /// Whether pictures made by it may carry the watermark.
    #[serde(default)]
    #[schema(default = false)]
    branding: bool,
}

/// Why there is no new preset.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CreateError {
    #[error("the fields are not valid")]
    Fields(Vec<FieldError>),
    #[error("the tenant has {MOST} presets")]
    TooMany,
    #[error("the name is taken")]
    Taken,
    #[error("the preset's address or entity tag is no header")]
    Header,
    #[error(transparent)]
    NotFirst(#[from] NotFirst),
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl IntoResponse for CreateError {
    fn into_response(self) -> Response {
        let failure = match self {
            Self::Fields(errors) => Failure::fields(errors),
            Self::TooMany => Failure::new(
                Code::Conflict,
                format!("There are {MOST} presets, which is the most: delete those that nobody uses"),
            ),
            Self::Taken => Failure::new(
                Code::Conflict,
                "There is a preset of this name: change it with PATCH, or choose another name",
            ),
            Self::NotFirst(answer) => return answer.into_response(),
            Self::Database(error) => error.into(),
            defect @ Self::Header => Failure::internal(&defect),
        };
        failure.into_response()
    }
}

/// Makes a preset, at most 200 of a tenant.
///
/// Every edge knows it within 5 s.
#[utoipa::path(post, path = "/api/admin/presets", params(IdempotencyKey), request_body = NewPreset,
    responses(
        (status = 201, description = "The preset. Where the answer is repeated, there is no `ETag`.", body = PresetView,
            headers(("ETag" = String, description = "For `If-Match`."))),
        (status = 409, description = "The name is taken, there are 200 presets, or a request with this Idempotency-Key is under way."),
    ))]
pub(crate) async fn post_preset(
    State(app): State<App>,
    Administrator(principal): Administrator,
    KeyedJson(attempt, body): KeyedJson<NewPreset>,
) -> Result<Response, CreateError> {
    let (name, content) = check(body).map_err(CreateError::Fields)?;
    let (tenant, now) = (principal.caller.tenant, app.clock.now());
    let mut transaction = app.database.begin(tenant).await?;
    let claim = attempt.claim(transaction.connection(), &principal, now).await?;
    presets::lock(transaction.connection(), tenant).await?;
    let count = sqlx::query_scalar!(r#"select count(*) as "count!" from presets"#)
        .fetch_one(transaction.connection())
        .await
        .map_err(DatabaseError::from)?;
    if count >= MOST {
        return Err(CreateError::TooMany);
    }
    let row = sqlx::query_as!(
        Row,
        "insert into presets (tenant_id, id, name, options, title, description, branding, created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $8) on conflict (tenant_id, name) do nothing
         returning id, name, options, title, description, branding, created_at, updated_at",
        tenant.0,
        app.entropy.uuid(),
        name.as_str(),
        content.options,
        content.title,
        content.description,
        content.branding,
        now,
    )
    .fetch_optional(transaction.connection())
    .await
    .map_err(DatabaseError::from)?
    .ok_or(CreateError::Taken)?;
    let view = row.view();
    let mut entry = principal.entry(&app, "presets.create");
    entry.target = Some(name.to_string());
    entry.after = Some(view.audited());
    audit::record(transaction.connection(), entry).await?;
    let location = format!("/api/admin/presets/{name}");
    claim
        .keep(
            transaction.connection(),
            &principal,
            StatusCode::CREATED,
            &location,
            &view,
            now,
        )
        .await?;
    transaction.commit().await?;
    let header = |text: &str| HeaderValue::from_str(text).map_err(|_| CreateError::Header);
    let headers = [
        (header::LOCATION, header(&location)?),
        (header::ETAG, header(&view.etag())?),
    ];
    Ok((StatusCode::CREATED, headers, Json(view)).into_response())
}

/// Every fault at once.
fn check(body: NewPreset) -> Result<(PresetName, Content), Vec<FieldError>> {
    let content = Content {
        options: body.options,
        title: body.title,
        description: body.description,
        branding: body.branding,
    };
    match (PresetName::new(&body.name), content.check()) {
        (Some(name), Ok(content)) => Ok((name, content)),
        (Some(_), Err(errors)) => Err(errors),
        (None, content) => {
            let mut errors = vec![FieldError {
                field: "name".to_owned(),
                detail: format!("must be {}", PresetName::RULE),
            }];
            errors.extend(content.err().unwrap_or_default());
            Err(errors)
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{api::testing::TestApp, presets::MOST};
    use kado_shared::edge_config::{EdgeConfig, Preset};
    use serde_json::json;

    const ADDRESS: &str = "/api/admin/presets";

    #[tokio::test(flavor = "multi_thread")]
    async fn a_preset_is_kept_in_normal_form_audited_and_told_to_the_edges() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let before = app.count("select revision from edge_state").await;
        let body = json!({
            "name": "card", "options": "w=400,h=300,fit=cover,f=jpg,dpr=1", "title": " Card ", "branding": true,
        });
        let created = app.post_as(&token, ADDRESS, &body).await;
        assert_eq!(
            (created.status, created.header("location")),
            (201, Some("/api/admin/presets/card")),
            "{}",
            created.text()
        );
        let view = created.json();
        assert_eq!(
            (
                &view["options"],
                &view["title"],
                &view["description"],
                &view["branding"]
            ),
            (
                &json!("fit=cover,format=jpeg,height=300,width=400"),
                &json!("Card"),
                &json!(""),
                &json!(true)
            )
        );
        let read = app.get_as(&token, "/api/admin/presets/card").await;
        assert_eq!((read.status, read.json()), (200, view));
        assert_eq!(read.header("etag"), created.header("etag"));
        assert!(app.count("select revision from edge_state").await > before);
        let told = app.internal("GET", "/internal/edge-config?host=localhost").await;
        let config = EdgeConfig::from_json(&told.body).unwrap();
        let preset = Preset {
            options: "fit=cover,format=jpeg,height=300,width=400".into(),
            branding: true,
        };
        assert_eq!(config.tenant.preset_options, [("card".to_owned(), preset)].into());
        let audited: serde_json::Value =
            sqlx::query_scalar("select after from audit_logs where action = 'presets.create' and target = 'card'")
                .fetch_one(app.database().superuser())
                .await
                .unwrap();
        assert_eq!(audited["branding"], true);
        let again = app.post_as(&token, ADDRESS, &body).await;
        assert_eq!((again.status, &again.json()["code"]), (409, &json!("conflict")));
        assert_eq!(app.get_as(&token, "/api/admin/presets/Card").await.status, 404);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn every_bad_field_and_option_is_named_and_nothing_is_made() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        for (body, fields) in [
            (
                json!({"name": "A", "options": "w=0,preset=b,colour=red", "title": "a\tb", "description": "x".repeat(501)}),
                vec![
                    "name",
                    "options.preset",
                    "options.width",
                    "options.colour",
                    "title",
                    "description",
                ],
            ),
            (
                json!({"name": "a", "options": "branding=true"}),
                vec!["options.branding"],
            ),
            (json!({"name": "a", "options": "draw=u:logo"}), vec!["options.draw"]),
            (json!({"name": "a", "options": ",".repeat(2001)}), vec!["options"]),
            (json!({"name": "a"}), vec!["options"]),
            (json!({"name": "a", "options": "w=1", "id": 1}), vec!["id"]),
        ] {
            let answer = app.post_as(&token, ADDRESS, &body).await;
            assert_eq!(answer.status, 400, "{}", answer.text());
            let errors = answer.json()["errors"].as_array().unwrap().clone();
            assert_eq!(
                errors
                    .iter()
                    .map(|error| error["field"].as_str().unwrap())
                    .collect::<Vec<_>>(),
                fields
            );
        }
        assert_eq!(app.count("select count(*) from presets").await, 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn there_are_never_more_than_the_most() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        app.execute(&format!(
            "insert into presets (tenant_id, name, options, created_at, updated_at)
             select id, 'p' || n, '', now(), now() from tenants, generate_series(1, {}) n",
            MOST - 1
        ))
        .await;
        let create = |name: &'static str| {
            let (app, token) = (&app, &token);
            async move {
                app.post_as(token, ADDRESS, &json!({"name": name, "options": ""}))
                    .await
                    .status
            }
        };
        let mut statuses = futures_util::future::join_all(["a", "b", "c", "d"].map(create)).await;
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409, 409, 409]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn administrators_alone_see_and_make_them() {
        let Some(app) = TestApp::start().await else { return };
        let user = app.user_token("user@localhost").await;
        assert_eq!(app.get_as(&user, ADDRESS).await.status, 403);
        let body = json!({"name": "a", "options": "w=1"});
        assert_eq!(app.post_as(&user, ADDRESS, &body).await.status, 403);
        assert_eq!(app.get(ADDRESS).await.status, 401);
        // Of another tenant nobody sees anything.
        app.execute("insert into tenants (name) values ('other')").await;
        app.execute(
            "insert into presets (tenant_id, name, options, created_at, updated_at)
             select id, 'theirs', 'width=1', now(), now() from tenants where name = 'other'",
        )
        .await;
        let token = app.admin_token().await;
        assert_eq!(app.get_as(&token, ADDRESS).await.json()["items"], json!([]));
        assert_eq!(app.get_as(&token, "/api/admin/presets/theirs").await.status, 404);
        assert_eq!(app.delete_as(&token, "/api/admin/presets/theirs").await.status, 404);
        let told = app.internal("GET", "/internal/edge-config?host=localhost").await.json();
        assert_eq!(told["tenant"]["presetOptions"], json!({}));
    }
}
