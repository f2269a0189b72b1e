//! From a name to its addresses.
//!
//! The system's own resolution (getaddrinfo) is used, not a resolver of our own: it is what the operator has configured
//! (hosts file, search domains, split DNS of containers and VPNs, a caching daemon), and it brings no second parser of
//! hostile packets into this process. Its one fault, that a lookup cannot be cancelled and holds a thread, is met with a
//! bound on lookups; one that outlives its request keeps its place until it ends.

use std::future::Future;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::Semaphore;

/// Lookups at once.
const LOOKUPS: usize = 64;

/// Answers of a resolver.
pub(crate) type Lookup<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;

/// Finds a name's addresses. Tests give answers of their own.
pub(crate) trait Resolve: Send + Sync + 'static {
    fn resolve(&self, host: String) -> Lookup<'_>;
}

/// The system's resolver.
pub(crate) struct SystemResolver {
    places: Arc<Semaphore>,
}

impl SystemResolver {
    pub(crate) fn new() -> Self {
        Self {
            places: Arc::new(Semaphore::new(LOOKUPS)),
        }
    }
}

impl Resolve for SystemResolver {
    fn resolve(&self, host: String) -> Lookup<'_> {
        Box::pin(async move {
            let place = Arc::clone(&self.places)
                .acquire_owned()
                .await
                .map_err(io::Error::other)?;
            let lookup = tokio::task::spawn_blocking(move || {
                let found = (host.as_str(), 0)
                    .to_socket_addrs()
                    .map(|all| all.map(|a| a.ip()).collect());
                drop(place);
                found
            });
            lookup.await.map_err(io::Error::other)?
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_system_knows_itself_and_not_what_cannot_be() {
        let resolver = SystemResolver::new();
        let local = resolver.resolve("localhost".to_owned()).await.unwrap();
        assert!(!local.is_empty() && local.iter().all(IpAddr::is_loopback));
        assert!(resolver.resolve("no-such-host.invalid".to_owned()).await.is_err());
        assert!(resolver.resolve("a\0b".to_owned()).await.is_err());
    }
}
