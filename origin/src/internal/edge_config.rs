//! `GET /internal/edge-config?host=`: the snapshot of one tenant. Its ETag is the revision, so an edge that is up to date
//! costs one small query.

use axum::{
    Json,
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use kado_shared::{
    claims::LEEWAY,
    edge_config::{EdgeConfig, Global, SCHEMA, Tenant, etag},
    problem::Code,
    tenant::{TenantId, normalize_host},
};
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::{
    address_keys::{self, AddressKeyError},
    database::DatabaseError,
    http::{extract::query_pairs, failure::Failure},
    identity::{
        keyring::{self, KeyringError},
        session::TOKEN_LIFE,
    },
    presets, purges,
    service::App,
    settings,
};

/// Most ended sessions that are told. Beyond it, the oldest are left to their tokens' expiry.
const MOST_REVOKED: i64 = 10_000;

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("no tenant has this host")]
    UnknownHost,
    #[error("`host` is missing or is no host name")]
    BadHost,
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    #[error(transparent)]
    AddressKeys(#[from] AddressKeyError),
    #[error("the edge's state is missing")]
    NoState,
}

impl IntoResponse for ConfigError {
    fn into_response(self) -> Response {
        let failure = match self {
            Self::UnknownHost => Failure::new(Code::MisdirectedRequest, "No tenant has this host"),
            Self::BadHost => Failure::field("host", "must be a host name"),
            Self::Database(error) | Self::AddressKeys(AddressKeyError::Database(error)) => error.into(),
            Self::Keyring(error) => error.into(),
            defect @ (Self::AddressKeys(_) | Self::NoState) => Failure::internal(&defect),
        };
        failure.into_response()
    }
}

pub(crate) async fn get_edge_config(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let [host] = query_pairs(query.as_deref(), ["host"])?;
    answer(&app, host.as_deref(), &headers)
        .await
        .map_or_else(|error| Ok(error.into_response()), Ok)
}

async fn answer(app: &App, host: Option<&str>, headers: &HeaderMap) -> Result<Response, ConfigError> {
    let host = host.and_then(normalize_host).ok_or(ConfigError::BadHost)?;
    let mut transaction = app.database.system().begin().await.map_err(DatabaseError::from)?;
    // One snapshot for all statements: what is told belongs to one revision.
    sqlx::query!("set transaction isolation level repeatable read, read only")
        .execute(&mut *transaction)
        .await
        .map_err(DatabaseError::from)?;
    let site = load_site(&mut transaction, &host).await?;
    let etag = etag(count(site.revision), app.limit_store(), app.spans.share());
    let current = headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|given| given.as_bytes() == etag.as_bytes());
    let response = if current {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let config = load_config(app, &mut transaction, site).await?;
        Json(config).into_response()
    };
    transaction.commit().await.map_err(DatabaseError::from)?;
    let mut response = response;
    if let Ok(value) = HeaderValue::from_str(&etag) {
        response.headers_mut().insert(header::ETAG, value);
    }
    Ok(response)
}

/// The tenant of a host, and the site's state at the same moment.
struct Site {
    tenant: TenantId,
    name: String,
    tenant_generation: i64,
    revision: i64,
    epoch: i64,
    generation: i64,
    restore_id: Uuid,
}

async fn load_site(connection: &mut PgConnection, host: &str) -> Result<Site, ConfigError> {
    let row = sqlx::query!(
        r#"select t.id as "id?", t.name as "name?", t.generation as "tenant_generation?",
                  e.revision, e.epoch + coalesce(t.epoch, 0) as "epoch!", e.generation, e.restore_id
           from edge_state e
           left join tenant_hosts h on h.host = $1
           left join tenants t on t.id = h.tenant_id and t.active"#,
        host
    )
    .fetch_optional(connection)
    .await
    .map_err(DatabaseError::from)?
    .ok_or(ConfigError::NoState)?;
    match (row.id, row.name, row.tenant_generation) {
        (Some(id), Some(name), Some(tenant_generation)) => Ok(Site {
            tenant: TenantId(id),
            name,
            tenant_generation,
            revision: row.revision,
            epoch: row.epoch,
            generation: row.generation,
            restore_id: row.restore_id,
        }),
        _ => Err(ConfigError::UnknownHost),
    }
}

async fn load_config(app: &App, connection: &mut PgConnection, site: Site) -> Result<EdgeConfig, ConfigError> {
    let layers = settings::load(connection, site.tenant).await?;
    let revoked = load_revoked(connection, site.tenant, app.clock.now()).await?;
    let purges = purges::for_edge(connection, site.tenant, app.clock.now()).await?;
    let generations = purges::preset_generations(connection, site.tenant).await?;
    let presets::Told { presets, unreadable } = presets::for_edge(connection, site.tenant).await?;
    for (preset, detail) in unreadable {
        tracing::warn!(event = "preset-ignored", tenant = %site.tenant, preset, detail);
    }
    let address_keys = address_keys::active(connection, site.tenant, &app.address_sealer).await?;
    let keys = keyring::published(connection).await?;
    Ok(EdgeConfig {
        schema: SCHEMA,
        revision: count(site.revision),
        global: Global {
            issuer: app.public_url.clone(),
            epoch: count(site.epoch),
            generation: count(site.generation),
            limits: app.limit_store(),
            trace_share: app.spans.share(),
        },
        tenant: Tenant {
            id: site.tenant,
            name: site.name,
            generation: count(site.tenant_generation),
            settings: layers.for_edge(),
            presets: generations,
            preset_options: presets,
            address_keys,
        },
        keys,
        revoked,
        purges,
        restore_id: site.restore_id,
    })
}

fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// Sessions that ended while a token of theirs may still be valid by its times.
async fn load_revoked(
    connection: &mut PgConnection,
    tenant: TenantId,
    now: OffsetDateTime,
) -> Result<Vec<Uuid>, DatabaseError> {
    let since = now - TOKEN_LIFE - Duration::seconds(i64::try_from(LEEWAY).unwrap_or(0));
    Ok(sqlx::query_scalar!(
        "select id from sessions where tenant_id = $1 and ended_at > $2 order by ended_at desc limit $3",
        tenant.0,
        since,
        MOST_REVOKED,
    )
    .fetch_all(connection)
    .await?)
}

#[cfg(test)]
mod tests {
    use crate::{api::testing::TestApp, presets};
    use kado_shared::edge_config::EdgeConfig;
    use serde_json::json;

    #[tokio::test]
    async fn a_host_has_its_tenants_configuration() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        app.patch_as(
            &token,
            "/api/admin/settings",
            &json!({"maxFileSize": 2048, "sessionTimeout": 120}),
            None,
        )
        .await;
        let answer = app.internal("GET", "/internal/edge-config?host=LOCALHOST:8787").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let config = EdgeConfig::from_json(&answer.body).unwrap();
        assert_eq!(
            (config.tenant.id, config.keys.len(), config.global.issuer.as_str()),
            (app.tenant, 1, TestApp::PUBLIC_URL)
        );
        assert_eq!(config.tenant.settings, [("maxFileSize".to_owned(), json!(2048))].into());
        assert_eq!(answer.header("etag"), Some(&*format!("\"{}\"", config.revision)));
    }

    #[tokio::test]
    async fn an_edge_that_is_up_to_date_is_told_so_until_something_changes() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let tag = app
            .internal("GET", "/internal/edge-config?host=localhost")
            .await
            .header("etag")
            .unwrap()
            .to_owned();
        let given = [("if-none-match", tag.as_str())];
        let ask = || app.internal_with("GET", "/internal/edge-config?host=localhost", &given);
        assert_eq!(ask().await.status, 304);
        app.post_as(&token, "/api/auth/logout", &json!({})).await;
        let answer = ask().await;
        assert_eq!(
            (
                answer.status,
                EdgeConfig::from_json(&answer.body).unwrap().revoked.len()
            ),
            (200, 1)
        );
    }

    #[tokio::test]
    async fn a_change_by_hand_is_told_too() {
        let Some(app) = TestApp::start().await else { return };
        let revision = || async {
            EdgeConfig::from_json(&app.internal("GET", "/internal/edge-config?host=localhost").await.body)
                .unwrap()
                .revision
        };
        let before = revision().await;
        app.execute("insert into system_settings (tenant_id, name, value) values (null, 'imageMinTtl', '7')")
            .await;
        assert_eq!(revision().await, before + 1);
    }

    #[tokio::test]
    async fn a_preset_that_cannot_be_read_is_left_out_and_costs_no_other() {
        let Some(app) = TestApp::start().await else { return };
        app.execute(
            "insert into presets (tenant_id, name, options, branding, created_at, updated_at)
             select t.id, p.name, p.options, p.branding, now(), now() from tenants t, (values
                 ('good', 'w=40,h=30', false), ('wide', 'width=wide', false), ('nested', 'preset=good', false),
                 ('hostile', E'\"},\\x01', false), ('empty', '', false)) as p (name, options, branding)",
        )
        .await;
        let answer = app.internal("GET", "/internal/edge-config?host=localhost").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let told = EdgeConfig::from_json(&answer.body).unwrap().tenant.preset_options;
        let names: Vec<_> = told.keys().map(String::as_str).collect();
        assert_eq!(
            (names, told["good"].options.as_str()),
            (vec!["empty", "good"], "height=30,width=40")
        );
        let mut connection = app.database().superuser().acquire().await.unwrap();
        let unreadable = presets::for_edge(&mut connection, app.tenant).await.unwrap().unreadable;
        let [(hostile, _), (nested, _), (wide, why)] = &unreadable[..] else {
            panic!("{unreadable:?}")
        };
        assert_eq!(
            (hostile.as_str(), nested.as_str(), wide.as_str()),
            ("hostile", "nested", "wide")
        );
        assert!(why.contains("wide"), "{why}");
    }

    #[tokio::test]
    async fn unknown_and_suspended_hosts_have_none() {
        let Some(app) = TestApp::start().await else { return };
        assert_eq!(
            app.internal("GET", "/internal/edge-config?host=unknown.example")
                .await
                .status,
            421
        );
        for bad in ["", "?host=", "?host=a%20b", "?host=a&host=b", "?other=a"] {
            assert_eq!(
                app.internal("GET", &format!("/internal/edge-config{bad}")).await.status,
                400,
                "{bad}"
            );
        }
        app.execute("update tenants set active = false").await;
        assert_eq!(
            app.internal("GET", "/internal/edge-config?host=localhost").await.status,
            421
        );
    }
}
