//! `bench/cases.toml`, and the cases that follow from it.

use std::fs;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;
use xtask::workspace::Workspace;

/// The file, as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cases {
    widths: Vec<u32>,
    source: Vec<Source>,
    size: Vec<Size>,
    output: Vec<Output>,
}

/// A kind of source.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Source {
    /// What it is counted with.
    pub(super) family: String,
    pub(super) name: String,
    /// sharp's name of the format, and its settings.
    pub(super) format: String,
    pub(super) settings: Value,
}

/// A size of sources.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Size {
    pub(super) name: String,
    pub(super) width: u32,
    pub(super) height: u32,
    /// How often a case is measured.
    pub(super) runs: usize,
}

/// A kind of answer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Output {
    /// Also sharp's name of the format.
    pub(super) name: String,
    /// Our options beside the width.
    pub(super) options: String,
    /// sharp's settings that mean the same.
    pub(super) settings: Value,
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Case {
    pub(super) source: Source,
    pub(super) size: Size,
    pub(super) width: u32,
    pub(super) output: Output,
}

impl Case {
    /// As in the table, and what `--cases` is looked for in: `12 MP jpeg -> 400 webp`.
    pub(super) fn name(&self) -> String {
        format!(
            "{} {} -> {} {}",
            self.size.name, self.source.name, self.width, self.output.name
        )
    }

    /// Our options, in normal form.
    pub(super) fn options(&self) -> String {
        format!("{},width={}", self.output.options, self.width)
    }
}

impl Cases {
    pub(super) fn read(workspace: &Workspace) -> Result<Self> {
        let text = fs::read_to_string(workspace.path("bench/cases.toml")).context("reading bench/cases.toml")?;
        Self::parse(&text).context("reading bench/cases.toml")
    }

    fn parse(text: &str) -> Result<Self> {
        Ok(basic_toml::from_str(text)?)
    }

    /// Those whose name contains `filter`, by source and size, so that each large file is made and read once. `quick`
    /// takes the smallest size only, three times.
    pub(super) fn list(&self, filter: &str, quick: bool) -> Vec<Case> {
        let sizes = if quick { 1 } else { self.size.len() };
        let mut cases = Vec::new();
        for source in &self.source {
            for size in self.size.iter().take(sizes) {
                let runs = if quick { 3 } else { size.runs };
                for width in &self.widths {
                    cases.extend(self.output.iter().map(|output| Case {
                        source: source.clone(),
                        size: Size { runs, ..size.clone() },
                        width: *width,
                        output: output.clone(),
                    }));
                }
            }
        }
        cases.retain(|case| case.name().contains(filter));
        cases
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_file_holds_every_family_size_width_and_output() {
        let cases = Cases::parse(include_str!("../../../../../bench/cases.toml")).unwrap();
        let all = cases.list("", false);
        assert_eq!(all.len(), 4 * 3 * 2 * 3);
        assert_eq!(all[0].name(), "12 MP jpeg -> 400 jpeg");
        assert_eq!(all[0].options(), "format=jpeg,quality=80,width=400");
        assert_eq!(cases.list("", true).len(), 4 * 2 * 3);
        assert_eq!(cases.list("100 MP progressive", false).len(), 6);
    }

    #[test]
    fn a_misspelt_key_is_an_error() {
        assert!(Cases::parse("width = [1]\nsource = []\nsize = []\noutput = []").is_err());
    }
}
