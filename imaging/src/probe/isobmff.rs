//! AVIF and HEIC: boxes of an ISO base media file, as far as the picture's size.

use super::ImageInfo;
use super::peek::{Peek, Stopped};
use crate::Format;

/// Boxes of one level that are walked over.
const MAX_BOXES: usize = 256;

/// Kind by the brands of the `ftyp` box.
pub(super) fn brand(peek: &mut Peek<'_>) -> Result<Option<Format>, Stopped> {
    let size = u64::from(peek.be32(0)?).clamp(8, 256);
    let brands = peek.up_to(8, usize::try_from(size - 8).unwrap_or(0))?.to_vec();
    let has = |wanted: &[&[u8; 4]]| {
        brands
            .chunks_exact(4)
            .enumerate()
            .any(|(index, brand)| index != 1 && wanted.iter().any(|name| brand == name.as_slice()))
    };
    Ok(if has(&[b"avif", b"avis"]) {
        Some(Format::Avif)
    } else if has(&[b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"]) {
        Some(Format::Heic)
    } else {
        None
    })
}

/// A box: its type, and where its content begins and ends.
struct Box {
    kind: [u8; 4],
    content: u64,
    end: u64,
}

fn next(peek: &mut Peek<'_>, offset: u64, end: u64) -> Result<Option<Box>, Stopped> {
    if offset + 8 > end {
        return Ok(None);
    }
    let (short, kind) = (peek.be32(offset)?, peek.array(offset + 4)?);
    let (size, content) = match short {
        0 => (end - offset, offset + 8),
        1 => (u64::from_be_bytes(peek.array(offset + 8)?), offset + 16),
        size => (u64::from(size), offset + 8),
    };
    let box_end = offset.saturating_add(size);
    if box_end < content || box_end > end {
        return Err(peek.corrupt(offset, "a box is larger than what holds it"));
    }
    Ok(Some(Box {
        kind,
        content,
        end: box_end,
    }))
}

fn find(peek: &mut Peek<'_>, mut offset: u64, end: u64, kind: &[u8; 4]) -> Result<Option<Box>, Stopped> {
    for _ in 0..MAX_BOXES {
        peek.within_metadata(offset)?;
        match next(peek, offset, end)? {
            Some(found) if found.kind == *kind => return Ok(Some(found)),
            Some(other) => offset = other.end,
            None => return Ok(None),
        }
    }
    Ok(None)
}

/// Size of the largest picture of the file; its thumbnails and auxiliary pictures are no larger.
pub(super) fn read(peek: &mut Peek<'_>, format: Format) -> Result<ImageInfo, Stopped> {
    // The end of a file of which only the head is there is not known, and not needed.
    let end = if peek.is_partial() { u64::MAX } else { peek.len() };
    let missing = |peek: &Peek<'_>, name: &str| peek.corrupt(0, format!("there is no {name} box"));
    let Some(meta) = find(peek, 0, end, b"meta")? else {
        return Err(missing(peek, "meta"));
    };
    let Some(properties) = find(peek, meta.content + 4, meta.end, b"iprp")? else {
        return Err(missing(peek, "iprp"));
    };
    let Some(container) = find(peek, properties.content, properties.end, b"ipco")? else {
        return Err(missing(peek, "ipco"));
    };
    let mut info = ImageInfo::new(format, 0, 0);
    let mut offset = container.content;
    for _ in 0..MAX_BOXES {
        let Some(property) = next(peek, offset, container.end)? else {
            break;
        };
        match &property.kind {
            b"ispe" => {
                let (width, height) = (peek.be32(property.content + 4)?, peek.be32(property.content + 8)?);
                if u64::from(width) * u64::from(height) > u64::from(info.width) * u64::from(info.height) {
                    (info.width, info.height) = (width, height);
                }
            }
            b"auxC" => info.alpha = true,
            b"colr" if peek.array::<4>(property.content)? != *b"nclx" => info.color_profile = true,
            b"pixi" => info.bit_depth = peek.u8(property.content + 5)?.max(info.bit_depth),
            _ => {}
        }
        offset = property.end;
    }
    Ok(info)
}
