//! The heavy lane: pictures that no isolate has the memory for, made here by the same engine.
//!
//! So many at once, and so many that wait; beyond that it is busy. A place is held by the work itself, not by whoever asked
//! for it, so that memory is bounded even where clients leave.

use kado_edge_host::{HostError, SourceFetcher};
use kado_imaging::{ImageError, ImageInfo, Limits, NativeCodecs, Output, Plan, Resolved, Source, Sources};
use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

/// Who waits for each place.
const WAITING_FOR_EACH: usize = 8;

/// The lane.
#[derive(Debug)]
pub(crate) struct HeavyLane {
    pub(crate) sources: SourceFetcher,
    places: Arc<Semaphore>,
    /// Places to work and to wait at.
    admitted: Arc<Semaphore>,
}

/// A place to work at, and one in the queue behind it.
#[derive(Debug)]
pub(crate) struct Place {
    _work: OwnedSemaphorePermit,
    _admitted: OwnedSemaphorePermit,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoPlace {
    #[error("every place to wait at is taken")]
    Full,
    #[error("no place became free in time")]
    Late,
}

impl HeavyLane {
    /// A lane of so many pictures at once; each may take a gibibyte.
    ///
    /// # Errors
    /// Where sources could not be fetched by TLS.
    pub(crate) fn new(at_once: usize, own_addresses: Vec<IpAddr>) -> Result<Self, HostError> {
        let at_once = at_once.max(1);
        Ok(Self {
            sources: SourceFetcher::new(own_addresses)?,
            places: Arc::new(Semaphore::new(at_once)),
            admitted: Arc::new(Semaphore::new(at_once * (1 + WAITING_FOR_EACH))),
        })
    }

    /// Waits for a place, at most until the deadline.
    pub(crate) async fn enter(&self, deadline: Instant) -> Result<Place, NoPlace> {
        let admitted = Arc::clone(&self.admitted)
            .try_acquire_owned()
            .map_err(|error| match error {
                TryAcquireError::NoPermits | TryAcquireError::Closed => NoPlace::Full,
            })?;
        let work = tokio::time::timeout_at(deadline.into(), Arc::clone(&self.places).acquire_owned()).await;
        match work {
            Ok(Ok(work)) => Ok(Place {
                _work: work,
                _admitted: admitted,
            }),
            _ => Err(NoPlace::Late),
        }
    }
}

/// What is to be made.
pub(crate) struct Order {
    pub(crate) picture: Vec<u8>,
    pub(crate) overlay: Option<Vec<u8>>,
    pub(crate) plan: Plan,
    pub(crate) limits: Limits,
}

/// Reads the header and plans.
///
/// # Errors
/// What the engine refuses.
pub(crate) fn plan(picture: &[u8], options: &Resolved, limits: &Limits) -> Result<(ImageInfo, Plan), ImageError> {
    let info = kado_imaging::probe(&picture, limits)?;
    let plan = kado_imaging::plan(&info, options, limits)?;
    Ok((info, plan))
}

/// The plan with the picture that it draws, which must be one.
///
/// # Errors
/// As [`plan`], of the overlay.
pub(crate) fn join(plan: &Plan, overlay: &[u8], limits: &Limits) -> Result<Plan, ImageError> {
    let info = kado_imaging::probe(&overlay, limits).map_err(|error| ImageError::Overlay(Box::new(error)))?;
    plan.with_overlay(&info, limits)
}

/// Makes it off the threads of requests. Who leaves, or the deadline, ends the work at its next step.
pub(crate) async fn make(order: Order, place: Place, deadline: Instant) -> Result<Output, ImageError> {
    let left = Arc::new(AtomicBool::new(false));
    let on_drop = LeftWhenDropped(Arc::clone(&left));
    let work = tokio::task::spawn_blocking(move || {
        let _place = place;
        let cancel = || left.load(Ordering::Relaxed) || Instant::now() >= deadline;
        let sources = Sources {
            picture: &order.picture,
            overlay: order.overlay.as_ref().map(|overlay| overlay as &dyn Source),
        };
        kado_imaging::transform(sources, &order.plan, &order.limits, &NativeCodecs, &cancel)
    });
    let made = work.await;
    drop(on_drop);
    made.unwrap_or(Err(ImageError::Internal("the engine failed on this picture")))
}

struct LeftWhenDropped(Arc<AtomicBool>);

impl Drop for LeftWhenDropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A deadline so many milliseconds from now.
pub(crate) fn deadline(milliseconds: u64) -> Instant {
    Instant::now() + Duration::from_millis(milliseconds)
}

#[cfg(test)]
mod tests {
    use super::{HeavyLane, NoPlace, WAITING_FOR_EACH, deadline};
    use std::sync::Arc;

    #[tokio::test]
    async fn who_finds_no_place_to_wait_at_is_told_at_once() {
        let lane = Arc::new(HeavyLane::new(1, Vec::new()).unwrap());
        let working = lane.enter(deadline(1_000)).await.unwrap();
        let mut waiting = Vec::new();
        for _ in 0..WAITING_FOR_EACH {
            let lane = Arc::clone(&lane);
            waiting.push(tokio::spawn(async move { lane.enter(deadline(60_000)).await }));
        }
        while lane.admitted.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(lane.enter(deadline(60_000)).await.unwrap_err(), NoPlace::Full);
        drop(working);
        for waiter in waiting {
            assert!(waiter.await.unwrap().is_ok());
        }
        assert!(lane.enter(deadline(1_000)).await.is_ok());
    }

    #[tokio::test]
    async fn nobody_waits_beyond_the_deadline() {
        let lane = HeavyLane::new(1, Vec::new()).unwrap();
        let _working = lane.enter(deadline(1_000)).await.unwrap();
        assert_eq!(lane.enter(deadline(10)).await.unwrap_err(), NoPlace::Late);
    }
}
