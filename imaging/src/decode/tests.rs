use super::*;
use crate::samples::{self, JpegColor, JpegSample};
use crate::source::Forgetful;
use crate::{ImageInfo, LimitKind, Resolved, plan, probe};
use core::cell::Cell;
use proptest::prelude::*;
use std::sync::LazyLock;

fn run(bytes: &[u8], options: &str, limits: &Limits, cancel: &dyn Fn() -> bool) -> Result<Raster, ImageError> {
    let source = bytes.to_vec();
    let info = probe(&source, limits)?;
    let plan = plan(&info, &Resolved::parse(options).unwrap(), limits)?;
    let job = Job {
        source: &source,
        plan: &plan,
        limits,
        codecs: &crate::NativeCodecs,
        cancel,
        observe: &|_| (),
        overlays: &Overlays::default(),
    };
    decode_whole(&job)
}

fn decoded(bytes: &[u8], options: &str) -> Result<Raster, ImageError> {
    run(bytes, options, &Limits::EDGE, &|| false)
}

/// Small pictures of every coding that is read.
fn codings() -> Vec<(&'static str, Vec<u8>)> {
    let jpeg = |sample: JpegSample| sample.encode(67, 45);
    let png = |color, depth, bits: usize| {
        let row = (67 * bits).div_ceil(8);
        let data: Vec<u8> = (0..row * 45).map(|index| (index * 31 % 251) as u8).collect();
        samples::png_of(67, 45, color, depth, &data)
    };
    use ::png::{BitDepth, ColorType};
    vec![
        ("jpeg 4:2:0", jpeg(JpegSample::default())),
        (
            "jpeg 4:4:4",
            jpeg(JpegSample {
                color: JpegColor::Color(1, 1),
                ..JpegSample::default()
            }),
        ),
        (
            "jpeg 4:2:2",
            jpeg(JpegSample {
                color: JpegColor::Color(2, 1),
                ..JpegSample::default()
            }),
        ),
        (
            "jpeg 4:4:0",
            jpeg(JpegSample {
                color: JpegColor::Color(1, 2),
                ..JpegSample::default()
            }),
        ),
        (
            "jpeg grey",
            jpeg(JpegSample {
                color: JpegColor::Grey,
                ..JpegSample::default()
            }),
        ),
        (
            "jpeg cmyk",
            jpeg(JpegSample {
                color: JpegColor::Cmyk,
                ..JpegSample::default()
            }),
        ),
        (
            "jpeg ycck",
            jpeg(JpegSample {
                color: JpegColor::Ycck,
                ..JpegSample::default()
            }),
        ),
        (
            "jpeg restart",
            jpeg(JpegSample {
                restart_interval: 3,
                ..JpegSample::default()
            }),
        ),
        (
            "jpeg progressive",
            jpeg(JpegSample {
                progressive_scans: 4,
                ..JpegSample::default()
            }),
        ),
        ("png rgb", samples::png_rgb(67, 45)),
        ("png rgba", samples::png_rgba(67, 45)),
        ("png 1 bit", png(ColorType::Grayscale, BitDepth::One, 1)),
        ("png palette", png(ColorType::Indexed, BitDepth::Four, 4)),
        ("png 16 bit", png(ColorType::Rgba, BitDepth::Sixteen, 64)),
        ("png grey alpha", png(ColorType::GrayscaleAlpha, BitDepth::Eight, 16)),
        ("webp lossless", samples::webp_lossless(67, 45, false)),
        ("webp lossless alpha", samples::webp_lossless(67, 45, true)),
        ("webp lossy", lossy_webp(67, 45)),
        ("gif", samples::gif(67, 45, 2)),
        ("bmp", samples::bmp(67, 45)),
        ("bmp runs", {
            let palette: Vec<u8> = (0..=255u8).flat_map(|index| [index, 255 - index, 7, 0]).collect();
            let row: Vec<u8> = (0..6u8)
                .flat_map(|run| [10, run * 40])
                .chain([0, 7, 1, 2, 3, 4, 5, 6, 7, 0, 0, 0])
                .collect();
            samples::bmp_with_data((67, 45), 8, 1, &palette, &[row.repeat(45), vec![0, 1]].concat())
        }),
        ("tiff", samples::tiff(67, 45)),
    ]
}

/// Needs the C library; elsewhere a lossless file stands in, so that the list keeps its length.
fn lossy_webp(width: u32, height: u32) -> Vec<u8> {
    #[cfg(feature = "native-codecs")]
    {
        use crate::Codecs;
        crate::NativeCodecs
            .webp(
                &samples::scene_rgba(width, height),
                width,
                height,
                &crate::WebpSettings::default(),
            )
            .unwrap()
    }
    #[cfg(not(feature = "native-codecs"))]
    samples::webp_lossless(width, height, true)
}

#[test]
fn every_coding_gives_its_picture() {
    let scene = samples::scene(67, 45);
    for (name, bytes) in codings() {
        let raster = decoded(&bytes, "format=png").unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((raster.width, raster.height), (67, 45), "{name}");
        let comparable = name.starts_with("jpeg") && name != "jpeg grey"
            || ["png rgb", "webp lossless", "bmp", "tiff"].contains(&name);
        if comparable {
            let error: f64 = raster
                .data
                .iter()
                .zip(&scene)
                .map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2))
                .sum::<f64>()
                / scene.len() as f64;
            let allowed = if name.contains("cmyk") || name.contains("ycck") {
                400.0
            } else {
                140.0
            };
            assert!(error < allowed, "{name}: mean squared error {error}");
        }
    }
}

#[test]
fn jpeg_is_decoded_at_every_scale() {
    let bytes = JpegSample::default().encode(163, 101);
    for (scale, width) in [(1, 160), (2, 54), (4, 32), (8, 17)] {
        let raster = decoded(&bytes, &format!("width={width}")).unwrap();
        assert_eq!(
            (raster.width, raster.height),
            (163u32.div_ceil(scale), 101u32.div_ceil(scale)),
            "1/{scale}"
        );
    }
    // Tall and flat ones, where one side alone would mislead the decoder.
    for (width, height) in [(16, 400), (400, 16), (17, 1000)] {
        let bytes = JpegSample::default().encode(width, height);
        assert!(
            decoded(&bytes, "width=1,height=1,fit=cover").is_ok(),
            "{width} x {height}"
        );
    }
}

#[test]
fn interlaced_png_is_the_same_picture() {
    // Adam7 written by hand: the png crate does not write it.
    for (width, height) in [(1u32, 1u32), (2, 3), (5, 5), (8, 8), (13, 9)] {
        let scene = samples::scene(width, height);
        let mut raw = Vec::new();
        for (first_column, column_step, first_row, row_step) in [
            (0, 8, 0, 8),
            (4, 8, 0, 8),
            (0, 4, 4, 8),
            (2, 4, 0, 4),
            (0, 2, 2, 4),
            (1, 2, 0, 2),
            (0, 1, 1, 2),
        ] {
            for y in (first_row..height).step_by(row_step) {
                if first_column < width {
                    raw.push(0);
                }
                for x in (first_column..width).step_by(column_step) {
                    let at = ((y * width + x) * 3) as usize;
                    raw.extend(&scene[at..at + 3]);
                }
            }
        }
        let bytes = samples::png_with_data(width, height, [8, 2, 0, 0, 1], &raw);
        let raster = decoded(&bytes, "").unwrap_or_else(|error| panic!("{width} x {height}: {error}"));
        assert_eq!(raster.data, scene, "{width} x {height}");
    }
}

#[test]
fn a_black_interlaced_png_is_black() {
    for (width, height) in [(1, 1), (3, 9), (21, 5)] {
        let raster = decoded(&samples::png_interlaced(width, height), "").unwrap();
        assert_eq!(raster.data, vec![0; (width * height * 3) as usize]);
    }
}

#[test]
fn sixteen_bits_are_rounded() {
    let data: Vec<u8> = [0u16, 128, 129, 32_768, 65_407, 65_535]
        .iter()
        .flat_map(|value| value.to_be_bytes())
        .collect();
    let bytes = samples::png_of(6, 1, ::png::ColorType::Grayscale, ::png::BitDepth::Sixteen, &data);
    assert_eq!(decoded(&bytes, "").unwrap().data, [0, 0, 1, 128, 255, 255]);
}

#[test]
fn ink_becomes_light() {
    let white = JpegSample {
        color: JpegColor::Cmyk,
        ..JpegSample::default()
    }
    .encode_pixels(&[255; 16 * 16 * 3], 16, 16);
    assert!(decoded(&white, "").unwrap().data.iter().all(|value| *value >= 253));
    let red = [230, 20, 10].repeat(256);
    for color in [JpegColor::Cmyk, JpegColor::Ycck] {
        let raster = decoded(
            &JpegSample {
                quality: 98,
                color,
                ..JpegSample::default()
            }
            .encode_pixels(&red, 16, 16),
            "",
        )
        .unwrap();
        let pixel = &raster.data[..3];
        assert!(
            pixel.iter().zip([230, 20, 10]).all(|(a, b)| a.abs_diff(b) < 8),
            "{color:?}: {pixel:?}"
        );
    }
}

#[test]
fn truncated_files_are_corrupt_wherever_they_end() {
    for (name, bytes) in codings() {
        let step = (bytes.len() / 60).max(1);
        for cut in (20..bytes.len() - 1).step_by(step) {
            // The end marks alone carry no pixels.
            let trailer = match name.split(' ').next().unwrap() {
                "png" => 8,
                "jpeg" => 2,
                "gif" => bytes.len() / 2,
                // Of runs, the end mark and the last row's.
                "bmp" if name.ends_with("runs") => 4,
                _ => 0,
            };
            if cut + trailer >= bytes.len() {
                continue;
            }
            match decoded(&bytes[..cut], "format=png") {
                Err(ImageError::Corrupt { offset, .. }) => {
                    assert!(offset <= cut as u64, "{name}: stood at {offset} of {cut}");
                }
                Err(ImageError::NotAnImage) => assert!(cut < 32, "{name} at {cut}"),
                other => panic!(
                    "{name} cut at {cut} of {}: {:?}",
                    bytes.len(),
                    other.map(|raster| raster.width)
                ),
            }
        }
    }
}

#[test]
fn scans_beyond_the_limit_are_refused() {
    // 3 + 3 * 29 scans.
    let bytes = JpegSample {
        progressive_scans: 30,
        ..JpegSample::default()
    }
    .encode(64, 64);
    let error = decoded(&bytes, "").unwrap_err();
    assert_eq!(
        error,
        ImageError::TooLarge {
            what: LimitKind::Scans,
            limit: 64,
            value: 65
        }
    );
    assert!(
        run(
            &bytes,
            "",
            &Limits {
                scans: 90,
                ..Limits::EDGE
            },
            &|| false
        )
        .is_ok()
    );
}

#[test]
fn cancelling_stops_a_decode_in_the_middle() {
    for bytes in [
        JpegSample {
            quality: 98,
            ..JpegSample::default()
        }
        .encode(700, 700),
        samples::png_rgb(300, 300),
        samples::webp_lossless(400, 400, false),
    ] {
        assert!(bytes.len() > 130_000, "{}", bytes.len());
        let asked = Cell::new(0);
        let cancel = || {
            asked.set(asked.get() + 1);
            asked.get() > 2
        };
        assert_eq!(run(&bytes, "", &Limits::EDGE, &cancel), Err(ImageError::Cancelled));
    }
}

#[test]
fn bytes_are_released_behind_the_decoder() {
    for (name, bytes) in codings() {
        let source = Forgetful::new(bytes);
        let info: ImageInfo = probe(&source, &Limits::EDGE).unwrap();
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
        .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(
            name.starts_with("webp lossless") || name == "tiff" || source.forgotten() > 0,
            "{name}"
        );
    }
}

#[test]
fn a_failing_source_is_not_a_corrupt_picture() {
    struct Failing(Vec<u8>);
    impl Source for Failing {
        fn len(&self) -> u64 {
            self.0.len() as u64
        }
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, crate::SourceError> {
            if offset >= 64 * 1024 {
                return Err(crate::SourceError::Failed("gone".to_owned()));
            }
            Source::read_at(&self.0, offset, buffer)
        }
    }
    let source = Failing(
        JpegSample {
            quality: 98,
            ..JpegSample::default()
        }
        .encode(700, 700),
    );
    let info = probe(&source, &Limits::EDGE).unwrap();
    let plan = plan(&info, &Resolved::parse("").unwrap(), &Limits::EDGE).unwrap();
    let result = decode_whole(&Job {
        source: &source,
        plan: &plan,
        limits: &Limits::EDGE,
        codecs: &crate::NativeCodecs,
        cancel: &|| false,
        observe: &|_| (),
        overlays: &Overlays::default(),
    });
    assert_eq!(result.unwrap_err().code(), "source-failed");
}

static CODINGS: LazyLock<Vec<(&'static str, Vec<u8>)>> = LazyLock::new(codings);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damaged_pictures_are_answered(
        coding in 0usize..22, width in prop_oneof![Just(67u32), Just(30), Just(8)],
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let (name, mut bytes) = CODINGS[coding].clone();
        for (index, value) in changes {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        // A damaged size may be a large one; what is tested is not how fast much memory is filled.
        let limits = Limits { pixels: 1_000_000, memory_bytes: 64 << 20, ..Limits::EDGE };
        if let Err(error) = run(&bytes, &format!("format=png,width={width}"), &limits, &|| false) {
            prop_assert!(["corrupt-image", "not-an-image", "too-large", "unsupported-format"].contains(&error.code()), "{}: {}", name, error);
        }
    }

    #[test]
    fn any_bytes_behind_a_header_are_answered(coding in 0usize..22, keep in 30usize..700, tail in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let (_, bytes) = &CODINGS[coding];
        let mut bytes = bytes[..keep.min(bytes.len())].to_vec();
        bytes.extend(tail);
        let _ = run(&bytes, "format=png", &Limits { pixels: 1_000_000, ..Limits::EDGE }, &|| false);
    }
}

/// Willem van Schaik's test pictures. What they show was told by another decoder; the licence beside them says how.
fn pngsuite() -> impl Iterator<Item = (&'static str, (u32, u32), &'static str, Vec<u8>)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pngsuite");
    include_str!("../../tests/pngsuite/pixels.txt")
        .lines()
        .map(move |line| {
            let words: Vec<_> = line.split(' ').collect();
            let [name, width, height, hash] = words[..] else {
                panic!("{line}");
            };
            let file = std::fs::read(folder.join(name).with_extension("png")).unwrap();
            (name, (width.parse().unwrap(), height.parse().unwrap()), hash, file)
        })
}

#[test]
fn pictures_of_the_png_suite_have_the_pixels_that_another_decoder_sees() {
    use sha2::Digest as _;
    let mut wrong = Vec::new();
    let mut count = 0;
    for (name, size, expected, file) in pngsuite() {
        let raster = decoded(&file, "").unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((raster.width, raster.height), size, "{name}");
        let mut pixels = raster.colored().unwrap().with_alpha().unwrap().data;
        for pixel in pixels.chunks_exact_mut(4).filter(|pixel| pixel[3] == 0) {
            pixel.fill(0);
        }
        let hash = sha2::Sha256::digest(&pixels);
        let hash: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        if hash != expected {
            wrong.push(name);
        }
        count += 1;
    }
    assert!(count > 60 && wrong.is_empty(), "{wrong:?} of {count}");
}

/// What the suite's broken files have wrong, done to a good one.
#[test]
fn broken_pictures_of_the_png_suite_are_refused() {
    let (_, _, _, good) = pngsuite().find(|(name, ..)| *name == "basn0g01").unwrap();
    let after = |kind: &[u8]| good.windows(4).position(|window| window == kind).unwrap() + 4;
    let with = |at: usize, byte: u8| {
        let mut file = good.clone();
        file[at] = byte;
        file
    };
    // The header's check sum follows its 13 bytes.
    let header = |at: usize, byte: u8| {
        let mut file = with(16 + at, byte);
        let sum = png_crc(&file[12..29]);
        file[29..33].copy_from_slice(&sum.to_be_bytes());
        file
    };
    let data = after(b"IDAT");
    let length = u32::from_be_bytes(good[data - 8..data - 4].try_into().unwrap()) as usize;
    let replaced = |from: &[u8], to: &[u8]| {
        let at = good.windows(from.len()).position(|window| window == from).unwrap();
        [&good[..at], to, &good[at + from.len()..]].concat()
    };
    let mut without_data = good.clone();
    without_data.drain(data - 8..data + length + 4);
    for (name, file) in [
        ("xs1: first byte of the signature", with(0, 0x88)),
        ("xs2: second byte of the signature", with(1, b'p')),
        ("xs4: fourth byte of the signature", with(3, b'g')),
        ("xs7: line feed of the signature", with(7, 0x0b)),
        ("xcr: line ends of a Macintosh", replaced(b"\r\n\x1a\n", b"\r\x1a\r")),
        ("xlf: line ends of Unix", replaced(b"\r\n\x1a\n", b"\n\x1a\n")),
        ("xc1: colour type 1", header(9, 1)),
        ("xc9: colour type 9", header(9, 9)),
        ("xd0: no bits", header(8, 0)),
        ("xd3: 3 bits", header(8, 3)),
        ("xd9: 99 bits", header(8, 99)),
        ("xhd: the header's check sum", with(29, good[29] ^ 1)),
        (
            "xcs: the data's check sum",
            with(data + length, good[data + length] ^ 1),
        ),
        ("xdt: no data", without_data),
    ] {
        match decoded(&file, "format=png") {
            Err(ImageError::NotAnImage) => assert!(
                name.starts_with("xs") || name.starts_with("xcr") || name.starts_with("xlf"),
                "{name}"
            ),
            Err(ImageError::Corrupt { detail, .. }) => assert!(!detail.is_empty(), "{name}"),
            other => panic!("{name}: {:?}", other.map(|raster| raster.width)),
        }
    }
}

/// A grey PNG of 8 bits, of what is given as its compressed rows.
fn png_with_data(size: (u32, u32), data: &[&[u8]]) -> Vec<u8> {
    let header = [&size.0.to_be_bytes()[..], &size.1.to_be_bytes()[..], &[8, 0, 0, 0, 0]].concat();
    let parts = data.iter().map(|part| (b"IDAT", *part));
    let chunks = [(b"IHDR", &header[..])]
        .into_iter()
        .chain(parts)
        .chain([(b"IEND", &[][..])]);
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, body) in chunks {
        file.extend((body.len() as u32).to_be_bytes());
        let checked = [&kind[..], body].concat();
        file.extend(&checked);
        file.extend(png_crc(&checked).to_be_bytes());
    }
    file
}

#[test]
fn what_a_png_has_beyond_its_last_row_is_passed_over() {
    let rows = |count: usize| [0, 10, 20, 30].repeat(count);
    let packed = |rows: &[u8]| miniz_oxide::deflate::compress_to_vec_zlib(rows, 6);
    let (exact, more) = (packed(&rows(3)), packed(&rows(300)));
    let unsummed = &exact[..exact.len() - 4];
    for (name, data) in [
        ("exactly its rows", vec![&exact[..]]),
        ("more rows", vec![&more]),
        ("an empty part", vec![&exact, b""]),
        ("a second part that is no data", vec![&exact, b"rubbish"]),
        ("no sum of the data", vec![unsummed]),
    ] {
        let raster = decoded(&png_with_data((3, 3), &data), "").unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(raster.data, [10, 20, 30].repeat(3), "{name}");
    }
}

/// CRC-32 of a chunk's type and data.
fn png_crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 }
        })
    })
}
