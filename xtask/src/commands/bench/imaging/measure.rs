//! One case on three sides, in turns.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::cases::Case;
use super::worker::Worker;
use crate::commands::bench::numbers::median;
use crate::commands::bench::partner::Partner;

/// The sides that live through all cases.
pub(super) struct Sides<'a> {
    pub(super) native: &'a mut Partner,
    pub(super) sharp: &'a mut Partner,
    /// Where answers lie to be compared.
    pub(super) folder: &'a Path,
}

/// What came of a case: medians, in milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Measured {
    pub(super) case: Case,
    pub(super) input_bytes: u64,
    /// `None` where the case is too large for an isolate.
    pub(super) worker: Option<OfWorker>,
    pub(super) native: f64,
    pub(super) sharp: f64,
    pub(super) our_bytes: u64,
    pub(super) their_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct OfWorker {
    /// Without what draining the same body takes.
    pub(super) milliseconds: f64,
    pub(super) memory_mib: u64,
}

/// Times of the rounds.
#[derive(Default)]
struct Rounds {
    worker: Vec<f64>,
    native: Vec<f64>,
    sharp: Vec<f64>,
}

pub(super) fn measure(case: &Case, file: &Path, worker: &Worker, sides: &mut Sides<'_>) -> Result<Measured> {
    let picture = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    let (our_bytes, their_bytes) = sides.compare(case, file)?;
    let options = case.options();
    let mut rounds = Rounds::default();
    // V8 alone is to be warmed up: sharp and the native engine have made this answer before.
    let mut warm_up = WarmUp::default();
    while let Some(ours) = worker_round(worker, &picture, &options)? {
        if warm_up.is_over(ours.milliseconds) {
            break;
        }
    }
    let mut memory_mib = None;
    for _ in 0..case.size.runs {
        let ours = worker_round(worker, &picture, &options)?;
        let native = milliseconds(&sides.native.ask(&json!({ "file": file, "options": options }))?)?;
        let sharp = milliseconds(&sides.sharp.ask(&question(case, file))?)?;
        rounds.worker.extend(ours.map(|ours| ours.milliseconds));
        rounds.native.push(native);
        rounds.sharp.push(sharp);
        memory_mib = ours.map(|ours| ours.memory_mib);
    }
    Ok(Measured {
        case: case.clone(),
        input_bytes: picture.len() as u64,
        worker: memory_mib.map(|memory_mib| OfWorker {
            milliseconds: median(&rounds.worker),
            memory_mib,
        }),
        native: median(&rounds.native),
        sharp: median(&rounds.sharp),
        our_bytes,
        their_bytes,
    })
}

/// Rounds before the first measured one: V8 compiles what it finds to be hot anew, memory grows.
#[derive(Default)]
pub(super) struct WarmUp {
    rounds: usize,
    milliseconds: f64,
}

impl WarmUp {
    /// So many rounds, or fewer of work that is hot at once.
    const ROUNDS: usize = 20;
    const LEAST_ROUNDS: usize = 2;
    const MILLISECONDS: f64 = 2500.0;

    /// Takes note of a round of this length; whether it could have been counted.
    pub(super) fn is_over(&mut self, milliseconds: f64) -> bool {
        let long = self.rounds >= Self::LEAST_ROUNDS && self.milliseconds >= Self::MILLISECONDS;
        let is_over = long || self.rounds >= Self::ROUNDS;
        self.rounds += 1;
        self.milliseconds += milliseconds;
        is_over
    }
}

/// `None` where the picture is too large for an isolate.
pub(super) fn worker_round(worker: &Worker, picture: &[u8], options: &str) -> Result<Option<OfWorker>> {
    let Some(done) = worker.transform(picture, options)? else {
        return Ok(None);
    };
    Ok(Some(OfWorker {
        milliseconds: done.milliseconds - worker.drain(picture)?,
        memory_mib: done.memory_mib,
    }))
}

pub(super) fn question(case: &Case, file: &Path) -> Value {
    json!({
        "action": "transform", "file": file, "width": case.width,
        "format": case.output.name, "settings": case.output.settings,
    })
}

pub(super) fn milliseconds(answer: &Value) -> Result<f64> {
    answer["milliseconds"].as_f64().context("an answer without its time")
}

impl Sides<'_> {
    /// Makes the answer once on either side and refuses to go on where they are not coded alike. Gives their bytes.
    fn compare(&mut self, case: &Case, file: &Path) -> Result<(u64, u64)> {
        let path = |name: &str| -> PathBuf { self.folder.join(name) };
        let (ours, theirs) = (path("ours"), path("theirs"));
        self.native
            .ask(&json!({ "file": file, "options": case.options(), "output": ours }))?;
        let mut asked = question(case, file);
        asked["output"] = json!(theirs);
        self.sharp.ask(&asked)?;
        let mut coding = |file: &Path| self.sharp.ask(&json!({ "action": "coding", "file": file }));
        let (our_coding, their_coding) = (coding(&ours)?, coding(&theirs)?);
        if our_coding != their_coding {
            bail!("{}: ours is {our_coding}, sharp's {their_coding}", case.name());
        }
        let size = |file: &Path| fs::metadata(file).map(|meta| meta.len());
        Ok((size(&ours)?, size(&theirs)?))
    }
}

#[cfg(test)]
mod tests {
    use super::WarmUp;

    #[test]
    fn long_rounds_warm_up_sooner() {
        let uncounted = |milliseconds| {
            let mut warm_up = WarmUp::default();
            (0..100).take_while(|_| !warm_up.is_over(milliseconds)).count()
        };
        assert_eq!(uncounted(10.0), 20);
        assert_eq!(uncounted(1000.0), 3);
        assert_eq!(uncounted(9000.0), 2);
    }
}
