//! Inverse transforms (RFC 6386, section 14), of two blocks side by side at once.

use super::lanes::rotated;

/// Dequantised coefficients of a block, rows of four.
pub(super) type Coefficients = [i16; 16];

/// What two blocks side by side add to their prediction: rows of eight.
pub(super) type Tile = [Row; 4];

type Row = [i16; 8];

/// The DC values of sixteen blocks, of their Walsh-Hadamard transform.
pub(super) fn spread(coefficients: &Coefficients) -> [i16; 16] {
    let butterfly = |[a, b, c, d]: [[i32; 4]; 4]| {
        let of = |f: fn(i32, i32) -> i32, a: [i32; 4], b: [i32; 4]| {
            let mut of = a;
            of.iter_mut().zip(b).for_each(|(a, b)| *a = f(*a, b));
            of
        };
        let (plus, minus) = (|a, b| a + b, |a, b| a - b);
        let (outer, inner) = (of(plus, a, d), of(plus, b, c));
        let (outer_difference, inner_difference) = (of(minus, a, d), of(minus, b, c));
        [
            of(plus, outer, inner),
            of(plus, outer_difference, inner_difference),
            of(minus, outer, inner),
            of(minus, outer_difference, inner_difference),
        ]
    };
    let mut rows = [[0; 4]; 4];
    for (to, from) in rows.as_flattened_mut().iter_mut().zip(coefficients) {
        *to = i32::from(*from);
    }
    let columns = rotated(&rotated(&butterfly(rows)));
    let rows = rotated(&rotated(&butterfly(columns)));
    let mut values = [0; 16];
    for (to, from) in values.iter_mut().zip(rows.as_flattened()) {
        *to = ((from + 3) >> 3) as i16;
    }
    values
}

/// What two blocks stand for that end before the given coefficients.
pub(super) fn tile([left, right]: &[Coefficients; 2], ends: [u8; 2]) -> Tile {
    if ends.iter().all(|end| *end <= 1) {
        let [l, r] = [left, right].map(|[dc, ..]| dc.wrapping_add(4) >> 3);
        return [[l, l, l, l, r, r, r, r]; 4];
    }
    let mut rows = [[0; 8]; 4];
    let halves = left.as_chunks::<4>().0.iter().zip(right.as_chunks::<4>().0);
    for (row, (left, right)) in rows.iter_mut().zip(halves) {
        let (to_left, to_right) = row.split_at_mut(4);
        to_left.copy_from_slice(left);
        to_right.copy_from_slice(right);
    }
    // Of the five bits of an index the three of the lane, block and column, come to the front, and then the others.
    let mut columns = rotated(&rotated(&rotated(&down(&rows))));
    let [first, ..] = &mut columns;
    // Half of what the shift below divides by.
    *first = first.map(|value| value.wrapping_add(4));
    rotated(&rotated(&down(&columns).map(|row| row.map(|value| value >> 3))))
}

/// The cosine transform of RFC 6386 down the columns, in its integers. What overflows in a damaged file wraps.
#[inline(always)]
#[expect(clippy::indexing_slicing, reason = "the index is below the arrays' length, which is known")]
fn down([a, b, c, d]: &Tile) -> Tile {
    let mut values = [[0; 8]; 4];
    for i in 0..8 {
        let (sum, difference) = (a[i].wrapping_add(c[i]), a[i].wrapping_sub(c[i]));
        let inner = by_sine(b[i]).wrapping_sub(by_cosine(d[i]));
        let outer = by_cosine(b[i]).wrapping_add(by_sine(d[i]));
        values[0][i] = sum.wrapping_add(outer);
        values[1][i] = difference.wrapping_add(inner);
        values[2][i] = difference.wrapping_sub(inner);
        values[3][i] = sum.wrapping_sub(outer);
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
