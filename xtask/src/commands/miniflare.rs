//! The black-box suite against the built Worker under miniflare, Cloudflare's simulator, configured as on Cloudflare: an
//! object per key, the client's address in `CF-Connecting-IP`, miniflare's cache.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde_json::Value;
use xtask::invoke;
use xtask::system::System;
use xtask::tools::{self, NodeModules};
use xtask::workspace::Workspace;

/// How long miniflare may take to listen.
const START_LIMIT: Duration = Duration::from_secs(60);

/// What of the suite is about other parts than the Worker, or about what a simulator of one isolate has not: `kado edge`
/// and its metrics, logs and pool; a system of the test's own; a browser that knows the edge's address; many clients that
/// are told apart by a header of a proxy's.
pub(super) const FILTER: &str = "not (binary(outage) | binary(gateways) | binary(behind_it_all) | binary(browser) | \
    binary(metrics) | binary(heavy) | binary(health) | binary(traces) | binary(shadow) | binary(lanes) | \
    test(the_time_of_each_stage_is_told) | test(a_rule_in_shadow))";

/// miniflare, with the system's origin behind it; ends with this value.
pub(super) struct Miniflare {
    process: Child,
    /// A copy of the system's run file that names miniflare as the edge.
    pub(super) run_file: PathBuf,
}

impl Miniflare {
    /// Starts it beside a running system whose data is in `data`. What it writes goes to `log`.
    pub(super) fn start(
        workspace: &Workspace,
        modules: &NodeModules,
        system: &System,
        data: &Path,
        log: &Path,
    ) -> Result<Self> {
        let mut command = invoke::command(tools::modern_node(modules)?);
        system.secrets().give_to(&mut command);
        let file = File::create(log).with_context(|| format!("creating {}", log.display()))?;
        command
            .arg(workspace.path("tests/miniflare.mjs"))
            .arg(modules.folder().join("miniflare/dist/src/index.js"))
            .arg(workspace.path("build"))
            .arg(data.join("edge/workerd.capnp"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(file);
        let process = invoke::spawn(&mut command)?;
        let run_file = data.join("miniflare.json");
        let mut miniflare = Self { process, run_file };
        let edge = miniflare
            .listening()
            .with_context(|| format!("miniflare; see {}", log.display()))?;
        let text = fs::read_to_string(&system.run_file().path).context("reading run.json")?;
        let mut run: Value = serde_json::from_str(&text).context("reading run.json")?;
        run["edge"] = edge.into();
        fs::write(&miniflare.run_file, run.to_string())
            .with_context(|| format!("writing {}", miniflare.run_file.display()))?;
        Ok(miniflare)
    }

    /// Where it listens. What it writes from then on is read and let go, so that it never waits for a reader.
    fn listening(&mut self) -> Result<String> {
        let output = self.process.stdout.take().context("miniflare has no output")?;
        let (said, first) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // Only the first is waited for.
                let _later = said.send(line);
            }
        });
        let line = first
            .recv_timeout(START_LIMIT)
            .map_err(|_| anyhow!("it does not listen"))?;
        let told: Value = serde_json::from_str(&line).with_context(|| format!("it says {line:?}"))?;
        let url = told.get("url").and_then(Value::as_str);
        Ok(url.with_context(|| format!("it says {line:?}"))?.to_owned())
    }

    /// Has a suite use it as the edge, one test at a time: it has one isolate that makes pictures.
    pub(super) fn give_to(&self, suite: &mut Command) {
        suite
            .env("KADO_RUN_FILE", &self.run_file)
            .args(["--test-threads=1", "-E", FILTER]);
    }
}

impl Drop for Miniflare {
    fn drop(&mut self) {
        // It ends workerd when its input ends.
        drop(self.process.stdin.take());
        let ended = xtask::wait::until(Duration::from_secs(5), || self.process.try_wait().ok().flatten());
        if ended.is_none() {
            let _ended_already = self.process.kill();
            let _status = self.process.wait();
        }
    }
}
