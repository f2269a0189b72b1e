//! The Worker that the gateway is compared with: `bench/bare.mjs` in a workerd of its own.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use xtask::http::Client;
use xtask::system::{RunFile, ports};
use xtask::temporary::TemporaryFolder;
use xtask::{invoke, wait};

use super::super::load::{Answer, Clients, Until};
use super::pinned::Pinned;

const CONFIGURATION: &str = include_str!("../../../../../bench/edge.capnp");
const WORKER: &str = include_str!("../../../../../bench/bare.mjs");
/// How long workerd may take to listen.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Headers that differ from answer to answer, or that the runtime itself writes.
const OF_EACH: [&str; 9] = [
    "x-request-id",
    "date",
    "age",
    "connection",
    "content-length",
    "server-timing",
    "retry-after",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
];

/// An answer of the gateway's that the other Worker is to give.
pub(super) struct Kept {
    pub(super) status: u16,
    /// Names in lower case.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Kept {
    pub(super) fn of(answer: &Answer<'_>) -> Self {
        let lines = answer.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        Self {
            status: answer.status,
            headers: lines
                .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
                .collect(),
            body: answer.body.to_vec(),
        }
    }

    /// Refuses an answer with fewer headers than the gateway's: comparing with less work would say nothing.
    pub(super) fn expect_same_headers(&self, answer: &Answer<'_>) -> Result<()> {
        let other = self.headers.keys().find(|name| answer.header(name).is_empty());
        match other {
            Some(name) => bail!("the Worker that is compared with sends no `{name}`"),
            None => Ok(()),
        }
    }
}

pub(super) struct Bare {
    pub(super) server: SocketAddr,
    process: Child,
    _folder: TemporaryFolder,
}

impl Bare {
    pub(super) fn start(workerd: &Path, pinned: &Pinned, run: &RunFile) -> Result<Self> {
        let folder = TemporaryFolder::new("bare")?;
        let configuration = CONFIGURATION.replace("@CACHE@", &run.cache);
        for (name, text) in [("edge.capnp", configuration.as_str()), ("bare.mjs", WORKER)] {
            fs::write(folder.path().join(name), text).with_context(|| format!("writing {name}"))?;
        }
        let log = File::create(folder.path().join("log")).context("creating a log")?;
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()?));
        let mut start = pinned.program(workerd);
        start
            .current_dir(folder.path())
            .args(["serve", "edge.capnp", "bare"])
            .arg(format!("--socket-addr=http={server}"))
            .stdout(Stdio::from(log));
        let bare = Self {
            server,
            process: invoke::spawn(&mut start)?,
            _folder: folder,
        };
        wait::until(START_LIMIT, || TcpStream::connect(server).ok())
            .ok_or_else(|| anyhow!("workerd does not listen; its message is above"))?;
        Ok(bare)
    }

    /// Has it answer a path as the gateway did.
    pub(super) fn keep(&self, path: &str, kept: &Kept) -> Result<()> {
        let headers: BTreeMap<_, _> = kept
            .headers
            .iter()
            .filter(|(name, _)| !matches!(name.as_str(), "connection" | "date" | "age"))
            .collect();
        let headers = serde_json::to_string(&headers).context("writing the headers")?;
        let status = kept.status.to_string();
        let client = Client::new(Duration::from_secs(10));
        client
            .put(
                &format!("http://{}{path}", self.server),
                &[("kept-headers", &headers), ("kept-status", &status)],
                &kept.body,
            )?
            .expect(200)?;
        // It must be what is asked for then, before anything is measured.
        let ask = |_| super::target::request(path, &self.server.to_string(), &[("x-real-ip", "198.18.0.1")]);
        let clients = Clients {
            server: self.server,
            count: 1,
            pace: None,
        };
        clients.run(Until::Requests(3), ask, |_, answer| {
            kept.expect_same_headers(answer)?;
            let differs = kept
                .headers
                .iter()
                .find(|(name, value)| !OF_EACH.contains(&name.as_str()) && answer.header(name) != value.as_str());
            if let Some((name, value)) = differs {
                bail!(
                    "the Worker that is compared with sends {name}: {} instead of {value}",
                    answer.header(name)
                );
            }
            if answer.status != kept.status || answer.body != kept.body {
                bail!("the Worker that is compared with answers {}", answer.head);
            }
            Ok(())
        })?;
        Ok(())
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ended_already = self.process.kill();
        let _status = self.process.wait();
    }
}
