//! Many clients at once, each on a connection of its own, as fast as they are answered or at a rate.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest head of an answer, in bytes.
const LONGEST_HEAD: usize = 64 * 1024;

/// Clients of a server.
#[derive(Clone, Copy)]
pub(super) struct Clients {
    pub(super) server: SocketAddr,
    pub(super) count: usize,
    /// Time between two requests of a client; none for as fast as it is answered.
    pub(super) pace: Option<Duration>,
}

/// When clients stop.
#[derive(Clone, Copy)]
pub(super) enum Until {
    Time(Duration),
    Requests(u64),
}

/// What came of a load.
#[derive(Default)]
pub(super) struct Outcome {
    /// Milliseconds of each answer.
    pub(super) milliseconds: Vec<f64>,
    /// Answers a second.
    pub(super) rate: f64,
}

/// An answer, read whole.
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    pub(super) head: &'a str,
    pub(super) body: &'a [u8],
}

impl Answer<'_> {
    /// A header's value; the empty text where there is none.
    pub(super) fn header(&self, name: &str) -> &str {
        header(self.head, name).unwrap_or_default()
    }
}

impl Clients {
    /// Sends the requests that `request` makes of their numbers, and has every answer checked.
    pub(super) fn run(
        self,
        until: Until,
        request: impl Fn(u64) -> String + Sync,
        check: impl Fn(u64, &Answer<'_>) -> Result<()> + Sync,
    ) -> Result<Outcome> {
        let next = AtomicU64::new(0);
        let (next, request, check) = (&next, &request, &check);
        let started = Instant::now();
        let lists = std::thread::scope(|scope| -> Result<Vec<Vec<f64>>> {
            let clients: Vec<_> = (0..self.count)
                .map(|index| {
                    scope.spawn(move || {
                        // Evenly, not all at once and then nobody.
                        if let (Some(pace), Ok(index), Ok(count)) =
                            (self.pace, u32::try_from(index), u32::try_from(self.count))
                        {
                            std::thread::park_timeout(pace * index / count.max(1));
                        }
                        self.one(started, until, next, request, check)
                    })
                })
                .collect();
            let ended = clients
                .into_iter()
                .map(|client| client.join().map_err(|_| anyhow!("a client panicked"))?);
            ended.collect()
        })?;
        let seconds = started.elapsed().as_secs_f64();
        let milliseconds = lists.concat();
        #[expect(clippy::cast_precision_loss, reason = "there are millions at most")]
        let rate = milliseconds.len() as f64 / seconds;
        Ok(Outcome { milliseconds, rate })
    }

    fn one(
        self,
        started: Instant,
        until: Until,
        next: &AtomicU64,
        request: &impl Fn(u64) -> String,
        check: &impl Fn(u64, &Answer<'_>) -> Result<()>,
    ) -> Result<Vec<f64>> {
        let mut connection = None;
        let mut milliseconds = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let over = match until {
                Until::Time(time) => started.elapsed() >= time,
                Until::Requests(count) => number >= count,
            };
            if over {
                return Ok(milliseconds);
            }
            let text = request(number);
            let asked = Instant::now();
            let open = match &mut connection {
                Some(open) => open,
                none => none.insert(Connection::open(self.server)?),
            };
            let closes = open
                .exchange(&text, |answer| check(number, answer))
                .with_context(|| format!("request {number}: {}", text.lines().next().unwrap_or_default()))?;
            let took = asked.elapsed();
            milliseconds.push(took.as_secs_f64() * 1000.0);
            if closes {
                connection = None;
            }
            if let Some(rest) = self.pace.and_then(|pace| pace.checked_sub(took)) {
                std::thread::park_timeout(rest);
            }
        }
    }
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    fn open(server: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(server).with_context(|| format!("connecting to {server}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
        })
    }

    /// One request and its answer; whether the server closes the connection after it.
    fn exchange(&mut self, request: &str, check: impl FnOnce(&Answer<'_>) -> Result<()>) -> Result<bool> {
        self.stream.write_all(request.as_bytes()).context("sending")?;
        self.buffer.clear();
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            if self.buffer.len() > LONGEST_HEAD {
                bail!("the answer's head does not end");
            }
            self.more()?;
        };
        let head = std::str::from_utf8(&self.buffer[..end])
            .context("the answer's head is no text")?
            .to_owned();
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .with_context(|| format!("no status in {head:?}"))?;
        let length: usize = match header(&head, "content-length") {
            Some(length) => length.parse().context("Content-Length")?,
            None if matches!(status, 204 | 304) => 0,
            None => bail!("the answer does not say how long it is: {head}"),
        };
        let whole = end + 4 + length;
        while self.buffer.len() < whole {
            self.more()?;
        }
        let answer = Answer {
            status,
            head: &head,
            body: &self.buffer[end + 4..whole],
        };
        check(&answer)?;
        Ok(header(&head, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close")))
    }

    fn more(&mut self) -> Result<()> {
        let known = self.buffer.len();
        self.buffer.resize(known + 64 * 1024, 0);
        let read = self
            .stream
            .read(&mut self.buffer[known..])
            .context("reading the answer")?;
        self.buffer.truncate(known + read);
        if read == 0 {
            bail!("the connection ended in the middle of the answer");
        }
        Ok(())
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(known, _)| known.eq_ignore_ascii_case(name))?;
    Some(value.trim())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A server that answers each request on a connection with what `answer` makes of its number.
    fn server(answer: fn(usize) -> String) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    for number in 0.. {
                        let mut head = Vec::new();
                        let mut byte = [0];
                        while !head.ends_with(b"\r\n\r\n") {
                            match stream.read(&mut byte) {
                                Ok(1) => head.push(byte[0]),
                                _ => return,
                            }
                        }
                        if stream.write_all(answer(number).as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        address
    }

    fn clients(server: SocketAddr) -> Clients {
        Clients {
            server,
            count: 3,
            pace: None,
        }
    }

    #[test]
    fn every_request_is_sent_once_and_every_answer_read_whole() {
        let server = server(|_| "HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 5\r\n\r\nhello".to_owned());
        let seen = AtomicU64::new(0);
        let outcome = clients(server)
            .run(
                Until::Requests(100),
                |number| format!("GET /{number} HTTP/1.1\r\n\r\n"),
                |number, answer| {
                    seen.fetch_add(number, Ordering::Relaxed);
                    assert_eq!(
                        (answer.status, answer.header("x-a"), answer.body),
                        (200, "b", &b"hello"[..])
                    );
                    Ok(())
                },
            )
            .unwrap();
        assert_eq!((outcome.milliseconds.len(), seen.into_inner()), (100, 4950));
        assert!(outcome.rate > 0.0);
    }

    #[test]
    fn what_is_cut_short_or_says_no_length_is_an_error() {
        for answer in [
            (|_| "HTTP/1.1 200 OK\r\n\r\n".to_owned()) as fn(usize) -> String,
            |_| "nonsense\r\n\r\n".to_owned(),
        ] {
            let outcome = clients(server(answer)).run(
                Until::Requests(1),
                |_| "GET / HTTP/1.1\r\n\r\n".to_owned(),
                |_, _| Ok(()),
            );
            assert!(outcome.is_err());
        }
    }
}
