//! Sessions over their lives: rotation in a crowd, lost replies, replays, lists, and the end of all of them.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kado_tests::site::{kado, own_system, wait_until};
use kado_tests::{Answer, Site, crowd};
use serde_json::{Value, json};

/// Within this every edge knows that a session has ended.
const SEEN_WITHIN: Duration = Duration::from_secs(5);

fn rotate(site: &Site, bearer: &str, key: Option<&str>) -> Result<Answer> {
    let mut headers = vec![("authorization", bearer)];
    headers.extend(key.map(|key| ("idempotency-key", key)));
    site.client.send("POST", "/api/auth/rotate", &headers, b"")
}

fn status_of_me(site: &Site, bearer: &str) -> Result<u16> {
    Ok(site
        .client
        .send("GET", "/api/auth/me", &[("authorization", bearer)], b"")?
        .status)
}

fn bearer_of(answer: &Answer) -> Result<String> {
    let body = answer.json();
    let token = body.get("token").and_then(Value::as_str);
    Ok(format!(
        "Bearer {}",
        token.with_context(|| format!("{} {body}", answer.status))?
    ))
}

/// A site whose limits let a crowd pass.
fn roomy() -> Result<Site> {
    let site = Site::fresh()?;
    let plenty = json!({ "quota": 5_000, "windowSeconds": 60, "mode": "fast" });
    site.settle(json!({ "limitApi": plenty }))?;
    Ok(site)
}

#[test]
fn of_five_hundred_rotations_at_once_all_get_the_one_successor() -> Result<()> {
    let site = roomy()?;
    let answers = crowd(500, |_| rotate(&site, &site.bearer, None))?;
    let successors: HashSet<String> = answers.iter().map(bearer_of).collect::<Result<_>>()?;
    assert_eq!(successors.len(), 1, "one token has one successor");
    let successor = successors.into_iter().next().context("none")?;
    assert_ne!(successor, site.bearer);
    assert_eq!(status_of_me(&site, &successor)?, 200);
    // One session all the same.
    let listed = site
        .client
        .send("GET", "/api/auth/sessions", &[("authorization", &successor)], b"")?
        .json();
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1), "{listed}");
    Ok(())
}

#[test]
fn a_replay_ends_the_session_and_a_retry_with_its_key_does_not() -> Result<()> {
    let site = roomy()?;
    site.set("rotationReuseSeconds", &json!(1))?;
    let key = "a-reply-that-was-lost";
    let successor = bearer_of(&rotate(&site, &site.bearer, Some(key))?)?;
    std::thread::park_timeout(Duration::from_millis(1_500));
    let again = rotate(&site, &site.bearer, Some(key))?;
    assert_eq!(bearer_of(&again)?, successor, "the same key brings the same reply");
    assert_eq!(status_of_me(&site, &successor)?, 200);
    let replayed = rotate(&site, &site.bearer, None)?;
    assert_eq!(replayed.status, 401, "{}", replayed.json());
    let ended = Instant::now();
    wait_until("the successor is dead too", SEEN_WITHIN, || {
        (status_of_me(&site, &successor).ok()? == 401).then_some(())
    })?;
    assert!(ended.elapsed() < SEEN_WITHIN);
    assert_eq!(rotate(&site, &successor, None)?.status, 401);
    Ok(())
}

#[test]
fn one_of_ones_own_sessions_can_be_ended_and_nobody_elses() -> Result<()> {
    let (site, other) = (roomy()?, Site::fresh()?);
    let second = bearer_of(&site.login(&site.email, &site.password)?)?;
    let own = [("authorization", site.bearer.as_str())];
    let listed = site.client.send("GET", "/api/auth/sessions", &own, b"")?.json();
    let items = listed["items"].as_array().context("no items")?;
    assert_eq!(items.len(), 2, "{listed}");
    let not_current = items
        .iter()
        .find(|item| item["current"] == json!(false))
        .and_then(|item| item["id"].as_str())
        .context("which one is not this one")?;
    let target = format!("/api/auth/sessions/{not_current}");
    let foreign = other
        .client
        .send("DELETE", &target, &[("authorization", &other.bearer)], b"")?;
    assert_eq!(foreign.status, 404);
    assert_eq!(status_of_me(&site, &second)?, 200);
    assert_eq!(site.client.send("DELETE", &target, &own, b"")?.status, 204);
    wait_until("the second session is dead", SEEN_WITHIN, || {
        (status_of_me(&site, &second).ok()? == 401).then_some(())
    })?;
    assert_eq!(status_of_me(&site, &site.bearer)?, 200);
    assert_eq!(site.client.send("DELETE", &target, &own, b"")?.status, 404);
    Ok(())
}

#[test]
fn an_operator_ends_every_session_of_every_tenant_at_the_shell() -> Result<()> {
    let system = own_system(|_| {})?;
    let run = system.run_file();
    let sites = [Site::in_system(&run)?, Site::in_system(&run)?];
    for site in &sites {
        assert_eq!(status_of_me(site, &site.bearer)?, 200);
    }
    kado(&run, &["sessions", "revoke", "--all"])?;
    wait_until("every session has ended", SEEN_WITHIN, || {
        sites
            .iter()
            .all(|site| status_of_me(site, &site.bearer).is_ok_and(|status| status == 401))
            .then_some(())
    })?;
    let fresh = bearer_of(&sites[0].login(&sites[0].email, &sites[0].password)?)?;
    assert_eq!(status_of_me(&sites[0], &fresh)?, 200, "who signs in anew is let in");
    Ok(())
}
