//! What is drawn over pictures, and pictures that are drawn themselves.

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kado_imaging::samples;
use kado_tests::{Answer, Site, pictures};
use serde_json::json;

/// A picture of one colour.
fn plain(width: u32, height: u32, rgb: [u8; 3]) -> Vec<u8> {
    let data = rgb.repeat((width * height) as usize);
    samples::png_of(width, height, png::ColorType::Rgb, png::BitDepth::Eight, &data)
}

/// Red, green and blue of every pixel of a PNG.
fn rgb(answer: &Answer) -> Result<Vec<[u8; 3]>> {
    anyhow::ensure!(answer.status == 200, "{} {}", answer.status, answer.json());
    let mut decoder = png::Decoder::new(std::io::Cursor::new(&answer.body));
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info()?;
    let mut pixels = vec![0; reader.output_buffer_size().unwrap_or_default()];
    let frame = reader.next_frame(&mut pixels)?;
    let channels = frame.color_type.samples();
    let color = |pixel: &[u8]| match pixel {
        [grey] | [grey, _] => [*grey; 3],
        [r, g, b, ..] => [*r, *g, *b],
        [] => [0; 3],
    };
    Ok(pixels.chunks_exact(channels).map(color).collect())
}

fn problem(answer: &Answer) -> (u16, String, String) {
    let document = answer.json();
    let text = |name: &str| {
        document
            .get(name)
            .and_then(|value| value.as_str())
            .unwrap_or_default()
            .to_owned()
    };
    (answer.status, text("code"), text("detail"))
}

#[test]
fn a_text_is_written_over_a_picture() -> Result<()> {
    let site = Site::fresh()?;
    let id = site.upload(&plain(200, 100, [0, 0, 0]))?;
    let text = URL_SAFE_NO_PAD.encode("Grüße, Мир");
    let answer = site.image(
        &format!("draw=t:{text};width=0.9;color=%23f28c28,format=png"),
        &format!("u/{id}"),
    )?;
    let pixels = rgb(&answer)?;
    assert!(pixels.contains(&[0xf2, 0x8c, 0x28]) && pixels.contains(&[0; 3]));
    // Another text is another rendering.
    let other = site.image("draw=t:QQ;width=0.9;color=%23f28c28,format=png", &format!("u/{id}"))?;
    assert_ne!((other.status, other.body), (200, answer.body));
    let broken = site.image("draw=t:%2B%2B,format=png", &format!("u/{id}"))?;
    assert_eq!(problem(&broken).1, "bad-options");
    Ok(())
}

#[test]
fn an_upload_is_drawn_over_another_one() -> Result<()> {
    let site = Site::fresh()?;
    let picture = site.upload(&plain(100, 60, [0, 0, 255]))?;
    let logo = site.upload(&plain(10, 10, [255, 0, 0]))?;
    let source = format!("u/{picture}");
    let made = site.image(&format!("draw=u:{logo};gravity=bottom-right,format=png"), &source)?;
    let pixels = rgb(&made)?;
    assert_eq!(
        (pixels[0], pixels[59 * 100 + 99], pixels[49 * 100 + 89]),
        ([0, 0, 255], [255, 0, 0], [0, 0, 255])
    );
    assert_eq!(pixels.iter().filter(|pixel| **pixel == [255, 0, 0]).count(), 100);
    // A document is a picture, too.
    let drawn = site.upload(samples::svg(40, 30).as_bytes())?;
    let made = site.image(&format!("draw=u:{drawn};width=100;fit=contain,format=png"), &source)?;
    assert_ne!(rgb(&made)?[30 * 100 + 50], [0, 0, 255]);
    Ok(())
}

#[test]
fn what_is_wrong_with_an_overlay_is_said_of_it() -> Result<()> {
    let site = Site::fresh()?;
    let id = site.upload(&plain(20, 20, [0, 0, 255]))?;
    let missing = "6f1c1b9e-7c0a-4d8e-9d51-0b8f5a1f2e3d";
    let answer = site.image(&format!("draw=u:{missing},format=png"), &format!("u/{id}"))?;
    let (status, code, detail) = problem(&answer);
    assert_eq!((status, code.as_str()), (404, "source-not-found"));
    assert!(detail.contains(&format!("draw=u:{missing}")), "{detail}");
    let answer = site.image("draw=u:logo,format=png", &format!("u/{id}"))?;
    assert_eq!((answer.status, problem(&answer).1.as_str()), (400, "bad-options"));
    // Another tenant's picture is nobody's.
    let other = Site::fresh()?.upload(&plain(20, 20, [255, 0, 0]))?;
    let answer = site.image(&format!("draw=u:{other},format=png"), &format!("u/{id}"))?;
    assert_eq!((answer.status, problem(&answer).1.as_str()), (404, "source-not-found"));
    Ok(())
}

#[test]
fn the_watermark_is_the_tenant_s_and_so_is_its_rendering() -> Result<()> {
    let site = Site::fresh()?;
    let id = site.upload(&plain(300, 200, [0, 0, 0]))?;
    let marked = || site.image("branding=true,format=png", &format!("u/{id}"));
    let plain = rgb(&marked()?)?;
    assert!(plain.iter().all(|pixel| *pixel == [0; 3]));
    site.settle(json!({ "watermarkText": "Warung Kado", "watermarkColor": "#00ff00" }))?;
    let pixels = rgb(&marked()?)?;
    let (left, right): (Vec<_>, Vec<_>) = (0..pixels.len()).partition(|index| index % 300 < 150);
    assert!(left.iter().all(|index| pixels[*index] == [0; 3]));
    assert!(right.iter().any(|index| pixels[*index][1] > 200));
    let without = site.image("branding=false,format=png", &format!("u/{id}"))?;
    assert_eq!(rgb(&without)?, plain);
    Ok(())
}

#[test]
fn a_document_becomes_a_picture_of_any_size_or_a_harmless_document() -> Result<()> {
    let site = Site::fresh()?;
    let id = site.upload(samples::svg(120, 90).as_bytes())?;
    let made = site.image("width=480,fit=contain", &format!("u/{id}"))?;
    assert_eq!(
        (made.status, made.header("content-type")),
        (200, Some("image/png")),
        "{}",
        made.json()
    );
    assert_eq!(pictures::size(&made.body)?, (480, 360));
    let clean = site.image("format=svg", &format!("u/{id}"))?;
    assert_eq!(
        (clean.status, clean.header("content-type")),
        (200, Some("image/svg+xml")),
        "{}",
        clean.json()
    );
    let text = String::from_utf8(clean.body.clone())?;
    assert!(
        text.starts_with("<svg xmlns=") && !text.contains("script") && !text.contains("DOCTYPE"),
        "{text}"
    );
    assert!(
        clean
            .header("content-security-policy")
            .is_some_and(|policy| policy.contains("sandbox"))
    );
    let laughs = format!("<!DOCTYPE svg [<!ENTITY a \"ha\">]>{text}");
    let bomb = site.upload(laughs.as_bytes())?;
    assert_eq!(
        problem(&site.image("width=40", &format!("u/{bomb}"))?).1,
        "unsupported-format"
    );
    let photo = site.upload(&pictures::photo_jpeg(40, 40))?;
    let answer = site.image("format=svg", &format!("u/{photo}"))?;
    assert_eq!(
        (answer.status, problem(&answer).1.as_str()),
        (415, "unsupported-format")
    );
    Ok(())
}
