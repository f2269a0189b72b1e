//! Where symbols go: first they are counted, then they are written.

use super::huffman::{Code, Frequencies};

/// Takes the symbols of a scan.
pub(super) trait Sink {
    /// A symbol by one of the scan's codes, and `count` bits behind it.
    fn symbol(&mut self, code: usize, symbol: u8, bits: u32, count: u32);

    /// At most 32 bits as they are.
    fn bits(&mut self, bits: u32, count: u32);
}

/// Counts symbols, for two codes of DC differences and two of AC values.
pub(super) struct Counter {
    pub(super) symbols: [Frequencies; 4],
    /// Bits that belong to no symbol.
    plain: u64,
}

impl Counter {
    pub(super) const fn new() -> Self {
        Self {
            symbols: [const { Frequencies::new() }; 4],
            plain: 0,
        }
    }

    /// Bits of all symbols by their best codes, of what is behind them, and of the codes' tables.
    pub(super) fn total(&self) -> u64 {
        let used = self.symbols.iter().filter(|frequencies| !frequencies.is_empty());
        self.plain + used.map(Frequencies::bits).sum::<u64>()
    }
}

impl Sink for Counter {
    #[inline(always)]
    fn symbol(&mut self, code: usize, symbol: u8, _: u32, _: u32) {
        if let Some(frequencies) = self.symbols.get_mut(code)
            && let Some(frequency) = frequencies.0.get_mut(usize::from(symbol))
        {
            *frequency += 1;
        }
    }

    #[inline(always)]
    fn bits(&mut self, _: u32, count: u32) {
        self.plain += u64::from(count);
    }
}

/// Writes them.
pub(super) struct Writer<'a> {
    codes: &'a [Code; 4],
    bytes: &'a mut Vec<u8>,
    buffer: u64,
    count: u32,
}

impl<'a> Writer<'a> {
    pub(super) const fn new(codes: &'a [Code; 4], bytes: &'a mut Vec<u8>) -> Self {
        Self {
            codes,
            bytes,
            buffer: 0,
            count: 0,
        }
    }

    /// At most 32 bits.
    #[inline(always)]
    fn push(&mut self, bits: u64, count: u32) {
        self.buffer = self.buffer << count | bits;
        self.count += count;
        if self.count >= 32 {
            self.count -= 32;
            let word = (self.buffer >> self.count) as u32;
            // Some byte is 0xff where its complement is zero.
            let inverse = !word;
            if inverse.wrapping_sub(0x0101_0101) & word & 0x8080_8080 == 0 {
                self.bytes.extend(word.to_be_bytes());
            } else {
                word.to_be_bytes().into_iter().for_each(|byte| self.stuffed(byte));
            }
        }
    }

    fn stuffed(&mut self, byte: u8) {
        self.bytes.push(byte);
        if byte == 0xff {
            self.bytes.push(0);
        }
    }

    /// Fills the last byte with ones.
    pub(super) fn finish(mut self) {
        let missing = (8 - self.count % 8) % 8;
        self.buffer = self.buffer << missing | ((1 << missing) - 1);
        self.count += missing;
        while self.count > 0 {
            self.count -= 8;
            self.stuffed((self.buffer >> self.count) as u8);
        }
    }
}

impl Sink for Writer<'_> {
    #[inline(always)]
    fn symbol(&mut self, code: usize, symbol: u8, bits: u32, count: u32) {
        let (prefix, length) = self.codes.get(code).map_or((0, 0), |code| code.of(symbol));
        self.push(u64::from(prefix) << count | u64::from(bits), u32::from(length) + count);
    }

    #[inline(always)]
    fn bits(&mut self, bits: u32, count: u32) {
        self.push(u64::from(bits), count);
    }
}
