//! TIFF: the first page's directory.

use super::ImageInfo;
use super::exif::Tiff;
use super::peek::{Peek, Stopped};
use crate::{Format, Orientation};

/// Bytes of an entry as the decoder keeps it, and of each number in one that it reads: those become values of 32 bytes,
/// and then a list.
const ENTRY: u64 = 64;
const NUMBER: u64 = 40;

/// Whether the decoder reads all that an entry has, before its limits are set: size, coding, strips and tiles, channels.
fn is_read(tag: u16) -> bool {
    matches!(tag, 0x0100..=0x0103 | 0x0106 | 0x0111 | 0x0115..=0x0117 | 0x011c | 0x013d | 0x0142..=0x0145 | 0x0152 | 0x0153 | 0x015b | 0x0212)
}

/// The first directory as if it came right after the header: values of at most four bytes are in it.
fn directory(peek: &mut Peek<'_>) -> Result<Vec<u8>, Stopped> {
    let header = peek.array::<8>(0)?;
    let big_endian = header.starts_with(b"MM");
    let [_, _, _, _, offset @ ..] = header;
    let directory = u64::from(if big_endian {
        u32::from_be_bytes(offset)
    } else {
        u32::from_le_bytes(offset)
    });
    let count = peek.array::<2>(directory)?;
    let count = if big_endian {
        u16::from_be_bytes(count)
    } else {
        u16::from_le_bytes(count)
    };
    let mut data = header.get(..4).unwrap_or_default().to_vec();
    data.extend(if big_endian {
        8u32.to_be_bytes()
    } else {
        8u32.to_le_bytes()
    });
    data.extend_from_slice(peek.exactly(directory, 2 + 12 * usize::from(count))?);
    Ok(data)
}

/// Where the colour profile lies, and its bytes.
pub(super) fn profile(peek: &mut Peek<'_>) -> Result<Option<(u64, u64)>, Stopped> {
    let data = directory(peek)?;
    let found = Tiff::open(&data).and_then(|tiff| {
        let entry = tiff.entries().find(|entry| entry.tag == 0x8773)?;
        Some((u64::from(tiff.u32_of(entry.value)), u64::from(entry.count)))
    });
    Ok(found)
}

pub(super) fn read(peek: &mut Peek<'_>) -> Result<ImageInfo, Stopped> {
    let data = directory(peek)?;
    let Some(tiff) = Tiff::open(&data) else {
        return Err(peek.corrupt(0, "the TIFF header is not valid"));
    };
    let mut info = ImageInfo {
        components: 1,
        bit_depth: 1,
        ..ImageInfo::new(Format::Tiff, 0, 0)
    };
    let (mut photometric, mut compression, mut planar, mut sample_format) = (u32::MAX, 1, 1, 1);
    for entry in tiff.entries() {
        let numbers = if is_read(entry.tag) { u64::from(entry.count) } else { 0 };
        info.auxiliary_bytes += ENTRY + numbers * NUMBER;
        let number = match (entry.kind, entry.count) {
            // One number for each channel, which have to be the same: the first of them is enough here.
            (3, 3..=16) if matches!(entry.tag, 0x0102 | 0x0152 | 0x0153) => {
                let first = peek.array::<2>(u64::from(tiff.u32_of(entry.value)))?;
                Some(u32::from(tiff.u16_of(first)))
            }
            _ => tiff.number(&entry),
        };
        if entry.tag == 0x8773 {
            (info.color_profile, info.profile_bytes) = (true, u64::from(entry.count));
        }
        let Some(number) = number else { continue };
        let small = u16::try_from(number).unwrap_or(u16::MAX);
        let tiny = u8::try_from(number).unwrap_or(u8::MAX);
        match entry.tag {
            0x0100 => info.width = number,
            0x0101 => info.height = number,
            0x0102 => info.bit_depth = tiny,
            0x0103 => compression = number,
            0x0106 => photometric = number,
            0x0112 => info.orientation = Orientation::from_exif(small),
            0x0115 => info.components = tiny,
            0x011c => planar = number,
            // What is neither kind of alpha is not for the eye.
            0x0152 => info.alpha = matches!(number, 1 | 2),
            0x0153 => sample_format = number,
            _ => {}
        }
    }
    // None, CCITT, LZW, both names of Deflate, PackBits.
    let packed = matches!(compression, 1..=5 | 8 | 32_773 | 32_946);
    let colors = info.components.saturating_sub(u8::from(info.alpha));
    let known = match photometric {
        // Grey, either way up.
        0 | 1 => colors == 1 && (matches!(info.bit_depth, 8 | 16) || (info.components == 1 && info.bit_depth <= 8)),
        2 => colors == 3 && matches!(info.bit_depth, 8 | 16),
        // Inks.
        5 => info.components == 4 && info.bit_depth == 8,
        _ => false,
    };
    info.decodable = packed && known && sample_format == 1 && (planar == 1 || colors == 1 && !info.alpha);
    Ok(info)
}
