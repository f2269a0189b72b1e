//! Reads on, for a while, what a client still sends after its answer is decided.
//!
//! A connection that is closed with unread bytes is reset, and the client loses the answer that would have told it why
//! its upload was refused.

use axum::body::{Body, Bytes, HttpBody};
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::timeout;

/// Most bytes that are read for nothing: the largest upload that any setting allows, and some.
const MOST_BYTES: u64 = 128 * 1024 * 1024;
/// Longest time that is spent on it.
const LONGEST: Duration = Duration::from_secs(20);

/// A request body that is read on when it is dropped before its end.
pub(crate) struct Lingering(Option<Body>);

impl Lingering {
    /// Wraps a body.
    pub(crate) fn new(body: Body) -> Self {
        Self(Some(body))
    }
}

impl HttpBody for Lingering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(body).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.0 = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        if let Some(body) = self.0.take().filter(|body| !body.is_end_stream()) {
            tokio::spawn(timeout(LONGEST, discard(body, MOST_BYTES)));
        }
    }
}

async fn discard(mut body: Body, most: u64) {
    let mut bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        if bytes > most {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Lingering, discard};
    use axum::body::{Body, Bytes};
    use futures_util::{StreamExt, stream};
    use http_body_util::BodyExt;
    use std::{
        convert::Infallible,
        sync::{
            Arc,
            atomic::{AtomicU64, Ordering},
        },
        time::Duration,
    };

    /// A body of so many kilobytes that counts how many were taken.
    fn counted(chunks: usize) -> (Body, Arc<AtomicU64>) {
        let taken = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&taken);
        let stream = stream::iter(0..chunks).map(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(Bytes::from(vec![0; 1024]))
        });
        (Body::from_stream(stream), taken)
    }

    #[tokio::test]
    async fn what_is_dropped_is_read_to_its_end() {
        let (body, taken) = counted(100);
        let mut body = Lingering::new(body);
        assert!(body.frame().await.is_some());
        drop(body);
        tokio::time::timeout(Duration::from_secs(5), async {
            while taken.load(Ordering::Relaxed) < 100 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn nobody_is_read_for_ever() {
        let (body, taken) = counted(usize::MAX);
        discard(body, 10 * 1024).await;
        assert_eq!(taken.load(Ordering::Relaxed), 11);
    }
}
