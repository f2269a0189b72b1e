//! Inverse transforms (RFC 6386, section 14), of four blocks side by side at once.

use super::lanes::rotated;

/// Four blocks side by side, in four rows.
pub(super) type Tile = [[i16; 16]; 4];

/// Where the coefficients of a block lie in a tile, from its first one on, in the order in which they are coded.
pub(super) const ZIGZAG: [u8; 16] = [0, 1, 16, 32, 17, 2, 3, 18, 33, 48, 49, 34, 19, 35, 50, 51];

/// The DC values of four times four blocks, of their Walsh-Hadamard transform in the first block of a tile.
pub(super) fn spread(coefficients: &Tile) -> [[i16; 4]; 4] {
    let rows = coefficients.map(|[a, b, c, d, ..]| [a, b, c, d].map(i32::from));
    let columns = rotated(&rotated(&butterfly(rows)));
    let rows = rotated(&rotated(&butterfly(columns)));
    rows.map(|row| row.map(|value| ((value + 3) >> 3) as i16))
}

fn butterfly([a, b, c, d]: [[i32; 4]; 4]) -> [[i32; 4]; 4] {
    let mut values = [a, b, c, d];
    let [first, second, third, fourth] = &mut values;
    for (((a, b), c), d) in first.iter_mut().zip(second).zip(third).zip(fourth) {
        let (outer, inner) = (*a + *d, *b + *c);
        let (outer_difference, inner_difference) = (*a - *d, *b - *c);
        (*a, *c) = (outer + inner, outer - inner);
        (*b, *d) = (outer_difference + inner_difference, outer_difference - inner_difference);
    }
    values
}

/// What the coefficients of four blocks stand for.
pub(super) fn inverse(coefficients: &Tile) -> Tile {
    #[cfg(test)]
    overflow::note(coefficients);
    // Of the six bits of an index the lower two of the lane, which are the column, come to the front, and then the row.
    let mut columns = rotated(&rotated(&rotated(&rotated(&down(coefficients, 0)))));
    let [first, ..] = &mut columns;
    // Half of what the shift divides by.
    *first = first.map(|value| value.wrapping_add(4));
    rotated(&rotated(&down(&columns, 3)))
}

/// The same of blocks that have but a DC value.
pub(super) fn flatten(tile: &mut Tile) {
    #[cfg(test)]
    overflow::note(tile);
    let [mut row, ..] = *tile;
    for block in row.as_chunks_mut::<4>().0 {
        let [dc, ..] = *block;
        *block = [dc.wrapping_add(4) >> 3; 4];
    }
    *tile = [row; 4];
}

/// The cosine transform of RFC 6386 down the columns, in its integers, divided by a power of 2. What overflows in a damaged
/// file wraps.
#[inline(always)]
#[expect(
    clippy::indexing_slicing,
    reason = "the index is below the arrays' length, which is known"
)]
fn down([a, b, c, d]: &Tile, shift: u32) -> Tile {
    let mut values = [[0; 16]; 4];
    for i in 0..16 {
        let (sum, difference) = (a[i].wrapping_add(c[i]), a[i].wrapping_sub(c[i]));
        let inner = by_sine(b[i]).wrapping_sub(by_cosine(d[i]));
        let outer = by_cosine(b[i]).wrapping_add(by_sine(d[i]));
        values[0][i] = sum.wrapping_add(outer) >> shift;
        values[1][i] = difference.wrapping_add(inner) >> shift;
        values[2][i] = difference.wrapping_sub(inner) >> shift;
        values[3][i] = sum.wrapping_sub(outer) >> shift;
    }
    values
}

/// Times the square root of 2 and the cosine of pi / 8, which is 1 and 20,091 / 65,536.
#[inline(always)]
fn by_cosine(value: i16) -> i16 {
    value.wrapping_add(((i32::from(value) * 20_091) >> 16) as i16)
}

/// Times the square root of 2 and the sine of pi / 8, which is 35,468 / 65,536: 1 less 30,068 of them.
#[inline(always)]
fn by_sine(value: i16) -> i16 {
    value.wrapping_add(((i32::from(value) * -30_068) >> 16) as i16)
}

/// Adds what was coded to what was predicted.
#[inline(always)]
pub(super) fn add<const N: usize>(predicted: &mut [u8; N], residual: &[i16; N]) {
    for (sample, residual) in predicted.iter_mut().zip(residual) {
        *sample = i16::from(*sample).saturating_add(*residual).clamp(0, 255) as u8;
    }
}

/// Whether a damaged file has coefficients whose transform does not fit 16 bits. What becomes of them then is nowhere said: even
/// libwebp's own kernels, of which it takes the processor's, differ.
#[cfg(test)]
pub(in crate::decode::webp) mod overflow {
    use super::Tile;
    use std::cell::Cell;

    thread_local! {
        static SEEN: Cell<bool> = const { Cell::new(false) };
    }

    /// Whether there was one on this thread since this was asked last.
    pub(in crate::decode::webp) fn take() -> bool {
        SEEN.take()
    }

    pub(super) fn note(tile: &Tile) {
        for block in 0..4 {
            let rows = tile.map(|row| [0, 1, 2, 3].map(|column| i32::from(row[block * 4 + column])));
            let turned = |rows: [[i32; 4]; 4]| [0, 1, 2, 3].map(|column| rows.map(|row| row[column]));
            let mut columns = turned(turned(rows).map(fitting));
            for row in &mut columns {
                row[0] += 4;
                fitting(*row);
            }
        }
    }

    /// The transform of four values, in as many bits as it takes.
    fn fitting([a, b, c, d]: [i32; 4]) -> [i32; 4] {
        let cosine = |value: i32| value + ((value * 20_091) >> 16);
        let sine = |value: i32| value + ((value * -30_068) >> 16);
        let inner = sine(b) - cosine(d);
        let outer = cosine(b) + sine(d);
        let values = [a + c + outer, a - c + inner, a - c - inner, a + c - outer];
        let on_the_way = [a, a + c, a - c, cosine(b), cosine(d), inner, outer];
        if values
            .iter()
            .chain(&on_the_way)
            .any(|value| i16::try_from(*value).is_err())
        {
            SEEN.set(true);
        }
        // What does not fit is noted; the rest is to stay far from the ends of these integers.
        values.map(|value| value.clamp(-40_000, 40_000))
    }
}
