//! Scans: which coefficients, in which order, as which symbols.

use super::blocks::Component;
use super::huffman::Code;
use super::segment;
use super::trellis::Rates;
use super::writer::{Counter, Sink, Writer};
use crate::ImageError;
use crate::transform::stop_if;

/// Codes of a scan, as a [`Sink`] numbers them: DC of luminance and of chroma, then AC.
const AC: usize = 2;

/// All coefficients at once.
pub(super) fn baseline(components: &[Component], bytes: &mut Vec<u8>) {
    let header = Header {
        components: (0..components.len()).map(|index| (index, index.min(1))).collect(),
        band: (0, 63),
        high: 0,
        low: 0,
    };
    scan(bytes, &header, &|sink| interleaved(components, sink));
}

/// Bits of the symbols of AC values, of luminance and of chroma.
pub(super) fn rates(components: &[Component]) -> [Rates; 2] {
    let mut counter = Counter::new();
    all_blocks(components, &mut counter);
    let [_, _, luma, chroma] = &counter.symbols;
    [luma, chroma].map(|frequencies| Rates::of(&Code::new(frequencies)))
}

/// Where a component's first scan may be split in two.
const SPLITS: [u32; 5] = [2, 5, 8, 12, 20];

/// The script of the fewest bits, of those that are tried: for DC and for each component how many low bits are left to later
/// scans, and where the first one is split.
pub(super) fn smallest(
    components: &[Component],
    bytes: &mut Vec<u8>,
    cancel: &dyn Fn() -> bool,
) -> Result<(), ImageError> {
    let dc = Part::Dc;
    let mut parts = vec![best(
        components,
        [vec![dc(Depth(0, 0))], vec![dc(Depth(0, 1)), dc(Depth(1, 0))]],
        cancel,
    )?];
    for index in 0..components.len() {
        let ac = |band, depth| Part::Ac(index, band, depth);
        let whole = (1, 63);
        let (fine, finer) = (ac(whole, Depth(1, 0)), ac(whole, Depth(2, 1)));
        let scripts = [
            vec![ac(whole, Depth(0, 0))],
            vec![ac(whole, Depth(0, 1)), fine],
            vec![ac(whole, Depth(0, 2)), finer, fine],
        ];
        let script = best(components, scripts, cancel)?;
        let Some((Part::Ac(_, _, depth), later)) = script.split_first() else {
            continue;
        };
        let split = SPLITS.map(|at| [&[ac((1, at), *depth), ac((at + 1, 63), *depth)], later].concat());
        parts.push(best(components, core::iter::once(script.clone()).chain(split), cancel)?);
    }
    // The first scans of all show the picture soonest.
    let most = parts.iter().map(Vec::len).max().unwrap_or(0);
    for round in 0..most {
        for part in parts.iter().filter_map(|part| part.get(round)) {
            stop_if(cancel)?;
            part.write(components, bytes);
        }
    }
    Ok(())
}

/// Of some scripts the one that takes the fewest bits.
fn best(
    components: &[Component],
    scripts: impl IntoIterator<Item = Vec<Part>>,
    cancel: &dyn Fn() -> bool,
) -> Result<Vec<Part>, ImageError> {
    let (mut best, mut least) = (Vec::new(), u64::MAX);
    for script in scripts {
        let mut bits = 0;
        for part in &script {
            stop_if(cancel)?;
            bits += part.bits(components);
        }
        if bits < least {
            (best, least) = (script, bits);
        }
    }
    Ok(best)
}

/// Low bits that earlier scans have left out, 0 where there are none, and those that this one leaves out.
#[derive(Clone, Copy)]
struct Depth(u32, u32);

/// A scan of a script.
#[derive(Clone, Copy)]
enum Part {
    /// All components' DC values.
    Dc(Depth),
    /// A band of a component's AC values.
    Ac(usize, (u32, u32), Depth),
}

impl Part {
    fn write(self, components: &[Component], bytes: &mut Vec<u8>) {
        match self {
            Self::Dc(Depth(high, low)) => dc_scan(components, bytes, high, low),
            Self::Ac(index, band, Depth(high, low)) => ac_scan(components, bytes, index, band, high, low),
        }
    }

    /// What writing it would take, with its tables.
    fn bits(self, components: &[Component]) -> u64 {
        let mut counter = Counter::new();
        match self {
            Self::Dc(Depth(high, low)) => dc_values(components, &mut counter, high, low),
            Self::Ac(index, band, Depth(high, low)) => {
                if let Some(component) = components.get(index) {
                    ac_values(component, &mut counter, band, high, low);
                }
            }
        }
        counter.total()
    }
}

/// A scan that refines what others have said already.
struct Header {
    /// Index of each component, and which of the two codes it has.
    components: Vec<(usize, usize)>,
    band: (u32, u32),
    high: u32,
    low: u32,
}

/// A closure cannot be generic, and the two sinks are compiled apart.
enum Either<'a, 'b> {
    Count(&'a mut Counter),
    Write(&'a mut Writer<'b>),
}

/// Counts a scan's symbols, then writes it with the best codes for them.
fn scan(bytes: &mut Vec<u8>, header: &Header, walk: &dyn Fn(Either<'_, '_>)) {
    let mut counter = Counter::new();
    walk(Either::Count(&mut counter));
    let codes = counter.symbols.each_ref().map(Code::new);
    for ((code, frequencies), number) in codes.iter().zip(&counter.symbols).zip([0x00, 0x01, 0x10, 0x11]) {
        if !frequencies.is_empty() {
            segment(bytes, 0xc4, &code.table(number));
        }
    }
    let mut payload = vec![header.components.len() as u8];
    for (index, code) in &header.components {
        payload.extend([*index as u8 + 1, (code << 4 | code) as u8]);
    }
    payload.extend([
        header.band.0 as u8,
        header.band.1 as u8,
        (header.high << 4 | header.low) as u8,
    ]);
    segment(bytes, 0xda, &payload);
    let mut writer = Writer::new(&codes, bytes);
    walk(Either::Write(&mut writer));
    writer.finish();
}

/// Bits of a value behind its symbol, and how many.
#[inline(always)]
const fn magnitude(value: i32) -> (u32, u32) {
    let size = 32 - value.unsigned_abs().leading_zeros();
    let bits = if value < 0 { value - 1 } else { value };
    (bits.cast_unsigned() & ((1 << size) - 1), size)
}

fn interleaved(components: &[Component], sink: Either<'_, '_>) {
    match sink {
        Either::Count(counter) => all_blocks(components, counter),
        Either::Write(writer) => all_blocks(components, writer),
    }
}

/// Calls for every block in the order of a scan of several components: its component's index, its own.
#[inline(always)]
fn each_of_mcus(components: &[Component], mut visit: impl FnMut(usize, &Component, usize)) {
    let Some(first) = components.first() else { return };
    let (across, down) = (first.across / first.sampling, first.down / first.sampling);
    for row in 0..down {
        for column in 0..across {
            for (index, component) in components.iter().enumerate() {
                let sampling = component.sampling;
                for y in 0..sampling {
                    for x in 0..sampling {
                        let at = (row * sampling + y) * component.across + column * sampling + x;
                        visit(index, component, at);
                    }
                }
            }
        }
    }
}

fn all_blocks(components: &[Component], sink: &mut impl Sink) {
    let mut predictions = [0i32; 3];
    let visit = |index: usize, component: &Component, at: usize| {
        let (Some(values), Some(mask)) = (component.values.get(at), component.masks.get(at)) else {
            return;
        };
        let code = index.min(1);
        if let Some(prediction) = predictions.get_mut(index) {
            let dc = i32::from(values[0]);
            let (bits, size) = magnitude(dc - *prediction);
            *prediction = dc;
            sink.symbol(code, size as u8, bits, size);
        }
        let (mut left, mut next) = (mask[0] & !1, 1);
        while left != 0 {
            let at = left.trailing_zeros();
            left &= left - 1;
            let mut run = at - next;
            next = at + 1;
            while run > 15 {
                sink.symbol(AC + code, 0xf0, 0, 0);
                run -= 16;
            }
            let (bits, size) = magnitude(values.get(at as usize).map_or(0, |value| i32::from(*value)));
            sink.symbol(AC + code, (run << 4 | size) as u8, bits, size);
        }
        if next < 64 {
            sink.symbol(AC + code, 0, 0, 0);
        }
    };
    each_of_mcus(components, visit);
}

/// First the coarse bits of everything, then the finer ones.
pub(super) fn progressive(components: &[Component], bytes: &mut Vec<u8>) {
    dc_scan(components, bytes, 0, 1);
    for (index, band, high, low) in [
        (0, (1, 5), 0, 2),
        (2, (1, 63), 0, 1),
        (1, (1, 63), 0, 1),
        (0, (6, 63), 0, 2),
        (0, (1, 63), 2, 1),
    ] {
        ac_scan(components, bytes, index, band, high, low);
    }
    dc_scan(components, bytes, 1, 0);
    for index in [2, 1, 0] {
        ac_scan(components, bytes, index, (1, 63), 1, 0);
    }
}

fn dc_scan(components: &[Component], bytes: &mut Vec<u8>, high: u32, low: u32) {
    let header = Header {
        components: (0..components.len()).map(|index| (index, index.min(1))).collect(),
        band: (0, 0),
        high,
        low,
    };
    scan(bytes, &header, &|sink| match sink {
        Either::Count(counter) => dc_values(components, counter, high, low),
        Either::Write(writer) => dc_values(components, writer, high, low),
    });
}

fn dc_values(components: &[Component], sink: &mut impl Sink, high: u32, low: u32) {
    let mut predictions = [0i32; 3];
    each_of_mcus(components, |index, component, at| {
        let Some(values) = component.values.get(at) else { return };
        let value = i32::from(values[0]) >> low;
        if high > 0 {
            sink.bits((value & 1).cast_unsigned(), 1);
        } else if let Some(prediction) = predictions.get_mut(index) {
            let (bits, size) = magnitude(value - *prediction);
            *prediction = value;
            sink.symbol(index.min(1), size as u8, bits, size);
        }
    });
}

fn ac_scan(components: &[Component], bytes: &mut Vec<u8>, index: usize, band: (u32, u32), high: u32, low: u32) {
    let Some(component) = components.get(index) else { return };
    let header = Header {
        components: vec![(index, 0)],
        band,
        high,
        low,
    };
    scan(bytes, &header, &|sink| match sink {
        Either::Count(counter) => ac_values(component, counter, band, high, low),
        Either::Write(writer) => ac_values(component, writer, band, high, low),
    });
}

fn ac_values(component: &Component, sink: &mut impl Sink, (first, last): (u32, u32), high: u32, low: u32) {
    let band = u64::MAX << first & u64::MAX >> (63 - last);
    let mut ends = Ends::default();
    for row in 0..component.rows {
        for column in 0..component.columns {
            let at = row * component.across + column;
            let (Some(values), Some(masks)) = (component.values.get(at), component.masks.get(at)) else {
                continue;
            };
            let mask = |level: u32| masks.get(level as usize).copied().unwrap_or(0) & band;
            let block = Block {
                values,
                shown: mask(low),
                known: if high > 0 { mask(high) } else { 0 },
                first,
                last,
                low,
            };
            if high == 0 {
                block.first_bits(sink, &mut ends);
            } else {
                block.next_bit(sink, &mut ends);
            }
        }
    }
    ends.flush(sink);
}

/// The code that AC values of a scan of their own have.
const ONLY: usize = AC;

/// Most correction bits that wait for the end of a run of blocks.
const MOST_WAITING: u32 = 900;

/// Bits, the first one on top of the last `count`.
#[derive(Clone, Copy, Default)]
struct Bits {
    bits: u64,
    count: u32,
}

impl Bits {
    #[inline(always)]
    const fn push(&mut self, bit: bool) {
        self.bits = self.bits << 1 | bit as u64;
        self.count += 1;
    }

    /// Gives them to a sink, and is empty.
    #[inline(always)]
    fn emit(&mut self, sink: &mut impl Sink) {
        let Self { bits, count } = core::mem::take(self);
        let lower = count.min(32);
        if count > 32 {
            sink.bits((bits >> 32) as u32, count - 32);
        }
        if count > 0 {
            sink.bits((bits & ((1 << lower) - 1)) as u32, lower);
        }
    }
}

/// Blocks that have ended, and the bits of their values that wait behind the symbol which says so.
#[derive(Default)]
struct Ends {
    blocks: u32,
    waiting: Vec<Bits>,
    waiting_count: u32,
}

impl Ends {
    #[inline(always)]
    fn add(&mut self, sink: &mut impl Sink, bits: Bits) {
        self.blocks += 1;
        if bits.count > 0 {
            self.waiting.push(bits);
            self.waiting_count += bits.count;
        }
        if self.blocks == 0x7fff || self.waiting_count > MOST_WAITING {
            self.flush(sink);
        }
    }

    #[inline(always)]
    fn flush(&mut self, sink: &mut impl Sink) {
        if self.blocks == 0 {
            return;
        }
        let size = self.blocks.ilog2();
        sink.symbol(ONLY, (size << 4) as u8, self.blocks & ((1 << size) - 1), size);
        self.blocks = 0;
        self.waiting_count = 0;
        for mut bits in self.waiting.drain(..) {
            bits.emit(sink);
        }
    }
}

/// A block's part in a scan.
struct Block<'a> {
    values: &'a [i16; 64],
    /// Which of the scan's values are not zero without their low bits.
    shown: u64,
    /// Which of those were so in an earlier scan already.
    known: u64,
    first: u32,
    last: u32,
    low: u32,
}

impl Block<'_> {
    #[inline(always)]
    fn value(&self, at: u32) -> i32 {
        self.values.get(at as usize).map_or(0, |value| i32::from(*value))
    }

    #[inline(always)]
    fn first_bits(self, sink: &mut impl Sink, ends: &mut Ends) {
        let (mut left, mut next) = (self.shown, self.first);
        if left != 0 {
            ends.flush(sink);
        }
        while left != 0 {
            let at = left.trailing_zeros();
            left &= left - 1;
            let mut run = at - next;
            next = at + 1;
            while run > 15 {
                sink.symbol(ONLY, 0xf0, 0, 0);
                run -= 16;
            }
            let value = self.value(at);
            let size = (value.unsigned_abs() >> self.low).cast_signed();
            let (bits, size) = magnitude(if value < 0 { -size } else { size });
            sink.symbol(ONLY, (run << 4 | size) as u8, bits, size);
        }
        if next <= self.last {
            ends.add(sink, Bits::default());
        }
    }

    #[inline(always)]
    fn next_bit(self, sink: &mut impl Sink, ends: &mut Ends) {
        let new = self.shown & !self.known;
        // Behind the last new value nothing but known ones and zeroes comes.
        let end = new.checked_ilog2().unwrap_or(0);
        let mut bits = Bits::default();
        let (mut left, mut run, mut next) = (self.shown, 0, self.first);
        while left != 0 {
            let at = left.trailing_zeros();
            left &= left - 1;
            run += at - next;
            next = at + 1;
            while run > 15 && at <= end {
                ends.flush(sink);
                sink.symbol(ONLY, 0xf0, 0, 0);
                run -= 16;
                bits.emit(sink);
            }
            let value = self.value(at);
            if self.known >> at & 1 == 1 {
                bits.push(value.unsigned_abs() >> self.low & 1 == 1);
                continue;
            }
            ends.flush(sink);
            sink.symbol(ONLY, (run << 4 | 1) as u8, u32::from(value >= 0), 1);
            bits.emit(sink);
            run = 0;
        }
        run += self.last + 1 - next;
        if run > 0 || bits.count > 0 {
            ends.add(sink, bits);
        }
    }
}
