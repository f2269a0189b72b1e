//! Fetches against hostile sources. Every listener counts its connections.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::egress::request::SourceRequest;
use crate::egress::resolve::Lookup;
use crate::egress::tls::config_with;
use crate::http1::BodyError;

#[path = "hostile_tests.rs"]
mod hostile;

/// A listener that answers every connection with fixed bytes, and counts them.
struct Source {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    seen: Arc<Mutex<String>>,
}

/// One step of a source's answer.
#[derive(Clone)]
enum Say {
    Bytes(Vec<u8>),
    Pause(Duration),
}

fn say(text: &str) -> Vec<Say> {
    vec![Say::Bytes(text.as_bytes().to_vec())]
}

impl Source {
    async fn start(steps: Vec<Say>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let source = Self {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
            seen: Arc::default(),
        };
        let (connections, seen) = (Arc::clone(&source.connections), Arc::clone(&source.seen));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let (steps, seen) = (steps.clone(), Arc::clone(&seen));
                tokio::spawn(async move {
                    let mut request = vec![0; 8192];
                    let read = stream.read(&mut request).await.unwrap_or_default();
                    *seen.lock().unwrap() = String::from_utf8_lossy(&request[..read]).into_owned();
                    for step in steps {
                        match step {
                            Say::Bytes(bytes) => {
                                if stream.write_all(&bytes).await.is_err() {
                                    return;
                                }
                            }
                            Say::Pause(time) => tokio::time::sleep(time).await,
                        }
                    }
                });
            }
        });
        source
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn url(&self, host: &str) -> String {
        format!("http://{host}:{}/a.jpg?x=1", self.address.port())
    }
}

/// Answers as told, each time the next answer of a name.
#[derive(Default)]
struct Answers(Mutex<HashMap<String, Vec<Vec<IpAddr>>>>);

impl Answers {
    fn of(list: &[(&str, &[&[&str]])]) -> Arc<Self> {
        let parse = |a: &&str| a.parse::<IpAddr>().unwrap();
        let map = list
            .iter()
            .map(|(name, answers)| {
                (
                    (*name).to_owned(),
                    answers.iter().rev().map(|a| a.iter().map(parse).collect()).collect(),
                )
            })
            .collect();
        Arc::new(Self(Mutex::new(map)))
    }
}

impl Resolve for Answers {
    fn resolve(&self, host: String) -> Lookup<'_> {
        Box::pin(async move {
            let mut names = self.0.lock().unwrap();
            let answers = names
                .get_mut(&host)
                .ok_or_else(|| std::io::Error::other("no such name"))?;
            if answers.len() > 1 {
                Ok(answers.pop().unwrap())
            } else {
                Ok(answers[0].clone())
            }
        })
    }
}

fn fetcher(resolver: Arc<Answers>) -> Fetcher {
    let limits = Limits {
        connect: Duration::from_secs(2),
        first_byte: Duration::from_millis(400),
        pause: Duration::from_millis(400),
        min_rate: 10_000,
        grace: Duration::from_millis(300),
        per_host: 2,
        remember: Duration::ZERO,
    };
    Fetcher::new(
        resolver,
        Guard::default(),
        config_with(rustls::RootCertStore::empty()).unwrap(),
        limits,
    )
}

fn asked(url: &str, more: &[(&'static str, &str)]) -> SourceRequest {
    let mut headers: HeaderMap = more
        .iter()
        .map(|(n, v)| (n.parse::<HeaderName>().unwrap(), v.parse().unwrap()))
        .collect();
    headers.insert(kado_shared::headers::KADO_SOURCE, url.parse().unwrap());
    headers
        .entry(kado_shared::headers::KADO_ALLOW_PORT)
        .or_insert(HeaderValue::from_static("1"));
    SourceRequest::from_headers(&headers).unwrap()
}

const PRIVATE: (&str, &str) = (kado_shared::headers::KADO_ALLOW_PRIVATE, "1");

async fn read(answer: Response<Body>) -> Result<Bytes, BodyError> {
    Ok(answer.into_body().collect().await?.to_bytes())
}

#[tokio::test]
async fn no_forbidden_address_is_ever_connected_to() {
    let source = Source::start(say("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")).await;
    let resolver = Answers::of(&[
        ("loopback.test", &[&["127.0.0.1"]]),
        ("mapped.test", &[&["::ffff:127.0.0.1"]]),
        ("mixed.test", &[&["93.184.215.14", "127.0.0.1"]]),
        ("private.test", &[&["10.0.0.1"]]),
        ("zero.test", &[&["0.0.0.0"]]),
        ("six.test", &[&["::1"]]),
        ("metadata.test", &[&["169.254.169.254"]]),
    ]);
    let fetcher = fetcher(resolver);
    let names = [
        "loopback.test",
        "mapped.test",
        "mixed.test",
        "private.test",
        "zero.test",
        "six.test",
        "metadata.test",
        "127.0.0.1",
        "127.1",
        "0x7f000001",
        "[::1]",
        "[::ffff:7f00:1]",
        "0",
    ];
    for name in names {
        let error = fetcher
            .fetch(&asked(&source.url(name), &[]))
            .await
            .map(|_| ())
            .unwrap_err();
        assert_eq!(error, FetchError::AddressRefused, "{name}");
    }
    assert_eq!(source.connections(), 0);
    assert_eq!(fetcher.counts.failed[0].load(Ordering::SeqCst), names.len() as u64);
}

#[tokio::test]
async fn a_name_that_changes_between_check_and_connection_gains_nothing() {
    // The second answer would lead inside; there is no second question.
    let source = Source::start(say("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")).await;
    let resolver = Answers::of(&[("rebind.test", &[&["192.88.98.1"], &["127.0.0.1"], &["127.0.0.1"]])]);
    let fetcher = fetcher(resolver);
    let quick = [(kado_shared::headers::KADO_TIMEOUT_MS, "300")];
    let error = fetcher
        .fetch(&asked(&source.url("rebind.test"), &quick))
        .await
        .map(|_| ())
        .unwrap_err();
    assert!(matches!(error, FetchError::Timeout | FetchError::Connect), "{error}");
    let error = fetcher
        .fetch(&asked(&source.url("rebind.test"), &quick))
        .await
        .map(|_| ())
        .unwrap_err();
    assert_eq!(error, FetchError::AddressRefused);
    assert_eq!(source.connections(), 0);
}

#[tokio::test]
async fn a_private_host_is_fetched_when_listed_with_the_fields_that_belong() {
    let source = Source::start(say(
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: image/png\r\nETag: \"e\"\r\nSet-Cookie: a=b\r\n\
         Kado-Egress-Error: dns\r\nCache-Control: max-age=5\r\n\r\nhello",
    ))
    .await;
    let fetcher = fetcher(Answers::of(&[("inside.test", &[&["127.0.0.1"]])]));
    let answer = fetcher
        .fetch(&asked(&source.url("inside.test"), &[PRIVATE]))
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "image/png");
    assert_eq!(answer.headers()["cache-control"], "max-age=5");
    assert!(!answer.headers().contains_key("set-cookie") && !answer.headers().contains_key("kado-egress-error"));
    assert_eq!(read(answer).await.unwrap(), "hello");
    let seen = source.seen.lock().unwrap().to_ascii_lowercase();
    assert!(seen.starts_with("get /a.jpg?x=1 http/1.1\r\n"), "{seen}");
    assert!(
        seen.contains(&format!("host: inside.test:{}\r\n", source.address.port())),
        "{seen}"
    );
    assert!(
        seen.contains("via: 1.1 kado\r\n") && seen.contains("accept-encoding: identity\r\n"),
        "{seen}"
    );
}

#[tokio::test]
async fn a_redirect_is_answered_and_not_followed() {
    let inside = Source::start(say("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")).await;
    let location = inside.url("127.0.0.1");
    let outside = Source::start(say(&format!(
        "HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 3\r\n\r\nsee"
    )))
    .await;
    let fetcher = fetcher(Answers::of(&[("a.test", &[&["127.0.0.1"]])]));
    let answer = fetcher.fetch(&asked(&outside.url("a.test"), &[PRIVATE])).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["location"]),
        (302, &location.parse().unwrap())
    );
    assert_eq!(read(answer).await.unwrap(), "");
    assert_eq!((outside.connections(), inside.connections()), (1, 0));
}

async fn outcome(steps: Vec<Say>, more: &[(&'static str, &str)]) -> Result<usize, FetchError> {
    let source = Source::start(steps).await;
    let fetcher = fetcher(Answers::of(&[("a.test", &[&["127.0.0.1"]])]));
    let all: Vec<_> = more.iter().copied().chain([PRIVATE]).collect();
    let answer = fetcher.fetch(&asked(&source.url("a.test"), &all)).await?;
    read(answer)
        .await
        .map(|b| b.len())
        .map_err(|e| *e.downcast::<FetchError>().unwrap())
}

fn head(fields: &str) -> Say {
    Say::Bytes(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n").into_bytes())
}

#[tokio::test]
async fn a_body_is_whole_or_an_error() {
    let body = |n: usize| Say::Bytes(vec![b'x'; n]);
    assert_eq!(
        outcome(vec![head("Content-Length: 100"), body(100)], &[]).await,
        Ok(100)
    );
    assert_eq!(
        outcome(vec![head("Content-Length: 100"), body(99)], &[]).await,
        Err(FetchError::Protocol)
    );
    let chunked = head("Transfer-Encoding: chunked");
    let cut = Say::Bytes(b"5\r\nhello\r\n".to_vec());
    assert_eq!(
        outcome(vec![chunked.clone(), cut.clone()], &[]).await,
        Err(FetchError::Protocol)
    );
    let end = Say::Bytes(b"0\r\n\r\n".to_vec());
    assert_eq!(outcome(vec![chunked, cut, end], &[]).await, Ok(5));
}

#[tokio::test]
async fn a_body_past_its_limit_is_cut_and_an_announced_one_never_begins() {
    let limit = [(kado_shared::headers::KADO_MAX_BYTES, "1000")];
    let large = Say::Bytes(vec![b'x'; 5000]);
    assert_eq!(
        outcome(vec![head("Content-Length: 5000"), large.clone()], &limit).await,
        Err(FetchError::TooLarge)
    );
    assert_eq!(
        outcome(vec![head("Connection: close"), large], &limit).await,
        Err(FetchError::TooLarge)
    );
    let exact = Say::Bytes(vec![b'x'; 1000]);
    assert_eq!(
        outcome(vec![head("Content-Length: 1000"), exact], &limit).await,
        Ok(1000)
    );
}

#[tokio::test]
async fn slow_sources_time_out_at_every_stage() {
    let long = Say::Pause(Duration::from_secs(60));
    let quick = [(kado_shared::headers::KADO_TIMEOUT_MS, "250")];
    assert_eq!(
        outcome(vec![long.clone()], &[]).await,
        Err(FetchError::Timeout),
        "first byte"
    );
    assert_eq!(
        outcome(vec![long.clone()], &quick).await,
        Err(FetchError::Timeout),
        "whole, before the head"
    );
    let started = [head("Content-Length: 9"), Say::Bytes(b"x".to_vec())].to_vec();
    let stopped = [started.clone(), vec![long]].concat();
    assert_eq!(outcome(stopped.clone(), &[]).await, Err(FetchError::Timeout), "a pause");
    assert_eq!(
        outcome(stopped, &quick).await,
        Err(FetchError::Timeout),
        "whole, inside the body"
    );
    let drip: Vec<Say> = (0..200)
        .flat_map(|_| [Say::Bytes(vec![b'x'; 10]), Say::Pause(Duration::from_millis(20))])
        .collect();
    let dripping = [vec![head("Content-Length: 2000")], drip].concat();
    let began = Instant::now();
    assert_eq!(
        outcome(dripping, &[]).await,
        Err(FetchError::Timeout),
        "500 bytes a second"
    );
    assert!(began.elapsed() < Duration::from_secs(3), "cut long before its end");
}

#[tokio::test]
async fn what_is_no_plain_answer_is_refused() {
    let encoded = [
        head("Content-Encoding: gzip\r\nContent-Length: 1"),
        Say::Bytes(b"x".to_vec()),
    ]
    .to_vec();
    assert_eq!(outcome(encoded, &[]).await, Err(FetchError::Protocol));
    assert_eq!(
        outcome(say("HTTP/1.1 206 Partial Content\r\nContent-Length: 1\r\n\r\nx"), &[]).await,
        Err(FetchError::Protocol)
    );
    assert_eq!(
        outcome(say("SSH-2.0-OpenSSH_9.9\r\n"), &[]).await,
        Err(FetchError::Protocol)
    );
    assert_eq!(outcome(vec![], &[]).await, Err(FetchError::Protocol));
    let huge_head = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(1_000_000));
    assert_eq!(outcome(say(&huge_head), &[]).await, Err(FetchError::Protocol));
}

#[tokio::test]
async fn a_source_with_its_own_error_status_is_passed_on() {
    let source = Source::start(say("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")).await;
    let fetcher = fetcher(Answers::of(&[("a.test", &[&["127.0.0.1"]])]));
    let answer = fetcher.fetch(&asked(&source.url("a.test"), &[PRIVATE])).await.unwrap();
    assert_eq!(answer.status(), 404);
    let unknown = fetcher
        .fetch(&asked("http://unknown.test/", &[]))
        .await
        .map(|_| ())
        .unwrap_err();
    assert_eq!(unknown, FetchError::Dns);
}

#[tokio::test]
async fn one_host_gets_no_more_than_its_share() {
    let steps = vec![
        head("Content-Length: 1"),
        Say::Pause(Duration::from_millis(200)),
        Say::Bytes(b"x".to_vec()),
    ];
    let source = Source::start(steps).await;
    let fetcher = Arc::new(fetcher(Answers::of(&[("a.test", &[&["127.0.0.1"]])])));
    let began = Instant::now();
    let fetches: Vec<_> = (0..6)
        .map(|_| {
            let (fetcher, url) = (Arc::clone(&fetcher), source.url("a.test"));
            tokio::spawn(async move {
                read(fetcher.fetch(&asked(&url, &[PRIVATE])).await.unwrap())
                    .await
                    .unwrap()
            })
        })
        .collect();
    for fetch in fetches {
        assert_eq!(fetch.await.unwrap(), "x");
    }
    assert!(
        began.elapsed() >= Duration::from_millis(550),
        "three rounds of two: {:?}",
        began.elapsed()
    );
}

mod tls {
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use rustls::{RootCertStore, ServerConfig};
    use tokio_rustls::TlsAcceptor;

    use super::*;

    async fn tls_source(name: &str) -> (SocketAddr, RootCertStore) {
        let issued = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let certificate = issued.cert.der().clone();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(issued.signing_key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let acceptor = TlsAcceptor::from(Arc::new(config));
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let mut request = [0; 4096];
                    let _ = stream.read(&mut request).await;
                    let _ = stream
                        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                        .await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        (address, roots)
    }

    #[tokio::test]
    async fn a_certificate_must_be_trusted_and_name_the_host_not_the_address() {
        let (address, roots) = tls_source("pictures.test").await;
        let answers = || Answers::of(&[("pictures.test", &[&["127.0.0.1"]]), ("other.test", &[&["127.0.0.1"]])]);
        let limits = Limits::default();
        let trusting = Fetcher::new(answers(), Guard::default(), config_with(roots).unwrap(), limits);
        let url = |host: &str| format!("https://{host}:{}/", address.port());
        let answer = trusting.fetch(&asked(&url("pictures.test"), &[PRIVATE])).await.unwrap();
        assert_eq!(read(answer).await.unwrap(), "ok");
        let wrong_name = trusting
            .fetch(&asked(&url("other.test"), &[PRIVATE]))
            .await
            .map(|_| ())
            .unwrap_err();
        assert_eq!(wrong_name, FetchError::Tls);
        let plain = fetcher(answers());
        let untrusted = plain
            .fetch(&asked(&url("pictures.test"), &[PRIVATE]))
            .await
            .map(|_| ())
            .unwrap_err();
        assert_eq!(untrusted, FetchError::Tls);
    }
}
