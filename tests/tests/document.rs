//! The API's own description, and requests that come again.

use anyhow::Result;
use kado_tests::{Site, pictures};

#[test]
fn the_document_and_its_page_are_open_to_all_and_run_nothing() -> Result<()> {
    let site = Site::fresh()?;
    let document = site.client.get("/api/openapi.json")?;
    assert_eq!((document.status, &document.json()["openapi"]), (200, &"3.1.0".into()));
    let etag = document.header("etag").unwrap_or_default();
    let again = site
        .client
        .send("GET", "/api/openapi.json", &[("if-none-match", etag)], b"")?;
    assert_eq!((again.status, again.body.len()), (304, 0));
    let page = site.client.get("/api/docs")?;
    let policy = page.header("content-security-policy").unwrap_or_default();
    assert!(
        page.status == 200 && policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    let other = site.client.get("/api/content/none")?;
    assert_eq!(
        other.header("content-security-policy"),
        Some("default-src 'none'; frame-ancestors 'none'; base-uri 'none'")
    );
    Ok(())
}

#[test]
fn an_upload_that_is_repeated_with_its_key_is_one_picture() -> Result<()> {
    let site = Site::fresh()?;
    let file = pictures::photo_jpeg(40, 30);
    let upload = || {
        let headers = [("authorization", site.bearer.as_str()), ("idempotency-key", "one")];
        site.client.upload("/api/images", &headers, "image", &file)
    };
    let (first, again) = (upload()?, upload()?);
    assert_eq!((first.status, again.status), (201, 201), "{}", again.json());
    assert_eq!(first.json(), again.json());
    assert_eq!(
        (first.header("idempotent-replayed"), again.header("idempotent-replayed")),
        (None, Some("true"))
    );
    Ok(())
}
