//! What workerd is promised, request by request.

use crate::support::{FRESH, MIB, Service, message, noise, send_and_close};

const URL: &str = "https://kado.invalid/__kado/v1/t/1.1.1/e/webp/abc?x=%2F";

#[tokio::test]
async fn a_stored_response_is_found_and_a_deleted_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(dir.path()).await;
    let mut client = service.client().await;
    assert!(client.find(URL).await.is_miss());
    let body = noise(70_000, 1);
    let fields = [
        FRESH,
        ("Content-Type", "image/webp"),
        ("ETag", "\"e\""),
        ("X-A", "1"),
        ("X-A", "2"),
    ];
    assert_eq!(client.put(URL, &fields, &body).await, 204);
    service.clock.advance(7);
    let hit = client.find(URL).await;
    assert!(hit.is_hit());
    assert_eq!((hit.status.as_u16(), &hit.body[..]), (200, &body[..]));
    assert_eq!(
        (hit.headers["age"].to_str().unwrap(), &hit.headers["content-type"]),
        ("7", &"image/webp".parse().unwrap())
    );
    assert_eq!(hit.headers.get_all("x-a").iter().count(), 2);
    assert!(
        !hit.headers.contains_key("date"),
        "a date of ours would claim that it was made now"
    );
    assert_eq!(client.purge(URL).await, 200);
    assert!(client.find(URL).await.is_miss());
    assert_eq!(client.purge(URL).await, 404);
    service.stop().await;
}

#[tokio::test]
async fn scheme_host_and_namespace_keep_entries_apart() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(dir.path()).await;
    let mut client = service.client().await;
    client.put("https://a.test/x", &[FRESH], b"https").await;
    client.put("http://a.test/x", &[FRESH], b"http").await;
    let named = message(200, &[FRESH], b"named");
    client
        .send("PUT", "https://a.test/x", &[("cf-cache-namespace", "n")], named)
        .await;
    assert_eq!(client.find("https://a.test/x").await.body, "https");
    assert_eq!(client.find("http://a.test/x").await.body, "http");
    assert_eq!(
        client
            .find_with("https://a.test/x", &[("cf-cache-namespace", "n")])
            .await
            .body,
        "named"
    );
    assert!(
        client
            .find_with("https://a.test/x", &[("cf-cache-namespace", "m")])
            .await
            .is_miss()
    );
    assert!(client.find("https://b.test/x").await.is_miss());
    assert_eq!(
        client
            .send("PURGE", "https://a.test/x", &[("cf-cache-namespace", "n")], vec![])
            .await
            .status,
        200
    );
    assert_eq!(client.find("https://a.test/x").await.body, "https");
    service.stop().await;
}

#[tokio::test]
async fn a_body_keeps_its_bytes_and_its_content_encoding() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(dir.path()).await;
    let mut client = service.client().await;
    let body = [&b"\x1f\x8b\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"[..], &noise(999, 2)].concat();
    client.put(URL, &[FRESH, ("Content-Encoding", "gzip")], &body).await;
    let hit = client.find(URL).await;
    assert_eq!(hit.body, body);
    assert_eq!(hit.headers["content-encoding"], "gzip");
    service.stop().await;
}

#[tokio::test]
async fn ranges_are_cut_from_the_stored_body() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(dir.path()).await;
    let mut client = service.client().await;
    client.put(URL, &[FRESH, ("ETag", "\"e\"")], b"0123456789").await;
    for (range, body, content_range) in [
        ("bytes=0-2", "012", "bytes 0-2/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-2", "89", "bytes 8-9/10"),
    ] {
        let part = client.find_with(URL, &[("range", range)]).await;
        assert_eq!(
            (part.status.as_u16(), &part.body[..]),
            (206, body.as_bytes()),
            "{range}"
        );
        assert_eq!(part.headers["content-range"], content_range);
        assert!(part.is_hit());
    }
    let outside = client.find_with(URL, &[("range", "bytes=10-")]).await;
    assert_eq!(
        (outside.status.as_u16(), &outside.headers["content-range"]),
        (416, &"bytes */10".parse().unwrap())
    );
    assert_eq!(client.find_with(URL, &[("range", "bytes=0-1,4-5")]).await.status, 200);
    assert_eq!(
        client
            .find_with(URL, &[("range", "bytes=0-1"), ("if-range", "\"other\"")])
            .await
            .status,
        200
    );
    assert_eq!(
        client
            .find_with(URL, &[("range", "bytes=0-1"), ("if-range", "\"e\"")])
            .await
            .status,
        206
    );
    service.stop().await;
}

#[tokio::test]
async fn conditions_are_answered_with_304_and_head_without_a_body() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(dir.path()).await;
    let mut client = service.client().await;
    let modified = "Sun, 06 Nov 1994 08:49:37 GMT";
    client
        .put(
            URL,
            &[FRESH, ("ETag", "\"e\""), ("Last-Modified", modified)],
            b"0123456789",
        )
        .await;
    let same = client.find_with(URL, &[("if-none-match", "\"x\", \"e\"")]).await;
    assert_eq!((same.status.as_u16(), same.body.len(), same.is_hit()), (304, 0, true));
    assert_eq!(same.headers["etag"], "\"e\"");
    assert_eq!(
        client.find_with(URL, &[("if-modified-since", modified)]).await.status,
        304
    );
    assert_eq!(client.find_with(URL, &[("if-none-match", "\"x\"")]).await.status, 200);
    let head = client.send("HEAD", URL, &[], vec![]).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    assert_eq!(head.headers["content-length"], "10");
    service.stop().await;
}

#[tokio::test]
async fn what_must_not_be_shared_is_refused_with_413_and_not_stored() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(dir.path()).await;
    let mut client = service.client().await;
    let refused: [&[(&str, &str)]; 9] = [
        &[FRESH, ("Set-Cookie", "a=b")],
        &[("Cache-Control", "private, max-age=600")],
        &[("Cache-Control", "no-store")],
        &[("Cache-Control", "no-cache, max-age=600")],
        &[("Cache-Control", "max-age=0")],
        &[FRESH, ("Vary", "*")],
        &[FRESH, ("Age", "600")],
        &[("Expires", "0")],
        &[],
    ];
    for fields in refused {
        assert_eq!(client.put(URL, fields, b"x").await, 413, "{fields:?}");
        assert!(client.find(URL).await.is_miss(), "{fields:?}");
    }
    let part = message(206, &[FRESH, ("Content-Range", "bytes 0-0/9")], b"x");
    assert_eq!(client.send("PUT", URL, &[], part).await.status, 413);
    assert!(client.find(URL).await.is_miss());
    let stats = client.stats().await;
    assert_eq!(stats["refused"]["set-cookie"], 1);
    assert_eq!(stats["refused"]["no-lifetime"], 1);
    service.stop().await;
}

#[tokio::test]
async fn an_entry_is_gone_when_its_lifetime_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(dir.path()).await;
    let mut client = service.client().await;
    client
        .put(URL, &[("Cache-Control", "s-maxage=10, max-age=600")], b"x")
        .await;
    service.clock.advance(9);
    assert!(client.find(URL).await.is_hit());
    service.clock.advance(1);
    assert!(client.find(URL).await.is_miss());
    assert_eq!(client.stats().await["expired"], 1);
    client.put(URL, &[FRESH], b"new").await;
    assert_eq!(client.find(URL).await.body, "new");
    service.stop().await;
}

#[tokio::test]
async fn a_cut_or_short_put_stores_nothing_and_keeps_no_older_claim() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(dir.path()).await;
    let mut client = service.client().await;
    let short = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nCache-Control: max-age=60\r\n\r\n1234".to_vec();
    assert_eq!(client.send("PUT", URL, &[], short.clone()).await.status, 400);
    assert!(client.find(URL).await.is_miss());
    for head in ["Content-Length: 5000", "Transfer-Encoding: chunked"] {
        let mut cut = format!("PUT {URL} HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n").into_bytes();
        if head.starts_with('T') {
            cut.extend_from_slice(b"41\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: max-age=60\r\n\r\n\r\n4\r\naaaa\r\n");
        } else {
            cut.extend_from_slice(&short);
        }
        let answer = send_and_close(&service.socket, &cut).await;
        assert!(
            !answer.starts_with(b"HTTP/1.1 2"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
        assert!(client.find(URL).await.is_miss());
    }
    assert_eq!(
        client.stats_until(|s| s["truncated"].as_u64() >= Some(2)).await["stored"],
        0
    );
    service.stop().await;
}

#[tokio::test]
async fn an_object_past_the_limit_is_413_and_the_connection_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(dir.path()).await;
    let mut client = service.client().await;
    assert_eq!(client.put(URL, &[FRESH], &noise(MIB + 1, 3)).await, 413);
    assert_eq!(client.put(URL, &[FRESH], &noise(8 * MIB, 3)).await, 413);
    assert!(client.find(URL).await.is_miss());
    let body = noise(MIB - 200, 4);
    assert_eq!(client.put(URL, &[FRESH], &body).await, 204);
    assert_eq!(client.find(URL).await.body, body);
    service.stop().await;
}

#[tokio::test]
async fn requests_that_are_none_of_the_protocol_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(dir.path()).await;
    let mut client = service.client().await;
    let post = client.send("POST", URL, &[], vec![]).await;
    assert_eq!(
        (post.status.as_u16(), &post.headers["allow"]),
        (405, &"GET, HEAD, PUT, PURGE".parse().unwrap())
    );
    assert_eq!(client.send("PUT", URL, &[], b"not http".to_vec()).await.status, 400);
    assert_eq!(client.send("GET", "/x", &[], vec![]).await.status, 400, "no host");
    for garbage in [
        &b"\0\0\0\0\r\n\r\n"[..],
        b"GET / HTTP/9\r\n\r\n",
        b"PUT http://a/ HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    ] {
        let answer = send_and_close(&service.socket, garbage).await;
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
    assert!(client.find(URL).await.is_miss(), "the service goes on");
    service.stop().await;
}

#[tokio::test]
async fn statistics_are_not_reachable_through_a_cache_request() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(dir.path()).await;
    let mut client = service.client().await;
    assert_eq!(client.stats().await["hits"], 0);
    let through_worker = format!("http://{}/__cache/stats", kado_cache::STATS_HOST);
    assert!(client.find(&through_worker).await.is_miss());
    assert!(client.send("GET", &through_worker, &[], vec![]).await.is_miss());
    let host = [("host", kado_cache::STATS_HOST), ("cache-control", "only-if-cached")];
    assert!(client.send("GET", "/__cache/stats", &host, vec![]).await.is_miss());
    assert!(
        client
            .send("GET", "/__cache/stats", &[("host", "kado.invalid")], vec![])
            .await
            .is_miss()
    );
    service.stop().await;
}
