//! Starting the edge, speaking to its sockets, and finding its processes.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use kado_shared::job::{JobLimits, JobSource, TransformJob, VERSION};
use kado_shared::tenant::TenantId;
use tokio::net::{TcpStream, UnixStream};

/// Nothing takes longer on the slowest machine that runs these.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

const WORKER: &str = include_str!("worker.mjs");
/// An empty WebAssembly module.
const EMPTY_WASM: &[u8] = b"\0asm\x01\0\0\0";

/// The workerd binary, or nothing where it is not installed and need not be.
pub(crate) fn workerd() -> Option<PathBuf> {
    // Not `.bin/workerd`: unless npm ran install scripts that is a script, and the server a child of it which would stay.
    let packages = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../node_modules/@cloudflare");
    let binaries = std::fs::read_dir(packages).into_iter().flatten().flatten();
    let mut binaries = binaries.map(|package| package.path().join("bin/workerd"));
    if let Some(binary) = binaries.find(|binary| binary.exists()) {
        return Some(binary);
    }
    assert!(
        std::env::var_os("KADO_REQUIRE_ALL").is_none(),
        "workerd is not installed: npm ci"
    );
    println!("not run: workerd is not installed (npm ci)");
    None
}

pub(crate) struct Edge {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    pub(crate) address: SocketAddr,
    pub(crate) sockets: PathBuf,
}

/// The command that starts an edge in this directory.
pub(crate) fn command(dir: &Path, workerd: &Path, more: &[&str]) -> Command {
    let worker = dir.join("build");
    std::fs::create_dir_all(&worker).unwrap();
    std::fs::write(worker.join("entry.js"), WORKER).unwrap();
    for name in [
        "index_bg.wasm",
        "avif-enc.wasm",
        "kado_edge_av1.wasm",
        "webp_enc_simd.wasm",
    ] {
        std::fs::write(worker.join(name), EMPTY_WASM).unwrap();
    }
    let mut binary = std::env::current_exe().unwrap();
    binary.pop();
    binary.pop();
    let mut command = Command::new(binary.join("examples/kado-edge"));
    command
        .args([
            "--listen",
            "127.0.0.1:0",
            "--origin",
            "127.0.0.1:9",
            "--internal",
            "127.0.0.1:9",
        ])
        .args([
            "--cache",
            "127.0.0.1:9",
            "--transform-processes",
            "1",
            "--drain-seconds",
            "10",
        ])
        .arg("--state-dir")
        .arg(dir.join("state"))
        .arg("--socket-dir")
        .arg(dir.join("s"))
        .arg("--worker-dir")
        .arg(worker)
        .arg("--workerd")
        .arg(workerd)
        .args(more)
        .env_remove("CLIENT_IP")
        .env_remove("TRUSTED_PROXIES")
        .env("EDGE_SECRET", "a secret of the tests that is long enough to sign with")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

impl Edge {
    /// Starts an edge; later flags win over the usual ones.
    pub(crate) async fn start(dir: &Path, workerd: &Path, more: &[&str]) -> Self {
        let mut child = command(dir, workerd, more).spawn().unwrap();
        let log = Arc::<Mutex<Vec<String>>>::default();
        let stdout = child.stdout.take().unwrap();
        let lines = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        let placeholder = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut edge = Self {
            child,
            log,
            address: placeholder,
            sockets: dir.join("s"),
        };
        let event = edge.event("listening").await;
        edge.address = event["address"].as_str().unwrap().parse().unwrap();
        let processes = wanted_transforms(more);
        edge.until("every transform process is up", || edge.transforms().len() == processes)
            .await;
        edge
    }

    /// Waits for a log line of this event.
    pub(crate) async fn event(&mut self, event: &str) -> serde_json::Value {
        let start = Instant::now();
        loop {
            if let Some(found) = self.events(event).first() {
                return found.clone();
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("the edge ended with {status}: {:?}", self.log.lock().unwrap());
            }
            assert!(start.elapsed() < LIMIT, "no {event}: {:?}", self.log.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn events(&self, event: &str) -> Vec<serde_json::Value> {
        let log = self.log.lock().unwrap();
        log.iter()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter(|line| line["event"] == event)
            .collect()
    }

    /// Waits until a condition holds.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let start = Instant::now();
        while !holds() {
            assert!(start.elapsed() < LIMIT, "never: {what}: {:?}", self.log.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Processes that answer now, by name, from the log.
    fn up(&self, prefix: &str) -> Vec<u32> {
        self.events("process-up")
            .iter()
            .filter(|e| e["process"].as_str().unwrap().starts_with(prefix))
            .map(|e| u32::try_from(e["pid"].as_u64().unwrap()).unwrap())
            .filter(|pid| runs(*pid))
            .collect()
    }

    pub(crate) fn gateway(&self) -> u32 {
        self.up("gateway").last().copied().unwrap_or_default()
    }

    pub(crate) fn transforms(&self) -> Vec<u32> {
        self.up("transform-")
    }

    /// The one transform process, once there is one again.
    pub(crate) async fn transform(&self) -> u32 {
        self.until("one transform process", || self.transforms().len() == 1)
            .await;
        self.transforms().first().copied().unwrap_or_default()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let mut client = Client::over(stream).await;
        client.send("GET", path, &[], vec![]).await.unwrap()
    }

    pub(crate) async fn dispatcher(&self) -> Client {
        Client::over(UnixStream::connect(self.sockets.join("dispatch.sock")).await.unwrap()).await
    }

    /// Runs a job on a connection of its own.
    pub(crate) async fn job(&self, job: &Job) -> Reply {
        self.dispatcher().await.job(job, vec![]).await.unwrap()
    }

    pub(crate) async fn end(&mut self) -> ExitStatus {
        signal(self.pid(), "TERM");
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < LIMIT, "did not end: {:?}", self.log.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn wanted_transforms(flags: &[&str]) -> usize {
    let at = flags.iter().position(|a| *a == "--transform-processes");
    at.map_or(1, |i| flags[i + 1].parse().unwrap())
}

impl Drop for Edge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a process exists and is no zombie.
pub(crate) fn runs(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| !rest.starts_with('Z')))
}

/// Inodes of the connections that a transform process has accepted.
pub(crate) fn connections(pid: u32) -> Vec<String> {
    let Ok(handles) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return Vec::new();
    };
    let own: Vec<String> = handles
        .filter_map(|h| std::fs::read_link(h.ok()?.path()).ok())
        .filter_map(|l| {
            l.to_str()?
                .strip_prefix("socket:[")?
                .strip_suffix(']')
                .map(str::to_owned)
        })
        .collect();
    let table = std::fs::read_to_string("/proc/net/unix").unwrap();
    let accepted = table.lines().filter_map(|line| {
        // Columns: number, references, protocol, flags, type, state (03 is connected), inode, path.
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let ours = fields.get(5) == Some(&"03") && fields.get(7)?.contains("transform-");
        ours.then(|| (*fields.get(6).unwrap_or(&"")).to_owned())
    });
    accepted.filter(|inode| own.contains(inode)).collect()
}

pub(crate) fn signal(pid: u32, name: &str) {
    let status = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

/// Numbers of `--metrics-listen`.
pub(crate) struct Metrics(SocketAddr);

impl Metrics {
    pub(crate) const FLAGS: [&str; 2] = ["--metrics-listen", "127.0.0.1:0"];

    pub(crate) fn of(edge: &Edge) -> Self {
        Self(
            edge.events("metrics-listening")[0]["address"]
                .as_str()
                .unwrap()
                .parse()
                .unwrap(),
        )
    }

    pub(crate) async fn get(&self, sample: &str) -> u64 {
        let stream = TcpStream::connect(self.0).await.unwrap();
        let reply = Client::over(stream)
            .await
            .send("GET", "/metrics", &[], vec![])
            .await
            .unwrap();
        let line = reply
            .text()
            .lines()
            .find(|l| l.starts_with(&format!("{sample} ")))
            .unwrap()
            .to_owned();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    pub(crate) async fn until(&self, sample: &str, value: u64) {
        let start = Instant::now();
        while self.get(sample).await != value {
            assert!(start.elapsed() < LIMIT, "{sample} never came to {value}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

pub(crate) const WAITING: &str = "kado_edge_transform_waiting";
pub(crate) const IDLE: &str = "kado_edge_transform_idle";

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn is_busy(&self) -> bool {
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        self.status == 503 && problem["code"] == "busy" && self.headers.contains_key("retry-after")
    }
}

pub(crate) struct Client {
    pub(crate) sender: SendRequest<Full<Bytes>>,
    /// Dropping the client drops the connection.
    connection: tokio::task::JoinHandle<()>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Client {
    pub(crate) async fn over(
        stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    ) -> Self {
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(async move {
            let _ = connection.await;
        });
        Self { sender, connection }
    }

    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Reply, hyper::Error> {
        let mut request = Request::builder().method(method).uri(path).header("host", "edge.test");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        let exchange = async {
            let (head, body) = self.sender.send_request(request).await?.into_parts();
            Ok(Reply {
                status: head.status,
                headers: head.headers,
                body: body.collect().await?.to_bytes(),
            })
        };
        tokio::time::timeout(LIMIT, exchange).await.expect("an answer in time")
    }

    pub(crate) async fn job(&mut self, job: &Job, body: Vec<u8>) -> Result<Reply, hyper::Error> {
        self.send(
            "POST",
            "/v1/transform",
            &[("kado-job", &job.header()), ("x-more", "1")],
            body,
        )
        .await
    }
}

/// A job for the tests' Worker: its options are a command.
#[derive(Clone)]
pub(crate) struct Job {
    pub(crate) command: String,
    pub(crate) tenant: u128,
    pub(crate) deadline_ms: u64,
}

impl Job {
    pub(crate) fn new(command: &str) -> Self {
        Self {
            command: command.to_owned(),
            tenant: 1,
            deadline_ms: 30_000,
        }
    }

    pub(crate) fn of(mut self, tenant: u128) -> Self {
        self.tenant = tenant;
        self
    }

    pub(crate) fn within(mut self, deadline_ms: u64) -> Self {
        self.deadline_ms = deadline_ms;
        self
    }

    pub(crate) fn header(&self) -> String {
        TransformJob {
            v: VERSION,
            tenant: TenantId(uuid::Uuid::from_u128(self.tenant)),
            options: self.command.clone(),
            source: JobSource::Body,
            limits: JobLimits {
                max_bytes: 1,
                max_pixels: 1,
            },
            deadline_ms: self.deadline_ms,
            request_id: "request-of-a-test".to_owned(),
            client_ip: "192.0.2.1".to_owned(),
            traceparent: None,
            via: None,
        }
        .to_header()
    }
}
