//! Path patterns of limit rules.

use std::borrow::Cow;

/// Longest pattern, in bytes.
const MAX_BYTES: usize = 200;
/// Most stars in one segment: each may be tried at every place of the text.
const MAX_STARS: usize = 3;

/// A pattern of paths: `*` stands for any characters within a segment, a last segment `**` for whatever follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    segments: Vec<String>,
    /// Whether anything may follow.
    open: bool,
}

impl PathPattern {
    /// Reads a pattern, such as `/api/images/**`.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| {
            Err(format!(
                "the path pattern {:?} {what}",
                text.chars().take(MAX_BYTES).collect::<String>()
            ))
        };
        if text.len() > MAX_BYTES {
            return wrong(&format!("is longer than {MAX_BYTES} bytes"));
        }
        let Some(rest) = text.strip_prefix('/') else {
            return wrong("must begin with /");
        };
        if !rest.bytes().all(|byte| byte.is_ascii_graphic()) || rest.contains(['?', '#']) {
            return wrong("must be a path as it is sent: visible ASCII, without ? and #");
        }
        let mut segments: Vec<String> = rest.split('/').map(|segment| plain(segment).into_owned()).collect();
        let open = segments.pop_if(|last| last == "**").is_some();
        if segments.iter().any(|segment| segment.contains("**")) {
            return wrong("may have ** only as its whole last segment");
        }
        if segments.iter().any(|segment| segment.matches('*').count() > MAX_STARS) {
            return wrong(&format!("may have at most {MAX_STARS} stars in a segment"));
        }
        Ok(Self { segments, open })
    }

    /// Whether a path, as it was sent, is one of these.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let mut sent = path.strip_prefix('/').unwrap_or(path).split('/');
        for pattern in &self.segments {
            match sent.next() {
                Some(segment) if segment_matches(pattern, &plain(segment)) => {}
                _ => return false,
            }
        }
        // `/api/images/**` is also `/api/images`: who limits what is below a collection means the collection too.
        self.open || sent.next().is_none()
    }
}

/// Without percent-encoding that means nothing (RFC 3986, section 6.2.2.2): an encoded letter is that letter, so nobody
/// leaves a pattern by writing an address differently.
fn plain(segment: &str) -> Cow<'_, str> {
    if !segment.contains('%') {
        return Cow::Borrowed(segment);
    }
    let mut plain = String::with_capacity(segment.len());
    let mut rest = segment;
    while let Some((before, after)) = rest.split_once('%') {
        plain.push_str(before);
        let byte = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte {
            Some(byte) if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') => {
                plain.push(char::from(byte));
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                plain.push('%');
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

fn segment_matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    // The leftmost place for each part leaves the most to those behind it.
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::PathPattern;
    use proptest::prelude::{any, prop_assert, proptest};

    #[test]
    fn patterns_match_by_segment() {
        for (pattern, path, matches) in [
            ("/api/images", "/api/images", true),
            ("/api/images", "/api/images/", false),
            ("/api/images", "/api/images/1", false),
            ("/api/images/*", "/api/images/1", true),
            ("/api/images/*", "/api/images/", true),
            ("/api/images/*", "/api/images", false),
            ("/api/images/**", "/api/images", true),
            ("/api/images/**", "/api/images/1/2", true),
            ("/api/images/**", "/api/imagesque", false),
            ("/**", "/anything/at/all", true),
            ("/img/*w=1*/**", "/img/f=auto,w=100/u/1", true),
            ("/img/*w=1*/**", "/img/f=auto,h=100/u/1", false),
            ("/a*b*c", "/abbc", true),
            ("/a*b*c", "/acb", false),
            ("/a*a", "/a", false),
            ("/api/*/x", "/api/%2F/x", true),
            ("/api/images", "/api/%69mages", true),
            ("/api/%69mages", "/api/images", true),
            ("/API/images", "/api/images", false),
        ] {
            assert_eq!(
                PathPattern::parse(pattern).unwrap().matches(path),
                matches,
                "{pattern} {path}"
            );
        }
    }

    #[test]
    fn a_wrong_pattern_says_what_would_be_right() {
        for (pattern, hint) in [
            ("api", "begin with /"),
            ("", "begin with /"),
            ("/a b", "visible ASCII"),
            ("/a?b", "without ?"),
            ("/**/a", "last segment"),
            ("/a**", "last segment"),
            ("/a*b*c*d*", "3 stars"),
            (&format!("/{}", "a".repeat(200)), "200 bytes"),
        ] {
            let error = PathPattern::parse(pattern).unwrap_err();
            assert!(error.contains(hint), "{pattern}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_pattern_and_path_are_survived(pattern in any::<String>(), path in any::<String>()) {
            if let Ok(pattern) = PathPattern::parse(&pattern) {
                let _ = pattern.matches(&path);
            }
        }

        #[test]
        fn a_path_without_stars_matches_itself(path in "/[a-z0-9/._-]{0,40}") {
            prop_assert!(PathPattern::parse(&path).unwrap().matches(&path));
        }
    }
}
