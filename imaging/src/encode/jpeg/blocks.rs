//! From pixels to quantised coefficients, a row of blocks at a time.

use super::trellis::{self, Rates};
use crate::ImageError;
use crate::dct::{C2, C4, C6, ODD, Vector, ZIGZAG, minus, plus};
use crate::pixels::{Channels, Raster, reserved, zeroed, zeroed_of};
use crate::transform::stop_if;

/// What coefficients of luminance and of chroma are divided by at quality 50, in natural order.
type Tables = [[u16; 64]; 2];

/// Annex K of the standard, where chroma is kept at full resolution.
#[rustfmt::skip]
const FULL_CHROMA: Tables = [[
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
], [
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99,
]];

/// Where it is halved: `16 + 0.35 r^3` of luminance and `16 + 0.29 r^2.6` of chroma, where r is the distance from the first one,
/// which has its own. The shapes were fitted to SSIMULACRA2 on four photographs and judged on twelve others; their size is such
/// that a picture scores as one of Annex K's of the same quality does. For full chroma there was nothing to gain.
#[rustfmt::skip]
const HALF_CHROMA: Tables = [[
    9, 16, 19, 25, 38, 60, 92, 136, 16, 17, 20, 27, 41, 62, 95, 140, 19, 20, 24, 32, 47, 71, 105, 151, 25, 27, 32, 43,
    60, 85, 122, 171, 38, 41, 47, 60, 79, 108, 147, 199, 60, 62, 71, 85, 108, 140, 183, 239, 92, 95, 105, 122, 147,
    183, 230, 290, 136, 140, 151, 171, 199, 239, 290, 356,
], [
    6, 16, 18, 21, 27, 35, 47, 62, 16, 17, 18, 22, 28, 36, 48, 63, 18, 18, 20, 24, 30, 39, 51, 67, 21, 22, 24, 28, 35,
    44, 57, 73, 27, 28, 30, 35, 42, 52, 65, 82, 35, 36, 39, 44, 52, 63, 77, 94, 47, 48, 51, 57, 65, 77, 91, 109, 62,
    63, 67, 73, 82, 94, 109, 128,
]];

/// Thousandths that divisors are multiplied by where the trellis takes some of the score.
const SMALL: u32 = 945;

/// What coefficients are divided by, in natural order.
pub(super) struct Divisors {
    divisors: [u8; 64],
    factors: [f32; 64],
}

impl Divisors {
    /// Those of luminance and of chroma.
    pub(super) fn of(quality: u8, halved: bool, small: bool) -> [Self; 2] {
        let tables = if halved { &HALF_CHROMA } else { &FULL_CHROMA };
        let thousandths = if small { SMALL } else { 1000 };
        tables.each_ref().map(|table| Self::scaled(table, quality, thousandths))
    }

    /// As libjpeg scales tables by quality, and then by thousandths.
    fn scaled(table: &[u16; 64], quality: u8, thousandths: u32) -> Self {
        let quality = u32::from(quality.clamp(1, 100));
        let percent = if quality < 50 {
            5000 / quality
        } else {
            200 - 2 * quality
        };
        let scaled = |divisor: u16| (u32::from(divisor) * percent * thousandths + 50_000) / 100_000;
        let divisors = table.map(|divisor| scaled(divisor).clamp(1, 255) as u8);
        Self {
            divisors,
            factors: divisors.map(|divisor| 1.0 / f32::from(divisor)),
        }
    }

    /// Of the coefficient at an index in natural order.
    #[inline(always)]
    pub(super) fn factor(&self, at: usize) -> f32 {
        self.factors.get(at).copied().unwrap_or(0.0)
    }

    pub(super) fn in_zigzag(&self) -> impl Iterator<Item = u8> {
        ZIGZAG
            .iter()
            .map(|at| self.divisors.get(usize::from(*at)).copied().unwrap_or(1))
    }
}

/// A component's coefficients.
pub(super) struct Component {
    /// Samples of it for one of the coarsest component, across and down.
    pub(super) sampling: usize,
    /// Blocks in memory, whole MCUs.
    pub(super) across: usize,
    pub(super) down: usize,
    /// Blocks that hold any pixel, which is what a scan of this component alone has.
    pub(super) columns: usize,
    pub(super) rows: usize,
    /// 64 for each block, in zigzag order.
    pub(super) values: Vec<[i16; 64]>,
    /// Which of them are at least 1, 2 and 4 from zero: what there is to say in scans that leave out low bits.
    pub(super) masks: Vec<[u64; 3]>,
}

impl Component {
    fn new(sampling: usize, mcus: (usize, usize), size: (usize, usize)) -> Result<Self, ImageError> {
        let (across, down) = (mcus.0 * sampling, mcus.1 * sampling);
        let mut values = reserved(across * down)?;
        values.resize(across * down, [0; 64]);
        Ok(Self {
            sampling,
            across,
            down,
            columns: size.0.div_ceil(8),
            rows: size.1.div_ceil(8),
            values,
            masks: zeroed_of(across * down)?,
        })
    }

    /// Transforms a row of blocks out of eight rows of samples.
    fn transform(&mut self, row: usize, samples: &[u8], divisors: &Divisors, rates: Option<&Rates>) {
        let stride = self.across * 8;
        let range = row * self.across..(row + 1) * self.across;
        let (Some(values), Some(masks)) = (self.values.get_mut(range.clone()), self.masks.get_mut(range)) else {
            return;
        };
        for (column, (values, masks)) in values.iter_mut().zip(masks).enumerate() {
            let row = |y: usize| {
                let start = y * stride + column * 8;
                let samples = samples.get(start..).and_then(<[u8]>::first_chunk::<8>).copied();
                samples.unwrap_or([0; 8]).map(|sample| f32::from(sample) - 128.0)
            };
            let block = forward(core::array::from_fn(row));
            *masks = match rates {
                None => quantise(&block, divisors, values),
                Some(rates) => trellis::quantise(&block, divisors, rates, values),
            };
        }
    }
}

/// Rounds where it is added: fractions have no room beside it.
const MAGIC: f32 = 12_582_912.0;

/// Says which values are at least 1, 2 and 4 from zero.
#[inline(always)]
fn quantise(block: &[f32; 64], divisors: &Divisors, values: &mut [i16; 64]) -> [u64; 3] {
    let mut natural = [0i16; 64];
    for ((to, value), factor) in natural.iter_mut().zip(block).zip(&divisors.factors) {
        // No file of 8 bits a sample has more.
        *to = ((value * factor + MAGIC).to_bits() as i16).clamp(-1023, 1023);
    }
    for (to, at) in values.iter_mut().zip(ZIGZAG) {
        *to = natural.get(usize::from(at)).copied().unwrap_or(0);
    }
    masks_of(values)
}

/// Which values are at least 1, 2 and 4 from zero.
#[inline(always)]
pub(super) fn masks_of(values: &[i16; 64]) -> [u64; 3] {
    let [mut ones, mut twos, mut fours] = [0u64; 3];
    for (value, bit) in values.iter().zip(0..) {
        ones |= u64::from(*value != 0) << bit;
    }
    let mut left = ones;
    while left != 0 {
        let at = left.trailing_zeros();
        left &= left - 1;
        let size = values.get(at as usize).map_or(0, |value| value.unsigned_abs());
        twos |= u64::from(size >= 2) << at;
        fours |= u64::from(size >= 4) << at;
    }
    [ones, twos, fours]
}

type Row = Vector<8>;

#[inline(always)]
fn weighted<const N: usize>(rows: [Row; N], weights: [f32; N]) -> Row {
    let mut sum = [0.0; 8];
    for (row, weight) in rows.iter().zip(weights) {
        for (sum, value) in sum.iter_mut().zip(row) {
            *sum += weight * value;
        }
    }
    sum
}

/// The transform of eight rows, side by side for all columns.
#[inline(always)]
fn down([r0, r1, r2, r3, r4, r5, r6, r7]: [Row; 8]) -> [Row; 8] {
    let sums = [plus(r0, r7), plus(r1, r6), plus(r2, r5), plus(r3, r4)];
    let differences = [minus(r0, r7), minus(r1, r6), minus(r2, r5), minus(r3, r4)];
    let [s0, s1, s2, s3] = sums;
    let (outer, inner) = (plus(s0, s3), plus(s1, s2));
    let turned = [minus(s0, s3), minus(s1, s2)];
    let [o1, o3, o5, o7] = ODD.map(|weights| weighted(differences, weights));
    [
        weighted([outer, inner], [C4, C4]),
        o1,
        weighted(turned, [C2, C6]),
        o3,
        weighted([outer, inner], [C4, -C4]),
        o5,
        weighted(turned, [C6, -C2]),
        o7,
    ]
}

#[inline(always)]
fn transposed(rows: [Row; 8]) -> [Row; 8] {
    let mut columns = [[0.0; 8]; 8];
    for (y, row) in rows.iter().enumerate() {
        for (column, value) in columns.iter_mut().zip(row) {
            if let Some(to) = column.get_mut(y) {
                *to = *value;
            }
        }
    }
    columns
}

/// The transform of a block; rows of coefficients.
fn forward(rows: [Row; 8]) -> [f32; 64] {
    let block = transposed(down(transposed(down(rows))));
    let mut flat = [0.0; 64];
    for (to, from) in flat.chunks_exact_mut(8).zip(block) {
        to.copy_from_slice(&from);
    }
    flat
}

/// What is written.
#[derive(Clone, Copy)]
pub(crate) enum Picture<'a> {
    /// Pixels; alpha is ignored.
    Raster(&'a Raster),
    /// Luminance, blue's and red's difference, the latter two at the resolution that is written.
    Planes(&'a [Raster; 3]),
}

impl Picture<'_> {
    pub(super) const fn size(&self) -> (u32, u32) {
        let raster = match self {
            Self::Raster(raster) => raster,
            Self::Planes([luma, ..]) => luma,
        };
        (raster.width, raster.height)
    }

    pub(super) fn is_grey(&self) -> bool {
        matches!(self, Self::Raster(raster) if raster.channels == Channels::Grey)
    }
}

/// The components of a picture.
pub(super) fn components(
    picture: Picture<'_>,
    halved: bool,
    divisors: &[Divisors; 2],
    cancel: &dyn Fn() -> bool,
) -> Result<Vec<Component>, ImageError> {
    let (width, height) = (picture.size().0 as usize, picture.size().1 as usize);
    let sampling = if halved { 2 } else { 1 };
    let mcus = (width.div_ceil(8 * sampling), height.div_ceil(8 * sampling));
    let mut components = vec![Component::new(sampling, mcus, (width, height))?];
    if !picture.is_grey() {
        let size = (width.div_ceil(sampling), height.div_ceil(sampling));
        components.push(Component::new(1, mcus, size)?);
        components.push(Component::new(1, mcus, size)?);
    }
    fill(&mut components, picture, divisors, None, cancel)?;
    Ok(components)
}

/// Quantises a picture's components, by the trellis where rates are given.
pub(super) fn fill(
    components: &mut [Component],
    picture: Picture<'_>,
    [luma, chroma]: &[Divisors; 2],
    rates: Option<&[Rates; 2]>,
    cancel: &dyn Fn() -> bool,
) -> Result<(), ImageError> {
    let Some(first) = components.first() else { return Ok(()) };
    let sampling = first.sampling;
    let mcus = (first.across / sampling, first.down / sampling);
    let mut band = Band::new(picture.is_grey(), mcus.0, sampling)?;
    for row in 0..mcus.1 {
        stop_if(cancel)?;
        match picture {
            Picture::Raster(raster) => band.fill(raster, row),
            Picture::Planes(planes) => band.copy(planes, row),
        }
        for (index, (component, samples)) in components.iter_mut().zip(&band.samples).enumerate() {
            let (divisors, size) = (if index == 0 { luma } else { chroma }, component.across * 64);
            let rates = rates.map(|[luma, chroma]| if index == 0 { luma } else { chroma });
            for (part, samples) in samples.chunks_exact(size).enumerate() {
                component.transform(row * component.sampling + part, samples, divisors, rates);
            }
        }
    }
    Ok(())
}

/// The samples of a row of MCUs. Pixels at the edges are repeated beyond them.
struct Band {
    sampling: usize,
    /// Of luminance, a row.
    stride: usize,
    samples: Vec<Vec<u8>>,
}

impl Band {
    fn new(is_grey: bool, mcus: usize, sampling: usize) -> Result<Self, ImageError> {
        let stride = mcus * 8 * sampling;
        let mut samples = vec![zeroed(stride * 8 * sampling)?];
        if !is_grey {
            samples.push(zeroed(mcus * 64)?);
            samples.push(zeroed(mcus * 64)?);
        }
        Ok(Self {
            sampling,
            stride,
            samples,
        })
    }

    fn copy(&mut self, planes: &[Raster; 3], row: usize) {
        for (index, (samples, plane)) in self.samples.iter_mut().zip(planes).enumerate() {
            let (across, rows) = match index {
                0 => (self.stride, 8 * self.sampling),
                _ => (self.stride / self.sampling, 8),
            };
            let (stride, last) = (plane.stride(), (plane.height as usize).saturating_sub(1));
            for (y, to) in samples.chunks_exact_mut(across).enumerate() {
                let start = (row * rows + y).min(last) * stride;
                let from = plane.data.get(start..start + stride).unwrap_or_default();
                to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
                repeat_last(to, stride);
            }
        }
    }

    fn fill(&mut self, raster: &Raster, row: usize) {
        let (count, stride) = (raster.channels.count(), raster.stride());
        let last = (raster.height as usize).saturating_sub(1);
        let line = |y: usize| {
            let start = (row * 8 * self.sampling + y).min(last) * stride;
            raster.data.get(start..start + stride).unwrap_or_default()
        };
        let Some((luma, chroma)) = self.samples.split_first_mut() else {
            return;
        };
        for (y, to) in luma.chunks_exact_mut(self.stride).enumerate() {
            let from = line(y);
            match raster.channels {
                Channels::Grey => to.iter_mut().zip(from).for_each(|(to, from)| *to = *from),
                Channels::Rgb => luminances::<3>(to, from),
                Channels::Rgba => luminances::<4>(to, from),
            }
            repeat_last(to, from.len() / count);
        }
        let [blues, reds] = chroma else { return };
        let across = self.stride / self.sampling;
        let rows = blues.chunks_exact_mut(across).zip(reds.chunks_exact_mut(across));
        for (y, (blues, reds)) in rows.enumerate() {
            let used = match (raster.channels, self.sampling) {
                (Channels::Rgba, 1) => chroma_of::<4>(blues, reds, line(y)),
                (_, 1) => chroma_of::<3>(blues, reds, line(y)),
                (Channels::Rgba, _) => halved_chroma_of::<4>(blues, reds, [line(2 * y), line(2 * y + 1)]),
                _ => halved_chroma_of::<3>(blues, reds, [line(2 * y), line(2 * y + 1)]),
            };
            repeat_last(blues, used);
            repeat_last(reds, used);
        }
    }
}

fn repeat_last(row: &mut [u8], used: usize) {
    let last = used.checked_sub(1).and_then(|last| row.get(last)).copied();
    if let (Some(last), Some(rest)) = (last, row.get_mut(used..)) {
        rest.fill(last);
    }
}

// BT.601 with 16 bits of fraction.
#[inline(always)]
fn luminances<const N: usize>(to: &mut [u8], from: &[u8]) {
    for (to, pixel) in to.iter_mut().zip(from.as_chunks::<N>().0) {
        if let [r, g, b, ..] = *pixel.as_slice() {
            let sum = 19_595 * u32::from(r) + 38_470 * u32::from(g) + 7_471 * u32::from(b);
            *to = ((sum + 0x8000) >> 16) as u8;
        }
    }
}

/// Blue's and red's difference of a sum of 2 to the power of `shift` colours.
#[inline(always)]
fn differences([r, g, b]: [i32; 3], shift: u32) -> [u8; 2] {
    let middle = (128 << (16 + shift)) + (1 << (15 + shift));
    let blue = -11_059 * r - 21_709 * g + 32_768 * b + middle;
    let red = 32_768 * r - 27_439 * g - 5_329 * b + middle;
    [blue, red].map(|sum| (sum >> (16 + shift)).clamp(0, 255) as u8)
}

#[inline(always)]
fn color(pixel: &[u8]) -> [i32; 3] {
    match *pixel {
        [r, g, b, ..] => [r, g, b].map(i32::from),
        _ => [0; 3],
    }
}

/// Says how many samples there were.
#[inline(always)]
fn chroma_of<const N: usize>(blues: &mut [u8], reds: &mut [u8], from: &[u8]) -> usize {
    let pixels = from.as_chunks::<N>().0;
    for ((blue, red), pixel) in blues.iter_mut().zip(reds).zip(pixels) {
        [*blue, *red] = differences(color(pixel), 0);
    }
    pixels.len()
}

/// Of the mean of two by two pixels.
#[inline(always)]
fn halved_chroma_of<const N: usize>(blues: &mut [u8], reds: &mut [u8], [upper, lower]: [&[u8]; 2]) -> usize {
    let (upper, lower) = (upper.as_chunks::<N>().0, lower.as_chunks::<N>().0);
    let pairs = upper.chunks(2).zip(lower.chunks(2));
    for ((blue, red), (upper, lower)) in blues.iter_mut().zip(reds).zip(pairs) {
        // A last column stands for both.
        let sum = |row: &[[u8; N]]| match row {
            [a, b, ..] => [color(a), color(b)],
            [a] => [color(a); 2],
            [] => [[0; 3]; 2],
        };
        let [[a, b], [c, d]] = [sum(upper), sum(lower)];
        let total = core::array::from_fn(|index| {
            let of = |color: [i32; 3]| color.get(index).copied().unwrap_or(0);
            of(a) + of(b) + of(c) + of(d)
        });
        [*blue, *red] = differences(total, 2);
    }
    upper.len().div_ceil(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_what_their_formulas_say() {
        for (table, factor, power) in [(&HALF_CHROMA[0], 0.35, 3.0), (&HALF_CHROMA[1], 0.29, 2.6)] {
            for (at, divisor) in table.iter().enumerate().skip(1) {
                let distance = ((at % 8) as f64).hypot((at / 8) as f64);
                assert_eq!(
                    f64::from(*divisor),
                    (16.0 + factor * distance.powf(power)).round(),
                    "at {at}"
                );
            }
        }
    }

    #[test]
    fn no_divisor_grows_with_quality() {
        for (halved, small) in [(true, false), (true, true), (false, false), (false, true)] {
            for quality in 1..100 {
                let [worse, better] = [quality, quality + 1].map(|quality| Divisors::of(quality, halved, small));
                for (worse, better) in worse.iter().zip(&better) {
                    let falls = worse
                        .divisors
                        .iter()
                        .zip(&better.divisors)
                        .all(|(worse, better)| worse >= better);
                    assert!(falls, "from {quality}, halved {halved}, small {small}");
                }
            }
            assert!(
                Divisors::of(100, halved, small)
                    .iter()
                    .all(|all| all.divisors == [1; 64])
            );
        }
    }
}
