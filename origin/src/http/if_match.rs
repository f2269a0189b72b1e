//! `If-Match`: a change of what one has read, and of nothing newer.

use axum::http::{HeaderMap, header};

/// Whether the condition holds (RFC 9110, section 13.1.1): absent or `*` matches anything there is.
pub(crate) fn holds(headers: &HeaderMap, etag: &str) -> bool {
    let mut given = headers.get_all(header::IF_MATCH).iter().peekable();
    if given.peek().is_none() {
        return true;
    }
    given
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|tag| matches!(tag.trim(), "*") || tag.trim() == etag)
}
