//! Announced maintenance: a window in which the site answers 503 to everybody but some roles, told beforehand.

use chrono::DateTime;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::claims::Role;

/// Longest window, in milliseconds: 7 days.
const LONGEST_MS: u64 = 7 * 24 * 3600 * 1000;
/// Longest message, in bytes.
const LONGEST_MESSAGE: usize = 500;
/// Longest `Retry-After`, in seconds: whoever waits a day may as well look again.
const LONGEST_WAIT: u64 = 24 * 3600;

/// Maintenance as it is set. Times are RFC 3339.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Maintenance {
    /// From when on answers carry `Kado-Maintenance`; never before the window where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announce_from: Option<String>,
    /// When it begins.
    pub starts_at: String,
    /// When it ends.
    pub ends_at: String,
    /// What clients are told, up to 500 bytes.
    #[serde(default)]
    pub message: String,
    /// Roles that are let through, beside ADMIN, who can always end it: `USER`, `PREMIUM`.
    #[serde(default)]
    pub roles: Vec<Role>,
}

/// What a window means at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing: too early to tell, or over.
    Quiet,
    /// It is announced.
    Announced,
    /// It is under way, for so many seconds more.
    Active {
        /// Value of `Retry-After`.
        retry_after: u64,
    },
}

impl Maintenance {
    /// Reads and checks it.
    ///
    /// # Errors
    /// What would be right.
    pub fn from_json(value: &Value) -> Result<Self, String> {
        let read: Self = Self::deserialize(value).map_err(|error| {
            format!("must be {{\"startsAt\", \"endsAt\", \"announceFrom\", \"message\", \"roles\"}}: {error}")
        })?;
        let moment = |field: &str, text: &str| {
            milliseconds(text).ok_or_else(|| format!("{field} must be a time such as 2027-01-15T08:00:00Z"))
        };
        let (starts, ends) = (moment("startsAt", &read.starts_at)?, moment("endsAt", &read.ends_at)?);
        if ends <= starts || ends - starts > LONGEST_MS {
            return Err("endsAt must lie after startsAt, at most 7 days".to_owned());
        }
        if let Some(text) = &read.announce_from
            && moment("announceFrom", text)? > starts
        {
            return Err("announceFrom must not lie after startsAt".to_owned());
        }
        if read.message.len() > LONGEST_MESSAGE || read.message.chars().any(char::is_control) {
            return Err(format!(
                "message must be at most {LONGEST_MESSAGE} bytes without control characters"
            ));
        }
        Ok(read)
    }

    /// What it means at a moment, Unix milliseconds.
    #[must_use]
    pub fn state(&self, now_ms: u64) -> State {
        let (Some(starts), Some(ends)) = (milliseconds(&self.starts_at), milliseconds(&self.ends_at)) else {
            return State::Quiet;
        };
        let announced = self.announce_from.as_deref().and_then(milliseconds).unwrap_or(starts);
        if now_ms >= ends || now_ms < announced {
            State::Quiet
        } else if now_ms < starts {
            State::Announced
        } else {
            let left = (ends - now_ms).div_ceil(1000);
            State::Active {
                retry_after: left.clamp(1, LONGEST_WAIT),
            }
        }
    }

    /// Whether somebody of this role goes on working.
    #[must_use]
    pub fn lets_through(&self, role: Role) -> bool {
        role == Role::Admin || self.roles.contains(&role)
    }

    /// Value of `Kado-Maintenance`.
    #[must_use]
    pub fn announcement(&self) -> String {
        format!("startsAt={}, endsAt={}", self.starts_at, self.ends_at)
    }
}

/// Unix milliseconds of an RFC 3339 time.
fn milliseconds(text: &str) -> Option<u64> {
    let moment = DateTime::parse_from_rfc3339(text).ok()?;
    u64::try_from(moment.timestamp_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::{Maintenance, State, milliseconds};
    use crate::claims::Role;
    use proptest::prelude::{any, proptest};
    use serde_json::{Value, json};

    fn window() -> Value {
        json!({
            "announceFrom": "2027-01-15T07:00:00Z", "startsAt": "2027-01-15T08:00:00Z",
            "endsAt": "2027-01-15T09:00:00Z", "message": "New disks.", "roles": ["PREMIUM"],
        })
    }

    #[test]
    fn it_is_announced_then_active_then_over() {
        let maintenance = Maintenance::from_json(&window()).unwrap();
        for (time, state) in [
            ("06:59:59Z", State::Quiet),
            ("07:00:00Z", State::Announced),
            ("07:59:59Z", State::Announced),
            ("08:00:00Z", State::Active { retry_after: 3600 }),
            ("08:59:59Z", State::Active { retry_after: 1 }),
            ("09:00:00Z", State::Quiet),
        ] {
            let now = milliseconds(&format!("2027-01-15T{time}")).unwrap();
            assert_eq!(maintenance.state(now), state, "{time}");
        }
        assert_eq!(
            maintenance.announcement(),
            "startsAt=2027-01-15T08:00:00Z, endsAt=2027-01-15T09:00:00Z"
        );
    }

    #[test]
    fn an_administrator_is_always_let_through() {
        let maintenance = Maintenance::from_json(&window()).unwrap();
        assert_eq!(
            [Role::Admin, Role::Premium, Role::User].map(|role| maintenance.lets_through(role)),
            [true, true, false]
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (field, wrong, hint) in [
            ("startsAt", json!("tomorrow"), "startsAt must be a time"),
            ("endsAt", json!("2027-01-15T08:00:00Z"), "endsAt must lie after"),
            ("endsAt", json!("2027-02-15T08:00:00Z"), "7 days"),
            ("announceFrom", json!("2027-01-15T08:00:01Z"), "announceFrom"),
            ("message", json!("a\nb"), "message"),
            ("roles", json!(["KING"]), "KING"),
            ("until", json!(1), "until"),
        ] {
            let mut value = window();
            value[field] = wrong;
            let detail = Maintenance::from_json(&value).unwrap_err();
            assert!(detail.contains(hint), "{field}: {detail}");
        }
        assert!(Maintenance::from_json(&json!({})).unwrap_err().contains("startsAt"));
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in any::<String>(), now in any::<u64>()) {
            let mut value = window();
            value["startsAt"] = json!(text);
            if let Ok(maintenance) = Maintenance::from_json(&value) {
                let _ = maintenance.state(now);
            }
        }
    }
}
