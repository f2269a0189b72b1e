//! API keys: what one opens, how often, and for how long.

use std::time::Duration;

use anyhow::{Context, Result};
use kado_tests::{Answer, Site, crowd, pictures, wait_until};
use serde_json::{Value, json};

fn create(site: &Site, body: &Value) -> Result<(String, String)> {
    let admin = [("authorization", site.bearer.as_str())];
    let answer = site.client.send_json("POST", "/api/admin/api-keys", &admin, body)?;
    assert_eq!(answer.status, 201, "{}", answer.json());
    let text = |name: &str| answer.json()[name].as_str().map(str::to_owned).context(name.to_owned());
    Ok((text("id")?, format!("Bearer {}", text("key")?)))
}

fn ask(site: &Site, key: &str, method: &str, target: &str) -> Result<Answer> {
    site.client.send(method, target, &[("authorization", key)], b"")
}

#[test]
fn a_key_opens_what_its_scopes_say_and_tells_which_scope_is_missing() -> Result<()> {
    let site = Site::fresh()?;
    let (_, key) = create(
        &site,
        &json!({ "name": "shop", "scopes": ["images:read", "images:write"] }),
    )?;
    let upload = site.client.upload(
        "/api/images",
        &[("authorization", &key)],
        "image",
        &pictures::photo_jpeg(64, 48),
    )?;
    assert_eq!(upload.status, 201, "{}", upload.json());
    assert_eq!(ask(&site, &key, "GET", "/api/images")?.status, 200);
    for (target, challenge) in [
        (
            "/api/admin/settings",
            "error=\"insufficient_scope\", scope=\"admin:read\"",
        ),
        ("/api/admin/api-keys", "error=\"insufficient_scope\""),
        ("/api/auth/me", "error=\"insufficient_scope\""),
    ] {
        let answer = ask(&site, &key, "GET", target)?;
        assert_eq!(answer.outcome(), (403, "insufficient-scope".to_owned()), "{target}");
        let given = answer.header("www-authenticate").unwrap_or_default();
        assert!(given.ends_with(challenge), "{target}: {given}");
    }
    let other = Site::fresh()?;
    assert_eq!(
        ask(&other, &key, "GET", "/api/images")?.status,
        401,
        "a key is its tenant's alone"
    );
    Ok(())
}

#[test]
fn a_keys_own_limit_holds_however_many_use_it() -> Result<()> {
    let site = Site::fresh()?;
    let limit = json!({ "quota": 6, "windowSeconds": 600, "mode": "strict" });
    let (_, key) = create(
        &site,
        &json!({ "name": "limited", "scopes": ["images:read"], "limit": limit }),
    )?;
    let (_, free) = create(&site, &json!({ "name": "free", "scopes": ["images:read"] }))?;
    let answers = crowd(15, |_| ask(&site, &key, "GET", "/api/images"))?;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 6);
    let refused = answers
        .iter()
        .find(|answer| answer.status == 429)
        .context("nobody was refused")?;
    assert_eq!(refused.json()["violated-policies"], json!(["api-key"]));
    assert_eq!(refused.header("ratelimit-policy"), Some("\"api-key\";q=6;w=600"));
    assert_eq!(
        ask(&site, &free, "GET", "/api/images")?.status,
        200,
        "another key is not limited by it"
    );
    Ok(())
}

#[test]
fn a_deleted_key_is_dead_within_seconds_and_an_invented_one_never_lived() -> Result<()> {
    let site = Site::fresh()?;
    let (id, key) = create(&site, &json!({ "name": "short", "scopes": ["images:read"] }))?;
    assert_eq!(ask(&site, &key, "GET", "/api/images")?.status, 200);
    let invented = format!("Bearer kado_{}_{}", "0".repeat(12), "0".repeat(48));
    for _ in 0..3 {
        assert_eq!(
            ask(&site, &invented, "GET", "/api/images")?.outcome(),
            (401, "invalid-token".to_owned())
        );
    }
    let deleted = ask(&site, &site.bearer, "DELETE", &format!("/api/admin/api-keys/{id}"))?;
    assert_eq!(deleted.status, 204);
    // The origin knows at once, and it is asked each time.
    wait_until("the key is dead", Duration::from_secs(1), || {
        let answer = ask(&site, &key, "GET", "/api/images").ok()?;
        (answer.status == 401).then_some(())
    })
}
