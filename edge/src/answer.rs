//! An answer on its way to the client: status, headers and a body that may be a stream of the runtime's.

use kado_shared::{
    headers::X_REQUEST_ID,
    problem::{self, Code, Problem},
};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::Response;

use crate::js;

/// An answer under construction.
#[derive(Debug)]
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Empty,
    Bytes(Vec<u8>),
    /// A stream, or a buffer outside linear memory.
    Foreign(JsValue),
}

impl Answer {
    /// An answer without a body.
    pub(crate) const fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Body::Empty,
        }
    }

    /// An answer with bytes of ours.
    pub(crate) fn bytes(status: u16, media_type: &str, body: Vec<u8>) -> Self {
        Self {
            status,
            headers: vec![("content-type".to_owned(), media_type.to_owned())],
            body: Body::Bytes(body),
        }
    }

    /// A problem document; never cached.
    pub(crate) fn problem(problem: &Problem) -> Self {
        Self::bytes(problem.status, problem::MEDIA_TYPE, problem.to_json()).with("cache-control", "no-store")
    }

    /// A response of the runtime's, taken over with its status, headers and body.
    pub(crate) fn from_response(response: &Response) -> Self {
        // A response whose fields cannot be read has none.
        let headers = js::fields(response).unwrap_or_default();
        let body = response
            .body()
            .map_or(Body::Empty, |stream| Body::Foreign(stream.into()));
        Self {
            status: response.status(),
            headers,
            body,
        }
    }

    /// With a body outside linear memory.
    pub(crate) fn with_foreign_body(mut self, body: JsValue) -> Self {
        self.body = Body::Foreign(body);
        self
    }

    /// Without its body: the answer to HEAD keeps the headers that GET would have had.
    pub(crate) fn without_body(mut self) -> Self {
        if let Body::Bytes(bytes) = &self.body {
            let length = bytes.len().to_string();
            self.set("content-length", &length);
        }
        self.discard_body();
        self
    }

    /// With a header, replacing one of that name.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.set(name, value);
        self
    }

    /// Sets a header, replacing one of that name.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    /// Adds a member to a list header such as `Vary`.
    pub(crate) fn append(&mut self, name: &str, value: &str) {
        match self
            .headers
            .iter_mut()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
        {
            Some((_, list)) if list.split(',').any(|member| member.trim().eq_ignore_ascii_case(value)) => {}
            Some((_, list)) => {
                list.push_str(", ");
                list.push_str(value);
            }
            None => self.headers.push((name.to_owned(), value.to_owned())),
        }
    }

    /// Removes a header.
    pub(crate) fn remove(&mut self, name: &str) {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    }

    /// Keeps the headers whose lower-case names are wanted.
    pub(crate) fn retain_headers(&mut self, wanted: impl Fn(&str) -> bool) {
        self.headers.retain(|(name, _)| wanted(&name.to_ascii_lowercase()));
    }

    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The status.
    pub(crate) const fn status(&self) -> u16 {
        self.status
    }

    /// Turns it into a 304 that keeps only what RFC 9110 wants kept.
    pub(crate) fn into_not_modified(mut self) -> Self {
        const KEPT: [&str; 12] = [
            "cache-control",
            "content-location",
            "date",
            "etag",
            "expires",
            "vary",
            "cache-status",
            "age",
            "access-control-allow-origin",
            "timing-allow-origin",
            "cross-origin-resource-policy",
            X_REQUEST_ID,
        ];
        self.headers
            .retain(|(name, _)| KEPT.iter().any(|kept| name.eq_ignore_ascii_case(kept)));
        self.status = 304;
        self.discard_body();
        self
    }

    /// Turns a whole answer of `length` bytes into a 206 of a part that lies inside.
    pub(crate) async fn into_part(mut self, part: std::ops::Range<u64>, length: u64) -> Result<Self, JsValue> {
        let body = match std::mem::replace(&mut self.body, Body::Empty) {
            Body::Empty => js_sys::ArrayBuffer::new(0),
            Body::Bytes(bytes) => js_sys::Uint8Array::from(bytes.as_slice()).buffer(),
            Body::Foreign(body) => js::array_buffer(&js::response(200, [], &body)?).await?,
        };
        let end = |at: u64| u32::try_from(at).unwrap_or(u32::MAX);
        self.body = Body::Foreign(body.slice_with_end(end(part.start), end(part.end)).into());
        self.set(
            "content-range",
            &format!("bytes {}-{}/{length}", part.start, part.end - 1),
        );
        self.set("content-length", &(part.end - part.start).to_string());
        self.status = 206;
        Ok(self)
    }

    /// Lets go of all of it.
    pub(crate) fn discard(mut self) {
        self.discard_body();
    }

    /// Lets go of a body that nobody will read; a stream is told, so that its source can stop.
    fn discard_body(&mut self) {
        if let Body::Foreign(body) = std::mem::replace(&mut self.body, Body::Empty)
            && let Some(stream) = body.dyn_ref::<web_sys::ReadableStream>()
        {
            // Whether the source heard of it changes nothing here.
            let _cancelled = stream.cancel();
        }
    }

    /// The runtime's response.
    pub(crate) fn into_response(self) -> Result<Response, JsValue> {
        let body = match self.body {
            Body::Empty => JsValue::NULL,
            Body::Bytes(bytes) => js_sys::Uint8Array::from(bytes.as_slice()).into(),
            Body::Foreign(body) => body,
        };
        let fields = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        js::response(self.status, fields, &body)
    }
}

/// Why a request is not served: the problem, and headers that belong to it.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) problem: Box<Problem>,
    pub(crate) headers: Vec<(&'static str, String)>,
}

impl Refusal {
    /// A refusal without further headers.
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            problem: Box::new(Problem::new(code, detail)),
            headers: Vec::new(),
        }
    }

    /// With a header.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// A failure of the runtime that the client is told nothing about; the log is.
    pub(crate) fn internal(what: &str, error: &JsValue) -> Self {
        crate::log::line(&serde_json::json!({ "level": "error", "event": what, "message": js::describe(error) }));
        Self::new(Code::Internal, "the edge failed; the request id finds the log line")
    }

    /// The answer.
    pub(crate) fn into_answer(self, request_id: &str) -> Answer {
        let mut answer = Answer::problem(&self.problem.with_request_id(request_id));
        for (name, value) in &self.headers {
            answer.set(name, value);
        }
        answer
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self {
            problem: Box::new(problem),
            headers: Vec::new(),
        }
    }
}
