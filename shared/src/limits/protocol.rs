//! What the gateway and its limiter objects say to each other.

use serde::{Deserialize, Serialize};

use super::{Decision, Rule};

/// Longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 256;

/// A request to count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Take {
    /// Whom to count: rule and client, and in a gateway's own objects the tenant before them.
    pub key: String,
    /// The rule in force.
    pub rule: Rule,
    /// How many to admit at once; 1 for strict rules.
    pub wanted: u32,
}

/// What the object decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Taken {
    /// How many of those wanted were admitted.
    pub granted: u32,
    /// Where the key stands now.
    pub decision: Decision,
}
