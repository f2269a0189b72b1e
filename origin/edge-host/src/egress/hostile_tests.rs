//! Hostile addresses whose host a tenant has listed: real listeners on this machine, on every address that it has, count
//! who came. Nobody may.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::*;

/// Addresses that must never be reached, whatever name led there.
fn forbidden_addresses() -> Vec<IpAddr> {
    let four = [
        "0.0.0.0",
        "0.0.0.1",
        "0.1.2.3",
        "10.0.0.1",
        "10.255.255.254",
        "100.64.0.1",
        "100.100.100.200",
        "100.127.255.254",
        "127.0.0.1",
        "127.0.0.2",
        "127.0.1.1",
        "127.1.2.3",
        "127.255.255.254",
        "169.254.0.1",
        "169.254.169.254",
        "169.254.170.2",
        "169.254.255.254",
        "172.16.0.1",
        "172.17.0.1",
        "172.31.255.254",
        "192.0.0.1",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "192.168.255.254",
        "198.18.0.1",
        "198.19.255.254",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.254",
        "255.255.255.255",
        "168.63.129.16",
    ];
    let six = [
        "::",
        "::1",
        "::2",
        "::127.0.0.1",
        "::10.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:192.168.0.1",
        "::ffff:0.0.0.0",
        "::ffff:100.64.0.1",
        "::ffff:0:127.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b::8.8.8.8",
        "64:ff9b:1::127.0.0.1",
        "100::1",
        "2001::1",
        "2001:0:4136:e378::1",
        "2001:2::1",
        "2001:10::1",
        "2001:20::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:7f00:1::1",
        "2002:a00:1::1",
        "2002:a9fe:a9fe::1",
        "2002:808:808::1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::a9fe:a9fe",
        "febf::1",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
        "4000::1",
        "8000::1",
        "2606:4700::5efe:127.0.0.1",
        "2606:4700::200:5efe:10.0.0.1",
    ];
    four.iter().chain(&six).map(|text| text.parse().unwrap()).collect()
}

/// Ways to write addresses of this machine that a parser somewhere reads as such.
const SPELLINGS: [&str; 34] = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "127.0.0.1.",
    "127.1.",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0x7f.1",
    "0X7F.0X0.0X0.0X1",
    "017700000001",
    "0177.0.0.1",
    "0177.1",
    "0177.0.0.0x1",
    "127.0.0.01",
    "127.000.000.001",
    "0",
    "0.0.0.0",
    "0x0",
    "00",
    "0.0",
    "%31%32%37.0.0.1",
    "127%2e0%2e0%2e1",
    "\u{ff11}\u{ff12}\u{ff17}.0.0.1",
    "127\u{3002}0\u{3002}0\u{3002}1",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "[::ffff:0:7f00:1]",
];

/// Listeners on every address of this machine; both families where it has both.
struct Listeners {
    port: u16,
    connections: Arc<AtomicUsize>,
}

impl Listeners {
    async fn start() -> Self {
        let connections = Arc::new(AtomicUsize::new(0));
        let four = tokio::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
        let port = four.local_addr().unwrap().port();
        let six = tokio::net::TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await.ok();
        for listener in std::iter::once(four).chain(six) {
            let counted = Arc::clone(&connections);
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    counted.fetch_add(1, Ordering::SeqCst);
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx").await;
                }
            });
        }
        Self { port, connections }
    }
}

#[tokio::test]
async fn of_more_than_150_hostile_addresses_none_is_connected_to() {
    let listeners = Listeners::start().await;
    let port = listeners.port;
    let public: IpAddr = "93.184.215.14".parse().unwrap();
    let mut names: HashMap<String, Vec<Vec<IpAddr>>> = HashMap::new();
    let mut tried: Vec<String> = Vec::new();
    for (number, address) in forbidden_addresses().into_iter().enumerate() {
        // A name that resolves there, and one that has a good address too, before it or behind it.
        names.insert(format!("plain-{number}.test"), vec![vec![address]]);
        let mixed = if number % 2 == 0 {
            vec![public, address]
        } else {
            vec![address, public]
        };
        names.insert(format!("mixed-{number}.test"), vec![mixed]);
        tried.push(format!("http://plain-{number}.test:{port}/"));
        tried.push(format!("http://mixed-{number}.test:{port}/"));
    }
    names.insert("many.test".to_owned(), vec![vec![public; 65]]);
    names.insert("dot.test".to_owned(), vec![vec![Ipv4Addr::LOCALHOST.into()]]);
    tried.extend(["many.test", "dot.test.", "DOT.test"].map(|host| format!("http://{host}:{port}/")));
    tried.extend(SPELLINGS.iter().map(|host| format!("http://{host}:{port}/")));
    tried.extend(
        [
            "http://user@127.0.0.1",
            "http://user:password@127.0.0.1",
            "http://good.example@127.0.0.1",
            "http://127.0.0.1\\@good.example",
            "ftp://127.0.0.1",
            "gopher://127.0.0.1",
            "file://127.0.0.1",
            "ws://127.0.0.1",
        ]
        .map(|front| format!("{front}:{port}/")),
    );
    assert!(tried.len() >= 150, "{}", tried.len());
    let fetcher = fetcher(Arc::new(Answers(Mutex::new(names))));
    for url in &tried {
        let mut headers = HeaderMap::new();
        let Ok(value) = HeaderValue::from_bytes(url.as_bytes()) else {
            panic!("{url}");
        };
        headers.insert(kado_shared::headers::KADO_SOURCE, value);
        headers.insert(kado_shared::headers::KADO_ALLOW_PORT, HeaderValue::from_static("1"));
        let outcome = match SourceRequest::from_headers(&headers) {
            Ok(asked) => fetcher.fetch(&asked).await.map(|_| ()),
            Err(error) => Err(error),
        };
        let error = outcome.expect_err(url);
        assert!(
            matches!(
                error,
                FetchError::AddressRefused | FetchError::Dns | FetchError::Protocol
            ),
            "{url}: {error}"
        );
    }
    assert_eq!(listeners.connections.load(Ordering::SeqCst), 0);
    println!("{} hostile addresses, 0 connections", tried.len());
}

#[tokio::test]
async fn a_name_that_answers_otherwise_each_time_is_never_followed_inside() {
    let listeners = Listeners::start().await;
    // Public and inside in turns; the public ones lead nowhere, so each fetch ends without a connection.
    let nowhere = vec!["192.88.98.1".parse().unwrap()];
    let inside: Vec<IpAddr> = vec![Ipv4Addr::LOCALHOST.into()];
    let turns = (0..20).flat_map(|_| [inside.clone(), nowhere.clone()]).collect();
    let fetcher = fetcher(Arc::new(Answers(Mutex::new(HashMap::from([(
        "rebind.test".to_owned(),
        turns,
    )])))));
    let url = format!("http://rebind.test:{}/", listeners.port);
    for _ in 0..20 {
        let quick = [(kado_shared::headers::KADO_TIMEOUT_MS, "50")];
        assert!(fetcher.fetch(&asked(&url, &quick)).await.is_err());
    }
    assert_eq!(listeners.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_private_host_reaches_its_own_network_and_nothing_worse() {
    let worse = [
        "169.254.169.254",
        "fd00:ec2::254",
        "100.100.100.200",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "fe80::1",
        "64:ff9b::7f00:1",
    ];
    for address in worse {
        let names = HashMap::from([("listed.test".to_owned(), vec![vec![address.parse().unwrap()]])]);
        let fetcher = fetcher(Arc::new(Answers(Mutex::new(names))));
        let refused = fetcher
            .fetch(&asked("http://listed.test/", &[PRIVATE]))
            .await
            .map(|_| ());
        assert_eq!(refused, Err(FetchError::AddressRefused), "{address}");
    }
}

#[tokio::test]
async fn a_source_that_failed_is_asked_once_for_all_who_come_at_once() {
    let broken = Source::start(say("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")).await;
    let remembering = Fetcher::new(
        Answers::of(&[("inside.test", &[&["127.0.0.1"]])]),
        Guard::default(),
        config_with(rustls::RootCertStore::empty()).unwrap(),
        Limits {
            per_host: 1,
            ..Limits::default()
        },
    );
    let url = broken.url("inside.test");
    for _ in 0..10 {
        let answer = remembering.fetch(&asked(&url, &[PRIVATE])).await.unwrap();
        assert_eq!(answer.status(), 500);
    }
    assert_eq!(broken.connections(), 1);
    let other = format!("{url}&other");
    assert_eq!(
        remembering.fetch(&asked(&other, &[PRIVATE])).await.unwrap().status(),
        500
    );
    assert_eq!(broken.connections(), 2, "another picture is another question");
}
