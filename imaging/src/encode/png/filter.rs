//! The filters of rows (PNG 9): each byte becomes its difference from what its neighbours predict.

/// Names of the filters in the file, which are their numbers.
const FILTERS: usize = 5;

/// Filters rows of one length, one after the other.
pub(super) struct Filters {
    /// Bytes of a pixel.
    size: usize,
    /// One row by each filter but the first, which leaves it as it is.
    rows: [Vec<u8>; FILTERS - 1],
    /// What is above the first row.
    nothing: Vec<u8>,
}

impl Filters {
    /// `size` is of a pixel in bytes, `length` of a row.
    pub(super) fn new(size: usize, length: usize) -> Self {
        Self {
            size,
            rows: std::array::from_fn(|_| vec![0; length]),
            nothing: vec![0; length],
        }
    }

    /// Adds a row to `to`, behind the number of the filter that leaves the smallest differences: those whose sum is the
    /// least, which is the heuristic that the specification recommends (12.8). `above` is the row above, if there is one.
    pub(super) fn smallest(&mut self, above: Option<&[u8]>, row: &[u8], to: &mut Vec<u8>) {
        let above = above.unwrap_or(&self.nothing);
        let [sub, up, average, paeth] = &mut self.rows;
        difference(row, above, up);
        behind(self.size, row, sub, |_, from, left, _, to| difference(from, left, to));
        behind(self.size, row, average, |at, from, left, _, to| {
            let above = above.get(at..).unwrap_or_default();
            for (((to, from), left), above) in to.iter_mut().zip(from).zip(left).zip(above) {
                *to = from.wrapping_sub((left & above).wrapping_add((left ^ above) >> 1));
            }
        });
        behind(self.size, row, paeth, |at, from, left, corner, to| {
            let corner = above.get(corner).unwrap_or_default();
            let above = above.get(at..).unwrap_or_default();
            for ((((to, from), left), above), corner) in to.iter_mut().zip(from).zip(left).zip(above).zip(corner) {
                *to = from.wrapping_sub(nearest(*left, *above, *corner));
            }
        });
        // Where there is nothing to the left, the average is half of what is above, and Paeth's choice is what is above.
        for (((average, paeth), from), above) in average
            .iter_mut()
            .zip(paeth.iter_mut())
            .zip(row)
            .zip(above)
            .take(self.size)
        {
            *average = from.wrapping_sub(above >> 1);
            *paeth = from.wrapping_sub(*above);
        }
        let mut best = (sum(row), 0, row);
        for (number, filtered) in (1u8..).zip(&self.rows) {
            let sum = sum(filtered);
            if sum < best.0 {
                best = (sum, number, filtered);
            }
        }
        to.push(best.1);
        to.extend_from_slice(best.2);
    }

    /// Adds a row to `to` as differences from the pixels to the left, behind that filter's number.
    pub(super) fn left(&mut self, row: &[u8], to: &mut Vec<u8>) {
        let [sub, ..] = &mut self.rows;
        behind(self.size, row, sub, |_, from, left, _, to| difference(from, left, to));
        to.push(1);
        to.extend_from_slice(sub);
    }
}

/// Gives `fill` the part of a row that has something to its left: where that begins, it, what is to its left, the range
/// of what is above that, and where it goes. What has nothing to its left goes as it is.
fn behind(
    size: usize,
    row: &[u8],
    to: &mut [u8],
    fill: impl FnOnce(usize, &[u8], &[u8], std::ops::Range<usize>, &mut [u8]),
) {
    let (Some((first, rest)), Some((first_to, rest_to))) = (row.split_at_checked(size), to.split_at_mut_checked(size))
    else {
        return;
    };
    first_to.copy_from_slice(first);
    let left = row.get(..rest.len()).unwrap_or_default();
    fill(size, rest, left, 0..rest.len(), rest_to);
}

fn difference(row: &[u8], from: &[u8], to: &mut [u8]) {
    for ((to, byte), from) in to.iter_mut().zip(row).zip(from) {
        *to = byte.wrapping_sub(*from);
    }
}

/// The neighbour that is nearest to `left + above - corner`; of equally near ones the first in this order. Without a branch,
/// so that the compiler makes vectors of it.
#[inline(always)]
fn nearest(left: u8, above: u8, corner: u8) -> u8 {
    let (a, b, c) = (i16::from(left), i16::from(above), i16::from(corner));
    let (down, right) = (b - c, a - c);
    let (from_a, from_b, from_c) = (down.abs(), right.abs(), (down + right).abs());
    let other = if from_b <= from_c { b } else { c };
    (if from_a <= from_b && from_a <= from_c { a } else { other }) as u8
}

/// Sum of what bytes are away from 0, either way round.
fn sum(row: &[u8]) -> u64 {
    const LANES: usize = 16;
    /// As many as 128 can be added to 16 bits.
    const MOST: usize = 511;
    let mut total = 0;
    for part in row.chunks(LANES * MOST) {
        let mut lanes = [0u16; LANES];
        let (vectors, rest) = part.as_chunks::<LANES>();
        for vector in vectors {
            for (lane, byte) in lanes.iter_mut().zip(vector) {
                *lane += u16::from(byte.cast_signed().unsigned_abs());
            }
        }
        let rest = rest.iter().map(|byte| u64::from(byte.cast_signed().unsigned_abs()));
        total += lanes.into_iter().map(u64::from).chain(rest).sum::<u64>();
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The specification's own words, a byte at a time.
    fn as_specified(filter: u8, size: usize, above: &[u8], row: &[u8]) -> Vec<u8> {
        let at = |row: &[u8], index: Option<usize>| index.map_or(0, |index| row[index]);
        (0..row.len())
            .map(|x| {
                let left = at(row, x.checked_sub(size));
                let corner = at(above, x.checked_sub(size));
                let above = above[x];
                let predicted = match filter {
                    0 => 0,
                    1 => left,
                    2 => above,
                    3 => u16::midpoint(left.into(), above.into()) as u8,
                    _ => {
                        let p = i32::from(left) + i32::from(above) - i32::from(corner);
                        let away = |value: u8| (p - i32::from(value)).abs();
                        if away(left) <= away(above) && away(left) <= away(corner) {
                            left
                        } else if away(above) <= away(corner) {
                            above
                        } else {
                            corner
                        }
                    }
                };
                row[x].wrapping_sub(predicted)
            })
            .collect()
    }

    fn distance(row: &[u8]) -> u64 {
        row.iter()
            .map(|byte| u64::from(*byte).min(256 - u64::from(*byte)))
            .sum()
    }

    proptest! {
        #[test]
        fn the_filter_of_the_smallest_sum_is_taken_and_right(
            size in 1usize..=4, pixels in 1usize..80, flat in any::<bool>(), seed in any::<u64>(), first in any::<bool>(),
        ) {
            let mut state = seed;
            let mut byte = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                if flat { 100 + (state >> 62) as u8 } else { (state >> 56) as u8 }
            };
            let above: Vec<u8> = (0..size * pixels).map(|_| byte()).collect();
            let row: Vec<u8> = (0..size * pixels).map(|_| byte()).collect();
            let mut to = Vec::new();
            Filters::new(size, row.len()).smallest((!first).then_some(&above), &row, &mut to);
            let above = if first { vec![0; row.len()] } else { above };
            prop_assert_eq!(&to[1..], &as_specified(to[0], size, &above, &row)[..]);
            let least = (0..5).map(|filter| distance(&as_specified(filter, size, &above, &row))).min();
            prop_assert_eq!(Some(distance(&to[1..])), least);
            let mut left = Vec::new();
            Filters::new(size, row.len()).left(&row, &mut left);
            prop_assert_eq!(left[0], 1);
            prop_assert_eq!(&left[1..], &as_specified(1, size, &above, &row)[..]);
        }
    }

    #[test]
    fn the_longest_row_of_the_largest_differences_is_summed() {
        assert_eq!(sum(&[128; 300_001]), 300_001 * 128);
    }
}
