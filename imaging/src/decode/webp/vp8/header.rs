//! The header of a key frame (RFC 6386, sections 9 and 19.2).

use super::bits::Bits;
use super::loop_filter::Strength;
use super::tables::{AC_STEPS, BANDS, Bands, DC_STEPS, DEFAULTS, UPDATES};

/// Probabilities of tokens, by position of the coefficient instead of by band.
pub(super) type Probabilities = [[[[u8; 11]; 3]; 16]; 4];

/// Steps of the DC value and of the others.
pub(super) type Steps = [i16; 2];

/// What the coefficients of a segment were divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Quantiser {
    pub(super) luma: Steps,
    /// Of the DC values of luminance, which have a block of their own.
    pub(super) luma_dc: Steps,
    pub(super) chroma: Steps,
}

/// Which filter goes over the edges of the blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    None,
    Simple,
    Normal,
}

pub(super) struct Header {
    /// Probabilities of the segments' numbers, where macroblocks say which one is theirs.
    pub(super) segment_map: Option<[u8; 3]>,
    pub(super) filter: Filter,
    /// By segment, and by whether blocks are predicted on their own; `None` for no filter.
    pub(super) strengths: [[Option<Strength>; 2]; 4],
    /// Partitions that the coefficients are spread over: 1, 2, 4 or 8.
    pub(super) partitions: usize,
    pub(super) quantisers: [Quantiser; 4],
    pub(super) probabilities: Probabilities,
    /// Probability that a macroblock has coefficients, where each says so.
    pub(super) skipped: Option<u8>,
}

/// Segments may have a step and a filter level of their own.
#[derive(Clone, Copy, Default)]
struct Segments {
    enabled: bool,
    /// Whether the values are added to the frame's, and do not take their place.
    relative: bool,
    steps: [i32; 4],
    levels: [i32; 4],
    map: Option<[u8; 3]>,
}

impl Header {
    /// Reads a header, which is in `bytes` as far as there is one.
    pub(super) fn read((bits, bytes): (&mut Bits, &[u8])) -> Self {
        // The colour space, of which there is one, and whether clamping can be left out, which it is not.
        bits.literal(bytes, 2);
        let segments = Segments::read(bits, bytes);
        let (filter, strengths) = filters(bits, bytes, &segments);
        let partitions = 1 << bits.literal(bytes, 2);
        let quantisers = quantisers(bits, bytes, &segments);
        // Whether probabilities are kept for the next frame, which there is none of.
        bits.flag(bytes);
        let bands = bands(bits, bytes);
        let by_position =
            |of: &[[[u8; 11]; 3]; 8]| BANDS.map(|band| of.get(usize::from(band)).copied().unwrap_or_default());
        let skipped = bits.flag(bytes).then(|| bits.literal(bytes, 8));
        Self {
            segment_map: segments.map,
            filter,
            strengths,
            partitions,
            quantisers,
            probabilities: bands.each_ref().map(by_position),
            skipped,
        }
    }
}

impl Segments {
    fn read(bits: &mut Bits, bytes: &[u8]) -> Self {
        let mut segments = Self {
            enabled: bits.flag(bytes),
            ..Self::default()
        };
        if !segments.enabled {
            return segments;
        }
        let has_map = bits.flag(bytes);
        if bits.flag(bytes) {
            segments.relative = !bits.flag(bytes);
            segments.steps = [7; 4].map(|width| bits.optional_signed(bytes, width));
            segments.levels = [6; 4].map(|width| bits.optional_signed(bytes, width));
        }
        if has_map {
            let probability = |_| if bits.flag(bytes) { bits.literal(bytes, 8) } else { 255 };
            segments.map = Some([(); 3].map(probability));
        }
        segments
    }

    /// A value of each segment, where the frame's is `base`.
    fn over(&self, base: i32, own: [i32; 4]) -> [i32; 4] {
        match (self.enabled, self.relative) {
            (false, _) => [base; 4],
            (true, false) => own,
            (true, true) => own.map(|value| base + value),
        }
    }
}

fn filters(bits: &mut Bits, bytes: &[u8], segments: &Segments) -> (Filter, [[Option<Strength>; 2]; 4]) {
    let simple = bits.flag(bytes);
    let level = i32::from(bits.literal(bytes, 6));
    let sharpness = bits.literal(bytes, 3);
    let (mut intra, mut blocks) = (0, 0);
    let has_deltas = bits.flag(bytes);
    if has_deltas && bits.flag(bytes) {
        // Of the kinds of reference and of prediction that there are, a key frame has the first ones.
        let mut read = || [6; 4].map(|width| bits.optional_signed(bytes, width));
        ([intra, ..], [blocks, ..]) = (read(), read());
    }
    let filter = match (level, simple) {
        (0, _) => Filter::None,
        (_, true) => Filter::Simple,
        (_, false) => Filter::Normal,
    };
    let strengths = segments
        .over(level, segments.levels)
        .map(|level| [level + intra, level + intra + blocks].map(|level| Strength::new(level, sharpness)));
    (filter, strengths)
}

fn quantisers(bits: &mut Bits, bytes: &[u8], segments: &Segments) -> [Quantiser; 4] {
    let base = i32::from(bits.literal(bytes, 7));
    let deltas = [4; 5].map(|width| bits.optional_signed(bytes, width));
    segments
        .over(base, segments.steps)
        .map(|index| Quantiser::new(index, deltas))
}

impl Quantiser {
    fn new(index: i32, [luma_dc, second_dc, second_ac, chroma_dc, chroma_ac]: [i32; 5]) -> Self {
        let step = |table: &[i16; 128], delta: i32, last: i32| {
            let index = (index + delta).clamp(0, last);
            table.get(index as usize).copied().unwrap_or(0)
        };
        let second_ac = i32::from(step(&AC_STEPS, second_ac, 127)) * 155 / 100;
        Self {
            luma: [step(&DC_STEPS, luma_dc, 127), step(&AC_STEPS, 0, 127)],
            luma_dc: [2 * step(&DC_STEPS, second_dc, 127), second_ac.max(8) as i16],
            // A step of 132 is the largest that the DC values of chroma have.
            chroma: [step(&DC_STEPS, chroma_dc, 117), step(&AC_STEPS, chroma_ac, 127)],
        }
    }
}

fn bands(bits: &mut Bits, bytes: &[u8]) -> Bands {
    let mut bands = DEFAULTS;
    let values = bands.as_flattened_mut().as_flattened_mut().as_flattened_mut();
    let updates = UPDATES.as_flattened().as_flattened().as_flattened();
    for (value, update) in values.iter_mut().zip(updates) {
        if bits.read(bytes, *update) {
            *value = bits.literal(bytes, 8);
        }
    }
    bands
}
