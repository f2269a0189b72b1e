//! To AVIF, where settings of the same name mean different things: against the fastest of sharp's efforts that gives no
//! more bytes than the Worker at the same SSIMULACRA2 score.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use xtask::temporary::TemporaryFolder;
use xtask::workspace::Workspace;
use xtask::{cargo, progress};

use super::Arguments;
use super::bench::Bench;
use super::cases::{Case, Cases};
use super::measure::{OfWorker, WarmUp, milliseconds, question, worker_round};
use super::report::{Circumstances, at_most};
use super::worker::{Configuration, Worker};
use crate::commands::bench::numbers::{geometric_mean, median};
use crate::commands::bench::partner::Partner;

/// sharp's, the fastest first.
const EFFORTS: std::ops::RangeInclusive<u8> = 0..=9;
/// Scores that differ by no more are the same.
const SAME_SCORE: f64 = 0.3;
/// Where the search for sharp's quality begins.
const FIRST_QUALITY: u8 = 60;
/// How far it goes at first.
const FIRST_STEP: u8 = 4;

/// What compares pictures.
struct Judge {
    score: Partner,
    folder: TemporaryFolder,
}

/// An answer's weight and looks.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Weighed {
    bytes: f64,
    score: f64,
}

/// sharp's quality at which an effort gives a picture of the wanted score.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Equal {
    quality: u8,
    /// At the wanted score: on a line between two qualities where none has it.
    weighed: Weighed,
}

/// What came of a case.
struct Measured {
    case: Case,
    ours: Weighed,
    effort: u8,
    /// Whether it gives no more bytes than ours.
    is_as_small: bool,
    theirs: Equal,
    worker: f64,
    sharp: f64,
}

pub(super) fn section(
    workspace: &Workspace,
    arguments: &Arguments,
    bench: &mut Bench,
    cases: &Cases,
    circumstances: &Circumstances,
) -> Result<String> {
    let program = progress::step(format_args!("Building the score ({})", arguments.profile), || {
        cargo::build_example(workspace, "kado-image", "kado-image-score", &arguments.profile)
    })?;
    let mut judge = Judge {
        score: Partner::start(&mut xtask::invoke::command(program))?,
        folder: TemporaryFolder::new("bench")?,
    };
    let mut measured = Vec::new();
    for case in cases.avif(&arguments.cases, arguments.quick)? {
        measured.push(progress::step(case.name(), || measure(bench, &mut judge, case))?);
    }
    Ok(text(&measured, cases.bars().avif, circumstances))
}

fn measure(bench: &mut Bench, judge: &mut Judge, case: Case) -> Result<Measured> {
    let file = bench.file(&case)?;
    let picture = bench.picture(&case)?;
    let worker = Worker::start(&bench.kit, Configuration::Transform)?;
    let options = case.options();
    let done = worker.transform(&picture, &options)?;
    let answer = judge.path("ours.avif");
    fs::write(&answer, done.context("the picture is the heavy lane's")?.bytes).context("writing our answer")?;
    let our_coding = coding(&mut bench.sharp, &answer)?;
    judge.refer(&mut bench.sharp, &file, &answer)?;
    let ours = judge.weigh(&mut bench.sharp, &answer)?;
    let mut asked = question(&case, &file);
    let mut chosen = None;
    for effort in EFFORTS {
        asked["settings"]["effort"] = json!(effort);
        let found = search(ours.score, chosen.map_or(FIRST_QUALITY, quality_of), |quality| {
            asked["settings"]["quality"] = json!(quality);
            let theirs = judge.path("theirs.avif");
            asked["output"] = json!(theirs);
            bench.sharp.ask(&asked)?;
            let their_coding = coding(&mut bench.sharp, &theirs)?;
            ensure!(
                our_coding == their_coding,
                "ours is {our_coding}, sharp's {their_coding}"
            );
            judge.weigh(&mut bench.sharp, &theirs)
        })?;
        let Some(equal) = found else {
            bail!("sharp's effort {effort} does not reach a score of {:.1}", ours.score);
        };
        let is_as_small = equal.weighed.bytes <= ours.bytes;
        progress::detail(format_args!(
            "effort {effort}: quality {}, {:.0} bytes; ours {:.0} at {:.2}",
            equal.quality, equal.weighed.bytes, ours.bytes, ours.score
        ));
        chosen = Some((effort, is_as_small, equal));
        if is_as_small {
            break;
        }
    }
    let (effort, is_as_small, theirs) = chosen.context("sharp has no efforts")?;
    asked["settings"]["effort"] = json!(effort);
    asked["settings"]["quality"] = json!(theirs.quality);
    asked["output"] = Value::Null;
    let (mut our_times, mut their_times) = (Vec::new(), Vec::new());
    let mut warm_up = WarmUp::default();
    while their_times.len() < case.size.runs {
        let OfWorker {
            milliseconds: our_time, ..
        } = worker_round(&worker, &picture, &options)?.context("the picture is the heavy lane's")?;
        let their_time = milliseconds(&bench.sharp.ask(&asked)?)?;
        if warm_up.is_over(our_time.max(their_time)) {
            our_times.push(our_time);
            their_times.push(their_time);
        }
    }
    Ok(Measured {
        case,
        ours,
        effort,
        is_as_small,
        theirs,
        worker: median(&our_times),
        sharp: median(&their_times),
    })
}

fn quality_of((_, _, equal): (u8, bool, Equal)) -> u8 {
    equal.quality
}

fn coding(sharp: &mut Partner, file: &Path) -> Result<Value> {
    sharp.ask(&json!({ "action": "coding", "file": file }))
}

impl Judge {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes the reference: the source without loss, in the size of an answer.
    fn refer(&mut self, sharp: &mut Partner, source: &Path, answer: &Path) -> Result<()> {
        let (to, _) = self.pixels(sharp, answer)?;
        let (from, pixels) = self.pixels(sharp, source)?;
        self.score.ask(&json!({
            "reference": self.path("reference"), "source": pixels, "from": from, "to": to,
        }))?;
        Ok(())
    }

    fn weigh(&mut self, sharp: &mut Partner, answer: &Path) -> Result<Weighed> {
        let (size, pixels) = self.pixels(sharp, answer)?;
        let scored = self
            .score
            .ask(&json!({ "score": pixels, "reference": self.path("reference"), "size": size }))?;
        let bytes = fs::metadata(answer).context("looking at an answer")?.len();
        Ok(Weighed {
            #[expect(clippy::cast_precision_loss, reason = "sizes of files, for a ratio")]
            bytes: bytes as f64,
            score: scored["score"].as_f64().context("an answer without its score")?,
        })
    }

    fn pixels(&self, sharp: &mut Partner, file: &Path) -> Result<(Value, PathBuf)> {
        let output = self.path("pixels");
        let answer = sharp.ask(&json!({ "action": "pixels", "file": file, "output": output }))?;
        Ok((json!([answer["width"], answer["height"]]), output))
    }
}

/// The quality at which `encode` gives the wanted score. `None` where the highest does not.
///
/// From `first` on in growing steps, until the score lies between two qualities; then by halves.
fn search(wanted: f64, first: u8, mut encode: impl FnMut(u8) -> Result<Weighed>) -> Result<Option<Equal>> {
    let (mut below, mut above): (Option<Equal>, Option<Equal>) = (None, None);
    let (mut quality, mut step) = (first, FIRST_STEP);
    loop {
        let equal = Equal {
            quality,
            weighed: encode(quality)?,
        };
        if (equal.weighed.score - wanted).abs() <= SAME_SCORE {
            return Ok(Some(equal));
        }
        if equal.weighed.score < wanted {
            below = Some(equal);
        } else {
            above = Some(equal);
        }
        quality = match (below, above) {
            (Some(below), Some(above)) if below.quality + 1 >= above.quality => {
                return Ok(Some(between(below, above, wanted)));
            }
            (Some(below), Some(above)) => below.quality.midpoint(above.quality),
            (Some(below), None) if below.quality == 100 => return Ok(None),
            (Some(below), None) => below.quality.saturating_add(step).min(100),
            (None, Some(above)) if above.quality == 1 => return Ok(Some(above)),
            (None, Some(above)) => above.quality.saturating_sub(step).max(1),
            (None, None) => return Ok(None),
        };
        step = step.saturating_mul(2);
    }
}

/// Bytes at the wanted score, on a line; the quality is the one above.
fn between(below: Equal, above: Equal, wanted: f64) -> Equal {
    let (low, high) = (below.weighed, above.weighed);
    let part = (wanted - low.score) / (high.score - low.score);
    Equal {
        quality: above.quality,
        weighed: Weighed {
            bytes: low.bytes + part * (high.bytes - low.bytes),
            score: wanted,
        },
    }
}

fn text(measured: &[Measured], most: f64, circumstances: &Circumstances) -> String {
    let mut text = format!(
        "{}.\n\
         sharp's effort is the fastest whose bytes are no more than ours at the same SSIMULACRA2 score, to {SAME_SCORE}, against a\n\
         lossless resize of the source; its quality is looked for at each effort. Times are medians in milliseconds, the\n\
         Worker's without what draining the same body takes.\n\n\
         | case | runs | score | bytes | sharp's effort | its quality | its score | its bytes | Worker | sharp | Worker / sharp | bar |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
        circumstances.line(),
    );
    for measured in measured {
        let _infallible = writeln!(text, "{}", row(measured, most));
    }
    let ratios: Vec<f64> = measured.iter().map(Measured::ratio).collect();
    if !ratios.is_empty() {
        let _infallible = writeln!(
            text,
            "| geometric mean | | | | | | | | | | {:.2} | {} |",
            geometric_mean(&ratios),
            at_most(Some(most)),
        );
    }
    text
}

fn row(measured: &Measured, most: f64) -> String {
    let none = if measured.is_as_small { "" } else { ", none is as small" };
    format!(
        "| {} | {} | {:.2} | {:.0} | {}{none} | {} | {:.2} | {:.0} | {:.1} | {:.1} | {:.2} | {} |",
        measured.case.name(),
        measured.case.size.runs,
        measured.ours.score,
        measured.ours.bytes,
        measured.effort,
        measured.theirs.quality,
        measured.theirs.weighed.score,
        measured.theirs.weighed.bytes,
        measured.worker,
        measured.sharp,
        measured.ratio(),
        at_most(Some(most)),
    )
}

impl Measured {
    /// Our time in parts of sharp's.
    fn ratio(&self) -> f64 {
        self.worker / self.sharp
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::tests::case;
    use super::*;

    /// A codec whose score is two fifths of its quality and some more, and what was asked of it.
    fn encoder(asked: &mut Vec<u8>, per_quality: f64) -> impl FnMut(u8) -> Result<Weighed> {
        move |quality| {
            asked.push(quality);
            Ok(Weighed {
                bytes: 1000.0 * f64::from(quality),
                score: 40.0 + per_quality * f64::from(quality),
            })
        }
    }

    #[test]
    fn the_quality_of_the_same_score_is_found_from_either_side() {
        for first in [1, 20, 60, 100] {
            let mut asked = Vec::new();
            let equal = search(60.0, first, encoder(&mut asked, 0.4)).unwrap().unwrap();
            assert_eq!(equal.quality, 50, "{asked:?}");
            assert!(asked.len() <= 10, "{asked:?}");
        }
    }

    #[test]
    fn between_two_qualities_bytes_lie_on_a_line() {
        let equal = search(61.0, 60, encoder(&mut Vec::new(), 2.0)).unwrap().unwrap();
        assert_eq!(equal.quality, 11);
        assert!((equal.weighed.bytes - 10_500.0).abs() < 1e-6, "{equal:?}");
    }

    #[test]
    fn a_score_out_of_reach_is_none() {
        assert_eq!(search(99.0, 60, encoder(&mut Vec::new(), 0.4)).unwrap(), None);
        // Even the lowest quality is better: it is what there is.
        let equal = search(30.0, 60, encoder(&mut Vec::new(), 0.4)).unwrap().unwrap();
        assert_eq!(equal.quality, 1);
    }

    #[test]
    fn a_row_says_when_no_effort_is_as_small() {
        let weighed = Weighed {
            bytes: 20_000.0,
            score: 71.234,
        };
        let measured = Measured {
            case: case("jpeg", 400, "avif"),
            ours: weighed,
            effort: 9,
            is_as_small: false,
            theirs: Equal { quality: 55, weighed },
            worker: 50.0,
            sharp: 100.0,
        };
        assert_eq!(
            row(&measured, 1.0),
            "| 12 MP jpeg -> 400 avif | 9 | 71.23 | 20000 | 9, none is as small | 55 | 71.23 | 20000 | 50.0 | 100.0 | 0.50 \
             | <= 1.00 |"
        );
    }
}
