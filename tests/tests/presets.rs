//! Presets: what a name stands for at the edge, how soon a change of it is seen, and whose it is.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use kado_tests::{Answer, Site, pictures, wait_until};
use serde_json::{Value, json};

/// How soon every edge must know of a change.
const KNOWN_WITHIN: Duration = Duration::from_secs(5);

fn admin(site: &Site, method: &str, address: &str, body: &Value) -> Result<Answer> {
    let headers = [("authorization", site.bearer.as_str())];
    site.client.send_json(method, address, &headers, body)
}

fn ask(site: &Site, method: &str, address: &str) -> Result<Answer> {
    site.client
        .send(method, address, &[("authorization", site.bearer.as_str())], b"")
}

fn create(site: &Site, name: &str, options: &str, branding: bool) -> Result<()> {
    let body = json!({ "name": name, "options": options, "branding": branding });
    let answer = admin(site, "POST", "/api/admin/presets", &body)?;
    ensure!(answer.status == 201, "{name}: {} {}", answer.status, answer.json());
    Ok(())
}

/// Waits until the edge knows a preset.
fn until_known(site: &Site, name: &str, source: &str) -> Result<Answer> {
    wait_until("the edge knows the preset", KNOWN_WITHIN, || {
        let answer = site.image(&format!("preset={name}"), source).ok()?;
        (answer.status == 200).then_some(answer)
    })
}

fn size(answer: &Answer) -> Result<(u32, u32)> {
    ensure!(answer.status == 200, "{} {}", answer.status, answer.json());
    pictures::size(&answer.body)
}

#[test]
fn a_change_of_a_preset_is_seen_within_five_seconds_and_so_is_its_end() -> Result<()> {
    let site = Site::fresh()?;
    let source = format!("u/{}", site.upload(&pictures::photo_jpeg(400, 300))?);
    assert_eq!(
        site.image("preset=card", &source)?.outcome(),
        (400, "bad-options".to_owned())
    );
    create(&site, "card", "w=100,h=100,fit=cover", false)?;
    let first = until_known(&site, "card", &source)?;
    assert_eq!(size(&first)?, (100, 100));

    let change = json!({ "options": "width=60,height=40,fit=cover" });
    let changed = admin(&site, "PATCH", "/api/admin/presets/card", &change)?;
    ensure!(changed.status == 200, "{} {}", changed.status, changed.json());
    let started = Instant::now();
    wait_until("the new size", KNOWN_WITHIN, || {
        let answer = site.image("preset=card", &source).ok()?;
        (size(&answer).ok()? == (60, 40)).then_some(())
    })?;
    println!("a preset's change: seen after {:?}", started.elapsed());

    let deleted = ask(&site, "DELETE", "/api/admin/presets/card")?;
    assert_eq!(deleted.status, 204);
    let refused = wait_until("the end", KNOWN_WITHIN, || {
        let answer = site.image("preset=card", &source).ok()?;
        (answer.status == 400).then_some(answer)
    })?;
    assert_eq!(refused.json()["errors"][0]["field"], "preset");
    Ok(())
}

#[test]
fn explicit_options_win_and_the_same_picture_is_kept_once() -> Result<()> {
    let site = Site::fresh()?;
    let source = format!("u/{}", site.upload(&pictures::photo_jpeg(400, 300))?);
    create(&site, "card", "w=100,h=100,fit=cover,f=jpeg,q=70", false)?;
    until_known(&site, "card", &source)?;
    let narrow = site.image("preset=card,w=50", &source)?;
    assert_eq!(size(&narrow)?, (50, 100));
    // A default that is given counts as given.
    let whole = site.image("fit=scale-down,p=card", &source)?;
    assert_eq!(size(&whole)?, (100, 75));
    let png = site.image("preset=card,f=png", &source)?;
    assert_eq!(png.header("content-type"), Some("image/png"));
    // Written out it is the same picture, under the same tag.
    let written_out = site.image("q=70,w=50,f=jpeg,h=100,fit=cover", &source)?;
    assert_eq!(size(&written_out)?, (50, 100));
    assert_eq!(written_out.header("etag"), narrow.header("etag"));
    wait_until("a hit", Duration::from_secs(10), || {
        let answer = site.image("preset=card,w=50", &source).ok()?;
        (answer.cache() == "hit").then_some(())
    })
}

#[test]
fn a_new_tenant_has_the_marketplaces_presets() -> Result<()> {
    let site = Site::fresh()?;
    let source = format!("u/{}", site.upload(&pictures::photo_jpeg(400, 300))?);
    for (preset, media_type, expected) in [
        ("gofood", "image/jpeg", (1080, 1080)),
        ("grabfood", "image/jpeg", (1200, 1200)),
        ("grabfood_cover", "image/jpeg", (1800, 1000)),
        ("shopeefood", "image/jpeg", (800, 800)),
        ("instagram", "image/jpeg", (1080, 1350)),
        ("general", "image/png", (1024, 1024)),
    ] {
        let answer = site.image(&format!("preset={preset}"), &source)?;
        assert_eq!(size(&answer)?, expected, "{preset}");
        assert_eq!(answer.header("content-type"), Some(media_type), "{preset}");
    }
    Ok(())
}

#[test]
fn a_preset_is_its_tenants_alone() -> Result<()> {
    let (ours, theirs) = (Site::fresh()?, Site::fresh()?);
    let photo = pictures::photo_jpeg(40, 30);
    let (source, foreign) = (
        format!("u/{}", ours.upload(&photo)?),
        format!("u/{}", theirs.upload(&photo)?),
    );
    create(&ours, "ours", "w=20", false)?;
    until_known(&ours, "ours", &source)?;
    let refused = theirs.image("preset=ours", &foreign)?;
    assert_eq!(refused.outcome(), (400, "bad-options".to_owned()));
    let hidden = ask(&theirs, "GET", "/api/admin/presets/ours")?;
    assert_eq!(hidden.status, 404);
    Ok(())
}

#[test]
fn the_mark_is_drawn_where_the_preset_allows_it_too() -> Result<()> {
    let site = Site::fresh()?;
    let source = format!("u/{}", site.upload(&pictures::photo_jpeg(200, 200))?);
    create(&site, "plain", "format=png", false)?;
    create(&site, "marked", "format=png", true)?;
    site.settle(json!({ "watermarkText": "Kado" }))?;
    let tag = |options: &str| -> Result<String> {
        let answer = site.image(options, &source)?;
        ensure!(answer.status == 200, "{options}: {} {}", answer.status, answer.json());
        Ok(answer.header("etag").unwrap_or_default().to_owned())
    };
    let plain = tag("format=png")?;
    assert_eq!(tag("preset=plain,branding=true")?, plain);
    assert_eq!(tag("preset=marked")?, plain);
    assert_eq!(tag("preset=marked,branding=true")?, tag("format=png,branding=true")?);
    assert_ne!(tag("preset=marked,branding=true")?, plain);
    Ok(())
}
