//! AVIF and HEIC: boxes of an ISO base media file. Of HEIC only the size is wanted; AVIF is read as far as its pixels.

mod fields;
mod items;
mod picture;

pub(crate) use self::items::Extent;
pub(crate) use self::picture::{AvifPicture, Part};

use self::picture::Unreadable;
use super::ImageInfo;
use super::peek::{Peek, Stopped};
use crate::{Format, ImageError, Limits, Source};

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

fn missing(peek: &Peek<'_>, name: &str) -> Stopped {
    peek.corrupt(0, format!("there is no {name} box"))
}

fn meta(peek: &mut Peek<'_>) -> Result<Box, Stopped> {
    // The end of a file of which only the head is there is not known, and not needed.
    let end = if peek.is_partial() { u64::MAX } else { peek.len() };
    find(peek, 0, end, b"meta")?.ok_or_else(|| missing(peek, "meta"))
}

pub(super) fn read(peek: &mut Peek<'_>, format: Format) -> Result<ImageInfo, Stopped> {
    if format == Format::Avif { avif(peek) } else { heic(peek) }
}

/// Size of the largest picture of the file; its thumbnails and auxiliary pictures are no larger.
fn heic(peek: &mut Peek<'_>) -> Result<ImageInfo, Stopped> {
    let meta = meta(peek)?;
    let Some(properties) = find(peek, meta.content + 4, meta.end, b"iprp")? else {
        return Err(missing(peek, "iprp"));
    };
    let Some(container) = find(peek, properties.content, properties.end, b"ipco")? else {
        return Err(missing(peek, "ipco"));
    };
    let mut info = ImageInfo::new(Format::Heic, 0, 0);
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

/// What the boxes of an AVIF file say of its picture.
fn picture(peek: &mut Peek<'_>) -> Result<Result<AvifPicture, Unreadable>, Stopped> {
    let meta = meta(peek)?;
    peek.within_metadata(meta.end)?;
    let bytes = usize::try_from(meta.end - meta.content).unwrap_or(usize::MAX);
    Ok(AvifPicture::parse(peek.exactly(meta.content, bytes)?, meta.content))
}

fn avif(peek: &mut Peek<'_>) -> Result<ImageInfo, Stopped> {
    let picture = match picture(peek)? {
        Ok(picture) => picture,
        Err(Unreadable::Damaged(what)) => return Err(peek.corrupt(0, what)),
        Err(Unreadable::Unsupported(what)) => return Err(ImageError::unsupported(Format::Avif, what).into()),
    };
    let (color, alpha) = (&picture.color, picture.alpha.is_some());
    // One after the other is decoded, so the larger one of each counts.
    let largest = |of: &dyn Fn(&Part) -> u64| of(color).max(picture.alpha.as_ref().map_or(0, of));
    let (_, _, width, height) = picture.shown;
    let info = ImageInfo {
        orientation: picture.orientation,
        components: if color.coding.quarters == 4 { 1 } else { 3 } + u8::from(alpha),
        bit_depth: largest(&|part| part.coding.depth.into()) as u8,
        alpha,
        color_profile: picture.profile.is_some(),
        profile_bytes: picture.profile.as_ref().map_or(0, |profile| profile.len() as u64),
        samples_per_pixel_quarters: largest(&|part| part.coding.quarters.into()) as u8,
        coded_pixels: largest(&Part::coded_pixels),
        decodable: true,
        ..ImageInfo::new(Format::Avif, width, height)
    };
    Ok(info)
}

/// EXIF lies behind as many bytes as the item's first four say.
fn exif_within(item: &[u8]) -> &[u8] {
    let (skip, rest) = item.split_at_checked(4).unwrap_or_default();
    let skip = skip.iter().fold(0, |skip, byte| skip << 8 | usize::from(*byte));
    rest.get(skip..).unwrap_or_default()
}

/// Reads the boxes of an AVIF file again, for its pixels.
///
/// # Errors
/// [`ImageError::Corrupt`] and [`ImageError::UnsupportedFormat`] where probing has given them too; errors of the source.
pub(crate) fn avif_picture(source: &dyn Source, limits: &Limits) -> Result<AvifPicture, ImageError> {
    let mut peek = Peek::whole(&source);
    peek.set_format(Format::Avif, limits.metadata_bytes);
    let damaged = |what| ImageError::corrupt(Format::Avif, 0, what);
    match picture(&mut peek) {
        Ok(Ok(picture)) => Ok(picture),
        Ok(Err(Unreadable::Damaged(what))) => Err(damaged(what)),
        Ok(Err(Unreadable::Unsupported(what))) => Err(ImageError::unsupported(Format::Avif, what)),
        Err(Stopped::Failed(error)) => Err(error),
        Err(Stopped::NeedMore(_)) => Err(damaged("the file ends inside its header")),
    }
}

/// The colour profile, or the code points that stand for one.
pub(super) fn declared(peek: &mut Peek<'_>, most: u64) -> Result<Option<super::Declared>, Stopped> {
    let meta = meta(peek)?;
    let Ok(picture) = picture(peek)? else { return Ok(None) };
    if let Some(profile) = picture.profile.filter(|profile| profile.len() as u64 <= most) {
        let bytes = peek.exactly(meta.content + profile.start as u64, profile.len())?;
        return Ok(Some(super::Declared::Icc(bytes.to_vec())));
    }
    Ok(picture.color.colors.map(|colors| super::Declared::Cicp {
        primaries: colors.primaries,
        transfer: colors.transfer,
    }))
}

/// EXIF and XMP, where each lies in one piece.
pub(super) fn metadata(peek: &mut Peek<'_>, most: u64) -> Result<(Vec<u8>, Vec<u8>), Stopped> {
    let Ok(picture) = picture(peek)? else {
        return Ok(Default::default());
    };
    let mut item = |extents: &[Extent]| match extents {
        &[(offset, length)] if (1..=most).contains(&length) => {
            let length = usize::try_from(length).unwrap_or(0);
            peek.exactly(offset, length).map(<[u8]>::to_vec)
        }
        _ => Ok(Vec::new()),
    };
    let exif = item(&picture.exif)?;
    Ok((exif_within(&exif).to_vec(), item(&picture.xmp)?))
}
