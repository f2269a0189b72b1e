//! Undoing the filters of rows (PNG 9.2): each byte is what its neighbours predict, plus what the file has of it.
//!
//! A pixel needs the one to its left, so a row by itself is one long chain of sums. Four rows together are four chains: each
//! row is a pixel behind the one above it, and a step of all four is made of vectors.

use bytemuck::cast;
use wide::{i16x8, u8x16};

/// Rows whose filters are undone together.
pub(super) const ROWS: usize = 4;

/// How a row was filtered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    None,
    Sub,
    Up,
    Average,
    Paeth,
}

impl Filter {
    pub(super) const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::None,
            1 => Self::Sub,
            2 => Self::Up,
            3 => Self::Average,
            4 => Self::Paeth,
            _ => return None,
        })
    }
}

/// Undoes the filters of four rows, one below the other, `above` being what is above the first. `size` is that of a pixel in
/// bytes, of fewer than 8 bits one; all rows are as long.
pub(super) fn undo_four(
    size: usize,
    filters: [Filter; ROWS],
    above: &[u8],
    filtered: [&[u8]; ROWS],
    rows: [&mut [u8]; ROWS],
) {
    let chained = filters
        .iter()
        .any(|filter| !matches!(filter, Filter::None | Filter::Up));
    match size {
        1 if chained => four::<1>(filters, above, filtered, rows),
        2 if chained => four::<2>(filters, above, filtered, rows),
        3 if chained => four::<3>(filters, above, filtered, rows),
        4 if chained => four::<4>(filters, above, filtered, rows),
        _ => {
            let mut above = above;
            for ((filter, filtered), row) in filters.into_iter().zip(filtered).zip(rows) {
                undo(size, filter, above, filtered, row);
                above = row;
            }
        }
    }
}

/// Undoes the filter of one row.
pub(super) fn undo(size: usize, filter: Filter, above: &[u8], filtered: &[u8], row: &mut [u8]) {
    match filter {
        Filter::None => row.copy_from_slice(filtered),
        Filter::Up => {
            for ((to, from), above) in row.iter_mut().zip(filtered).zip(above) {
                *to = from.wrapping_add(*above);
            }
        }
        Filter::Sub => chain(size, above, filtered, row, |left, _, _| left),
        Filter::Average => chain(size, above, filtered, row, |left, above, _| {
            u16::midpoint(left.into(), above.into()) as u8
        }),
        Filter::Paeth => chain(size, above, filtered, row, paeth),
    }
}

/// A row byte by byte: `predict` is given what is to the left, above, and above to the left.
fn chain(size: usize, above: &[u8], filtered: &[u8], row: &mut [u8], predict: impl Fn(u8, u8, u8) -> u8) {
    /// Bytes of the largest pixel: four channels of 16 bits.
    const MOST: usize = 8;
    let (mut left, mut corner) = ([0u8; MOST], [0u8; MOST]);
    let pixels = row.chunks_mut(size).zip(filtered.chunks(size)).zip(above.chunks(size));
    for ((to, from), above) in pixels {
        let known = left.iter_mut().zip(&mut corner);
        for (((to, from), above), (left, corner)) in to.iter_mut().zip(from).zip(above).zip(known) {
            *to = from.wrapping_add(predict(*left, *above, *corner));
            (*left, *corner) = (*to, *above);
        }
    }
}

/// The neighbour that is nearest to `left + above - corner`; of equally near ones the first in this order.
fn paeth(left: u8, above: u8, corner: u8) -> u8 {
    let (a, b, c) = (i16::from(left), i16::from(above), i16::from(corner));
    let (from_a, from_b, from_c) = ((b - c).abs(), (a - c).abs(), (a + b - 2 * c).abs());
    if from_a <= from_b.min(from_c) {
        left
    } else if from_b <= from_c {
        above
    } else {
        corner
    }
}

/// Which neighbours of a pixel its row's filter looks at. With the others as zeroes, Paeth's choice is that of every filter
/// but the average.
#[derive(Clone, Copy)]
struct Masks {
    left: i16x8,
    above: i16x8,
    corner: i16x8,
    average: i16x8,
}

impl Masks {
    /// For two rows, in the halves of a vector.
    fn new(rows: [Filter; 2]) -> Self {
        let mask = |looks: fn(Filter) -> bool| {
            let [first, second] = rows.map(|filter| if looks(filter) { -1 } else { 0 });
            i16x8::new([first, first, first, first, second, second, second, second])
        };
        Self {
            left: mask(|filter| matches!(filter, Filter::Sub | Filter::Paeth)),
            above: mask(|filter| matches!(filter, Filter::Up | Filter::Paeth)),
            corner: mask(|filter| filter == Filter::Paeth),
            average: mask(|filter| filter == Filter::Average),
        }
    }

    #[inline(always)]
    fn predict(self, left: i16x8, above: i16x8, corner: i16x8) -> i16x8 {
        let average = ((left + above) >> 1_i32) & self.average;
        let (a, b, c) = (left & self.left, above & self.above, corner & self.corner);
        let (down, right) = (b - c, a - c);
        let (from_a, from_b, from_c) = (down.abs(), right.abs(), (down + right).abs());
        let other = from_b.simd_gt(from_c).bitselect(c, b);
        from_a.simd_gt(from_b.min(from_c)).bitselect(other, a) + average
    }
}

/// What the next step needs of the one before.
struct Wave {
    masks: [Masks; 2],
    /// The last pixels of the first two rows, and of the other two; and what was above those.
    last: [i16x8; 2],
    above: [i16x8; 2],
}

impl Wave {
    fn new([a, b, c, d]: [Filter; ROWS]) -> Self {
        Self {
            masks: [Masks::new([a, b]), Masks::new([c, d])],
            last: [i16x8::ZERO; 2],
            above: [i16x8::ZERO; 2],
        }
    }

    /// A pixel of each row, each further to the left than the one above it; `above` is what is above the first one.
    #[inline(always)]
    fn step(&mut self, filtered: [u32; ROWS], above: u32) -> [u32; ROWS] {
        let filtered: u8x16 = cast(filtered);
        let [upper, lower] = self.last;
        let ([first, second], [third, _]): ([u64; 2], [u64; 2]) = (cast(upper), cast(lower));
        let [above, _]: [u64; 2] = cast(i16x8::from_u8x16_low(cast([above, 0, 0, 0])));
        let above: [i16x8; 2] = [cast([above, first]), cast([second, third])];
        let byte = i16x8::splat(0xff);
        let upper = i16x8::from_u8x16_low(filtered) + self.masks[0].predict(upper, above[0], self.above[0]);
        let lower = i16x8::from_u8x16_high(filtered) + self.masks[1].predict(lower, above[1], self.above[1]);
        self.last = [upper & byte, lower & byte];
        self.above = above;
        cast(u8x16::narrow_i16x8(self.last[0], self.last[1]))
    }
}

fn four<const SIZE: usize>(filters: [Filter; ROWS], above: &[u8], filtered: [&[u8]; ROWS], rows: [&mut [u8]; ROWS]) {
    let mut wave = Wave::new(filters);
    let (above, _) = above.as_chunks::<SIZE>();
    let filtered = filtered.map(|row| row.as_chunks::<SIZE>().0);
    let mut rows = rows.map(|row| row.as_chunks_mut::<SIZE>().0);
    let width = above.len();
    // Steps in which not all rows have a pixel: before the last row's first one, and behind the first row's last one.
    let ragged = |wave: &mut Wave, rows: &mut [&mut [[u8; SIZE]]; ROWS], at: usize| {
        let mut pixels = [0; ROWS];
        for (index, (to, row)) in pixels.iter_mut().zip(filtered).enumerate() {
            *to = at.checked_sub(index).and_then(|x| row.get(x)).map_or(0, word);
        }
        let pixels = wave.step(pixels, above.get(at).map_or(0, word));
        for (index, (pixel, row)) in pixels.into_iter().zip(rows).enumerate() {
            if let Some(to) = at.checked_sub(index).and_then(|x| row.get_mut(x)) {
                *to = bytes(pixel);
            }
        }
    };
    let lead = (ROWS - 1).min(width);
    for at in 0..lead {
        ragged(&mut wave, &mut rows, at);
    }
    {
        let [a, b, c, d] = filtered;
        let [to_a, to_b, to_c, to_d] = &mut rows;
        let from = behind(a, 3).iter().zip(behind(b, 2)).zip(behind(c, 1).iter().zip(d));
        let to = behind_mut(to_a, 3).iter_mut().zip(behind_mut(to_b, 2));
        let to = to.zip(behind_mut(to_c, 1).iter_mut().zip(to_d.iter_mut()));
        for ((((a, b), (c, d)), ((to_a, to_b), (to_c, to_d))), above) in from.zip(to).zip(behind(above, 3)) {
            let [a, b, c, d] = wave.step([word(a), word(b), word(c), word(d)], word(above));
            (*to_a, *to_b, *to_c, *to_d) = (bytes(a), bytes(b), bytes(c), bytes(d));
        }
    }
    for at in width.max(lead)..width + ROWS - 1 {
        ragged(&mut wave, &mut rows, at);
    }
}

fn behind<T>(row: &[T], first: usize) -> &[T] {
    row.get(first..).unwrap_or_default()
}

fn behind_mut<T>(row: &mut [T], first: usize) -> &mut [T] {
    row.get_mut(first..).unwrap_or_default()
}

#[inline(always)]
fn word<const SIZE: usize>(pixel: &[u8; SIZE]) -> u32 {
    let mut bytes = [0; 4];
    bytes.iter_mut().zip(pixel).for_each(|(to, from)| *to = *from);
    u32::from_le_bytes(bytes)
}

#[inline(always)]
fn bytes<const SIZE: usize>(word: u32) -> [u8; SIZE] {
    let mut pixel = [0; SIZE];
    pixel
        .iter_mut()
        .zip(word.to_le_bytes())
        .for_each(|(to, from)| *to = from);
    pixel
}

#[cfg(test)]
mod tests {
    use super::{Filter, ROWS, undo, undo_four};
    use proptest::prelude::*;

    const FILTERS: [Filter; 5] = [Filter::None, Filter::Sub, Filter::Up, Filter::Average, Filter::Paeth];

    /// As the standard writes it, byte by byte.
    fn by_the_book(size: usize, filter: Filter, above: &[u8], filtered: &[u8]) -> Vec<u8> {
        let mut row: Vec<u8> = Vec::new();
        for (at, byte) in filtered.iter().enumerate() {
            let left = at.checked_sub(size);
            let a = left.map_or(0, |left| i32::from(row[left]));
            let c = left.map_or(0, |left| i32::from(above[left]));
            let b = i32::from(above[at]);
            let predicted = match filter {
                Filter::None => 0,
                Filter::Sub => a,
                Filter::Up => b,
                Filter::Average => (a + b) / 2,
                Filter::Paeth => {
                    let near = |value: i32| (a + b - c - value).abs();
                    [a, b, c].into_iter().min_by_key(|value| near(*value)).unwrap()
                }
            };
            row.push(byte.wrapping_add(predicted as u8));
        }
        row
    }

    proptest! {
        #[test]
        fn four_rows_together_are_what_the_standard_says_of_each(
            size in prop::sample::select(vec![1usize, 2, 3, 4, 6, 8]),
            width in 0usize..20,
            filters in prop::array::uniform4(prop::sample::select(FILTERS.to_vec())),
            seed in prop::collection::vec(any::<u8>(), 5 * 20 * 8),
        ) {
            let stride = size * width;
            let (above, filtered) = seed.split_at(stride);
            let filtered: Vec<&[u8]> = (0..ROWS).map(|index| &filtered[index * stride..][..stride]).collect();
            let mut rows = vec![0; ROWS * stride + 1];
            let (a, rest) = rows.split_at_mut(stride);
            let (b, rest) = rest.split_at_mut(stride);
            let (c, rest) = rest.split_at_mut(stride);
            let d = &mut rest[..stride];
            undo_four(size, filters, above, filtered.clone().try_into().unwrap(), [a, b, c, d]);
            let mut before = above.to_vec();
            for (index, filter) in filters.into_iter().enumerate() {
                let expected = by_the_book(size, filter, &before, filtered[index]);
                prop_assert_eq!(&rows[index * stride..][..stride], &expected[..]);
                let mut alone = vec![0; stride];
                undo(size, filter, &before, filtered[index], &mut alone);
                prop_assert_eq!(&alone, &expected);
                before = expected;
            }
        }
    }
}
