//! Quotas of users: what is counted by the hour, how much each may spend, and what an answer tells of it.
//!
//! The origin's database counts; nothing here does.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{claims::Role, headers, settings::Settings};

/// Where an edge spends and refunds.
pub const PATH: &str = "/internal/quota";
/// Largest quota that an administrator can grant, an hour.
pub const MOST: u32 = 1_000_000;
/// Most that is spent or refunded at once.
pub const MOST_AT_ONCE: u32 = 1_000;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Action {
    /// A picture that is stored or processed on somebody's behalf.
    ImageProcess,
    /// An authenticated request to the API.
    ApiCall,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 2] = [Self::ImageProcess, Self::ApiCall];

    /// Its name, in the database and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ImageProcess => "IMAGE_PROCESS",
            Self::ApiCall => "API_CALL",
        }
    }

    /// The action of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == name)
    }
}

/// What an administrator granted one user in place of the settings; `None` for what they say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Override {
    /// Pictures an hour.
    pub image_process: Option<u32>,
    /// API calls an hour.
    pub api_call: Option<u32>,
}

/// How much a user may spend in an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Pictures.
    pub image_process: u64,
    /// API calls.
    pub api_call: u64,
}

impl Allowance {
    /// What the settings give a role, or what was granted instead. An administrator has as much as a PREMIUM user.
    #[must_use]
    pub fn of(settings: &Settings, role: Role, granted: Override) -> Self {
        let factor = match role {
            Role::User => 1,
            Role::Premium | Role::Admin => settings.integer("quotaPremiumFactor"),
        };
        let of = |setting, granted: Option<u32>| {
            granted.map_or_else(|| settings.integer(setting).saturating_mul(factor), u64::from)
        };
        Self {
            image_process: of("quotaImageProcess", granted.image_process),
            api_call: of("quotaApiCall", granted.api_call),
        }
    }

    /// How much of one action.
    #[must_use]
    pub const fn for_action(self, action: Action) -> u64 {
        match action {
            Action::ImageProcess => self.image_process,
            Action::ApiCall => self.api_call,
        }
    }
}

/// What an authenticated request to a path costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Price {
    /// Nothing: who has no calls left can still sign in and out, and change the password.
    Nothing,
    /// A call, which is counted and never refused: who sets quotas must not be locked out by one.
    Counted,
    /// A call.
    Limited,
}

impl Price {
    /// The price of a path.
    #[must_use]
    pub fn of(path: &str) -> Self {
        let under = |prefix: &str| {
            path.strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if under("/api/auth") {
            Self::Nothing
        } else if under("/api/admin") {
            Self::Counted
        } else {
            Self::Limited
        }
    }
}

/// Where a user stands in an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// How much may be spent in the hour.
    pub limit: u64,
    /// How much is left of it.
    pub remaining: u64,
    /// When the hour ends, Unix seconds.
    pub reset: u64,
}

impl Standing {
    /// Where somebody stands who has spent this much.
    #[must_use]
    pub const fn of(limit: u64, spent: u64, reset: u64) -> Self {
        Self {
            limit,
            remaining: limit.saturating_sub(spent),
            reset,
        }
    }

    /// Name and value of each header that tells of it.
    #[must_use]
    pub const fn headers(self) -> [(&'static str, u64); 3] {
        [
            (headers::X_USER_RATELIMIT_LIMIT, self.limit),
            (headers::X_USER_RATELIMIT_REMAINING, self.remaining),
            (headers::X_USER_RATELIMIT_RESET, self.reset),
        ]
    }

    /// Seconds until the hour ends, at least one.
    #[must_use]
    pub fn wait(self, now: u64) -> u64 {
        self.reset.saturating_sub(now).max(1)
    }
}

/// Whether an edge spends, or takes back what it spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Direction {
    /// Work begins.
    Spend,
    /// It failed.
    Refund,
}

/// What an edge asks. Repeated under the same `id`, it counts once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Order {
    /// Identifier of the spending; its refund has the same.
    pub id: Uuid,
    /// Spend or refund.
    pub direction: Direction,
    /// Whose quota.
    pub user: Uuid,
    /// What is done.
    pub action: Action,
    /// How often: 1 to [`MOST_AT_ONCE`].
    pub count: u32,
}

/// What the origin answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Whether the work may be done; of a refund, whether anything was given back now.
    pub admitted: bool,
    /// Where the user stands in the hour of the spending.
    pub standing: Standing,
}

#[cfg(test)]
mod tests {
    use super::{Action, Allowance, Override, Price, Standing};
    use crate::{claims::Role, settings::Settings};

    #[test]
    fn the_settings_the_role_and_what_was_granted_make_an_allowance() {
        let settings = Settings::default();
        let of = |role, granted| {
            let allowance = Allowance::of(&settings, role, granted);
            Action::ALL.map(|action| allowance.for_action(action))
        };
        assert_eq!(of(Role::User, Override::default()), [100, 1000]);
        assert_eq!(of(Role::Premium, Override::default()), [1000, 10_000]);
        assert_eq!(of(Role::Admin, Override::default()), [1000, 10_000]);
        let granted = Override {
            image_process: Some(5),
            api_call: None,
        };
        assert_eq!(of(Role::Premium, granted), [5, 10_000], "not times ten");
    }

    #[test]
    fn signing_in_and_out_is_free_and_administration_is_never_refused() {
        for (path, price) in [
            ("/api/auth/password", Price::Nothing),
            ("/api/authors", Price::Limited),
            ("/api/admin/users", Price::Counted),
            ("/api/images", Price::Limited),
        ] {
            assert_eq!(Price::of(path), price, "{path}");
        }
    }

    #[test]
    fn a_standing_never_says_less_than_nothing() {
        let standing = Standing::of(3, 5, 7200);
        assert_eq!(
            (standing.remaining, standing.wait(7190), standing.wait(8000)),
            (0, 10, 1)
        );
        assert_eq!(standing.headers()[2], ("x-user-ratelimit-reset", 7200));
    }

    #[test]
    fn actions_have_one_name() {
        for action in Action::ALL {
            assert_eq!(serde_json::to_value(action).unwrap(), action.as_str());
            assert_eq!(Action::from_name(action.as_str()), Some(action));
        }
    }
}
