use super::*;
use crate::samples::{self, JpegColor, JpegSample};
use crate::source::Forgetful;
use crate::{CodecError, NoCodecs, WebpSettings};
use core::cell::RefCell;

mod found;

const FITS: [&str; 8] = [
    "scale-down",
    "contain",
    "cover",
    "crop",
    "aspect-crop",
    "pad",
    "squeeze",
    "scale-up",
];

fn run(bytes: &[u8], options: &str) -> Result<Output, ImageError> {
    process(
        &bytes.to_vec(),
        &Resolved::parse(options).unwrap(),
        &Limits::EDGE,
        &NoCodecs,
        &|| false,
    )
}

fn ok(bytes: &[u8], options: &str) -> Output {
    run(bytes, options).unwrap_or_else(|error| panic!("{options}: {error}"))
}

/// An answer's pixels.
fn pixels(output: &Output) -> Raster {
    let source = output.bytes.clone();
    let info = probe(&source, &Limits::EDGE).unwrap();
    assert_eq!(
        (info.format, info.width, info.height),
        (output.format, output.width, output.height)
    );
    let plan = plan(&info, &Resolved::parse("format=png").unwrap(), &Limits::EDGE).unwrap();
    decode_whole(&Job {
        source: &source,
        plan: &plan,
        limits: &Limits::EDGE,
        codecs: &crate::NativeCodecs,
        cancel: &|| false,
        observe: &|_| (),
        overlays: &Overlays::default(),
    })
    .unwrap()
}

fn psnr(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    let error: f64 = a
        .iter()
        .zip(b)
        .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
        .sum::<f64>()
        / a.len() as f64;
    10.0 * (255.0 * 255.0 / error.max(1e-9)).log10()
}

/// Lanczos3 in floating point over a whole picture, RGB: nothing of it is shared with what is tested.
fn reference(rgb: &[u8], from: (usize, usize), to: (usize, usize)) -> Vec<u8> {
    let sinc = |x: f64| {
        if x == 0.0 {
            1.0
        } else {
            (std::f64::consts::PI * x).sin() / (std::f64::consts::PI * x)
        }
    };
    let weights = |from: usize, to: usize| -> Vec<Vec<(usize, f64)>> {
        let ratio = from as f64 / to as f64;
        let stretch = ratio.max(1.0);
        (0..to)
            .map(|index| {
                let center = (index as f64 + 0.5) * ratio;
                let taps: Vec<(usize, f64)> = (0..from)
                    .map(|at| (at, (at as f64 + 0.5 - center) / stretch))
                    .filter(|(_, x)| x.abs() < 3.0)
                    .map(|(at, x)| (at, sinc(x) * sinc(x / 3.0)))
                    .collect();
                let sum: f64 = taps.iter().map(|(_, weight)| weight).sum();
                taps.into_iter().map(|(at, weight)| (at, weight / sum)).collect()
            })
            .collect()
    };
    let (columns, rows) = (weights(from.0, to.0), weights(from.1, to.1));
    let mut wide = vec![0.0; to.0 * from.1 * 3];
    for y in 0..from.1 {
        for (x, taps) in columns.iter().enumerate() {
            for channel in 0..3 {
                wide[(y * to.0 + x) * 3 + channel] = taps
                    .iter()
                    .map(|(at, weight)| weight * f64::from(rgb[(y * from.0 + at) * 3 + channel]))
                    .sum();
            }
        }
    }
    let mut result = vec![0; to.0 * to.1 * 3];
    for (y, taps) in rows.iter().enumerate() {
        for index in 0..to.0 * 3 {
            let value: f64 = taps
                .iter()
                .map(|(at, weight)| weight * wide[at * to.0 * 3 + index])
                .sum();
            result[y * to.0 * 3 + index] = (value + 0.5) as u8;
        }
    }
    result
}

#[test]
fn resampling_equals_the_float_reference() {
    let (width, height) = (613, 407);
    let png = samples::png_rgb(width, height);
    let scene = samples::scene(width, height);
    for (options, to) in [
        ("width=200", (200, 133)),
        ("width=599,height=391,fit=squeeze", (599, 391)),
        ("width=900,fit=contain", (900, 598)),
        ("width=31", (31, 21)),
    ] {
        let result = pixels(&ok(&png, options));
        let expected = reference(&scene, (width as usize, height as usize), to);
        let score = psnr(&result.data, &expected);
        assert!(score > 50.0, "{options}: {score:.1} dB");
    }
}

#[test]
fn shrinking_on_load_stays_close_to_the_reference() {
    let sample = JpegSample {
        quality: 95,
        color: JpegColor::Color(1, 1),
        ..JpegSample::default()
    };
    let jpeg = sample.encode(1600, 1200);
    let full = pixels(&ok(&jpeg, "format=png,metadata=none"));
    for (width, height, least) in [
        (800, 600, 33.0),
        (400, 300, 33.0),
        (200, 150, 33.0),
        (190, 143, 33.0),
        (90, 68, 38.0),
    ] {
        let result = pixels(&ok(
            &jpeg,
            &format!("width={width},height={height},fit=squeeze,format=png"),
        ));
        let score = psnr(&result.data, &reference(&full.data, (1600, 1200), (width, height)));
        assert!(score > least, "{width}: {score:.1} dB");
    }
}

#[test]
fn all_orientations_give_the_same_upright_picture() {
    let upright = samples::scene(96, 64);
    for fit in FITS {
        let options = format!("width=40,height=40,fit={fit},format=png,gravity=top-left");
        let expected = pixels(&ok(
            &JpegSample {
                quality: 100,
                color: JpegColor::Color(1, 1),
                ..JpegSample::default()
            }
            .encode_pixels(&upright, 96, 64),
            &options,
        ));
        for value in 1..=8 {
            let orientation = Orientation::from_exif(value);
            // Stored so that EXIF's turn makes it upright: each turn has one that undoes it.
            let undo = (1..=8)
                .map(Orientation::from_exif)
                .find(|undo| undo.then(orientation) == Orientation::UPRIGHT)
                .unwrap();
            let raster = Raster::from_data(96, 64, crate::pixels::Channels::Rgb, upright.clone()).unwrap();
            let stored = turn(raster, undo).unwrap();
            let sample = JpegSample {
                quality: 100,
                color: JpegColor::Color(1, 1),
                orientation: value,
                ..JpegSample::default()
            };
            let jpeg = sample.encode_pixels(&stored.data, stored.width as u16, stored.height as u16);
            let result = pixels(&ok(&jpeg, &options));
            assert_eq!(
                (result.width, result.height),
                (expected.width, expected.height),
                "{fit}, orientation {value}"
            );
            let score = psnr(&result.data, &expected.data);
            assert!(score > 40.0, "{fit}, orientation {value}: {score:.1} dB");
        }
    }
}

#[test]
fn rotate_and_flip_turn_what_the_viewer_sees() {
    let png = samples::png_rgb(30, 20);
    let plain = pixels(&ok(&png, ""));
    for (options, value) in [
        ("rotate=90", 6),
        ("rotate=180", 3),
        ("rotate=270", 8),
        ("flip=h", 2),
        ("flip=v", 4),
        ("flip=hv", 3),
        ("flip=h,rotate=90", 7),
    ] {
        let expected = turn(plain.clone(), Orientation::from_exif(value)).unwrap();
        assert_eq!(pixels(&ok(&png, options)), expected, "{options}");
    }
}

#[test]
fn blur_is_of_the_answer_and_spares_the_padding() {
    let png = samples::png_rgb(120, 90);
    let mut expected = pixels(&ok(&png, "width=60"));
    blur(&mut expected, 2.5, &|| false).unwrap();
    assert_eq!(pixels(&ok(&png, "width=60,blur=5")), expected);
    let padded = pixels(&ok(&png, "width=60,height=60,fit=pad,blur=40,background=red"));
    assert_eq!(padded.data[..60 * 3 * 7], [255, 0, 0].repeat(60 * 7));
}

#[test]
fn extreme_shapes_come_out() {
    for (width, height) in [(1u32, 1u32), (1, 999), (999, 1), (3, 2), (17, 8)] {
        let png = samples::png_rgba(width, height);
        let jpeg = JpegSample::default().encode(width as u16, height as u16);
        for fit in FITS {
            for options in [
                format!("width=7,height=5,fit={fit}"),
                format!("height=3,fit={fit}"),
                format!("width=1,fit={fit}"),
            ] {
                for bytes in [&png, &jpeg] {
                    let output = ok(bytes, &options);
                    pixels(&output);
                }
            }
        }
    }
}

#[test]
fn alpha_survives_png_and_lies_on_white_in_jpeg() {
    let png = samples::png_rgba(120, 90);
    let small = pixels(&ok(&png, "width=60"));
    assert_eq!(small.channels, crate::pixels::Channels::Rgba);
    assert_eq!((small.data[3], small.data[(22 * 60 + 30) * 4 + 3]), (0, 255));
    let flat = pixels(&ok(&png, "width=60,format=jpeg,quality=95"));
    assert!(flat.data[..3].iter().all(|value| *value > 250), "{:?}", &flat.data[..3]);
    let red = pixels(&ok(&png, "width=60,format=png,background=red"));
    assert_eq!(red.data[..3], [255, 0, 0]);
    let padded = pixels(&ok(
        &png,
        "width=60,height=60,fit=pad,background=%2300ff0080,format=png",
    ));
    assert_eq!(padded.data[..4], [0, 255, 0, 128]);
}

#[test]
fn png_of_few_colours_gets_a_palette_and_keeps_its_pixels() {
    let stripes: Vec<u8> = (0..64 * 64)
        .flat_map(|index| [[200, 30, 30], [30, 30, 200], [250, 250, 250]][index / 8 % 3])
        .collect();
    let png = samples::png_of(64, 64, png::ColorType::Rgb, png::BitDepth::Eight, &stripes);
    let output = ok(&png, "");
    assert_eq!(output.bytes[25], 3, "colour type of IHDR");
    assert_eq!(pixels(&output).data, stripes);
}

#[test]
fn jpeg_is_progressive_in_its_range_only() {
    let progressive = |width: u16, height: u16, options: &str| {
        let output = ok(&JpegSample::default().encode(width, height), options);
        probe(&output.bytes, &Limits::EDGE).unwrap().progressive
    };
    assert!(!progressive(49, 50, ""));
    assert!(progressive(50, 50, ""));
    assert!(!progressive(200, 200, "format=baseline-jpeg"));
    assert!(!progressive(200, 200, "compression=fast"));
}

#[test]
fn facts_say_what_it_is_and_not_where_it_was() {
    let jpeg = JpegSample {
        orientation: 6,
        ..JpegSample::default()
    }
    .encode(80, 60);
    let output = ok(&jpeg, "format=json,width=30");
    let facts: serde_json::Value = serde_json::from_slice(&output.bytes).unwrap();
    assert_eq!(
        facts,
        serde_json::json!({
            "width": 30, "height": 40,
            "original": {
                "width": 80, "height": 60, "format": "image/jpeg", "bytes": jpeg.len(), "frames": 1, "orientation": 6,
                "colorProfile": false, "alpha": false, "bitDepth": 8, "components": 3, "progressive": false,
            },
        })
    );
}

#[test]
fn placeholders_are_texts_of_what_the_options_would_give() {
    let png = samples::png_rgba(300, 200);
    let small = pixels(&ok(&png, "width=100,format=png,background=white"));
    let output = ok(&png, "format=blurhash,blur=200,width=299");
    assert_eq!(
        (output.width, output.height, output.format.media_type()),
        (100, 66, "text/plain; charset=utf-8")
    );
    let direct = placeholder::blurhash(&small).unwrap();
    assert_eq!(output.bytes.len(), direct.len());
    assert_eq!(output.bytes[..1], direct.as_bytes()[..1]);
    let hashed = |options: &str| String::from_utf8(ok(&png, options).bytes).unwrap();
    assert_ne!(hashed("format=thumbhash"), hashed("format=thumbhash,flip=h"));
    assert_ne!(hashed("format=thumbhash"), hashed("format=thumbhash,background=red"));
    assert_eq!(
        hashed("format=thumbhash"),
        hashed("format=thumbhash,width=250,fit=contain")
    );
    let portrait = ok(&png, "format=thumbhash,width=60,height=200,fit=pad,border=5:red");
    assert_eq!((portrait.width, portrait.height), (32, 99));
}

/// Remembers what it was asked for.
struct Recorder(RefCell<Vec<(usize, u32, u32, WebpSettings)>>);

impl Codecs for Recorder {
    fn webp(&self, rgba: &[u8], width: u32, height: u32, settings: &WebpSettings) -> Result<Vec<u8>, CodecError> {
        self.0.borrow_mut().push((rgba.len(), width, height, *settings));
        Ok(b"RIFF".to_vec())
    }
}

#[test]
fn webp_is_the_caller_s_to_encode() {
    let recorder = Recorder(RefCell::default());
    let jpeg = JpegSample {
        color: JpegColor::Grey,
        ..JpegSample::default()
    }
    .encode(80, 60);
    let resolved = Resolved::parse("format=webp,width=40,quality=90").unwrap();
    let output = process(&jpeg, &resolved, &Limits::EDGE, &recorder, &|| false).unwrap();
    assert_eq!(
        (output.bytes.as_slice(), output.format),
        (b"RIFF".as_slice(), Format::WebP)
    );
    let asked = recorder.0.into_inner();
    assert_eq!(
        asked,
        [(
            40 * 30 * 4,
            40,
            30,
            WebpSettings {
                quality: 93.0,
                ..WebpSettings::default()
            }
        )]
    );
    let missing = run(&jpeg, "format=webp").unwrap_err();
    assert_eq!(
        (missing.code(), missing),
        ("internal", ImageError::Codec(CodecError::Missing("webp")))
    );
}

#[test]
fn settings_have_the_module_s_names() {
    let json = serde_json::to_value(WebpSettings::default()).unwrap();
    assert_eq!(json["target_PSNR"], 0.0);
    assert_eq!(json.as_object().unwrap().len(), 27);
}

#[test]
fn cancelling_is_asked_between_stages() {
    let png = samples::png_rgb(20, 20);
    let resolved = Resolved::parse("width=10").unwrap();
    let result = process(&png, &resolved, &Limits::EDGE, &NoCodecs, &|| true);
    assert_eq!(result, Err(ImageError::Cancelled));
}

#[cfg(feature = "native-codecs")]
#[test]
fn no_format_passes_its_bytes() {
    let png = samples::png_rgb(160, 120);
    for format in ["jpeg", "webp", "png"] {
        for most in [900u64, 1_500, 4_000, 9_000, 1_000_000] {
            let resolved = Resolved::parse(&format!("format={format},max-bytes={most}")).unwrap();
            let output = process(&png, &resolved, &Limits::EDGE, &crate::NativeCodecs, &|| false)
                .unwrap_or_else(|error| panic!("{format} in {most}: {error}"));
            assert!(output.bytes.len() as u64 <= most, "{format} in {most}");
            pixels(&output);
            // What quality can do, it does before the size is touched.
            assert!(
                output.width == 160 || format == "png" || most < 4_000,
                "{format} in {most}: {}",
                output.width
            );
        }
    }
    for (options, least) in [("format=png,max-bytes=40", 41), ("format=json,max-bytes=40", 100)] {
        match run(&png, options).unwrap_err() {
            ImageError::TooLarge {
                what: crate::LimitKind::OutputBytes,
                limit: 40,
                value,
            } => assert!(value >= least),
            other => panic!("{options}: {other}"),
        }
    }
}

#[cfg(feature = "native-codecs")]
#[test]
fn webp_keeps_picture_and_alpha() {
    let png = samples::png_rgba(120, 90);
    let resolved = Resolved::parse("format=webp,width=60").unwrap();
    let output = process(&png, &resolved, &Limits::EDGE, &crate::NativeCodecs, &|| false).unwrap();
    let result = pixels(&output);
    let expected = pixels(&ok(&png, "format=png,width=60"));
    let visible = |raster: &Raster| {
        raster
            .data
            .chunks(4)
            .filter(|pixel| pixel[3] == 255)
            .flat_map(|pixel| pixel[..3].to_vec())
            .collect::<Vec<_>>()
    };
    let alphas = |raster: &Raster| raster.data.chunks(4).map(|pixel| pixel[3]).collect::<Vec<_>>();
    assert_eq!(alphas(&result), alphas(&expected));
    let score = psnr(&visible(&result), &visible(&expected));
    assert!(score > 28.0, "{score:.1} dB");
}

#[test]
fn an_observer_hears_of_each_stage_in_order() {
    let png = samples::png_rgb(20, 20);
    let resolved = Resolved::parse("width=10").unwrap();
    let plan = plan(&probe(&png, &Limits::EDGE).unwrap(), &resolved, &Limits::EDGE).unwrap();
    let heard = RefCell::new(Vec::new());
    let observe = |stage| heard.borrow_mut().push(stage);
    let observed = transform_observed(&png, &plan, &Limits::EDGE, &NoCodecs, &|| false, &observe).unwrap();
    let heard = heard.into_inner();
    assert_eq!(
        (heard.first(), heard.last()),
        (Some(&Stage::Decode), Some(&Stage::Encode))
    );
    // Rows are resized as they are decoded; from there on each stage comes once.
    let streamed = heard.iter().take_while(|stage| **stage < Stage::Turn).count();
    let in_turns = heard.iter().zip([Stage::Decode, Stage::Resample].iter().cycle());
    assert!(in_turns.take(streamed).all(|(heard, turn)| heard == turn), "{heard:?}");
    assert!(
        streamed > 2 && heard[streamed - 1..].is_sorted_by(|earlier, later| earlier < later),
        "{heard:?}"
    );
    assert_eq!(observed, ok(&png, "width=10"));
}

#[test]
fn a_jpeg_of_planes_shows_what_its_pixels_would() {
    for (chroma, size) in [((2, 2), (333, 251)), ((1, 1), (400, 300)), ((2, 1), (97, 301))] {
        let sample = JpegSample {
            color: JpegColor::Color(chroma.0, chroma.1),
            ..JpegSample::default()
        };
        let source = sample.encode(size.0, size.1);
        for options in [
            "width=75",
            "width=61,height=47,fit=cover",
            "width=200,quality=95",
            "width=33,height=90,fit=squeeze",
        ] {
            let made = ok(&source, &format!("{options},format=jpeg"));
            let wanted = ok(&source, &format!("{options},format=png"));
            assert_eq!((made.width, made.height), (wanted.width, wanted.height));
            let score = psnr(&pixels(&made).data, &pixels(&wanted).data);
            assert!(score > 27.0, "{chroma:?} {options}: {score:.1} dB");
        }
    }
}

#[test]
fn a_document_whose_pixels_are_looked_at_is_read_twice_before_it_is_released() {
    let bytes =
        br##"<svg xmlns="http://www.w3.org/2000/svg" width="90" height="60"><rect width="90" height="60" fill="#fff"/>
        <circle cx="30" cy="20" r="10" fill="#c00"/></svg>"##
            .to_vec();
    for (options, size) in [
        ("trim=border,format=png", (20, 20)),
        ("width=40,height=40,fit=cover,gravity=auto,format=png", (40, 40)),
    ] {
        let whole = ok(&bytes, options);
        let source = Forgetful::new(bytes.clone());
        let resolved = Resolved::parse(options).unwrap();
        let answer = process(&source, &resolved, &Limits::EDGE, &NoCodecs, &|| false).unwrap();
        assert_eq!(answer, whole, "{options}");
        assert_eq!((answer.width, answer.height), size, "{options}");
        let raster = pixels(&answer);
        let red = raster
            .data
            .chunks_exact(raster.channels.count())
            .any(|pixel| pixel[0] > 190 && pixel[1] < 10);
        assert!(red, "{options}");
    }
}
