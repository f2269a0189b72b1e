//! Inverse transforms to blocks of 1, 2, 4 or 8 samples a side, each side on its own.

/// Fraction bits of the cosines.
const COSINE_BITS: u32 = 12;
/// Fraction bits of what the first pass leaves.
const BETWEEN_BITS: u32 = 5;

/// Dequantised coefficients, rows of eight, in natural order.
pub(super) type Block = [i32; 64];

/// The sample that a block of nothing but its DC value is full of.
#[inline(always)]
pub(super) fn flat(dc: i32) -> u8 {
    clamp(((dc + 4) >> 3) + 128)
}

#[inline(always)]
fn clamp(value: i32) -> u8 {
    value.clamp(0, 255) as u8
}

/// Writes a block as `width` x `height` samples, each 1, 2, 4 or 8, to rows of `stride` bytes.
pub(super) fn transform(block: &Block, (width, height): (usize, usize), out: &mut [u8], stride: usize) {
    let mut rows = [[0; LANES]; LANES];
    for (row, coefficients) in rows.iter_mut().zip(block.chunks_exact(LANES)).take(height) {
        for (to, from) in row.iter_mut().zip(coefficients) {
            *to = *from;
        }
    }
    let half = 1 << (COSINE_BITS - BETWEEN_BITS - 1);
    pass(&mut rows, height);
    for value in rows.iter_mut().flatten() {
        // Damaged files hold any value: clamped to 16 bits, eight products still fit.
        *value = ((*value + half) >> (COSINE_BITS - BETWEEN_BITS)).clamp(-0x8000, 0x7fff);
    }
    let shift = COSINE_BITS + BETWEEN_BITS;
    let bias = (128 << shift) + (1 << (shift - 1));
    let mut columns = transposed(&rows);
    pass(&mut columns, width);
    for value in columns.iter_mut().flatten() {
        *value = (*value + bias) >> shift;
    }
    for (row, out) in transposed(&columns).iter().zip(out.chunks_mut(stride)).take(height) {
        for (to, from) in out.iter_mut().zip(row).take(width) {
            *to = clamp(*from);
        }
    }
}

/// Columns that a pass works on side by side.
const LANES: usize = 8;

type Row = [i32; LANES];

fn transposed(rows: &[Row; LANES]) -> [Row; LANES] {
    let mut columns = [[0; LANES]; LANES];
    for (y, row) in rows.iter().enumerate() {
        for (column, value) in columns.iter_mut().zip(row) {
            if let Some(to) = column.get_mut(y) {
                *to = *value;
            }
        }
    }
    columns
}

// Cosines of multiples of pi / 16, halved, as the normalisation of the transform of eight has it.
const fn cosine(twelve_bits: f64) -> i32 {
    (twelve_bits * (1 << (COSINE_BITS - 1)) as f64 + 0.5) as i32
}
const C1: i32 = cosine(0.980_785_280_403_230_4);
const C2: i32 = cosine(0.923_879_532_511_286_7);
const C3: i32 = cosine(0.831_469_612_302_545_2);
const C4: i32 = cosine(0.707_106_781_186_547_5);
const C5: i32 = cosine(0.555_570_233_019_602_2);
const C6: i32 = cosine(0.382_683_432_365_089_8);
const C7: i32 = cosine(0.195_090_322_016_128_3);

#[inline(always)]
fn times(factor: i32, row: &Row) -> Row {
    row.map(|value| factor * value)
}

#[inline(always)]
fn plus(mut a: Row, b: Row) -> Row {
    a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
    a
}

#[inline(always)]
fn minus(mut a: Row, b: Row) -> Row {
    a.iter_mut().zip(b).for_each(|(a, b)| *a -= b);
    a
}

/// The first `size` rows of coefficients to as many rows of samples.
fn pass(rows: &mut [Row; LANES], size: usize) {
    let [x0, x1, x2, x3, x4, x5, x6, x7] = &*rows;
    match size {
        1 => rows[0] = times(C4, x0),
        2 => {
            let (even, odd) = (times(C4, x0), times(C4, x1));
            [rows[0], rows[1]] = [plus(even, odd), minus(even, odd)];
        }
        4 => {
            let (a, b) = (times(C4, x0), times(C4, x2));
            let outer = plus(times(C2, x1), times(C6, x3));
            let inner = minus(times(C6, x1), times(C2, x3));
            let (sum, difference) = (plus(a, b), minus(a, b));
            [rows[0], rows[1], rows[2], rows[3]] = [
                plus(sum, outer),
                plus(difference, inner),
                minus(difference, inner),
                minus(sum, outer),
            ];
        }
        _ => {
            let (a, b) = (times(C4, x0), times(C4, x4));
            let outer = plus(times(C2, x2), times(C6, x6));
            let inner = minus(times(C6, x2), times(C2, x6));
            let (sum, difference) = (plus(a, b), minus(a, b));
            let (e0, e1) = (plus(sum, outer), plus(difference, inner));
            let (e2, e3) = (minus(difference, inner), minus(sum, outer));
            let o0 = plus(plus(times(C1, x1), times(C3, x3)), plus(times(C5, x5), times(C7, x7)));
            let o1 = minus(minus(times(C3, x1), times(C7, x3)), plus(times(C1, x5), times(C5, x7)));
            let o2 = plus(minus(times(C5, x1), times(C1, x3)), plus(times(C7, x5), times(C3, x7)));
            let o3 = plus(minus(times(C7, x1), times(C5, x3)), minus(times(C3, x5), times(C1, x7)));
            *rows = [
                plus(e0, o0),
                plus(e1, o1),
                plus(e2, o2),
                plus(e3, o3),
                minus(e3, o3),
                minus(e2, o2),
                minus(e1, o1),
                minus(e0, o0),
            ];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, in floating point.
    fn exact(block: &Block, width: usize, height: usize) -> Vec<f64> {
        let basis = |u: usize, i: usize, n: usize| {
            if u == 0 {
                f64::sqrt(0.125)
            } else {
                0.5 * f64::cos((2 * i + 1) as f64 * u as f64 * core::f64::consts::PI / (2 * n) as f64)
            }
        };
        let mut samples = Vec::new();
        for y in 0..height {
            for x in 0..width {
                let sum: f64 = (0..height)
                    .flat_map(|v| (0..width).map(move |u| (u, v)))
                    .map(|(u, v)| f64::from(block[8 * v + u]) * basis(u, x, width) * basis(v, y, height))
                    .sum();
                samples.push((sum + 128.0).clamp(0.0, 255.0));
            }
        }
        samples
    }

    proptest! {
        #[test]
        fn every_size_is_its_definition(
            coefficients in proptest::collection::vec((0usize..64, -400i32..400), 0..12), dc in -1000i32..1000,
        ) {
            let mut block = [0; 64];
            block[0] = dc;
            for (index, value) in coefficients { block[index] += value; }
            for width in [1, 2, 4, 8] {
                for height in [1, 2, 4, 8] {
                    let mut out = vec![7; 10 * height];
                    transform(&block, (width, height), &mut out, 10);
                    for (index, wanted) in exact(&block, width, height).iter().enumerate() {
                        let (x, y) = (index % width, index / width);
                        prop_assert!((f64::from(out[10 * y + x]) - wanted).abs() < 0.6, "{width}x{height} at {x},{y}");
                    }
                    prop_assert!(out.chunks(10).all(|row| row[width..].iter().all(|byte| *byte == 7)), "beside the block");
                }
            }
        }

        #[test]
        fn damaged_values_do_no_harm(block in proptest::collection::vec(-0x8000i32..0x8000, 64)) {
            let block: Block = block.try_into().unwrap();
            for size in [1, 2, 4, 8] {
                transform(&block, (size, size), &mut [0; 64], 8);
            }
        }

        #[test]
        fn a_flat_block_is_flat(dc in -2000i32..2000) {
            let mut block = [0; 64];
            block[0] = dc;
            let mut out = [0; 64];
            transform(&block, (8, 8), &mut out, 8);
            prop_assert!(out.iter().all(|sample| sample.abs_diff(flat(dc)) <= 1 && *sample == out[0]));
        }
    }
}
