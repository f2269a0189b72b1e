use crate::decode::{Job, each_moment};
use crate::source::Forgetful;
use crate::{Codecs, Format, ImageError, LimitKind, Limits, NoCodecs, Output, Resolved, plan, probe, process, samples};
use core::cell::Cell;
use gif::{DisposalMethod, Encoder, Frame, Repeat};
use proptest::prelude::*;

const RED: [u8; 4] = [255, 0, 0, 255];
const GREEN: [u8; 4] = [0, 255, 0, 255];
const BLUE: [u8; 4] = [0, 0, 255, 255];
const CLEAR: [u8; 4] = [0; 4];

/// A frame of one colour of the palette (clear, red, green, blue).
fn block(index: u8, (left, top, width, height): (u16, u16, u16, u16), dispose: DisposalMethod) -> Frame<'static> {
    Frame {
        left,
        top,
        width,
        height,
        delay: 7,
        dispose,
        transparent: Some(0),
        buffer: vec![index; usize::from(width) * usize::from(height)].into(),
        ..Frame::default()
    }
}

fn gif(size: (u16, u16), repeat: Repeat, frames: &[Frame<'_>]) -> Vec<u8> {
    let palette = [0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255];
    let mut encoder = Encoder::new(Vec::new(), size.0, size.1, &palette).unwrap();
    encoder.set_repeat(repeat).unwrap();
    for frame in frames {
        encoder.write_frame(frame).unwrap();
    }
    encoder.into_inner().unwrap()
}

/// Every way to dispose, one after another, on a screen of 8 by 8.
fn disposals() -> Vec<u8> {
    let frames = [
        block(1, (0, 0, 8, 8), DisposalMethod::Keep),
        block(2, (0, 0, 4, 8), DisposalMethod::Previous),
        block(3, (2, 2, 2, 2), DisposalMethod::Background),
        block(0, (0, 0, 1, 1), DisposalMethod::Keep),
    ];
    gif((8, 8), Repeat::Finite(2), &frames)
}

fn run(bytes: &[u8], options: &str, codecs: &dyn Codecs, limits: &Limits) -> Result<Output, ImageError> {
    process(
        &bytes.to_vec(),
        &Resolved::parse(options).unwrap(),
        limits,
        codecs,
        &|| false,
    )
}

struct Seen {
    pixels: Vec<u8>,
    milliseconds: u32,
    plays: u16,
}

/// Every moment of an animation, RGBA.
fn moments(bytes: &[u8]) -> Vec<Seen> {
    let source = bytes.to_vec();
    let info = probe(&source, &Limits::EDGE).unwrap();
    let plan = plan(&info, &Resolved::parse("").unwrap(), &Limits::EDGE).unwrap();
    let job = Job {
        source: &source,
        plan: &plan,
        limits: &Limits::EDGE,
        codecs: &crate::NativeCodecs,
        cancel: &|| false,
        observe: &|_| (),
        overlays: &crate::draw::Overlays::default(),
    };
    let mut seen = Vec::new();
    each_moment(&job, &mut |moment| {
        seen.push(Seen {
            pixels: moment.canvas.clone().with_alpha()?.data,
            milliseconds: moment.milliseconds,
            plays: moment.plays,
        });
        Ok(())
    })
    .unwrap();
    seen
}

fn at(seen: &Seen, x: usize, y: usize) -> [u8; 4] {
    seen.pixels[(y * 8 + x) * 4..][..4].try_into().unwrap()
}

#[test]
fn frames_are_disposed_of_as_they_say() {
    let seen = moments(&disposals());
    let corners = |moment: &Seen| [at(moment, 0, 0), at(moment, 2, 2), at(moment, 7, 7)];
    let all: Vec<_> = seen.iter().map(corners).collect();
    assert_eq!(
        all,
        [
            [RED, RED, RED],
            [GREEN, GREEN, RED],
            [RED, BLUE, RED],
            [RED, CLEAR, RED]
        ]
    );
    assert!(seen.iter().all(|moment| (moment.milliseconds, moment.plays) == (70, 3)));
}

#[test]
fn of_a_frame_that_hangs_over_the_screen_the_rest_is_shown() {
    let frames = [
        block(1, (0, 0, 30, 20), DisposalMethod::Keep),
        block(2, (4, 5, 9, 9), DisposalMethod::Previous),
        block(3, (6, 7, 3, 3), DisposalMethod::Background),
        block(2, (9, 9, 2, 2), DisposalMethod::Keep),
    ];
    let source = gif((8, 8), Repeat::Infinite, &frames);
    let corners = |moment: &Seen| [at(moment, 3, 5), at(moment, 4, 5), at(moment, 7, 7)];
    let all: Vec<_> = moments(&source).iter().map(corners).collect();
    assert_eq!(
        all,
        [
            [RED, RED, RED],
            [RED, GREEN, GREEN],
            [RED, RED, BLUE],
            [RED, RED, CLEAR]
        ]
    );
    let still = run(&source, "anim=false,format=png", &NoCodecs, &Limits::EDGE).unwrap();
    assert_eq!((still.width, still.height), (8, 8));
}

#[test]
fn interlaced_rows_find_their_places() {
    let row = |y: u8| [y % 3 + 1; 8];
    let frame = Frame {
        interlaced: true,
        buffer: [0, 4, 2, 6, 1, 3, 5, 7].map(row).concat().into(),
        ..block(0, (0, 0, 8, 8), DisposalMethod::Keep)
    };
    let source = gif((8, 8), Repeat::Infinite, &[frame]);
    assert!(probe(&source, &Limits::EDGE).unwrap().progressive);
    let moment = &moments(&source)[0];
    for y in 0..8 {
        assert_eq!(at(moment, 5, y), [RED, GREEN, BLUE][y % 3], "row {y}");
    }
}

#[test]
fn pixels_outside_the_screen_count() {
    let frames = [
        block(1, (0, 0, 8, 8), DisposalMethod::Keep),
        block(1, (0, 0, 100, 100), DisposalMethod::Keep),
    ];
    let source = gif((8, 8), Repeat::Infinite, &frames);
    let limits = Limits {
        pixels: 10_000,
        ..Limits::EDGE
    };
    let error = run(&source, "", &NoCodecs, &limits).unwrap_err();
    let what = LimitKind::Pixels;
    let (limit, value) = (10_000, 10_064);
    assert_eq!(error, ImageError::TooLarge { what, limit, value });
}

#[test]
fn gif_to_gif_keeps_pixels_delays_and_loops() {
    for (source, repeat) in [
        (disposals(), None),
        (samples::gif(8, 8, 5), None),
        (
            gif(
                (8, 8),
                Repeat::Infinite,
                &[
                    block(1, (0, 0, 8, 8), DisposalMethod::Keep),
                    block(2, (3, 5, 2, 2), DisposalMethod::Keep),
                    block(2, (3, 5, 2, 2), DisposalMethod::Keep),
                ],
            ),
            Some(0),
        ),
    ] {
        let output = run(&source, "", &NoCodecs, &Limits::EDGE).unwrap();
        assert_eq!(output.format, Format::Gif);
        let (before, after) = (moments(&source), moments(&output.bytes));
        assert_eq!(before.len(), after.len());
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(before.pixels, after.pixels);
            assert_eq!(before.milliseconds, after.milliseconds);
            assert_eq!(before.plays, after.plays);
            assert!(repeat.is_none_or(|plays| plays == after.plays));
        }
    }
}

#[test]
fn only_what_changes_is_written_of_an_opaque_animation() {
    let frames: Vec<_> = (0..20)
        .map(|index| {
            let mut frame = block(1 + index % 3, (0, 0, 64, 64), DisposalMethod::Keep);
            frame.transparent = None;
            if index > 0 {
                (frame.width, frame.height) = (4, 4);
            }
            frame
        })
        .collect();
    let source = gif((64, 64), Repeat::Infinite, &frames);
    let output = run(&source, "", &NoCodecs, &Limits::EDGE).unwrap();
    assert!(
        output.bytes.len() < source.len() * 2,
        "{} of {}",
        output.bytes.len(),
        source.len()
    );
    assert_eq!(moments(&output.bytes).len(), 20);
}

#[test]
fn every_frame_is_resized() {
    let output = run(&disposals(), "width=4", &NoCodecs, &Limits::EDGE).unwrap();
    let info = probe(&output.bytes, &Limits::EDGE).unwrap();
    assert_eq!(
        (info.width, info.height, info.frames, info.alpha),
        (4, 4, Some(4), true)
    );
    let rotated = run(
        &samples::gif(40, 20, 3),
        "width=10,rotate=90,fit=pad,height=30",
        &NoCodecs,
        &Limits::EDGE,
    );
    let info = probe(&rotated.unwrap().bytes, &Limits::EDGE).unwrap();
    assert_eq!((info.width, info.height, info.frames), (10, 30, Some(3)));
}

/// A red square on black, moving down the right edge.
fn moving() -> Vec<u8> {
    let frames: Vec<_> = (0..4u16)
        .flat_map(|step| {
            [
                block(3, (0, 0, 64, 32), DisposalMethod::Keep),
                block(1, (48, 8 * step, 8, 8), DisposalMethod::Keep),
            ]
        })
        .collect();
    gif((64, 32), Repeat::Infinite, &frames)
}

#[test]
fn the_first_frame_decides_where_all_are_cut() {
    let output = run(
        &moving(),
        "width=32,height=32,fit=cover,gravity=auto",
        &NoCodecs,
        &Limits::EDGE,
    )
    .unwrap();
    assert_eq!((output.width, output.height), (32, 32));
    let info = probe(&output.bytes, &Limits::EDGE).unwrap();
    assert_eq!((info.width, info.height, info.frames), (32, 32, Some(8)));
    let still = run(
        &moving(),
        "width=32,height=32,fit=cover,gravity=auto,anim=false",
        &NoCodecs,
        &Limits::EDGE,
    )
    .unwrap();
    let first = run(&output.bytes, "anim=false,format=png", &NoCodecs, &Limits::EDGE).unwrap();
    let same = run(&still.bytes, "format=png", &NoCodecs, &Limits::EDGE).unwrap();
    assert_eq!(first.bytes, same.bytes);
}

#[test]
fn an_animation_is_made_small_enough_or_refused() {
    let source = samples::gif(120, 90, 6);
    let whole = run(&source, "", &NoCodecs, &Limits::EDGE).unwrap().bytes.len();
    let most = whole / 3;
    let output = run(&source, &format!("max-bytes={most}"), &NoCodecs, &Limits::EDGE).unwrap();
    assert!(output.bytes.len() <= most, "{} of {most}", output.bytes.len());
    let info = probe(&output.bytes, &Limits::EDGE).unwrap();
    assert_eq!(
        (info.width, info.height, info.frames),
        (output.width, output.height, Some(6))
    );
    assert!(output.width < 120, "{}", output.width);
    let error = run(&source, "max-bytes=20", &NoCodecs, &Limits::EDGE).unwrap_err();
    assert!(
        matches!(
            error,
            ImageError::TooLarge {
                what: LimitKind::OutputBytes,
                limit: 20,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn what_is_read_again_is_not_released() {
    let bytes = samples::gif(120, 90, 6);
    let most = run(&bytes, "", &NoCodecs, &Limits::EDGE).unwrap().bytes.len() / 2;
    let smaller = format!("max-bytes={most}");
    for options in ["", "width=40,height=40,fit=cover,gravity=auto", "trim=border", &smaller] {
        let source = Forgetful::new(bytes.clone());
        let output = process(
            &source,
            &Resolved::parse(options).unwrap(),
            &Limits::EDGE,
            &NoCodecs,
            &|| false,
        );
        assert_eq!(output, run(&bytes, options, &NoCodecs, &Limits::EDGE), "{options}");
        assert!(output.is_ok(), "{options}");
        assert_eq!(source.forgotten() > 0, options.is_empty(), "{options}");
    }
}

#[test]
fn anim_false_is_the_first_frame() {
    for options in ["anim=false", "anim=false,width=4"] {
        let output = run(&disposals(), options, &NoCodecs, &Limits::EDGE).unwrap();
        let info = probe(&output.bytes, &Limits::EDGE).unwrap();
        assert_eq!((info.format, info.frames), (Format::Gif, Some(1)));
    }
}

#[test]
fn photographs_survive_their_palette() {
    let png = samples::png_rgb(160, 120);
    let output = run(&png, "format=gif", &NoCodecs, &Limits::EDGE).unwrap();
    let found = run(&output.bytes, "format=png", &NoCodecs, &Limits::EDGE).unwrap();
    let decoded = |bytes: Vec<u8>| {
        let mut decoder = png::Decoder::new(std::io::Cursor::new(bytes));
        decoder.set_transformations(png::Transformations::EXPAND);
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        pixels
    };
    let (found, scene) = (decoded(found.bytes), samples::scene(160, 120));
    assert_eq!(found.len(), scene.len());
    let error: f64 = found
        .iter()
        .zip(&scene)
        .map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2))
        .sum();
    let score = 10.0 * (255.0f64.powi(2) / (error / scene.len() as f64)).log10();
    assert!(score > 28.0, "{score:.1} dB");
    let alpha = run(&samples::png_rgba(60, 60), "format=gif", &NoCodecs, &Limits::EDGE).unwrap();
    assert!(probe(&alpha.bytes, &Limits::EDGE).unwrap().alpha);
}

#[cfg(feature = "native-codecs")]
#[test]
fn gif_and_webp_become_each_other() {
    use crate::NativeCodecs;
    for source in [disposals(), samples::gif(40, 24, 4)] {
        let webp = run(&source, "format=webp,quality=100", &NativeCodecs, &Limits::EDGE).unwrap();
        assert_eq!(webp.format, Format::WebP);
        let (before, after) = (moments(&source), moments(&webp.bytes));
        assert_eq!(before.len(), after.len());
        for (before, after) in before.iter().zip(&after) {
            assert_eq!((before.milliseconds, before.plays), (after.milliseconds, after.plays));
            let mut apart = 0;
            for (a, b) in before.pixels.chunks(4).zip(after.pixels.chunks(4)) {
                assert_eq!(a[3], b[3]);
                apart +=
                    a.iter().zip(b).map(|(a, b)| usize::from(a.abs_diff(*b))).sum::<usize>() * usize::from(a[3] > 0);
            }
            // Lossy, with chroma at half the size.
            assert!(apart / before.pixels.len() < 12, "{apart}");
        }
        let same = run(&webp.bytes, "width=4", &NativeCodecs, &Limits::EDGE).unwrap();
        let info = probe(&same.bytes, &Limits::EDGE).unwrap();
        assert_eq!(
            (info.format, info.width, info.frames),
            (Format::WebP, 4, Some(before.len() as u32))
        );
        let back = run(&webp.bytes, "format=gif", &NativeCodecs, &Limits::EDGE).unwrap();
        let back = moments(&back.bytes);
        assert_eq!(back.len(), before.len());
        assert!(
            back.iter()
                .zip(&before)
                .all(|(a, b)| (a.milliseconds, a.plays) == (b.milliseconds, b.plays))
        );
        let still = run(&webp.bytes, "anim=false", &NativeCodecs, &Limits::EDGE).unwrap();
        assert_eq!(probe(&still.bytes, &Limits::EDGE).unwrap().frames, Some(1));
    }
}

#[test]
fn a_missing_or_strange_encoder_is_said() {
    struct Strange;
    impl Codecs for Strange {
        fn webp(&self, _: &[u8], _: u32, _: u32, _: &crate::WebpSettings) -> Result<Vec<u8>, crate::CodecError> {
            Ok(b"RIFF\x08\0\0\0WEBPVP8 ".to_vec())
        }
    }
    for codecs in [&NoCodecs as &dyn Codecs, &Strange] {
        let result = run(&disposals(), "format=webp", codecs, &Limits::EDGE);
        assert!(matches!(result, Err(ImageError::Codec(_))), "{result:?}");
    }
}

#[test]
fn frames_and_their_sum_have_limits() {
    let limits = Limits {
        frames: 3,
        ..Limits::EDGE
    };
    let error = run(&samples::gif(8, 8, 4), "", &NoCodecs, &limits).unwrap_err();
    assert!(
        matches!(
            error,
            ImageError::TooLarge {
                what: LimitKind::Frames,
                ..
            }
        ),
        "{error}"
    );
    let limits = Limits {
        pixels: 200,
        ..Limits::EDGE
    };
    let error = run(&samples::gif(8, 8, 4), "", &NoCodecs, &limits).unwrap_err();
    assert!(
        matches!(
            error,
            ImageError::TooLarge {
                what: LimitKind::Pixels,
                ..
            }
        ),
        "{error}"
    );
    // A thousand frames of 300 x 300 would be 90 megabytes.
    let many = crate::ImageInfo {
        frames: Some(1000),
        ..probe(&samples::gif(300, 300, 1), &Limits::EDGE).unwrap()
    };
    let error = plan(&many, &Resolved::parse("").unwrap(), &Limits::EDGE).unwrap_err();
    assert!(error.is_heavy(), "{error}");
}

#[test]
fn cancelling_is_asked_for_every_frame() {
    let source = samples::gif(20, 20, 50);
    let asked = Cell::new(0);
    let cancel = || {
        asked.set(asked.get() + 1);
        asked.get() > 40
    };
    let result = process(
        &source,
        &Resolved::parse("").unwrap(),
        &Limits::EDGE,
        &NoCodecs,
        &cancel,
    );
    assert_eq!(result, Err(ImageError::Cancelled));
}

#[test]
fn a_cut_animation_is_corrupt() {
    let source = disposals();
    for cut in 20..source.len() - 1 {
        match run(&source[..cut], "", &NoCodecs, &Limits::EDGE) {
            Err(ImageError::Corrupt { .. }) => {}
            // Cut between two frames, it is a shorter animation.
            Ok(output) => assert!(probe(&output.bytes, &Limits::EDGE).unwrap().frames < Some(4)),
            other => panic!("cut at {cut}: {other:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn damaged_animations_are_answered(
        kind in 0usize..3, changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = match kind {
            0 => disposals(),
            1 => samples::gif(9, 5, 3),
            _ => still_frames(),
        };
        for (index, value) in changes {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        let limits = Limits { pixels: 1_000_000, memory_bytes: 64 << 20, ..Limits::EDGE };
        if let Err(error) = run(&bytes, "width=5,format=gif", &NoCodecs, &limits) {
            prop_assert!(["corrupt-image", "not-an-image", "too-large", "unsupported-format"].contains(&error.code()), "{}", error);
        }
    }
}

/// An animated WebP of two lossless frames.
fn still_frames() -> Vec<u8> {
    struct Lossless;
    impl Codecs for Lossless {
        fn webp(
            &self,
            rgba: &[u8],
            width: u32,
            height: u32,
            _: &crate::WebpSettings,
        ) -> Result<Vec<u8>, crate::CodecError> {
            let mut bytes = Vec::new();
            image_webp::WebPEncoder::new(&mut bytes)
                .encode(rgba, width, height, image_webp::ColorType::Rgba8)
                .map_err(|error| crate::CodecError::Failed(error.to_string()))?;
            Ok(bytes)
        }
    }
    run(&disposals(), "format=webp", &Lossless, &Limits::EDGE)
        .unwrap()
        .bytes
}

#[test]
fn lossless_frames_keep_every_pixel() {
    let (before, after) = (moments(&disposals()), moments(&still_frames()));
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before.pixels, after.pixels);
    }
}
