//! The address a user signs in with.

/// A plausible address in its one spelling: trimmed and lower-case. Whether mail arrives there, only mail can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Email(String);

/// The text cannot be an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an e-mail address of 3 to 254 characters, such as name@example.com")]
pub(crate) struct NotAnEmail;

impl Email {
    /// The normal form of an address.
    pub(crate) fn parse(text: &str) -> Result<Self, NotAnEmail> {
        let email = text.trim().to_lowercase();
        let (local, domain) = email.rsplit_once('@').ok_or(NotAnEmail)?;
        let plausible = !local.is_empty()
            && !domain.is_empty()
            && email.chars().count() <= 254
            && !email.chars().any(|c| c.is_whitespace() || c.is_control());
        if plausible { Ok(Self(email)) } else { Err(NotAnEmail) }
    }

    /// The address.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::Email;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    #[test]
    fn one_address_has_one_spelling() {
        assert_eq!(Email::parse(" Admin@LocalHost ").unwrap().as_str(), "admin@localhost");
    }

    #[test]
    fn what_cannot_be_an_address_is_refused() {
        for bad in [
            "",
            "@",
            "a@",
            "@b",
            "no at",
            "a b@c",
            "a@b\0c",
            &format!("{}@b", "a".repeat(300)),
        ] {
            assert!(Email::parse(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn the_normal_form_is_stable(text in any::<String>()) {
            if let Ok(email) = Email::parse(&text) {
                prop_assert_eq!(Email::parse(email.as_str()), Ok(email));
            }
        }
    }
}
