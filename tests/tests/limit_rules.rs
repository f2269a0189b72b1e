//! Limits that a tenant sets itself, by path and by whom they count.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use kado_tests::{Answer, Site, crowd, pictures, wait_until};
use serde_json::{Value, json};

fn rule(name: &str, path: &str, key: &str, quota: u32) -> Value {
    json!({ "name": name, "paths": [path], "key": key, "quota": quota, "windowSeconds": 60, "mode": "strict" })
}

fn admitted(answers: &[Answer]) -> usize {
    answers.iter().filter(|answer| answer.status != 429).count()
}

#[test]
fn a_rule_limits_its_paths_alone_and_the_tightest_limit_speaks() -> Result<()> {
    let site = Site::fresh()?;
    site.settle(json!({ "limitRules": [rule("shop", "/api/content/shop*", "ip", 5), rule("wide", "/api/content/office", "ip", 100)] }))?;
    let first = site.client.get("/api/content/shop-window")?;
    assert_eq!(first.header("ratelimit-policy"), Some("\"shop\";q=5;w=60"));
    assert_eq!(first.header("x-ratelimit-remaining"), Some("4"));
    // An address that is only written differently is the same address.
    let answers = crowd(12, |number| {
        site.client.get(if number % 2 == 0 {
            "/api/content/shop"
        } else {
            "/api/content/%73hop"
        })
    })?;
    assert_eq!(admitted(&answers), 4);
    let refused = answers
        .iter()
        .find(|answer| answer.status == 429)
        .context("nobody was refused")?;
    assert_eq!(refused.json()["violated-policies"], json!(["shop"]));
    assert!(refused.header("retry-after").is_some());
    let beside = site.client.get("/api/content/office")?;
    assert_ne!(beside.status, 429);
    assert_eq!(
        beside
            .header("ratelimit-policy")
            .map(|policy| policy.starts_with("\"wide\"")),
        Some(true)
    );
    Ok(())
}

#[test]
fn a_rule_counts_the_user_whatever_the_session_and_nobody_who_is_not_one() -> Result<()> {
    let site = Site::fresh()?;
    site.settle(json!({ "limitRules": [rule("own", "/api/auth/me", "user", 4)] }))?;
    let second = site.login(&site.email, &site.password)?.json()["token"]
        .as_str()
        .context("a second token")?
        .to_owned();
    let tokens = [site.bearer.clone(), format!("Bearer {second}")];
    let ask = |token: &str| {
        site.client
            .send("GET", "/api/auth/me", &[("authorization", token)], b"")
    };
    let answers = crowd(10, |number| ask(&tokens[number % 2]))?;
    assert_eq!(admitted(&answers), 4, "two sessions of one user");
    assert_eq!(site.client.get("/api/auth/me")?.status, 401, "nobody is not counted");
    assert_eq!(ask("Bearer nonsense")?.status, 401);
    let other = Site::fresh()?;
    let unaffected = other
        .client
        .send("GET", "/api/auth/me", &[("authorization", &other.bearer)], b"")?;
    assert_eq!(unaffected.status, 200, "a rule is its tenant's alone");
    Ok(())
}

#[test]
fn renderings_of_a_whole_tenant_have_a_ceiling() -> Result<()> {
    let site = Site::fresh()?;
    let id = site.upload(&pictures::photo_jpeg(64, 48))?;
    let ceiling = json!({ "quota": 3, "windowSeconds": 60, "mode": "strict" });
    site.settle(json!({ "limitTransformTenant": ceiling }))?;
    let answers = crowd(8, |number| site.image(&format!("w={}", number + 1), &format!("u/{id}")))?;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 3);
    let refused = answers
        .iter()
        .find(|answer| answer.status == 429)
        .context("nobody was refused")?;
    assert_eq!(refused.json()["violated-policies"], json!(["transform-tenant"]));
    Ok(())
}

#[test]
fn a_rule_in_shadow_refuses_nobody_tells_the_client_nothing_and_is_logged() -> Result<()> {
    let site = Site::fresh()?;
    let mut trial = rule("trial", "/api/content/**", "tenant", 1);
    trial["shadow"] = json!(true);
    site.settle(json!({ "limitRules": [trial] }))?;
    let mut last = String::new();
    for _ in 0..4 {
        let answer = site.client.get("/api/content/none")?;
        assert_ne!(answer.status, 429);
        assert!(
            answer
                .header("ratelimit-policy")
                .is_some_and(|policy| policy.starts_with("\"api\""))
        );
        last = answer.header("x-request-id").context("X-Request-Id")?.to_owned();
    }
    let log = site.run().logs.join("edge.log");
    wait_until("the log tells of it", Duration::from_secs(5), || {
        let text = fs::read_to_string(&log).ok()?;
        let line = text
            .lines()
            .find(|line| line.contains(&last) && line.contains("limitShadowed"))?;
        line.contains("trial").then_some(())
    })
}

#[test]
fn a_rule_that_cannot_be_is_refused_with_what_would_be_right() -> Result<()> {
    let site = Site::fresh()?;
    let headers = [("authorization", site.bearer.as_str()), ("if-match", "*")];
    for (rules, hint) in [
        (json!([rule("Shop", "/api/**", "ip", 5)]), "rule 1: name must be"),
        (json!([rule("shop", "api", "ip", 5)]), "must begin with /"),
        (json!([rule("shop", "/api/**", "country", 5)]), "\"tenant\""),
        (json!([rule("shop", "/api/**", "ip", 0)]), "quota must be 1 to 10000"),
        (json!([rule("login", "/api/**", "ip", 5)]), "built-in"),
        (json!("none"), "a list of at most 16"),
    ] {
        let answer = site.client.send_json(
            "PATCH",
            "/api/admin/settings",
            &headers,
            &json!({ "limitRules": rules }),
        )?;
        assert_eq!(answer.status, 400, "{rules}");
        let fault = &answer.json()["errors"][0];
        assert_eq!(fault["field"], "limitRules");
        assert!(
            fault["detail"].as_str().is_some_and(|detail| detail.contains(hint)),
            "{fault}"
        );
    }
    Ok(())
}

#[test]
fn readiness_is_limited_too_and_says_where_one_stands() -> Result<()> {
    let site = Site::fresh()?;
    let answer = site.client.get("/api/health")?;
    assert_eq!(answer.header("ratelimit-policy"), Some("\"health\";q=300;w=60"));
    Ok(())
}
