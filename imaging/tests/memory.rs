//! What plans foresee, against what is taken: never less, and seldom twice as much.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use kado_imaging::samples::{self, JpegColor, JpegSample};
use kado_imaging::{ImageError, LimitKind, Limits, NativeCodecs, Plan, Resolved, plan, probe, transform};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

fn jpeg(color: JpegColor, progressive: bool) -> Vec<u8> {
    let sample = JpegSample {
        color,
        progressive_scans: if progressive { 6 } else { 0 },
        ..JpegSample::default()
    };
    sample.encode(2400, 1800)
}

/// More lines than most pictures have, and hardly a column.
fn tall_gif() -> Vec<u8> {
    let frame = gif::Frame {
        width: 54,
        height: 9000,
        transparent: Some(0),
        buffer: vec![1; 54 * 9000].into(),
        ..gif::Frame::default()
    };
    let mut encoder = gif::Encoder::new(Vec::new(), frame.width, frame.height, &[0; 6]).unwrap();
    encoder.write_frame(&frame).unwrap();
    encoder.into_inner().unwrap()
}

/// A picture with XMP, whose frame is larger than its screen.
fn overhanging_gif() -> Vec<u8> {
    let palette: Vec<u8> = (0..=255).flat_map(|value| [value; 3]).collect();
    let mut encoder = gif::Encoder::new(Vec::new(), 300, 200, &palette).unwrap();
    let mut metadata: Vec<&[u8]> = vec![b"XMP DataXMP"];
    metadata.resize(3000, &[b' '; 250]);
    let application = gif::AnyExtension(gif::Extension::Application as u8);
    encoder.write_raw_extension(application, &metadata).unwrap();
    let (width, height) = (1600, 1200);
    let pixels = (0..=255).cycle().take(usize::from(width) * usize::from(height));
    let frame = gif::Frame {
        width,
        height,
        buffer: pixels.collect(),
        ..gif::Frame::default()
    };
    encoder.write_frame(&frame).unwrap();
    encoder.into_inner().unwrap()
}

fn sources() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("4:2:0", jpeg(JpegColor::Color(2, 2), false)),
        ("4:4:4", jpeg(JpegColor::Color(1, 1), false)),
        ("grey", jpeg(JpegColor::Grey, false)),
        ("progressive", jpeg(JpegColor::Color(2, 2), true)),
        ("png", samples::png_rgb(1600, 1200)),
        ("gif", samples::gif(320, 240, 5)),
        ("large gif", samples::gif(1600, 1200, 1)),
        ("overhanging gif", overhanging_gif()),
        ("lossless WebP", samples::webp_lossless(1600, 1200, false)),
    ]
}

/// No WebP: what libwebp's C code takes is not seen here.
const OPTIONS: [&str; 14] = [
    "width=100",
    "width=300,format=jpeg",
    "width=1000,format=jpeg",
    "width=1000,format=png",
    "width=1500,format=baseline-jpeg",
    "width=1000,format=jpeg,quality=95,compression=small",
    "format=jpeg",
    "width=700,height=700,fit=cover,gravity=auto",
    "trim=border,width=500",
    "width=900,blur=20",
    "width=800,segment=foreground,format=png",
    "width=800,rotate=90,border=10:red",
    "width=800,format=jpeg,max-bytes=30000",
    "width=3000,fit=contain,format=jpeg",
];

/// Bytes beside the source: those that were taken, and those that were foreseen.
fn measured(bytes: &Vec<u8>, plan: &Plan) -> (u64, u64) {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let output = transform(bytes, plan, &Limits::HEAVY, &NativeCodecs, &|| false).unwrap();
    let taken = (ALLOCATOR.peak_usage() - before) as u64;
    drop(output);
    (taken, plan.memory.peak - plan.memory.source)
}

#[test]
fn a_picture_that_is_looked_at_is_there_once() {
    let bytes = tall_gif();
    let info = probe(&bytes, &Limits::HEAVY).unwrap();
    for options in [
        "width=200,height=90,fit=cover,gravity=auto,format=png",
        "trim=border,width=20,format=png",
    ] {
        let plan = plan(&info, &Resolved::parse(options).unwrap(), &Limits::HEAVY).unwrap();
        let (taken, foreseen) = measured(&bytes, &plan);
        assert!(taken <= foreseen, "{options}: {taken} taken, {:?}", plan.memory);
        let pixels = 4 * 54 * 9000;
        assert!(taken < 2 * pixels, "{options}: {taken} taken for {pixels}");
    }
}

#[test]
fn no_plan_takes_more_than_it_says_and_most_take_half_of_it() {
    let mut ratios = Vec::new();
    for (name, bytes) in sources() {
        let info = probe(&bytes, &Limits::HEAVY).unwrap();
        for options in OPTIONS.map(|options| {
            if name.contains("WebP") && !options.contains("format") {
                format!("{options},format=png")
            } else {
                options.into()
            }
        }) {
            let plan = plan(&info, &Resolved::parse(&options).unwrap(), &Limits::HEAVY).unwrap();
            let (taken, foreseen) = measured(&bytes, &plan);
            assert!(
                taken <= foreseen,
                "{name} {options}: {taken} taken, {foreseen} foreseen, {:?}",
                plan.memory
            );
            // Tables and windows, which no size explains, are a mebibyte.
            ratios.push((foreseen as f64 / (taken + (1 << 20)) as f64, name, options));
        }
    }
    ratios.sort_by(|a, b| a.0.total_cmp(&b.0));
    let at = &ratios[ratios.len() * 9 / 10];
    assert!(at.0 <= 2.0, "{at:?} of {:?}", &ratios[ratios.len() * 8 / 10..]);
}

#[test]
fn layers_of_a_document_take_no_more_than_there_is() {
    // A filtered layer lies straight and is turned when it is done: slanted, it reaches farther than the canvas. What is
    // clipped within a clip has a layer as large as that one's, and what is in a tile may be larger than it.
    let bodies = [
        "<filter id='f'><feGaussianBlur stdDeviation='1.5'/></filter><g filter='url(#f)' transform='rotate(26 60 45)'>\
         <rect x='40' y='50' width='50' height='9'/></g>",
        "<filter id='f'><feOffset dx='1'/></filter><g filter='url(#f)' transform='rotate(80) skewX(70)'><g opacity='0.5'>\
         <rect x='-900' y='-900' width='2000' height='2000'/></g></g>",
        "<clipPath id='c'><circle r='900'/></clipPath><clipPath id='d'><g clip-path='url(#c)'><circle r='9'/></g></clipPath>\
         <g clip-path='url(#d)'><rect x='-900' y='-900' width='2000' height='2000'/></g>",
        "<pattern id='p' width='9' height='9' patternUnits='userSpaceOnUse'><g opacity='0.5'>\
         <rect x='-900' y='-900' width='2000' height='2000'/></g></pattern><rect width='40' height='90' fill='url(#p)'/>",
    ];
    let mut drawn = 0;
    for (body, side) in bodies.iter().flat_map(|body| [90, 200, 500].map(|side| (body, side))) {
        let document = format!(
            "<svg xmlns='http://www.w3.org/2000/svg' width='40' height='30' viewBox='0 20 1 90' \
             preserveAspectRatio='none'>{body}</svg>"
        );
        let bytes = document.into_bytes();
        let options = format!("width={side},height={side},fit=cover,format=png");
        let info = probe(&bytes, &Limits::EDGE).unwrap();
        let plan = plan(&info, &Resolved::parse(&options).unwrap(), &Limits::EDGE).unwrap();
        let before = ALLOCATOR.current_usage();
        ALLOCATOR.reset_peak_usage();
        let answer = transform(&bytes, &plan, &Limits::EDGE, &NativeCodecs, &|| false);
        let taken = (ALLOCATOR.peak_usage() - before) as u64;
        assert!(taken <= Limits::EDGE.memory_bytes, "{body} {side}: {taken} taken");
        match answer {
            Ok(_) => drawn += 1,
            Err(error) => assert_eq!(error.status(), 413, "{body} {side}: {error}"),
        }
    }
    assert!(
        (6..12).contains(&drawn),
        "{drawn} of 12 drawn: some fit and some do not"
    );
}

#[test]
fn tables_that_a_tiff_claims_to_have_are_foreseen() {
    let claiming = |count: u32| {
        let mut bytes = samples::tiff(20, 20);
        let width = bytes.windows(8).position(|entry| entry == [0, 1, 4, 0, 1, 0, 0, 0]);
        let at = width.expect("a width of one number") + 4;
        bytes[at..at + 4].copy_from_slice(&count.to_le_bytes());
        bytes.extend(vec![0; 2_000_000]);
        bytes
    };
    let resolved = Resolved::parse("format=png").unwrap();
    let bytes = claiming(400_000);
    let plan_of = |bytes: &Vec<u8>| plan(&probe(bytes, &Limits::EDGE)?, &resolved, &Limits::EDGE);
    let foreseen = plan_of(&bytes).unwrap();
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let _ = transform(&bytes, &foreseen, &Limits::EDGE, &NativeCodecs, &|| false);
    let taken = (ALLOCATOR.peak_usage() - before) as u64;
    assert!(taken > 10_000_000, "{taken} taken: the table is not read any more");
    let foreseen = foreseen.memory.peak - foreseen.memory.source;
    assert!(taken <= foreseen, "{taken} taken, {foreseen} foreseen");
    let error = plan_of(&claiming(u32::MAX)).unwrap_err();
    assert!(
        matches!(
            error,
            ImageError::TooLarge {
                what: LimitKind::Memory,
                ..
            }
        ),
        "{error:?}"
    );
}
