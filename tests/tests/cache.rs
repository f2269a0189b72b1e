//! What is kept of pictures: how it goes when it must, and how it stays while everything behind it fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kado_tests::server::answer;
use kado_tests::site::kado;
use kado_tests::{Answer, Site, SourceServer, crowd, pictures, wait_until};
use serde_json::{Value, json};

/// How soon every edge must know of a purge.
const KNOWN_WITHIN: Duration = Duration::from_secs(5);

fn until_hit(site: &Site, address: &str) -> Result<Answer> {
    wait_until("a hit", Duration::from_secs(10), || {
        site.client.get(address).ok().filter(|answer| answer.cache() == "hit")
    })
}

fn purge(site: &Site, what: &Value) -> Result<()> {
    let headers = [("authorization", site.bearer.as_str())];
    let answer = site.client.send_json("POST", "/api/admin/purge", &headers, what)?;
    ensure!(answer.status == 200, "{what}: {} {}", answer.status, answer.json());
    Ok(())
}

/// A source whose picture the test changes: its width is what it is set to; 0 for 404, 1 for 500, 2 for silence, 3 for a
/// body that is cut.
struct Changing {
    server: SourceServer,
    state: Arc<AtomicU8>,
    asked: Arc<AtomicUsize>,
}

impl Changing {
    const MISSING: u8 = 0;
    const BROKEN: u8 = 1;
    const CUT: u8 = 3;
    const FORBIDDEN: u8 = 4;

    fn start(width: u8) -> Result<Self> {
        let (state, asked) = (Arc::new(AtomicU8::new(width)), Arc::new(AtomicUsize::new(0)));
        let (seen, counted) = (Arc::clone(&state), Arc::clone(&asked));
        let server = SourceServer::start(move |_, stream| {
            counted.fetch_add(1, Ordering::SeqCst);
            match seen.load(Ordering::SeqCst) {
                Self::MISSING => answer(stream, "404 Not Found", &[], b""),
                Self::BROKEN => answer(stream, "500 Internal Server Error", &[], b""),
                Self::FORBIDDEN => answer(stream, "403 Forbidden", &[], b""),
                Self::CUT => {
                    let photo = pictures::photo_jpeg(200, 100);
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", photo.len());
                    let half = photo.get(..photo.len() / 2).unwrap_or_default();
                    let _ = std::io::Write::write_all(stream, &[head.as_bytes(), half].concat());
                }
                width => answer(stream, "200 OK", &[], &pictures::photo_jpeg(u16::from(width), 100)),
            }
        })?;
        Ok(Self { server, state, asked })
    }

    fn becomes(&self, state: u8) {
        self.state.store(state, Ordering::SeqCst);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn source(&self, path: &str) -> String {
        format!("http://{}/{path}", self.server.authority())
    }

    /// The setting that lets a tenant fetch from it.
    fn allowed(&self) -> Value {
        json!([{"host": "127.0.0.1", "port": self.server.port(), "allowPrivate": true}])
    }
}

fn width(answer: &Answer) -> Result<u32> {
    ensure!(answer.status == 200, "{} {}", answer.status, answer.json());
    Ok(pictures::size(&answer.body)?.0)
}

#[test]
fn a_purge_of_a_source_an_address_or_everything_is_seen_within_five_seconds() -> Result<()> {
    let changing = Changing::start(100)?;
    let site = site_of(&changing)?;
    let (first, second) = (changing.source("first.jpg?v=1"), changing.source("second.jpg"));
    let addresses = [
        format!("/img/q=80,f=jpeg/{first}"),
        format!("/img/q=60,f=jpeg/{first}"),
        format!("/img/q=80,f=jpeg/{second}"),
    ];
    for (what, concerned) in [
        (json!({ "source": first }), vec![0, 1]),
        (
            json!({ "address": format!("/img/format=jpeg,quality=60/{first}") }),
            vec![1],
        ),
        (json!({ "all": true }), vec![0, 1, 2]),
    ] {
        changing.becomes(100);
        // What an earlier purge left is made anew until the clocks of all are past it.
        wait_until("all are hits of the old picture", Duration::from_secs(20), || {
            let old = |address: &String| {
                let answer = site.client.get(address).ok()?;
                (answer.cache() == "hit" && width(&answer).ok()? == 100).then_some(())
            };
            addresses.iter().map(old).collect::<Option<Vec<()>>>()
        })?;
        changing.becomes(120);
        purge(&site, &what)?;
        let started = Instant::now();
        for index in &concerned {
            let address = addresses.get(*index).context("no such address")?;
            wait_until("the new picture is shown", KNOWN_WITHIN, || {
                site.client
                    .get(address)
                    .ok()
                    .filter(|answer| width(answer).ok() == Some(120))
            })?;
        }
        println!("purge of {what}: seen after {:?}", started.elapsed());
        for (index, address) in addresses.iter().enumerate() {
            let expected = if concerned.contains(&index) { 120 } else { 100 };
            assert_eq!(width(&site.client.get(address)?)?, expected, "{what}: {address}");
        }
        if !concerned.contains(&2) {
            // Back to the old one everywhere.
            changing.becomes(100);
            purge(&site, &json!({ "source": first }))?;
        }
    }
    Ok(())
}

#[test]
fn an_operator_purges_at_the_shell() -> Result<()> {
    let changing = Changing::start(100)?;
    let site = site_of(&changing)?;
    let source = changing.source("a.jpg");
    let address = format!("/img/q=70/{source}");
    site.client.get(&address)?;
    until_hit(&site, &address)?;
    changing.becomes(90);
    let said = kado(
        site.run(),
        &["cache", "purge", "--tenant", &site.host, "--source", &source],
    )?;
    assert!(said.contains(&site.host), "{said}");
    wait_until("the new picture is shown", KNOWN_WITHIN, || {
        site.client
            .get(&address)
            .ok()
            .filter(|answer| width(answer).ok() == Some(90))
    })?;
    assert!(
        kado(
            site.run(),
            &["cache", "purge", "--tenant", &site.host, "--source", "u/x"]
        )
        .is_err()
    );
    Ok(())
}

#[test]
fn a_deleted_original_leaves_no_rendering_behind() -> Result<()> {
    let site = Site::fresh()?;
    let id = site.upload(&pictures::photo_jpeg(64, 64))?;
    let address = format!("/img/w=32/u/{id}");
    site.client.get(&address)?;
    until_hit(&site, &address)?;
    let headers = [("authorization", site.bearer.as_str())];
    site.client
        .send("DELETE", &format!("/api/images/{id}"), &headers, b"")?;
    wait_until("it is gone", KNOWN_WITHIN, || {
        site.client.get(&address).ok().filter(|answer| answer.status == 404)
    })?;
    Ok(())
}

/// A tenant that may fetch from there, as often as its tests ask.
fn site_of(changing: &Changing) -> Result<Site> {
    let site = Site::fresh()?;
    site.settle(json!({
        "allowedSources": changing.allowed(),
        "limitTransform": {"quota": 10_000, "windowSeconds": 60, "mode": "fast"},
        "limitImages": {"quota": 10_000, "windowSeconds": 60, "mode": "fast"},
    }))?;
    Ok(site)
}

/// A tenant whose pictures are fresh for a second, and one of them, expired.
fn with_an_expired_picture(changing: &Changing) -> Result<(Site, String)> {
    let site = site_of(changing)?;
    site.settle(json!({
        "imageMinTtl": 0, "imageMaxTtl": 1, "imageDefaultTtl": 1, "imageStaleTtl": 0,
        "limitApi": {"quota": 298, "windowSeconds": 60, "mode": "fast"},
    }))?;
    let address = format!("/img/q=80/{}", changing.source("a.jpg"));
    assert_eq!(width(&site.client.get(&address)?)?, 100);
    until_hit(&site, &address)?;
    Ok((site, address))
}

#[test]
fn an_expired_picture_is_made_anew_and_stands_in_while_its_source_fails() -> Result<()> {
    let changing = Changing::start(100)?;
    let (site, address) = with_an_expired_picture(&changing)?;
    changing.becomes(110);
    wait_until("it is made anew", Duration::from_secs(5), || {
        site.client
            .get(&address)
            .ok()
            .filter(|answer| width(answer).ok() == Some(110))
    })?;
    changing.becomes(Changing::BROKEN);
    let old = wait_until("the old one stands in", Duration::from_secs(15), || {
        let answer = site.client.get(&address).ok()?;
        answer.header("cache-status")?.contains("fwd=stale").then_some(answer)
    })?;
    assert_eq!(width(&old)?, 110);
    assert_eq!(
        old.header("cache-status"),
        Some("Kado; fwd=stale; fwd-status=502; detail=source-failed")
    );
    // The source is left alone for a while, and a client's condition and range still count.
    let before = changing.asked();
    let etag = old.header("etag").context("ETag")?.to_owned();
    let unchanged = site.client.send("GET", &address, &[("if-none-match", &etag)], b"")?;
    assert_eq!(unchanged.status, 304);
    let part = site.client.send("GET", &address, &[("range", "bytes=0-9")], b"")?;
    assert_eq!(
        (part.status, part.body.as_slice()),
        (206, old.body.get(..10).context("short")?)
    );
    assert_eq!(changing.asked(), before);
    changing.becomes(120);
    wait_until("the source is well again", Duration::from_secs(20), || {
        site.client
            .get(&address)
            .ok()
            .filter(|answer| width(answer).ok() == Some(120))
    })?;
    Ok(())
}

#[test]
fn a_picture_that_is_gone_at_its_source_is_not_hidden_and_does_not_come_back() -> Result<()> {
    for gone in [Changing::MISSING, Changing::FORBIDDEN] {
        let changing = Changing::start(100)?;
        let (site, address) = with_an_expired_picture(&changing)?;
        changing.becomes(gone);
        let told = wait_until("it is told", Duration::from_secs(5), || {
            site.client.get(&address).ok().filter(|answer| answer.status != 200)
        })?;
        assert_eq!(told.outcome(), (404, "source-not-found".to_owned()));
        changing.becomes(Changing::BROKEN);
        let failed = wait_until("the failure is told", Duration::from_secs(10), || {
            site.client.get(&address).ok().filter(|answer| answer.status != 404)
        })?;
        assert_eq!(
            failed.outcome(),
            (502, "source-failed".to_owned()),
            "the old picture is back"
        );
    }
    Ok(())
}

#[test]
fn a_flood_of_misses_on_one_failing_source_asks_it_once() -> Result<()> {
    let changing = Changing::start(Changing::BROKEN)?;
    let site = site_of(&changing)?;
    let address = format!("/img/q=80/{}", changing.source("a.jpg"));
    let answers = crowd(20, |_| site.client.get(&address))?;
    for answer in &answers {
        assert_eq!(answer.outcome(), (502, "source-failed".to_owned()));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    assert_eq!(changing.asked(), 1);
    // It is remembered for seconds only.
    changing.becomes(100);
    wait_until("the source is well again", Duration::from_secs(10), || {
        site.client.get(&address).ok().filter(|answer| answer.status == 200)
    })?;
    Ok(())
}

#[test]
fn a_cut_body_is_never_kept() -> Result<()> {
    let changing = Changing::start(Changing::CUT)?;
    let site = site_of(&changing)?;
    let address = format!("/img/q=80/{}", changing.source("a.jpg"));
    assert_eq!(site.client.get(&address)?.outcome(), (502, "source-failed".to_owned()));
    changing.becomes(100);
    let made = wait_until("the whole picture", Duration::from_secs(10), || {
        site.client.get(&address).ok().filter(|answer| answer.status == 200)
    })?;
    assert_eq!((width(&made)?, made.cache()), (100, "miss"));
    Ok(())
}

#[test]
fn conditions_ranges_and_head_count_for_a_picture_that_was_just_made() -> Result<()> {
    let site = Site::fresh()?;
    let id = site.upload(&pictures::photo_jpeg(800, 600))?;
    let whole = site.client.get(&format!("/img/w=200/u/{id}"))?;
    let etag = whole.header("etag").context("ETag")?.to_owned();
    let (size, weak) = (whole.body.len(), format!("W/{etag}"));
    let (listed, other) = (format!("\"x\", {weak}"), "\"other\"".to_owned());
    let part = |range: std::ops::Range<usize>| whole.body.get(range).unwrap_or_default().to_vec();
    let beyond = format!("bytes={size}-");
    // The same bytes by another spelling of the key: an overlay of options that changes nothing would be the same key, so
    // the quality differs and the comparison is by status, and by content where the entity tag is not needed.
    for (number, (headers, status, body)) in [
        (vec![("if-none-match", "*")], 304, Some(Vec::<u8>::new())),
        (vec![("if-none-match", other.as_str())], 200, None),
        (vec![("range", "bytes=0-9")], 206, None),
        (vec![("range", "bytes=-5")], 206, None),
        (vec![("range", "bytes=99999999-")], 416, None),
        (vec![("range", "bytes=0-9,20-29")], 200, None),
        (vec![("range", "bytes=0-9"), ("if-range", other.as_str())], 200, None),
    ]
    .into_iter()
    .enumerate()
    {
        let address = format!("/img/w={}/u/{id}", 300 + number);
        let made = site.client.send("GET", &address, &headers, b"")?;
        assert_eq!(made.status, status, "{headers:?}: {}", made.json());
        if let Some(body) = body {
            assert_eq!(made.body, body, "{headers:?}");
        }
        if status == 206 {
            let length = made.header("content-length").context("Content-Length")?.to_owned();
            assert_eq!(length, made.body.len().to_string(), "{headers:?}");
            let all = site.client.get(&address)?.body;
            let expected = if headers == [("range", "bytes=-5")] {
                all.len() - 5..all.len()
            } else {
                0..10
            };
            assert_eq!(
                made.header("content-range"),
                Some(format!("bytes {}-{}/{}", expected.start, expected.end - 1, all.len()).as_str())
            );
            assert_eq!(Some(made.body.as_slice()), all.get(expected), "{headers:?}");
        }
        if status != 416 && status != 304 {
            assert!(
                made.header("cache-status")
                    .is_some_and(|status| status.contains("fwd=")),
                "{headers:?}"
            );
        }
    }
    // And on a hit.
    let address = format!("/img/w=200/u/{id}");
    until_hit(&site, &address)?;
    for (headers, status, body) in [
        (vec![("if-none-match", "*")], 304, Vec::new()),
        (vec![("if-none-match", weak.as_str())], 304, Vec::new()),
        (vec![("if-none-match", listed.as_str())], 304, Vec::new()),
        (
            vec![("if-none-match", etag.as_str()), ("range", beyond.as_str())],
            304,
            Vec::new(),
        ),
        (
            vec![("range", "bytes=5-14"), ("if-range", etag.as_str())],
            206,
            part(5..15),
        ),
        (
            vec![("range", "bytes=5-14"), ("if-range", weak.as_str())],
            200,
            whole.body.clone(),
        ),
        (
            vec![("range", "bytes=5-14"), ("if-none-match", other.as_str())],
            206,
            part(5..15),
        ),
    ] {
        let hit = site.client.send("GET", &address, &headers, b"")?;
        assert_eq!((hit.status, hit.body), (status, body), "{headers:?}");
    }
    let out = site.client.send("GET", &address, &[("range", &beyond)], b"")?;
    assert_eq!(
        (out.status, out.header("content-range")),
        (416, Some(format!("bytes */{size}").as_str()))
    );
    let head = site
        .client
        .send("HEAD", &format!("/img/w=222/u/{id}"), &[("range", "bytes=0-9")], b"")?;
    assert_eq!((head.status, head.body.len()), (200, 0));
    let all = site.client.get(&format!("/img/w=222/u/{id}"))?;
    assert_eq!(head.header("content-length"), Some(all.body.len().to_string().as_str()));
    Ok(())
}

#[test]
fn a_cdn_in_front_is_told_what_to_purge_by() -> Result<()> {
    let site = Site::fresh()?;
    let id = site.upload(&pictures::photo_jpeg(64, 64))?;
    let tags = |options: &str| -> Result<Vec<String>> {
        let answer = site.image(options, &format!("u/{id}"))?;
        let tags = answer.header("cache-tag").context("Cache-Tag")?;
        Ok(tags.split(',').map(str::to_owned).collect())
    };
    let (one, other) = (tags("w=20")?, tags("w=21")?);
    assert_eq!(one, other, "tags name the source, not the rendering");
    assert_eq!(one.first().map(String::as_str), Some("kado"));
    let tenant = site.tenant.replace('-', "");
    assert_eq!(one.get(1), Some(&format!("kado-{tenant}")));
    assert!(
        one.get(2)
            .is_some_and(|tag| tag.starts_with(&format!("kado-{tenant}-s-"))),
        "{one:?}"
    );
    Ok(())
}

#[test]
fn the_time_of_each_stage_is_told_to_whom_it_was_spent_for() -> Result<()> {
    let site = Site::fresh()?;
    let id = site.upload(&pictures::photo_jpeg(64, 64))?;
    let address = format!("/img/w=20/u/{id}");
    let made = site.client.get(&address)?;
    let timing = made.header("server-timing").context("Server-Timing")?.to_owned();
    for stage in ["cache;desc=miss, ", "source;dur=", "transform;dur=", ", total;dur="] {
        assert!(timing.contains(stage), "{timing}");
    }
    let hit = until_hit(&site, &address)?;
    let timing = hit.header("server-timing").context("Server-Timing")?;
    assert!(timing.starts_with("cache;desc=hit, total;dur="), "{timing}");
    Ok(())
}

#[test]
fn what_is_cached_is_decided_by_the_route_and_not_by_the_address() -> Result<()> {
    let site = Site::fresh()?;
    let headers = [("authorization", site.bearer.as_str())];
    for target in ["/api/auth/me.jpg", "/api/images.png", "/api/auth/me/a.css"] {
        let answer = site.client.send("GET", target, &headers, b"")?;
        assert_eq!(answer.header("cache-status"), None, "{target}");
        assert!(
            answer
                .header("cache-control")
                .is_some_and(|control| control.contains("no-store")),
            "{target}: {:?}",
            answer.header("cache-control")
        );
    }
    Ok(())
}
