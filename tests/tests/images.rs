//! Pictures: what a page that embeds them sees.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kado_tests::{Answer, Site, crowd, pictures, wait_until};

fn size(answer: &Answer) -> (u32, u32) {
    pictures::size(&answer.body)
        .unwrap_or_else(|error| panic!("{} {}: {error}", answer.status, String::from_utf8_lossy(&answer.body)))
}

fn until_hit(site: &Site, address: &str) -> Result<Answer> {
    wait_until("a hit", Duration::from_secs(5), || {
        site.client.get(address).ok().filter(|answer| answer.cache() == "hit")
    })
}

#[test]
fn an_upload_comes_back_transformed_and_the_second_time_from_the_cache() -> Result<()> {
    let site = Site::fresh()?;
    let id = site.upload(&pictures::photo_jpeg(1200, 800))?;
    let address = format!("/img/width=300/u/{id}");
    let made = site.client.get(&address)?;
    assert_eq!((made.status, made.cache()), (200, "miss"), "{}", made.json());
    assert_eq!(size(&made), (300, 200));
    assert_eq!(made.header("content-type"), Some("image/jpeg"));
    assert_eq!(
        made.header("content-length"),
        Some(made.body.len().to_string().as_str())
    );
    let facts = made.header("kado-image").context("Kado-Image")?;
    assert!(
        facts.starts_with("in=1200x800 jpeg ") && facts.contains("out=300x200 jpeg ") && facts.contains("lane=edge"),
        "{facts}"
    );
    let hit = until_hit(&site, &address)?;
    assert_eq!(hit.body, made.body);
    assert_eq!(hit.header("etag"), made.header("etag"));
    assert!(
        hit.header("cache-status")
            .is_some_and(|status| status.starts_with("Kado; hit; ttl=")),
        "{:?}",
        hit.header("cache-status")
    );
    Ok(())
}

#[test]
fn different_spellings_of_one_request_share_one_rendering() -> Result<()> {
    let site = Site::fresh()?;
    let id = site.upload(&pictures::photo_jpeg(400, 300))?;
    let first = site.client.get(&format!("/img/width=100,height=50,fit=cover/u/{id}"))?;
    assert_eq!(first.status, 200, "{}", first.json());
    let hit = until_hit(&site, &format!("/img/fit=cover,h=50,,w=100,dpr=1/u/{id}"))?;
    assert_eq!(hit.header("etag"), first.header("etag"));
    Ok(())
}

#[test]
fn the_format_follows_what_the_browser_accepts() -> Result<()> {
    let site = Site::fresh()?;
    let id = site.upload(&pictures::photo_jpeg(400, 300))?;
    let address = format!("/img/w=120,f=auto/u/{id}");
    for (accept, kind, magic) in [
        ("image/avif,image/webp,*/*", "image/avif", b"\0\0\0".as_slice()),
        ("image/webp,*/*", "image/webp", b"RIFF"),
        ("image/png,*/*", "image/jpeg", b"\xff\xd8"),
    ] {
        let answer = site.client.send("GET", &address, &[("accept", accept)], b"")?;
        assert_eq!(answer.header("content-type"), Some(kind), "{}", answer.json());
        assert!(answer.body.starts_with(magic));
        assert!(
            answer.header("vary").is_some_and(|vary| vary.contains("Accept")),
            "{:?}",
            answer.header("vary")
        );
    }
    let fixed = site.client.get(&format!("/img/w=120,f=png/u/{id}"))?;
    assert_eq!(
        (fixed.header("content-type"), fixed.header("vary")),
        (Some("image/png"), None)
    );
    Ok(())
}

#[test]
fn every_fit_gives_the_size_it_promises() -> Result<()> {
    let site = Site::fresh()?;
    let id = site.upload(&pictures::photo_jpeg(1080, 720))?;
    for (options, expected) in [
        ("w=500,h=500,fit=scale-down", (500, 333)),
        ("w=2000,h=2000,fit=scale-down", (1080, 720)),
        ("w=2160,fit=contain", (2160, 1440)),
        ("w=500,h=500,fit=cover", (500, 500)),
        ("w=500,h=500,fit=pad,bg=red", (500, 500)),
    ] {
        let answer = site.image(options, &format!("u/{id}"))?;
        assert_eq!(answer.status, 200, "{options}: {}", answer.json());
        assert_eq!(size(&answer), expected, "{options}");
    }
    Ok(())
}

#[test]
fn a_photo_straight_from_a_phone_is_upright() -> Result<()> {
    let site = Site::fresh()?;
    let id = site.upload(&pictures::photo_jpeg_turned(600, 400, 6))?;
    let answer = site.image("w=200", &format!("u/{id}"))?;
    assert_eq!(size(&answer), (200, 300));
    Ok(())
}

#[test]
fn transparency_survives_to_png_and_webp() -> Result<()> {
    let site = Site::fresh()?;
    let id = site.upload(&pictures::transparent_png(64, 64))?;
    let png = site.image("w=32", &format!("u/{id}"))?;
    assert_eq!(png.header("content-type"), Some("image/png"), "{}", png.json());
    assert!(pictures::png_has_transparency(&png.body)?);
    let webp = site.image("w=32,f=webp", &format!("u/{id}"))?;
    assert_eq!(
        (webp.status, webp.header("content-type")),
        (200, Some("image/webp")),
        "{}",
        webp.json()
    );
    assert_eq!(size(&webp), (32, 32));
    Ok(())
}

#[test]
fn facts_of_a_picture_come_as_json() -> Result<()> {
    let site = Site::fresh()?;
    let id = site.upload(&pictures::photo_jpeg(640, 480))?;
    let answer = site.image("format=json", &format!("u/{id}"))?;
    let facts = answer.json();
    assert_eq!(answer.header("content-type"), Some("application/json"), "{facts}");
    assert!(
        facts.to_string().contains("640") && facts.to_string().contains("480"),
        "{facts}"
    );
    Ok(())
}

#[test]
fn pictures_embed_anywhere_and_run_nothing() -> Result<()> {
    let site = Site::fresh()?;
    let id = site.upload(&pictures::photo_jpeg(64, 64))?;
    let headers = [
        ("origin", "https://elsewhere.example"),
        ("cookie", "a=b"),
        ("authorization", "Bearer nonsense"),
    ];
    let answer = site.client.send("GET", &format!("/img/w=32/u/{id}"), &headers, b"")?;
    assert_eq!(answer.status, 200);
    for (name, value) in [
        ("access-control-allow-origin", "*"),
        ("cross-origin-resource-policy", "cross-origin"),
        ("timing-allow-origin", "*"),
        ("content-security-policy", "default-src 'none'; sandbox"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    assert_eq!(answer.header("set-cookie"), None);
    Ok(())
}

#[test]
fn head_conditional_and_range_requests_work_on_hits() -> Result<()> {
    let site = Site::fresh()?;
    let id = site.upload(&pictures::photo_jpeg(800, 600))?;
    let address = format!("/img/w=200/u/{id}");
    let made = site.client.get(&address)?;
    until_hit(&site, &address)?;
    let etag = made.header("etag").context("ETag")?.to_owned();

    let head = site.client.send("HEAD", &address, &[], b"")?;
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, made.header("content-length"))
    );

    let unchanged = site.client.send("GET", &address, &[("if-none-match", &etag)], b"")?;
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
    assert_eq!(unchanged.header("etag"), Some(etag.as_str()));
    let changed = site
        .client
        .send("GET", &address, &[("if-none-match", "\"other\"")], b"")?;
    assert_eq!(changed.status, 200);

    let range = site.client.send("GET", &address, &[("range", "bytes=10-19")], b"")?;
    assert_eq!(
        (range.status, range.body.as_slice()),
        (206, made.body.get(10..20).context("too short")?)
    );
    assert_eq!(
        range.header("content-range"),
        Some(format!("bytes 10-19/{}", made.body.len()).as_str())
    );
    let beyond = site
        .client
        .send("GET", &address, &[("range", "bytes=99999999-")], b"")?;
    assert_eq!(beyond.status, 416);
    Ok(())
}

#[test]
fn a_crowd_that_misses_the_same_picture_has_it_made_once() -> Result<()> {
    let site = Site::fresh()?;
    let id = site.upload(&pictures::photo_jpeg(2000, 1500))?;
    let address = format!("/img/w=640,f=webp/u/{id}");
    let answers = crowd(16, |_| site.client.get(&address))?;
    assert!(
        answers.iter().all(|answer| answer.status == 200),
        "{:?}",
        answers.iter().map(Answer::outcome).collect::<Vec<_>>()
    );
    assert!(answers.iter().all(|answer| answer.body == answers[0].body));
    let made = answers.iter().filter(|answer| answer.cache() == "miss").count();
    assert_eq!(made, 1, "{:?}", answers.iter().map(Answer::cache).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn twelve_and_a_hundred_megapixels_work_in_tens_of_mebibytes() -> Result<()> {
    let site = Site::fresh()?;
    site.set("maxFileSize", &serde_json::json!(100 * 1024 * 1024))?;
    // An isolate's memory never shrinks, so what other pictures needed before counts too; the budget is one isolate's.
    const MOST_MIB: u32 = 80;
    for (width, height) in [(4000, 3000), (11_600, 8600)] {
        let file = pictures::photo_jpeg(width, height);
        let id = site.upload(&file)?;
        let answer = site.image("w=400", &format!("u/{id}"))?;
        assert_eq!(answer.status, 200, "{width}x{height}: {}", answer.json());
        assert_eq!(size(&answer).0, 400);
        let facts = answer.header("kado-image").context("Kado-Image")?;
        let memory: u32 = facts
            .rsplit_once("mem=")
            .and_then(|(_, tail)| tail.trim_end_matches("MiB").parse().ok())
            .context("mem=")?;
        assert!(memory <= MOST_MIB, "{width}x{height}, {} bytes: {facts}", file.len());
    }
    Ok(())
}

#[test]
fn one_tenants_pictures_are_not_anothers() -> Result<()> {
    let (one, other) = (Site::fresh()?, Site::fresh()?);
    let id = one.upload(&pictures::photo_jpeg(64, 64))?;
    assert_eq!(one.image("w=32", &format!("u/{id}"))?.status, 200);
    assert_eq!(
        other.image("w=32", &format!("u/{id}"))?.outcome(),
        (404, "source-not-found".to_owned())
    );
    Ok(())
}

#[test]
fn a_deleted_original_is_gone_for_new_renderings() -> Result<()> {
    let site = Site::fresh()?;
    let id = site.upload(&pictures::photo_jpeg(64, 64))?;
    let deleted = site.client.send(
        "DELETE",
        &format!("/api/images/{id}"),
        &[("authorization", &site.bearer)],
        b"",
    )?;
    assert!(matches!(deleted.status, 200 | 204), "{}", deleted.json());
    assert_eq!(
        site.image("w=31", &format!("u/{id}"))?.outcome(),
        (404, "source-not-found".to_owned())
    );
    Ok(())
}

#[test]
fn a_client_that_leaves_early_strands_nobody() -> Result<()> {
    let site = Site::fresh()?;
    let id = site.upload(&pictures::photo_jpeg(2400, 1800))?;
    let target = format!("/img/w=900,f=webp/u/{id}");
    let request = format!("GET {target} HTTP/1.1\r\nhost: {}\r\n\r\n", site.host);
    for _ in 0..3 {
        kado_tests::http::send_and_hang_up(&site.run().edge, request.as_bytes())?;
    }
    let started = Instant::now();
    let answer = site.client.get(&target)?;
    assert_eq!(answer.status, 200, "{}", answer.json());
    assert!(
        started.elapsed() < Duration::from_secs(15),
        "the lease of a client that is gone was waited for: {:?}",
        started.elapsed()
    );
    Ok(())
}
