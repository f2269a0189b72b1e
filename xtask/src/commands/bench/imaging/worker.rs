//! The Worker's transform role as deployed, alone in a workerd: pictures come in the body of a job.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use xtask::http::{Answer, Client};
use xtask::system::ports;
use xtask::temporary::TemporaryFolder;
use xtask::{invoke, random, wait};

/// What workerd is told.
const CONFIGURATION: &str = include_str!("../../../../../bench/workerd.capnp");
const DRAIN: &str = include_str!("../../../../../bench/drain.mjs");
/// How long workerd may take to listen.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long one job may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running workerd; its isolate's memory has seen nothing but this value's jobs.
pub(super) struct Worker {
    process: Child,
    client: Client,
    transform: String,
    drain: String,
    _folder: TemporaryFolder,
}

/// What came of a job.
pub(super) struct Done {
    pub(super) milliseconds: f64,
    /// Of all linear memories and the file, as the Worker says.
    pub(super) memory_mib: u64,
}

impl Worker {
    /// `start` names the program: workerd, pinned to a core.
    pub(super) fn start(mut start: Command, bundle: &Path) -> Result<Self> {
        let folder = TemporaryFolder::new("bench")?;
        let [transform, drain, _] = ports::three_free()?.map(|port| format!("127.0.0.1:{port}"));
        let configuration = CONFIGURATION
            .replace("@TRANSFORM@", &transform)
            .replace("@DRAIN@", &drain)
            .replace("@SECRET@", &random::hex(32)?);
        let write = |name: &str, text: &str| {
            fs::write(folder.path().join(name), text).with_context(|| format!("writing {name} for workerd"))
        };
        write("config.capnp", &configuration)?;
        write("drain.mjs", DRAIN)?;
        std::os::unix::fs::symlink(bundle, folder.path().join("worker")).context("linking the bundle")?;
        start
            .current_dir(folder.path())
            .args(["serve", "config.capnp", "config"])
            .stdout(Stdio::null());
        let worker = Self {
            process: invoke::spawn(&mut start)?,
            client: Client::new(PATIENCE),
            transform: format!("http://{transform}/v1/transform"),
            drain: format!("http://{drain}/"),
            _folder: folder,
        };
        let listens = |address: &String| TcpStream::connect(address).is_ok();
        wait::until(START_LIMIT, || (listens(&transform) && listens(&drain)).then_some(()))
            .ok_or_else(|| anyhow!("workerd does not listen; its message is above"))?;
        Ok(worker)
    }

    /// Transforms a picture. `None` where it is too large for an isolate and would go to the heavy lane.
    pub(super) fn transform(&self, picture: &[u8], options: &str) -> Result<Option<Done>> {
        let job = job(options);
        let (answer, milliseconds) = self.timed(&self.transform, &[("Kado-Job", &job)], picture)?;
        if answer.status == 409 {
            return Ok(None);
        }
        let answer = answer.expect(200)?;
        let facts = answer.header("kado-image");
        let memory_mib = memory(facts).with_context(|| format!("no memory in `{facts}`"))?;
        Ok(Some(Done {
            milliseconds,
            memory_mib,
        }))
    }

    /// The time of sending the same body to a Worker that only reads it.
    pub(super) fn drain(&self, picture: &[u8]) -> Result<f64> {
        let (answer, milliseconds) = self.timed(&self.drain, &[], picture)?;
        let answer = answer.expect(200)?;
        if answer.body != picture.len().to_string().as_bytes() {
            bail!("the body did not arrive whole");
        }
        Ok(milliseconds)
    }

    fn timed(&self, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<(Answer, f64)> {
        let started = Instant::now();
        let answer = self.client.post(url, headers, body)?;
        Ok((answer, started.elapsed().as_secs_f64() * 1000.0))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ended_already = self.process.kill();
        let _status = self.process.wait();
    }
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
