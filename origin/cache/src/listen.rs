//! Unix and TCP listeners behind one face.

use std::fmt;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};

use crate::CacheError;

/// Longest socket path accepted, in bytes: the smallest limit among the systems we run on, with room for a suffix.
const MAX_SOCKET_PATH: usize = 100;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket at this path.
    Unix(PathBuf),
    /// A TCP address; port 0 lets the system choose.
    Tcp(SocketAddr),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.len() {
                0 => Err("`unix:` needs a path after it".to_owned()),
                n if n > MAX_SOCKET_PATH => Err(format!(
                    "the socket path has {n} bytes, at most {MAX_SOCKET_PATH} work everywhere"
                )),
                _ => Ok(Self::Unix(PathBuf::from(path))),
            };
        }
        text.parse()
            .map(Self::Tcp)
            .map_err(|_| format!("`{text}` is neither `unix:PATH` nor `IP:PORT`"))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

/// An open listener.
#[derive(Debug)]
pub enum Listener {
    /// On a Unix socket.
    Unix(UnixListener),
    /// On a TCP port.
    Tcp(TcpListener),
}

/// A connection of either kind.
pub(crate) trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Connection for T {}

impl Listener {
    /// Opens the listener. A socket file left by a dead process is replaced; one that still answers is not.
    ///
    /// # Errors
    /// [`CacheError::AddressInUse`] or [`CacheError::Listen`].
    pub async fn bind(address: &Address) -> Result<Self, CacheError> {
        let listen = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::AddrInUse => CacheError::AddressInUse {
                address: address.to_string(),
            },
            _ => CacheError::Listen {
                address: address.to_string(),
                source,
            },
        };
        match address {
            Address::Tcp(tcp) => TcpListener::bind(tcp).await.map(Self::Tcp).map_err(listen),
            Address::Unix(path) => {
                if is_served(path).await {
                    return Err(CacheError::AddressInUse {
                        address: address.to_string(),
                    });
                }
                match std::fs::remove_file(path) {
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(listen(e)),
                    _ => {}
                }
                let listener = UnixListener::bind(path).map_err(listen)?;
                // Whoever may connect may replace what a site serves.
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(listen)?;
                Ok(Self::Unix(listener))
            }
        }
    }

    /// The bound address, with the port the system chose.
    ///
    /// # Errors
    /// The system's, when the socket has no address.
    pub fn local_address(&self) -> std::io::Result<Address> {
        match self {
            Self::Tcp(l) => l.local_addr().map(Address::Tcp),
            Self::Unix(l) => l
                .local_addr()
                .map(|a| Address::Unix(a.as_pathname().map(Path::to_path_buf).unwrap_or_default())),
        }
    }

    pub(crate) async fn accept(&self) -> std::io::Result<Box<dyn Connection>> {
        match self {
            Self::Tcp(l) => {
                let (stream, _) = l.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
            Self::Unix(l) => Ok(Box::new(l.accept().await?.0)),
        }
    }
}

async fn is_served(path: &Path) -> bool {
    UnixStream::connect(path).await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_printed_alike() {
        for text in ["unix:/run/kado/cache.sock", "127.0.0.1:8080", "[::1]:0"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn bad_addresses_say_what_would_be_right() {
        let long = format!("unix:/{}", "a".repeat(MAX_SOCKET_PATH));
        for text in ["", "unix:", "localhost", "1.2.3.4", long.as_str()] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
        assert!("8080".parse::<Address>().unwrap_err().contains("IP:PORT"));
    }

    #[tokio::test]
    async fn a_dead_socket_file_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let address = Address::Unix(dir.path().join("s"));
        drop(Listener::bind(&address).await.unwrap());
        assert!(
            dir.path().join("s").exists(),
            "the file of the dead listener stays behind"
        );
        let live = Listener::bind(&address).await.unwrap();
        assert!(matches!(
            Listener::bind(&address).await,
            Err(CacheError::AddressInUse { .. })
        ));
        drop(live);
    }
}
