//! The lanes: whichever makes a picture, the Worker's WebAssembly or the native engine, its bytes are the same.

use anyhow::{Result, ensure};
use kado_imaging::samples::{self, AvifSample, AvifSampling, JpegColor, JpegSample};
use kado_imaging::{
    ClientHints, Codecs, Encoders, ImageOptions, Limits, NativeCodecs, WebpSettings, negotiate, process,
};
use kado_tests::{Site, crowd};
use png::{BitDepth, ColorType};
use serde_json::json;

/// Odd sides: every kernel has pixels left over behind its last whole vector, and every JPEG blocks over its edges.
const WIDTH: u16 = 333;
const HEIGHT: u16 = 251;
/// Requests at the same time.
const CLIENTS: usize = 4;

/// What each source is asked for.
const OPTIONS: [&str; 20] = [
    "format=png",
    "width=100,format=png",
    "width=41,format=png",
    "width=97,height=55,fit=cover,gravity=0.3x0.7,format=png",
    "width=140,height=140,fit=pad,background=red,format=png",
    "width=120,height=31,fit=squeeze,flip=h,rotate=90,format=png",
    "width=150,sharpen=1.5,gamma=1.4,brightness=1.1,contrast=0.9,saturation=1.3,format=png",
    "width=160,border=3:red,trim=7;5;3;9,format=png",
    "width=120,blur=7,filter=lofi,format=png",
    "width=99,filter=oil,format=png",
    "width=80,height=80,fit=cover,gravity=auto,format=png",
    "width=150,draw=t:S2Fkbwrimq0;width=0.6;opacity=0.7;color=%23f28c28;repeat=y,format=png",
    "width=120,max-bytes=3000,format=jpeg",
    "width=150,format=png,quality=40",
    "width=500,fit=contain,format=jpeg",
    "width=170,format=jpeg",
    "width=170,quality=95,format=baseline-jpeg",
    "width=170,quality=40,format=jpeg",
    "width=131,format=webp",
    "width=90,height=90,fit=crop,quality=50,format=webp",
];

fn jpegs() -> Vec<(&'static str, Vec<u8>)> {
    let of = |color, progressive_scans, restart_interval, orientation| {
        let sample = JpegSample {
            color,
            progressive_scans,
            restart_interval,
            orientation,
            ..JpegSample::default()
        };
        sample.encode(WIDTH, HEIGHT)
    };
    let full = JpegColor::Color(1, 1);
    let half = JpegColor::Color(2, 2);
    vec![
        ("JPEG 4:2:0", of(half, 0, 0, 0)),
        ("JPEG 4:2:2", of(JpegColor::Color(2, 1), 0, 0, 0)),
        ("JPEG 4:4:4", of(full, 0, 0, 0)),
        ("JPEG grey", of(JpegColor::Grey, 0, 0, 0)),
        ("JPEG CMYK", of(JpegColor::Cmyk, 0, 0, 0)),
        ("JPEG with restarts, lying on its side", of(half, 0, 5, 6)),
        ("JPEG 4:2:0 progressive", of(half, 4, 0, 0)),
        ("JPEG 4:4:4 progressive", of(full, 10, 0, 0)),
        ("JPEG grey progressive", of(JpegColor::Grey, 4, 0, 0)),
    ]
}

fn others() -> Result<Vec<(&'static str, Vec<u8>)>> {
    let (width, height) = (u32::from(WIDTH), u32::from(HEIGHT));
    let png = |color, depth, data: &[u8]| samples::png_of(width, height, color, depth, data);
    let rgb = samples::scene(width, height);
    let grey: Vec<u8> = rgb.chunks_exact(3).map(|pixel| pixel[1]).collect();
    let deep: Vec<u8> = rgb
        .windows(2)
        .flatten()
        .copied()
        .take(rgb.len() * 2 - 2)
        .chain([1, 2])
        .collect();
    let rgba = samples::scene_rgba(width, height);
    let lossy = NativeCodecs.webp(&rgba, width, height, &WebpSettings::default())?;
    Ok(vec![
        ("PNG RGB", samples::png_rgb(width, height)),
        ("PNG RGBA", samples::png_rgba(width, height)),
        ("PNG grey", png(ColorType::Grayscale, BitDepth::Eight, &grey)),
        ("PNG palette", png(ColorType::Indexed, BitDepth::Eight, &grey)),
        ("PNG 16 bits", png(ColorType::Rgb, BitDepth::Sixteen, &deep)),
        ("BMP", samples::bmp(width, height)),
        ("TIFF", samples::tiff(width, height)),
        ("GIF, its first frame", samples::gif(WIDTH, HEIGHT, 1)),
        ("WebP lossless", samples::webp_lossless(width, height, false)),
        ("WebP lossless with alpha", samples::webp_lossless(width, height, true)),
        ("WebP lossy with alpha", lossy),
    ])
}

/// What the native engine makes of it, in this process.
fn natively(source: &[u8], options: &str) -> Result<Vec<u8>> {
    let options = ImageOptions::parse(options).map_err(|errors| anyhow::anyhow!("{errors:?}"))?;
    let encoders = Encoders {
        webp: true,
        avif: false,
    };
    let resolved = negotiate(options, &ClientHints::default(), encoders).resolved;
    let output = process(&source.to_vec(), &resolved, &Limits::EDGE, &NativeCodecs, &|| false)?;
    Ok(output.bytes)
}

/// The same bytes; of WebP with transparency the same pixels. libwebp's lossless coder, which writes the alpha plane,
/// weighs its choices by logarithms, and those of two C libraries may differ in the last bit.
fn is_same(worker: &[u8], native: &[u8]) -> Result<bool> {
    let has_alpha_plane = |file: &[u8]| file.get(30..34) == Some(b"ALPH");
    Ok(if has_alpha_plane(worker) && has_alpha_plane(native) {
        natively(worker, "format=png")? == natively(native, "format=png")?
    } else {
        worker == native
    })
}

/// How two answers differ, for a person.
fn difference(worker: &[u8], native: &[u8]) -> String {
    let at = worker.iter().zip(native).position(|(worker, native)| worker != native);
    format!(
        "{} bytes from the Worker, {} natively, first difference at {at:?}",
        worker.len(),
        native.len()
    )
}

/// Every pair that differs, over all options.
fn differences(site: &Site, name: &str, source: &[u8], all: &[&str]) -> Result<Vec<String>> {
    let id = site.upload(source)?;
    let mut found = Vec::new();
    for options in all.chunks(CLIENTS) {
        let answers = crowd(options.len(), |index| site.image(options[index], &format!("u/{id}")))?;
        for (options, answer) in options.iter().zip(answers) {
            ensure!(answer.status == 200, "{name}, {options}: {}", answer.json());
            let native = natively(source, options)?;
            if !is_same(&answer.body, &native)? {
                found.push(format!("{name}, {options}: {}", difference(&answer.body, &native)));
            }
        }
    }
    Ok(found)
}

/// A site that limits nobody.
fn settled() -> Result<Site> {
    let site = Site::fresh()?;
    let plenty = json!({ "quota": 100_000, "windowSeconds": 60, "mode": "fast" });
    site.settle(json!({ "limitImages": plenty, "limitTransform": plenty }))?;
    Ok(site)
}

fn assert_same(sources: &[(&str, Vec<u8>)]) -> Result<()> {
    assert_same_of(sources, &OPTIONS)
}

fn assert_same_of(sources: &[(&str, Vec<u8>)], options: &[&str]) -> Result<()> {
    let site = settled()?;
    let mut found = Vec::new();
    for (name, source) in sources {
        found.extend(differences(&site, name, source, options)?);
    }
    assert!(found.is_empty(), "{} differ:\n{}", found.len(), found.join("\n"));
    Ok(())
}

#[test]
fn the_worker_and_the_native_engine_make_the_same_bytes_of_jpegs() -> Result<()> {
    assert_same(&jpegs())
}

#[test]
fn the_worker_and_the_native_engine_make_the_same_bytes_of_pngs_and_webps() -> Result<()> {
    assert_same(&others()?)
}

fn avifs() -> Vec<(&'static str, Vec<u8>)> {
    let (width, height) = (u32::from(WIDTH), u32::from(HEIGHT));
    let sample = |sampling, depth, full_range, alpha, grid| {
        let sample = AvifSample {
            sampling,
            depth,
            full_range,
            matrix: if full_range { 6 } else { 9 },
            alpha,
            grid,
            turned: u8::from(alpha),
            ..AvifSample::default()
        };
        sample.encode(width, height)
    };
    vec![
        ("AVIF 4:2:0", sample(AvifSampling::Quarter, 8, true, false, (1, 1))),
        (
            "AVIF 4:2:2 of 12 bits",
            sample(AvifSampling::Half, 12, false, false, (1, 1)),
        ),
        (
            "AVIF 4:4:4 of 10 bits with alpha",
            sample(AvifSampling::Full, 10, false, true, (1, 1)),
        ),
        ("AVIF grey", sample(AvifSampling::Grey, 8, true, false, (1, 1))),
        (
            "AVIF grid with alpha",
            sample(AvifSampling::Quarter, 8, true, true, (2, 2)),
        ),
    ]
}

#[test]
fn the_worker_and_the_native_engine_make_the_same_bytes_of_avifs() -> Result<()> {
    let sources = avifs();
    // Not as AVIF, which the lanes write by different encoders.
    assert_same_of(
        &sources,
        &[
            "width=60,format=png",
            "format=jpeg,quality=80",
            "width=40,height=40,fit=cover,format=webp",
        ],
    )
}

#[test]
fn a_damaged_avif_is_no_other_picture_s_fault() -> Result<()> {
    let site = settled()?;
    let (_, whole) = avifs().swap_remove(0);
    let whole_id = site.upload(&whole)?;
    let expected = natively(&whole, "width=60,format=png")?;
    for at in [whole.len() - 200, whole.len() - 100, whole.len() - 40] {
        let mut damaged = whole.clone();
        damaged[at..at + 16].fill(0xa5);
        let id = site.upload(&damaged)?;
        let answer = site.image("width=60,format=png", &format!("u/{id}"))?;
        assert!(
            matches!(answer.status, 200 | 422),
            "{}: {}",
            answer.status,
            answer.json()
        );
    }
    let answer = site.image("width=60,format=png", &format!("u/{whole_id}"))?;
    assert_eq!((answer.status, &answer.body), (200, &expected));
    Ok(())
}

/// Pixels of a PNG, all of a kind.
fn pixels(png: &[u8]) -> Result<Vec<u8>> {
    let mut decoder = png::Decoder::new(std::io::Cursor::new(png));
    decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::ALPHA);
    let mut reader = decoder.read_info()?;
    let mut pixels = vec![0; reader.output_buffer_size().unwrap_or_default()];
    reader.next_frame(&mut pixels)?;
    Ok(pixels)
}

/// The renderer of documents turns and scales by functions of each lane's own library: what it draws may differ by one
/// step where a shape's edge lies just between two.
#[test]
fn the_worker_and_the_native_engine_draw_documents_within_a_step() -> Result<()> {
    let site = settled()?;
    let source = samples::svg(u32::from(WIDTH), u32::from(HEIGHT)).into_bytes();
    let id = site.upload(&source)?;
    for options in OPTIONS.iter().filter(|options| options.ends_with("format=png")) {
        let answer = site.image(options, &format!("u/{id}"))?;
        ensure!(answer.status == 200, "{options}: {}", answer.json());
        let (worker, native) = (pixels(&answer.body)?, pixels(&natively(&source, options)?)?);
        assert_eq!(worker.len(), native.len(), "{options}");
        // What comes after it (sharpening, filters) makes a step larger.
        let most = if options.contains("sharpen") || options.contains("filter") {
            8
        } else {
            1
        };
        let apart = worker
            .iter()
            .zip(&native)
            .map(|(worker, native)| worker.abs_diff(*native))
            .max();
        assert!(apart <= Some(most), "{options}: {apart:?} steps");
    }
    let clean = site.image("format=svg", &format!("u/{id}"))?;
    assert_eq!(clean.body, natively(&source, "format=svg")?);
    Ok(())
}

#[test]
fn the_worker_and_the_native_engine_make_the_same_animations() -> Result<()> {
    let site = settled()?;
    let source = samples::gif(WIDTH, HEIGHT, 3);
    let id = site.upload(&source)?;
    let mut found = Vec::new();
    for options in [
        "width=60",
        "width=60,format=webp",
        "width=40,height=40,fit=pad,format=gif",
    ] {
        let answer = site.image(options, &format!("u/{id}"))?;
        ensure!(answer.status == 200, "{options}: {}", answer.json());
        let native = natively(&source, options)?;
        if answer.body != native {
            found.push(format!("{options}: {}", difference(&answer.body, &native)));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    Ok(())
}
