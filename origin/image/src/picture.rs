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
    let (ended, running) = (RefCell::new(Vec::new()), RefCell::new(None));
    let end = || {
        if let Some((stage, since)) = running.take() {
            ended.borrow_mut().push(Timed {
                stage,
                took: Instant::elapsed(&since),
                peak: resident::peak(),
            });
        }
    };
    let output = watched(sources, name, plan, &|stage| {
        end();
        resident::reset();
        *running.borrow_mut() = Some((stage, Instant::now()));
    })?;
    end();
    Ok((output, ended.take()))
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
