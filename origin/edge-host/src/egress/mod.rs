//! The transform role's `SOURCES` binding: the only way out to hosts that somebody else named.
//!
//! Each fetch resolves the name itself, judges **every** address that it has, and connects to one of exactly those;
//! there is no second resolution between check and connection that could answer differently.

mod body;
mod connect;
mod fetch;
mod guard;
mod host_slots;
mod request;
mod resolve;
mod service;
mod tls;
mod whole;

pub(crate) use fetch::{Counts, Fetcher, Limits};
pub(crate) use guard::Guard;
pub(crate) use request::SourceRequest;
pub(crate) use resolve::SystemResolver;
pub(crate) use service::Egress;
pub(crate) use tls::client_config;
pub use whole::{Fetched, SourceFetcher};

use http::StatusCode;

/// Why a fetch gave nothing. The Worker is told the kind and nothing more: addresses, names and the source's own words
/// stay here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FetchError {
    /// The address, or what it resolves to, may not be reached.
    AddressRefused,
    /// The name has no address.
    Dns,
    /// Nobody accepted the connection.
    Connect,
    /// No trustworthy TLS.
    Tls,
    /// Too slow: to connect, to begin, to go on, or in all.
    Timeout,
    /// More bytes than allowed.
    TooLarge,
    /// Not HTTP as it should be, cut short, encoded, or a loop.
    Protocol,
}

impl FetchError {
    pub(crate) const ALL: [Self; 7] = [
        Self::AddressRefused,
        Self::Dns,
        Self::Connect,
        Self::Tls,
        Self::Timeout,
        Self::TooLarge,
        Self::Protocol,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::AddressRefused => "address-refused",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::TooLarge => "too-large",
            Self::Protocol => "protocol",
        }
    }

    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::BAD_GATEWAY,
        }
    }
}

impl std::fmt::Display for FetchError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for FetchError {}
