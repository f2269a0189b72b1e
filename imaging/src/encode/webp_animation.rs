//! Animated WebP: a container of our own around still pictures of the caller's libwebp.

use super::webp;
use crate::animation::Patch;
use crate::pixels::Raster;
use crate::{CodecError, Codecs, Encoding, ImageError};

/// Bits of a VP8X header.
const ANIMATED: u8 = 0x02;
const ALPHA: u8 = 0x10;

/// A frame replaces what is under it instead of lying over it.
const REPLACES: u8 = 0x02;

/// The longest a frame can be shown, in milliseconds.
const LONGEST: u32 = (1 << 24) - 1;

/// An animation that is written frame by frame.
pub(crate) struct Animation<'a> {
    bytes: Vec<u8>,
    encoding: Encoding,
    codecs: &'a dyn Codecs,
}

fn u24(value: u32) -> [u8; 3] {
    let [a, b, c, _] = value.to_le_bytes();
    [a, b, c]
}

fn chunk(bytes: &mut Vec<u8>, name: &[u8; 4], parts: &[&[u8]]) {
    let size: usize = parts.iter().map(|part| part.len()).sum();
    bytes.extend_from_slice(name);
    bytes.extend((size as u32).to_le_bytes());
    for part in parts {
        bytes.extend_from_slice(part);
    }
    if size % 2 == 1 {
        bytes.push(0);
    }
}

impl<'a> Animation<'a> {
    pub(crate) fn new(
        (width, height): (u32, u32),
        encoding: Encoding,
        alpha: bool,
        plays: u16,
        codecs: &'a dyn Codecs,
    ) -> Self {
        // The size comes last.
        let mut bytes = b"RIFF\0\0\0\0WEBP".to_vec();
        let flags = ANIMATED | if alpha { ALPHA } else { 0 };
        let (width, height) = (u24(width.saturating_sub(1)), u24(height.saturating_sub(1)));
        chunk(&mut bytes, b"VP8X", &[&[flags, 0, 0, 0], &width, &height]);
        chunk(&mut bytes, b"ANIM", &[&[0; 4], &plays.to_le_bytes()]);
        Self {
            bytes,
            encoding,
            codecs,
        }
    }

    pub(crate) fn add(&mut self, raster: Raster, patch: Patch, milliseconds: u32) -> Result<(), ImageError> {
        let still = webp::encode(raster, &self.encoding, self.codecs)?;
        let picture =
            picture(&still).ok_or_else(|| CodecError::Failed("libwebp's answer is not a WebP file".to_owned()))?;
        let header = [
            u24(patch.left / 2),
            u24(patch.top / 2),
            u24(patch.width.saturating_sub(1)),
            u24(patch.height.saturating_sub(1)),
            u24(milliseconds.min(LONGEST)),
        ];
        chunk(
            &mut self.bytes,
            b"ANMF",
            &[header.as_flattened(), &[REPLACES], &picture],
        );
        Ok(())
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(crate) fn finish(mut self) -> Result<Vec<u8>, ImageError> {
        let size = (self.bytes.len() - 8) as u32;
        if let Some(field) = self.bytes.get_mut(4..8) {
            field.copy_from_slice(&size.to_le_bytes());
        }
        Ok(self.bytes)
    }
}

/// The chunks of a still file that a frame consists of: alpha and the bitstream.
fn picture(file: &[u8]) -> Option<Vec<u8>> {
    if file.get(..4)? != b"RIFF" || file.get(8..12)? != b"WEBP" {
        return None;
    }
    let mut found = Vec::new();
    let mut rest = file.get(12..)?;
    while rest.len() >= 8 {
        let size = u32::from_le_bytes(rest.get(4..8)?.try_into().ok()?) as usize;
        let end = 8usize.checked_add(size)?;
        let content = rest.get(8..end)?;
        match rest.get(..4)? {
            b"ALPH" => chunk(&mut found, b"ALPH", &[content]),
            b"VP8 " => chunk(&mut found, b"VP8 ", &[content]),
            b"VP8L" => chunk(&mut found, b"VP8L", &[content]),
            _ => {}
        }
        rest = rest.get(end + size % 2..).unwrap_or_default();
    }
    (!found.is_empty()).then_some(found)
}
