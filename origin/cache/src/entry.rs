//! What lies under a key, in memory and on disk.

use std::io::{Read, Write};

use bytes::Bytes;
use foyer::{Code, Error, ErrorKind, Result};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::freshness::Lifetime;
use crate::message::{MAX_HEAD_BYTES, Message};

/// Names the outcome of a match to workerd.
pub(crate) const CF_CACHE_STATUS: HeaderName = HeaderName::from_static("cf-cache-status");

/// Marks the stored form; raised when it changes, so that older entries read as absent.
const MAGIC: [u8; 4] = *b"KC01";

/// An entry of the cache.
#[derive(Debug)]
pub(crate) enum Entry {
    /// A stored response.
    Response(Stored),
    /// A deleted one. It is written like any entry, so that after a crash the latest write under the key, this one,
    /// hides whatever older one still lies on disk.
    Deleted,
}

/// A response, ready to be sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stored {
    pub(crate) status: StatusCode,
    /// As sent on a hit, `Content-Length` and `CF-Cache-Status: HIT` included; only `Age` is added.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Unix milliseconds.
    pub(crate) stored_ms: u64,
    /// Unix milliseconds.
    pub(crate) expires_ms: u64,
    /// Seconds of age that it came with.
    pub(crate) initial_age: u64,
}

impl Stored {
    pub(crate) fn new(message: Message, lifetime: &Lifetime, now_ms: u64) -> Self {
        let Message {
            status,
            mut headers,
            body,
        } = message;
        for name in lifetime.withheld.iter().chain([&header::AGE]) {
            headers.remove(name);
        }
        let mut stored = Self {
            status,
            headers,
            body,
            stored_ms: now_ms,
            expires_ms: now_ms.saturating_add(lifetime.remaining.saturating_mul(1000)),
            initial_age: lifetime.initial_age,
        };
        stored.complete_headers();
        stored
    }

    fn complete_headers(&mut self) {
        self.headers.insert(CF_CACHE_STATUS, HeaderValue::from_static("HIT"));
        if self.status != StatusCode::NO_CONTENT {
            self.headers
                .insert(header::CONTENT_LENGTH, HeaderValue::from(self.body.len()));
        }
    }

    pub(crate) fn is_fresh(&self, now_ms: u64) -> bool {
        // A clock set back must not make an entry immortal: it is as good as absent until the clock caught up.
        self.stored_ms <= now_ms && now_ms < self.expires_ms
    }

    /// Seconds, as the `Age` field says it.
    pub(crate) fn age(&self, now_ms: u64) -> u64 {
        self.initial_age
            .saturating_add(now_ms.saturating_sub(self.stored_ms) / 1000)
    }

    fn fields(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.headers
            .iter()
            .filter(|(name, _)| **name != CF_CACHE_STATUS && **name != header::CONTENT_LENGTH)
    }

    fn head_bytes(&self) -> usize {
        self.fields()
            .map(|(name, value)| name.as_str().len() + value.len() + 3)
            .sum()
    }
}

impl Entry {
    /// What the memory tier counts for it, in bytes.
    pub(crate) fn weight(&self) -> usize {
        /// Map, handles and list nodes around an entry.
        const BOOKKEEPING: usize = 512;
        match self {
            Self::Response(stored) => BOOKKEEPING + 2 * stored.head_bytes() + stored.body.len(),
            Self::Deleted => BOOKKEEPING,
        }
    }
}

/// `MAGIC`, kind, then for a response: status u16, stored u64, expires u64, age u64, head length u32, body length
/// u64 (all little-endian), head as `name`, `:`, `value`, CR, LF per field, body. foyer adds a checksum over it all.
impl Code for Entry {
    fn encode(&self, writer: &mut impl Write) -> Result<()> {
        let mut put = |bytes: &[u8]| writer.write_all(bytes).map_err(Error::io_error);
        put(&MAGIC)?;
        let Self::Response(stored) = self else { return put(&[0]) };
        put(&[1])?;
        put(&stored.status.as_u16().to_le_bytes())?;
        put(&stored.stored_ms.to_le_bytes())?;
        put(&stored.expires_ms.to_le_bytes())?;
        put(&stored.initial_age.to_le_bytes())?;
        let head = u32::try_from(stored.head_bytes()).map_err(|_| bad("head too long"))?;
        put(&head.to_le_bytes())?;
        put(&(stored.body.len() as u64).to_le_bytes())?;
        for (name, value) in stored.fields() {
            put(name.as_str().as_bytes())?;
            put(b":")?;
            put(value.as_bytes())?;
            put(b"\r\n")?;
        }
        put(&stored.body)
    }

    fn decode(reader: &mut impl Read) -> Result<Self> {
        if array::<4>(reader)? != MAGIC {
            return Err(bad("another version"));
        }
        match array::<1>(reader)? {
            [0] => return Ok(Self::Deleted),
            [1] => {}
            _ => return Err(bad("unknown kind")),
        }
        let status = StatusCode::from_u16(u16::from_le_bytes(array(reader)?)).map_err(|_| bad("status"))?;
        let stored_ms = u64::from_le_bytes(array(reader)?);
        let expires_ms = u64::from_le_bytes(array(reader)?);
        let initial_age = u64::from_le_bytes(array(reader)?);
        let head_len = u64::from(u32::from_le_bytes(array(reader)?));
        let body_len = u64::from_le_bytes(array(reader)?);
        if head_len > 2 * MAX_HEAD_BYTES as u64 {
            return Err(bad("head too long"));
        }
        let headers = decode_fields(&exact(reader, head_len)?)?;
        let body = Bytes::from(exact(reader, body_len)?);
        let mut stored = Stored {
            status,
            headers,
            body,
            stored_ms,
            expires_ms,
            initial_age,
        };
        stored.complete_headers();
        Ok(Self::Response(stored))
    }

    fn estimated_size(&self) -> usize {
        let head = MAGIC.len() + 1;
        match self {
            Self::Response(stored) => head + 38 + stored.head_bytes() + stored.body.len(),
            Self::Deleted => head,
        }
    }
}

fn decode_fields(head: &[u8]) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    let mut rest = head;
    while !rest.is_empty() {
        let colon = rest
            .iter()
            .position(|b| *b == b':')
            .ok_or_else(|| bad("field without colon"))?;
        let (name, value) = rest.split_at(colon);
        // A field value holds no CR, so the first one ends it.
        let end = value
            .iter()
            .position(|b| *b == b'\r')
            .ok_or_else(|| bad("field without end"))?;
        let (value, after) = value.split_at(end);
        let name = HeaderName::from_bytes(name).map_err(|_| bad("field name"))?;
        let value = HeaderValue::from_bytes(value.get(1..).unwrap_or_default()).map_err(|_| bad("field value"))?;
        headers.append(name, value);
        rest = after.get(2..).ok_or_else(|| bad("field without end"))?;
    }
    Ok(headers)
}

fn array<const N: usize>(reader: &mut impl Read) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes).map_err(Error::io_error)?;
    Ok(bytes)
}

/// Exactly `len` bytes. Memory is taken as they come, so that a wrong length cannot ask for more than there is.
fn exact(reader: &mut impl Read, len: u64) -> Result<Vec<u8>> {
    const AT_ONCE: u64 = 64 * 1024 * 1024;
    let mut bytes = Vec::with_capacity(usize::try_from(len.min(AT_ONCE)).unwrap_or_default());
    let read = reader.take(len).read_to_end(&mut bytes).map_err(Error::io_error)?;
    if read as u64 == len {
        Ok(bytes)
    } else {
        Err(bad("shorter than announced"))
    }
}

/// foyer forgets the address of an entry that fails like this, and the request is a miss.
fn bad(what: &'static str) -> Error {
    Error::new(ErrorKind::OutOfRange, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stored(fields: &[(String, String)], body: Vec<u8>) -> Stored {
        let headers = fields
            .iter()
            .map(|(n, v)| (n.parse::<HeaderName>().unwrap(), v.parse().unwrap()))
            .collect();
        let message = Message {
            status: StatusCode::OK,
            headers,
            body: body.into(),
        };
        Stored::new(
            message,
            &Lifetime {
                initial_age: 3,
                remaining: 60,
                withheld: vec![header::SET_COOKIE],
            },
            1_000_000,
        )
    }

    fn encoded(entry: &Entry) -> Vec<u8> {
        let mut bytes = Vec::new();
        entry.encode(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn times_and_age_follow_the_clock() {
        let s = stored(&[], vec![]);
        assert!(s.is_fresh(1_000_000) && s.is_fresh(1_059_999));
        assert!(!s.is_fresh(1_060_000), "at its end it is stale");
        assert!(!s.is_fresh(999_999), "before it was stored it is not served");
        assert_eq!((s.age(1_000_000), s.age(1_010_500)), (3, 13));
    }

    #[test]
    fn withheld_fields_and_the_old_age_are_dropped() {
        let s = stored(
            &[("set-cookie".into(), "a=b".into()), ("age".into(), "3".into())],
            vec![],
        );
        assert!(!s.headers.contains_key("set-cookie") && !s.headers.contains_key("age"));
        assert_eq!(s.headers["cf-cache-status"], "HIT");
    }

    #[test]
    fn a_deleted_mark_survives_the_disk() {
        assert!(matches!(
            Entry::decode(&mut &encoded(&Entry::Deleted)[..]),
            Ok(Entry::Deleted)
        ));
    }

    proptest! {
        #[test]
        fn an_entry_is_read_back_as_written_and_never_in_part(
            fields in proptest::collection::vec(("[a-z][a-z-]{0,8}", "[!-~]([ -~]{0,20}[!-~])?"), 0..8),
            body in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let original = stored(&fields, body);
            let entry = Entry::Response(original.clone());
            let bytes = encoded(&entry);
            prop_assert_eq!(bytes.len(), entry.estimated_size());
            let Entry::Response(back) = Entry::decode(&mut &bytes[..]).unwrap() else { panic!("kind changed") };
            prop_assert_eq!(back, original);
            for cut in 0..bytes.len() {
                prop_assert!(Entry::decode(&mut &bytes[..cut]).is_err());
            }
        }

        #[test]
        fn any_bytes_are_decoded_without_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..120), tagged: bool) {
            if tagged {
                bytes.splice(0..0, [b'K', b'C', b'0', b'1', 1]);
            }
            let _ = Entry::decode(&mut &bytes[..]);
        }
    }
}
