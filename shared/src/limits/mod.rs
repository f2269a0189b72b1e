//! Rate limits: rules, the two algorithms, and the headers that tell a client where it stands.

pub mod gcra;
pub mod headers;
pub mod key;
mod pattern;
pub mod policy;
pub mod protocol;
mod rule;
pub mod strict;

pub use pattern::PathPattern;
pub use policy::{NamedRule, Policy, Subject};
pub use rule::{Mode, OnFailure, Rule};

/// What a limiter decided about one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// Whether the request may pass.
    pub admitted: bool,
    /// How many more would be admitted now.
    pub remaining: u32,
    /// Milliseconds until one more will be admitted than now; 0 where nothing is used up.
    pub reset_ms: u64,
}
