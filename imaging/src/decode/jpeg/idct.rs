//! Inverse transforms to blocks of 1, 2, 4 or 8 samples a side, each side on its own.
//!
//! In floating point: vectors of it are multiplied at once in every lane, where products of 32-bit integers take several
//! steps. Every operation is an IEEE one in a fixed order, so that all lanes compute the same bits.

use crate::dct::{C2, C4, C6, ODD, Vector, minus, plus, times};

/// Dequantised coefficients, rows of eight, in natural order.
pub(super) type Block = [f32; 64];

/// The sample that a block of nothing but its DC value is full of.
#[inline(always)]
pub(super) fn flat(dc: f32) -> u8 {
    sample(dc * 0.125)
}

/// What is added to have the sample in the lowest bits: 128, where zero lies, above what has no room for fractions.
const LEVEL: f32 = 128.0;
const MAGIC: f32 = 8_388_608.0;

#[inline(always)]
fn sample(value: f32) -> u8 {
    let value = value + LEVEL;
    let value = if value < 255.0 { value } else { 255.0 };
    let value = if value > 0.0 { value } else { 0.0 };
    (value + MAGIC).to_bits() as u8
}

/// Writes a block as `width` x `height` samples, each 1, 2, 4 or 8, to rows of `stride` bytes.
#[inline]
pub(super) fn transform(block: &Block, size: (usize, usize), out: &mut [u8], stride: usize) {
    match size {
        (8, 8) => inverse(block, down_8, across_8, out, stride),
        (4, 4) => inverse(block, down_half, across_half, out, stride),
        (2, 2) => inverse(block, down_2, across_2, out, stride),
        (1, 1) => inverse(block, down_1, across_1, out, stride),
        (4, 8) => inverse(block, down_8, across_half, out, stride),
        (2, 8) => inverse(block, down_8, across_2, out, stride),
        (1, 8) => inverse(block, down_8, across_1, out, stride),
        (8, 4) => inverse(block, down_half, across_8, out, stride),
        (2, 4) => inverse(block, down_half, across_2, out, stride),
        (1, 4) => inverse(block, down_half, across_1, out, stride),
        (8, 2) => inverse(block, down_2, across_8, out, stride),
        (4, 2) => inverse(block, down_2, across_half, out, stride),
        (1, 2) => inverse(block, down_2, across_1, out, stride),
        (8, _) => inverse(block, down_1, across_8, out, stride),
        (4, _) => inverse(block, down_1, across_half, out, stride),
        _ => inverse(block, down_1, across_2, out, stride),
    }
}

#[inline(always)]
fn inverse<const W: usize, const H: usize>(
    block: &Block,
    down: impl Fn([[f32; W]; H]) -> [[f32; W]; H],
    across: impl Fn([f32; W]) -> [f32; W],
    out: &mut [u8],
    stride: usize,
) {
    let row = |v: usize| core::array::from_fn(|u| block.get(8 * v + u).copied().unwrap_or(0.0));
    let rows = down(core::array::from_fn(row));
    for (row, out) in rows.into_iter().zip(out.chunks_mut(stride)) {
        let samples = across(row).map(sample);
        if let Some(out) = out.first_chunk_mut::<W>() {
            *out = samples;
        }
    }
}

/// Columns side by side: rows of coefficients to as many rows of samples.
#[inline(always)]
fn down_1<const W: usize>([x0]: [Vector<W>; 1]) -> [Vector<W>; 1] {
    [times(C4, x0)]
}

#[inline(always)]
fn down_2<const W: usize>([x0, x1]: [Vector<W>; 2]) -> [Vector<W>; 2] {
    let (even, odd) = (times(C4, x0), times(C4, x1));
    [plus(even, odd), minus(even, odd)]
}

/// What each of the four lowest coefficients has in the outer samples of a block of half the side, and in the inner ones: the
/// best linear estimate from them of what a Lanczos3 that halves the picture gives, where neighbours correlate by 0.97. The
/// lowest frequencies of a transform of four, which know nothing of what is beside the block, are 2 dB further from that.
const OUTER: [f32; 4] = [C4, 0.460_048_56, 0.335_423_33, 0.115_135_36];
const INNER: [f32; 4] = [C4, 0.193_708_56, -0.351_418_74, -0.396_519_35];

#[inline(always)]
fn down_half<const W: usize>([x0, x1, x2, x3]: [Vector<W>; 4]) -> [Vector<W>; 4] {
    let [first, outer_1, outer_2, outer_3] = OUTER;
    let [_, inner_1, inner_2, inner_3] = INNER;
    let flat = times(first, x0);
    let outer = (
        plus(flat, times(outer_2, x2)),
        plus(times(outer_1, x1), times(outer_3, x3)),
    );
    let inner = (
        plus(flat, times(inner_2, x2)),
        plus(times(inner_1, x1), times(inner_3, x3)),
    );
    [
        plus(outer.0, outer.1),
        plus(inner.0, inner.1),
        minus(inner.0, inner.1),
        minus(outer.0, outer.1),
    ]
}

#[inline(always)]
fn down_4<const W: usize>([x0, x1, x2, x3]: [Vector<W>; 4]) -> [Vector<W>; 4] {
    let (a, b) = (times(C4, x0), times(C4, x2));
    let outer = plus(times(C2, x1), times(C6, x3));
    let inner = minus(times(C6, x1), times(C2, x3));
    let (sum, difference) = (plus(a, b), minus(a, b));
    [
        plus(sum, outer),
        plus(difference, inner),
        minus(difference, inner),
        minus(sum, outer),
    ]
}

#[inline(always)]
fn down_8<const W: usize>([x0, x1, x2, x3, x4, x5, x6, x7]: [Vector<W>; 8]) -> [Vector<W>; 8] {
    let [e0, e1, e2, e3] = down_4([x0, x2, x4, x6]);
    let odd = |[a, b, c, d]: [f32; 4]| plus(plus(times(a, x1), times(b, x3)), plus(times(c, x5), times(d, x7)));
    let [o0, o1, o2, o3] = ODD.map(odd);
    [
        plus(e0, o0),
        plus(e1, o1),
        plus(e2, o2),
        plus(e3, o3),
        minus(e3, o3),
        minus(e2, o2),
        minus(e1, o1),
        minus(e0, o0),
    ]
}

/// What each coefficient of four has in each sample. The even ones of eight have the same in the first half, which the
/// second mirrors.
const FOUR: [[f32; 4]; 4] = [
    [C4, C4, C4, C4],
    [C2, C6, -C6, -C2],
    [C4, -C4, -C4, C4],
    [C6, -C2, C2, -C6],
];

/// A row's samples, side by side: that takes no transposition, as working down a turned block would.
#[inline(always)]
fn across_1([x0]: Vector<1>) -> Vector<1> {
    [C4 * x0]
}

#[inline(always)]
fn across_2([x0, x1]: Vector<2>) -> Vector<2> {
    let (even, odd) = (C4 * x0, C4 * x1);
    [even + odd, even - odd]
}

/// The same of [`OUTER`] and [`INNER`].
const HALF: [[f32; 4]; 4] = {
    let [o0, o1, o2, o3] = OUTER;
    let [i0, i1, i2, i3] = INNER;
    [
        [o0, i0, i0, o0],
        [o1, i1, -i1, -o1],
        [o2, i2, i2, o2],
        [o3, i3, -i3, -o3],
    ]
};

#[inline(always)]
fn across_half([x0, x1, x2, x3]: Vector<4>) -> Vector<4> {
    let [b0, b1, b2, b3] = HALF;
    plus(plus(times(x0, b0), times(x2, b2)), plus(times(x1, b1), times(x3, b3)))
}

#[inline(always)]
fn across_4([x0, x1, x2, x3]: Vector<4>) -> Vector<4> {
    let [b0, b1, b2, b3] = FOUR;
    plus(plus(times(x0, b0), times(x2, b2)), plus(times(x1, b1), times(x3, b3)))
}

#[inline(always)]
fn across_8([x0, x1, x2, x3, x4, x5, x6, x7]: Vector<8>) -> Vector<8> {
    let [b1, b3, b5, b7] = ODD;
    let even = across_4([x0, x2, x4, x6]);
    let odd = plus(plus(times(x1, b1), times(x3, b3)), plus(times(x5, b5), times(x7, b7)));
    let [a, b, c, d] = plus(even, odd);
    let [h, g, f, e] = minus(even, odd);
    [a, b, c, d, e, f, g, h]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, in floating point.
    fn exact(block: &Block, width: usize, height: usize) -> Vec<f64> {
        let basis = |u: usize, i: usize, n: usize| {
            if n == 4 {
                let mirrored = if i > 1 && u % 2 == 1 { -1.0 } else { 1.0 };
                let half = if i == 0 || i == 3 { OUTER } else { INNER };
                mirrored * f64::from(half[u])
            } else if u == 0 {
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
            let mut block = [0.0; 64];
            block[0] = dc as f32;
            for (index, value) in coefficients { block[index] += value as f32; }
            for width in [1, 2, 4, 8] {
                for height in [1, 2, 4, 8] {
                    let mut out = vec![7; 10 * height];
                    transform(&block, (width, height), &mut out, 10);
                    for (index, wanted) in exact(&block, width, height).iter().enumerate() {
                        let (x, y) = (index % width, index / width);
                        prop_assert!((f64::from(out[10 * y + x]) - wanted).abs() < 0.501, "{width}x{height} at {x},{y}");
                    }
                    prop_assert!(out.chunks(10).all(|row| row[width..].iter().all(|byte| *byte == 7)), "beside the block");
                }
            }
        }

        #[test]
        fn damaged_values_do_no_harm(block in proptest::collection::vec(any::<i32>(), 64)) {
            let block: Block = core::array::from_fn(|index| block[index] as f32);
            for size in [1, 2, 4, 8] {
                transform(&block, (size, size), &mut [0; 64], 8);
            }
        }

        #[test]
        fn a_flat_block_is_flat(dc in -2000i32..2000) {
            let mut block = [0.0; 64];
            block[0] = dc as f32;
            let mut out = [0; 64];
            transform(&block, (8, 8), &mut out, 8);
            prop_assert!(out.iter().all(|sample| sample.abs_diff(flat(block[0])) <= 1 && *sample == out[0]));
        }
    }
}
