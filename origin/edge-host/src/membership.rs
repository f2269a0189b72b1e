//! This gateway's place among those of its site: it says that it is there, and hears whether it may be.
//!
//! An origin that is away, or that knows nothing of this, keeps nobody from serving: images go on without it. Only a plain
//! refusal counts.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use kado_shared::gateways::{PATH, Presence, RENEW_SECONDS};
use kado_shared::headers::{KADO_EDGE, X_REQUEST_ID};
use kado_shared::request_id;
use kado_shared::secret::Secret;
use kado_shared::signature::{EdgeKeys, Parts, Purpose};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::HostError;
use crate::args::Config;
use crate::state_dir::StateDir;

/// How long the origin may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Most of an answer that is read, in bytes.
const MOST_ANSWER: usize = 64 * 1024;

/// What the origin said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Word {
    /// The gateway may serve.
    Welcome,
    /// It may not, and why.
    Refused(String),
    /// Nothing that counts.
    Nothing,
}

/// This gateway, as the origin knows it.
#[derive(Debug)]
pub(crate) struct Member {
    origin: SocketAddr,
    keys: EdgeKeys,
    id: Uuid,
    name: String,
}

impl Member {
    pub(crate) fn new(config: &Config, state: &StateDir, listen: SocketAddr) -> Result<Self, HostError> {
        let keys = EdgeKeys::from_secret_list(&Secret::new(config.edge_secret.as_str()), Purpose::Internal)
            .map_err(|error| HostError::config("EDGE_SECRET", error.to_string()))?;
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host: String = host.trim().chars().take(200).collect();
        Ok(Self {
            origin: config.internal,
            keys,
            id: identity(&state.identity())?,
            name: format!("{host} ({listen})").trim().to_owned(),
        })
    }

    /// Says that it is there.
    pub(crate) async fn say_present(&self) -> Word {
        self.say(false).await
    }

    /// Says that it leaves, so that another one need not wait.
    pub(crate) async fn say_leaving(&self) {
        self.say(true).await;
    }

    /// Goes on saying that it is there, until that is refused; gives back why.
    pub(crate) async fn until_refused(&self) -> String {
        let every = Duration::from_secs(RENEW_SECONDS.into());
        loop {
            tokio::time::sleep(every).await;
            if let Word::Refused(why) = self.say_present().await {
                return why;
            }
        }
    }

    async fn say(&self, leaving: bool) -> Word {
        match tokio::time::timeout(PATIENCE, self.ask(leaving)).await {
            Ok(Ok(word)) => word,
            Ok(Err(error)) => unheard(&error),
            Err(_) => unheard("no answer in time"),
        }
    }

    async fn ask(&self, leaving: bool) -> Result<Word, String> {
        let presence = Presence {
            id: self.id,
            name: self.name.clone(),
            leaving,
        };
        let request = self.request(&presence)?;
        let stream = TcpStream::connect(self.origin).await.map_err(text)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(text)?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(text)?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MOST_ANSWER)
                .collect()
                .await
                .map_err(text)?;
            Ok(judge(status, &body.to_bytes()))
        };
        // The connection moves the bytes; it ends when the exchange does.
        tokio::pin!(exchange);
        tokio::select! {
            word = &mut exchange => word,
            ended = connection => match ended {
                Ok(()) => exchange.await,
                Err(error) => Err(text(error)),
            },
        }
    }

    fn request(&self, presence: &Presence) -> Result<Request<Full<Bytes>>, String> {
        let body = serde_json::to_vec(presence).map_err(text)?;
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_err(text)?
            .as_secs();
        let request_id = request_id::from_random(random()?);
        let parts = Parts {
            method: "POST",
            path_and_query: PATH,
            tenant: "",
            client_ip: "",
            request_id: &request_id,
            body_sha256: Some(Sha256::digest(&body).into()),
        };
        Request::post(PATH)
            .header(header::HOST, self.origin.to_string())
            .header(header::CONTENT_TYPE, "application/json")
            .header(KADO_EDGE, self.keys.sign(&parts, now, random()?))
            .header(X_REQUEST_ID, request_id.as_str())
            .body(Full::from(body))
            .map_err(text)
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(text)?;
    Ok(bytes)
}

fn unheard(error: &str) -> Word {
    tracing::debug!(
        event = "membership-unheard",
        service = "edge",
        error,
        "the origin was not told of this gateway"
    );
    Word::Nothing
}

/// Only a problem document that says so is a refusal: what else answers at that address knows nothing of gateways.
fn judge(status: StatusCode, body: &[u8]) -> Word {
    if status == StatusCode::OK {
        return Word::Welcome;
    }
    let problem: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let field = |name: &str| problem.get(name).and_then(serde_json::Value::as_str);
    match (status, field("code"), field("detail")) {
        (StatusCode::CONFLICT, Some("conflict"), Some(detail)) => Word::Refused(detail.to_owned()),
        _ => unheard(&format!("the origin answered {status}")),
    }
}

/// The identity in a file; a new one where there is none yet.
fn identity(path: &Path) -> Result<Uuid, HostError> {
    if let Some(known) = std::fs::read_to_string(path)
        .ok()
        .and_then(|text| text.trim().parse().ok())
    {
        return Ok(known);
    }
    let bytes = random().map_err(|error| HostError::config("the machine's random numbers", error))?;
    let new = uuid::Builder::from_random_bytes(bytes).into_uuid();
    std::fs::write(path, new.to_string()).map_err(HostError::io(path))?;
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::{Word, identity, judge};
    use http::StatusCode;

    #[test]
    fn only_a_plain_refusal_counts() {
        let refusal = br#"{"code":"conflict","detail":"another one is there"}"#;
        assert_eq!(judge(StatusCode::OK, b"{}"), Word::Welcome);
        assert_eq!(
            judge(StatusCode::CONFLICT, refusal),
            Word::Refused("another one is there".to_owned())
        );
        for (status, body) in [
            (StatusCode::CONFLICT, &b"conflict"[..]),
            (StatusCode::CONFLICT, br#"{"code":"other","detail":"x"}"#),
            (StatusCode::NOT_FOUND, refusal),
            (StatusCode::SERVICE_UNAVAILABLE, b""),
        ] {
            assert_eq!(judge(status, body), Word::Nothing, "{status}");
        }
    }

    #[test]
    fn a_gateway_stays_who_it_is_and_a_damaged_file_makes_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway-id");
        let first = identity(&path).unwrap();
        assert_eq!(identity(&path).unwrap(), first);
        std::fs::write(&path, "nonsense").unwrap();
        assert_ne!(identity(&path).unwrap(), first);
    }
}
