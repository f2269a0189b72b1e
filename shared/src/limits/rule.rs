use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How a rule counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The last `quota` admissions are kept: never more than `quota` in any window.
    Strict,
    /// GCRA: one time stamp, a burst of `quota`, then an even rate.
    Fast,
}

/// What happens while the limiter cannot be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// Requests pass, and are counted as unlimited.
    #[default]
    Open,
    /// Requests are refused with 503.
    Closed,
}

/// One rate limit: at most `quota` requests of one key in `window_seconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Requests, 1 to 100,000 (`strict`: to 10,000).
    pub quota: u32,
    /// Length of the window, 1 to 86,400 s.
    pub window_seconds: u32,
    /// How it counts.
    pub mode: Mode,
    /// What happens while the limiter is away.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// Counts and reports, but refuses nobody.
    #[serde(default)]
    pub shadow: bool,
}

impl Rule {
    /// Reads a rule and checks its ranges.
    ///
    /// # Errors
    /// What would be right.
    pub fn from_json(value: &Value) -> Result<Self, String> {
        let rule: Self = serde_json::from_value(value.clone()).map_err(|error| {
            format!("must be {{\"quota\", \"windowSeconds\", \"mode\": \"strict\" or \"fast\", \"onFailure\": \"open\" or \"closed\", \"shadow\"}}: {error}")
        })?;
        rule.check().map(|()| rule)
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// What would be right.
    pub fn check(&self) -> Result<(), String> {
        let most = match self.mode {
            Mode::Strict => 10_000,
            Mode::Fast => 100_000,
        };
        if !(1..=most).contains(&self.quota) {
            return Err(format!("quota must be 1 to {most}"));
        }
        if !(1..=86_400).contains(&self.window_seconds) {
            return Err("windowSeconds must be 1 to 86400".to_owned());
        }
        Ok(())
    }

    /// Length of the window in milliseconds.
    #[must_use]
    pub const fn window_ms(&self) -> u64 {
        self.window_seconds as u64 * 1000
    }
}
