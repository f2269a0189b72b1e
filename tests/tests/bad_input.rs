//! What is wrong is told, what is hostile is refused, and the next request is served as before.

use anyhow::Result;
use kado_tests::{Client, Site, pictures};

/// The system after the attack: a plain request still works.
fn still_serves(site: &Site) -> Result<()> {
    let id = site.upload(&pictures::photo_jpeg(40, 30))?;
    let answer = site.image("w=20", &format!("u/{id}"))?;
    assert_eq!(answer.status, 200, "{}", answer.json());
    Ok(())
}

#[test]
fn uploads_that_are_no_good_pictures_are_refused_each_with_its_reason() -> Result<()> {
    let site = Site::fresh()?;
    for (name, bytes, status, code) in [
        (
            "text",
            b"this is not a picture, whatever its name says".to_vec(),
            415,
            "not-an-image",
        ),
        ("empty", Vec::new(), 415, "not-an-image"),
        ("zero pixels", pictures::png_header(0, 0), 422, "corrupt-image"),
        ("a side of 65,535", pictures::jpeg_header(65_535, 10), 413, "too-large"),
        (
            "a bomb of 16,384 x 16,384",
            pictures::png_header(16_384, 16_384),
            413,
            "too-large",
        ),
    ] {
        let answer = site.try_upload(&bytes)?;
        assert_eq!(answer.outcome(), (status, code.to_owned()), "{name}: {}", answer.json());
        assert!(
            answer.json()["detail"].as_str().is_some_and(|detail| detail.len() > 10),
            "{name}"
        );
    }
    still_serves(&site)
}

#[test]
fn a_truncated_picture_is_corrupt_and_says_where() -> Result<()> {
    let site = Site::fresh()?;
    let whole = pictures::photo_jpeg(800, 600);
    for (name, file) in [
        ("half a JPEG", whole[..whole.len() / 2].to_vec()),
        ("a PNG cut short", {
            let png = pictures::transparent_png(300, 300);
            png[..png.len() / 2].to_vec()
        }),
    ] {
        let id = match site.try_upload(&file)? {
            stored if stored.status == 201 => stored.json()["id"].as_str().unwrap_or_default().to_owned(),
            refused => {
                assert_eq!(refused.outcome(), (422, "corrupt-image".to_owned()), "{name}");
                continue;
            }
        };
        let answer = site.image("w=100", &format!("u/{id}"))?;
        assert_eq!(
            answer.outcome(),
            (422, "corrupt-image".to_owned()),
            "{name}: {}",
            answer.json()
        );
    }
    still_serves(&site)
}

#[test]
fn a_hundred_megabyte_body_is_refused_before_it_is_read() -> Result<()> {
    let site = Site::fresh()?;
    let body = vec![0xFF; 100 * 1024 * 1024];
    let answer = site
        .client
        .upload("/api/images", &[("authorization", &site.bearer)], "image", &body)?;
    assert_eq!(answer.outcome(), (413, "too-large".to_owned()), "{}", answer.json());
    still_serves(&site)
}

#[test]
fn a_body_that_lies_about_its_length_stores_nothing() -> Result<()> {
    let site = Site::fresh()?;
    let head = format!(
        "POST /api/images HTTP/1.1\r\nhost: {}\r\nauthorization: {}\r\ncontent-type: multipart/form-data; boundary=b\r\n\
         content-length: 5000\r\nconnection: close\r\n\r\n--b\r\ncontent-disposition: form-data; name=\"image\"; filename=\"a\"\r\n\r\n",
        site.host, site.bearer
    );
    // The connection ends long before 5,000 bytes: whatever is answered, if anything, nothing is stored.
    kado_tests::http::send_and_hang_up(
        &site.run().edge,
        &[head.as_bytes(), &pictures::photo_jpeg(40, 30)[..200]].concat(),
    )?;
    let listed = site
        .client
        .send("GET", "/api/images", &[("authorization", &site.bearer)], b"")?;
    assert_eq!(
        listed.json()["items"].as_array().map(Vec::len),
        Some(0),
        "{}",
        listed.json()
    );
    for wrong in ["-1", "abc", "1, 2", "99999999999999999999999"] {
        let answer = site.client.send(
            "POST",
            "/api/images",
            &[("authorization", &site.bearer), ("content-length", wrong)],
            b"",
        );
        if let Ok(answer) = answer {
            assert!((400..500).contains(&answer.status), "{wrong}: {}", answer.status);
        }
    }
    still_serves(&site)
}

#[test]
fn every_wrong_option_is_named_with_what_would_be_right() -> Result<()> {
    let site = Site::fresh()?;
    let id = site.upload(&pictures::photo_jpeg(40, 30))?;
    let answer = site.image("width=0,hieght=5,quality=900,fit=stretch,w=3", &format!("u/{id}"))?;
    assert_eq!(answer.outcome(), (400, "bad-options".to_owned()));
    let problem = answer.json();
    let errors = problem["errors"].as_array().cloned().unwrap_or_default();
    for wrong in ["width", "hieght", "quality", "fit"] {
        assert!(
            errors
                .iter()
                .any(|error| error["field"] == wrong
                    && error["detail"].as_str().is_some_and(|detail| !detail.is_empty())),
            "{wrong}: {problem}"
        );
    }
    assert!(problem.to_string().contains("12000"), "the range is told: {problem}");
    still_serves(&site)
}

#[test]
fn an_option_that_cannot_be_carried_out_is_refused_and_never_ignored() -> Result<()> {
    let site = Site::fresh()?;
    let id = site.upload(&pictures::photo_jpeg(40, 30))?;
    for options in ["trim.border.keep=4,w=20", "w=20,sig=00,exp=9999999999"] {
        let answer = site.image(options, &format!("u/{id}"))?;
        assert_eq!(
            answer.outcome(),
            (400, "bad-options".to_owned()),
            "{options}: {}",
            answer.json()
        );
    }
    Ok(())
}

#[test]
fn signatures_and_presets_that_the_site_does_not_have_are_refused_not_ignored() -> Result<()> {
    let site = Site::fresh()?;
    let source = format!("u/{}", site.upload(&pictures::photo_jpeg(40, 30))?);
    let signed = format!("w=20,exp=4102444800,sig={}", "0".repeat(64));
    let answer = site.image(&signed, &source)?;
    assert_eq!(answer.outcome(), (403, "bad-signature".to_owned()));
    let answer = site.image("w=20,preset=nowhere", &source)?;
    assert_eq!(answer.outcome(), (400, "bad-options".to_owned()));
    assert_eq!(answer.json()["errors"][0]["field"], "preset");
    Ok(())
}

#[test]
fn hostile_paths_reach_nothing() -> Result<()> {
    let site = Site::fresh()?;
    for (path, statuses) in [
        ("/api/../internal/edge-config?host=localhost", [400, 404]),
        ("/api/%2e%2e/internal/edge-config?host=localhost", [400, 404]),
        ("/api/%252e%252e/internal/edge-config", [400, 404]),
        ("/api%2f..%2finternal", [400, 404]),
        ("/api\\..\\internal", [400, 404]),
        ("/api/%5c%5c/x", [400, 404]),
        ("/api/%00", [400, 404]),
        ("/internal/edge-config?host=localhost", [404, 404]),
        ("/metrics", [404, 404]),
        ("/__kado/v1/x", [404, 404]),
        ("/img/w=1/u/../../internal/blobs/u/x", [400, 404]),
        ("/img/w=1/..%2f..%2fetc%2fpasswd", [400, 404]),
        ("/img/w=1/%252e%252e/%252e%252e/etc/passwd", [400, 404]),
        ("/img/w=1/file:///etc/passwd", [403, 400]),
        ("/img/w=1/u/%00", [400, 404]),
    ] {
        let answer = site.client.get(path)?;
        assert!(
            statuses.contains(&answer.status),
            "{path}: {} {}",
            answer.status,
            answer.json()
        );
        assert!(!answer.code().is_empty(), "{path}: the refusal is a problem document");
    }
    let long = site.client.get(&format!("/img/w=1/{}", "a".repeat(9000)))?;
    assert_eq!(long.outcome(), (414, "uri-too-long".to_owned()));
    still_serves(&site)
}

#[test]
fn a_client_cannot_speak_as_the_edge() -> Result<()> {
    let (site, other) = (Site::fresh()?, Site::fresh()?);
    let spoofed = [
        ("authorization", site.bearer.as_str()),
        ("kado-tenant", other.tenant.as_str()),
        ("kado-edge", "v1;t=1;n=BwcHBwcHBwcHBwcHBwcHBw;mac=AAAA"),
        ("kado-client-ip", "8.8.8.8"),
        ("x-forwarded-host", other.host.as_str()),
        ("x-forwarded-for", "8.8.8.8"),
    ];
    let answer = site.client.send("GET", "/api/auth/me", &spoofed, b"")?;
    assert_eq!(answer.status, 200, "{}", answer.json());
    assert!(answer.json().to_string().contains(&site.email), "{}", answer.json());
    // Past the edge, the origin believes nobody without a signature.
    let direct = Client::new(&site.run().origin, &site.host);
    let unsigned = direct.send("GET", "/api/auth/me", &spoofed, b"")?;
    assert!(matches!(unsigned.status, 401 | 403 | 404), "{}", unsigned.status);
    let internal = Client::new(&site.run().internal, &site.host).send(
        "GET",
        "/internal/edge-config?host=localhost",
        &spoofed,
        b"",
    )?;
    assert!(matches!(internal.status, 401 | 403 | 404), "{}", internal.status);
    Ok(())
}

#[test]
fn a_host_that_is_nobodys_is_misdirected() -> Result<()> {
    let run = kado_tests::site::shared()?;
    for host in [
        "unknown.example",
        "localhost.evil.example",
        "evil@localhost",
        "t-nobody.localhost",
    ] {
        let answer = Client::new(&run.edge, host).get("/api/content/home")?;
        assert_eq!(answer.outcome(), (421, "misdirected-request".to_owned()), "{host}");
    }
    Ok(())
}

#[test]
fn a_wrong_method_is_told_the_right_ones() -> Result<()> {
    let site = Site::fresh()?;
    for (method, path, allowed) in [
        ("POST", "/img/w=1/u/x", "GET"),
        ("DELETE", "/api/health", "GET"),
        ("GET", "/api/auth/login", "POST"),
    ] {
        let answer = site.client.send(method, path, &[], b"")?;
        assert_eq!(
            answer.outcome(),
            (405, "method-not-allowed".to_owned()),
            "{method} {path}: {}",
            answer.json()
        );
        assert!(
            answer.header("allow").is_some_and(|allow| allow.contains(allowed)),
            "{method} {path}: {:?}",
            answer.header("allow")
        );
    }
    Ok(())
}
