//! `POST /internal/credentials`: what an API key is good for, by its fingerprint. The tenant is the signature's.

use axum::{Json, extract::State, http::HeaderMap};
use kado_shared::api_key::{Answer, Fingerprint, Known};

use crate::{
    clock::unix,
    http::{edge::signed_tenant, extract::JsonBody, failure::Failure},
    identity::api_key,
    service::App,
};

pub(crate) async fn post_credentials(
    State(app): State<App>,
    headers: HeaderMap,
    JsonBody(key): JsonBody<Fingerprint>,
) -> Result<Json<Answer>, Failure> {
    let tenant = signed_tenant(&headers)
        .ok_or_else(|| Failure::field("kado-tenant", "must name the tenant whose key it may be"))?;
    let mut transaction = app.database.begin(tenant).await?;
    let found = api_key::find(transaction.connection(), &key, app.clock.now()).await?;
    transaction.commit().await?;
    let key = found.ok().map(|stored| Known {
        id: stored.id,
        user: stored.user,
        scopes: stored.scopes,
        limit: stored.limit,
        expires: stored.expires_at.map(unix),
    });
    Ok(Json(Answer { key }))
}
