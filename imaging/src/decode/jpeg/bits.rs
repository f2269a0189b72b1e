//! Entropy-coded bits. A window of the scan is freed of its stuffing ahead of use and kept in reverse, so that one
//! little-endian load, which WebAssembly has, gives the next bits in order.

use crate::source::SourceReader;
use std::io::{self, BufRead as _};
use wide::u8x16;

/// More than an MCU can take: ten blocks of 64 coefficients with at most 16 bits of code and 15 of value each.
const SLACK: usize = 4096;

/// Bytes of the window. Small enough to stay in the first-level cache beside the tables.
const SIZE: usize = 16 * 1024 + 2 * SLACK;

/// Bytes that are unstuffed at once.
const PIECE: usize = 16;

/// Why a scan's data ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// At a marker, which has been read.
    Marker(u8),
    /// With the file.
    File,
}

/// Unstuffed bytes of a scan, last ones first.
pub(super) struct Window {
    bytes: Vec<u8>,
    /// Nothing below has been filled.
    low: usize,
    /// Zeroes at the bottom, behind the end.
    padding: usize,
    end: Option<End>,
    /// The last byte read was 0xff.
    after_ff: bool,
}

/// Where reading stands: up to 64 bits at hand, and the position in the window below which the next bytes lie.
#[derive(Clone, Copy, Default)]
pub(super) struct Bits {
    buffer: u64,
    /// In its lowest six bits.
    count: u32,
    position: usize,
}

impl Window {
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; SIZE],
            low: SIZE,
            padding: 0,
            end: None,
            after_ff: false,
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Begins with the next byte of the file.
    pub(super) fn start(&mut self, reader: &mut SourceReader<'_>) -> io::Result<Bits> {
        self.low = SIZE;
        self.padding = 0;
        self.end = None;
        self.after_ff = false;
        let bits = Bits {
            position: SIZE,
            ..Bits::default()
        };
        let mut bits = self.fill(bits, reader)?;
        bits.refill(&self.bytes);
        Ok(bits)
    }

    /// Makes sure that an MCU can be read. By value, as everything that is not inlined: what a reference to is given away
    /// cannot stay in registers.
    #[inline(always)]
    pub(super) fn top_up(&mut self, bits: Bits, reader: &mut SourceReader<'_>) -> io::Result<Bits> {
        if bits.position < self.low + SLACK && self.end.is_none() {
            return self.fill(bits, reader);
        }
        Ok(bits)
    }

    /// Whether more bits were taken than there are.
    #[inline]
    pub(super) fn is_overrun(&self, bits: &Bits) -> bool {
        self.end.is_some() && 8 * bits.position + (bits.count as usize & 63) < 8 * self.padding
    }

    /// Passes the rest of the data, and says what ended it.
    pub(super) fn finish(&mut self, reader: &mut SourceReader<'_>) -> io::Result<End> {
        loop {
            if let Some(end) = self.end {
                return Ok(end);
            }
            let bits = Bits {
                position: self.low,
                ..Bits::default()
            };
            self.fill(bits, reader)?;
        }
    }

    #[cold]
    fn fill(&mut self, mut bits: Bits, reader: &mut SourceReader<'_>) -> io::Result<Bits> {
        let kept = bits.position - self.low;
        self.bytes.copy_within(self.low..bits.position, SIZE - kept);
        bits.position = SIZE;
        self.low = SIZE - kept;
        while self.has_room() {
            let input = reader.fill_buf()?;
            if input.is_empty() {
                self.end = Some(End::File);
                break;
            }
            let used = self.take(input);
            reader.consume(used);
        }
        if self.end.is_some() {
            self.padding = SLACK;
            let from = self.low - SLACK;
            if let Some(padding) = self.bytes.get_mut(from..self.low) {
                padding.fill(0);
            }
            // Positions count from the padding's first byte, which makes an overrun one comparison.
            self.bytes.copy_within(from.., 0);
            bits.position -= from;
            self.low = 0;
        }
        Ok(bits)
    }

    /// Whether another piece fits above the room for the padding.
    const fn has_room(&self) -> bool {
        self.low >= PIECE + SLACK && self.end.is_none()
    }

    /// Takes what fits of `input`; says how many bytes that were.
    fn take(&mut self, input: &[u8]) -> usize {
        let mut rest = input;
        while self.has_room() {
            if !self.after_ff
                && let Some((piece, _)) = rest.split_first_chunk::<PIECE>()
            {
                let clean = self.take_piece(piece);
                rest = rest.get(clean..).unwrap_or_default();
                if clean == PIECE {
                    continue;
                }
            }
            let Some((byte, tail)) = rest.split_first() else { break };
            rest = tail;
            self.take_byte(*byte);
        }
        input.len() - rest.len()
    }

    /// Takes the bytes before the first 0xff; says how many those are.
    #[inline]
    fn take_piece(&mut self, piece: &[u8; PIECE]) -> usize {
        let clean = first_ff(piece);
        if let Some(to) = self.bytes.get_mut(self.low - PIECE..self.low) {
            // All are written; those from the 0xff on are overwritten next.
            to.copy_from_slice(&reversed(piece));
        }
        self.low -= clean;
        clean
    }

    fn take_byte(&mut self, byte: u8) {
        let data = match (self.after_ff, byte) {
            // Any number of 0xff may stand before a marker.
            (_, 0xff) => {
                self.after_ff = true;
                return;
            }
            (true, 0) => 0xff,
            (true, marker) => {
                self.end = Some(End::Marker(marker));
                return;
            }
            (false, byte) => byte,
        };
        self.after_ff = false;
        self.low -= 1;
        if let Some(to) = self.bytes.get_mut(self.low) {
            *to = data;
        }
    }
}

/// Index of the first 0xff; the length where there is none.
#[inline]
fn first_ff(piece: &[u8; PIECE]) -> usize {
    let found = u8x16::new(*piece).simd_eq(u8x16::splat(0xff)).to_bitmask();
    (found | 1 << PIECE).trailing_zeros() as usize
}

#[cfg(not(target_arch = "wasm32"))]
#[inline]
fn reversed(piece: &[u8; PIECE]) -> [u8; PIECE] {
    u128::from_le_bytes(*piece).swap_bytes().to_le_bytes()
}

#[cfg(target_arch = "wasm32")]
#[inline]
fn reversed(piece: &[u8; PIECE]) -> [u8; PIECE] {
    let mut reversed = *piece;
    reversed.reverse();
    reversed
}

impl Bits {
    /// At least 56 bits at hand afterwards.
    #[inline(always)]
    pub(super) fn refill(&mut self, bytes: &[u8]) {
        let next = bytes
            .get(self.position.wrapping_sub(8)..)
            .and_then(<[u8]>::first_chunk)
            .map_or(0, |next| u64::from_le_bytes(*next));
        let count = self.count & 63;
        self.buffer |= next >> count;
        self.position = self.position.saturating_sub(((63 - count) >> 3) as usize);
        self.count = count | 56;
    }

    /// The next bits, first one on top.
    #[inline(always)]
    pub(super) const fn buffer(&self) -> u64 {
        self.buffer
    }

    /// Drops bits: as many as the lowest six bits of `count` say, which what is looked up in a table has other bits above.
    /// No more than are at hand.
    #[inline(always)]
    pub(super) const fn drop_bits(&mut self, count: u32) {
        self.buffer <<= count & 63;
        self.count = self.count.wrapping_sub(count);
    }

    /// The next `count` bits as a number; at most 16, and no more than are at hand.
    #[inline(always)]
    pub(super) const fn take(&mut self, count: u32) -> u32 {
        if count == 0 {
            return 0;
        }
        let value = (self.buffer >> (64 - count)) as u32;
        self.drop_bits(count);
        value
    }

    /// One bit.
    #[inline(always)]
    pub(super) const fn take_bit(&mut self) -> bool {
        let bit = self.buffer >> 63 == 1;
        self.drop_bits(1);
        bit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stuffed(bytes: &[u8]) -> Vec<u8> {
        bytes
            .iter()
            .flat_map(|byte| if *byte == 0xff { vec![0xff, 0] } else { vec![*byte] })
            .collect()
    }

    proptest! {
        #[test]
        fn bits_come_out_as_they_went_in(
            bytes in proptest::collection::vec(prop_oneof![3 => any::<u8>(), 1 => Just(0xffu8)], 0..70_000),
            takes in proptest::collection::vec(1u32..=16, 1..40),
        ) {
            let mut file = stuffed(&bytes);
            file.extend([0xff, 0xff, 0xd9, 1, 2]);
            let mut reader = SourceReader::new(&file, &|| false);
            let mut window = Window::new();
            let mut bits = window.start(&mut reader).unwrap();
            let mut expected = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| u32::from(byte >> bit & 1)));
            let mut left = 8 * bytes.len();
            for count in takes.iter().cycle() {
                if left < *count as usize { break; }
                bits = window.top_up(bits, &mut reader).unwrap();
                bits.refill(window.bytes());
                let wanted = (0..*count).fold(0, |value, _| value << 1 | expected.next().unwrap());
                prop_assert_eq!(bits.take(*count), wanted);
                prop_assert!(!window.is_overrun(&bits));
                left -= *count as usize;
            }
            bits = window.top_up(bits, &mut reader).unwrap();
            bits.refill(window.bytes());
            bits.take(16);
            prop_assert_eq!(window.is_overrun(&bits), left < 16);
            prop_assert_eq!(window.finish(&mut reader).unwrap(), End::Marker(0xd9));
            prop_assert_eq!(reader.position(), file.len() as u64 - 2);
        }

        #[test]
        fn the_first_ff_is_found(piece in proptest::array::uniform16(prop_oneof![any::<u8>(), Just(0xffu8), Just(0xfeu8), Just(0u8)])) {
            prop_assert_eq!(first_ff(&piece), piece.iter().position(|byte| *byte == 0xff).unwrap_or(16));
        }
    }

    #[test]
    fn a_file_that_ends_inside_a_scan_says_so() {
        let file = vec![1, 2, 3];
        let mut reader = SourceReader::new(&file, &|| false);
        let mut window = Window::new();
        let mut bits = window.start(&mut reader).unwrap();
        assert_eq!(window.finish(&mut reader).unwrap(), End::File);
        assert_eq!((bits.take(16), bits.take(8)), (0x0102, 3));
        assert!(!window.is_overrun(&bits));
        bits.take(1);
        assert!(window.is_overrun(&bits));
    }
}
