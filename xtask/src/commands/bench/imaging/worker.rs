//! Workers in a workerd of their own: above all the transform role as deployed, whose pictures come in the body of a job.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use xtask::http::{Answer, Client};
use xtask::system::ports;
use xtask::temporary::TemporaryFolder;
use xtask::{invoke, random, wait};

use super::kit::Kit;

/// What workerd is told, and the modules that are not built.
const FILES: [(&str, &str); 6] = [
    ("workerd.capnp", include_str!("../../../../../bench/workerd.capnp")),
    ("photon.capnp", include_str!("../../../../../bench/photon.capnp")),
    ("drain.mjs", include_str!("../../../../../bench/drain.mjs")),
    ("photon.mjs", include_str!("../../../../../bench/photon.mjs")),
    ("counted.mjs", include_str!("../../../../../bench/counted.mjs")),
    ("counter.mjs", include_str!("../../../../../bench/counter.mjs")),
];
/// How long workerd may take to listen.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long one job may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Header that says how many modules a Worker has instantiated.
const INSTANCES: &str = "kado-instances";

/// A configuration of `bench/workerd.capnp`, or of `bench/photon.capnp`.
#[derive(Clone, Copy)]
pub(super) enum Configuration<'a> {
    /// The transform role, and the Worker that drains.
    Transform,
    /// The same and photon-rs, whose modules are in this folder.
    Photon(&'a Path),
    /// The Worker that drains, alone.
    Drain,
    /// The transform role, alone.
    TransformAlone,
    /// The gateway role, without anything behind it.
    Gateway,
    /// The transform role, counting instances.
    Counted,
}

impl Configuration<'_> {
    /// The file, and the name in it.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Transform => ("workerd.capnp", "transform"),
            Self::Photon(_) => ("photon.capnp", "photon"),
            Self::Drain => ("workerd.capnp", "drain"),
            Self::TransformAlone => ("workerd.capnp", "transformAlone"),
            Self::Gateway => ("workerd.capnp", "gateway"),
            Self::Counted => ("workerd.capnp", "counted"),
        }
    }

    /// Names of its sockets.
    const fn sockets(self) -> &'static [&'static str] {
        match self {
            Self::Transform => &["transform", "drain"],
            Self::Photon(_) => &["transform", "drain", "photon"],
            Self::Drain => &["drain"],
            Self::TransformAlone | Self::Counted => &["transform"],
            Self::Gateway => &["gateway"],
        }
    }
}

/// A running workerd; its isolates' memory has seen nothing but this value's jobs.
pub(super) struct Worker {
    process: Child,
    started: Instant,
    client: Client,
    /// Sockets by name.
    ports: Vec<(&'static str, u16)>,
    _folder: TemporaryFolder,
}

/// Milliseconds until the first answer, since the process was started and since it was asked.
pub(super) struct FirstAnswer {
    pub(super) since_start: f64,
    pub(super) since_asked: f64,
}

/// What came of a job.
pub(super) struct Done {
    pub(super) milliseconds: f64,
    /// Of all linear memories and the file, as the Worker says.
    pub(super) memory_mib: u64,
    /// Of WebAssembly modules so far, where the Worker counts them.
    pub(super) instances: Option<u32>,
    /// The picture.
    pub(super) bytes: Vec<u8>,
}

impl Worker {
    /// Starts workerd, pinned to the core, and waits until it listens.
    pub(super) fn start(kit: &Kit, configuration: Configuration<'_>) -> Result<Self> {
        let worker = Self::spawn(kit, configuration)?;
        wait::until(START_LIMIT, || worker.listens().then_some(()))
            .ok_or_else(|| anyhow!("workerd does not listen; its message is above"))?;
        Ok(worker)
    }

    /// The same without waiting.
    pub(super) fn spawn(kit: &Kit, configuration: Configuration<'_>) -> Result<Self> {
        let folder = TemporaryFolder::new("bench")?;
        let secret = random::hex(32)?;
        for (name, text) in FILES {
            fs::write(folder.path().join(name), text.replace("@SECRET@", &secret))
                .with_context(|| format!("writing {name} for workerd"))?;
        }
        let link = |name: &str, to: &Path| {
            std::os::unix::fs::symlink(to, folder.path().join(name)).with_context(|| format!("linking {name}"))
        };
        link("worker", &kit.bundle)?;
        if let Configuration::Photon(modules) = configuration {
            link("photon", modules)?;
        }
        let sockets = configuration.sockets().iter().copied();
        let ports: Vec<(&str, u16)> = sockets.zip(ports::several_free::<3>()?).collect();
        let (file, name) = configuration.names();
        let mut start = kit.core.pin(&kit.workerd);
        start
            .current_dir(folder.path())
            .args(["serve", file, name])
            .stdout(Stdio::null());
        for (socket, port) in &ports {
            start.arg(format!("--socket-addr={socket}=127.0.0.1:{port}"));
        }
        let started = Instant::now();
        Ok(Self {
            process: invoke::spawn(&mut start)?,
            started,
            client: Client::new(PATIENCE),
            ports,
            _folder: folder,
        })
    }

    fn listens(&self) -> bool {
        let mut ports = self.ports.iter();
        ports.all(|(_, port)| TcpStream::connect(("127.0.0.1", *port)).is_ok())
    }

    /// The operating system's number of the process.
    pub(super) fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Waits until a spawned workerd listens, and asks at once.
    pub(super) fn first_answer(&self, ask: impl FnOnce(&Self) -> Result<()>) -> Result<FirstAnswer> {
        while !self.listens() {
            if self.started.elapsed() > START_LIMIT {
                bail!("workerd does not listen; its message is above");
            }
            // Finer than what is measured, and on another core.
            std::thread::park_timeout(Duration::from_micros(200));
        }
        let asked = Instant::now();
        ask(self)?;
        Ok(FirstAnswer {
            since_start: self.started.elapsed().as_secs_f64() * 1000.0,
            since_asked: asked.elapsed().as_secs_f64() * 1000.0,
        })
    }

    /// Transforms a picture. `None` where it is too large for an isolate and would go to the heavy lane.
    pub(super) fn transform(&self, picture: &[u8], options: &str) -> Result<Option<Done>> {
        let job = job(options);
        let (answer, milliseconds) = self.timed("transform", "v1/transform", &[("Kado-Job", &job)], picture)?;
        if answer.status == 409 {
            return Ok(None);
        }
        done(answer.expect(200)?, milliseconds).map(Some)
    }

    /// The same by photon-rs, from JPEG to JPEG. `None` where it fails.
    pub(super) fn photon(&self, picture: &[u8], width: u32, quality: u8) -> Result<Option<Done>> {
        let query = format!("?width={width}&quality={quality}");
        let (answer, milliseconds) = self.timed("photon", &query, &[], picture)?;
        if answer.status == 500 {
            return Ok(None);
        }
        done(answer.expect(200)?, milliseconds).map(Some)
    }

    /// The time of sending the same body to a Worker that only reads it.
    pub(super) fn drain(&self, picture: &[u8]) -> Result<f64> {
        let (answer, milliseconds) = self.timed("drain", "", &[], picture)?;
        let answer = answer.expect(200)?;
        if answer.body != picture.len().to_string().as_bytes() {
            bail!("the body did not arrive whole");
        }
        Ok(milliseconds)
    }

    /// Asks the gateway whether it lives.
    pub(super) fn liveness(&self) -> Result<()> {
        let address = self.address("gateway", "api/health/liveness")?;
        self.client.get(&address, &[])?.expect(200)?;
        Ok(())
    }

    fn address(&self, socket: &str, path: &str) -> Result<String> {
        let port = self.ports.iter().find(|(name, _)| *name == socket);
        let (_, port) = port.ok_or_else(|| anyhow!("this workerd has no socket `{socket}`"))?;
        Ok(format!("http://127.0.0.1:{port}/{path}"))
    }

    fn timed(&self, socket: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<(Answer, f64)> {
        let address = self.address(socket, path)?;
        let started = Instant::now();
        let answer = self.client.post(&address, headers, body)?;
        Ok((answer, started.elapsed().as_secs_f64() * 1000.0))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ended_already = self.process.kill();
        let _status = self.process.wait();
    }
}

fn done(answer: Answer, milliseconds: f64) -> Result<Done> {
    let facts = answer.header("kado-image");
    Ok(Done {
        milliseconds,
        memory_mib: memory(facts).with_context(|| format!("no memory in `{facts}`"))?,
        instances: answer.header(INSTANCES).parse().ok(),
        bytes: answer.body,
    })
}

/// The header that asks for a transform of the body. Of its limits only the memory of an isolate is left: a PNG of a
/// hundred megapixels is a larger file than anybody may send.
fn job(options: &str) -> String {
    let job = json!({
        "v": 1,
        "tenant": "00000000-0000-0000-0000-000000000001",
        "options": options,
        "source": { "kind": "body" },
        "limits": { "maxBytes": 1024 * 1024 * 1024, "maxPixels": 100_000_000 },
        "deadlineMs": PATIENCE.as_millis(),
        "requestId": "bench",
        "clientIp": "127.0.0.1",
    });
    URL_SAFE_NO_PAD.encode(job.to_string())
}

/// `mem=<n>MiB` of a `Kado-Image` header.
fn memory(facts: &str) -> Option<u64> {
    let (_, tail) = facts.rsplit_once("mem=")?;
    tail.strip_suffix("MiB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::memory;

    #[test]
    fn the_workers_memory_is_read() {
        assert_eq!(memory("in=1x1 jpeg 9; out=1x1 png 9; lane=edge; mem=24MiB"), Some(24));
        assert_eq!(memory("lane=edge"), None);
    }
}
