//! A real browser shows a transformed picture, from another site's page.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use kado_tests::{Site, external, pictures};
use xtask::temporary::TemporaryFolder;

#[test]
fn chromium_shows_a_transformed_picture_in_a_page_of_another_site() -> Result<()> {
    let Some(chromium) = external::program(&["chromium", "chromium-browser", "google-chrome"])? else {
        return Ok(());
    };
    let site = Site::fresh()?;
    let id = site.upload(&pictures::photo_jpeg(600, 400))?;
    let port = site
        .run()
        .edge
        .rsplit(':')
        .next()
        .context("the edge has no port")?
        .to_owned();
    let folder = TemporaryFolder::new("browser")?;
    let page = folder.path().join("page.html");
    let address = format!("http://{}:{port}/img/width=123,format=auto/u/{id}", site.host);
    let show = "document.title = this.naturalWidth + 'x' + this.naturalHeight";
    fs::write(
        &page,
        format!("<!doctype html><img src=\"{address}\" onload=\"{show}\" onerror=\"document.title = 'broken'\">"),
    )?;
    let output = Command::new(chromium)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
        ])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ])
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .args(["--virtual-time-budget=10000", "--dump-dom"])
        .arg(format!("file://{}", page.display()))
        .output()?;
    let dom = String::from_utf8_lossy(&output.stdout);
    assert!(
        dom.contains("<title>123x82</title>"),
        "{dom}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
