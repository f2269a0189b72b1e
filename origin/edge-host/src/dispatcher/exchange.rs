//! One job on one process: the request there, the answer back, both streamed.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, Either, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use kado_shared::headers::is_hop_by_hop;
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout_at};

use super::pool::Lease;
use crate::http1::{AbortOnDrop, Body, BodyError};

/// Why a job gave no answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The process could not be reached; nothing of the job was sent.
    Unreachable,
    /// It broke under the job.
    Died,
    /// The job's time was over; the process has been killed.
    Deadline,
    /// The client's upload broke off.
    ClientLeft,
}

/// Answers that were taken from a process and not yet by their client. A slow client must not keep a process from its
/// next job, and must not fill our memory either.
#[derive(Clone)]
pub(crate) struct Buffers {
    all: Arc<Semaphore>,
}

/// Bytes buffered for all clients together, and for one.
const BUFFER_ALL: usize = 128 * 1024 * 1024;
const BUFFER_ONE: usize = 16 * 1024 * 1024;

impl Buffers {
    pub(crate) fn new() -> Self {
        Self {
            all: Arc::new(Semaphore::new(BUFFER_ALL)),
        }
    }
}

/// The job's request without its body.
pub(crate) struct Head {
    pub(crate) path: http::Uri,
    pub(crate) headers: HeaderMap,
}

/// Runs the job. `body` is taken once the process is reached.
pub(crate) async fn run(
    mut lease: Lease,
    head: &Head,
    body: &mut Option<Incoming>,
    deadline: Instant,
    buffers: &Buffers,
) -> Result<Response<Body>, Failure> {
    let Ok(stream) = UnixStream::connect(lease.socket()).await else {
        lease.kill();
        return Err(Failure::Unreachable);
    };
    lease.start(deadline);
    let Ok((mut sender, connection)) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await else {
        lease.kill();
        return Err(Failure::Died);
    };
    let connection = AbortOnDrop(tokio::spawn(async move {
        let _ = connection.await;
    }));
    let mut request = Request::new(
        body.take()
            .map_or_else(|| Either::Right(Empty::<Bytes>::new()), Either::Left),
    );
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = head.path.clone();
    *request.headers_mut() = head.headers.clone();
    let answer = match timeout_at(deadline, sender.send_request(request)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) if error.is_user() => return Err(Failure::ClientLeft),
        Ok(Err(_)) => {
            lease.kill();
            return Err(Failure::Died);
        }
        Err(_) => {
            lease.kill();
            return Err(Failure::Deadline);
        }
    };
    let (parts, from_process) = answer.into_parts();
    let length = from_process.size_hint().exact();
    let (to_client, chunks) = mpsc::unbounded_channel();
    tokio::spawn(pump(
        from_process,
        lease,
        connection,
        to_client,
        deadline,
        buffers.clone(),
    ));
    let mut answer = Response::new(
        Buffered {
            chunks,
            length,
            ended: false,
        }
        .boxed_unsync(),
    );
    *answer.status_mut() = parts.status;
    *answer.headers_mut() = end_to_end(&parts.headers);
    Ok(answer)
}

/// The fields that belong to the message, not to one connection.
pub(crate) fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let named: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    headers
        .iter()
        .filter(|(name, _)| !is_hop_by_hop(name.as_str()) && !named.iter().any(|n| n == name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

struct Chunk {
    data: Bytes,
    _room: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

type ToClient = mpsc::UnboundedSender<Result<Chunk, BodyError>>;

/// Takes the answer from the process as fast as it comes, and frees the process at its end. `_connection` is dropped
/// with this, which cancels the job in the process if it still runs.
async fn pump(
    mut from: Incoming,
    lease: Lease,
    _connection: AbortOnDrop,
    to: ToClient,
    deadline: Instant,
    buffers: Buffers,
) {
    let own = Arc::new(Semaphore::new(BUFFER_ONE));
    loop {
        let frame = tokio::select! {
            frame = timeout_at(deadline, from.frame()) => frame,
            // The client left. Dropping the lease finds out when the process is free.
            () = to.closed() => return,
        };
        let data = match frame {
            Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            Ok(None) => {
                lease.done();
                return;
            }
            Ok(Some(Err(error))) => {
                lease.kill();
                let _ = to.send(Err(error.into()));
                return;
            }
            Err(_) => {
                lease.kill();
                let _ = to.send(Err("the job's time was over".into()));
                return;
            }
        };
        if data.is_empty() {
            continue;
        }
        let permits = u32::try_from(data.len().min(BUFFER_ONE)).unwrap_or(u32::MAX);
        let room = async {
            let one = Arc::clone(&own).acquire_many_owned(permits).await.ok()?;
            let all = Arc::clone(&buffers.all).acquire_many_owned(permits).await.ok()?;
            Some((one, all))
        };
        let room = tokio::select! {
            room = timeout_at(deadline, room) => room,
            () = to.closed() => return,
        };
        match room {
            Ok(Some(room)) => {
                if to.send(Ok(Chunk { data, _room: room })).is_err() {
                    return;
                }
            }
            // The client is too slow; that is no fault of the process.
            _ => {
                let _ = to.send(Err("the client took too long".into()));
                return;
            }
        }
    }
}

/// The client's end of the pump.
struct Buffered {
    chunks: mpsc::UnboundedReceiver<Result<Chunk, BodyError>>,
    length: Option<u64>,
    ended: bool,
}

impl HttpBody for Buffered {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let chunk = std::task::ready!(self.chunks.poll_recv(cx));
        Poll::Ready(match chunk {
            Some(Ok(chunk)) => {
                self.length = self.length.map(|left| left.saturating_sub(chunk.data.len() as u64));
                Some(Ok(Frame::data(chunk.data)))
            }
            Some(Err(error)) => Some(Err(error)),
            None => {
                self.ended = true;
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.length == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_one_connection_stay_there() {
        let headers: HeaderMap = [
            ("connection", "x-hop, close"),
            ("x-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("content-type", "image/webp"),
            ("kado-job", "x"),
        ]
        .into_iter()
        .map(|(n, v)| (n.parse::<http::HeaderName>().unwrap(), v.parse().unwrap()))
        .collect();
        let kept = end_to_end(&headers);
        let mut names: Vec<&str> = kept.keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-type", "kado-job"]);
    }
}
