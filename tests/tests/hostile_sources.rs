//! Hostile sources through the whole system, with their hosts on the tenant's list: asked for directly, and led to by a
//! redirect of a host that may be fetched from. Listeners on this machine count who comes.

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use kado_tests::server::answer;
use kado_tests::{Site, SourceServer, pictures};
use serde_json::{Value, json};

/// Hosts that a tenant may write into its list though they lead inside.
const LISTED: [&str; 7] = [
    "127.0.0.1",
    "127.0.0.2",
    "127.1.2.3",
    "0.0.0.0",
    "localhost",
    "[::1]",
    "[::]",
];

/// Spellings of addresses of this machine, most of which are one of [`LISTED`]; others, such as mapped ones, cannot be listed.
const SPELLINGS: [&str; 27] = [
    "127.0.0.1",
    "127.0.0.1.",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "017700000001",
    "127.0.0.01",
    "127%2e0.0.1",
    "127.0.0.2",
    "127.1.2.3",
    "0",
    "0.0.0.0",
    "localhost",
    "localhost.",
    "LOCALHOST",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "user@127.0.0.1",
];

/// Listens on every address of this machine.
fn listen() -> Result<(u16, Arc<AtomicUsize>)> {
    let four = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let port = four.local_addr()?.port();
    let connections = Arc::new(AtomicUsize::new(0));
    for listener in std::iter::once(four).chain(TcpListener::bind((Ipv6Addr::LOCALHOST, port))) {
        let counted = Arc::clone(&connections);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                counted.fetch_add(1, Ordering::SeqCst);
                answer(&mut stream, "200 OK", &[], &pictures::photo_jpeg(30, 20));
            }
        });
    }
    Ok((port, connections))
}

#[test]
fn no_hostile_address_is_connected_to_though_its_host_is_listed() -> Result<()> {
    let (port, connections) = listen()?;
    let redirecting = SourceServer::start(move |path, stream| {
        let to = path.rsplit_once("to=").map_or("", |(_, to)| to);
        let location = format!("http://{to}:{port}/a.jpg");
        answer(stream, "302 Found", &[("location", &location)], b"");
    })?;
    let mut listed: Vec<Value> = LISTED
        .iter()
        .map(|host| json!({ "host": host, "port": port }))
        .collect();
    listed.push(json!({ "host": "127.0.0.1", "port": redirecting.port(), "allowPrivate": true }));
    let site = Site::fresh()?;
    let much = json!({"quota": 10_000, "windowSeconds": 60, "mode": "fast"});
    site.settle(json!({ "allowedSources": listed, "limitImages": much, "limitTransform": much }))?;
    let mut tried = 0;
    for host in SPELLINGS {
        for source in [
            format!("http://{host}:{port}/a.jpg"),
            format!("http://{}/?to={host}", redirecting.authority()),
        ] {
            let answer = site.image("w=10", &source)?;
            assert!(
                matches!(answer.status, 400 | 403 | 502),
                "{source}: {} {}",
                answer.status,
                answer.json()
            );
            let told = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(!told.contains("127.0.0.1") && !told.contains("::1"), "{source}: {told}");
            tried += 1;
        }
    }
    assert!(redirecting.connections() > 0, "the redirects were not tried");
    assert_eq!(connections.load(Ordering::SeqCst), 0);
    println!("{tried} hostile addresses through the whole system, 0 connections");
    Ok(())
}

#[test]
fn a_chain_of_proxies_is_passed_on_and_a_loop_is_refused() -> Result<()> {
    let seen = Arc::new(std::sync::Mutex::new(String::new()));
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let kept = Arc::clone(&seen);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = [0; 4096];
            let read = std::io::Read::read(&mut stream, &mut head).unwrap_or_default();
            if let Ok(mut kept) = kept.lock() {
                *kept = String::from_utf8_lossy(head.get(..read).unwrap_or_default()).to_lowercase();
            }
            answer(&mut stream, "200 OK", &[], &pictures::photo_jpeg(30, 20));
        }
    });
    let site = Site::fresh()?;
    site.settle(json!({ "allowedSources": [{ "host": "127.0.0.1", "port": port, "allowPrivate": true }] }))?;
    let address = format!("/img/w=10/http://127.0.0.1:{port}/a.jpg");
    let made = site
        .client
        .send("GET", &address, &[("via", "1.1 varnish, 2 proxy")], b"")?;
    assert_eq!(made.status, 200, "{}", made.json());
    let head = seen.lock().map(|head| head.clone()).unwrap_or_default();
    assert!(head.contains("via: 1.1 varnish, 2 proxy, 1.1 kado\r\n"), "{head}");
    let looped = site
        .client
        .send("GET", &address, &[("via", "1.1 varnish, 1.1 Kado")], b"")?;
    assert_eq!(looped.outcome(), (502, "source-failed".to_owned()));
    Ok(())
}
