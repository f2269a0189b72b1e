//! Asking a workerd whether it is alive.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// Where and what to ask.
#[derive(Debug, Clone)]
pub(crate) struct Probe {
    pub(crate) socket: PathBuf,
    pub(crate) path: &'static str,
    pub(crate) patience: Duration,
}

/// What came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    /// Any answer below 500: the event loop turns and the Worker runs.
    Alive,
    /// An answer of 500 or above, or one that is no HTTP.
    Sick,
    /// Nothing within the time, or nobody listens.
    Silent,
}

impl Probe {
    pub(crate) async fn ask(&self) -> Health {
        match tokio::time::timeout(self.patience, ask(&self.socket, self.path)).await {
            Err(_) | Ok(Answer::Unreachable) => Health::Silent,
            Ok(Answer::Status(status)) if status < 500 => Health::Alive,
            Ok(Answer::Status(_) | Answer::Broken) => Health::Sick,
        }
    }
}

enum Answer {
    Unreachable,
    Broken,
    Status(u16),
}

async fn ask(socket: &Path, path: &str) -> Answer {
    let Ok(stream) = UnixStream::connect(socket).await else {
        return Answer::Unreachable;
    };
    let Ok((mut sender, connection)) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await else {
        return Answer::Broken;
    };
    let exchange = async {
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.uri_mut() = path.parse().map_err(|_| ())?;
        request
            .headers_mut()
            .insert(header::HOST, HeaderValue::from_static("health.invalid"));
        let answer = sender.send_request(request).await.map_err(|_| ())?;
        let status = answer.status().as_u16();
        answer.into_body().collect().await.map_err(|_| ())?;
        Ok::<_, ()>(status)
    };
    tokio::select! {
        answer = exchange => answer.map_or(Answer::Broken, Answer::Status),
        // The connection only ends first when it breaks.
        _ = connection => Answer::Broken,
    }
}
