//! API keys: their form, their scopes, what each route asks of them, and how an edge asks the origin about one.
//!
//! `kado_<prefix>_<secret>`: the prefix is public and finds the key, the secret is 24 random bytes. Only a hash of the whole
//! is kept anywhere; no slow hash is needed for what nobody can guess.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use uuid::Uuid;

use crate::limits::Rule;

/// What every key begins with.
pub const START: &str = "kado_";
/// Digits of a prefix, lower-case hexadecimal.
pub const PREFIX_DIGITS: usize = 12;
/// Digits of a secret, lower-case hexadecimal.
pub const SECRET_DIGITS: usize = 48;
/// Where an edge asks about a key.
pub const PATH: &str = "/internal/credentials";
/// How long an edge remembers what it was told of a key, good or bad, in milliseconds.
pub const REMEMBERED_MS: u64 = 5_000;

/// What a key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// Listing and reading stored pictures.
    #[serde(rename = "images:read")]
    ImagesRead,
    /// Storing and deleting pictures.
    #[serde(rename = "images:write")]
    ImagesWrite,
    /// Processing pictures.
    #[serde(rename = "process")]
    Process,
    /// Reading what administrators see.
    #[serde(rename = "admin:read")]
    AdminRead,
    /// Changing what administrators change.
    #[serde(rename = "admin:write")]
    AdminWrite,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 5] = [
        Self::ImagesRead,
        Self::ImagesWrite,
        Self::Process,
        Self::AdminRead,
        Self::AdminWrite,
    ];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ImagesRead => "images:read",
            Self::ImagesWrite => "images:write",
            Self::Process => "process",
            Self::AdminRead => "admin:read",
            Self::AdminWrite => "admin:write",
        }
    }

    /// The scope of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a route asks of an API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// This scope.
    Scope(Scope),
    /// A person who has signed in: no key opens it.
    Session,
    /// Nothing: the route is open to all.
    Nothing,
}

/// What a route asks of an API key.
#[must_use]
pub fn requirement(method: &str, path: &str) -> Requirement {
    let under = |prefix: &str| {
        path.strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let by_method = |read, write| match method {
        "GET" | "HEAD" => Requirement::Scope(read),
        _ => Requirement::Scope(write),
    };
    // A key that makes keys would be worth all scopes.
    if under("/api/auth") || under("/api/admin/api-keys") {
        Requirement::Session
    } else if under("/api/admin") {
        by_method(Scope::AdminRead, Scope::AdminWrite)
    } else if under("/api/images") {
        by_method(Scope::ImagesRead, Scope::ImagesWrite)
    } else if under("/api/process") || under("/api/jobs") {
        Requirement::Scope(Scope::Process)
    } else {
        Requirement::Nothing
    }
}

/// Challenge to a credential that is right and not enough (RFC 6750, section 3.1).
#[must_use]
pub fn insufficient_scope(scope: Option<Scope>) -> String {
    let scope = scope.map(|scope| format!(", scope=\"{scope}\"")).unwrap_or_default();
    format!("Bearer realm=\"kado\", error=\"insufficient_scope\"{scope}")
}

/// What is kept and passed on of a key: enough to know it again, and nothing to use it with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fingerprint {
    /// Its prefix.
    pub prefix: String,
    /// SHA-256 of the whole key.
    pub sha256: [u8; 32],
}

impl Fingerprint {
    /// The fingerprint of a key; `None` for what cannot be one.
    #[must_use]
    pub fn of(key: &str) -> Option<Self> {
        let (prefix, secret) = key.strip_prefix(START)?.split_once('_')?;
        let digits = |text: &str, count| {
            text.len() == count && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        (digits(prefix, PREFIX_DIGITS) && digits(secret, SECRET_DIGITS)).then(|| Self {
            prefix: prefix.to_owned(),
            sha256: Sha256::digest(key.as_bytes()).into(),
        })
    }
}

/// What the origin tells an edge of a key that counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Known {
    /// The key.
    pub id: Uuid,
    /// The user it acts for.
    pub user: Uuid,
    /// What it may be used for.
    pub scopes: Vec<Scope>,
    /// Its own limit.
    #[serde(default)]
    pub limit: Option<Rule>,
    /// When it expires, Unix seconds.
    #[serde(default)]
    pub expires: Option<u64>,
}

/// The origin's answer to a [`Fingerprint`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// `None`: no such key, or one that does not count any more.
    pub key: Option<Known>,
}

#[cfg(test)]
mod tests {
    use super::{Fingerprint, Requirement, Scope, insufficient_scope, requirement};
    use proptest::prelude::{any, proptest};

    #[test]
    fn each_route_asks_for_its_scope() {
        for (method, path, wanted) in [
            ("GET", "/api/images", Requirement::Scope(Scope::ImagesRead)),
            ("HEAD", "/api/images/1", Requirement::Scope(Scope::ImagesRead)),
            ("POST", "/api/images", Requirement::Scope(Scope::ImagesWrite)),
            ("DELETE", "/api/images/1", Requirement::Scope(Scope::ImagesWrite)),
            ("POST", "/api/process", Requirement::Scope(Scope::Process)),
            ("GET", "/api/admin/settings", Requirement::Scope(Scope::AdminRead)),
            ("PATCH", "/api/admin/settings", Requirement::Scope(Scope::AdminWrite)),
            ("GET", "/api/admin/presets/card", Requirement::Scope(Scope::AdminRead)),
            ("DELETE", "/api/admin/content/1", Requirement::Scope(Scope::AdminWrite)),
            ("GET", "/api/admin/keys", Requirement::Scope(Scope::AdminRead)),
            ("POST", "/api/admin/tenants", Requirement::Scope(Scope::AdminWrite)),
            ("GET", "/api/admin/api-keys", Requirement::Session),
            ("DELETE", "/api/admin/api-keys/1", Requirement::Session),
            ("GET", "/api/auth/me", Requirement::Session),
            ("GET", "/api/content/home", Requirement::Nothing),
            ("GET", "/api/imagesque", Requirement::Nothing),
        ] {
            assert_eq!(requirement(method, path), wanted, "{method} {path}");
        }
    }

    #[test]
    fn only_what_has_the_form_of_a_key_is_looked_up() {
        let good = format!("kado_{}_{}", "0".repeat(12), "f".repeat(48));
        assert_eq!(Fingerprint::of(&good).unwrap().prefix, "0".repeat(12));
        for bad in [
            "",
            "kado_",
            "kado__",
            &good[1..],
            &good[..good.len() - 1],
            &good.replace('f', "F"),
            &format!("{good} "),
            &good.replacen('0', "_", 1),
        ] {
            assert_eq!(Fingerprint::of(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_and_scopes_are_the_same_everywhere() {
        for scope in Scope::ALL {
            assert_eq!(Scope::from_name(scope.as_str()), Some(scope));
            assert_eq!(serde_json::to_value(scope).unwrap(), scope.as_str());
        }
        assert_eq!(
            insufficient_scope(Some(Scope::Process)),
            r#"Bearer realm="kado", error="insufficient_scope", scope="process""#
        );
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in any::<String>()) {
            let _ = Fingerprint::of(&text);
        }
    }
}
