//! Pictures from other hosts: only those the tenant allows, only at public addresses, and never half of one.

use std::io::Write;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use anyhow::Result;
use kado_tests::server::answer;
use kado_tests::{Site, SourceServer, pictures, wait_until};
use serde_json::{Value, json};

/// A tenant that may fetch from these, and an edge that knows it.
fn site_allowing(sources: &Value) -> Result<Site> {
    let site = Site::fresh()?;
    site.settle(json!({ "allowedSources": sources }))?;
    Ok(site)
}

/// Loopback, which only a test allows.
fn local(server: &SourceServer) -> Value {
    json!({"host": "127.0.0.1", "port": server.port(), "allowPrivate": true})
}

fn fetch(site: &Site, options: &str, server: &SourceServer, path: &str) -> Result<kado_tests::Answer> {
    site.image(options, &format!("http://{}/{path}", server.authority()))
}

#[test]
fn a_picture_of_an_allowed_host_is_transformed_and_fetched_once() -> Result<()> {
    let server = SourceServer::of_bytes(pictures::photo_jpeg(300, 200))?;
    let site = site_allowing(&json!([local(&server)]))?;
    let made = fetch(&site, "w=100", &server, "a.jpg?v=1")?;
    assert_eq!((made.status, made.cache()), (200, "miss"), "{}", made.json());
    assert_eq!(pictures::size(&made.body)?, (100, 67));
    wait_until("a hit", Duration::from_secs(5), || {
        fetch(&site, "w=100", &server, "a.jpg?v=1")
            .ok()
            .filter(|answer| answer.cache() == "hit")
    })?;
    assert_eq!(server.connections(), 1);
    Ok(())
}

#[test]
fn a_host_that_is_not_listed_is_never_asked() -> Result<()> {
    let server = SourceServer::of_bytes(pictures::photo_jpeg(30, 20))?;
    let site = site_allowing(&json!(["images.example.com"]))?;
    assert_eq!(
        fetch(&site, "w=10", &server, "a")?.outcome(),
        (403, "source-not-allowed".to_owned())
    );
    let relative = site.image("w=10", "uploads/a.jpg")?;
    assert_eq!(relative.outcome(), (403, "source-not-allowed".to_owned()));
    assert_eq!(server.connections(), 0);
    Ok(())
}

#[test]
fn a_private_address_is_refused_though_its_host_is_listed() -> Result<()> {
    let server = SourceServer::of_bytes(pictures::photo_jpeg(30, 20))?;
    let port = server.port();
    let hosts = [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "127.1.2.3",
    ];
    // The mapped form is no host in the setting's eyes; as a source it means the same as the plain one, which is listed.
    let listed: Vec<Value> = hosts
        .iter()
        .filter(|host| !host.contains("ffff"))
        .map(|host| json!({"host": host, "port": port}))
        .collect();
    let site = site_allowing(&Value::from(listed))?;
    for host in hosts {
        let answer = site.image("w=10", &format!("http://{host}:{port}/a"))?;
        assert_eq!(
            answer.outcome(),
            (403, "source-not-allowed".to_owned()),
            "{host}: {}",
            answer.json()
        );
    }
    assert_eq!(server.connections(), 0);
    Ok(())
}

#[test]
fn a_failed_transform_leads_to_a_public_source_where_that_is_asked_for() -> Result<()> {
    let server = SourceServer::of_bytes(b"no picture".to_vec())?;
    let site = site_allowing(&json!([{"host": "pictures.invalid"}, local(&server)]))?;
    // Nobody answers under this name.
    let source = "https://pictures.invalid/a.jpg?size=large";
    let sent = site.image("onerror=redirect,width=10", source)?;
    assert_eq!(sent.status, 302, "{}", sent.json());
    assert_eq!(
        (sent.header("location"), sent.header("cache-control")),
        (Some(source), Some("no-store"))
    );
    assert_eq!(
        site.image("width=10", source)?.outcome(),
        (502, "source-failed".to_owned())
    );
    // A host in our own network is not told.
    let private = fetch(&site, "onerror=redirect,width=10", &server, "a")?;
    assert_eq!(private.outcome(), (415, "not-an-image".to_owned()));
    // Nor does it help a request that is wrong in itself.
    assert_eq!(site.image("onerror=redirect,width=x", source)?.status, 400);
    Ok(())
}

#[test]
fn a_redirect_is_followed_only_to_where_a_request_might_go() -> Result<()> {
    let target = SourceServer::of_bytes(pictures::photo_jpeg(60, 40))?;
    let forbidden = SourceServer::of_bytes(pictures::photo_jpeg(60, 40))?;
    let (good, bad) = (
        format!("http://{}/b", target.authority()),
        format!("http://{}/b", forbidden.authority()),
    );
    let redirecting = SourceServer::start(move |path, stream| match path {
        "/good" => answer(stream, "302 Found", &[("location", &good)], b""),
        "/bad" => answer(stream, "302 Found", &[("location", &bad)], b""),
        "/file" => answer(stream, "302 Found", &[("location", "file:///etc/passwd")], b""),
        _ => answer(stream, "302 Found", &[("location", "/loop")], b""),
    })?;
    let site = site_allowing(&json!([local(&redirecting), local(&target)]))?;
    let followed = fetch(&site, "w=30", &redirecting, "good")?;
    assert_eq!(followed.status, 200, "{}", followed.json());
    for path in ["bad", "file"] {
        assert_eq!(
            fetch(&site, "w=30", &redirecting, path)?.outcome(),
            (403, "source-not-allowed".to_owned()),
            "{path}"
        );
    }
    assert_eq!(
        fetch(&site, "w=30", &redirecting, "loop")?.outcome(),
        (502, "source-failed".to_owned())
    );
    assert_eq!((target.connections(), forbidden.connections()), (1, 0));
    Ok(())
}

#[test]
fn what_goes_wrong_at_the_source_is_told_without_its_words_and_never_cached() -> Result<()> {
    let photo = pictures::photo_jpeg(300, 200);
    let server = SourceServer::start(move |path, stream| match path {
        "/missing" => answer(stream, "404 Not Found", &[], b"secret words of the source"),
        "/broken" => answer(stream, "500 Internal Server Error", &[], b"secret words of the source"),
        "/text" => answer(
            stream,
            "200 OK",
            &[("content-type", "image/jpeg")],
            b"secret words of the source",
        ),
        "/short" => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", photo.len());
            // The connection ends in the middle, as when a server dies.
            let _ = stream.write_all(&[head.as_bytes(), &photo[..photo.len() / 2]].concat());
        }
        "/large" => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 999999999999\r\n\r\nx");
        }
        _ => answer(stream, "200 OK", &[], &photo),
    })?;
    let site = site_allowing(&json!([local(&server)]))?;
    for (path, status, code) in [
        ("missing", 404, "source-not-found"),
        ("broken", 502, "source-failed"),
        ("text", 415, "not-an-image"),
        ("short", 502, "source-failed"),
        ("large", 413, "too-large"),
    ] {
        let first = fetch(&site, "w=50", &server, path)?;
        assert_eq!(first.outcome(), (status, code.to_owned()), "{path}: {}", first.json());
        let text = String::from_utf8_lossy(&first.body).into_owned();
        assert!(
            !text.contains("secret words") && !text.contains("127.0.0.1"),
            "{path}: {text}"
        );
        assert_eq!(first.header("cache-control"), Some("no-store"), "{path}");
    }
    assert_eq!(fetch(&site, "w=50", &server, "fine")?.status, 200);
    Ok(())
}

#[test]
fn a_source_that_never_answers_is_given_up_in_time() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let site = site_allowing(&json!([{"host": "127.0.0.1", "port": port, "allowPrivate": true}]))?;
    site.set("transformTimeout", &json!(3))?;
    let answer = wait_until("the edge knows the deadline", Duration::from_secs(30), || {
        let started = Instant::now();
        let answer = site
            .image("w=10", &format!("http://127.0.0.1:{port}/{}", uuid::Uuid::new_v4()))
            .ok()?;
        assert!(matches!(answer.status, 503 | 504), "{}", answer.json());
        (started.elapsed() < Duration::from_secs(8)).then_some(answer)
    })?;
    assert_eq!(
        answer.outcome(),
        (504, "source-timeout".to_owned()),
        "{}",
        answer.json()
    );
    Ok(())
}
