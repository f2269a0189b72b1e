//! Deflate (RFC 1951) of filtered rows as literals and runs, in a zlib stream (RFC 1950).
//!
//! In the filtered rows of a photograph there is next to nothing to be found twice, so what a search for it takes is for nothing:
//! its files are as small with prefix codes alone, of which each part of the rows has its own.

use super::huffman::{Code, codes, lengths};
use zlib_rs::adler32::adler32;

/// Bytes whose symbols are counted together. Neighbours that are alike share one block, and with it one code.
const PIECE: usize = 32 << 10;
/// Pieces of a block at most, which bounds what is held back.
const MOST_PIECES: usize = 8;
/// The longest code of a symbol, so that 64 bits have room for four of them and what a byte has not taken yet. Deflate
/// would allow 15.
const LONGEST: u8 = 14;
/// The longest code of a code length (RFC 1951, 3.2.7).
const LONGEST_OF_LENGTHS: u8 = 7;
/// Literals, the end of a block, and lengths of runs.
const SYMBOLS: usize = 286;
const END: usize = 256;
const LONGEST_RUN: usize = 258;
/// What a block's header takes, about, in bits: what two blocks have to save to be worth more than one.
const HEADER: f32 = 800.0;

/// A stream that is being written.
pub(super) struct Deflate {
    /// What has been pushed and is not in `pieces` yet, less than a piece.
    pending: Vec<u8>,
    /// Whole pieces of the block that is being gathered; only the stream's last may be shorter.
    block: Vec<u8>,
    frequencies: Frequencies,
    bits: Bits,
    sum: u32,
}

impl Deflate {
    pub(super) fn new() -> Self {
        Self {
            pending: Vec::with_capacity(PIECE),
            block: Vec::with_capacity(PIECE),
            frequencies: Frequencies::default(),
            // A window of 32 KiB, deflate; the default effort; a multiple of 31.
            bits: Bits {
                bytes: vec![0x78, 0x9c],
                buffer: 0,
                count: 0,
            },
            sum: 1,
        }
    }

    pub(super) fn push(&mut self, mut data: &[u8]) {
        self.sum = adler32(self.sum, data);
        while !data.is_empty() {
            let room = PIECE - self.pending.len();
            let (now, later) = data.split_at(room.min(data.len()));
            self.pending.extend_from_slice(now);
            data = later;
            if self.pending.len() == PIECE {
                self.piece();
            }
        }
    }

    /// What is written so far, at least `least` bytes of it, or nothing.
    pub(super) fn take(&mut self, least: usize) -> Option<Vec<u8>> {
        (self.bits.bytes.len() >= least.max(1)).then(|| std::mem::take(&mut self.bits.bytes))
    }

    /// The rest of the stream.
    pub(super) fn finish(mut self) -> Vec<u8> {
        if !self.pending.is_empty() {
            self.piece();
        }
        self.write(true);
        let mut bytes = self.bits.finish();
        bytes.extend(self.sum.to_be_bytes());
        bytes
    }

    /// Adds the pending piece to the block, or writes that and begins another with it, whichever takes fewer bits.
    fn piece(&mut self) {
        let mut frequencies = Frequencies::default();
        frequencies.count(&self.pending);
        if !self.block.is_empty() {
            let together = self.frequencies.and(&frequencies);
            let apart = self.frequencies.cost() + frequencies.cost() + HEADER;
            if self.block.len() >= PIECE * MOST_PIECES || together.cost() > apart {
                self.write(false);
            } else {
                frequencies = together;
            }
        }
        self.block.extend_from_slice(&self.pending);
        self.frequencies = frequencies;
        self.pending.clear();
    }

    /// Writes the block and begins an empty one.
    fn write(&mut self, last: bool) {
        let mut frequencies = std::mem::take(&mut self.frequencies);
        if let Some(end) = frequencies.0.get_mut(END) {
            *end = 1;
        }
        let lengths = lengths(&frequencies.0, LONGEST);
        let codes = codes(&lengths);
        let coded = frequencies.0.iter().zip(&lengths).enumerate();
        let bits: usize = coded
            .map(|(symbol, (frequency, length))| {
                let extra = if symbol > END { EXTRA_OF_RUN } else { 0 };
                *frequency as usize * (usize::from(*length) + extra)
            })
            .sum();
        self.bits.reserve(bits / 8 + HEADER_BYTES);
        self.bits.put(u64::from(last) | 2 << 1, 3);
        self.header(&lengths);
        self.symbols(&codes);
        let (code, length) = codes.get(END).copied().unwrap_or_default();
        self.bits.put(u64::from(code), length);
        self.block.clear();
    }

    /// The lengths of all codes, themselves coded (RFC 1951, 3.2.7). Of distances there is one, of which one bit is spent.
    fn header(&mut self, lengths: &[u8]) {
        /// The order in which lengths of codes of lengths are written.
        const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
        let used = lengths
            .iter()
            .rposition(|length| *length > 0)
            .map_or(END + 1, |last| last + 1);
        let mut all: Vec<u8> = lengths.iter().take(used).copied().collect();
        all.push(1);
        let repeats = repeats(&all);
        let mut frequencies = [0; ORDER.len()];
        for (symbol, ..) in &repeats {
            if let Some(frequency) = frequencies.get_mut(usize::from(*symbol)) {
                *frequency += 1;
            }
        }
        let lengths = super::huffman::lengths(&frequencies, LONGEST_OF_LENGTHS);
        let codes = codes(&lengths);
        let in_order = ORDER.map(|symbol| lengths.get(symbol).copied().unwrap_or_default());
        let written = in_order
            .iter()
            .rposition(|length| *length > 0)
            .map_or(4, |last| (last + 1).max(4));
        self.bits.put((used - 257) as u64 | ((written - 4) as u64) << 10, 14);
        for length in in_order.iter().take(written) {
            self.bits.put(u64::from(*length), 3);
        }
        for (symbol, extra, extra_bits) in repeats {
            let (code, length) = codes.get(usize::from(symbol)).copied().unwrap_or_default();
            self.bits
                .put(u64::from(code) | u64::from(extra) << length, length + extra_bits);
        }
    }

    fn symbols(&mut self, codes: &[Code]) {
        // Of literals in one array of its own, which no byte is outside of.
        let mut literals = [(0, 0); 256];
        for (literal, code) in literals.iter_mut().zip(codes) {
            *literal = *code;
        }
        let of = |byte: u8| {
            let (code, length): Code = literals.get(usize::from(byte)).copied().unwrap_or_default();
            (u64::from(code), length)
        };
        for piece in self.block.chunks(PIECE) {
            for step in Steps::new(piece) {
                match step {
                    Step::Eight(bytes) => {
                        let [a, b, c, d, e, f, g, h] = bytes.map(of);
                        self.bits.four([a, b, c, d]);
                        self.bits.four([e, f, g, h]);
                    }
                    Step::One(byte) => {
                        let (code, length) = of(byte);
                        self.bits.put(code, length);
                    }
                    Step::Run(length) => {
                        let (symbol, extra, extra_bits) = run(length);
                        let (code, length) = codes.get(symbol).copied().unwrap_or_default();
                        // One bit more, 0, is the distance of one byte.
                        self.bits
                            .put(u64::from(code) | u64::from(extra) << length, length + extra_bits + 1);
                    }
                }
            }
        }
    }
}

/// Bits behind a run's symbol at most, and its distance's.
const EXTRA_OF_RUN: usize = 6;
/// More than any block's header has, and than what a write takes beyond its end.
const HEADER_BYTES: usize = 1 << 10;

/// Bits, the lowest of a byte first.
struct Bits {
    bytes: Vec<u8>,
    /// What does not fill a byte yet.
    buffer: u64,
    count: u8,
}

impl Bits {
    /// Makes room, which `put` and `four` do without looking.
    fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve(bytes + size_of::<u64>());
    }

    /// Adds up to 56 bits.
    #[inline(always)]
    fn put(&mut self, bits: u64, count: u8) {
        self.buffer |= bits << self.count;
        self.count += count;
        self.flush();
    }

    /// Adds four codes of at most `LONGEST` bits.
    #[inline(always)]
    fn four(&mut self, codes: [(u64, u8); 4]) {
        for (code, length) in codes {
            self.buffer |= code << self.count;
            self.count += length;
        }
        self.flush();
    }

    /// Writes the whole bytes: all eight, of which those that are not full are written again.
    #[inline(always)]
    fn flush(&mut self) {
        let whole = usize::from(self.count / 8);
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&self.buffer.to_le_bytes());
        self.bytes.truncate(at + whole);
        self.buffer = self.buffer.checked_shr(u32::from(self.count & !7)).unwrap_or(0);
        self.count &= 7;
    }

    fn finish(mut self) -> Vec<u8> {
        if self.count > 0 {
            self.bytes.push(self.buffer as u8);
        }
        self.bytes
    }
}

/// How a piece is written.
enum Step {
    Eight([u8; 8]),
    One(u8),
    /// The byte before, as often as this.
    Run(usize),
}

/// A piece in steps, the same whenever they are asked for.
struct Steps<'a> {
    rest: &'a [u8],
    before: Option<u8>,
    /// What is left of a run, beyond what one symbol can say.
    run: usize,
}

impl<'a> Steps<'a> {
    const fn new(piece: &'a [u8]) -> Self {
        Self {
            rest: piece,
            before: None,
            run: 0,
        }
    }
}

impl Steps<'_> {
    /// As much of the run as one symbol can say. None says one or two, so that these are not what it leaves.
    const fn part(&mut self) -> Step {
        let now = match self.run {
            ..=LONGEST_RUN => self.run,
            more if more < LONGEST_RUN + 3 => LONGEST_RUN - 3,
            _ => LONGEST_RUN,
        };
        self.run -= now;
        Step::Run(now)
    }
}

impl Iterator for Steps<'_> {
    type Item = Step;

    #[inline(always)]
    fn next(&mut self) -> Option<Step> {
        if self.run > 0 {
            return Some(self.part());
        }
        let Some((eight, rest)) = self.rest.split_first_chunk::<8>() else {
            let (one, rest) = self.rest.split_first()?;
            self.rest = rest;
            return Some(Step::One(*one));
        };
        if let Some(before) = self.before
            && u64::from_ne_bytes(*eight) == u64::from_ne_bytes([before; 8])
        {
            self.run = 8 + rest.iter().take_while(|byte| **byte == before).count();
            self.rest = self.rest.get(self.run..).unwrap_or_default();
            return Some(self.part());
        }
        self.before = Some(eight[7]);
        self.rest = rest;
        Some(Step::Eight(*eight))
    }
}

/// The symbol of a run of 3 to 258, what is behind it, and in how many bits (RFC 1951, 3.2.5).
const fn run(length: usize) -> (usize, u16, u8) {
    let over = length - 3;
    match over {
        ..8 => (257 + over, 0, 0),
        255 => (285, 0, 0),
        _ => {
            // Four symbols share a number of extra bits: the two bits below the highest tell which.
            let extra = over.ilog2() - 2;
            let symbol = 257 + 4 * extra as usize + (over >> extra);
            (symbol, (over & ((1 << extra) - 1)) as u16, extra as u8)
        }
    }
}

/// How often each symbol comes.
#[derive(Clone)]
struct Frequencies([u32; SYMBOLS]);

impl Default for Frequencies {
    fn default() -> Self {
        Self([0; SYMBOLS])
    }
}

impl Frequencies {
    /// Counts the symbols of a piece.
    fn count(&mut self, piece: &[u8]) {
        // Four counters for each literal: an addition to one that was just written would wait for it.
        let mut literals = [[0u32; 256]; 4];
        for step in Steps::new(piece) {
            match step {
                Step::Eight(bytes) => {
                    let (first, second) = bytes.split_at(4);
                    for four in [first, second] {
                        for (counters, byte) in literals.iter_mut().zip(four) {
                            add_one(counters, *byte);
                        }
                    }
                }
                Step::One(byte) => add_one(&mut literals[0], byte),
                Step::Run(length) => {
                    if let Some(frequency) = self.0.get_mut(run(length).0) {
                        *frequency += 1;
                    }
                }
            }
        }
        for counted in &literals {
            for (frequency, counted) in self.0.iter_mut().zip(counted) {
                *frequency += counted;
            }
        }
    }

    fn and(&self, other: &Self) -> Self {
        let mut sum = self.clone();
        for (sum, other) in sum.0.iter_mut().zip(&other.0) {
            *sum += other;
        }
        sum
    }

    /// Bits that the symbols would take by the best code there could be: their entropy.
    fn cost(&self) -> f32 {
        let mut total = 0.0;
        let mut bits = 0.0;
        for frequency in self.0.iter().filter(|frequency| **frequency > 0) {
            let frequency = *frequency as f32;
            total += frequency;
            bits -= frequency * libm::log2f(frequency);
        }
        bits + if total > 0.0 { total * libm::log2f(total) } else { 0.0 }
    }
}

#[inline(always)]
fn add_one(counters: &mut [u32; 256], byte: u8) {
    if let Some(counter) = counters.get_mut(usize::from(byte)) {
        *counter += 1;
    }
}

/// Code lengths with what repeats said once: a symbol, what is behind it, and in how many bits.
fn repeats(lengths: &[u8]) -> Vec<(u8, u8, u8)> {
    let mut symbols = Vec::new();
    for same in lengths.chunk_by(|a, b| a == b) {
        let (length, mut left) = (same.first().copied().unwrap_or_default(), same.len());
        if length > 0 {
            symbols.push((length, 0, 0));
            left -= 1;
        }
        while left > 0 {
            let (now, symbol) = match (length, left) {
                (0, 11..) => (left.min(138), (18, left.min(138) as u8 - 11, 7)),
                (0, 3..) => (left, (17, left as u8 - 3, 3)),
                (1.., 3..) => (left.min(6), (16, left.min(6) as u8 - 3, 2)),
                _ => (1, (length, 0, 0)),
            };
            symbols.push(symbol);
            left -= now;
        }
    }
    symbols
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn deflated(data: &[u8], at_once: usize) -> Vec<u8> {
        let mut stream = Deflate::new();
        let mut bytes = Vec::new();
        for part in data.chunks(at_once) {
            stream.push(part);
            bytes.extend(stream.take(1_000).unwrap_or_default());
        }
        bytes.extend(stream.finish());
        bytes
    }

    fn inflated(bytes: &[u8]) -> Vec<u8> {
        miniz_oxide::inflate::decompress_to_vec_zlib(bytes).expect("a stream that zlib reads")
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(
            parts in proptest::collection::vec((any::<u8>(), 1usize..700, 0u32..=8, any::<u64>()), 0..400), at_once in 1usize..100_000,
        ) {
            let mut data = Vec::new();
            for (byte, count, bits, seed) in parts {
                let mut state = seed | 1;
                data.extend((0..count).map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    byte.wrapping_add(((state >> 32) as u32 & ((1 << bits) - 1)) as u8)
                }));
            }
            let bytes = deflated(&data, at_once);
            prop_assert!(inflated(&bytes) == data);
            prop_assert!(bytes.len() <= data.len() + data.len() / 100 + 400);
        }
    }

    #[test]
    fn runs_of_every_length_come_out_again() {
        for length in 1..1_100 {
            let mut data = vec![3, 1, 4, 1, 5, 9, 2, 6];
            data.extend(vec![6; length]);
            data.push(5);
            assert_eq!(inflated(&deflated(&data, 5_000)), data, "{length}");
        }
        assert!(deflated(&vec![0; 1 << 20], 1 << 20).len() < 2_000);
        assert!(inflated(&deflated(&[], 1)).is_empty());
    }

    #[test]
    fn lengths_of_runs_are_those_of_the_specification() {
        assert_eq!(
            [3, 10, 11, 12, 13, 257, 258].map(run),
            [
                (257, 0, 0),
                (264, 0, 0),
                (265, 0, 1),
                (265, 1, 1),
                (266, 0, 1),
                (284, 30, 5),
                (285, 0, 0),
            ]
        );
    }

    #[test]
    fn parts_that_differ_have_codes_of_their_own() {
        // Half of it is made of the first 16 values, half of the last: by one code each byte takes 5 bits, by two little over 4.
        let data: Vec<u8> = (0..PIECE * 8)
            .map(|at| (at * 7 % 16) as u8 + if at < PIECE * 4 { 0 } else { 240 })
            .collect();
        let bytes = deflated(&data, PIECE);
        assert!(bytes.len() < data.len() * 9 / 16, "{}", bytes.len());
    }
}
