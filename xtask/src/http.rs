//! A small HTTP client for loopback: health polls, the login and the upload of the sample.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use ureq::Agent;
use ureq::http::{Request, Response};

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Names are compared without case.
    headers: ureq::http::HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header's value, or an empty text.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// When it is none.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("reading {} as JSON", self.excerpt()))
    }

    /// The answer itself when its status is as expected.
    ///
    /// # Errors
    /// When it is not, with the beginning of the body.
    pub fn expect(self, status: u16) -> Result<Self> {
        if self.status != status {
            bail!("the answer is {} instead of {status}: {}", self.status, self.excerpt());
        }
        Ok(self)
    }

    fn excerpt(&self) -> String {
        let text: String = String::from_utf8_lossy(&self.body).chars().take(400).collect();
        if text.is_empty() { "(no body)".to_owned() } else { text }
    }
}

/// A client whose requests each take no longer than its limit.
#[derive(Debug, Clone)]
pub struct Client {
    agent: Agent,
}

impl Client {
    /// A client that gives up after `limit`. No proxy: these requests never leave the machine.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(limit))
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .build();
        Self { agent: config.into() }
    }

    /// GET with headers.
    ///
    /// # Errors
    /// When there is no whole answer in time.
    pub fn get(&self, url: &str, headers: &[(&str, &str)]) -> Result<Answer> {
        let request = build("GET", url, headers)?.body(()).context("building a request")?;
        receive(self.agent.run(request)).with_context(|| format!("GET {url}"))
    }

    /// POST of a body with headers.
    ///
    /// # Errors
    /// When there is no whole answer in time.
    pub fn post(&self, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer> {
        let request = build("POST", url, headers)?.body(body).context("building a request")?;
        receive(self.agent.run(request)).with_context(|| format!("POST {url}"))
    }

    /// PUT of a body with headers.
    ///
    /// # Errors
    /// When there is no whole answer in time.
    pub fn put(&self, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer> {
        let request = build("PUT", url, headers)?.body(body).context("building a request")?;
        receive(self.agent.run(request)).with_context(|| format!("PUT {url}"))
    }

    /// PATCH of a body with headers.
    ///
    /// # Errors
    /// When there is no whole answer in time.
    pub fn patch(&self, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer> {
        let request = build("PATCH", url, headers)?.body(body).context("building a request")?;
        receive(self.agent.run(request)).with_context(|| format!("PATCH {url}"))
    }

    /// POST of one file as `multipart/form-data`.
    ///
    /// # Errors
    /// When there is no whole answer in time.
    pub fn post_file(
        &self,
        url: &str,
        token: &str,
        field: &str,
        (name, media_type): (&str, &str),
        file: &[u8],
    ) -> Result<Answer> {
        let boundary = crate::random::hex(16)?;
        let mut body = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{name}\"\r\n\
             Content-Type: {media_type}\r\n\r\n"
        )
        .into_bytes();
        body.extend_from_slice(file);
        body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        let headers = [
            ("Authorization", format!("Bearer {token}")),
            ("Content-Type", format!("multipart/form-data; boundary={boundary}")),
        ];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        self.post(url, &headers, &body)
    }
}

fn build(method: &str, url: &str, headers: &[(&str, &str)]) -> Result<ureq::http::request::Builder> {
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request
        .headers_ref()
        .with_context(|| format!("building a request for {url}"))?;
    Ok(request)
}

/// The largest answer that is read: a transformed sample is far below it.
const LARGEST: u64 = 256 << 20;

fn receive(result: Result<Response<ureq::Body>, ureq::Error>) -> Result<Answer> {
    let (parts, mut body) = result?.into_parts();
    let body = body.with_config().limit(LARGEST).read_to_vec()?;
    Ok(Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body,
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Answers one request once it ends with `end`.
    fn server(end: &'static str, answer: &'static str) -> (String, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = String::new();
            let mut buffer = [0; 4096];
            while !request.ends_with(end) {
                let count = stream.read(&mut buffer).unwrap();
                request.push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
            stream.write_all(answer.as_bytes()).unwrap();
            request
        });
        (url, seen)
    }

    #[test]
    fn a_problem_is_an_answer_and_not_an_error() {
        let (url, _) = server(
            "\r\n\r\n",
            "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 13\r\n\r\n{\"code\":\"db\"}",
        );
        let answer = Client::new(Duration::from_secs(5)).get(&url, &[]).unwrap();
        assert_eq!((answer.status, answer.header("retry-after")), (503, "1"));
        assert_eq!(answer.json().unwrap()["code"], "db");
        assert!(format!("{:#}", answer.expect(200).unwrap_err()).contains("503 instead of 200"));
    }

    #[test]
    fn a_body_that_is_cut_short_is_an_error() {
        let (url, _) = server("\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
        assert!(Client::new(Duration::from_secs(5)).get(&url, &[]).is_err());
    }

    #[test]
    fn a_file_goes_out_as_one_part_of_a_form() {
        let (url, seen) = server("--\r\n", "HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}");
        let client = Client::new(Duration::from_secs(5));
        client
            .post_file(&url, "token", "image", ("s.png", "image/png"), b"pixels")
            .unwrap()
            .expect(201)
            .unwrap();
        let request = seen.join().unwrap().to_ascii_lowercase();
        assert!(request.contains("authorization: bearer token"), "{request}");
        assert!(request.contains("name=\"image\"; filename=\"s.png\"\r\ncontent-type: image/png\r\n\r\npixels\r\n--"));
    }
}
