//! A PNG's chunks, and the data of its picture as if it stood in one piece.

use super::super::Failure;
use crate::source::SourceReader;
use std::io::{BufRead as _, Read as _};
use zlib_rs::crc32::crc32;

/// The data of the picture.
pub(super) const DATA: [u8; 4] = *b"IDAT";
/// What ends the file.
pub(super) const END: [u8; 4] = *b"IEND";

/// Walks through the chunks; the first one's header comes next.
pub(super) struct Chunks<'r, 's> {
    reader: &'r mut SourceReader<'s>,
    kind: [u8; 4],
    /// Bytes of the chunk's data that have not been read.
    left: u64,
    sum: u32,
}

impl<'r, 's> Chunks<'r, 's> {
    pub(super) fn new(reader: &'r mut SourceReader<'s>) -> Result<Self, Failure> {
        let mut signature = [0; 8];
        reader.read_exact(&mut signature)?;
        if signature != *b"\x89PNG\r\n\x1a\n" {
            return Err(Failure::Damage("the signature is damaged".to_owned()));
        }
        Ok(Self {
            reader,
            kind: [0; 4],
            left: 0,
            sum: 0,
        })
    }

    /// Goes to the next chunk, the one before having been read: which kind it is, and how many bytes its data has.
    pub(super) fn next(&mut self) -> Result<([u8; 4], u64), Failure> {
        let mut length = [0; 4];
        self.reader.read_exact(&mut length)?;
        self.reader.read_exact(&mut self.kind)?;
        self.left = u32::from_be_bytes(length).into();
        if self.left > 0x7fff_ffff {
            return Err(self.damaged("claims to be longer than a chunk may"));
        }
        self.sum = crc32(0, &self.kind);
        Ok((self.kind, self.left))
    }

    /// All data of a chunk that is no longer than `most`, and whether its sum is right.
    pub(super) fn whole(&mut self, most: usize) -> Result<(Vec<u8>, bool), Failure> {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX);
        if length > most {
            return Err(self.damaged("is longer than its kind may"));
        }
        let mut data = vec![0; length];
        self.reader.read_exact(&mut data)?;
        self.left = 0;
        self.sum = crc32(self.sum, &data);
        Ok((data, self.is_sound()?))
    }

    /// Passes over what is left of a chunk that nobody looks at.
    pub(super) fn pass_over(&mut self) -> Result<(), Failure> {
        self.left += 4;
        while self.left > 0 {
            let at_hand = self.at_hand()?.len();
            self.reader.consume(at_hand);
            self.left -= at_hand as u64;
        }
        Ok(())
    }

    /// The next bytes of the picture's data, which may stand in several chunks; none at its end.
    pub(super) fn data(&mut self) -> Result<&[u8], Failure> {
        while self.left == 0 && self.kind == DATA {
            if !self.is_sound()? {
                return Err(self.damaged("has another check sum than it says"));
            }
            self.next()?;
        }
        if self.kind != DATA {
            return Ok(&[]);
        }
        self.at_hand()
    }

    /// Takes bytes that [`Self::data`] gave.
    pub(super) fn take(&mut self, count: usize) -> Result<(), Failure> {
        let data = self.reader.fill_buf()?;
        self.sum = crc32(self.sum, data.get(..count).unwrap_or_default());
        self.reader.consume(count);
        self.left = self.left.saturating_sub(count as u64);
        Ok(())
    }

    /// What is left of the data, and of the file: damaged it may be, but not cut.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        loop {
            let count = self.data()?.len();
            if count == 0 {
                break;
            }
            self.take(count)?;
        }
        while self.kind != END {
            self.pass_over()?;
            self.next()?;
        }
        Ok(())
    }

    /// Bytes of this chunk that lie in the reader's window, at least one.
    fn at_hand(&mut self) -> Result<&[u8], Failure> {
        let bytes = self.reader.fill_buf()?;
        if bytes.is_empty() {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        let count = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        Ok(bytes.get(..count).unwrap_or_default())
    }

    fn is_sound(&mut self) -> Result<bool, Failure> {
        let mut sum = [0; 4];
        self.reader.read_exact(&mut sum)?;
        Ok(u32::from_be_bytes(sum) == self.sum)
    }

    pub(super) fn damaged(&self, what: &str) -> Failure {
        Failure::Damage(format!("the chunk {} {what}", self.kind.escape_ascii()))
    }
}
