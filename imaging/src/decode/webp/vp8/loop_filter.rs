//! The filters over the edges of blocks (RFC 6386, section 15), sixteen positions along an edge at once.
//!
//! Everything is in lanes of bytes, in loops over arrays of a fixed length without a branch, which is what the compiler
//! turns into vector instructions in every lane of this engine. Columns become rows for that, and columns again.

use super::lanes::{apart, rotated, side_by_side};
use super::rows::Plane;

/// One sample of each position along an edge.
pub(super) type Lanes = [u8; 16];

/// How strongly a macroblock is filtered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Strength {
    /// Twice the step over the edge between macroblocks, and half the one beside it, may be so much at most.
    macroblock: u8,
    /// The same inside a macroblock.
    inner: u8,
    /// What samples on one side of the edge may differ by at most.
    interior: u8,
    /// What is a step on one side, of which there is high variance.
    variance: u8,
}

impl Strength {
    /// Of a key frame's filter level, which is 63 at most, and its sharpness; `None` where nothing is filtered.
    pub(super) fn new(level: i32, sharpness: u8) -> Option<Self> {
        let level = level.clamp(0, 63) as u8;
        if level == 0 {
            return None;
        }
        let interior = match sharpness {
            0 => level,
            1..=4 => (level >> 1).min(9 - sharpness),
            _ => (level >> 2).min(9 - sharpness),
        };
        let interior = interior.max(1);
        Some(Self {
            macroblock: 2 * (level + 2) + interior,
            inner: 2 * level + interior,
            interior,
            variance: match level {
                0..15 => 0,
                15..40 => 1,
                _ => 2,
            },
        })
    }
}

/// What is filtered of a macroblock.
#[derive(Clone, Copy)]
pub(super) struct Edges {
    pub(super) strength: Strength,
    /// Whether there is a macroblock to the left, and above.
    pub(super) left: bool,
    pub(super) top: bool,
    /// Whether the blocks' edges inside are filtered too.
    pub(super) inner: bool,
}

/// Eight samples across an edge, four on either side.
type Across = [Lanes; 8];

#[inline(always)]
fn signed(sample: u8) -> i8 {
    (sample ^ 0x80).cast_signed()
}

#[inline(always)]
fn unsigned(value: i8) -> u8 {
    value.cast_unsigned() ^ 0x80
}

/// All ones where true.
#[inline(always)]
fn mask(condition: bool) -> u8 {
    if condition { 0xff } else { 0 }
}

/// Whether the step over an edge is small enough to be an artefact.
#[inline(always)]
fn is_small([p1, p0, q0, q1]: [u8; 4], limit: u8) -> u8 {
    let step = p0.abs_diff(q0);
    let beside = p1.abs_diff(q1) >> 1;
    mask(step.saturating_add(step).saturating_add(beside) <= limit)
}

/// Three times the step over an edge, and `beside`; the sum is clamped wherever that makes no difference to the result.
#[inline(always)]
fn correction(p0: u8, q0: u8, beside: i8) -> i8 {
    let step = signed(q0).saturating_sub(signed(p0));
    beside.saturating_add(step).saturating_add(step).saturating_add(step)
}

/// What is taken from the first sample behind an edge, and added to the last one before it.
#[inline(always)]
fn halves(correction: i8) -> (i8, i8) {
    (correction.saturating_add(4) >> 3, correction.saturating_add(3) >> 3)
}

#[inline(always)]
fn add(sample: u8, value: i8) -> u8 {
    unsigned(signed(sample).saturating_add(value))
}

#[inline(always)]
fn subtract(sample: u8, value: i8) -> u8 {
    unsigned(signed(sample).saturating_sub(value))
}

/// The simple filter, which looks at two samples on either side.
#[inline(always)]
#[expect(
    clippy::indexing_slicing,
    reason = "the index is below the arrays' length, which is known"
)]
fn simple(samples: &mut Across, limit: u8) {
    let [_, _, p1, p0, q0, q1, ..] = *samples;
    for i in 0..16 {
        let small = is_small([p1[i], p0[i], q0[i], q1[i]], limit).cast_signed();
        let beside = signed(p1[i]).saturating_sub(signed(q1[i]));
        let (down, up) = halves(correction(p0[i], q0[i], beside) & small);
        samples[3][i] = add(p0[i], up);
        samples[4][i] = subtract(q0[i], down);
    }
}

/// What the normal filters have in common: the correction where something is to be filtered and 0 elsewhere, and where
/// variance is high. The samples beside the edge count everywhere at the edge of a macroblock, and inside of one only where
/// variance is high.
#[inline(always)]
#[expect(
    clippy::indexing_slicing,
    reason = "the index is below the arrays' length, which is known"
)]
fn corrections(samples: &Across, limit: u8, strength: Strength, inner: bool) -> ([i8; 16], [i8; 16]) {
    let [p3, p2, p1, p0, q0, q1, q2, q3] = samples;
    let (mut corrections, mut variances) = ([0; 16], [0; 16]);
    for i in 0..16 {
        let before = p3[i].abs_diff(p2[i]).max(p2[i].abs_diff(p1[i]));
        let behind = q3[i].abs_diff(q2[i]).max(q2[i].abs_diff(q1[i]));
        let nearest = p1[i].abs_diff(p0[i]).max(q1[i].abs_diff(q0[i]));
        let variance = mask(nearest > strength.variance).cast_signed();
        let smooth = mask(before.max(behind).max(nearest) <= strength.interior);
        let filtered = (smooth & is_small([p1[i], p0[i], q0[i], q1[i]], limit)).cast_signed();
        let beside = signed(p1[i]).saturating_sub(signed(q1[i]));
        let beside = if inner { beside & variance } else { beside };
        corrections[i] = correction(p0[i], q0[i], beside) & filtered;
        variances[i] = variance;
    }
    (corrections, variances)
}

/// The normal filter inside a macroblock.
#[inline(always)]
#[expect(
    clippy::indexing_slicing,
    reason = "the index is below the arrays' length, which is known"
)]
fn normal_inner(samples: &mut Across, strength: Strength) {
    let (corrections, variances) = corrections(samples, strength.inner, strength, true);
    let [_, _, p1, p0, q0, q1, ..] = *samples;
    for i in 0..16 {
        let (down, up) = halves(corrections[i]);
        let outer = ((down + 1) >> 1) & !variances[i];
        samples[2][i] = add(p1[i], outer);
        samples[3][i] = add(p0[i], up);
        samples[4][i] = subtract(q0[i], down);
        samples[5][i] = subtract(q1[i], outer);
    }
}

/// The normal filter between macroblocks.
#[inline(always)]
#[expect(
    clippy::indexing_slicing,
    reason = "the index is below the arrays' length, which is known"
)]
fn normal_macroblock(samples: &mut Across, strength: Strength) {
    let (corrections, variances) = corrections(samples, strength.macroblock, strength, false);
    let (mut near, mut middle, mut far) = ([0i8; 16], [0i8; 16], [0i8; 16]);
    for i in 0..16 {
        // About 3/7, 2/7 and 1/7.
        let wide = i16::from(corrections[i] & !variances[i]);
        near[i] = ((27 * wide + 63) >> 7) as i8;
        middle[i] = ((18 * wide + 63) >> 7) as i8;
        far[i] = ((9 * wide + 63) >> 7) as i8;
    }
    let [_, p2, p1, p0, q0, q1, q2, _] = *samples;
    for i in 0..16 {
        // One of the two sums' parts is 0.
        let (down, up) = halves(corrections[i] & variances[i]);
        samples[1][i] = add(p2[i], far[i]);
        samples[2][i] = add(p1[i], middle[i]);
        samples[3][i] = add(p0[i], near[i] + up);
        samples[4][i] = subtract(q0[i], near[i] + down);
        samples[5][i] = subtract(q1[i], middle[i]);
        samples[6][i] = subtract(q2[i], far[i]);
    }
}

/// Filters a macroblock's luminance with the simple filter, which leaves chroma alone.
pub(super) fn filter_simply(luma: &mut Plane, column: usize, edges: Edges) {
    let strength = edges.strength;
    let macroblock = |samples: &mut Across| simple(samples, strength.macroblock);
    let inner = |samples: &mut Across| simple(samples, strength.inner);
    filter_luma(luma, 16 * column, edges, macroblock, inner);
}

/// Filters a macroblock with the normal filter.
pub(super) fn filter_normally(luma: &mut Plane, chroma: &mut [Plane; 2], column: usize, edges: Edges) {
    let strength = edges.strength;
    let macroblock = |samples: &mut Across| normal_macroblock(samples, strength);
    let inner = |samples: &mut Across| normal_inner(samples, strength);
    filter_luma(luma, 16 * column, edges, macroblock, inner);
    filter_chroma(chroma, 8 * column, edges, macroblock, inner);
}

#[inline(always)]
fn filter_luma(
    plane: &mut Plane,
    x: usize,
    edges: Edges,
    macroblock: impl Fn(&mut Across),
    inner: impl Fn(&mut Across),
) {
    if edges.left {
        let mut columns = columns_of(&plane.load_halves(x - 4));
        macroblock(&mut columns);
        plane.store_halves(x - 4, &rows_of(&columns));
    }
    if edges.inner {
        let mut columns = transposed(&plane.load(x, 0));
        filter_within(&mut columns, &inner);
        plane.store(x, 0, &transposed(&columns));
    }
    if edges.top {
        let mut rows = plane.load(x, -4);
        macroblock(&mut rows);
        plane.store(x, -4, &rows);
    }
    if edges.inner {
        let mut rows = plane.load(x, 0);
        filter_within(&mut rows, &inner);
        plane.store(x, 0, &rows);
    }
}

/// The three edges inside a macroblock.
#[inline(always)]
fn filter_within(lines: &mut [Lanes; 16], filter: impl Fn(&mut Across)) {
    for start in [0, 4, 8] {
        if let Some(samples) = lines.get_mut(start..).and_then(<[Lanes]>::first_chunk_mut) {
            filter(samples);
        }
    }
}

/// Both colour differences at once, eight lanes each.
#[inline(always)]
fn filter_chroma(
    chroma: &mut [Plane; 2],
    x: usize,
    edges: Edges,
    macroblock: impl Fn(&mut Across),
    inner: impl Fn(&mut Across),
) {
    if edges.left {
        let mut columns = columns_of(&load_both(chroma, x - 4, 0));
        macroblock(&mut columns);
        store_both(chroma, x - 4, 0, &rows_of(&columns));
    }
    if edges.inner {
        let mut columns = columns_of(&load_both(chroma, x, 0));
        inner(&mut columns);
        store_both(chroma, x, 0, &rows_of(&columns));
    }
    if edges.top {
        let mut rows = load_both(chroma, x, -4);
        macroblock(&mut rows);
        store_both(chroma, x, -4, &rows);
    }
    if edges.inner {
        let mut rows = load_both(chroma, x, 0);
        inner(&mut rows);
        store_both(chroma, x, 0, &rows);
    }
}

/// Eight rows, the left half of each from the one plane and the right half from the other.
#[inline(always)]
fn load_both(chroma: &[Plane; 2], x: usize, y: isize) -> [Lanes; 8] {
    side_by_side(&chroma.each_ref().map(|plane| plane.load(x, y)))
}

#[inline(always)]
fn store_both(chroma: &mut [Plane; 2], x: usize, y: isize, rows: &[Lanes; 8]) {
    for (plane, rows) in chroma.iter_mut().zip(apart(rows)) {
        plane.store(x, y, &rows);
    }
}

/// Rows of a square as columns.
#[inline(always)]
fn transposed(rows: &[Lanes; 16]) -> [Lanes; 16] {
    rotated(&rotated(&rotated(&rotated(rows))))
}

/// Sixteen rows of eight samples, two in each array, as eight columns.
#[inline(always)]
fn columns_of(rows: &[Lanes; 8]) -> Across {
    rotated(&rotated(&rotated(&rotated(rows))))
}

/// The way back.
#[inline(always)]
fn rows_of(columns: &Across) -> [Lanes; 8] {
    rotated(&rotated(&rotated(columns)))
}
