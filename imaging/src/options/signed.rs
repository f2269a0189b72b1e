//! Signed addresses: their syntax. Verifying them takes a key and a clock, and so belongs to the gateway.

use super::value::{OptionValue, whole};
use core::fmt;

/// Unix seconds.
pub(super) struct Expiry(pub(super) u64);

impl fmt::Display for Expiry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl OptionValue for Expiry {
    const ALLOWED: &'static str = "Unix seconds";

    fn parse(text: &str) -> Option<Self> {
        // Year 9999, which is also the last that date formats can write.
        whole(text, 0, 253_402_300_799).map(Self)
    }
}

/// HMAC-SHA256 in lower-case hexadecimal.
pub(super) struct Signature(pub(super) String);

impl fmt::Display for Signature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl OptionValue for Signature {
    const ALLOWED: &'static str = "64 lower-case hexadecimal digits";

    fn parse(text: &str) -> Option<Self> {
        let valid = text.len() == 64
            && text
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        valid.then(|| Self(text.to_owned()))
    }
}

/// A signed address taken apart, before anything of it is parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedPath<'a> {
    /// Raw path and query without `,sig=..`: what the signature is over.
    pub message: String,
    /// The signature as given: not checked, not even for its length.
    pub signature: &'a str,
    /// The last `exp` before the signature, where it is a number. Not to be believed before the signature is verified.
    pub expires: Option<u64>,
}

impl<'a> SignedPath<'a> {
    /// Takes apart `<prefix><options>/<source>`, for example with the prefix `/img/`.
    ///
    /// `None` where the address does not begin with the prefix or its last option is no `sig`.
    #[must_use]
    pub fn split(raw_path_and_query: &'a str, prefix: &str) -> Option<Self> {
        let rest = raw_path_and_query.strip_prefix(prefix)?;
        let (segment, source) = rest.split_once('/')?;
        let (options, last) = segment.rsplit_once(',').unwrap_or(("", segment));
        let signature = last.strip_prefix("sig=")?;
        let expires = options
            .rsplit(',')
            .next()
            .and_then(|part| part.strip_prefix("exp="))
            .and_then(Expiry::parse);
        Some(Self {
            message: format!("{prefix}{options}/{source}"),
            signature,
            expires: expires.map(|expiry| expiry.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::SignedPath;

    #[test]
    fn the_message_is_the_raw_address_without_the_signature() {
        let split = SignedPath::split(
            "/img/w=400,exp=1700000000,sig=ab%2F/https://a.example/x,sig=1?y=%20",
            "/img/",
        )
        .unwrap();
        assert_eq!(
            split.message,
            "/img/w=400,exp=1700000000/https://a.example/x,sig=1?y=%20"
        );
        assert_eq!((split.signature, split.expires), ("ab%2F", Some(1_700_000_000)));
        let only = SignedPath::split("/img/sig=00/u/1", "/img/").unwrap();
        assert_eq!((only.message.as_str(), only.expires), ("/img//u/1", None));
    }

    #[test]
    fn a_signature_elsewhere_is_none() {
        for path in [
            "/img/sig=00,w=400/u/1",
            "/img/w=400/u/1",
            "/other/w=1,sig=0/u/1",
            "/img/w=1,sig=0",
            "/img/w=400/u/1,sig=00",
        ] {
            assert_eq!(SignedPath::split(path, "/img/"), None, "{path}");
        }
    }
}
