//! `GET /internal/blobs/u/{id}`: the bytes of an original, for the transform role. The tenant is the signature's.

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use kado_shared::{problem::Code, tenant::TenantId};
use object_store::GetResult;
use uuid::Uuid;

use crate::{
    blobs::{BlobError, BlobHash},
    database::DatabaseError,
    http::{edge::signed_tenant, extract::IdInPath, failure::Failure},
    service::App,
};

/// Why there are no bytes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BlobAnswerError {
    #[error("no such picture in this tenant")]
    Missing,
    #[error("the picture's hash has {0} bytes")]
    Hash(usize),
    #[error("picture {id} has lost its bytes")]
    Lost {
        id: Uuid,
        #[source]
        source: BlobError,
    },
    #[error(transparent)]
    Store(BlobError),
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl IntoResponse for BlobAnswerError {
    fn into_response(self) -> Response {
        let failure = match self {
            Self::Missing => Failure::new(Code::SourceNotFound, "There is no such picture"),
            Self::Store(error) => Failure::unavailable("The blob store is not available at the moment").because(&error),
            Self::Database(error) => error.into(),
            defect @ (Self::Hash(_) | Self::Lost { .. }) => Failure::internal(&defect),
        };
        failure.into_response()
    }
}

pub(crate) async fn get_blob(
    State(app): State<App>,
    IdInPath(id): IdInPath,
    headers: HeaderMap,
) -> Result<Response, BlobAnswerError> {
    let tenant = signed_tenant(&headers).ok_or(BlobAnswerError::Missing)?;
    let hash = hash_of(&app, tenant, id).await?;
    // Strong, and the same for the same bytes: a picture never changes under its identifier.
    let etag =
        HeaderValue::from_str(&format!("\"{}\"", &hash.to_string()[..32])).map_err(|_| BlobAnswerError::Hash(32))?;
    if headers.get(header::IF_NONE_MATCH) == Some(&etag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    let object = open(&app, tenant, id, hash).await?;
    let length = object.meta.size;
    let mut response = Body::from_stream(object.into_stream()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(header::ETAG, etag);
    Ok(response)
}

/// The hash of a picture's bytes.
pub(super) async fn hash_of(app: &App, tenant: TenantId, id: Uuid) -> Result<BlobHash, BlobAnswerError> {
    let mut transaction = app.database.begin(tenant).await?;
    let sha256 = sqlx::query_scalar!("select sha256 from images where id = $1", id)
        .fetch_optional(transaction.connection())
        .await
        .map_err(DatabaseError::from)?
        .ok_or(BlobAnswerError::Missing)?;
    transaction.commit().await?;
    let hash = sha256.as_slice().try_into();
    hash.map(BlobHash).map_err(|_| BlobAnswerError::Hash(sha256.len()))
}

/// A picture's bytes.
pub(super) async fn open(app: &App, tenant: TenantId, id: Uuid, hash: BlobHash) -> Result<GetResult, BlobAnswerError> {
    app.blobs.get(tenant, hash).await.map_err(|error| match error {
        missing @ BlobError::Missing(_) => BlobAnswerError::Lost { id, source: missing },
        other => BlobAnswerError::Store(other),
    })
}

#[cfg(test)]
mod tests {
    use crate::api::testing::{TestApp, png};
    use kado_shared::tenant::TenantId;
    use uuid::Uuid;

    #[tokio::test(flavor = "multi_thread")]
    async fn the_bytes_come_back_as_they_were() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let id = app.upload(&token, png(40, 30)).await.json()["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let answer = app.internal("GET", &format!("/internal/blobs/u/{id}")).await;
        assert_eq!((answer.status, answer.body.to_vec()), (200, png(40, 30)));
        assert_eq!(answer.header("content-length"), Some(&*png(40, 30).len().to_string()));
        let tag = answer.header("etag").unwrap().to_owned();
        let again = app
            .internal_with("GET", &format!("/internal/blobs/u/{id}"), &[("if-none-match", &tag)])
            .await;
        assert_eq!((again.status, again.body.len()), (304, 0));
        assert_eq!(
            app.internal("DELETE", &format!("/internal/blobs/u/{id}")).await.status,
            405
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn another_tenant_has_no_such_picture() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let id = app.upload(&token, png(4, 4)).await.json()["id"]
            .as_str()
            .unwrap()
            .to_owned();
        for tenant in [Some(TenantId(Uuid::nil())), None] {
            let answer = app
                .internal_for(tenant, "GET", &format!("/internal/blobs/u/{id}"), &[])
                .await;
            assert_eq!(
                (answer.status, answer.header("content-type")),
                (404, Some("application/problem+json"))
            );
        }
        assert_eq!(app.internal("GET", "/internal/blobs/u/none").await.status, 404);
    }
}
