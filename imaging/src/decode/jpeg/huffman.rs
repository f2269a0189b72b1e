//! Huffman codes, and the tables that read them several at a time.

use super::bits::Bits;

/// Bits that index [`SkipTable`].
const WIDTH: u32 = 12;
const ENTRIES: usize = 1 << WIDTH;

/// Bits that index the other tables. They find a symbol, and its value is cut out of the bits behind it: entries for every
/// value would not stay in the first-level cache.
const SYMBOL_WIDTH: u32 = 10;
const SYMBOL_ENTRIES: usize = 1 << SYMBOL_WIDTH;

/// Bits that one entry of [`SkipTable`] or of [`ValueTable`] takes at most, so that three of them fit between two refills.
const ENTRY_BITS: u32 = 18;

/// A code of a segment DHT.
#[derive(Clone)]
pub(super) struct Code {
    values: Vec<u8>,
    /// For each length, the first 16 bits that belong to a longer code.
    limits: [u32; 17],
    /// For each length, what to add to a code to have its place in `values`.
    offsets: [i32; 17],
}

/// A symbol and the bits of its code.
#[derive(Clone, Copy)]
struct Symbol {
    bits: u32,
    value: u8,
}

impl Code {
    /// From the number of codes of each length, 1 to 16, and the symbols in order. `None` where they are no prefix code.
    pub(super) fn new(counts: &[u8; 16], values: &[u8]) -> Option<Self> {
        let (mut limits, mut offsets) = ([0; 17], [0; 17]);
        let (mut code, mut index) = (0i32, 0i32);
        let entries = limits.iter_mut().zip(&mut offsets).zip(0u32..).skip(1);
        for (((limit, offset), length), count) in entries.zip(counts) {
            *offset = index - code;
            index += i32::from(*count);
            code += i32::from(*count);
            if code > 1 << length {
                return None;
            }
            *limit = (code << (16 - length)).cast_unsigned();
            code <<= 1;
        }
        (usize::try_from(index) == Ok(values.len()) && index <= 256).then(|| Self {
            values: values.to_vec(),
            limits,
            offsets,
        })
    }

    /// The symbol whose code these 16 bits begin with.
    fn symbol(&self, bits: u32) -> Option<Symbol> {
        let mut lengths = self.limits.iter().zip(&self.offsets).zip(0..).skip(1);
        let ((_, offset), length) = lengths.find(|((limit, _), _)| bits < **limit)?;
        let length: u32 = length;
        let index = i32::try_from(bits >> (16 - length)).ok()? + offset;
        let value = *self.values.get(usize::try_from(index).ok()?)?;
        Some(Symbol { bits: length, value })
    }

    /// Reads one symbol; `None` for bits that are no code.
    fn read(&self, mut bits: Bits) -> Option<(Bits, u32)> {
        let symbol = self.symbol((bits.buffer() >> 48) as u32)?;
        bits.drop_bits(symbol.bits);
        Some((bits, u32::from(symbol.value)))
    }
}

/// The number that `size` bits after a code stand for, at most 31.
#[inline(always)]
const fn extend(bits: u32, size: u32) -> i32 {
    let value = bits.cast_signed();
    if value < (1 << size) >> 1 {
        value - (1 << size) + 1
    } else {
        value
    }
}

/// The number of `size` bits, at most 15, that stand behind the first `passed`.
#[inline(always)]
const fn extended(buffer: u64, passed: u32, size: u32) -> i32 {
    extend((buffer << (passed & 63) >> 1 >> (63 - size)) as u32, size)
}

fn boxed<T: Copy, const N: usize>(entry: impl Fn(u32) -> T, zero: T) -> Box<[T; N]> {
    let entries: Vec<T> = (0..).take(N).map(entry).collect();
    // The length is N by construction.
    entries
        .into_boxed_slice()
        .try_into()
        .unwrap_or_else(|_| Box::new([zero; N]))
}

/// Sizes of differences of DC values: the size above, the bits of code and difference in the lowest byte, 0 where the code
/// is longer.
pub(super) struct DcTable {
    entries: Box<[u16; SYMBOL_ENTRIES]>,
    code: Code,
}

/// The largest size there is in files of 8 bits a sample is 11; more bits would not fit where the difference goes.
const LARGEST_DIFFERENCE: u32 = 15;

impl DcTable {
    pub(super) fn new(code: &Code) -> Self {
        let entry = |index: u32| {
            let symbol = code.symbol(index << (16 - SYMBOL_WIDTH))?;
            let size = u32::from(symbol.value);
            (symbol.bits <= SYMBOL_WIDTH && size <= LARGEST_DIFFERENCE)
                .then_some((size << 8 | (symbol.bits + size)) as u16)
        };
        Self {
            entries: boxed(|index| entry(index).unwrap_or(0), 0),
            code: code.clone(),
        }
    }

    /// Reads a difference. Takes at most 31 bits.
    #[inline(always)]
    pub(super) fn read(&self, bits: &mut Bits) -> Option<i32> {
        let buffer = bits.buffer();
        let index = (buffer >> (64 - SYMBOL_WIDTH)) as usize;
        let entry = u32::from(self.entries.get(index).copied().unwrap_or(0));
        if entry != 0 {
            let size = entry >> 8;
            bits.drop_bits(entry);
            return Some(extended(buffer, (entry & 0xff) - size, size));
        }
        let (after, difference) = self.read_long(*bits)?;
        *bits = after;
        Some(difference)
    }

    #[cold]
    fn read_long(&self, bits: Bits) -> Option<(Bits, i32)> {
        let (mut bits, size) = self.code.read(bits)?;
        (size <= LARGEST_DIFFERENCE).then(|| {
            let difference = extend(bits.take(size), size);
            (bits, difference)
        })
    }
}

/// What stands above the bits in an entry of the AC tables: how many coefficients it passes, plus one of these.
const END_OF_BLOCK: u32 = 128;
const LONG: u32 = 192;

/// Whether a block has ended at an index that entries were added to: all 64 passed, or its end marked before that.
#[inline(always)]
const fn is_done(index: u32) -> bool {
    index == 64 || (index > END_OF_BLOCK && index < LONG)
}

/// Passes AC coefficients without reading them, up to three symbols with their values at once.
pub(super) struct SkipTable {
    entries: Box<[u16; ENTRIES]>,
    code: Code,
}

impl SkipTable {
    pub(super) fn new(code: &Code) -> Self {
        Self {
            entries: boxed(|index| skip_entry(code, index), 0),
            code: code.clone(),
        }
    }

    /// Passes the rest of a block from a coefficient on. `None` for damage. Needs 56 bits at hand, and leaves 38 less.
    #[inline(always)]
    pub(super) fn skip(&self, bits: &mut Bits, bytes: &[u8], from: u32) -> Option<()> {
        let mut at = from;
        loop {
            for _ in 0..3 {
                let index = (bits.buffer() >> (64 - WIDTH)) as usize;
                let entry = u32::from(self.entries.get(index).copied().unwrap_or(0));
                let next = at + (entry >> 8);
                if next >= 64 {
                    if is_done(next) {
                        bits.drop_bits(entry);
                        return Some(());
                    }
                    // Either no entry, or one whose symbols reach into the next block: one symbol at a time.
                    bits.refill(bytes);
                    (*bits, at) = self.pass_symbol(*bits, at)?;
                    if at == 64 {
                        return Some(());
                    }
                    break;
                }
                bits.drop_bits(entry);
                at = next;
            }
            bits.refill(bytes);
        }
    }

    /// The index after the symbol; 64 where the block has ended.
    #[cold]
    fn pass_symbol(&self, bits: Bits, index: u32) -> Option<(Bits, u32)> {
        let (mut bits, symbol) = self.code.read(bits)?;
        let (run, size) = (symbol >> 4, symbol & 15);
        bits.take(size);
        match (run, size) {
            (0..=14, 0) => Some((bits, 64)),
            _ => (index + run < 64).then_some((bits, index + run + 1)),
        }
    }
}

fn skip_entry(code: &Code, index: u32) -> u16 {
    let (mut used, mut passed) = (0, 0);
    while used < WIDTH {
        // Zeroes stand for the bits that are not known: a symbol counts only if its code is.
        let Some(symbol) = code.symbol((index << (16 - WIDTH + used)) & 0xffff) else {
            break;
        };
        if symbol.bits > WIDTH - used {
            break;
        }
        let (run, size) = (u32::from(symbol.value >> 4), u32::from(symbol.value & 15));
        if size == 0 && run < 15 {
            used += symbol.bits;
            return ((END_OF_BLOCK + passed) << 8 | used) as u16;
        }
        if used + symbol.bits + size > ENTRY_BITS || passed + run + 1 > 63 {
            break;
        }
        used += symbol.bits + size;
        passed += run + 1;
    }
    if used == 0 {
        return (LONG << 8) as u16;
    }
    (passed << 8 | used) as u16
}

/// A coefficient as it was read.
pub(super) enum Coefficient {
    /// A value at an index.
    Value { index: u32, value: i32 },
    /// Sixteen zeroes: go on at an index.
    Zeroes { next: u32 },
    /// No more values in this block; in a progressive scan, `run` bits follow that say of how many more that is so.
    End { run: u32 },
}

/// Reads AC coefficients with their values: coefficients passed above, the size of the value, and the bits of code and
/// value in the lowest byte.
pub(super) struct ValueTable {
    entries: Box<[u32; SYMBOL_ENTRIES]>,
    code: Code,
}

impl ValueTable {
    pub(super) fn new(code: &Code) -> Self {
        let entry = |index: u32| {
            let symbol = code.symbol(index << (16 - SYMBOL_WIDTH))?;
            let (run, size) = (u32::from(symbol.value >> 4), u32::from(symbol.value & 15));
            let bits = symbol.bits + size;
            if symbol.bits > SYMBOL_WIDTH || bits > ENTRY_BITS {
                return None;
            }
            let passed = match (run, size) {
                (0..=14, 0) => END_OF_BLOCK + run,
                _ => run + 1,
            };
            Some(passed << 16 | size << 8 | bits)
        };
        Self {
            entries: boxed(|index| entry(index).unwrap_or(LONG << 16), 0),
            code: code.clone(),
        }
    }

    /// Reads the next value of a block at or after `from`. `None` for damage. Three fit between two refills.
    #[inline(always)]
    pub(super) fn read(&self, bits: &mut Bits, bytes: &[u8], from: u32) -> Option<Coefficient> {
        let buffer = bits.buffer();
        let index = (buffer >> (64 - SYMBOL_WIDTH)) as usize;
        let entry = self.entries.get(index).copied().unwrap_or(0);
        let (passed, size) = (entry >> 16, entry >> 8 & 0xff);
        bits.drop_bits(entry);
        if passed >= END_OF_BLOCK {
            if passed == LONG {
                // No bits have been dropped.
                let (after, coefficient) = self.read_long(*bits, bytes, from)?;
                *bits = after;
                return Some(coefficient);
            }
            return Some(Coefficient::End {
                run: passed - END_OF_BLOCK,
            });
        }
        place(from, passed, extended(buffer, (entry & 0xff) - size, size))
    }

    #[cold]
    fn read_long(&self, mut bits: Bits, bytes: &[u8], from: u32) -> Option<(Bits, Coefficient)> {
        bits.refill(bytes);
        let (mut bits, symbol) = self.code.read(bits)?;
        let (run, size) = (symbol >> 4, symbol & 15);
        let coefficient = if size == 0 && run < 15 {
            Coefficient::End { run }
        } else {
            place(from, run + 1, extend(bits.take(size), size))?
        };
        bits.refill(bytes);
        Some((bits, coefficient))
    }
}

/// Reads symbols alone: the symbol above, the bits of its code in the lowest byte, 0 where that is longer.
pub(super) struct SymbolTable {
    entries: Box<[u16; SYMBOL_ENTRIES]>,
    code: Code,
}

impl SymbolTable {
    pub(super) fn new(code: &Code) -> Self {
        let entry = |index: u32| {
            let symbol = code.symbol(index << (16 - SYMBOL_WIDTH))?;
            (symbol.bits <= SYMBOL_WIDTH).then_some(u16::from(symbol.value) << 8 | symbol.bits as u16)
        };
        Self {
            entries: boxed(|index| entry(index).unwrap_or(0), 0),
            code: code.clone(),
        }
    }

    /// Reads a symbol. `None` for damage. Takes at most 16 bits.
    #[inline(always)]
    pub(super) fn read(&self, bits: &mut Bits) -> Option<u32> {
        let index = (bits.buffer() >> (64 - SYMBOL_WIDTH)) as usize;
        let entry = u32::from(self.entries.get(index).copied().unwrap_or(0));
        if entry == 0 {
            let (after, symbol) = self.read_long(*bits)?;
            *bits = after;
            return Some(symbol);
        }
        bits.drop_bits(entry);
        Some(entry >> 8)
    }

    #[cold]
    fn read_long(&self, bits: Bits) -> Option<(Bits, u32)> {
        self.code.read(bits)
    }
}

/// A coefficient after `passed - 1` zeroes; a value of zero is how sixteen zeroes are written.
#[inline(always)]
fn place(from: u32, passed: u32, value: i32) -> Option<Coefficient> {
    let next = from + passed;
    if next > 64 {
        return None;
    }
    Some(if value == 0 {
        Coefficient::Zeroes { next }
    } else {
        Coefficient::Value { index: next - 1, value }
    })
}
