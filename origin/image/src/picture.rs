//! One picture: from a source to an answer, with what it took.

use kado_imaging::{ImageError, NativeCodecs, Output, Plan, Resolved, Sources, Stage, plan, probe, transform_observed};
use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use crate::{ImageCommandError, LIMITS, resident};

/// A stage that has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timed {
    pub(crate) stage: Stage,
    pub(crate) took: Duration,
    /// Most resident bytes of the process meanwhile, where the system tells.
    pub(crate) peak: Option<u64>,
}

/// What a source would become.
pub(crate) fn look(sources: Sources<'_>, name: &str, wish: &Resolved) -> Result<Plan, ImageCommandError> {
    let plan = guarded(name, || plan(&probe(sources.picture, &LIMITS)?, wish, &LIMITS))?;
    let Some(id) = plan.overlay() else {
        return Ok(plan);
    };
    let Some(overlay) = sources.overlay else {
        return Err(ImageCommandError::usage(format!(
            "draw=u:{id} is a stored picture, which this command does not have: name a file with --overlay"
        )));
    };
    guarded(name, || {
        let info = probe(overlay, &LIMITS).map_err(|error| ImageError::Overlay(Box::new(error)))?;
        plan.with_overlay(&info, &LIMITS)
    })
}

/// Makes it.
pub(crate) fn make(sources: Sources<'_>, name: &str, plan: &Plan) -> Result<Output, ImageCommandError> {
    watched(sources, name, plan, &|_| ())
}

/// Makes it and takes the time.
pub(crate) fn make_timed(
    sources: Sources<'_>,
    name: &str,
    plan: &Plan,
) -> Result<(Output, Vec<Timed>), ImageCommandError> {
    let stopwatch = RefCell::new(Stopwatch::default());
    let output = watched(sources, name, plan, &|stage| {
        stopwatch.borrow_mut().begin(stage, Instant::now());
    })?;
    Ok((output, stopwatch.into_inner().end(Instant::now())))
}

/// Takes the time of stages, which may take turns: rows are resampled as they are decoded.
#[derive(Default)]
struct Stopwatch {
    /// In the order in which they first began.
    stages: Vec<Timed>,
    running: Option<(Stage, Instant)>,
    /// Stages that ran since the peak of memory was last set back, which is theirs together.
    since_reset: Vec<Stage>,
}

impl Stopwatch {
    fn begin(&mut self, stage: Stage, now: Instant) {
        self.stop(now);
        if !self.stages.iter().any(|timed| timed.stage == stage) {
            self.read_peak();
            resident::reset();
            self.stages.push(Timed {
                stage,
                took: Duration::ZERO,
                peak: None,
            });
        }
        if !self.since_reset.contains(&stage) {
            self.since_reset.push(stage);
        }
        self.running = Some((stage, now));
    }

    fn end(mut self, now: Instant) -> Vec<Timed> {
        self.stop(now);
        self.read_peak();
        self.stages
    }

    fn stop(&mut self, now: Instant) {
        if let Some((stage, since)) = self.running.take()
            && let Some(timed) = self.stages.iter_mut().find(|timed| timed.stage == stage)
        {
            timed.took += now.saturating_duration_since(since);
        }
    }

    fn read_peak(&mut self) {
        let peak = resident::peak();
        for timed in &mut self.stages {
            if self.since_reset.contains(&timed.stage) {
                timed.peak = timed.peak.max(peak);
            }
        }
        self.since_reset.clear();
    }
}

fn watched(
    sources: Sources<'_>,
    name: &str,
    plan: &Plan,
    observe: &dyn Fn(Stage),
) -> Result<Output, ImageCommandError> {
    guarded(name, || {
        transform_observed(sources, plan, &LIMITS, &NativeCodecs, &|| false, observe)
    })
}

/// A panic in somebody's decoder costs its own picture, not the hundreds after it.
fn guarded<T>(name: &str, work: impl FnOnce() -> Result<T, ImageError>) -> Result<T, ImageCommandError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(ImageCommandError::picture(name)),
        Err(_) => Err(ImageCommandError::Panicked(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Instant, Stage, Stopwatch};

    #[test]
    fn stages_that_take_turns_are_one_row_each() {
        let (mut stopwatch, start) = (Stopwatch::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        for (stage, ms) in [
            (Stage::Decode, 0),
            (Stage::Resample, 5),
            (Stage::Decode, 6),
            (Stage::Resample, 10),
            (Stage::Encode, 12),
        ] {
            stopwatch.begin(stage, at(ms));
        }
        let stages = stopwatch.end(at(20));
        let seen: Vec<_> = stages
            .iter()
            .map(|timed| (timed.stage, timed.took.as_millis()))
            .collect();
        assert_eq!(seen, [(Stage::Decode, 9), (Stage::Resample, 3), (Stage::Encode, 8)]);
        let peaks: Vec<_> = stages.iter().map(|timed| timed.peak.is_some()).collect();
        assert!(peaks.windows(2).all(|pair| pair[0] == pair[1]), "{peaks:?}");
    }
}
