//! What an operator can take off new renderings in times of high load, within seconds, without a deployment; what is cached
//! is shown as it is.

use anyhow::Result;
use kado_tests::{Answer, Site, pictures};
use serde_json::{Value, json};

const CHROME: &str = "image/avif,image/webp,image/*,*/*;q=0.8";

/// A picture as a browser asks for it.
fn seen(site: &Site, options: &str, id: &str) -> Result<Answer> {
    let address = format!("/img/{options}/u/{id}");
    site.client.send("GET", &address, &[("accept", CHROME)], b"")
}

fn kind(answer: &Answer) -> &str {
    answer.header("content-type").unwrap_or_default()
}

/// Changes settings and waits for the edge, which tells of them by a limit that is another one each time.
fn settle(site: &Site, quota: u32, mut settings: Value) -> Result<()> {
    settings["limitApi"] = json!({ "quota": quota, "windowSeconds": 60, "mode": "fast" });
    site.settle(settings)
}

#[test]
fn avif_is_no_longer_made_where_the_client_does_not_insist_and_cached_ones_stay() -> Result<()> {
    let site = Site::fresh()?;
    let id = site.upload(&pictures::photo_jpeg(300, 200))?;
    assert_eq!(kind(&seen(&site, "w=100,f=auto", &id)?), "image/avif");

    settle(&site, 201, json!({ "avifEnabled": false }))?;
    let cached = seen(&site, "w=100,f=auto", &id)?;
    assert_eq!((kind(&cached), cached.cache()), ("image/avif", "hit"));
    let new = seen(&site, "w=101,f=auto", &id)?;
    assert_eq!((kind(&new), new.cache()), ("image/webp", "miss"), "the next best");
    assert_eq!(seen(&site, "w=101,f=auto", &id)?.cache(), "hit");
    assert_eq!(
        kind(&seen(&site, "w=102,f=avif", &id)?),
        "image/avif",
        "asked for by name"
    );

    settle(&site, 202, json!({ "avifEnabled": true }))?;
    assert_eq!(kind(&seen(&site, "w=101,f=auto", &id)?), "image/avif");
    Ok(())
}

#[test]
fn quality_and_effort_are_lowered_for_new_renderings_alone() -> Result<()> {
    let site = Site::fresh()?;
    let id = site.upload(&pictures::photo_jpeg(300, 200))?;
    let source = format!("u/{id}");
    let bytes = |options: &str| -> Result<Vec<u8>> { Ok(site.image(options, &source)?.body) };
    let before = bytes("w=100,f=jpeg,q=80")?;
    let (half, fast) = (
        bytes("w=110,f=jpeg,q=40,compression=fast")?,
        bytes("w=120,f=webp,compression=fast")?,
    );

    settle(&site, 203, json!({ "qualityFactor": 0.5, "maxEffort": 1 }))?;
    assert_eq!(bytes("w=100,f=jpeg,q=80")?, before, "cached");
    assert_eq!(bytes("w=110,f=jpeg,q=80")?, half);
    settle(&site, 204, json!({ "qualityFactor": 1 }))?;
    assert_eq!(bytes("w=120,f=webp,compression=small")?, fast);
    // A picture without loss stays one.
    settle(&site, 205, json!({ "qualityFactor": 0.5 }))?;
    let drawing = site.upload(&pictures::transparent_png(40, 30))?;
    let png = site.image("f=png", &format!("u/{drawing}"))?;
    settle(&site, 206, json!({ "qualityFactor": 1 }))?;
    let whole = site.image("f=png,compression=fast", &format!("u/{drawing}"))?;
    assert_eq!(png.body, whole.body);
    Ok(())
}
