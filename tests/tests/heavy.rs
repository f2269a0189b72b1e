//! Pictures that no isolate has the memory for are made by the origin, and nobody notices but by `Kado-Image`.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use kado_tests::{Site, crowd, pictures};
use serde_json::json;

#[test]
fn a_picture_over_the_edges_memory_is_made_by_the_origin_and_kept() -> Result<()> {
    let site = Site::fresh()?;
    // Interlaced, it has to be there whole: 108 MB of pixels.
    let id = site.upload(&pictures::interlaced_png(6000, 6000))?;
    let target = format!("/img/width=300,format=jpeg/u/{id}");
    let answer = site.client.get(&target)?;
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let facts = answer.header("kado-image").context("Kado-Image")?;
    assert!(
        facts.contains("in=6000x6000 png") && facts.contains("lane=origin"),
        "{facts}"
    );
    assert_eq!(pictures::size(&answer.body)?, (300, 300));
    let again = site.client.get(&target)?;
    assert!(
        again
            .header("cache-status")
            .is_some_and(|status| status.contains("hit")),
        "{:?}",
        again.header("cache-status")
    );
    assert_eq!(again.body, answer.body);
    Ok(())
}

#[test]
fn many_of_them_at_once_are_made_or_told_that_it_is_busy() -> Result<()> {
    let site = Site::fresh()?;
    site.settle(json!({ "limitTransform": {"quota": 1000, "windowSeconds": 60, "mode": "strict"} }))?;
    let id = site.upload(&pictures::interlaced_png(6000, 6000))?;
    let answers = crowd(12, |number| {
        site.client
            .get(&format!("/img/width={},format=jpeg/u/{id}", 100 + number))
    })?;
    let mut outcomes = BTreeMap::new();
    for answer in &answers {
        *outcomes.entry(answer.status).or_insert(0_u32) += 1;
        if answer.status == 503 {
            assert_eq!(answer.json()["code"], "busy");
            assert!(answer.header("retry-after").is_some());
        }
    }
    assert!(
        outcomes.keys().all(|status| [200, 503].contains(status)),
        "{outcomes:?}"
    );
    assert!(outcomes.get(&200).is_some_and(|made| *made >= 2), "{outcomes:?}");
    // And it goes on afterwards.
    assert_eq!(
        site.client.get(&format!("/img/width=99,format=jpeg/u/{id}"))?.status,
        200
    );
    Ok(())
}
