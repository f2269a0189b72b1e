//! Several pictures: on all cores, within one budget of memory, and none of them stops the others.

use kado_imaging::{Resolved, Source, Sources};
use std::{
    collections::HashSet,
    fmt::Write as _,
    fs,
    io::Write as _,
    num::NonZero,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::{
    Args, ImageCommandError, LIMITS,
    budget::Budget,
    inputs::{Input, Several, with_added_extension},
    picture::{look, make},
    progress::Progress,
    source::{FileSource, overlay},
    wish::Wish,
    write::Rules,
};

/// Exit code where some could not be made.
const SOME_FAILED: u8 = 1;

/// What all threads share.
struct Batch<'a> {
    wish: Resolved,
    overlay: Option<FileSource>,
    folder: &'a Path,
    rules: Rules,
    budget: Budget,
    /// Names that are taken by this run.
    claimed: Mutex<HashSet<PathBuf>>,
}

/// What came of the files.
#[derive(Debug, Default)]
struct Report {
    written: usize,
    skipped: usize,
    failed: Vec<(usize, String)>,
}

pub(crate) fn run(several: &Several, wish: &Wish, args: &Args) -> Result<ExitCode, ImageCommandError> {
    let folder = match args.output.as_deref() {
        Some(folder) if !args.explain && folder != Path::new("-") => folder,
        _ => {
            return Err(ImageCommandError::usage(
                "of several pictures OUTPUT is a folder, and --explain is for one",
            ));
        }
    };
    let batch = Batch {
        wish: wish.resolve(),
        overlay: overlay(args)?,
        folder,
        rules: Rules::new(several.files.iter().map(|input| input.path.as_path()), args.force),
        // As much as one picture alone may take.
        budget: Budget::new(LIMITS.memory_bytes),
        claimed: Mutex::default(),
    };
    fs::create_dir_all(folder).map_err(ImageCommandError::io(folder))?;
    let report = batch.make_all(several);
    let _ = std::io::stderr().write_all(report.text().as_bytes());
    Ok(if report.failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(SOME_FAILED)
    })
}

impl Batch<'_> {
    fn make_all(&self, several: &Several) -> Report {
        let (next, report) = (AtomicUsize::new(0), Mutex::new(Report::default()));
        let progress = Progress::new(several.files.len());
        let work = || {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(input) = several.files.get(index) else { break };
                let result = self.make_one(input);
                progress.step(&input.path);
                let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
                report.add(index, several.skip_others, result);
            }
        };
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        thread::scope(|scope| {
            for _ in 0..threads.min(several.files.len()) {
                scope.spawn(work);
            }
        });
        progress.clear();
        let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
        report.failed.sort();
        report
    }

    fn make_one(&self, input: &Input) -> Result<(), ImageCommandError> {
        let name = input.path.display().to_string();
        let sources = Sources {
            picture: &FileSource::open(&input.path)?,
            overlay: self.overlay.as_ref().map(|file| file as &dyn Source),
        };
        let plan = look(sources, &name, &self.wish)?;
        let output = self
            .folder
            .join(with_added_extension(&input.name, plan.encoding.format.extension()));
        self.claim(&output)?;
        self.rules.check(&output)?;
        let _loan = self.budget.borrow(plan.memory.peak);
        let bytes = make(sources, &name, &plan)?.bytes;
        if let Some(folder) = output.parent() {
            fs::create_dir_all(folder).map_err(ImageCommandError::io(folder))?;
        }
        self.rules.write(&output, &bytes)
    }

    /// Two sources never share an answer, whatever `--force` says.
    fn claim(&self, output: &Path) -> Result<(), ImageCommandError> {
        let mut claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        if claimed.insert(output.to_owned()) {
            Ok(())
        } else {
            Err(ImageCommandError::Exists(output.to_owned()))
        }
    }
}

impl Report {
    fn add(&mut self, index: usize, skip_others: bool, result: Result<(), ImageCommandError>) {
        match result {
            Ok(()) => self.written += 1,
            Err(error) if skip_others && error.is_no_picture() => self.skipped += 1,
            Err(error) => self.failed.push((index, error.to_string())),
        }
    }

    fn text(&self) -> String {
        let mut text = format!("{} written", self.written);
        if self.skipped > 0 {
            let _infallible = write!(text, ", {} skipped as no pictures", self.skipped);
        }
        if !self.failed.is_empty() {
            let _infallible = write!(text, ", {} failed:", self.failed.len());
        }
        for (_, reason) in &self.failed {
            let _infallible = write!(text, "\n  {reason}");
        }
        text + "\n"
    }
}
