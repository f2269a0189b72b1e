//! Small files that sites are expected to have: `robots.txt` (RFC 9309) and `security.txt` (RFC 9116).

use chrono::{DateTime, Datelike, TimeDelta};

/// How long a `security.txt` is to be believed; the standard asks for less than a year.
const VALID_DAYS: i64 = 180;

/// What crawlers may fetch: pictures, or nothing.
#[must_use]
pub const fn robots(images: bool) -> &'static str {
    if images {
        "User-agent: *\nAllow: /img/\nDisallow: /\n"
    } else {
        "User-agent: *\nDisallow: /\n"
    }
}

/// Where vulnerabilities are reported. `contact` is an address of mail, or a `https:`, `mailto:` or `tel:` address; `None`
/// where it is neither, and for what is no date.
#[must_use]
pub fn security(contact: &str, host: &str, now_ms: u64) -> Option<String> {
    let contact = contact.trim();
    let has_scheme = ["https://", "mailto:", "tel:"]
        .iter()
        .any(|scheme| contact.starts_with(scheme));
    if contact.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return None;
    }
    let contact = match (has_scheme, contact.contains('@')) {
        (true, _) => contact.to_owned(),
        (false, true) => format!("mailto:{contact}"),
        (false, false) => return None,
    };
    let now = DateTime::from_timestamp_millis(i64::try_from(now_ms).ok()?)?;
    let expires = now.checked_add_signed(TimeDelta::try_days(VALID_DAYS)?)?.date_naive();
    Some(format!(
        "Contact: {contact}\nExpires: {:04}-{:02}-{:02}T00:00:00Z\nCanonical: https://{host}/.well-known/security.txt\n",
        expires.year(),
        expires.month(),
        expires.day(),
    ))
}

#[cfg(test)]
mod tests {
    use super::{robots, security};
    use proptest::prelude::{any, prop_assert_eq, proptest};

    #[test]
    fn a_contact_becomes_a_file_that_expires_within_the_year() {
        let file = security("security@example.com", "images.example.com", 1_800_000_000_000).unwrap();
        assert_eq!(
            file,
            "Contact: mailto:security@example.com\nExpires: 2027-07-14T00:00:00Z\n\
             Canonical: https://images.example.com/.well-known/security.txt\n"
        );
        assert!(
            security("https://example.com/report", "h", 0)
                .unwrap()
                .starts_with("Contact: https://example.com/report\n")
        );
    }

    #[test]
    fn what_is_no_contact_is_no_file() {
        for contact in ["", " ", "nobody", "http://plain", "a@b\nExpires: x", "a b@c"] {
            assert_eq!(security(contact, "h", 0), None, "{contact:?}");
        }
    }

    #[test]
    fn crawlers_find_pictures_or_nothing() {
        assert!(robots(true).contains("Allow: /img/") && !robots(false).contains("Allow"));
    }

    proptest! {
        #[test]
        fn no_contact_adds_a_line(contact in any::<String>(), now in any::<u64>()) {
            if let Some(file) = security(&contact, "h", now) {
                prop_assert_eq!(file.lines().count(), 3);
            }
        }
    }
}
