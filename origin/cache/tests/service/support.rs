//! A service in this process or in one of its own, and a client that speaks workerd's side of the protocol.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use kado_cache::{Address, Clock, Config, Listener, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) const MIB: usize = 1024 * 1024;
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A clock that stands still until it is moved.
#[derive(Clone)]
pub(crate) struct TestClock(Arc<AtomicU64>);

impl TestClock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(1_800_000_000_000)))
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.0.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    fn as_clock(&self) -> Clock {
        let time = Arc::clone(&self.0);
        Arc::new(move || time.load(Ordering::SeqCst))
    }
}

/// A service inside the test.
pub(crate) struct Service {
    pub(crate) socket: PathBuf,
    pub(crate) clock: TestClock,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

pub(crate) fn config(dir: &Path, clock: &TestClock) -> Config {
    Config {
        dir: dir.join("cache"),
        memory_bytes: 4 * MIB,
        disk_bytes: 16 * MIB,
        max_object_bytes: MIB,
        reserve_disk: true,
        clock: clock.as_clock(),
    }
}

impl Service {
    pub(crate) async fn start(dir: &Path) -> Self {
        Self::start_with(dir, TestClock::new(), |_| {}).await
    }

    pub(crate) async fn start_with(dir: &Path, clock: TestClock, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config(dir, &clock);
        change(&mut config);
        let socket = dir.join("s");
        let listener = Listener::bind(&Address::Unix(socket.clone())).await.unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            serve(config, listener, async move {
                let _ = stopped.await;
            })
            .await
            .unwrap();
        });
        Self {
            socket,
            clock,
            stop: Some(stop),
            task,
        }
    }

    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        tokio::time::timeout(LIMIT, self.task)
            .await
            .expect("the service ends in time")
            .unwrap();
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(&self.socket).await
    }
}

/// A service in a process of its own, so that it can be killed.
pub(crate) struct Process {
    pub(crate) socket: PathBuf,
    child: Child,
}

impl Process {
    pub(crate) async fn start(dir: &Path) -> Self {
        let socket = dir.join("s");
        let child = Command::new(example())
            .args(["--listen", &format!("unix:{}", socket.display()), "--dir"])
            .arg(dir.join("cache"))
            .args([
                "--memory-bytes",
                "4194304",
                "--disk-bytes",
                "16777216",
                "--max-object-bytes",
                "1048576",
            ])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let process = Self { socket, child };
        let start = Instant::now();
        while UnixStream::connect(&process.socket).await.is_err() {
            assert!(start.elapsed() < LIMIT, "the service did not listen");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        process
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(&self.socket).await
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The example's binary, which cargo builds beside the tests.
fn example() -> PathBuf {
    let mut dir = std::env::current_exe().unwrap();
    dir.pop();
    dir.pop();
    dir.join("examples/kado-cache")
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn cache_status(&self) -> &str {
        self.headers.get("cf-cache-status").map_or("", |v| v.to_str().unwrap())
    }

    pub(crate) fn is_hit(&self) -> bool {
        self.cache_status() == "HIT"
    }

    pub(crate) fn is_miss(&self) -> bool {
        self.status == 504 && self.cache_status() == "MISS"
    }
}

/// One kept-alive connection.
pub(crate) struct Client {
    sender: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
}

impl Client {
    pub(crate) async fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        Self { sender }
    }

    pub(crate) async fn send(&mut self, method: &str, url: &str, fields: &[(&str, &str)], body: Vec<u8>) -> Reply {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        tokio::time::timeout(LIMIT, async {
            self.sender.ready().await.unwrap();
            let (head, body) = self.sender.send_request(request).await.unwrap().into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            Reply {
                status: head.status,
                headers: head.headers,
                body,
            }
        })
        .await
        .expect("an answer in time")
    }

    pub(crate) async fn find(&mut self, url: &str) -> Reply {
        self.find_with(url, &[]).await
    }

    pub(crate) async fn find_with(&mut self, url: &str, fields: &[(&str, &str)]) -> Reply {
        let mut all = vec![("cache-control", "only-if-cached")];
        all.extend_from_slice(fields);
        self.send("GET", url, &all, vec![]).await
    }

    pub(crate) async fn put(&mut self, url: &str, fields: &[(&str, &str)], body: &[u8]) -> StatusCode {
        self.send("PUT", url, &[], message(200, fields, body)).await.status
    }

    pub(crate) async fn purge(&mut self, url: &str) -> StatusCode {
        self.send("PURGE", url, &[], vec![]).await.status
    }

    pub(crate) async fn stats(&mut self) -> serde_json::Value {
        let reply = self
            .send("GET", "/__cache/stats", &[("host", kado_cache::STATS_HOST)], vec![])
            .await;
        assert_eq!(reply.status, 200);
        serde_json::from_slice(&reply.body).unwrap()
    }

    /// Asks until the statistics satisfy the condition.
    pub(crate) async fn stats_until(&mut self, holds: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let start = Instant::now();
        loop {
            let stats = self.stats().await;
            if holds(&stats) {
                return stats;
            }
            assert!(start.elapsed() < LIMIT, "never came to hold: {stats}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A stored response as workerd writes it.
pub(crate) fn message(status: u16, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status} Reason\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in fields {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    [text.as_bytes(), body].concat()
}

pub(crate) const FRESH: (&str, &str) = ("Cache-Control", "max-age=600");

/// Bytes that differ from place to place, and by seed.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        })
        .collect()
}

/// Sends these bytes, then closes; whatever is answered before that is returned.
pub(crate) async fn send_and_close(socket: &Path, bytes: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(LIMIT, stream.read_to_end(&mut answer))
        .await
        .expect("an end in time");
    answer
}
