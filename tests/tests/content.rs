//! Content of a tenant's own pages, as everybody reads it.

use anyhow::{Result, ensure};
use kado_tests::Site;
use serde_json::json;

#[test]
fn content_is_read_by_everybody_and_cached_by_its_tag() -> Result<()> {
    let site = Site::fresh()?;
    let item = json!({ "section": "home", "key": "title", "value": "<b>Kado</b>", "type": "HTML" });
    let headers = [("authorization", site.bearer.as_str())];
    let created = site.client.send_json("POST", "/api/admin/content", &headers, &item)?;
    ensure!(created.status == 201, "{} {}", created.status, created.json());
    let read = site.client.get("/api/content/home")?;
    assert_eq!(
        (
            read.status,
            read.header("content-type"),
            read.header("cache-control"),
            &read.json()["items"][0]["value"]
        ),
        (
            200,
            Some("application/json"),
            Some("public, max-age=60"),
            &json!("<b>Kado</b>")
        )
    );
    let tag = read.header("etag").unwrap_or_default().to_owned();
    let known = site
        .client
        .send("GET", "/api/content/home", &[("if-none-match", &tag)], b"")?;
    assert_eq!((known.status, known.body.len()), (304, 0));
    assert_eq!(site.client.get("/api/content/nowhere")?.status, 404);
    Ok(())
}
