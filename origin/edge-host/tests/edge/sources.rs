//! The egress as the Worker meets it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Edge, Job, workerd};

/// A listener that answers with fixed bytes and closes.
async fn source(answer: Vec<u8>) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(&answer).await;
        }
    });
    (address, connections)
}

fn answer(head: &str, body: usize) -> Vec<u8> {
    [head.as_bytes(), b"\r\n\r\n", &vec![b'x'; body]].concat()
}

#[tokio::test]
async fn the_worker_gets_whole_sources_or_errors_and_nothing_from_inside() {
    let Some(workerd) = workerd() else { return };
    let dir = tempfile::tempdir().unwrap();
    let edge = Edge::start(dir.path(), &workerd, &[]).await;
    let ask = async |url: String, flags: &str| {
        let reply = edge.job(&Job::new(&format!("source={url} {flags}"))).await;
        assert_eq!(reply.status, 200);
        reply.text().to_owned()
    };

    let (whole, connections) = source(answer("HTTP/1.1 200 OK\r\nContent-Length: 5000", 5000)).await;
    assert_eq!(ask(format!("http://{whole}/a.jpg"), "private").await, "200 5000");
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    for url in [
        format!("http://{whole}/"),
        format!("http://localhost:{}/", whole.port()),
        format!("http://[::ffff:127.0.0.1]:{}/", whole.port()),
        format!("http://0:{}/", whole.port()),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
    ] {
        assert_eq!(ask(url.clone(), "port").await, "502 address-refused", "{url}");
    }
    assert_eq!(
        ask(format!("http://localhost:{}/", whole.port()), "").await,
        "502 address-refused",
        "a port not listed"
    );
    assert_eq!(connections.load(Ordering::SeqCst), 1, "nobody inside was reached");

    // What ends early is an error inside the Worker, never a short success: with a length, in chunks, past the limit.
    let (short, _) = source(answer("HTTP/1.1 200 OK\r\nContent-Length: 5000", 4000)).await;
    let (chunked, _) = source(
        [
            &answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", 0)[..],
            b"3\r\nabc\r\n",
        ]
        .concat(),
    )
    .await;
    let (endless, _) = source(answer("HTTP/1.1 200 OK\r\nConnection: close", 2_000_000)).await;
    for address in [short, chunked, endless] {
        let outcome = ask(format!("http://{address}/"), "private").await;
        assert!(outcome.starts_with("threw"), "{outcome}");
    }
    let (announced, _) = source(answer("HTTP/1.1 200 OK\r\nContent-Length: 200000", 200_000)).await;
    assert_eq!(ask(format!("http://{announced}/"), "private").await, "502 too-large");

    let (redirect, _) = source(answer(
        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0",
        0,
    ))
    .await;
    assert_eq!(
        ask(format!("http://{redirect}/"), "private").await,
        "302 0 http://127.0.0.1:1/"
    );
    assert_eq!(ask("http://no-such-host.invalid/".to_owned(), "").await, "502 dns");
    assert_eq!(ask(format!("https://{whole}/"), "private").await, "502 tls");
    assert_eq!(ask("ftp://a.test/".to_owned(), "").await, "502 address-refused");
}
