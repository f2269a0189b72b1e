//! Signed addresses: nobody changes one, none outlives its time, and nobody but its client keeps what it shows.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use kado_shared::address_signature::{AddressKey, sign_address};
use kado_tests::site::kado;
use kado_tests::{Site, pictures, wait_until};
use serde_json::{Value, json};

fn new_key(site: &Site) -> Result<(String, AddressKey)> {
    let made: Value = serde_json::from_str(&kado(site.run(), &["address-keys", "create", "--tenant", &site.host])?)?;
    let text = |name: &str| {
        made.get(name)
            .and_then(Value::as_str)
            .context("no such field")
            .map(str::to_owned)
    };
    Ok((text("id")?, AddressKey::new(&text("key")?).context("no key")?))
}

fn now() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}

fn until_it_counts(site: &Site, address: &str) -> Result<kado_tests::Answer> {
    wait_until("the edge knows the key", Duration::from_secs(5), || {
        site.client.get(address).ok().filter(|answer| answer.status == 200)
    })
}

#[test]
fn a_signed_address_counts_as_it_is_and_for_as_long_as_it_says() -> Result<()> {
    let site = Site::fresh()?;
    let id = site.upload(&pictures::photo_jpeg(64, 48))?;
    let (_, key) = new_key(&site)?;
    let plain = format!("/img/w=32/u/{id}");
    let (later, ago) = (now()? + 40, now()? - 5);
    let signed = sign_address(&plain, &key, Some(later))?;
    let answer = until_it_counts(&site, &signed)?;
    let control = answer.header("cache-control").context("Cache-Control")?;
    let seconds: u64 = control
        .strip_prefix("private, max-age=")
        .with_context(|| control.to_owned())?
        .parse()?;
    assert!(seconds <= 40, "{control}");
    assert_eq!(answer.header("cache-tag"), None, "no CDN keeps it");

    // It is the picture of the unsigned address, and shares its rendering.
    let shared = wait_until("a hit", Duration::from_secs(5), || {
        site.client.get(&plain).ok().filter(|answer| answer.cache() == "hit")
    })?;
    assert_eq!(shared.header("etag"), answer.header("etag"));
    assert!(
        shared
            .header("cache-control")
            .is_some_and(|control| control.starts_with("public"))
    );

    let expired = sign_address(&plain, &key, Some(ago))?;
    assert_eq!(site.client.get(&expired)?.outcome(), (410, "expired".to_owned()));
    let wrong = || (403, "bad-signature".to_owned());
    let last = signed.find("/u/").context("no source")?;
    let (head, tail) = signed.split_at(last);
    for changed in [
        signed.replace("w=32", "w=33"),
        signed.replace(&format!("exp={later}"), &format!("exp={}", later + 1)),
        signed.replace("w=32", "width=32"),
        format!("{signed}?v=1"),
        format!(
            "{}{}{tail}",
            &head[..head.len() - 1],
            if head.ends_with('0') { '1' } else { '0' }
        ),
        format!("{}{tail}", &head[..head.len() - 1]),
        expired.replace(&format!("exp={ago}"), &format!("exp={later}")),
        format!("/img/w=32,sig=/u/{id}"),
        // Whoever cannot sign does not learn whether the options are right either.
        format!("/img/nonsense,sig=00/u/{id}"),
    ] {
        assert_eq!(site.client.get(&changed)?.outcome(), wrong(), "{changed}");
    }
    Ok(())
}

#[test]
fn keys_change_without_a_refused_address_and_end_when_they_are_retired() -> Result<()> {
    let site = Site::fresh()?;
    let id = site.upload(&pictures::photo_jpeg(64, 48))?;
    let plain = format!("/img/w=20/u/{id}");
    let (first_id, first) = new_key(&site)?;
    let by_first = sign_address(&plain, &first, None)?;
    until_it_counts(&site, &by_first)?;
    let (_, second) = new_key(&site)?;
    let by_second = sign_address(&plain, &second, None)?;
    until_it_counts(&site, &by_second)?;
    assert_eq!(site.client.get(&by_first)?.status, 200);
    kado(
        site.run(),
        &["address-keys", "retire", &first_id, "--tenant", &site.host],
    )?;
    wait_until("the edge knows it is over", Duration::from_secs(5), || {
        site.client.get(&by_first).ok().filter(|answer| answer.status == 403)
    })?;
    assert_eq!(site.client.get(&by_second)?.status, 200);
    let listed = kado(site.run(), &["address-keys", "list", "--tenant", &site.host])?;
    assert!(
        listed.contains(&format!("{first_id} made")) && listed.contains("retired"),
        "{listed}"
    );
    assert!(!listed.contains(first.expose()), "a list shows no key");
    Ok(())
}

#[test]
fn one_tenants_key_opens_nothing_of_anothers() -> Result<()> {
    let (one, other) = (Site::fresh()?, Site::fresh()?);
    let id = other.upload(&pictures::photo_jpeg(64, 48))?;
    let (_, key) = new_key(&one)?;
    let (_, own) = new_key(&other)?;
    let plain = format!("/img/w=20/u/{id}");
    until_it_counts(&other, &sign_address(&plain, &own, None)?)?;
    let foreign = other.client.get(&sign_address(&plain, &key, None)?)?;
    assert_eq!(foreign.outcome(), (403, "bad-signature".to_owned()));
    Ok(())
}

#[test]
fn a_tenant_may_serve_signed_addresses_only() -> Result<()> {
    let site = Site::fresh()?;
    let id = site.upload(&pictures::photo_jpeg(64, 48))?;
    let plain = format!("/img/w=24/u/{id}");
    let (_, key) = new_key(&site)?;
    assert_eq!(site.client.get(&plain)?.status, 200);
    site.settle(json!({ "requireSignature": true }))?;
    assert_eq!(site.client.get(&plain)?.outcome(), (403, "bad-signature".to_owned()));
    assert_eq!(site.client.get(&sign_address(&plain, &key, None)?)?.status, 200);
    // What `kado sign` prints is one.
    let mut command = std::process::Command::new(&site.run().kado);
    let output = command
        .args(["sign", &plain, "--expires-in", "5m"])
        .env("KADO_ADDRESS_KEY", key.expose())
        .output()?;
    let printed = String::from_utf8(output.stdout)?;
    assert_eq!(site.client.get(printed.trim())?.status, 200, "{printed}");
    Ok(())
}
