//! A Node that is new enough for wrangler: the machine's own, or the one that npm brought.

use std::path::PathBuf;

use anyhow::{Result, bail};

use super::npm::{NodeModules, platform};
use super::version;
use crate::invoke;

/// The oldest major version that wrangler 4 runs on.
const OLDEST: u64 = 22;

/// The path of a Node of at least version 22.
///
/// # Errors
/// When neither the machine nor `node_modules` has one.
pub fn modern_node(modules: &NodeModules) -> Result<PathBuf> {
    let (os, arch) = platform()?;
    let packaged = ["node", "node-bin"].map(|prefix| modules.folder().join(format!("{prefix}-{os}-{arch}/bin/node")));
    for candidate in packaged.into_iter().chain(invoke::find_on_path("node")) {
        let text = invoke::read(invoke::command(&candidate).arg("--version")).unwrap_or_default();
        if version::find(&text).is_some_and(|(major, ..)| major >= OLDEST) {
            return Ok(candidate);
        }
    }
    bail!("wrangler needs Node {OLDEST} or newer: this machine has none, and npm brought none for {os}-{arch}")
}
