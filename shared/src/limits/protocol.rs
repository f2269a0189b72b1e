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

/// A request to count that an isolate makes of its own gateway's object, which holds for it what it does not use at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Lease {
    /// The request.
    pub take: Take,
    /// How many of those held for it the isolate has used, or will not use any more.
    pub returned: u32,
    /// Since when they were held, as the object said.
    pub held_since_ms: u64,
    /// How long what is granted beyond the first is to be held, in milliseconds; 0 for not at all.
    pub hold_ms: u32,
}

/// What the object decided, and how many of those granted it holds for the isolate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Leased {
    /// The decision.
    pub taken: Taken,
    /// At most all but the first of those granted.
    pub held: u32,
    /// Since when anything is held, Unix milliseconds: what was held before is void.
    pub held_since_ms: u64,
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
