//! `DELETE /api/images/{id}`: by its owner, or by an administrator. The bytes go with the last picture that has them.

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use kado_shared::{claims::Role, problem::Code};
use serde_json::json;

use crate::{
    api::openapi::parameters::IdInPath as IdInPathParameter,
    audit,
    blobs::{BlobError, BlobHash},
    database::DatabaseError,
    http::{
        authentication::{Principal, SignedIn},
        extract::IdInPath,
        failure::Failure,
    },
    purges::Order,
    service::App,
};

use super::lock_blob;
use kado_shared::tenant::TenantId;
use uuid::Uuid;

/// Why nothing was deleted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeleteError {
    #[error("no such picture, or somebody else's")]
    Missing,
    #[error("the picture's hash has {0} bytes")]
    Hash(usize),
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl IntoResponse for DeleteError {
    fn into_response(self) -> Response {
        let failure = match self {
            Self::Missing => Failure::new(Code::NotFound, "There is no such picture"),
            Self::Database(error) => error.into(),
            defect @ Self::Hash(_) => Failure::internal(&defect),
        };
        failure.into_response()
    }
}

/// Deletes an original, of one's own or as an administrator.
///
/// The bytes go when no other upload has the same ones.
#[utoipa::path(delete, path = "/api/images/{id}", params(IdInPathParameter),
    responses((status = 204, description = "It is gone.")))]
pub(crate) async fn delete_image(
    State(app): State<App>,
    SignedIn(principal): SignedIn,
    IdInPath(id): IdInPath,
) -> Result<StatusCode, DeleteError> {
    let whose = if principal.role == Role::Admin {
        Whose::Anybodys
    } else {
        Whose::Own
    };
    delete(&app, &principal, id, whose).await
}

/// Which pictures somebody may delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Their own.
    Own,
    /// All of the tenant's.
    Anybodys,
}

/// Deletes a picture of the caller's tenant, with what caches have of it, and its bytes if no other picture has them.
pub(crate) async fn delete(
    app: &App,
    principal: &Principal,
    id: Uuid,
    whose: Whose,
) -> Result<StatusCode, DeleteError> {
    let tenant = principal.caller.tenant;
    let mut transaction = app.database.begin(tenant).await?;
    let deleted = sqlx::query!(
        "delete from images where id = $1 and (user_id = $2 or $3) returning sha256, user_id, width, height, format",
        id,
        principal.user,
        whose == Whose::Anybodys,
    )
    .fetch_optional(transaction.connection())
    .await
    .map_err(DatabaseError::from)?
    .ok_or(DeleteError::Missing)?;
    let hash = BlobHash(
        deleted
            .sha256
            .as_slice()
            .try_into()
            .map_err(|_| DeleteError::Hash(deleted.sha256.len()))?,
    );
    let left = sqlx::query_scalar!(
        "update blobs set reference_count = reference_count - 1 where sha256 = $1 returning reference_count",
        &hash.0[..]
    )
    .fetch_one(transaction.connection())
    .await
    .map_err(DatabaseError::from)?;
    // What caches have of it is gone with it.
    Order::of_source(&format!("u/{id}"))
        .carry_out(transaction.connection(), tenant, None, app.clock.now())
        .await?;
    let mut entry = principal.entry(app, "images.delete");
    entry.target = Some(id.to_string());
    entry.before = Some(json!({
        "sha256": hash.to_string(),
        "userId": deleted.user_id,
        "width": deleted.width,
        "height": deleted.height,
        "format": deleted.format,
    }));
    audit::record(transaction.connection(), entry).await?;
    transaction.commit().await?;
    if left == 0
        && let Err(error) = remove_unreferenced(app, tenant, hash).await
    {
        // The picture is gone for its users; the sweep will come for the bytes.
        tracing::warn!(event = "blob-removal-failed", error = %crate::http::failure::chain(&error));
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Why bytes stay for now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemovalError {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error(transparent)]
    Blob(#[from] BlobError),
}

/// Removes bytes that no picture refers to, unless one has come to refer to them again.
pub(crate) async fn remove_unreferenced(app: &App, tenant: TenantId, hash: BlobHash) -> Result<(), RemovalError> {
    let mut transaction = app.database.begin(tenant).await?;
    lock_blob(transaction.connection(), tenant, hash).await?;
    let references = sqlx::query_scalar!(
        "select reference_count from blobs where sha256 = $1 for update",
        &hash.0[..]
    )
    .fetch_optional(transaction.connection())
    .await
    .map_err(DatabaseError::from)?;
    if references.unwrap_or(0) == 0 {
        app.blobs.remove(tenant, hash).await?;
        sqlx::query!("delete from blobs where sha256 = $1", &hash.0[..])
            .execute(transaction.connection())
            .await
            .map_err(DatabaseError::from)?;
    }
    Ok(transaction.commit().await?)
}

#[cfg(test)]
mod tests {
    use crate::api::testing::{TestApp, png};

    #[tokio::test]
    async fn bytes_go_with_the_last_picture_that_has_them() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let first = app.upload(&token, png(4, 4)).await.json()["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let second = app.upload(&token, png(4, 4)).await.json()["id"]
            .as_str()
            .unwrap()
            .to_owned();
        assert_eq!(
            (app.files(), app.count("select reference_count from blobs").await),
            (1, 2)
        );
        assert_eq!(app.delete_as(&token, &format!("/api/images/{first}")).await.status, 204);
        assert_eq!(
            (app.files(), app.count("select reference_count from blobs").await),
            (1, 1)
        );
        assert_eq!(
            app.delete_as(&token, &format!("/api/images/{second}")).await.status,
            204
        );
        assert_eq!((app.files(), app.count("select count(*) from blobs").await), (0, 0));
        assert_eq!(
            app.delete_as(&token, &format!("/api/images/{second}")).await.status,
            404
        );
        assert_eq!(
            app.count("select count(*) from audit_logs where action = 'images.delete'")
                .await,
            2
        );
    }

    #[tokio::test]
    async fn somebody_elses_picture_is_not_there() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let id = app.upload(&token, png(4, 4)).await.json()["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let other = app.user_token("other@localhost").await;
        assert_eq!(app.delete_as(&other, &format!("/api/images/{id}")).await.status, 404);
        for bad in ["x", "..", &id.to_uppercase(), &id.replace('-', "")] {
            assert_eq!(
                app.delete_as(&token, &format!("/api/images/{bad}")).await.status,
                404,
                "{bad}"
            );
        }
        assert_eq!(app.files(), 1);
    }
}
