//! Inverse transforms to blocks of 1, 2, 4 or 8 samples a side, each side on its own.

/// Fraction bits of the cosines.
const COSINE_BITS: u32 = 12;
/// Fraction bits of what the first pass leaves.
const BETWEEN_BITS: u32 = 5;

/// Dequantised coefficients, rows of eight, in natural order.
pub(super) type Block = [i32; 64];

/// Writes a block's samples to rows of `stride` bytes.
pub(super) type Transform = fn(block: &Block, out: &mut [u8], stride: usize);

/// The transform to `width` x `height` samples; sides other than 1, 2 and 4 are 8.
pub(super) fn transform(width: u32, height: u32) -> Transform {
    match (width, height) {
        (1, 1) => to_samples::<1, 1>,
        (1, 2) => to_samples::<1, 2>,
        (1, 4) => to_samples::<1, 4>,
        (1, _) => to_samples::<1, 8>,
        (2, 1) => to_samples::<2, 1>,
        (2, 2) => to_samples::<2, 2>,
        (2, 4) => to_samples::<2, 4>,
        (2, _) => to_samples::<2, 8>,
        (4, 1) => to_samples::<4, 1>,
        (4, 2) => to_samples::<4, 2>,
        (4, 4) => to_samples::<4, 4>,
        (4, _) => to_samples::<4, 8>,
        (_, 1) => to_samples::<8, 1>,
        (_, 2) => to_samples::<8, 2>,
        (_, 4) => to_samples::<8, 4>,
        (..) => to_samples::<8, 8>,
    }
}

/// The sample that a block of nothing but its DC value is full of.
#[inline(always)]
pub(super) fn flat(dc: i32) -> u8 {
    clamp(((dc + 4) >> 3) + 128)
}

#[inline(always)]
fn clamp(value: i32) -> u8 {
    value.clamp(0, 255) as u8
}

fn to_samples<const W: usize, const H: usize>(block: &Block, out: &mut [u8], stride: usize) {
    let mut rows = [[0; W]; H];
    for (row, coefficients) in rows.iter_mut().zip(block.chunks_exact(8)) {
        for (to, from) in row.iter_mut().zip(coefficients) {
            *to = *from;
        }
    }
    let half = 1 << (COSINE_BITS - BETWEEN_BITS - 1);
    // Damaged files hold any value: clamped to 16 bits, eight products still fit.
    let between = rows_of(rows, |value| {
        ((value + half) >> (COSINE_BITS - BETWEEN_BITS)).clamp(-0x8000, 0x7fff)
    });
    let shift = COSINE_BITS + BETWEEN_BITS;
    let bias = (128 << shift) + (1 << (shift - 1));
    let samples = rows_of(transposed::<W, H>(&between), |value| (value + bias) >> shift);
    let samples = transposed::<H, W>(&samples);
    for (row, out) in samples.iter().zip(out.chunks_mut(stride)) {
        for (to, from) in out.iter_mut().zip(row) {
            *to = clamp(*from);
        }
    }
}

#[inline(always)]
fn transposed<const W: usize, const H: usize>(rows: &[[i32; W]; H]) -> [[i32; H]; W] {
    let mut columns = [[0; H]; W];
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

/// One pass over all columns: `N` coefficients to `N` samples, each rounded by `round`.
#[inline(always)]
fn rows_of<const L: usize, const N: usize>(x: [[i32; L]; N], round: impl Fn(i32) -> i32) -> [[i32; L]; N] {
    let mut out = [[0; L]; N];
    let lane = |row: usize, lane: usize| x.get(row).and_then(|row| row.get(lane)).copied().unwrap_or(0);
    for column in 0..L {
        let mut samples = [0; N];
        match N {
            1 => one(&mut samples, lane(0, column)),
            2 => two(&mut samples, [lane(0, column), lane(1, column)]),
            4 => four(
                &mut samples,
                [lane(0, column), lane(1, column), lane(2, column), lane(3, column)],
            ),
            _ => eight(
                &mut samples,
                [
                    lane(0, column),
                    lane(1, column),
                    lane(2, column),
                    lane(3, column),
                    lane(4, column),
                    lane(5, column),
                    lane(6, column),
                    lane(7, column),
                ],
            ),
        }
        for (row, sample) in out.iter_mut().zip(samples) {
            if let Some(to) = row.get_mut(column) {
                *to = round(sample);
            }
        }
    }
    out
}

#[inline(always)]
fn put(samples: &mut [i32], values: &[i32]) {
    for (to, from) in samples.iter_mut().zip(values) {
        *to = *from;
    }
}

#[inline(always)]
fn one(samples: &mut [i32], x0: i32) {
    put(samples, &[C4 * x0]);
}

#[inline(always)]
fn two(samples: &mut [i32], [x0, x1]: [i32; 2]) {
    // The cosine of pi / 4 for both.
    put(samples, &[C4 * x0 + C4 * x1, C4 * x0 - C4 * x1]);
}

#[inline(always)]
fn four(samples: &mut [i32], [x0, x1, x2, x3]: [i32; 4]) {
    let (sum, difference) = (C4 * x0 + C4 * x2, C4 * x0 - C4 * x2);
    let (outer, inner) = (C2 * x1 + C6 * x3, C6 * x1 - C2 * x3);
    put(
        samples,
        &[sum + outer, difference + inner, difference - inner, sum - outer],
    );
}

#[inline(always)]
fn eight(samples: &mut [i32], [x0, x1, x2, x3, x4, x5, x6, x7]: [i32; 8]) {
    let (sum, difference) = (C4 * x0 + C4 * x4, C4 * x0 - C4 * x4);
    let (outer, inner) = (C2 * x2 + C6 * x6, C6 * x2 - C2 * x6);
    let even = [sum + outer, difference + inner, difference - inner, sum - outer];
    let odd = [
        C1 * x1 + C3 * x3 + C5 * x5 + C7 * x7,
        C3 * x1 - C7 * x3 - C1 * x5 - C5 * x7,
        C5 * x1 - C1 * x3 + C7 * x5 + C3 * x7,
        C7 * x1 - C5 * x3 + C3 * x5 - C1 * x7,
    ];
    let [e0, e1, e2, e3] = even;
    let [o0, o1, o2, o3] = odd;
    put(
        samples,
        &[e0 + o0, e1 + o1, e2 + o2, e3 + o3, e3 - o3, e2 - o2, e1 - o1, e0 - o0],
    );
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
                    transform(width as u32, height as u32)(&block, &mut out, 10);
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
                transform(size, size)(&block, &mut [0; 64], 8);
            }
        }

        #[test]
        fn a_flat_block_is_flat(dc in -2000i32..2000) {
            let mut block = [0; 64];
            block[0] = dc;
            let mut out = [0; 64];
            transform(8, 8)(&block, &mut out, 8);
            prop_assert!(out.iter().all(|sample| sample.abs_diff(flat(dc)) <= 1 && *sample == out[0]));
        }
    }
}
