//! What the edge tells the origin of its work: events, each exactly once, and counts, summed where they happened.
//!
//! Both travel in the same batches to `POST /internal/events` and are idempotent by their identifier. Unknown fields are
//! ignored and kinds are an open set, so that an older origin loses nothing of what a newer edge tells it.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    span::{MOST_OF_A_RECORD, SPANS, Spans},
    tenant::TenantId,
};

/// Kind of the one record that is no event; see [`Counts`].
pub const COUNTS: &str = "counts";
/// Most bytes of one record as JSON. What the edge makes is far smaller.
pub const MOST_BYTES: usize = 64 * 1024;
/// Most records of a batch.
pub const MOST_RECORDS: usize = 1000;
/// Most bytes of a batch's records together; the origin reads 1 MiB.
pub const MOST_BATCH_BYTES: usize = 512 * 1024;

/// One thing that was done for a tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Names the event for ever; [`identifier`].
    pub id: Uuid,
    /// `transform`, `upload`, `process`, or what a later edge does: `[a-z][a-z-]{0,31}`.
    pub kind: String,
    /// Whom it was done for.
    pub tenant: TenantId,
    /// When it was done, Unix milliseconds.
    pub at: u64,
    /// `ok`, or the code of the problem that the client was told.
    pub result: String,
    /// Request that it was done in.
    pub request_id: String,
    /// Trace of that request: 32 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// User that it was done by, where one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Uuid>,
    /// Time that it took, in milliseconds.
    pub ms: u32,
    /// What went in and came out, where a picture was made.
    #[serde(flatten)]
    pub picture: Picture,
}

/// What went into a picture and what came out; every part may be unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Picture {
    /// Where it was made: `edge` or `origin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<String>,
    /// Format of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_format: Option<String>,
    /// Bytes of the source or of an upload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_in: Option<u64>,
    /// Format of the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Width of the result, in pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Height of the result, in pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Bytes of the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_out: Option<u64>,
    /// Most memory that the work took, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u32>,
    /// Time until the source was there, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_ms: Option<u32>,
    /// Time from there to the result, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_ms: Option<u32>,
}

impl Picture {
    /// Reads `Kado-Image`: `in=4032x3024 jpeg 3145728; out=400x300 webp 20480; lane=edge; mem=9MiB`. What is not there or
    /// not understood stays unknown.
    #[must_use]
    pub fn from_facts(facts: &str) -> Self {
        let mut picture = Self::default();
        for part in facts.split(';') {
            let Some((name, value)) = part.trim().split_once('=') else {
                continue;
            };
            let mut words = value.split(' ');
            match name {
                "in" => {
                    let _size = words.next();
                    picture.source_format = words.next().map(str::to_owned);
                    picture.bytes_in = words.next().and_then(|bytes| bytes.parse().ok());
                }
                "out" => {
                    let size = words.next().and_then(|size| size.split_once('x'));
                    picture.width = size.and_then(|(width, _)| width.parse().ok());
                    picture.height = size.and_then(|(_, height)| height.parse().ok());
                    picture.format = words.next().map(str::to_owned);
                    picture.bytes_out = words.next().and_then(|bytes| bytes.parse().ok());
                }
                "lane" => picture.lane = Some(value.to_owned()),
                "mem" => picture.memory_mib = value.strip_suffix("MiB").and_then(|mib| mib.parse().ok()),
                _ => {}
            }
        }
        picture
    }

    /// The same with its stages' times, from `Server-Timing`: `source;dur=12, transform;dur=30`.
    #[must_use]
    pub fn with_stages(mut self, timing: &str) -> Self {
        for stage in timing.split(',') {
            let Some((name, duration)) = stage.trim().split_once(";dur=") else {
                continue;
            };
            let milliseconds = duration.parse().ok();
            match name {
                "source" => self.source_ms = milliseconds,
                "transform" => self.made_ms = milliseconds,
                _ => {}
            }
        }
        self
    }
}

/// Counts of an isolate since it last told of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Names this report for ever, so that it is added once.
    pub id: Uuid,
    /// Always [`COUNTS`].
    pub kind: String,
    /// When the report was made, Unix milliseconds.
    pub at: u64,
    /// What was counted.
    pub counts: Vec<Count>,
}

/// One count.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Count {
    /// Tenant that it belongs to; `None` for what belongs to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// What was counted: [`is_name`], such as `cache.hit`.
    pub name: String,
    /// How often, or how many bytes.
    pub count: u64,
}

/// A record of a batch, checked.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// Something that was done.
    Event(Box<Event>),
    /// Something that was counted.
    Counts(Counts),
    /// What took how long.
    Spans(Spans),
}

/// Why one record is refused; the others of its batch are not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The record's identifier as it was sent, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its place in the batch, from 0.
    pub index: usize,
    /// What is wrong with it.
    pub detail: String,
}

/// What became of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// Identifiers that are stored, now or already before: they need not be sent again.
    pub stored: Vec<Uuid>,
    /// Records that will never be stored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<Refused>,
}

/// A new identifier (UUID version 7): it sorts by time, so that tables of them grow at one end.
#[must_use]
pub fn identifier(now_ms: u64, random: [u8; 10]) -> Uuid {
    uuid::Builder::from_unix_timestamp_millis(now_ms, &random).into_uuid()
}

/// Whether a text names a count or a label: 1 to 64 of `[a-zA-Z0-9._-]`, beginning with a letter.
#[must_use]
pub fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && text.as_bytes().first().is_some_and(u8::is_ascii_alphabetic)
}

impl Record {
    /// Checks a record.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(value: &Value) -> Result<Self, String> {
        let malformed = |error: serde_json::Error| error.to_string();
        let kind = value
            .get("kind")
            .and_then(Value::as_str)
            .ok_or("kind: a text is missing")?;
        if kind == COUNTS {
            let counts = Counts::deserialize(value).map_err(malformed)?;
            return match counts.counts.iter().find(|count| !is_name(&count.name)) {
                Some(count) => Err(format!("counts: {:?} is no name", shortened(&count.name))),
                None => Ok(Self::Counts(counts)),
            };
        }
        if kind == SPANS {
            let spans = Spans::deserialize(value).map_err(malformed)?;
            if spans.spans.len() > MOST_OF_A_RECORD {
                return Err(format!("spans: there are more than {MOST_OF_A_RECORD}"));
            }
            for (index, span) in spans.spans.iter().enumerate() {
                span.check().map_err(|detail| format!("spans[{index}].{detail}"))?;
            }
            return Ok(Self::Spans(spans));
        }
        for (field, required) in [("id", true), ("tenant", true), ("user", false)] {
            match value.get(field) {
                None | Some(Value::Null) if !required => {}
                Some(Value::String(text)) if Uuid::try_parse(text).is_ok() => {}
                _ => return Err(format!("{field}: a UUID is expected")),
            }
        }
        let event = Event::deserialize(value).map_err(malformed)?;
        let hex = |text: &str| text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let names = [("kind", Some(&event.kind)), ("result", Some(&event.result))];
        let picture = &event.picture;
        let optional = [
            ("lane", picture.lane.as_ref()),
            ("sourceFormat", picture.source_format.as_ref()),
            ("format", picture.format.as_ref()),
        ];
        for (field, text) in names.into_iter().chain(optional) {
            if let Some(text) = text.filter(|text| !is_name(text) || text.len() > 32) {
                return Err(format!(
                    "{field}: {:?} is no name of at most 32 characters",
                    shortened(text)
                ));
            }
        }
        if !crate::request_id::is_acceptable(&event.request_id) {
            return Err(format!("requestId: {:?} is none", shortened(&event.request_id)));
        }
        if let Some(trace) = event.trace_id.as_ref().filter(|trace| !hex(trace)) {
            return Err(format!("traceId: {:?} is not 32 hexadecimal digits", shortened(trace)));
        }
        let most = i64::MAX.unsigned_abs();
        let numbers = [Some(event.at), picture.bytes_in, picture.bytes_out];
        if numbers.into_iter().flatten().any(|number| number > most) {
            return Err("at, bytesIn and bytesOut are less than 2^63".to_owned());
        }
        Ok(Self::Event(Box::new(event)))
    }

    /// Its identifier.
    #[must_use]
    pub const fn id(&self) -> Uuid {
        match self {
            Self::Event(event) => event.id,
            Self::Counts(counts) => counts.id,
            Self::Spans(spans) => spans.id,
        }
    }

    /// When it was made, Unix milliseconds.
    #[must_use]
    pub const fn at(&self) -> u64 {
        match self {
            Self::Event(event) => event.at,
            Self::Counts(counts) => counts.at,
            Self::Spans(spans) => spans.at,
        }
    }
}

/// Enough of a text to know it again.
fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

/// How long an outbox waits after so many failures in a row, in milliseconds: doubled from 1 s to a minute, and up to a
/// quarter more so that the shards do not knock together.
#[must_use]
pub const fn backoff_ms(failures: u32, random: u8) -> u64 {
    let doubled = match failures {
        0 => 1_000,
        1..=6 => 1_000 << failures,
        _ => 60_000,
    };
    let base = if doubled > 60_000 { 60_000 } else { doubled };
    base + base / 4 * random as u64 / 255
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert, proptest};
    use serde_json::json;

    fn event() -> Event {
        Event {
            id: identifier(1_700_000_000_000, [7; 10]),
            kind: "transform".into(),
            tenant: TenantId(Uuid::nil()),
            at: 1_700_000_000_000,
            result: "ok".into(),
            request_id: "0123456789abcdef".into(),
            trace_id: Some("0af7651916cd43dd8448eb211c80319c".into()),
            user: None,
            ms: 31,
            picture: Picture::from_facts("in=4032x3024 jpeg 3145728; out=400x300 webp 20480; lane=edge; mem=9MiB"),
        }
    }

    #[test]
    fn facts_of_a_picture_are_read_and_what_is_missing_is_unknown() {
        assert_eq!(
            event().picture,
            Picture {
                lane: Some("edge".into()),
                source_format: Some("jpeg".into()),
                bytes_in: Some(3_145_728),
                format: Some("webp".into()),
                width: Some(400),
                height: Some(300),
                bytes_out: Some(20_480),
                memory_mib: Some(9),
                source_ms: None,
                made_ms: None,
            }
        );
        let timed = event()
            .picture
            .with_stages("cache;desc=miss, source;dur=12, transform;dur=30,x;dur=1.5");
        assert_eq!((timed.source_ms, timed.made_ms), (Some(12), Some(30)));
        for odd in ["", "in=", "out=axb", "lane", ";;=;"] {
            let picture = Picture::from_facts(odd);
            assert_eq!((picture.width, picture.bytes_in), (None, None), "{odd}");
        }
    }

    #[test]
    fn an_event_survives_the_way_and_unknown_fields_are_ignored() {
        let mut value = serde_json::to_value(event()).unwrap();
        value["invented"] = json!({"later": true});
        assert_eq!(Record::parse(&value), Ok(Record::Event(Box::new(event()))));
        assert!(value.get("user").is_none(), "what is unknown costs no bytes: {value}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (field, wrong, hint) in [
            ("kind", json!(1), "kind"),
            ("kind", json!("drop table"), "kind"),
            ("id", json!("x"), "UUID"),
            ("tenant", json!(null), "tenant"),
            ("result", json!(""), "result"),
            ("result", json!("x".repeat(33)), "result"),
            ("requestId", json!("a\nb"), "requestId"),
            ("traceId", json!("zz"), "traceId"),
            ("ms", json!(-1), "-1"),
            ("at", json!(u64::MAX), "2^63"),
            ("format", json!("webp\u{0}"), "format"),
        ] {
            let mut value = serde_json::to_value(event()).unwrap();
            value[field] = wrong;
            let detail = Record::parse(&value).unwrap_err();
            assert!(detail.contains(hint), "{field}: {detail}");
        }
        let counts = json!({"id": Uuid::nil(), "kind": "counts", "at": 1, "counts": [{"name": "a b", "count": 1}]});
        assert!(Record::parse(&counts).unwrap_err().contains("a b"));
    }

    #[test]
    fn identifiers_sort_by_time() {
        assert!(identifier(1, [255; 10]) < identifier(2, [0; 10]));
        assert_eq!(identifier(1, [0; 10]).get_version_num(), 7);
    }

    #[test]
    fn waits_grow_to_a_minute() {
        let waits: Vec<_> = (0..10).map(|failures| backoff_ms(failures, 0)).collect();
        assert_eq!(waits[..4], [1_000, 2_000, 4_000, 8_000]);
        assert_eq!(waits[9], 60_000);
        assert_eq!(backoff_ms(9, 255), 75_000);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in any::<String>(), failures in any::<u32>(), random in any::<u8>()) {
            let _ = Picture::from_facts(&text);
            let _ = Record::parse(&json!({"kind": text, "id": text}));
            prop_assert!((1_000..=75_000).contains(&backoff_ms(failures, random)));
        }
    }
}
