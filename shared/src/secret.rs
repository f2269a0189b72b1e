//! A string that never prints itself.

use std::fmt;

/// Secret text; `Debug` and `Display` show that it is there and nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The secret itself, where it is used and nowhere else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Splits an ordered, comma-separated list: the first one signs or seals, all verify or open.
    #[must_use]
    pub fn list(&self) -> Vec<Self> {
        self.0
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(Self::new)
            .collect()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn it_never_prints() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "[secret] [secret]");
    }

    #[test]
    fn a_list_keeps_its_order() {
        let list = Secret::new(" new , old,").list();
        assert_eq!(list.iter().map(Secret::expose).collect::<Vec<_>>(), ["new", "old"]);
    }
}
