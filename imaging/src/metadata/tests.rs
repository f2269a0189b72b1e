use super::*;
use crate::samples::{self, JpegSample};
use crate::{NativeCodecs, Resolved, process};
use proptest::prelude::*;

const XMP: &str = r#"<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:exif="http://ns.adobe.com/exif/1.0/"
 xmlns:place="http://ns.adobe.com/exif/1.0/" xmlns:aux="a" xmlns:tiff="t" exif:GPSLatitude="48,51N" aux:SerialNumber="123456"
 tiff:Orientation="6" tiff:Make="Ours">
<dc:creator><rdf:Seq><rdf:li>Ann &amp; Bo</rdf:li><rdf:li>Cy</rdf:li></rdf:Seq></dc:creator>
<dc:rights><rdf:Alt><rdf:li xml:lang="x-default">&#169; Kado</rdf:li></rdf:Alt></dc:rights>
<place:GPSLongitude>2,21E</place:GPSLongitude><dc:subject>Sea</dc:subject>
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"#;

/// Entries of a directory: tag, type, count, and the value or where it lies.
fn directory(entries: &[(u16, u16, u32, [u8; 4])]) -> Vec<u8> {
    let mut bytes = (entries.len() as u16).to_be_bytes().to_vec();
    for (tag, kind, count, value) in entries {
        bytes.extend(tag.to_be_bytes());
        bytes.extend(kind.to_be_bytes());
        bytes.extend(count.to_be_bytes());
        bytes.extend(value);
    }
    bytes.extend([0; 4]);
    bytes
}

/// EXIF with a maker, an orientation, a camera's directory with a serial number and a note, a place, and a thumbnail.
fn exif() -> Vec<u8> {
    let at = |offset: u8| [0, 0, 0, offset];
    // 8, 2 + 5 * 12 + 4 = 66 more, then the camera's: 2 + 4 * 12 + 4 = 54, then the texts.
    let (camera, texts) = (74, 128);
    let mut block = b"MM\0*\0\0\0\x08".to_vec();
    block.extend(directory(&[
        (0x010f, 2, 5, at(texts)),
        (0x0112, 3, 1, [0, 6, 0, 0]),
        (0x8298, 2, 9, at(texts + 6)),
        (0x8769, 4, 1, at(camera)),
        (0x8825, 4, 1, at(camera)),
    ]));
    block.extend(directory(&[
        (0x829a, 5, 1, at(texts + 16)),
        (0x927c, 7, 4, *b"NOTE"),
        (0x9000, 7, 4, *b"0232"),
        (0xa431, 2, 4, *b"S99\0"),
    ]));
    block.extend(b"Ours\0\0(c) Kado\0\0");
    block.truncate(usize::from(texts) + 16);
    block.extend([0, 0, 0, 1, 0, 0, 0, 125]);
    block
}

fn jpeg(segments: &[(u8, &[u8])]) -> Vec<u8> {
    let plain = JpegSample::default().encode(40, 30);
    let mut file = plain[..2].to_vec();
    for (marker, content) in segments {
        file.extend([0xff, *marker]);
        file.extend((content.len() as u16 + 2).to_be_bytes());
        file.extend(*content);
    }
    file.extend(&plain[2..]);
    file
}

fn full() -> Vec<u8> {
    jpeg(&[
        (0xe1, &[b"Exif\0\0".as_slice(), &exif()].concat()),
        (0xe1, &[b"http://ns.adobe.com/xap/1.0/\0", XMP.as_bytes()].concat()),
    ])
}

fn made(source: &[u8], options: &str) -> Vec<u8> {
    let resolved = Resolved::parse(options).unwrap();
    process(&source.to_vec(), &resolved, &Limits::EDGE, &NativeCodecs, &|| false)
        .unwrap()
        .bytes
}

/// What an answer carries, read by the code that reads sources.
fn carried(source: &[u8], options: &str) -> (Vec<u8>, String) {
    let answer = made(source, options);
    let info = crate::probe(&answer, &Limits::EDGE).unwrap();
    assert_eq!(info.orientation.exif(), 1);
    let blocks = metadata_blocks(&answer, info.format, &Limits::EDGE).unwrap();
    (blocks.exif, String::from_utf8(blocks.xmp).unwrap())
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn credit_is_carried_into_every_format_that_can() {
    for format in ["jpeg", "png", "webp"] {
        let (exif, xmp) = carried(&full(), &format!("width=20,format={format}"));
        let notice = exif::Notice::read(&exif);
        assert_eq!(notice.copyright.as_deref(), Some(b"(c) Kado".as_slice()), "{format}");
        // The source's EXIF names no artist, but its XMP does.
        assert_eq!(notice.artist.as_deref(), Some(b"Ann & Bo; Cy".as_slice()), "{format}");
        assert!(
            !has(&exif, b"Ours") && xmp.contains("Ann &amp; Bo") && xmp.contains("\u{a9} Kado"),
            "{xmp}"
        );
        assert!(!xmp.contains("GPS") && !xmp.contains("Sea"), "{xmp}");
        let (exif, xmp) = carried(&full(), &format!("width=20,metadata=none,format={format}"));
        assert!(exif.is_empty() && xmp.is_empty(), "{format}");
    }
}

#[test]
fn what_is_kept_says_nothing_of_place_or_device() {
    for format in ["jpeg", "png", "webp"] {
        let (exif, xmp) = carried(&full(), &format!("width=20,metadata=keep,format={format}"));
        for part in [
            b"Ours\0".as_slice(),
            b"(c) Kado\0",
            b"0232",
            &[0, 0, 0, 1, 0, 0, 0, 125],
        ] {
            assert!(has(&exif, part), "{format}: {part:?} is missing");
        }
        for part in [b"NOTE".as_slice(), b"S99", &[0x88, 0x25], &[0x92, 0x7c]] {
            assert!(!has(&exif, part), "{format}: {part:?} is there");
        }
        assert!(
            xmp.contains("Sea") && xmp.contains("Make=\"Ours\"") && xmp.contains("xpacket"),
            "{xmp}"
        );
        for part in ["GPS", "48,51N", "2,21E", "123456", "Orientation"] {
            assert!(!xmp.contains(part), "{format}: {part} in {xmp}");
        }
        // Once more, nothing is lost.
        let answer = made(&full(), &format!("width=20,metadata=keep,format={format}"));
        assert_eq!(carried(&answer, "metadata=keep").0, exif, "{format}");
    }
}

#[test]
fn iptc_stands_in_for_exif() {
    let record = [[0x1c, 2, 80, 0, 2].as_slice(), b"Bo", &[0x1c, 2, 116, 0, 4], b"Ours"].concat();
    let size = (record.len() as u32).to_be_bytes();
    let resources = [b"Photoshop 3.0\x008BIM\x04\x04\0\0".as_slice(), &size, &record].concat();
    let (exif, xmp) = carried(&jpeg(&[(0xed, &resources)]), "width=20");
    let notice = exif::Notice::read(&exif);
    assert_eq!(
        (notice.artist.as_deref(), notice.copyright.as_deref()),
        (Some(b"Bo".as_slice()), Some(b"Ours".as_slice()))
    );
    assert!(xmp.is_empty());
}

#[test]
fn directories_that_go_in_circles_end() {
    let circle = [
        (0x8769, 4, 1, [0, 0, 0, 8]),
        (0x8769, 4, 1, [0, 0, 0, 8]),
        (0x010f, 2, 3, *b"Ab\0\0"),
    ];
    let block = [b"MM\0*\0\0\0\x08".as_slice(), &directory(&circle)].concat();
    let kept = exif::kept(&block).unwrap();
    assert!(has(&kept, b"Ab\0"));
    // As many entries as a directory can have, each with as many bytes as there are.
    let entries = vec![(0x010f, 7, 60_000, [0, 0, 0, 8]); 5_000];
    let block = [b"MM\0*\0\0\0\x08".as_slice(), &directory(&entries)].concat();
    assert!(exif::kept(&block).is_none_or(|kept| kept.len() <= exif::MOST_BYTES));
}

#[test]
fn markup_that_cannot_be_read_is_dropped() {
    for markup in ["<a", "<a></b>", "<a b=c/>", "\u{0}", ""] {
        assert!(
            xmp::kept(markup.as_bytes()).is_none_or(|kept| !kept.contains('<')),
            "{markup}"
        );
    }
    assert!(xmp::kept(b"<a>\xff</a>").is_none());
    let large = format!("<a>{}</a>", "x".repeat(xmp::MOST_BYTES));
    assert!(xmp::kept(large.as_bytes()).is_none());
    let entities = "<!DOCTYPE a [<!ENTITY b \"cccc\">]><a>&b;</a>";
    assert!(!xmp::kept(entities.as_bytes()).unwrap().contains("cccc"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damaged_metadata_harms_nobody(
        changes in proptest::collection::vec((0usize..1200, any::<u8>()), 1..12),
        keep in any::<bool>(),
    ) {
        let mut source = full();
        for (at, value) in changes {
            // Behind the marker of the first segment, before the pixels.
            source[12 + at] = value;
        }
        let resolved = Resolved::parse(if keep { "width=8,metadata=keep" } else { "width=8" }).unwrap();
        if let Ok(output) = process(&source, &resolved, &Limits::EDGE, &NativeCodecs, &|| false) {
            prop_assert!(output.bytes.len() < 200_000);
            let blocks = metadata_blocks(&output.bytes, output.format, &Limits::EDGE).unwrap();
            // Nothing is left that would have to be cut out.
            if keep && !blocks.xmp.is_empty() {
                prop_assert_eq!(xmp::kept(&blocks.xmp).map(String::into_bytes), Some(blocks.xmp));
            }
        }
    }

    #[test]
    fn exif_of_any_bytes_is_written_within_bounds(bytes in proptest::collection::vec(any::<u8>(), 0..400), little in any::<bool>()) {
        let mut block = if little { b"II*\0".to_vec() } else { b"MM\0*".to_vec() };
        block.extend(if little { [8, 0, 0, 0] } else { [0, 0, 0, 8] });
        block.extend(bytes);
        let kept = exif::kept(&block).unwrap_or_default();
        prop_assert!(kept.len() <= exif::MOST_BYTES);
        // What is written is read, and written again as it is.
        prop_assert_eq!(exif::kept(&kept).unwrap_or_default(), kept);
    }
}

#[test]
fn samples_keep_their_notice() {
    let png = samples::png_rgb(40, 30);
    let (exif, xmp) = carried(&png, "width=20");
    assert!(exif.is_empty() && xmp.is_empty());
}
