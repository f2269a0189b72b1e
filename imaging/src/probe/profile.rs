//! What a file says of its colours: an ICC profile, or PNG's own few numbers. Read apart from the pixels, before them.

use super::isobmff;
use super::jpeg::{MAX_SEGMENTS, Segment, next_segment, starts_with};
use super::peek::{Peek, Stopped};
use super::png::MAX_CHUNKS;
use crate::{Format, ImageError, ImageInfo, LimitKind, Limits, Source};
use miniz_oxide::inflate::{TINFLStatus, decompress_to_vec_zlib_with_limit};

/// Colours as a file declares them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Declared {
    /// An ICC profile, unpacked and not looked into.
    Icc(Vec<u8>),
    /// PNG's gAMA and cHRM.
    Png {
        /// The exponent of encoding in 1/100,000.
        gamma: Option<u32>,
        /// White, red, green and blue as x and y, in 1/100,000.
        chromaticities: Option<[u32; 8]>,
    },
    /// Code points of ITU-T H.273.
    Cicp {
        /// `ColourPrimaries`.
        primaries: u16,
        /// `TransferCharacteristics`.
        transfer: u16,
    },
}

/// Reads what a picture declares; `None` where that is nothing, sRGB, or cannot be read.
///
/// # Errors
/// [`ImageError::TooLarge`] for a profile that is over the limit, and errors of the source.
pub(crate) fn declared(source: &dyn Source, info: &ImageInfo, limits: &Limits) -> Result<Option<Declared>, ImageError> {
    let mut peek = Peek::whole(&source);
    peek.set_format(info.format, limits.metadata_bytes);
    let found = match info.format {
        Format::Png => png(&mut peek, limits),
        Format::Jpeg if info.color_profile => jpeg(&mut peek, limits),
        Format::WebP if info.color_profile => webp(&mut peek, limits),
        Format::Tiff if info.color_profile => tiff(&mut peek, limits),
        Format::Avif => isobmff::declared(&mut peek, limits.profile_bytes),
        _ => Ok(None),
    };
    match found {
        Ok(found) => Ok(found),
        // A damaged header is the decoder's to complain of.
        Err(Stopped::NeedMore(_) | Stopped::Failed(ImageError::Corrupt { .. })) => Ok(None),
        Err(Stopped::Failed(error)) => Err(error),
    }
}

fn within(limits: &Limits, bytes: u64) -> Result<usize, Stopped> {
    let limit = limits.profile_bytes;
    let refused = ImageError::TooLarge {
        what: LimitKind::ProfileBytes,
        limit,
        value: bytes,
    };
    usize::try_from(bytes)
        .ok()
        .filter(|_| bytes <= limit)
        .ok_or(Stopped::Failed(refused))
}

/// The parts of a profile lie in APP2 segments, numbered from 1, in any order.
fn jpeg(peek: &mut Peek<'_>, limits: &Limits) -> Result<Option<Declared>, Stopped> {
    let mut parts = Vec::new();
    let mut total = 0;
    let mut offset = 2;
    for _ in 0..MAX_SEGMENTS {
        let Some(Segment { marker, body, size }) = next_segment(peek, &mut offset)? else {
            break;
        };
        if marker == 0xe2 && size > 14 && starts_with(peek, body, size, b"ICC_PROFILE\0")? {
            let [number, count] = peek.array::<2>(body + 12)?;
            total += size - 14;
            parts.push((number, count, body + 14, within(limits, size - 14)?));
        }
    }
    within(limits, total)?;
    parts.sort_by_key(|(number, ..)| *number);
    let whole = parts
        .iter()
        .zip(1..)
        .all(|((number, count, ..), expected)| *number == expected && usize::from(*count) == parts.len());
    if parts.is_empty() || !whole {
        return Ok(None);
    }
    let mut profile = Vec::new();
    for (_, _, at, size) in parts {
        profile.extend_from_slice(peek.exactly(at, size)?);
    }
    Ok(Some(Declared::Icc(profile)))
}

fn webp(peek: &mut Peek<'_>, limits: &Limits) -> Result<Option<Declared>, Stopped> {
    let size = within(limits, u64::from(peek.le32(34)?))?;
    Ok(Some(Declared::Icc(peek.exactly(38, size)?.to_vec())))
}

fn tiff(peek: &mut Peek<'_>, limits: &Limits) -> Result<Option<Declared>, Stopped> {
    let Some((at, bytes)) = super::tiff::profile(peek)? else {
        return Ok(None);
    };
    let size = within(limits, bytes)?;
    Ok(Some(Declared::Icc(peek.exactly(at, size)?.to_vec())))
}

/// A profile goes before sRGB, and that before gAMA and cHRM, as the PNG specification has it.
fn png(peek: &mut Peek<'_>, limits: &Limits) -> Result<Option<Declared>, Stopped> {
    let (mut gamma, mut chromaticities, mut srgb) = (None, None, false);
    let mut offset = 33;
    for _ in 0..MAX_CHUNKS {
        peek.within_metadata(offset)?;
        let length = u64::from(peek.be32(offset)?);
        match &peek.array::<4>(offset + 4)? {
            b"IDAT" | b"IEND" => break,
            b"iCCP" => {
                if let Some(profile) = unpacked(peek, offset + 8, length, limits)? {
                    return Ok(Some(Declared::Icc(profile)));
                }
            }
            b"sRGB" => srgb = true,
            b"gAMA" if length == 4 => gamma = Some(peek.be32(offset + 8)?),
            b"cHRM" if length == 32 => {
                let mut values = [0; 8];
                for (value, at) in values.iter_mut().zip((offset + 8..).step_by(4)) {
                    *value = peek.be32(at)?;
                }
                chromaticities = Some(values);
            }
            _ => {}
        }
        offset += 12 + length;
    }
    let says_nothing = srgb || (gamma.is_none() && chromaticities.is_none());
    Ok((!says_nothing).then_some(Declared::Png { gamma, chromaticities }))
}

/// A name, its end, a method, and the compressed profile; `None` where it is damaged.
fn unpacked(peek: &mut Peek<'_>, at: u64, length: u64, limits: &Limits) -> Result<Option<Vec<u8>>, Stopped> {
    let size = within(limits, length)?;
    let limit = usize::try_from(limits.profile_bytes).unwrap_or(usize::MAX);
    let content = peek.exactly(at, size)?;
    let Some(name) = content.iter().take(80).position(|byte| *byte == 0) else {
        return Ok(None);
    };
    match decompress_to_vec_zlib_with_limit(content.get(name + 2..).unwrap_or_default(), limit) {
        Ok(profile) => Ok(Some(profile)),
        Err(failure) if failure.status == TINFLStatus::HasMoreOutput => {
            // It was stopped at the limit, so only that it is over it is known.
            Err(within(limits, limits.profile_bytes.saturating_add(1))
                .err()
                .unwrap_or(Stopped::NeedMore(0)))
        }
        Err(_) => Ok(None),
    }
}
