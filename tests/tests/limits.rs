//! Rate limits under concurrency, and what a client is told.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kado_tests::{Site, crowd, pictures, wait_until};
use serde_json::json;

#[test]
fn of_thirty_at_once_a_strict_limit_of_twenty_admits_exactly_twenty() -> Result<()> {
    let site = Site::fresh()?;
    let id = site.upload(&pictures::photo_jpeg(64, 48))?;
    site.settle(json!({ "limitTransform": {"quota": 20, "windowSeconds": 60, "mode": "strict"} }))?;
    let answers = crowd(30, |number| site.client.get(&format!("/img/w={}/u/{id}", number + 1)))?;
    let mut outcomes = BTreeMap::new();
    for answer in &answers {
        *outcomes.entry(answer.status).or_insert(0_u32) += 1;
    }
    assert_eq!(outcomes.get(&200).copied(), Some(20), "{outcomes:?}");
    assert_eq!(outcomes.get(&429).copied(), Some(10), "{outcomes:?}");
    let refused = answers
        .iter()
        .find(|answer| answer.status == 429)
        .context("nobody was refused")?;
    let problem = refused.json();
    assert_eq!(
        problem["type"],
        "https://iana.org/assignments/http-problem-types#quota-exceeded"
    );
    assert_eq!(problem["violated-policies"], json!(["transform"]));
    assert_eq!(refused.header("x-ratelimit-limit"), Some("20"));
    assert_eq!(refused.header("x-ratelimit-remaining"), Some("0"));
    assert_eq!(refused.header("ratelimit-policy"), Some("\"transform\";q=20;w=60"));
    let seconds: u64 = refused.header("retry-after").context("Retry-After")?.parse()?;
    assert!((1..=60).contains(&seconds), "{seconds}");
    assert_eq!(
        refused.header("ratelimit"),
        Some(format!("\"transform\";r=0;t={seconds}").as_str())
    );
    Ok(())
}

#[test]
fn ten_wrong_logins_are_answered_and_the_eleventh_is_refused() -> Result<()> {
    let site = Site::without_session(&kado_tests::site::shared()?)?;
    for number in 1..=10 {
        let answer = site.login(&format!("nobody-{number}@example.com"), "wrong password")?;
        assert_eq!(
            answer.outcome(),
            (401, "invalid-credentials".to_owned()),
            "attempt {number}: {}",
            answer.json()
        );
        assert_eq!(
            answer.header("x-ratelimit-remaining"),
            Some((10 - number).to_string().as_str())
        );
    }
    for _ in 0..3 {
        // Not even the right password gets in now.
        let answer = site.login(&site.email, &site.password)?;
        assert_eq!(answer.outcome(), (429, "rate-limited".to_owned()), "{}", answer.json());
        let seconds: u64 = answer.header("retry-after").context("Retry-After")?.parse()?;
        assert!((800..=900).contains(&seconds), "{seconds}");
    }
    Ok(())
}

#[test]
fn a_changed_limit_is_in_force_within_five_seconds() -> Result<()> {
    let site = Site::fresh()?;
    assert_eq!(
        site.client.get("/api/content/none")?.header("x-ratelimit-limit"),
        Some("300")
    );
    site.settle(json!({ "limitApi": {"quota": 250, "windowSeconds": 60, "mode": "fast"} }))
}

#[test]
fn hits_are_free_of_the_limit_on_transforms_and_carry_no_stored_limit_headers() -> Result<()> {
    let site = Site::fresh()?;
    let id = site.upload(&pictures::photo_jpeg(64, 48))?;
    let address = format!("/img/w=10/u/{id}");
    let made = site.client.get(&address)?;
    assert_eq!(made.header("ratelimit-policy"), Some("\"transform\";q=60;w=60"));
    let mut remaining = Vec::new();
    for _ in 0..5 {
        let hit = wait_until("a hit", Duration::from_secs(5), || {
            site.client.get(&address).ok().filter(|answer| answer.cache() == "hit")
        })?;
        assert_eq!(hit.header("ratelimit-policy"), Some("\"images\";q=600;w=60"));
        remaining.push(
            hit.header("x-ratelimit-remaining")
                .context("X-RateLimit-Remaining")?
                .parse::<u32>()?,
        );
    }
    assert!(
        remaining.windows(2).all(|pair| pair[1] <= pair[0] + 2),
        "the headers are this request's own: {remaining:?}"
    );
    assert!(remaining.iter().all(|left| *left > 500), "{remaining:?}");
    Ok(())
}

#[test]
fn a_burst_within_the_quota_of_a_fast_limit_is_served_whole() -> Result<()> {
    let site = Site::fresh()?;
    let id = site.upload(&pictures::photo_jpeg(64, 48))?;
    let address = format!("/img/w=10/u/{id}");
    wait_until("a hit", Duration::from_secs(5), || {
        site.client.get(&address).ok().filter(|answer| answer.cache() == "hit")
    })?;
    let mut served = 0;
    for _ in 0..8 {
        let answers = crowd(50, |_| site.client.get(&address))?;
        served += answers.iter().filter(|answer| answer.status == 200).count();
    }
    assert_eq!(served, 400, "600 a minute are promised");
    Ok(())
}

#[test]
fn a_fast_limit_never_admits_more_than_its_burst_and_rate() -> Result<()> {
    let site = Site::fresh()?;
    site.settle(json!({ "limitApi": {"quota": 100, "windowSeconds": 100, "mode": "fast"} }))?;
    let started = Instant::now();
    let answers = crowd(160, |_| site.client.get("/api/content/none"))?;
    let passed = answers.iter().filter(|answer| answer.status != 429).count();
    let earned = usize::try_from(started.elapsed().as_secs())? + 1;
    assert!(passed <= 100 + earned, "{passed} passed in {:?}", started.elapsed());
    assert!(passed >= 60, "{passed}: most of the burst was still there");
    Ok(())
}
