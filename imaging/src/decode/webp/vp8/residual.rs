//! The coefficients of a macroblock (RFC 6386, section 13). Most of the time of a decode goes here.

use super::bits::Bits;
use super::header::{Probabilities, Quantiser, Steps};
use super::tables::LARGE;
use super::transform::{Tile, ZIGZAG, flatten, inverse, spread};

/// Of a neighbour, which of the blocks at the edge had coefficients: four of luminance, two and two of chroma, and the
/// one of DC values.
pub(super) type Edge = [u8; 9];

/// Where a block belongs.
#[derive(Clone, Copy)]
struct Place {
    /// Its tile, and its number in there.
    tile: u8,
    number: u8,
    /// Its places on the edges of those above and to the left.
    above: u8,
    left: u8,
}

/// Places of the blocks in the order in which they are coded: that of the DC values, sixteen of luminance, four of blue
/// and four of red, which share their tiles.
#[expect(clippy::indexing_slicing, reason = "evaluated when it is compiled")]
const PLACES: [Place; 25] = {
    let mut places = [Place {
        tile: 0,
        number: 0,
        above: 8,
        left: 8,
    }; 25];
    let mut index = 0u8;
    while index < 24 {
        let (row, column, color) = match index {
            0..16 => (index / 4, index % 4, 0),
            _ => (index / 2 % 2, index % 2, (index - 16) / 4),
        };
        places[1 + index as usize] = match index {
            0..16 => Place {
                tile: 1 + row,
                number: column,
                above: column,
                left: row,
            },
            _ => Place {
                tile: 5 + row,
                number: 2 * color + column,
                above: 4 + 2 * color + column,
                left: 4 + 2 * color + row,
            },
        };
        index += 1;
    }
    places
};

/// What is coded of a macroblock.
pub(super) struct Residual {
    /// Coefficients, and then what is to be added to the prediction: the block of DC values alone, four rows of luminance
    /// at a time, and twice four rows of both colour differences.
    tiles: [Tile; 7],
    /// How far the coefficients of each tile reach at most: one behind the last that is not zero, in zigzag order.
    reach: [u8; 7],
}

impl Residual {
    pub(super) const fn new() -> Self {
        Self {
            tiles: [[[0; 16]; 4]; 7],
            reach: [0; 7],
        }
    }

    /// None at all.
    pub(super) const fn clear(&mut self) {
        self.reach = [0; 7];
    }

    /// Whether nothing is to be added to what was predicted.
    pub(super) fn is_empty(&self) -> bool {
        self.reach == [0; 7]
    }

    /// What there is to add to luminance, four rows at a time.
    pub(super) fn luma(&self) -> impl Iterator<Item = Option<&Tile>> {
        self.tiles().skip(1).take(4)
    }

    /// What there is to add to the colour differences, four rows of either at a time.
    pub(super) fn chroma(&self) -> impl Iterator<Item = Option<&Tile>> {
        self.tiles().skip(5)
    }

    fn tiles(&self) -> impl Iterator<Item = Option<&Tile>> {
        self.tiles
            .iter()
            .zip(self.reach)
            .map(|(tile, reach)| (reach > 0).then_some(tile))
    }

    /// Reads the coefficients of a macroblock, those of one that predicts its luminance as a whole with a block of DC
    /// values.
    pub(super) fn read(
        &mut self,
        (state, bytes): (&mut Bits, &[u8]),
        probabilities: &Probabilities,
        quantiser: &Quantiser,
        whole: bool,
        (above, left): (&mut Edge, &mut Edge),
    ) {
        let mut bits = *state;
        *self = Self::new();
        let [without_dc, dc, chroma, with_dc] = probabilities;
        let luma = if whole { (without_dc, 1) } else { (with_dc, 0) };
        // One place in the code that reads a block: it is long, and copies of it would push each other out of the cache.
        for (index, place) in PLACES.iter().enumerate().skip(usize::from(!whole)) {
            let (probabilities, steps, first) = match index {
                0 => (dc, quantiser.luma_dc, 0),
                1..17 => (luma.0, quantiser.luma, luma.1),
                _ => (chroma, quantiser.chroma, 0),
            };
            let (Some(above), Some(left), Some(tile), Some(reach)) = (
                above.get_mut(usize::from(place.above)),
                left.get_mut(usize::from(place.left)),
                self.tiles.get_mut(usize::from(place.tile)),
                self.reach.get_mut(usize::from(place.tile)),
            ) else {
                continue;
            };
            let block = tile.as_flattened_mut().get_mut(4 * usize::from(place.number)..);
            let block = block.unwrap_or_default();
            let last = read_block(&mut bits, bytes, probabilities, *above + *left, first, steps, block);
            let some = last > first;
            (*above, *left) = (u8::from(some), u8::from(some));
            *reach = (*reach).max(if some { last as u8 } else { 0 });
        }
        *state = bits;
        if whole {
            self.spread_dc();
        }
        for (tile, reach) in self.tiles.iter_mut().zip(self.reach) {
            match reach {
                0 => {}
                1 => flatten(tile),
                _ => *tile = inverse(tile),
            }
        }
    }

    /// Gives the DC values that have a block of their own to their blocks.
    fn spread_dc(&mut self) {
        let ([dc, luma @ .., _, _], [end, reach @ .., _, _]) = (&mut self.tiles, &mut self.reach);
        if core::mem::take(end) == 0 {
            return;
        }
        let values = spread(dc);
        for ((tile, reach), values) in luma.iter_mut().zip(reach).zip(values) {
            let [first, ..] = tile;
            for ([to, ..], value) in first.as_chunks_mut::<4>().0.iter_mut().zip(values) {
                *to = value;
            }
            if values != [0; 4] {
                *reach = (*reach).max(1);
            }
        }
    }
}

/// Reads a block from its coefficient `first` on, to where it begins in its tile. Says behind which one it ends.
#[inline(always)]
fn read_block(
    bits: &mut Bits,
    bytes: &[u8],
    probabilities: &[[[u8; 11]; 3]; 16],
    context: u8,
    first: usize,
    [dc, ac]: Steps,
    block: &mut [i16],
) -> usize {
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
            read_large(bits, bytes, now)
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
    index
}

/// A value of 2 or more.
#[inline(always)]
fn read_large(bits: &mut Bits, bytes: &[u8], now: &[u8; 11]) -> i32 {
    let mut read = |probability| i32::from(bits.read(bytes, probability));
    if read(now[3]) == 0 {
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
        3 + (8 << category)
            + extra
                .iter()
                .fold(0, |value, probability| 2 * value + read(*probability))
    }
}
