//! Huffman codes, and the tables that read them several at a time.

use super::bits::Bits;

/// Bits that index [`DcTable`] and [`SkipTable`].
const WIDTH: u32 = 12;
const ENTRIES: usize = 1 << WIDTH;

/// Bits that index [`ValueTable`]: a code with its value fits more often.
const VALUE_WIDTH: u32 = 13;
const VALUE_ENTRIES: usize = 1 << VALUE_WIDTH;

/// Bits that one entry of [`SkipTable`] takes at most, so that three of them fit between two refills.
const SKIP_BITS: u32 = 18;

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

/// The number that `size` bits after a code stand for.
#[inline(always)]
pub(super) const fn extend(bits: u32, size: u32) -> i32 {
    if size == 0 {
        return 0;
    }
    let value = bits.cast_signed();
    if value < 1 << (size - 1) {
        value - (1 << size) + 1
    } else {
        value
    }
}

fn boxed<T: Copy, const N: usize>(entry: impl Fn(u32) -> T, zero: T) -> Box<[T; N]> {
    let entries: Vec<T> = (0..).take(N).map(entry).collect();
    // The length is N by construction.
    entries
        .into_boxed_slice()
        .try_into()
        .unwrap_or_else(|_| Box::new([zero; N]))
}

/// Differences of DC values with their codes: the difference above, the bits of both in the lowest byte, 0 where the
/// two do not fit.
pub(super) struct DcTable {
    entries: Box<[i32; ENTRIES]>,
    code: Code,
}

impl DcTable {
    pub(super) fn new(code: &Code) -> Self {
        let entry = |index: u32| {
            let symbol = code.symbol(index << (16 - WIDTH))?;
            let size = u32::from(symbol.value);
            let bits = symbol.bits + size;
            if bits > WIDTH {
                return None;
            }
            let value = (index >> (WIDTH - bits)) & ((1 << size) - 1);
            Some(extend(value, size) << 8 | bits.cast_signed())
        };
        Self {
            entries: boxed(|index| entry(index).unwrap_or(0), 0),
            code: code.clone(),
        }
    }

    /// Reads a difference. Takes at most 31 bits.
    #[inline(always)]
    pub(super) fn read(&self, bits: &mut Bits) -> Option<i32> {
        let index = (bits.buffer() >> (64 - WIDTH)) as usize;
        let entry = self.entries.get(index).copied().unwrap_or(0);
        if entry & 0xff != 0 {
            bits.drop_bits((entry & 0xff).cast_unsigned());
            return Some(entry >> 8);
        }
        let (after, difference) = self.read_long(*bits)?;
        *bits = after;
        Some(difference)
    }

    #[cold]
    fn read_long(&self, bits: Bits) -> Option<(Bits, i32)> {
        let (mut bits, size) = self.code.read(bits)?;
        // 11 in files of 8 bits a sample; more would not fit where the value goes.
        (size <= 15).then(|| {
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
                        bits.drop_bits(entry & 0xff);
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
                bits.drop_bits(entry & 0xff);
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
        if used + symbol.bits + size > SKIP_BITS || passed + run + 1 > 63 {
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

/// Reads AC coefficients with their values: the value above, coefficients passed, and bits.
pub(super) struct ValueTable {
    entries: Box<[i32; VALUE_ENTRIES]>,
    code: Code,
}

impl ValueTable {
    pub(super) fn new(code: &Code) -> Self {
        let entry = |index: u32| {
            let symbol = code.symbol(index << (16 - VALUE_WIDTH))?;
            let (run, size) = (u32::from(symbol.value >> 4), u32::from(symbol.value & 15));
            let bits = symbol.bits + size;
            if bits > VALUE_WIDTH {
                return None;
            }
            let passed = match (run, size) {
                (0..=14, 0) => END_OF_BLOCK + run,
                _ => run + 1,
            };
            let value = extend((index >> (VALUE_WIDTH - bits)) & ((1 << size) - 1), size);
            Some(value << 16 | (passed << 8 | bits).cast_signed())
        };
        Self {
            entries: boxed(|index| entry(index).unwrap_or((LONG << 8).cast_signed()), 0),
            code: code.clone(),
        }
    }

    /// Reads the next value of a block at or after `from`. `None` for damage. Takes at most 31 bits.
    #[inline(always)]
    pub(super) fn read(&self, bits: &mut Bits, from: u32) -> Option<Coefficient> {
        let index = (bits.buffer() >> (64 - VALUE_WIDTH)) as usize;
        let entry = self.entries.get(index).copied().unwrap_or(0);
        let (value, passed) = (entry >> 16, (entry >> 8 & 0xff).cast_unsigned());
        if passed >= END_OF_BLOCK {
            if passed == LONG {
                let (after, coefficient) = self.read_long(*bits, from)?;
                *bits = after;
                return Some(coefficient);
            }
            bits.drop_bits((entry & 0xff).cast_unsigned());
            return Some(Coefficient::End {
                run: passed - END_OF_BLOCK,
            });
        }
        bits.drop_bits((entry & 0xff).cast_unsigned());
        place(from, passed, value)
    }

    #[cold]
    fn read_long(&self, bits: Bits, from: u32) -> Option<(Bits, Coefficient)> {
        let (mut bits, symbol) = self.code.read(bits)?;
        let (run, size) = (symbol >> 4, symbol & 15);
        if size == 0 && run < 15 {
            return Some((bits, Coefficient::End { run }));
        }
        let value = extend(bits.take(size), size);
        Some((bits, place(from, run + 1, value)?))
    }
}

/// Reads symbols alone: the symbol above, the bits of its code in the lowest byte, 0 where that is longer.
pub(super) struct SymbolTable {
    entries: Box<[u16; ENTRIES]>,
    code: Code,
}

impl SymbolTable {
    pub(super) fn new(code: &Code) -> Self {
        let entry = |index: u32| {
            let symbol = code.symbol(index << (16 - WIDTH))?;
            (symbol.bits <= WIDTH).then_some(u16::from(symbol.value) << 8 | symbol.bits as u16)
        };
        Self {
            entries: boxed(|index| entry(index).unwrap_or(0), 0),
            code: code.clone(),
        }
    }

    /// Reads a symbol. `None` for damage. Takes at most 16 bits.
    #[inline(always)]
    pub(super) fn read(&self, bits: &mut Bits) -> Option<u32> {
        let index = (bits.buffer() >> (64 - WIDTH)) as usize;
        let entry = u32::from(self.entries.get(index).copied().unwrap_or(0));
        if entry == 0 {
            let (after, symbol) = self.read_long(*bits)?;
            *bits = after;
            return Some(symbol);
        }
        bits.drop_bits(entry & 0xff);
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
