//! The coefficients of a macroblock (RFC 6386, section 13). Most of the time of a decode goes here.

use super::bits::Bits;
use super::header::{Probabilities, Quantiser, Steps};
use super::tables::{LARGE, ZIGZAG};
use super::transform::{Coefficients, add, spread};

/// Of a neighbour, which of the blocks at the edge had coefficients: four of luminance, two and two of chroma, and the
/// one of DC values.
pub(super) type Edge = [u8; 9];

/// Blocks in the order in which they are coded: that of the DC values, sixteen of luminance, four and four of chroma.
/// For each, its place on the upper and on the left edge.
const PLACES: [(u8, u8); 25] = {
    let mut places = [(8, 8); 25];
    let mut index = 0u8;
    while index < 16 {
        places[1 + index as usize] = (index % 4, index / 4);
        index += 1;
    }
    index = 0;
    while index < 8 {
        let first = 4 + index / 4 * 2;
        places[17 + index as usize] = (first + index % 2, first + index / 2 % 2);
        index += 1;
    }
    places
};

/// Coefficients of a macroblock, and how far those of each block reach.
pub(super) struct Residual {
    blocks: [Coefficients; 25],
    /// One behind the last value that is not zero, in zigzag order.
    ends: [u8; 25],
}

impl Residual {
    pub(super) const fn new() -> Self {
        Self {
            blocks: [[0; 16]; 25],
            ends: [0; 25],
        }
    }

    /// None at all.
    pub(super) const fn clear(&mut self) {
        self.ends = [0; 25];
    }

    /// Whether nothing is to be added to what was predicted.
    pub(super) fn is_empty(&self) -> bool {
        self.ends == [0; 25]
    }

    /// Blocks of luminance, row by row, with their ends.
    pub(super) fn luma(&self) -> impl Iterator<Item = (&Coefficients, u8)> {
        self.blocks.iter().zip(self.ends).skip(1).take(16)
    }

    /// Adds luminance to what was predicted.
    #[inline(always)]
    pub(super) fn add_luma(&self, samples: &mut [[u8; 16]; 16]) {
        add_blocks(samples, self.luma());
    }

    /// Adds one of the two colour differences to what was predicted.
    #[inline(always)]
    pub(super) fn add_chroma(&self, index: usize, samples: &mut [[u8; 8]; 8]) {
        add_blocks(samples, self.blocks.iter().zip(self.ends).skip(17 + 4 * index).take(4));
    }

    /// Reads the coefficients of a macroblock, those of one that predicts its luminance as a whole with a block of DC
    /// values.
    pub(super) fn read(
        &mut self,
        mut bits: Bits,
        bytes: &[u8],
        probabilities: &Probabilities,
        quantiser: &Quantiser,
        whole: bool,
        (above, left): (&mut Edge, &mut Edge),
    ) -> Bits {
        self.blocks = [[0; 16]; 25];
        self.clear();
        let [without_dc, dc, chroma, with_dc] = probabilities;
        let luma = if whole { (without_dc, 1) } else { (with_dc, 0) };
        let blocks = self.blocks.iter_mut().zip(&mut self.ends).zip(PLACES);
        // One place in the code that reads a block: it is long, and copies of it would push each other out of the cache.
        for (index, ((block, end), place)) in blocks.enumerate().skip(usize::from(!whole)) {
            let (probabilities, steps, first) = match index {
                0 => (dc, quantiser.luma_dc, 0),
                1..17 => (luma.0, quantiser.luma, luma.1),
                _ => (chroma, quantiser.chroma, 0),
            };
            let (Some(above), Some(left)) = (
                above.get_mut(usize::from(place.0)),
                left.get_mut(usize::from(place.1)),
            ) else {
                continue;
            };
            let last;
            (bits, last) = read_block(bits, bytes, probabilities, *above + *left, first, steps, block);
            let some = u8::from(last > first);
            (*above, *left) = (some, some);
            *end = if last > first { last as u8 } else { 0 };
        }
        if whole {
            self.spread_dc();
        }
        bits
    }

    /// Gives the DC values that have a block of their own to their blocks.
    fn spread_dc(&mut self) {
        let Some((dc, luma)) = self.blocks.split_first_mut() else {
            return;
        };
        let Some((end, ends)) = self.ends.split_first_mut() else {
            return;
        };
        if core::mem::take(end) == 0 {
            return;
        }
        for ((block, end), value) in luma.iter_mut().zip(ends).zip(spread(dc)) {
            let [first, ..] = block;
            *first = value;
            if value != 0 {
                *end = (*end).max(1);
            }
        }
    }
}

/// Adds blocks to a square, row by row.
#[inline(always)]
fn add_blocks<'a, const N: usize>(
    samples: &mut [[u8; N]; N],
    mut blocks: impl Iterator<Item = (&'a Coefficients, u8)>,
) {
    for rows in samples.as_chunks_mut::<4>().0 {
        for x in (0..N).step_by(4) {
            let Some((coefficients, end)) = blocks.next() else { return };
            if end == 0 {
                continue;
            }
            let predicted = rows.each_ref().map(|row| row.get(x..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default());
            for (row, sum) in rows.iter_mut().zip(add(coefficients, end, predicted)) {
                if let Some(to) = row.get_mut(x..).and_then(<[u8]>::first_chunk_mut) {
                    *to = sum;
                }
            }
        }
    }
}

/// Reads a block from its coefficient `first` on. Says behind which one it ends.
#[inline(always)]
fn read_block(
    mut bits: Bits,
    bytes: &[u8],
    probabilities: &[[[u8; 11]; 3]; 16],
    context: u8,
    first: usize,
    [dc, ac]: Steps,
    block: &mut Coefficients,
) -> (Bits, usize) {
    let mut index = first;
    let mut context = usize::from(context);
    let mut step = if first == 0 { dc } else { ac };
    // Beyond the last coefficient there are no probabilities, which ends the block.
    'values: while let Some(now) = probabilities.get(index).and_then(|of| of.get(context)) {
        let mut now = now;
        if !bits.read(bytes, now[0]) {
            break;
        }
        while !bits.read(bytes, now[1]) {
            index += 1;
            step = ac;
            let Some([next, ..]) = probabilities.get(index) else {
                break 'values;
            };
            now = next;
        }
        let value = if bits.read(bytes, now[2]) {
            context = 2;
            let value;
            (bits, value) = read_large(bits, bytes, now);
            value
        } else {
            context = 1;
            1
        };
        let value = if bits.read_sign(bytes) { -value } else { value };
        if let Some(to) = ZIGZAG.get(index).and_then(|at| block.get_mut(usize::from(*at))) {
            // A damaged file may have more than fits; no other has.
            *to = (value * i32::from(step)) as i16;
        }
        index += 1;
        step = ac;
    }
    (bits, index)
}

/// A value of 2 or more.
#[inline(always)]
fn read_large(mut bits: Bits, bytes: &[u8], now: &[u8; 11]) -> (Bits, i32) {
    let mut read = |probability| i32::from(bits.read(bytes, probability));
    let value = if read(now[3]) == 0 {
        if read(now[4]) == 0 { 2 } else { 3 + read(now[5]) }
    } else if read(now[6]) == 0 {
        if read(now[7]) == 0 {
            5 + read(159)
        } else {
            7 + 2 * read(165) + read(145)
        }
    } else {
        let high = read(now[8]);
        let category = 2 * high + read(if high == 0 { now[9] } else { now[10] });
        let extra = LARGE.get(category as usize).copied().unwrap_or_default();
        3 + (8 << category) + extra.iter().fold(0, |value, probability| 2 * value + read(*probability))
    };
    (bits, value)
}
