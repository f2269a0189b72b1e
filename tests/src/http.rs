//! An HTTP/1.1 client that sends exactly what it is told, also what no library would send.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// How long an answer may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client of one address, speaking as one host.
#[derive(Clone, Debug)]
pub struct Client {
    address: String,
    host: String,
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Headers in order, names lower-case.
    pub headers: Vec<(String, String)>,
    /// Body, chunked coding removed.
    pub body: Vec<u8>,
}

impl Client {
    /// A client of `http://address`, with this `Host`.
    #[must_use]
    pub fn new(url: &str, host: &str) -> Self {
        let address = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        Self {
            address,
            host: host.to_owned(),
        }
    }

    /// GET.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn get(&self, target: &str) -> Result<Answer> {
        self.send("GET", target, &[], b"")
    }

    /// Any method, with headers and a body; `Host` and `Content-Length` are added where they are not given.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer> {
        let given = |wanted: &str| headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
        let mut head = format!("{method} {target} HTTP/1.1\r\n");
        if !given("host") {
            head += &format!("host: {}\r\n", self.host);
        }
        if !given("content-length") && !given("transfer-encoding") && (!body.is_empty() || method == "POST") {
            head += &format!("content-length: {}\r\n", body.len());
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "connection: close\r\n\r\n";
        self.send_raw(method, &[head.as_bytes(), body].concat())
    }

    /// JSON in a body.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn send_json(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &Value) -> Result<Answer> {
        let mut headers = headers.to_vec();
        headers.push(("content-type", "application/json"));
        self.send(method, target, &headers, body.to_string().as_bytes())
    }

    /// One file in a multipart body.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn upload(&self, target: &str, headers: &[(&str, &str)], field: &str, file: &[u8]) -> Result<Answer> {
        const BOUNDARY: &str = "kado-test-boundary-7f3a9c";
        let head = format!(
            "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{field}\"; filename=\"picture\"\r\n\
             content-type: application/octet-stream\r\n\r\n"
        );
        let tail = format!("\r\n--{BOUNDARY}--\r\n");
        let body = [head.as_bytes(), file, tail.as_bytes()].concat();
        let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
        let mut headers = headers.to_vec();
        headers.push(("content-type", content_type.as_str()));
        self.send("POST", target, &headers, &body)
    }

    /// Bytes as they are. `method` only tells whether the answer has a body.
    ///
    /// # Errors
    /// When there is no answer, or none that HTTP knows.
    pub fn send_raw(&self, method: &str, request: &[u8]) -> Result<Answer> {
        let mut stream =
            TcpStream::connect(&self.address).with_context(|| format!("connecting to {}", self.address))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        // A server may answer and close before it has read everything: its answer still counts.
        let sent = stream.write_all(request);
        let mut bytes = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            if let Some(answer) = parse(&bytes, method, false)? {
                return Ok(answer);
            }
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => bytes.extend_from_slice(buffer.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset && !bytes.is_empty() => break,
                Err(error) => {
                    sent.context("sending the request")?;
                    return Err(error).context("reading the answer");
                }
            }
        }
        parse(&bytes, method, true)?.with_context(|| format!("the answer ended after {} bytes", bytes.len()))
    }
}

/// An answer out of what has come so far; `None` while it is not whole.
fn parse(bytes: &[u8], method: &str, ended: bool) -> Result<Option<Answer>> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(start) = response.parse(bytes).context("the answer is not HTTP")? else {
        return Ok(None);
    };
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let headers: Vec<_> = response
        .headers
        .iter()
        .map(|field| (field.name.to_ascii_lowercase(), text(field.value)))
        .collect();
    let status = response.code.context("the answer has no status")?;
    let mut answer = Answer {
        status,
        headers,
        body: Vec::new(),
    };
    let rest = bytes.get(start..).unwrap_or_default();
    if method == "HEAD" || matches!(status, 204 | 304) {
        return Ok(Some(answer));
    }
    if answer
        .header("transfer-encoding")
        .is_some_and(|coding| coding.contains("chunked"))
    {
        return Ok(dechunk(rest)?.map(|body| Answer { body, ..answer }));
    }
    match answer.header("content-length").map(str::parse::<usize>) {
        Some(length) => {
            let length = length.context("Content-Length is not a number")?;
            if let Some(body) = rest.get(..length) {
                answer.body = body.to_vec();
                return Ok(Some(answer));
            }
            if ended {
                bail!("the body ended after {} of {length} bytes", rest.len())
            } else {
                Ok(None)
            }
        }
        None if ended => Ok(Some(Answer {
            body: rest.to_vec(),
            ..answer
        })),
        None => Ok(None),
    }
}

/// The body out of a chunked coding; `None` while it is not whole.
fn dechunk(mut rest: &[u8]) -> Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    loop {
        match httparse::parse_chunk_size(rest) {
            Ok(httparse::Status::Complete((start, size))) => {
                let size = usize::try_from(size)?;
                if size == 0 {
                    return Ok(Some(body));
                }
                let Some(chunk) = rest.get(start..start + size) else {
                    return Ok(None);
                };
                body.extend_from_slice(chunk);
                let Some(next) = rest.get(start + size + 2..) else {
                    return Ok(None);
                };
                rest = next;
            }
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => bail!("the chunked coding is broken: {error}"),
        }
    }
}

impl Answer {
    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as JSON; `Null` where it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The problem's code; empty where the answer is no problem document.
    #[must_use]
    pub fn code(&self) -> String {
        let is_problem = self
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("application/problem+json"));
        if is_problem {
            self.json()
                .get("code")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        } else {
            String::new()
        }
    }

    /// Status and code, for comparing both at once.
    #[must_use]
    pub fn outcome(&self) -> (u16, String) {
        (self.status, self.code())
    }

    /// What `Cache-Status` says: `hit`, `miss`, `collapsed` or nothing.
    #[must_use]
    pub fn cache(&self) -> &'static str {
        match self.header("cache-status").unwrap_or_default() {
            status if status.contains("; hit") => "hit",
            status if status.contains("collapsed") => "collapsed",
            status if status.contains("fwd=") => "miss",
            _ => "",
        }
    }
}

/// Sends bytes and closes the connection without waiting for an answer, as a client does whose network is gone.
///
/// # Errors
/// When there is no connection.
pub fn send_and_hang_up(url: &str, request: &[u8]) -> Result<()> {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://"))?;
    stream.write_all(request)?;
    stream.shutdown(std::net::Shutdown::Both)?;
    Ok(())
}
