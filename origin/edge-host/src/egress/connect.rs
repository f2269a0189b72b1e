//! A connection to one of the addresses that were checked.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::FetchError;

/// Head start of an address before the next one is tried beside it (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);
/// Addresses tried for one fetch.
const MOST_TRIED: usize = 6;

/// A byte stream, plain or TLS.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Connects to the first of these addresses that accepts. Nothing is resolved here.
pub(crate) async fn tcp(addresses: &[IpAddr], port: u16, patience: Duration) -> Result<TcpStream, FetchError> {
    let race = async {
        let mut tries = JoinSet::new();
        let mut rest = interleaved(addresses).into_iter().take(MOST_TRIED);
        loop {
            if let Some(address) = rest.next() {
                tries.spawn(TcpStream::connect(SocketAddr::new(address, port)));
            } else if tries.is_empty() {
                return Err(FetchError::Connect);
            }
            let next_try = async {
                if rest.len() == 0 {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(STAGGER).await;
            };
            tokio::select! {
                Some(done) = tries.join_next() => if let Ok(Ok(stream)) = done {
                    return Ok(stream);
                },
                () = next_try => {}
            }
        }
    };
    let stream = timeout(patience, race).await.map_err(|_| FetchError::Timeout)??;
    // The kernel connected where it was told; this only says so to whoever reads the code.
    match stream.peer_addr() {
        Ok(peer) if addresses.iter().any(|a| a.to_canonical() == peer.ip().to_canonical()) => {}
        _ => return Err(FetchError::AddressRefused),
    }
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// IPv6 and IPv4 in turn, each in the resolver's order (RFC 8305, section 4): one family that leads nowhere does not
/// use up the time.
fn interleaved(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let (mut first, mut second): (Vec<IpAddr>, Vec<IpAddr>) = addresses.iter().partition(|a| a.is_ipv6());
    if addresses.first().is_some_and(IpAddr::is_ipv4) {
        std::mem::swap(&mut first, &mut second);
    }
    let mut mixed = Vec::with_capacity(addresses.len());
    let mut second = second.into_iter();
    for address in first {
        mixed.push(address);
        mixed.extend(second.next());
    }
    mixed.extend(second);
    mixed
}

/// TLS with the name that was asked for, whatever the address.
pub(crate) async fn tls(
    stream: TcpStream,
    host: &str,
    config: &Arc<ClientConfig>,
    patience: Duration,
) -> Result<Box<dyn Stream>, FetchError> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| FetchError::Tls)?;
    let handshake = TlsConnector::from(Arc::clone(config)).connect(name, stream);
    match timeout(patience, handshake).await {
        Ok(Ok(stream)) => Ok(Box::new(stream)),
        Ok(Err(_)) => Err(FetchError::Tls),
        Err(_) => Err(FetchError::Timeout),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|a| a.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns_beginning_with_the_first() {
        let mixed = interleaved(&addresses(&["::1", "::2", "::3", "1.1.1.1"]));
        assert_eq!(mixed, addresses(&["::1", "1.1.1.1", "::2", "::3"]));
        let mixed = interleaved(&addresses(&["1.1.1.1", "2.2.2.2", "::1"]));
        assert_eq!(mixed, addresses(&["1.1.1.1", "::1", "2.2.2.2"]));
    }

    #[tokio::test]
    async fn an_address_that_refuses_gives_way_to_one_that_accepts() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let list = addresses(&["127.0.0.99", "127.0.0.1"]);
        let stream = tcp(&list, port, Duration::from_secs(3)).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap().ip(), list[1]);
        drop(listener);
        assert_eq!(
            tcp(&list, port, Duration::from_secs(3)).await.map(|_| ()),
            Err(FetchError::Connect)
        );
    }
}
