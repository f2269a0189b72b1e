//! Animated WebP: a container of our own around still pictures of the caller's libwebp.

use super::webp;
use super::webp_chunks::{ALPHA, ANIMATED, chunk, extended, finished, picture, u24};
use crate::animation::Patch;
use crate::pixels::Raster;
use crate::{CodecError, Codecs, Encoding, ImageError};

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

impl<'a> Animation<'a> {
    pub(crate) fn new(
        (width, height): (u32, u32),
        encoding: Encoding,
        alpha: bool,
        plays: u16,
        codecs: &'a dyn Codecs,
    ) -> Self {
        let flags = ANIMATED | if alpha { ALPHA } else { 0 };
        let mut bytes = extended((width, height), flags);
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

    pub(crate) fn finish(self) -> Vec<u8> {
        finished(self.bytes)
    }
}
