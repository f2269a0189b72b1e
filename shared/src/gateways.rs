//! What `kado edge` and the origin say to each other about which gateways a site has.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::edge_config::LimitStore;

/// Address at the origin's internal listener.
pub const PATH: &str = "/internal/gateways";
/// How long a gateway that is not heard of counts as there, in seconds.
pub const LEASE_SECONDS: u32 = 20;
/// How often a gateway says that it is there, in seconds.
pub const RENEW_SECONDS: u32 = 5;

/// A gateway's word that it is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Presence {
    /// Which one it is; kept over its restarts.
    pub id: Uuid,
    /// Its name, for people: 1 to 300 characters.
    pub name: String,
    /// Whether this is its last word.
    #[serde(default)]
    pub leaving: bool,
}

/// The answer to a gateway that may serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Membership {
    /// Where it counts limits.
    pub limits: LimitStore,
}
