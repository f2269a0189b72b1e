//! `bench/cases.toml`, and the cases that follow from it.

use std::fs;

use anyhow::{Context, Result, bail};
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
    mean: Vec<Mean>,
    bars: Bars,
    avif: Avif,
    photon: Photon,
    memory: Vec<Memory>,
}

/// A kind of source.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Source {
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

/// A geometric mean over some of the cases, and its bars.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mean {
    pub(super) name: String,
    source: Option<String>,
    size: Option<String>,
    width: Option<u32>,
    output: Option<String>,
    /// Least number of times that the source is wider than the answer.
    shrink: Option<u32>,
    /// The most that it may be for the Worker.
    pub(super) worker: Option<f64>,
    /// The most that it may be for the native engine.
    pub(super) native: Option<f64>,
}

/// Bars of single numbers.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bars {
    /// The most of any case, in parts of sharp's time.
    pub(super) case: f64,
    /// The most to AVIF, in parts of sharp's time.
    pub(super) avif: f64,
    /// The least of photon-rs's time, in parts of ours.
    pub(super) photon: f64,
    /// The most milliseconds of a Worker's start.
    pub(super) start: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Avif {
    source: String,
    size: String,
    options: String,
    settings: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Photon {
    source: String,
    sizes: Vec<String>,
    output: String,
    runs: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Memory {
    source: String,
    name: String,
    width: u32,
    height: u32,
    output: String,
    beside: Option<u32>,
    total: Option<u32>,
}

/// What a job's memory may be at most, in MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MemoryBar {
    /// So much beside the file.
    Beside(u32),
    /// With the file.
    Total(u32),
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

    pub(super) fn means(&self) -> &[Mean] {
        &self.mean
    }

    pub(super) const fn bars(&self) -> Bars {
        self.bars
    }

    /// Those to AVIF, in the manner of [`list`](Self::list).
    pub(super) fn avif(&self, filter: &str, quick: bool) -> Result<Vec<Case>> {
        let output = Output {
            name: "avif".to_owned(),
            options: self.avif.options.clone(),
            settings: self.avif.settings.clone(),
        };
        let size = self.size(&self.avif.size)?;
        let runs = if quick { 3 } else { size.runs };
        self.at_widths(&self.avif.source, &Size { runs, ..size.clone() }, &output, filter)
    }

    /// Those against photon-rs; `quick` takes the first size only.
    pub(super) fn photon(&self, filter: &str, quick: bool) -> Result<Vec<Case>> {
        let sizes = if quick { 1 } else { self.photon.sizes.len() };
        let mut cases = Vec::new();
        for size in self.photon.sizes.iter().take(sizes) {
            let size = Size {
                runs: self.photon.runs,
                ..self.size(size)?.clone()
            };
            cases.extend(self.at_widths(&self.photon.source, &size, self.output(&self.photon.output)?, filter)?);
        }
        Ok(cases)
    }

    /// Those whose memory is looked at.
    pub(super) fn memory(&self, filter: &str) -> Result<Vec<(Case, MemoryBar)>> {
        let mut cases = Vec::new();
        for memory in &self.memory {
            let bar = match (memory.beside, memory.total) {
                (Some(most), None) => MemoryBar::Beside(most),
                (None, Some(most)) => MemoryBar::Total(most),
                _ => bail!(
                    "the memory of {} {}: either `beside` or `total`",
                    memory.name,
                    memory.source
                ),
            };
            let size = Size {
                name: memory.name.clone(),
                width: memory.width,
                height: memory.height,
                runs: 1,
            };
            let of_size = self.at_widths(&memory.source, &size, self.output(&memory.output)?, filter)?;
            cases.extend(of_size.into_iter().map(|case| (case, bar)));
        }
        Ok(cases)
    }

    fn at_widths(&self, source: &str, size: &Size, output: &Output, filter: &str) -> Result<Vec<Case>> {
        let source = self.source.iter().find(|known| known.name == source);
        let source = source.context("a source that is not listed")?;
        let mut cases: Vec<Case> = self
            .widths
            .iter()
            .map(|width| Case {
                source: source.clone(),
                size: size.clone(),
                width: *width,
                output: output.clone(),
            })
            .collect();
        cases.retain(|case| case.name().contains(filter));
        Ok(cases)
    }

    fn size(&self, name: &str) -> Result<&Size> {
        let size = self.size.iter().find(|size| size.name == name);
        size.with_context(|| format!("there is no size `{name}`"))
    }

    fn output(&self, name: &str) -> Result<&Output> {
        let output = self.output.iter().find(|output| output.name == name);
        output.with_context(|| format!("there is no output `{name}`"))
    }
}

impl Mean {
    /// Whether a case counts.
    pub(super) fn covers(&self, case: &Case) -> bool {
        let is = |wanted: &Option<String>, name: &str| wanted.as_ref().is_none_or(|wanted| wanted == name);
        is(&self.source, &case.source.name)
            && is(&self.size, &case.size.name)
            && is(&self.output, &case.output.name)
            && self.width.is_none_or(|width| width == case.width)
            && self.shrink.is_none_or(|shrink| case.size.width >= shrink * case.width)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A case of 12 megapixels, measured nine times.
    pub(in crate::commands::bench::imaging) fn case(source: &str, width: u32, output: &str) -> Case {
        let nothing = Value::Null;
        Case {
            source: Source {
                name: source.to_owned(),
                format: source.to_owned(),
                settings: nothing.clone(),
            },
            size: Size {
                name: "12 MP".to_owned(),
                width: 4000,
                height: 3000,
                runs: 9,
            },
            width,
            output: Output {
                name: output.to_owned(),
                options: format!("format={output}"),
                settings: nothing,
            },
        }
    }

    pub(in crate::commands::bench::imaging) fn committed() -> Cases {
        Cases::parse(include_str!("../../../../../bench/cases.toml")).unwrap()
    }

    #[test]
    fn the_committed_file_holds_every_source_size_width_and_output() {
        let cases = committed();
        let all = cases.list("", false);
        assert_eq!(all.len(), 4 * 3 * 2 * 3);
        assert_eq!(all[0].name(), "12 MP jpeg -> 400 jpeg");
        assert_eq!(all[0].options(), "format=jpeg,quality=80,width=400");
        assert_eq!(cases.list("", true).len(), 4 * 2 * 3);
        assert_eq!(cases.list("100 MP progressive", false).len(), 6);
    }

    #[test]
    fn a_mean_covers_what_is_said_of_it_and_no_more() {
        let cases = committed();
        let all = cases.list("", false);
        let covered = |name: &str| {
            let mean = cases.means().iter().find(|mean| mean.name == name).unwrap();
            all.iter().filter(|case| mean.covers(case)).count()
        };
        assert_eq!(covered("JPEG baseline"), 3 * 2 * 3);
        // All at 400 px, and 100 megapixels at 1200 px.
        assert_eq!(covered("thumbnails of baseline JPEG, 8x and more"), 4 * 3);
        assert_eq!(covered("12 MP JPEG to 1200 px JPEG"), 1);
        assert_eq!(covered("to WebP"), 4 * 3 * 2);
        assert_eq!(covered("all"), all.len());
    }

    #[test]
    fn the_other_measurements_name_what_is_listed() {
        let cases = committed();
        let names = |cases: Vec<Case>| cases.iter().map(Case::name).collect::<Vec<_>>();
        assert_eq!(
            names(cases.avif("", true).unwrap()),
            ["12 MP jpeg -> 400 avif", "12 MP jpeg -> 1200 avif"]
        );
        assert_eq!(cases.photon("", false).unwrap().len(), 2 * 2);
        assert_eq!(names(cases.photon("400", true).unwrap()), ["12 MP jpeg -> 400 jpeg"]);
        let memory = cases.memory("24 MP progressive -> 1200").unwrap();
        assert_eq!(memory.len(), 1);
        assert_eq!(memory[0].1, MemoryBar::Beside(48));
    }

    #[test]
    fn a_misspelt_key_is_an_error() {
        assert!(Cases::parse("width = [1]\nsource = []\nsize = []\noutput = []").is_err());
    }
}
