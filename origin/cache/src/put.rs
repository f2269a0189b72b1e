//! Taking in a response to store, within bounds.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::message::MAX_HEAD_BYTES;

/// How long a sender may pause inside a body.
const PAUSE: Duration = Duration::from_secs(30);
/// How long a body waits for others to make room.
const ROOM: Duration = Duration::from_secs(10);
const PERMIT_BYTES: usize = 1024;
/// Bodies that may be in memory at once, in units of the largest.
const BODIES_AT_ONCE: usize = 4;
const LEAST_BUDGET: usize = 32 * 1024 * 1024;

/// Why a body was not taken in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TakeError {
    /// Larger than an object may be. It was read to its end and dropped, so that the connection stays usable.
    TooLarge,
    /// The connection broke, or its sender fell silent, before the end.
    Cut,
    /// No room within the time.
    Busy,
}

/// Bounds what bodies on their way in may take of memory, all together.
#[derive(Clone)]
pub(crate) struct Intake {
    room: Arc<Semaphore>,
    limit: usize,
}

/// A whole body. Its room is given back when this is dropped.
pub(crate) struct Taken {
    pub(crate) text: Bytes,
    _room: OwnedSemaphorePermit,
}

impl Intake {
    pub(crate) fn new(max_object_bytes: usize) -> Self {
        let limit = max_object_bytes + MAX_HEAD_BYTES;
        let budget = (limit * BODIES_AT_ONCE).max(LEAST_BUDGET) / PERMIT_BYTES;
        Self {
            room: Arc::new(Semaphore::new(budget.min(Semaphore::MAX_PERMITS))),
            limit,
        }
    }

    pub(crate) async fn take(&self, mut body: Incoming) -> Result<Taken, TakeError> {
        let announced = body
            .size_hint()
            .exact()
            .map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        if announced.is_some_and(|n| n > self.limit) {
            discard(&mut body).await?;
            return Err(TakeError::TooLarge);
        }
        let most = announced.unwrap_or(self.limit);
        let permits = u32::try_from(most.div_ceil(PERMIT_BYTES).max(1)).unwrap_or(u32::MAX);
        let room = timeout(ROOM, Arc::clone(&self.room).acquire_many_owned(permits))
            .await
            .map_err(|_| TakeError::Busy)?
            .map_err(|_| TakeError::Busy)?;
        let mut text = BytesMut::with_capacity(announced.unwrap_or_default());
        while let Some(frame) = next(&mut body).await? {
            if text.len() + frame.len() > self.limit {
                drop(text);
                discard(&mut body).await?;
                return Err(TakeError::TooLarge);
            }
            text.extend_from_slice(&frame);
        }
        // Growing by doubling leaves up to half of the memory unused, and an entry stays for long.
        let text = if text.capacity() > text.len() + text.len() / 8 + PERMIT_BYTES {
            Bytes::copy_from_slice(&text)
        } else {
            text.freeze()
        };
        Ok(Taken { text, _room: room })
    }
}

async fn next(body: &mut Incoming) -> Result<Option<Bytes>, TakeError> {
    match timeout(PAUSE, body.frame()).await {
        Err(_) | Ok(Some(Err(_))) => Err(TakeError::Cut),
        Ok(None) => Ok(None),
        // Trailers carry nothing that is stored.
        Ok(Some(Ok(frame))) => Ok(Some(frame.into_data().unwrap_or_default())),
    }
}

async fn discard(body: &mut Incoming) -> Result<(), TakeError> {
    while next(body).await?.is_some() {}
    Ok(())
}
