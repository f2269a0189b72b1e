//! Entity tags of what is answered, and the conditions that name them (RFC 9110, section 13).

use axum::http::{HeaderMap, header};
use kado_shared::conditional::none_match_names;
use sha2::{Digest, Sha256};

use crate::hex;

/// Strong entity tag of a document: 128 bits of its SHA-256.
pub(crate) fn entity_tag(document: &[u8]) -> String {
    format!("\"{}\"", hex::encode(&Sha256::digest(document)[..16]))
}

/// `If-Match` (section 13.1.1): absent or `*` matches anything there is.
pub(crate) fn if_match(headers: &HeaderMap, etag: &str) -> bool {
    let mut given = headers.get_all(header::IF_MATCH).iter().peekable();
    if given.peek().is_none() {
        return true;
    }
    given
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|tag| matches!(tag.trim(), "*") || tag.trim() == etag)
}

/// `If-None-Match` (section 13.1.2): whether the client has these very bytes.
pub(crate) fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|given| none_match_names(given, etag))
}

#[cfg(test)]
mod tests {
    use super::{entity_tag, if_match, is_known};
    use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

    fn headers(name: &HeaderName, values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn conditions_name_a_tag_in_a_list_or_anything() {
        for (values, matches) in [
            (&[][..], true),
            (&["*"][..], true),
            (&["\"a\", \"b\""][..], true),
            (&["\"a\"", "\"b\""][..], true),
            (&["\"a\""][..], false),
            (&["W/\"b\""][..], false),
        ] {
            assert_eq!(
                if_match(&headers(&header::IF_MATCH, values), "\"b\""),
                matches,
                "{values:?}"
            );
        }
        for (values, known) in [
            (&[][..], false),
            (&["*"][..], true),
            (&["W/\"b\""][..], true),
            (&["\"a\"", "\"b\""][..], true),
            (&["\"a\""][..], false),
        ] {
            assert_eq!(
                is_known(&headers(&header::IF_NONE_MATCH, values), "\"b\""),
                known,
                "{values:?}"
            );
        }
    }

    #[test]
    fn a_tag_is_of_the_bytes() {
        assert_eq!(entity_tag(b"a").len(), 34);
        assert_ne!(entity_tag(b"a"), entity_tag(b"b"));
    }
}
