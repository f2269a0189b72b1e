//! Maintenance, and the small files that every site is asked for.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use kado_tests::{Answer, Client, Site, pictures, wait_until};
use serde_json::{Value, json};

const ADDRESS: &str = "/api/admin/maintenance";
/// What an edge may take to hear of a change.
const HEARD: Duration = Duration::from_secs(5);

/// So many seconds from now, as RFC 3339 has it.
fn from_now(seconds: i64) -> Result<String> {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())? + seconds;
    let (days, rest) = (now.div_euclid(86_400), now.rem_euclid(86_400));
    // Days to a date of the Gregorian calendar, by Howard Hinnant's `civil_from_days`.
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    let day = doy - (153 * mp + 2) / 5 + 1;
    Ok(format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    ))
}

fn as_admin(site: &Site, method: &str, target: &str, body: &Value) -> Result<Answer> {
    site.client
        .send_json(method, target, &[("authorization", &site.bearer)], body)
}

#[test]
fn maintenance_stops_everybody_but_administrators_and_leaves_cached_pictures_and_errors_as_they_are() -> Result<()> {
    let site = Site::fresh()?;
    let id = site.upload(&pictures::photo_jpeg(200, 100))?;
    let address = format!("/img/w=50/u/{id}");
    wait_until("the picture is cached", Duration::from_secs(5), || {
        site.client.get(&address).ok().filter(|answer| answer.cache() == "hit")
    })?;

    let announced = json!({
        "announceFrom": from_now(-60)?, "startsAt": from_now(3600)?, "endsAt": from_now(7200)?, "message": "New disks.",
    });
    let answer = as_admin(&site, "PUT", ADDRESS, &announced)?;
    assert_eq!(
        (answer.status, &answer.json()["state"]),
        (200, &json!("announced")),
        "{}",
        answer.json()
    );
    let told = wait_until("it is announced", HEARD, || {
        let answer = site.client.get("/api/auth/me").ok()?;
        answer.header("kado-maintenance").map(str::to_owned)
    })?;
    assert!(told.starts_with("startsAt=") && told.contains("endsAt="), "{told}");
    assert_eq!(site.client.get("/api/auth/me")?.status, 401, "announced is not begun");

    let active = json!({ "startsAt": from_now(-10)?, "endsAt": from_now(600)?, "message": "New disks." });
    assert_eq!(as_admin(&site, "PUT", ADDRESS, &active)?.status, 200);
    let refused = wait_until("it has begun", HEARD, || {
        site.client
            .get("/api/images")
            .ok()
            .filter(|answer| answer.status == 503)
    })?;
    assert_eq!(refused.outcome(), (503, "maintenance".to_owned()));
    assert_eq!(refused.json()["detail"], "New disks.");
    let wait: u64 = refused.header("retry-after").unwrap_or_default().parse()?;
    assert!((500..=600).contains(&wait), "{wait}");

    assert_eq!(site.client.get(&address)?.cache(), "hit");
    assert_eq!(
        site.image("w=51", &format!("u/{id}"))?.outcome(),
        (503, "maintenance".to_owned())
    );
    assert_eq!(site.client.get("/api/health/liveness")?.status, 200);
    assert_eq!(site.client.get("/api/health")?.status, 200);
    assert_eq!(site.client.get("/api/nowhere")?.status, 404);
    let method = site.client.send("PUT", "/api/images", &[], b"{}")?;
    assert_eq!((method.status, method.header("allow")), (405, Some("GET, HEAD, POST")));
    assert_eq!(
        site.login(&site.email, &site.password)?.status,
        200,
        "or nobody could end it"
    );
    assert_eq!(as_admin(&site, "GET", "/api/images", &json!({}))?.status, 200);
    let forged = site
        .client
        .send("GET", "/api/images", &[("authorization", "Bearer a.b.c")], b"")?;
    assert_eq!(forged.outcome(), (503, "maintenance".to_owned()));

    let over = site
        .client
        .send("DELETE", ADDRESS, &[("authorization", &site.bearer)], b"")?;
    assert_eq!(
        (over.status, &over.json()["state"]),
        (200, &json!("quiet")),
        "{}",
        over.json()
    );
    wait_until("it is over", HEARD, || {
        site.image("w=52", &format!("u/{id}"))
            .ok()
            .filter(|answer| answer.status == 200)
    })?;
    Ok(())
}

#[test]
fn maintenance_that_makes_no_sense_is_refused_with_what_would() -> Result<()> {
    let site = Site::fresh()?;
    let wrong = json!({ "startsAt": from_now(600)?, "endsAt": from_now(60)? });
    let answer = as_admin(&site, "PUT", ADDRESS, &wrong)?;
    assert_eq!(answer.status, 400, "{}", answer.json());
    assert!(
        answer.json()["errors"][0]["detail"]
            .as_str()
            .unwrap_or_default()
            .contains("after startsAt")
    );
    assert_eq!(site.client.get(ADDRESS)?.status, 401);
    Ok(())
}

#[test]
fn crawlers_and_researchers_find_their_files_and_browsers_no_icon() -> Result<()> {
    let site = Site::fresh()?;
    let robots = site.client.get("/robots.txt")?;
    assert_eq!(robots.status, 200);
    assert!(String::from_utf8(robots.body)?.contains("Allow: /img/"));
    let icon = site.client.get("/favicon.ico")?;
    assert_eq!(
        (icon.status, icon.header("cache-control")),
        (404, Some("public, max-age=86400"))
    );
    assert_eq!(site.client.get("/.well-known/security.txt")?.status, 404);
    site.settle(json!({ "securityContact": "security@example.com", "robotsImages": false }))?;
    let security = site.client.get("/.well-known/security.txt")?;
    assert_eq!(
        (security.status, security.header("content-type")),
        (200, Some("text/plain; charset=utf-8"))
    );
    let file = String::from_utf8(security.body)?;
    assert!(
        file.contains("Contact: mailto:security@example.com\n") && file.contains("\nExpires: "),
        "{file}"
    );
    assert!(!String::from_utf8(site.client.get("/robots.txt")?.body)?.contains("Allow"));
    let method = site.client.send("POST", "/robots.txt", &[], b"")?;
    assert_eq!((method.status, method.header("allow")), (405, Some("GET, HEAD")));
    let stranger = Client::new(&site.run().edge, "nobody.example");
    assert_eq!(stranger.get("/robots.txt")?.status, 421);
    Ok(())
}

#[test]
fn a_body_that_hides_its_length_is_cut_at_the_limit_of_its_route() -> Result<()> {
    let site = Site::fresh()?;
    let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
    // In the last no file begins, so that the origin, which limits files, has nothing to count.
    for (target, chunks, has_file) in [
        ("/api/auth/login", 8, false),
        ("/api/images", 160, true),
        ("/api/images", 160, false),
    ] {
        let head = format!(
            "POST {target} HTTP/1.1\r\nhost: {}\r\nauthorization: {}\r\ncontent-type: {}\r\n\
             transfer-encoding: chunked\r\nconnection: close\r\n\r\n",
            site.host,
            site.bearer,
            if chunks > 10 {
                "multipart/form-data; boundary=b"
            } else {
                "application/json"
            },
        );
        let part = b"--b\r\ncontent-disposition: form-data; name=\"image\"; filename=\"a\"\r\n\r\n";
        let mut body = Vec::new();
        if has_file {
            body.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
            body.extend_from_slice(part);
            body.extend_from_slice(b"\r\n");
        }
        for _ in 0..chunks {
            body.extend_from_slice(&chunk);
        }
        body.extend_from_slice(b"0\r\n\r\n");
        let answer = site.client.send_raw("POST", &[head.as_bytes(), &body].concat())?;
        assert_eq!(
            answer.outcome(),
            (413, "too-large".to_owned()),
            "{target}: {}",
            answer.json()
        );
        if chunks > 10 && !has_file {
            let detail = answer.json()["detail"].to_string();
            assert!(detail.contains("this one has more"), "the edge counts it: {detail}");
        }
    }
    Ok(())
}
