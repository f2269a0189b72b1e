//! Scans of progressive files: a band of coefficients at a precision, into a store that keeps no more than the scale
//! needs. A file of which only DC values are needed has no such store: its other scans are passed unread.

use super::bits::{Bits, End, Window};
use super::header::{Frame, Header, Scan};
use super::huffman::{Coefficient, DcTable, SymbolTable, ValueTable};
use super::layout::{Coefficients, Plane};
use super::{Damage, Failure, Restarts};
use crate::ImageError;
use crate::pixels::{Sink, zeroed_of};
use crate::source::SourceReader;

/// Coefficients of one component.
struct Store {
    /// Blocks of a row.
    across: usize,
    /// Coefficients of a block that are kept, from the first in zigzag order.
    kept: usize,
    values: Vec<i16>,
    /// Which coefficients of a block are not zero, those not kept included: what a refining scan has to know. Empty
    /// where only DC values are kept.
    non_zero: Vec<u64>,
}

/// Coefficients of all components.
pub(super) struct Stores(Vec<Store>);

impl Stores {
    pub(super) fn new(planes: &[Plane]) -> Result<Self, ImageError> {
        let store = |plane: &Plane| {
            let blocks = plane.blocks.0 * plane.blocks.1;
            let kept = plane.last as usize + 1;
            Ok(Store {
                across: plane.blocks.0,
                kept,
                values: zeroed_of(blocks * kept)?,
                non_zero: zeroed_of(if kept > 1 { blocks } else { 0 })?,
            })
        };
        planes.iter().map(store).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a scan holds anything that is needed.
    pub(super) fn needs(&self, scan: &Scan) -> bool {
        let stores = scan.components.iter().filter_map(|entry| self.0.get(entry.index));
        scan.band.0 == 0 || stores.into_iter().any(|store| store.kept > 1)
    }

    /// Turns the coefficients into samples, and hands them over.
    pub(super) fn finish(
        self,
        header: &Header,
        frame: &Frame,
        planes: &mut [Plane],
        sink: &mut Sink<'_>,
    ) -> Result<(), Failure> {
        let mut block = Coefficients::new();
        for (index, ((store, plane), component)) in self.0.into_iter().zip(planes).zip(&frame.components).enumerate() {
            plane.quantise(header.quantisation_of(component)?);
            let rows = store.values.chunks_exact(store.across * store.kept);
            let masks = store
                .non_zero
                .chunks_exact(store.across)
                .map(Some)
                .chain(core::iter::repeat(None));
            for (row, masks) in rows.zip(masks) {
                let mut masks = masks.unwrap_or_default().iter();
                for (column, values) in row.chunks_exact(store.kept).enumerate() {
                    let non_zero = masks.next().copied().unwrap_or(0);
                    transform(plane, column, values, non_zero, &mut block);
                }
                plane.hand_over(index, 1, sink)?;
            }
        }
        Ok(())
    }
}

/// A block's samples, out of what is kept of it.
#[inline(always)]
fn transform(plane: &mut Plane, column: usize, values: &[i16], non_zero: u64, block: &mut Coefficients) {
    let offset = plane.offset(column, 0);
    let dc = values.first().map_or(0, |dc| i32::from(*dc));
    if plane.block == (1, 1) {
        return plane.put_dc(offset, dc);
    }
    // That of the DC value is not among them.
    let mut left = non_zero;
    while let Some(value) = values.get(left.trailing_zeros() as usize) {
        plane.set(block, left.trailing_zeros(), i32::from(*value));
        left &= left - 1;
    }
    plane.put(offset, dc, block);
}

/// Decodes a scan into the store. Says what ended it.
pub(super) fn decode(
    header: &Header,
    scan: &Scan,
    stores: &mut Stores,
    window: &mut Window,
    reader: &mut SourceReader<'_>,
) -> Result<End, Failure> {
    let frame = header
        .frame
        .as_ref()
        .ok_or(Damage("a scan comes before the frame header"))?;
    if scan.band.0 == 0 {
        decode_dc(header, frame, scan, stores, window, reader)
    } else {
        decode_ac(header, frame, scan, stores, window, reader)
    }
}

fn decode_dc(
    header: &Header,
    frame: &Frame,
    scan: &Scan,
    stores: &mut Stores,
    window: &mut Window,
    reader: &mut SourceReader<'_>,
) -> Result<End, Failure> {
    let mut parts = Vec::new();
    let mut size = frame.mcus();
    for entry in &scan.components {
        let component = frame.components.get(entry.index);
        let component = component.ok_or(Damage("a scan names a component that the frame lacks"))?;
        let mut step = (component.sampling.0 as usize, component.sampling.1 as usize);
        if scan.components.len() == 1 {
            step = (1, 1);
            size = frame.blocks(component);
        }
        let table = match scan.high {
            0 => Some(DcTable::new(header.dc_code(entry.dc)?)),
            _ => None,
        };
        parts.push((entry.index, step, table));
    }
    let mut bits = window.start(reader)?;
    let mut restarts = Restarts::new(header.restart_interval);
    let mut predictions = [0i32; 4];
    for row in 0..size.1 as usize {
        for column in 0..size.0 as usize {
            if restarts.is_due() {
                bits = restarts.pass(window, reader)?;
                predictions = [0; 4];
            }
            bits = window.top_up(bits, reader)?;
            for ((index, step, table), prediction) in parts.iter().zip(&mut predictions) {
                let Some(store) = stores.0.get_mut(*index) else {
                    continue;
                };
                for y in 0..step.1 {
                    for x in 0..step.0 {
                        bits.refill(window.bytes());
                        let at = (row * step.1 + y) * store.across + column * step.0 + x;
                        let Some(value) = store.values.get_mut(at * store.kept) else {
                            continue;
                        };
                        if let Some(table) = table {
                            let difference = table.read(&mut bits).ok_or(Damage("bits that are no code"))?;
                            *prediction = prediction.wrapping_add(difference);
                            *value = (*prediction << scan.low) as i16;
                        } else {
                            *value |= i16::from(bits.take_bit()) << scan.low;
                        }
                    }
                }
            }
            if window.is_overrun(&bits) {
                return Err(Damage("a scan's data end too early").into());
            }
        }
    }
    Ok(window.finish(reader)?)
}

fn decode_ac(
    header: &Header,
    frame: &Frame,
    scan: &Scan,
    stores: &mut Stores,
    window: &mut Window,
    reader: &mut SourceReader<'_>,
) -> Result<End, Failure> {
    let lacking = Damage("a scan names a component that the frame lacks");
    let [entry] = *scan.components else {
        return Err(lacking.into());
    };
    let component = frame.components.get(entry.index).ok_or(lacking)?;
    let store = stores.0.get_mut(entry.index).ok_or(lacking)?;
    let code = header.ac_code(entry.ac)?;
    let (columns, rows) = frame.blocks(component);
    let mut bits = window.start(reader)?;
    let mut restarts = Restarts::new(header.restart_interval);
    let band = Band {
        first: scan.band.0,
        last: scan.band.1,
        low: scan.low,
    };
    // One of the two is needed.
    let first_bits = (scan.high == 0).then(|| ValueTable::new(code));
    let symbols = SymbolTable::new(code);
    // Blocks to come that have ended already.
    let mut ended = 0;
    for row in 0..rows as usize {
        for column in 0..columns as usize {
            if restarts.is_due() {
                bits = restarts.pass(window, reader)?;
                ended = 0;
            }
            bits = window.top_up(bits, reader)?;
            let at = row * store.across + column;
            let values = store.values.get_mut(at * store.kept..(at + 1) * store.kept);
            let (Some(values), Some(non_zero)) = (values, store.non_zero.get_mut(at)) else {
                continue;
            };
            let block = Entry { values, non_zero };
            let read = match &first_bits {
                Some(table) if ended == 0 => band.read_first(table, &mut bits, window.bytes(), block),
                Some(_) => Some(ended - 1),
                None => band.refine(&symbols, &mut bits, window.bytes(), block, ended),
            };
            ended = read.ok_or(Damage("bits that are no code"))?;
            if window.is_overrun(&bits) {
                return Err(Damage("a scan's data end too early").into());
            }
        }
    }
    Ok(window.finish(reader)?)
}

/// A block in the store.
struct Entry<'a> {
    values: &'a mut [i16],
    non_zero: &'a mut u64,
}

impl Entry<'_> {
    #[inline(always)]
    fn put(&mut self, index: u32, value: i32) {
        *self.non_zero |= 1 << (index & 63);
        if let Some(to) = self.values.get_mut(index as usize) {
            *to = value as i16;
        }
    }

    /// One more bit of those of some values that are not zero.
    #[inline(always)]
    fn refine(&mut self, which: u64, bit: i16, bits: &mut Bits, bytes: &[u8]) {
        let which = *self.non_zero & which;
        // A half's bits are at hand at once.
        for half in [which & 0xffff_ffff, which & !0xffff_ffff] {
            if half == 0 {
                continue;
            }
            bits.refill(bytes);
            let mut ones = bits.buffer();
            bits.drop_bits(half.count_ones());
            let mut left = half;
            // Those that are not kept come last.
            while let Some(value) = self.values.get_mut(left.trailing_zeros() as usize) {
                left &= left - 1;
                // Nobody guesses these bits, so that all values are added to. None of them has its bit already.
                let sign = *value >> 15;
                let added = (ones.cast_signed() >> 63) as i16 & bit & !*value;
                *value = value.wrapping_add((added ^ sign).wrapping_sub(sign));
                ones <<= 1;
            }
        }
    }
}

/// Which coefficients a scan has of its blocks, and which of their bits.
struct Band {
    first: u32,
    last: u32,
    low: u32,
}

impl Band {
    /// A block's first bits. Says how many blocks after it have ended already.
    #[inline(always)]
    fn read_first(&self, values: &ValueTable, bits: &mut Bits, bytes: &[u8], mut block: Entry<'_>) -> Option<u32> {
        let mut index = self.first;
        loop {
            bits.refill(bytes);
            // With them, the bits of a run are at hand.
            for _ in 0..2 {
                match values.read(bits, bytes, index)? {
                    Coefficient::Value { index: at, value } => {
                        if at > self.last {
                            return None;
                        }
                        block.put(at, value << self.low);
                        index = at + 1;
                    }
                    Coefficient::Zeroes { next } => index = next,
                    Coefficient::End { run } => return Some((1 << run) - 1 + bits.take(run)),
                }
                if index > self.last {
                    return Some(0);
                }
            }
        }
    }

    /// One more bit of a block's values. `ended` and the answer: how many blocks from here, and after it, have no new ones.
    #[inline(always)]
    fn refine(
        &self,
        symbols: &SymbolTable,
        bits: &mut Bits,
        bytes: &[u8],
        mut block: Entry<'_>,
        mut ended: u32,
    ) -> Option<u32> {
        let bit = 1i16 << self.low;
        let mut index = self.first;
        // Bits of coefficients from one to before another.
        let between = |from: u32, to: u32| (u64::MAX << from) & !u64::MAX.checked_shl(to).unwrap_or(0);
        let band = between(self.first, self.last + 1);
        while index <= self.last && ended == 0 {
            bits.refill(bytes);
            let symbol = symbols.read(bits)?;
            let (run, size) = (symbol >> 4, symbol & 15);
            let value = match (run, size) {
                (15, 0) => 0,
                (_, 0) => {
                    ended = (1 << run) + bits.take(run);
                    break;
                }
                (_, 1) => i32::from(if bits.take_bit() { bit } else { -bit }),
                _ => return None,
            };
            // The new value's place is after `run` zeroes; what is not zero on the way gets its bit.
            let mut zeroes = !*block.non_zero & band & u64::MAX << index;
            for _ in 0..run {
                zeroes &= zeroes.wrapping_sub(1);
            }
            let place = zeroes.trailing_zeros().min(self.last + 1);
            block.refine(between(index, place), bit, bits, bytes);
            if value != 0 {
                if place > self.last {
                    return None;
                }
                block.put(place, value);
            }
            index = place + 1;
        }
        if ended > 0 {
            if index <= self.last {
                block.refine(between(index, self.last + 1), bit, bits, bytes);
            }
            ended -= 1;
        }
        Some(ended)
    }
}

/// Bytes that the store takes for a component of so many blocks.
pub(crate) const fn store_bytes(blocks: u64, last: u64) -> u64 {
    if last == 0 {
        2 * blocks
    } else {
        (2 * (last + 1) + 8) * blocks
    }
}
