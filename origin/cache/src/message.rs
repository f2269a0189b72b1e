//! The response that a `PUT` carries: an HTTP/1.1 message as text, with the body behind it.
//!
//! workerd writes a `Content-Length` where it knows the length. Where it does not it writes
//! `Transfer-Encoding: chunked`, though the body that follows is not chunked: only the request around it is.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

/// Most header fields in a stored response.
const MAX_FIELDS: usize = 128;
/// Largest head, in bytes.
pub(crate) const MAX_HEAD_BYTES: usize = 64 * 1024;

/// A response as it is stored: without the fields that concern only one connection, and with its true length.
#[derive(Debug, PartialEq)]
pub(crate) struct Message {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Why a message is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MessageError {
    #[error("the stored response has no complete head")]
    Incomplete,
    #[error("the stored response's head has more than {MAX_HEAD_BYTES} bytes or {MAX_FIELDS} fields")]
    TooLong,
    #[error("the stored response is not an HTTP/1 message")]
    Syntax,
    #[error("the body's length differs from its Content-Length")]
    Length,
}

/// Fields that belong to a connection (RFC 9110, section 7.6.1), and the one this service itself writes.
const NOT_STORED: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    crate::entry::CF_CACHE_STATUS,
];

/// Reads the message. The body is a slice of `text`, not a copy.
pub(crate) fn parse(text: &Bytes) -> Result<Message, MessageError> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let head_limit = text.len().min(MAX_HEAD_BYTES);
    let head = match response.parse(text.get(..head_limit).unwrap_or_default()) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) if text.len() > MAX_HEAD_BYTES => return Err(MessageError::TooLong),
        Ok(httparse::Status::Partial) => return Err(MessageError::Incomplete),
        Err(httparse::Error::TooManyHeaders) => return Err(MessageError::TooLong),
        Err(_) => return Err(MessageError::Syntax),
    };
    let status = response
        .code
        .and_then(|c| StatusCode::from_u16(c).ok())
        .ok_or(MessageError::Syntax)?;
    let mut headers = HeaderMap::with_capacity(response.headers.len() + 3);
    let mut announced = None;
    for field in response.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| MessageError::Syntax)?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| MessageError::Syntax)?;
        if name == header::CONTENT_LENGTH {
            let length = content_length(&value).ok_or(MessageError::Syntax)?;
            if announced.is_some_and(|known| known != length) {
                return Err(MessageError::Length);
            }
            announced = Some(length);
        } else {
            headers.append(name, value);
        }
    }
    drop_connection_fields(&mut headers);
    let body = text.slice(head..);
    if announced.is_some_and(|length| length != body.len()) {
        return Err(MessageError::Length);
    }
    Ok(Message { status, headers, body })
}

fn content_length(value: &HeaderValue) -> Option<usize> {
    let text = value.to_str().ok()?.trim();
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn drop_connection_fields(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in NOT_STORED.iter().chain(&named) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse_text(text: &[u8]) -> Result<Message, MessageError> {
        parse(&Bytes::copy_from_slice(text))
    }

    #[test]
    fn a_message_is_split_into_status_fields_and_exact_bytes() {
        let text = b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\nContent-Encoding: gzip\r\nX-A: 1\r\nX-A: 2\r\n\r\n\r\n\0\xff";
        let message = parse_text(text).unwrap();
        assert_eq!(message.status, 404);
        assert_eq!(message.body, &b"\r\n\0\xff"[..]);
        assert_eq!(message.headers.get_all("x-a").iter().count(), 2);
        assert_eq!(message.headers["content-encoding"], "gzip");
    }

    #[test]
    fn workerds_chunked_field_means_length_unknown_not_a_coding() {
        let message = parse_text(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\naaaa").unwrap();
        assert_eq!(message.body, &b"4\r\naaaa"[..]);
        assert!(message.headers.is_empty());
    }

    #[test]
    fn connection_fields_are_dropped_those_named_by_connection_too() {
        let text = b"HTTP/1.1 200 OK\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nX-Kept: 1\r\nCF-Cache-Status: HIT\r\n\r\n";
        let message = parse_text(text).unwrap();
        assert_eq!(message.headers.len(), 1);
        assert!(message.headers.contains_key("x-kept"));
    }

    #[test]
    fn a_body_of_another_length_is_refused() {
        assert_eq!(
            parse_text(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc"),
            Err(MessageError::Length)
        );
        assert_eq!(
            parse_text(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc"),
            Err(MessageError::Length)
        );
        assert_eq!(
            parse_text(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc"),
            Err(MessageError::Length)
        );
        assert_eq!(
            parse_text(b"HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc"),
            Err(MessageError::Syntax)
        );
    }

    #[test]
    fn what_is_no_message_is_refused() {
        assert_eq!(parse_text(b""), Err(MessageError::Incomplete));
        assert_eq!(
            parse_text(b"HTTP/1.1 200 OK\r\nA: b\r\n"),
            Err(MessageError::Incomplete)
        );
        assert_eq!(parse_text(b"GET / HTTP/1.1\r\n\r\n"), Err(MessageError::Syntax));
        assert_eq!(parse_text(b"HTTP/1.1 99 No\r\n\r\n"), Err(MessageError::Syntax));
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(MAX_FIELDS + 1));
        assert_eq!(parse_text(many.as_bytes()), Err(MessageError::TooLong));
        let long = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "b".repeat(MAX_HEAD_BYTES));
        assert_eq!(parse_text(long.as_bytes()), Err(MessageError::TooLong));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_text(&text);
        }

        #[test]
        fn what_was_written_is_read_back(
            status in 200_u16..600,
            fields in proptest::collection::vec(("x-[a-z]{1,8}", "[!-~]{1,20}"), 0..8),
            body in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut text = format!("HTTP/1.1 {status} Reason\r\nContent-Length: {}\r\n", body.len());
            for (name, value) in &fields {
                text.push_str(&format!("{name}: {value}\r\n"));
            }
            let mut text = text.into_bytes();
            text.extend_from_slice(b"\r\n");
            text.extend_from_slice(&body);
            let message = parse_text(&text).unwrap();
            prop_assert_eq!(message.status.as_u16(), status);
            prop_assert_eq!(&message.body[..], &body[..]);
            prop_assert_eq!(message.headers.len(), fields.len());
            // Every shorter text is an error, never a shorter body.
            for cut in 0..text.len() {
                prop_assert!(parse_text(&text[..cut]).is_err());
            }
        }
    }
}
