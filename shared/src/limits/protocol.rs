//! What the gateway and its limiter objects say to each other.

use serde::{Deserialize, Serialize};

use super::{Decision, Rule};

/// A request to count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Take {
    /// Whom to count: tenant, rule and client.
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
