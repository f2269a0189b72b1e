//! `GET /v1/fetch`.

use std::sync::Arc;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use kado_shared::headers::KADO_EGRESS_ERROR;
use tokio::sync::Semaphore;

use super::FetchError;
use super::fetch::Fetcher;
use super::request::SourceRequest;
use crate::http1::{Body, Handler, Peer, bare};

const PATH: &str = "/v1/fetch";
/// Fetches at once up to their answer's head, all hosts together.
const FETCHES: usize = 256;

/// Serves the transform role's requests for sources.
pub(crate) struct Egress {
    fetcher: Fetcher,
    places: Semaphore,
}

impl Egress {
    pub(crate) fn new(fetcher: Fetcher) -> Self {
        Self {
            fetcher,
            places: Semaphore::new(FETCHES),
        }
    }

    pub(crate) fn counts(&self) -> Arc<super::fetch::Counts> {
        Arc::clone(&self.fetcher.counts)
    }

    async fn answer(&self, asked: &SourceRequest) -> Result<Response<Body>, FetchError> {
        // The pool's own bound on jobs keeps this far away; it is here so that the bound does not depend on that.
        let _place = self.places.try_acquire().map_err(|_| FetchError::Timeout)?;
        self.fetcher.fetch(asked).await
    }
}

impl Handler for Egress {
    async fn handle(self: Arc<Self>, request: Request<Incoming>, _peer: Arc<Peer>) -> Response<Body> {
        if request.uri().path() != PATH {
            return bare(StatusCode::NOT_FOUND);
        }
        if request.method() != Method::GET {
            let mut refused = bare(StatusCode::METHOD_NOT_ALLOWED);
            refused
                .headers_mut()
                .insert(header::ALLOW, HeaderValue::from_static("GET"));
            return refused;
        }
        let fetched = match SourceRequest::from_headers(request.headers()) {
            Ok(asked) => self.answer(&asked).await,
            Err(error) => Err(error),
        };
        fetched.unwrap_or_else(failed)
    }
}

fn failed(error: FetchError) -> Response<Body> {
    let mut answer = bare(error.status());
    answer
        .headers_mut()
        .insert(KADO_EGRESS_ERROR, HeaderValue::from_static(error.as_str()));
    answer
}
