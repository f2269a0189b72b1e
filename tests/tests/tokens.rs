//! Tokens at the edge: what is remembered of them, and what an attacker cannot make it do.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use kado_tests::{Site, crowd, own_system, wait_until};

fn me(site: &Site, bearer: &str) -> Result<kado_tests::Answer> {
    site.client
        .send("GET", "/api/auth/me", &[("authorization", bearer)], b"")
}

/// A site's own token under the name of a key that nobody has.
fn with_invented_key(site: &Site, number: usize) -> Result<String> {
    let (_, rest) = site.bearer.split_once('.').context("a token")?;
    let header = format!(r#"{{"alg":"Ed25519","typ":"at+jwt","kid":"invented-{number:04}"}}"#);
    Ok(format!("Bearer {}.{rest}", URL_SAFE_NO_PAD.encode(header)))
}

#[test]
fn a_crowd_that_invents_keys_costs_the_origin_next_to_nothing() -> Result<()> {
    let system = own_system(|_| {})?;
    let site = Site::in_system(&system.run_file())?;
    let log = system.logs().join("origin.log");
    let asked = || {
        fs::read_to_string(&log)
            .unwrap_or_default()
            .matches("/internal/edge-config")
            .count()
    };
    assert_eq!(me(&site, &site.bearer)?.status, 200);
    wait_until("the origin has logged a question", Duration::from_secs(5), || {
        (asked() > 0).then_some(())
    })?;
    let before = asked();
    for round in 0..3 {
        let answers = crowd(40, |number| me(&site, &with_invented_key(&site, 100 * round + number)?))?;
        for answer in answers {
            assert_eq!(answer.outcome(), (401, "invalid-token".to_owned()));
            let challenge = answer.header("www-authenticate").unwrap_or_default();
            assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
        }
    }
    // The configuration is renewed every two seconds as long as somebody asks, whatever they ask.
    let more = asked() - before;
    assert!(more <= 10, "{more} questions for 120 invented keys");
    assert_eq!(me(&site, &site.bearer)?.status, 200);
    system.stop();
    Ok(())
}

#[test]
fn a_token_that_is_remembered_is_dead_within_seconds_of_its_session() -> Result<()> {
    let site = Site::fresh()?;
    for _ in 0..5 {
        assert_eq!(me(&site, &site.bearer)?.status, 200);
    }
    let forged = format!("{}A", site.bearer.get(..site.bearer.len() - 1).context("a token")?);
    let other = format!("{}B", site.bearer.get(..site.bearer.len() - 1).context("a token")?);
    let refused = [&forged, &other].into_iter().filter(|token| **token != site.bearer);
    for token in refused {
        assert_eq!(me(&site, token)?.status, 401, "one digit more or less is another token");
    }
    let out = site
        .client
        .send("POST", "/api/auth/logout", &[("authorization", &site.bearer)], b"")?;
    assert_eq!(out.status, 204);
    // At the origin at once; at the edge, which tells why, within 5 s.
    assert_eq!(me(&site, &site.bearer)?.status, 401);
    wait_until("the edge knows", Duration::from_secs(5), || {
        let answer = me(&site, &site.bearer).ok()?;
        let by_edge = answer.header("www-authenticate")?.contains("error_description");
        by_edge.then_some(())
    })
}
