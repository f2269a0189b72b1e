//! One request, one answer.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;

use crate::conditional::{not_modified, range_applies};
use crate::entry::{CF_CACHE_STATUS, Stored};
use crate::freshness::assess;
use crate::key::Key;
use crate::message;
use crate::put::{Intake, TakeError};
use crate::range::{Selection, select};
use crate::store::{Lookup, Store};
use crate::{Clock, Stats};

/// Host of the statistics document, `GET /__cache/stats`. A Worker's cache request never reaches it: workerd sends
/// those with the whole address in the request line and, for `match`, with `Cache-Control: only-if-cached`; the
/// document is given only without both.
pub const STATS_HOST: &str = "cache.internal";
const STATS_PATH: &str = "/__cache/stats";

/// The fields of a stored response that a 304 repeats (RFC 9110, section 15.4.5).
const IN_NOT_MODIFIED: [header::HeaderName; 6] = [
    header::CACHE_CONTROL,
    header::CONTENT_LOCATION,
    header::DATE,
    header::ETAG,
    header::EXPIRES,
    header::VARY,
];

pub(crate) type Answer = Response<Full<Bytes>>;

pub(crate) struct Handler {
    pub(crate) store: Store,
    pub(crate) intake: Intake,
    pub(crate) stats: Arc<Stats>,
    pub(crate) clock: Clock,
    pub(crate) max_object_bytes: usize,
}

impl Handler {
    pub(crate) async fn handle(&self, request: Request<Incoming>) -> Answer {
        if is_stats(&request) {
            return self.statistics();
        }
        let Some(key) = Key::of(request.uri(), request.headers()) else {
            return refuse(StatusCode::BAD_REQUEST, "the request names no host");
        };
        match request.method().as_str() {
            "GET" | "HEAD" => self.find(&key, &request).await,
            "PUT" => self.put(key, request.into_body()).await,
            "PURGE" => self.purge(key).await,
            _ => {
                let mut answer = refuse(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "GET, HEAD, PUT and PURGE are served here",
                );
                answer
                    .headers_mut()
                    .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, PUT, PURGE"));
                answer
            }
        }
    }

    async fn find(&self, key: &Key, request: &Request<Incoming>) -> Answer {
        let now = (self.clock)();
        match self.store.get(key, now).await {
            Lookup::Hit(hit) => match hit.stored() {
                Some(stored) => self.hit(stored, request, now),
                None => self.miss(),
            },
            Lookup::Expired => {
                self.stats.expired.increment();
                self.miss()
            }
            Lookup::Miss => self.miss(),
        }
    }

    fn miss(&self) -> Answer {
        self.stats.misses.increment();
        let mut answer = Response::new(Full::default());
        *answer.status_mut() = StatusCode::GATEWAY_TIMEOUT;
        answer
            .headers_mut()
            .insert(CF_CACHE_STATUS, HeaderValue::from_static("MISS"));
        answer
            .headers_mut()
            .insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        answer
    }

    fn hit(&self, stored: &Stored, request: &Request<Incoming>, now: u64) -> Answer {
        self.stats.hits.increment();
        let mut answer = answer_from(stored, request.headers());
        answer
            .headers_mut()
            .insert(header::AGE, HeaderValue::from(stored.age(now)));
        match answer.status() {
            StatusCode::NOT_MODIFIED => self.stats.not_modified.increment(),
            StatusCode::PARTIAL_CONTENT => self.stats.ranges.increment(),
            _ => {}
        }
        if request.method() == Method::HEAD {
            *answer.body_mut() = Full::default();
        } else {
            let sent = http_body::Body::size_hint(answer.body()).exact().unwrap_or_default();
            self.stats.hit_bytes.add(usize::try_from(sent).unwrap_or(usize::MAX));
        }
        answer
    }

    async fn put(&self, key: Key, body: Incoming) -> Answer {
        let not_stored = |why: &'static str| refuse(StatusCode::PAYLOAD_TOO_LARGE, why);
        let taken = match self.intake.take(body).await {
            Ok(taken) => taken,
            Err(TakeError::TooLarge) => {
                self.stats.too_large.increment();
                return not_stored("larger than --max-object-bytes");
            }
            Err(TakeError::Cut) => {
                self.stats.truncated.increment();
                return refuse(StatusCode::BAD_REQUEST, "the body was cut; nothing is stored");
            }
            Err(TakeError::Busy) => {
                self.stats.busy.increment();
                let mut answer = refuse(StatusCode::SERVICE_UNAVAILABLE, "too many bodies at once");
                answer
                    .headers_mut()
                    .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
                return answer;
            }
        };
        if taken.text.len() > self.max_object_bytes {
            self.stats.too_large.increment();
            return not_stored("larger than --max-object-bytes");
        }
        let message = match message::parse(&taken.text) {
            Ok(message) => message,
            Err(error) => {
                let counter = if error == message::MessageError::Length {
                    &self.stats.truncated
                } else {
                    &self.stats.malformed
                };
                counter.increment();
                return refuse(StatusCode::BAD_REQUEST, error.to_string());
            }
        };
        let now = (self.clock)();
        match assess(message.status, &message.headers, now) {
            Ok(lifetime) => {
                let stored = Stored::new(message, &lifetime, now);
                self.stats.stored.increment();
                self.stats.stored_bytes.add(stored.body.len());
                self.store.insert(key, stored).await;
                let mut answer = Response::new(Full::default());
                *answer.status_mut() = StatusCode::NO_CONTENT;
                answer
            }
            Err(refusal) => {
                self.stats.refuse(refusal);
                not_stored(refusal.as_str())
            }
        }
    }

    async fn purge(&self, key: Key) -> Answer {
        let found = matches!(self.store.get(&key, (self.clock)()).await, Lookup::Hit(_));
        // Also when none was found: an expired one on disk must not come back with a clock that was set back.
        self.store.delete(key).await;
        if found {
            self.stats.deleted.increment();
            refuse(StatusCode::OK, "deleted")
        } else {
            refuse(StatusCode::NOT_FOUND, "nothing stored under this address")
        }
    }

    fn statistics(&self) -> Answer {
        let mut document = self.stats.to_json();
        if let (Some(map), serde_json::Value::Object(tiers)) = (document.as_object_mut(), self.store.describe()) {
            map.extend(tiers);
        }
        let mut answer = Response::new(Full::from(document.to_string()));
        answer
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        answer
    }
}

/// A short text for people at a terminal; workerd looks at the status alone.
fn refuse(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(text.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    answer
}

fn is_stats(request: &Request<Incoming>) -> bool {
    let headers = request.headers();
    request.method() == Method::GET
        && request.uri().authority().is_none()
        && request.uri().path() == STATS_PATH
        && headers.get(header::HOST).is_some_and(|host| host == STATS_HOST)
        && !headers.contains_key(header::CACHE_CONTROL)
}

/// The stored response as these request fields ask for it.
fn answer_from(stored: &Stored, request: &HeaderMap) -> Answer {
    if stored.status == StatusCode::OK {
        if not_modified(request, &stored.headers) {
            return not_modified_answer(stored);
        }
        if let Some(field) = request.get(header::RANGE).and_then(|v| v.to_str().ok())
            && range_applies(request, &stored.headers)
        {
            match select(field, stored.body.len()) {
                Selection::Whole => {}
                Selection::Part(part) => return part_answer(stored, part),
                Selection::Unsatisfiable => return unsatisfiable_answer(stored),
            }
        }
    }
    let mut answer = Response::new(Full::new(stored.body.clone()));
    *answer.status_mut() = stored.status;
    *answer.headers_mut() = stored.headers.clone();
    answer
}

fn not_modified_answer(stored: &Stored) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::NOT_MODIFIED;
    let headers = answer.headers_mut();
    headers.insert(CF_CACHE_STATUS, HeaderValue::from_static("HIT"));
    for name in IN_NOT_MODIFIED {
        for value in stored.headers.get_all(&name) {
            headers.append(name.clone(), value.clone());
        }
    }
    answer
}

fn part_answer(stored: &Stored, part: std::ops::Range<usize>) -> Answer {
    let range = format!("bytes {}-{}/{}", part.start, part.end - 1, stored.body.len());
    let length = part.len();
    let mut answer = Response::new(Full::new(stored.body.slice(part)));
    *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
    *answer.headers_mut() = stored.headers.clone();
    answer
        .headers_mut()
        .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    if let Ok(range) = HeaderValue::from_str(&range) {
        answer.headers_mut().insert(header::CONTENT_RANGE, range);
    }
    answer
}

fn unsatisfiable_answer(stored: &Stored) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
    let headers = answer.headers_mut();
    headers.insert(CF_CACHE_STATUS, HeaderValue::from_static("HIT"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    if let Ok(range) = HeaderValue::from_str(&format!("bytes */{}", stored.body.len())) {
        headers.insert(header::CONTENT_RANGE, range);
    }
    answer
}
