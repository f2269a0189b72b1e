//! Sources whole, by the same guard: for the origin's heavy lane, which decodes what no isolate has the memory for.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;

use super::{FetchError, Fetcher, Guard, Limits, SourceRequest, SystemResolver, client_config};
use crate::HostError;

/// Fetches sources for somebody in this process.
pub struct SourceFetcher {
    fetcher: Fetcher,
}

impl std::fmt::Debug for SourceFetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SourceFetcher").finish_non_exhaustive()
    }
}

/// What a source answered.
#[derive(Debug)]
pub enum Fetched {
    /// Its bytes, as many as it had said, and its `Cache-Control`.
    Whole {
        /// All of them.
        bytes: Vec<u8>,
        /// As it came.
        cache_control: Option<String>,
    },
    /// Where it redirects to; nobody has been there.
    Redirect(String),
    /// That there is no such picture.
    Missing,
    /// Something else than a picture.
    Other,
}

impl SourceFetcher {
    /// `own` are addresses of this site that this machine does not know as its own.
    ///
    /// # Errors
    /// Where there are no certificates to trust.
    pub fn new(own: Vec<IpAddr>) -> Result<Self, HostError> {
        let resolver = Arc::new(SystemResolver::new());
        let fetcher = Fetcher::new(resolver, Guard { own }, client_config()?, Limits::default());
        Ok(Self { fetcher })
    }

    /// Fetches what these headers ask for, which are the egress's own (`Kado-Source` and its like).
    ///
    /// # Errors
    /// Why there are no bytes. A body that is shorter than it said is an error.
    pub async fn fetch(&self, headers: &HeaderMap) -> Result<Fetched, FetchError> {
        let asked = SourceRequest::from_headers(headers)?;
        let (head, body) = self.fetcher.fetch(&asked).await?.into_parts();
        let text = |name| {
            let value = head.headers.get(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        let (cache_control, location) = (text(header::CACHE_CONTROL), text(header::LOCATION));
        match head.status {
            StatusCode::OK => {
                let body = body.collect().await;
                let bytes = body.map_err(|error| {
                    error
                        .downcast_ref::<FetchError>()
                        .copied()
                        .unwrap_or(FetchError::Protocol)
                })?;
                Ok(Fetched::Whole {
                    bytes: bytes.to_bytes().into(),
                    cache_control,
                })
            }
            status if status.is_redirection() => Ok(location.map_or(Fetched::Other, Fetched::Redirect)),
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(Fetched::Missing),
            _ => Ok(Fetched::Other),
        }
    }
}
