//! Quotas: what a user may do in an hour, whatever comes at once, and who may change that.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, Result};
use kado_tests::{Answer, Site, crowd, pictures, wait_until};
use serde_json::{Value, json};

const PASSWORD: &str = "a passphrase of one's own";

fn ask(site: &Site, bearer: &str, method: &str, target: &str) -> Result<Answer> {
    site.client.send(method, target, &[("authorization", bearer)], b"")
}

fn change(site: &Site, user: &str, body: &Value) -> Result<Answer> {
    let admin = [("authorization", site.bearer.as_str())];
    site.client
        .send_json("PATCH", &format!("/api/admin/users/{user}"), &admin, body)
}

/// A user of role USER, signed in, with a password of their own: identifier and `Bearer ..`.
fn user(site: &Site) -> Result<(String, String)> {
    let admin = [("authorization", site.bearer.as_str())];
    let email = "somebody@example.com";
    let created = site
        .client
        .send_json("POST", "/api/admin/users", &admin, &json!({ "email": email }))?;
    assert_eq!(created.status, 201, "{}", created.json());
    let text = |answer: &Answer, name: &str| answer.json()[name].as_str().map(str::to_owned).context(name.to_owned());
    let drawn = text(&created, "password")?;
    let bearer = format!("Bearer {}", text(&site.login(email, &drawn)?, "token")?);
    let changed = site.client.send_json(
        "POST",
        "/api/auth/password",
        &[("authorization", &bearer)],
        &json!({ "currentPassword": drawn, "newPassword": PASSWORD }),
    )?;
    assert_eq!(changed.status, 204, "{}", changed.json());
    Ok((text(&created, "id")?, bearer))
}

/// How many of each hour were let through: the hour may end while a test runs.
fn admitted(answers: &[Answer], status: u16) -> HashMap<String, usize> {
    let mut by_hour = HashMap::new();
    for answer in answers.iter().filter(|answer| answer.status == status) {
        let hour = answer.header("x-user-ratelimit-reset").unwrap_or_default().to_owned();
        *by_hour.entry(hour).or_default() += 1;
    }
    by_hour
}

#[test]
fn a_user_makes_as_many_calls_an_hour_as_they_may_and_not_one_more() -> Result<()> {
    let site = Site::fresh()?;
    let (id, bearer) = user(&site)?;
    let granted = json!({ "override": { "apiCall": 6, "expiresIn": 3600 } });
    assert_eq!(change(&site, &id, &granted)?.status, 200);
    let answers = crowd(20, |_| ask(&site, &bearer, "GET", "/api/images"))?;
    let by_hour = admitted(&answers, 200);
    assert!(by_hour.values().all(|count| *count <= 6), "{by_hour:?}");
    assert!(by_hour.values().any(|count| *count == 6), "{by_hour:?}");
    let refused = answers
        .iter()
        .find(|answer| answer.status == 429)
        .context("nobody was refused")?;
    assert_eq!(refused.code(), "quota-exceeded");
    assert_eq!(refused.json()["violated-policies"], json!(["API_CALL"]));
    let seconds: u32 = refused.header("retry-after").context("Retry-After")?.parse()?;
    assert!((1..=3600).contains(&seconds), "{seconds}");
    assert_eq!(refused.header("x-user-ratelimit-limit"), Some("6"));
    assert_eq!(refused.header("x-user-ratelimit-remaining"), Some("0"));
    assert_eq!(ask(&site, &bearer, "GET", "/api/auth/me")?.status, 200);
    assert_eq!(ask(&site, &bearer, "POST", "/api/auth/logout")?.status, 204);
    Ok(())
}

#[test]
fn uploads_at_once_spend_no_more_than_there_is_and_failed_ones_nothing() -> Result<()> {
    let site = Site::fresh()?;
    let (id, bearer) = user(&site)?;
    let granted = json!({ "override": { "imageProcess": 3, "expiresIn": 3600 } });
    assert_eq!(change(&site, &id, &granted)?.status, 200);
    let upload = |file: &[u8]| {
        site.client
            .upload("/api/images", &[("authorization", &bearer)], "image", file)
    };
    for _ in 0..3 {
        assert_eq!(upload(b"no picture")?.outcome(), (415, "not-an-image".to_owned()));
    }
    let picture = pictures::photo_jpeg(32, 24);
    let by_hour = admitted(&crowd(9, |_| upload(&picture))?, 201);
    assert!(by_hour.values().all(|count| *count <= 3), "{by_hour:?}");
    assert!(by_hour.values().any(|count| *count == 3), "{by_hour:?}");
    Ok(())
}

#[test]
fn who_is_disabled_is_out_everywhere_within_seconds() -> Result<()> {
    let site = Site::fresh()?;
    let (id, bearer) = user(&site)?;
    assert_eq!(ask(&site, &bearer, "GET", "/api/images")?.status, 200);
    assert_eq!(change(&site, &id, &json!({ "active": false }))?.status, 200);
    wait_until("the user is out", Duration::from_secs(5), || {
        let answer = ask(&site, &bearer, "GET", "/api/images").ok()?;
        (answer.status == 401).then_some(())
    })?;
    let last = change(&site, &own_id(&site)?, &json!({ "role": "USER" }))?;
    assert_eq!(last.outcome(), (409, "conflict".to_owned()), "the last administrator");
    let audit = ask(
        &site,
        &site.bearer,
        "GET",
        &format!("/api/admin/audit?action=users.update&target={id}"),
    )?;
    let entry = &audit.json()["items"][0];
    assert_eq!(
        (&entry["before"]["active"], &entry["after"]["active"]),
        (&json!(true), &json!(false))
    );
    Ok(())
}

fn own_id(site: &Site) -> Result<String> {
    let me = ask(site, &site.bearer, "GET", "/api/auth/me")?.json();
    me["user"]["id"].as_str().map(str::to_owned).context("user.id")
}
