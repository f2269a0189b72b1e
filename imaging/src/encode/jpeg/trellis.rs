//! Quantisation that weighs error against bits: of all ways to write a block, the one of the least sum of both.
//!
//! A block's AC values are a path through its nonzero ones. What a step costs follows from the zeroes that it passes and
//! from the size of the value that it reaches, so that the best path to a value needs nothing but the best paths to the
//! values before it.

use super::blocks::{Divisors, masks_of};
use super::huffman::{Code, behind};
use crate::dct::ZIGZAG;

/// Bits that an error as large as the divisor is worth.
const WORTH: f32 = 40.0;

/// Bits of a symbol that never came.
const UNSEEN: f32 = 17.0;

/// Bits that symbols of AC values take, those behind them included.
pub(super) struct Rates([f32; 256]);

/// No value is left in a block, and sixteen zeroes.
const END: u32 = 0x00;
const ZEROES: u32 = 0xf0;

impl Rates {
    pub(super) fn of(code: &Code) -> Self {
        Self(core::array::from_fn(|symbol| {
            let symbol = symbol as u8;
            match code.of(symbol).1 {
                0 => UNSEEN,
                length => f32::from(length + behind(symbol)),
            }
        }))
    }

    #[inline(always)]
    fn of_symbol(&self, symbol: u32) -> f32 {
        self.0.get(symbol as usize).copied().unwrap_or(UNSEEN)
    }
}

/// The last value of a path.
#[derive(Clone, Copy, Default)]
struct Node {
    at: u32,
    value: i16,
    /// Index of the node before it.
    before: usize,
    /// What the path has cost, without what the zeroes up to here would cost.
    cost: f32,
}

/// Quantises the AC values of a block, in zigzag order. Says which of all values are at least 1, 2 and 4 from zero.
pub(super) fn quantise(block: &[f32; 64], divisors: &Divisors, rates: &Rates, values: &mut [i16; 64]) -> [u64; 3] {
    let mut levels = [0.0f32; 64];
    for (level, at) in levels.iter_mut().zip(ZIGZAG) {
        let at = usize::from(at);
        *level = block.get(at).copied().unwrap_or(0.0) * divisors.factor(at);
    }
    let mut nodes = [Node::default(); 64];
    let mut count = 1;
    let mut zeroes = 0.0;
    for (level, at) in levels.iter().zip(0u32..).skip(1) {
        let size = level.abs();
        let before = zeroes;
        zeroes += WORTH * size * size;
        let nearest = (size + 0.5) as i16;
        if nearest == 0 {
            continue;
        }
        let nearest = nearest.min(1023);
        let wide = 16 - nearest.cast_unsigned().leading_zeros();
        let error = |value: i16| {
            let difference = size - f32::from(value);
            WORTH * difference * difference
        };
        // The nearest one, and the nearest one that is a bit shorter.
        let shorter = (1 << (wide - 1)) - 1;
        let (near, far) = (error(nearest), error(shorter));
        let mut best = Node {
            cost: f32::INFINITY,
            ..Node::default()
        };
        for (index, node) in nodes.iter().enumerate().take(count) {
            let run = at - node.at - 1;
            let passed = node.cost + before + (run >> 4) as f32 * rates.of_symbol(ZEROES);
            let symbol = (run & 15) << 4 | wide;
            let cost = passed + near + rates.of_symbol(symbol);
            if cost < best.cost {
                best = Node {
                    at,
                    value: nearest,
                    before: index,
                    cost,
                };
            }
            if shorter > 0 {
                let cost = passed + far + rates.of_symbol(symbol - 1);
                if cost < best.cost {
                    best = Node {
                        at,
                        value: shorter,
                        before: index,
                        cost,
                    };
                }
            }
        }
        if *level < 0.0 {
            best.value = -best.value;
        }
        best.cost -= zeroes;
        if let Some(node) = nodes.get_mut(count) {
            *node = best;
            count += 1;
        }
    }
    let mut last = 0;
    let mut least = f32::INFINITY;
    for (index, node) in nodes.iter().enumerate().take(count) {
        let cost = node.cost + if node.at < 63 { rates.of_symbol(END) } else { 0.0 };
        if cost < least {
            (least, last) = (cost, index);
        }
    }
    for value in values.iter_mut().skip(1) {
        *value = 0;
    }
    while last > 0 {
        let node = nodes.get(last).copied().unwrap_or_default();
        if let Some(value) = values.get_mut(node.at as usize) {
            *value = node.value;
        }
        last = node.before;
    }
    masks_of(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::jpeg::huffman::Frequencies;
    use proptest::prelude::*;

    fn rates() -> Rates {
        let mut frequencies = Frequencies::new();
        for run in 0..16usize {
            for size in 1..=10 {
                frequencies.0[run << 4 | size] = (200_000 >> run >> (2 * size)) as u32 + 1;
            }
        }
        (frequencies.0[0x00], frequencies.0[0xf0]) = (60_000, 300);
        Rates::of(&Code::new(&frequencies))
    }

    /// Error and bits of AC values, counted as they would be written.
    fn cost(block: &[f32; 64], divisors: &Divisors, rates: &Rates, values: &[i16; 64]) -> f32 {
        let (mut cost, mut run) = (0.0, 0);
        for (value, at) in values.iter().zip(ZIGZAG).skip(1) {
            let at = usize::from(at);
            let error = block[at] * divisors.factor(at) - f32::from(*value);
            cost += WORTH * error * error;
            if *value == 0 {
                run += 1;
                continue;
            }
            cost += (run / 16) as f32 * rates.of_symbol(ZEROES);
            cost += rates.of_symbol(((run % 16) << 4) | (16 - value.unsigned_abs().leading_zeros()));
            run = 0;
        }
        cost + if run > 0 { rates.of_symbol(END) } else { 0.0 }
    }

    proptest! {
        #[test]
        fn no_other_way_costs_less(
            large in proptest::collection::btree_map(1usize..64, 0.5f32..40.0, 0..6),
            noise in proptest::collection::vec(-0.49f32..0.49, 64),
            negative in any::<u64>(),
        ) {
            let (divisors, rates) = (Divisors::of(80, true, false), rates());
            let [divisors, _] = &divisors;
            let mut block: [f32; 64] = core::array::from_fn(|at| noise[at] / divisors.factor(at));
            for (at, level) in &large {
                let sign = if negative >> at & 1 == 1 { -1.0 } else { 1.0 };
                block[usize::from(ZIGZAG[*at])] = sign * level / divisors.factor(usize::from(ZIGZAG[*at]));
            }
            let mut values = [7i16; 64];
            let masks = quantise(&block, divisors, &rates, &mut values);
            prop_assert_eq!(masks, masks_of(&values));
            prop_assert_eq!(values[0], 7, "DC is not its own");
            let found = cost(&block, divisors, &rates, &values);

            // All of what may become of the large ones: nothing, the nearest value, the nearest that is a bit shorter.
            for choice in 0..3u32.pow(large.len() as u32) {
                let mut others = [0i16; 64];
                let mut choice = choice;
                for (at, level) in &large {
                    let nearest = (level + 0.5) as i16;
                    let size = [0, nearest, (1 << nearest.ilog2()) - 1][choice as usize % 3];
                    choice /= 3;
                    others[*at] = if negative >> at & 1 == 1 { -size } else { size };
                }
                let other = cost(&block, divisors, &rates, &others);
                prop_assert!(found <= other + other * 1e-4, "{found} of {values:?}, {other} of {others:?}");
            }
        }
    }
}
