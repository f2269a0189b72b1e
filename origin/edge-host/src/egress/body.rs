//! A source's body on its way through: bounded in size, time and slowness.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

use super::FetchError;
use super::host_slots::HostSlot;
use crate::http1::{AbortOnDrop, BodyError};

/// What a body is held to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    pub(crate) max_bytes: u64,
    /// End of the whole fetch.
    pub(crate) deadline: Instant,
    /// Longest wait for the next bytes.
    pub(crate) pause: Duration,
    /// Bytes a second, on average over the time that we waited for the source.
    pub(crate) min_rate: u64,
    /// Waiting time before the rate counts.
    pub(crate) grace: Duration,
}

/// Passes frames on. An error ends it and, through hyper, cuts the Worker's connection: a short body never looks whole.
/// (hyper itself reports a body shorter than its `Content-Length`.)
pub(crate) struct GuardedBody {
    inner: Incoming,
    limits: BodyLimits,
    received: u64,
    /// Time spent waiting for the source, not for the Worker: a slow reader is no fault of the source.
    waited: Duration,
    waiting_since: Option<Instant>,
    alarm: Pin<Box<Sleep>>,
    report: Box<dyn Fn(FetchError) + Send>,
    ended: bool,
    _connection: AbortOnDrop,
    _slot: HostSlot,
}

impl GuardedBody {
    pub(crate) fn new(
        inner: Incoming,
        limits: BodyLimits,
        connection: AbortOnDrop,
        slot: HostSlot,
        report: Box<dyn Fn(FetchError) + Send>,
    ) -> Self {
        Self {
            inner,
            limits,
            received: 0,
            waited: Duration::ZERO,
            waiting_since: None,
            alarm: Box::pin(sleep_until(limits.deadline)),
            report,
            ended: false,
            _connection: connection,
            _slot: slot,
        }
    }

    fn fail(&mut self, error: FetchError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.ended = true;
        (self.report)(error);
        Poll::Ready(Some(Err(error.into())))
    }

    /// When patience ends if nothing more comes.
    fn patience_ends(&self, now: Instant) -> Instant {
        let since = self.waiting_since.unwrap_or(now);
        // Waiting time that the bytes so far have earned, the grace included.
        let earned = Duration::from_secs(self.received / self.limits.min_rate.max(1)).max(self.limits.grace);
        let by_rate = since + earned.saturating_sub(self.waited);
        self.limits.deadline.min(since + self.limits.pause).min(by_rate)
    }
}

impl HttpBody for GuardedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(since) = self.waiting_since.take() {
                    self.waited += since.elapsed();
                }
                self.received += frame.data_ref().map_or(0, |data| data.len() as u64);
                if self.received > self.limits.max_bytes {
                    return self.fail(FetchError::TooLarge);
                }
                if Instant::now() >= self.limits.deadline {
                    return self.fail(FetchError::Timeout);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(_))) => self.fail(FetchError::Protocol),
            Poll::Ready(None) => {
                self.ended = true;
                Poll::Ready(None)
            }
            Poll::Pending => {
                let now = Instant::now();
                self.waiting_since.get_or_insert(now);
                let ends = self.patience_ends(now);
                self.alarm.as_mut().reset(ends);
                match self.alarm.as_mut().poll(cx) {
                    Poll::Ready(()) => self.fail(FetchError::Timeout),
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
