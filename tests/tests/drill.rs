//! Signing keys change while everybody goes on, and what an operator does every quarter is one command.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kado_tests::site::kado;
use kado_tests::{Site, own_system, wait_until};
use serde_json::{Value, json};

/// Within this every edge knows that sessions have ended.
const SEEN_WITHIN: Duration = Duration::from_secs(5);

fn bearer_of(answer: &kado_tests::Answer) -> Result<String> {
    let body = answer.json();
    let token = body.get("token").and_then(Value::as_str);
    Ok(format!(
        "Bearer {}",
        token.with_context(|| format!("{} {body}", answer.status))?
    ))
}

/// The key that signed a token.
fn kid_of(bearer: &str) -> Result<String> {
    let head = bearer
        .trim_start_matches("Bearer ")
        .split('.')
        .next()
        .unwrap_or_default();
    let head: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(head)?)?;
    Ok(head["kid"].as_str().context("no kid")?.to_owned())
}

fn status_of_me(site: &Site, bearer: &str) -> Result<u16> {
    let headers = [("authorization", bearer)];
    Ok(site.client.send("GET", "/api/auth/me", &headers, b"")?.status)
}

fn roomy(run: &xtask::system::RunFile) -> Result<Site> {
    let site = Site::in_system(run)?;
    let plenty = json!({ "quota": 100_000, "windowSeconds": 60, "mode": "fast" });
    site.settle(json!({ "limitApi": plenty, "limitLogin": plenty }))?;
    Ok(site)
}

#[test]
fn a_key_is_rotated_under_load_and_nobody_is_refused() -> Result<()> {
    let system = own_system(|_| {})?;
    let run = system.run_file();
    let site = roomy(&run)?;
    let before = kid_of(&site.bearer)?;
    let (over, asked) = (AtomicBool::new(false), AtomicU32::new(0));
    let until_over = |mut what: Box<dyn FnMut() -> Result<()> + Send + '_>| -> Result<()> {
        while !over.load(Ordering::Relaxed) {
            what()?;
            asked.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    let latest = std::thread::scope(|scope| -> Result<String> {
        // One keeps its token, one rotates its own again and again, one signs in anew each time.
        let keeps = scope.spawn(|| {
            until_over(Box::new(|| {
                let status = status_of_me(&site, &site.bearer)?;
                ensure!(status == 200, "a token that was good: {status}");
                Ok(())
            }))
        });
        let rotates = scope.spawn(|| -> Result<String> {
            let mut bearer = bearer_of(&site.login(&site.email, &site.password)?)?;
            until_over(Box::new(|| {
                let headers = [("authorization", bearer.as_str())];
                let next = bearer_of(&site.client.send("POST", "/api/auth/rotate", &headers, b"")?)?;
                bearer = next;
                let status = status_of_me(&site, &bearer)?;
                ensure!(status == 200, "a rotated token: {status}");
                Ok(())
            }))?;
            Ok(bearer)
        });
        let signs_in = scope.spawn(|| {
            until_over(Box::new(|| {
                let bearer = bearer_of(&site.login(&site.email, &site.password)?)?;
                let status = status_of_me(&site, &bearer)?;
                ensure!(status == 200, "a new token: {status}");
                Ok(())
            }))
        });
        let rotated = kado(&run, &["keys", "rotate", "--wait", "6"]);
        std::thread::park_timeout(Duration::from_secs(2));
        over.store(true, Ordering::Relaxed);
        let panicked = || anyhow::anyhow!("a client panicked");
        keeps.join().map_err(|_| panicked())??;
        signs_in.join().map_err(|_| panicked())??;
        let latest = rotates.join().map_err(|_| panicked())??;
        rotated?;
        Ok(latest)
    })?;
    assert_ne!(kid_of(&latest)?, before, "the new key signs");
    assert!(asked.load(Ordering::Relaxed) > 100, "{asked:?} requests are no load");
    // The old one is published for as long as a token of it may be shown.
    let published = site.client.get("/.well-known/jwks.json")?.json();
    let kids: Vec<_> = published["keys"]
        .as_array()
        .context("no keys")?
        .iter()
        .filter_map(|key| key["kid"].as_str())
        .collect();
    assert!(kids.contains(&before.as_str()) && kids.len() == 2, "{kids:?}");
    Ok(())
}

#[test]
fn the_quarterly_drill_is_one_command_that_checks_itself() -> Result<()> {
    let system = own_system(|_| {})?;
    let run = system.run_file();
    let site = roomy(&run)?;
    let drill = [
        "keys",
        "drill",
        "--json",
        "--wait",
        "6",
        "--service",
        &run.edge,
        "--public-url",
        &run.edge,
    ];
    let told = kado(&run, &drill)?;
    let told: Value = serde_json::from_str(&told)?;
    assert_eq!(told["passed"], json!(true), "{told}");
    for step in told["steps"].as_array().context("no steps")? {
        assert_eq!(step["passed"], json!(true), "{step}");
    }
    wait_until("the token from before is dead", SEEN_WITHIN, || {
        (status_of_me(&site, &site.bearer).ok()? == 401).then_some(())
    })?;
    let fresh = bearer_of(&site.login(&site.email, &site.password)?)?;
    assert_ne!(kid_of(&fresh)?, kid_of(&site.bearer)?);
    assert_eq!(status_of_me(&site, &fresh)?, 200);
    Ok(())
}

#[test]
fn a_key_that_may_be_known_to_others_ends_at_once_with_all_its_tokens() -> Result<()> {
    let system = own_system(|_| {})?;
    let run = system.run_file();
    let site = roomy(&run)?;
    let kid = kid_of(&site.bearer)?;
    kado(&run, &["keys", "retire", "--now", &kid, "--replace", "--revoke-all"])?;
    wait_until("its tokens are dead", SEEN_WITHIN, || {
        (status_of_me(&site, &site.bearer).ok()? == 401).then_some(())
    })?;
    let fresh = wait_until("a login with another key", SEEN_WITHIN, || {
        let answer = site.login(&site.email, &site.password).ok()?;
        let bearer = bearer_of(&answer).ok()?;
        (kid_of(&bearer).ok()? != kid).then_some(bearer)
    })?;
    wait_until("that counts", SEEN_WITHIN, || {
        (status_of_me(&site, &fresh).ok()? == 200).then_some(())
    })
}
