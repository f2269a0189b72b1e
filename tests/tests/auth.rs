//! Signing in, and tokens of every kind that must not count.

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{Signer, SigningKey};
use kado_tests::{Client, Site, site};
use serde_json::{Value, json};

fn me(site: &Site, authorization: &str) -> Result<kado_tests::Answer> {
    site.client
        .send("GET", "/api/auth/me", &[("authorization", authorization)], b"")
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// Header and claims of a site's own token.
fn decoded(site: &Site) -> Result<(Value, Value)> {
    let token = site.bearer.trim_start_matches("Bearer ");
    let mut parts = token.split('.').map(|part| {
        URL_SAFE_NO_PAD
            .decode(part)
            .ok()
            .and_then(|json| serde_json::from_slice(&json).ok())
    });
    let mut next = || parts.next().flatten().context("the token is no JWT");
    Ok((next()?, next()?))
}

#[test]
fn a_login_gives_a_token_that_says_who_one_is() -> Result<()> {
    let site = Site::fresh()?;
    let answer = site.login(&site.email, &site.password)?;
    let body = answer.json();
    assert!(
        body["expiresIn"]
            .as_u64()
            .is_some_and(|seconds| (1..=900).contains(&seconds)),
        "{body}"
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let (header, claims) = decoded(&site)?;
    assert_eq!((&header["alg"], &header["typ"]), (&json!("Ed25519"), &json!("at+jwt")));
    assert_eq!(claims["tenant"], json!(site.tenant));
    let me = me(&site, &site.bearer)?;
    assert_eq!(me.status, 200);
    assert!(me.json().to_string().contains(&site.email), "{}", me.json());
    Ok(())
}

#[test]
fn a_logout_ends_the_session_at_once() -> Result<()> {
    let site = Site::fresh()?;
    let out = site
        .client
        .send("POST", "/api/auth/logout", &[("authorization", &site.bearer)], b"")?;
    assert!(matches!(out.status, 200 | 204), "{}", out.json());
    assert_eq!(me(&site, &site.bearer)?.status, 401);
    Ok(())
}

#[test]
fn unknown_and_wrong_look_the_same() -> Result<()> {
    let site = Site::fresh()?;
    let strip = |answer: kado_tests::Answer| {
        let mut body = answer.json();
        body["requestId"] = Value::Null;
        (answer.status, body)
    };
    assert_eq!(
        strip(site.login(&site.email, "wrong password")?),
        strip(site.login("nobody@example.com", "wrong password")?)
    );
    Ok(())
}

#[test]
fn tokens_that_must_not_count_do_not() -> Result<()> {
    let (site, other) = (Site::fresh()?, Site::fresh()?);
    let (header, claims) = decoded(&site)?;
    let own = site.bearer.trim_start_matches("Bearer ").to_owned();
    let (message, signature) = own.rsplit_once('.').context("no signature")?;
    let stranger = SigningKey::from_bytes(&[7; 32]);
    let signed = |header: &Value, claims: &Value| {
        let message = format!("{}.{}", part(header), part(claims));
        format!(
            "{message}.{}",
            URL_SAFE_NO_PAD.encode(stranger.sign(message.as_bytes()).to_bytes())
        )
    };
    let with = |name: &str, value: Value| {
        let mut changed = claims.clone();
        changed[name] = value;
        changed
    };
    let unsigned = |header: &Value| format!("{}.{}.", part(header), part(&claims));
    for (name, token) in [
        (
            "of another tenant",
            other.bearer.trim_start_matches("Bearer ").to_owned(),
        ),
        (
            "alg none",
            unsigned(&json!({"alg": "none", "typ": "at+jwt", "kid": header["kid"]})),
        ),
        (
            "alg none, in capitals",
            unsigned(&json!({"alg": "NONE", "typ": "at+jwt", "kid": header["kid"]})),
        ),
        (
            "HS256",
            signed(&json!({"alg": "HS256", "typ": "at+jwt", "kid": header["kid"]}), &claims),
        ),
        ("signed by a stranger under our key's name", signed(&header, &claims)),
        (
            "signed by a stranger under an unknown name",
            signed(&json!({"alg": "Ed25519", "typ": "at+jwt", "kid": "stranger"}), &claims),
        ),
        (
            "a huge kid",
            signed(
                &json!({"alg": "Ed25519", "typ": "at+jwt", "kid": "k".repeat(2000)}),
                &claims,
            ),
        ),
        (
            "a kid that is a path",
            signed(
                &json!({"alg": "Ed25519", "typ": "at+jwt", "kid": "../../../etc/passwd"}),
                &claims,
            ),
        ),
        (
            "its own key inside",
            signed(
                &json!({"alg": "Ed25519", "typ": "at+jwt", "kid": header["kid"], "jwk": {"kty": "OKP"}}),
                &claims,
            ),
        ),
        (
            "another role, the old signature",
            format!("{}.{}.{signature}", part(&header), part(&with("role", json!("USER")))),
        ),
        (
            "an expiry of its own, the old signature",
            format!(
                "{}.{}.{signature}",
                part(&header),
                part(&with("exp", json!(9_999_999_999_u64)))
            ),
        ),
        ("a stripped signature", format!("{message}.")),
        ("no signature part", message.to_owned()),
        ("not a token", "nonsense".to_owned()),
        ("five thousand bytes", "a".repeat(5000)),
        (
            "an unknown API key",
            "kado_abcdefgh_0123456789abcdef0123456789abcdef".to_owned(),
        ),
    ] {
        let answer = me(&site, &format!("Bearer {token}"))?;
        assert_eq!(answer.status, 401, "{name}: {}", answer.json());
        assert!(
            answer
                .header("www-authenticate")
                .is_some_and(|challenge| challenge.starts_with("Bearer")),
            "{name}"
        );
    }
    for scheme in ["Basic YTpi", "", "Token abc"] {
        assert_eq!(me(&site, scheme)?.status, 401, "{scheme:?}");
    }
    let malformed = me(&site, "Bearer")?;
    assert_eq!(malformed.outcome(), (400, "bad-request".to_owned()));
    assert!(
        malformed
            .header("www-authenticate")
            .is_some_and(|challenge| challenge.contains("invalid_request"))
    );
    assert_eq!(site.client.get("/api/auth/me")?.status, 401);
    assert_eq!(me(&site, &site.bearer)?.status, 200, "the right one still counts");
    Ok(())
}

#[test]
fn the_public_keys_are_published() -> Result<()> {
    let site = Site::fresh()?;
    let answer = site.client.get("/.well-known/jwks.json")?;
    let (header, _) = decoded(&site)?;
    let keys = answer.json()["keys"].as_array().cloned().unwrap_or_default();
    let key = keys
        .iter()
        .find(|key| key["kid"] == header["kid"])
        .with_context(|| format!("{}", answer.json()))?;
    assert_eq!((&key["kty"], &key["crv"]), (&json!("OKP"), &json!("Ed25519")));
    assert!(key.get("d").is_none(), "no private part is published");
    Ok(())
}

#[test]
fn only_the_tenants_own_origins_may_call_with_credentials() -> Result<()> {
    let site = Site::fresh()?;
    site.set("corsOrigins", &json!(["https://app.example.com"]))?;
    let preflight = |origin: &str| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization"),
        ];
        site.client.send("OPTIONS", "/api/auth/me", &headers, b"")
    };
    kado_tests::wait_until("the origin is allowed", std::time::Duration::from_secs(5), || {
        preflight("https://app.example.com")
            .ok()
            .filter(|answer| answer.header("access-control-allow-origin") == Some("https://app.example.com"))
    })?;
    let stranger = preflight("https://evil.example")?;
    assert_eq!(stranger.header("access-control-allow-origin"), None);
    assert!(stranger.header("vary").is_some_and(|vary| vary.contains("Origin")));
    let answer = site.client.send(
        "GET",
        "/api/auth/me",
        &[("origin", "https://app.example.com"), ("authorization", &site.bearer)],
        b"",
    )?;
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
    assert!(
        answer
            .header("access-control-expose-headers")
            .is_some_and(|exposed| exposed.contains("RateLimit"))
    );
    assert_eq!(answer.header("cross-origin-resource-policy"), Some("same-origin"));
    Ok(())
}

#[test]
fn every_answer_carries_an_identifier_that_finds_its_log_line() -> Result<()> {
    let run = site::shared()?;
    let client = Client::new(&run.edge, "localhost");
    let taken = client.send(
        "GET",
        "/api/health/liveness",
        &[("x-request-id", "my-request-0001")],
        b"",
    )?;
    assert_eq!(taken.header("x-request-id"), Some("my-request-0001"));
    for refused in ["short", "has space 123", &"x".repeat(65), "quote\"12345678"] {
        let answer = client.send("GET", "/api/health/liveness", &[("x-request-id", refused)], b"")?;
        assert_ne!(answer.header("x-request-id"), Some(refused));
        assert_eq!(answer.header("x-request-id").map(str::len), Some(32));
    }
    let missing = client.get("/nothing/here")?;
    assert_eq!(missing.json()["requestId"].as_str(), missing.header("x-request-id"));
    Ok(())
}
