//! docs/PERFORMANCE.md: each bench has a section between markers of its own.

use std::fs;
use std::io::Write as _;

use anyhow::{Context, Result, bail};
use serde_json::json;
use xtask::invoke;
use xtask::workspace::Workspace;

use super::partner::Partner;

const DOCUMENT: &str = "docs/PERFORMANCE.md";

/// What a number means nothing without.
pub(super) struct Circumstances {
    pub(super) command: String,
    pub(super) date: String,
    pub(super) machine: String,
    pub(super) sharp: String,
    pub(super) profile: String,
}

impl Circumstances {
    pub(super) fn now(command: String, machine: String, sharp: &mut Partner, profile: &str) -> Result<Self> {
        let versions = sharp.ask(&json!({ "action": "version" }))?;
        let version = |name: &str| versions[name].as_str().unwrap_or("?").to_owned();
        Ok(Self {
            command,
            date: invoke::read(invoke::command("date").args(["-u", "+%F"]))?
                .trim()
                .to_owned(),
            machine,
            sharp: format!("sharp {} (libvips {})", version("sharp"), version("vips")),
            profile: profile.to_owned(),
        })
    }
}

/// The processor's name.
pub(super) fn processor() -> String {
    let described = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    described
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown processor", |rest| rest.trim_start_matches([':', '\t', ' ']))
        .to_owned()
}

pub(super) fn print(section: &str) -> Result<()> {
    write!(std::io::stdout().lock(), "\n{section}").context("writing the table")
}

/// Puts a bench's section into the document.
pub(super) fn write(workspace: &Workspace, bench: &str, section: &str) -> Result<()> {
    let path = workspace.path(DOCUMENT);
    let document = fs::read_to_string(&path).with_context(|| format!("reading {DOCUMENT}"))?;
    fs::write(&path, replaced(&document, bench, section)?).with_context(|| format!("writing {DOCUMENT}"))
}

/// The document with another section between the bench's markers.
fn replaced(document: &str, bench: &str, section: &str) -> Result<String> {
    let [begin, end] = ["begin", "end"].map(|which| format!("<!-- bench {bench}: {which} -->"));
    let Some((before, rest)) = document.split_once(&begin) else {
        bail!("{DOCUMENT} has no line {begin}");
    };
    let Some((_, after)) = rest.split_once(&end) else {
        bail!("{DOCUMENT} has no line {end}");
    };
    Ok(format!("{before}{begin}\n{section}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_is_replaced() {
        let document = "above\n<!-- bench a: begin -->\nold\n<!-- bench a: end -->\nbelow\n";
        let new = replaced(document, "a", "new\n").unwrap();
        assert_eq!(
            new,
            "above\n<!-- bench a: begin -->\nnew\n<!-- bench a: end -->\nbelow\n"
        );
        assert_eq!(replaced(&new, "a", "new\n").unwrap(), new);
        assert!(replaced(&new, "b", "new\n").is_err());
    }
}
