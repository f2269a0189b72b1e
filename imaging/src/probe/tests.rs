use super::*;
use crate::SourceError;
use crate::samples::{self, AvifSample, JpegColor, JpegSample};
use proptest::prelude::*;
use std::sync::LazyLock;

fn whole(bytes: &[u8]) -> Result<ImageInfo, ImageError> {
    probe(&bytes.to_vec(), &Limits::EDGE)
}

fn bmp(width: i32, height: i32) -> Vec<u8> {
    let mut bytes = b"BM".to_vec();
    bytes.extend([0; 12]);
    bytes.extend(40u32.to_le_bytes());
    bytes.extend(width.to_le_bytes());
    bytes.extend(height.to_le_bytes());
    bytes.extend([1, 0, 24, 0, 0, 0, 0, 0]);
    bytes
}

fn tiff(width: u16, height: u16) -> Vec<u8> {
    let mut bytes = b"MM\0*\0\0\0\x08\0\x03".to_vec();
    for (tag, value) in [(0x0100u16, width), (0x0101, height), (0x0112, 6)] {
        bytes.extend(tag.to_be_bytes());
        bytes.extend([0, 3, 0, 0, 0, 1]);
        bytes.extend(value.to_be_bytes());
        bytes.extend([0, 0]);
    }
    bytes.extend([0; 4]);
    bytes
}

fn iso_box(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    [&(content.len() as u32 + 8).to_be_bytes(), kind.as_slice(), content].concat()
}

fn heic(width: u32, height: u32) -> Vec<u8> {
    let ispe = |width: u32, height: u32| {
        iso_box(
            b"ispe",
            &[&[0; 4], width.to_be_bytes().as_slice(), &height.to_be_bytes()].concat(),
        )
    };
    let properties = iso_box(
        b"iprp",
        &iso_box(b"ipco", &[ispe(16, 16), ispe(width, height)].concat()),
    );
    let meta = iso_box(
        b"meta",
        &[&[0; 4], iso_box(b"hdlr", &[0; 24]).as_slice(), &properties].concat(),
    );
    [iso_box(b"ftyp", b"heic\0\0\0\0mif1"), meta].concat()
}

/// Encoded once: the properties below ask for it thousands of times.
static AVIF: LazyLock<Vec<u8>> = LazyLock::new(|| AvifSample::default().encode(40, 30));

/// One picture of each kind, with its size as stored.
fn kinds() -> Vec<(Format, Vec<u8>, (u32, u32))> {
    vec![
        (
            Format::Jpeg,
            JpegSample {
                orientation: 6,
                ..JpegSample::default()
            }
            .encode(40, 30),
            (40, 30),
        ),
        (Format::Png, samples::png_rgba(40, 30), (40, 30)),
        (Format::WebP, samples::webp_lossless(40, 30, true), (40, 30)),
        (Format::Gif, samples::gif(40, 30, 3), (40, 30)),
        (Format::Avif, AVIF.clone(), (40, 30)),
        (Format::Heic, heic(40, 30), (40, 30)),
        (Format::Bmp, bmp(40, -30), (40, 30)),
        (Format::Tiff, tiff(40, 30), (40, 30)),
        (
            Format::Svg,
            b"<?xml version='1.0'?><!-- drawn --><svg width='40px' viewBox='0 0 4 3' height=\"30\"/>".to_vec(),
            (40, 30),
        ),
    ]
}

#[test]
fn kinds_are_told_by_content() {
    for (format, bytes, size) in kinds() {
        let info = whole(&bytes).unwrap_or_else(|error| panic!("{format}: {error}"));
        assert_eq!(
            (info.format, (info.width, info.height), info.bytes),
            (format, size, bytes.len() as u64)
        );
    }
    for junk in [
        b"".as_slice(),
        b"GIF",
        b"\xff\xd8",
        b"<html><svg width='1'></html>",
        b"%PDF-1.7",
        &[0; 5000],
        b"BMP",
    ] {
        let result = whole(junk);
        assert!(
            matches!(result, Err(ImageError::NotAnImage | ImageError::Corrupt { .. })),
            "{junk:?}: {result:?}"
        );
    }
}

#[test]
fn a_head_asks_for_more_until_it_is_enough() {
    for (format, bytes, _) in kinds() {
        let mut given = 0;
        let mut rounds = 0;
        let info = loop {
            match probe_head(&bytes[..given], &Limits::EDGE)
                .unwrap_or_else(|error| panic!("{format} at {given}: {error}"))
            {
                Probe::Info(info) => break info,
                Probe::NeedMore(wanted) => {
                    assert!(wanted > given as u64, "{format}: {wanted} after {given}");
                    if given == bytes.len() {
                        // A short document that is not recognised yet may ask beyond its end; the caller then has all of it.
                        break whole(&bytes).unwrap();
                    }
                    given = usize::try_from(wanted).unwrap().min(bytes.len());
                }
            }
            rounds += 1;
            assert!(rounds < 200, "{format}");
        };
        let full = whole(&bytes).unwrap();
        assert_eq!(
            (info.format, info.width, info.height, info.orientation),
            (full.format, full.width, full.height, full.orientation),
            "{format}"
        );
    }
}

#[test]
fn jpeg_headers_tell_coding_and_orientation() {
    let probe = |sample: JpegSample| whole(&sample.encode(40, 30)).unwrap();
    for orientation in 1..=8 {
        let info = probe(JpegSample {
            orientation,
            ..JpegSample::default()
        });
        assert_eq!(info.orientation.exif(), orientation);
        assert_eq!(info.upright_size(), if orientation > 4 { (30, 40) } else { (40, 30) });
    }
    let baseline = probe(JpegSample::default());
    assert_eq!(
        (
            baseline.progressive,
            baseline.components,
            baseline.samples_per_pixel_quarters,
            baseline.decodable
        ),
        (false, 3, 6, true)
    );
    let progressive = probe(JpegSample {
        progressive_scans: 4,
        color: JpegColor::Color(1, 1),
        ..JpegSample::default()
    });
    assert_eq!(
        (progressive.progressive, progressive.samples_per_pixel_quarters),
        (true, 12)
    );
    assert_eq!(
        probe(JpegSample {
            color: JpegColor::Grey,
            ..JpegSample::default()
        })
        .components,
        1
    );
    let cmyk = probe(JpegSample {
        color: JpegColor::Cmyk,
        ..JpegSample::default()
    });
    assert_eq!((cmyk.components, cmyk.inverted_cmyk), (4, true));
}

#[test]
fn frames_and_alpha_are_found() {
    let gif = whole(&samples::gif(8, 8, 5)).unwrap();
    assert_eq!((gif.frames, gif.alpha), (Some(5), true));
    assert!(whole(&samples::png_rgba(4, 4)).unwrap().alpha);
    assert!(!whole(&samples::png_rgb(4, 4)).unwrap().alpha);
    assert!(whole(&samples::webp_lossless(4, 4, true)).unwrap().alpha);
    assert!(!whole(&samples::webp_lossless(4, 4, false)).unwrap().alpha);
}

#[test]
fn bombs_are_refused_from_their_header() {
    let refused = |bytes: &[u8], limits: &Limits| match probe(&bytes.to_vec(), limits) {
        Err(ImageError::TooLarge { what, limit, value }) => (what, limit, value),
        other => panic!("{other:?}"),
    };
    let bomb = samples::png_claiming(16_384, 16_384);
    assert!(bomb.len() < 100);
    assert_eq!(refused(&bomb, &Limits::EDGE), (LimitKind::Side, 12_000, 16_384));
    let wide = Limits {
        side: 20_000,
        ..Limits::EDGE
    };
    assert_eq!(refused(&bomb, &wide), (LimitKind::Pixels, 100_000_000, 268_435_456));
    assert_eq!(
        refused(&samples::jpeg_claiming(65_535, 8), &Limits::EDGE),
        (LimitKind::Side, 12_000, 65_535)
    );
    assert_eq!(
        refused(&samples::png_claiming(u32::MAX, u32::MAX), &Limits::EDGE).0,
        LimitKind::Side
    );
    let frames = Limits {
        frames: 3,
        ..Limits::EDGE
    };
    assert_eq!(refused(&samples::gif(8, 8, 9), &frames), (LimitKind::Frames, 3, 4));
    let summed = Limits {
        pixels: 200,
        ..Limits::EDGE
    };
    assert_eq!(refused(&samples::gif(8, 8, 5), &summed), (LimitKind::Pixels, 200, 320));
    let bytes = Limits {
        source_bytes: 50,
        ..Limits::EDGE
    };
    assert_eq!(refused(&bomb, &bytes), (LimitKind::SourceBytes, 50, bomb.len() as u64));
}

#[test]
fn nothing_by_nothing_is_corrupt() {
    for bytes in [
        samples::png_claiming(0, 0),
        samples::png_claiming(10, 0),
        samples::jpeg_claiming(0, 10),
        samples::jpeg_claiming(10, 0),
        bmp(-4, 4),
    ] {
        assert!(matches!(whole(&bytes), Err(ImageError::Corrupt { .. })));
    }
}

/// A JPEG of comment segments without end, made as it is read.
struct Endless;

impl Source for Endless {
    fn len(&self) -> u64 {
        90 * 1024 * 1024
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, SourceError> {
        for (at, byte) in buffer.iter_mut().enumerate() {
            *byte = match (offset + at as u64).checked_sub(2) {
                None => [0xff, 0xd8][(offset + at as u64) as usize],
                Some(inside) => [0xff, 0xfe, 0xff, 0xfd]
                    .get((inside % 65_535) as usize)
                    .copied()
                    .unwrap_or(b' '),
            };
        }
        Ok(buffer.len())
    }
}

#[test]
fn metadata_without_end_is_refused() {
    let result = probe(&Endless, &Limits::EDGE);
    assert!(
        matches!(
            result,
            Err(ImageError::TooLarge {
                what: LimitKind::MetadataBytes,
                limit: 16_777_216,
                ..
            })
        ),
        "{result:?}"
    );
}

#[test]
fn a_cut_header_is_corrupt() {
    for (format, bytes, _) in kinds() {
        if matches!(format, Format::Svg | Format::Gif) {
            continue;
        }
        let header = match format {
            Format::WebP => 24,
            Format::Jpeg | Format::Png => 40,
            Format::Avif => 200,
            _ => bytes.len() - 5,
        };
        for cut in (12..header).filter(|cut| *cut < bytes.len()) {
            let result = whole(&bytes[..cut]);
            assert!(
                matches!(result, Err(ImageError::Corrupt { .. } | ImageError::NotAnImage)),
                "{format} cut at {cut}: {result:?}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_behind_any_magic_are_answered(kind in 0usize..9, keep in 0usize..64, tail in proptest::collection::vec(any::<u8>(), 0..300)) {
        let (_, bytes, _) = &kinds()[kind];
        let mut bytes = bytes[..keep.min(bytes.len())].to_vec();
        bytes.extend(tail);
        let _ = whole(&bytes);
        let _ = probe_head(&bytes, &Limits::EDGE);
    }

    #[test]
    fn damaged_headers_are_answered(kind in 0usize..9, changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6)) {
        let (_, mut bytes, _) = kinds().swap_remove(kind);
        let head = bytes.len().min(200);
        for (index, value) in changes {
            bytes[index.index(head)] = value;
        }
        if let Ok(info) = whole(&bytes) {
            prop_assert!(info.width >= 1 && info.height >= 1 && info.width <= 12_000 && info.height <= 12_000);
        }
    }
}
