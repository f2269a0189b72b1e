//! The heavy lane: pictures that no isolate has the memory for, made here by the same engine.
//!
//! So many at once, and so many that wait; beyond that it is busy. Sources are fetched before a place to work at is taken, so
//! that a slow one keeps nobody from working; so many are fetched or wait with their bytes. A place is held by the work
//! itself, not by whoever asked for it, so that memory is bounded even where clients leave.

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

use crate::aside;

/// Who waits for each place.
const WAITING_FOR_EACH: usize = 8;
/// Sources for each place that are being fetched, or are there and wait for it.
const FETCHED_FOR_EACH: usize = 4;

/// The lane.
#[derive(Debug)]
pub(crate) struct HeavyLane {
    pub(crate) sources: SourceFetcher,
    places: Arc<Semaphore>,
    fetches: Arc<Semaphore>,
    /// Places to work and to wait at.
    admitted: Arc<Semaphore>,
}

/// A place to fetch a source at, and one in the queue.
#[derive(Debug)]
pub(crate) struct Admitted {
    _fetch: OwnedSemaphorePermit,
    admitted: OwnedSemaphorePermit,
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
            fetches: Arc::new(Semaphore::new(at_once * FETCHED_FOR_EACH)),
            admitted: Arc::new(Semaphore::new(at_once * (1 + WAITING_FOR_EACH))),
        })
    }

    /// Waits for a place to fetch a source at, at most until the deadline.
    pub(crate) async fn admit(&self, deadline: Instant) -> Result<Admitted, NoPlace> {
        let admitted = Arc::clone(&self.admitted)
            .try_acquire_owned()
            .map_err(|error| match error {
                TryAcquireError::NoPermits | TryAcquireError::Closed => NoPlace::Full,
            })?;
        Ok(Admitted {
            _fetch: in_time(&self.fetches, deadline).await?,
            admitted,
        })
    }

    /// Waits for a place to work at, at most until the deadline.
    pub(crate) async fn enter(&self, admitted: Admitted, deadline: Instant) -> Result<Place, NoPlace> {
        Ok(Place {
            _work: in_time(&self.places, deadline).await?,
            _admitted: admitted.admitted,
        })
    }
}

async fn in_time(places: &Arc<Semaphore>, deadline: Instant) -> Result<OwnedSemaphorePermit, NoPlace> {
    match tokio::time::timeout_at(deadline.into(), Arc::clone(places).acquire_owned()).await {
        Ok(Ok(place)) => Ok(place),
        _ => Err(NoPlace::Late),
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
    let work = aside::run("heavy", move || {
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
    use super::{FETCHED_FOR_EACH, HeavyLane, NoPlace, Place, WAITING_FOR_EACH, deadline};
    use std::{sync::Arc, time::Instant};

    async fn place(lane: &HeavyLane, deadline: Instant) -> Result<Place, NoPlace> {
        lane.enter(lane.admit(deadline).await?, deadline).await
    }

    #[tokio::test]
    async fn who_finds_no_place_to_wait_at_is_told_at_once() {
        let lane = Arc::new(HeavyLane::new(1, Vec::new()).unwrap());
        let working = place(&lane, deadline(1_000)).await.unwrap();
        let mut waiting = Vec::new();
        for _ in 0..WAITING_FOR_EACH {
            let lane = Arc::clone(&lane);
            waiting.push(tokio::spawn(async move { place(&lane, deadline(60_000)).await }));
        }
        while lane.admitted.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(place(&lane, deadline(60_000)).await.unwrap_err(), NoPlace::Full);
        drop(working);
        for waiter in waiting {
            assert!(waiter.await.unwrap().is_ok());
        }
        assert!(place(&lane, deadline(1_000)).await.is_ok());
    }

    #[tokio::test]
    async fn nobody_waits_beyond_the_deadline() {
        let lane = HeavyLane::new(1, Vec::new()).unwrap();
        let _working = place(&lane, deadline(1_000)).await.unwrap();
        assert_eq!(place(&lane, deadline(10)).await.unwrap_err(), NoPlace::Late);
    }

    #[tokio::test]
    async fn sources_that_are_slow_keep_nobody_from_working() {
        let lane = HeavyLane::new(1, Vec::new()).unwrap();
        let mut fetching = Vec::new();
        for _ in 1..FETCHED_FOR_EACH {
            fetching.push(lane.admit(deadline(1_000)).await.unwrap());
        }
        let quick = lane.admit(deadline(1_000)).await.unwrap();
        assert!(lane.enter(quick, deadline(1_000)).await.is_ok());
        // No more are fetched than there may be.
        fetching.push(lane.admit(deadline(1_000)).await.unwrap());
        assert_eq!(lane.admit(deadline(10)).await.unwrap_err(), NoPlace::Late);
    }
}
