//! Scans of sequential files: each block whole, from its DC value to its end.

use super::bits::{Bits, End, Window};
use super::header::{Header, Scan};
use super::huffman::{Coefficient, DcTable, SkipTable, ValueTable};
use super::layout::{Coefficients, Plane};
use super::{Damage, Failure, Restarts};
use crate::pixels::Sink;
use crate::source::SourceReader;

/// One component of a scan.
struct Channel {
    /// Index of its plane.
    plane: usize,
    dc: DcTable,
    skip: SkipTable,
    values: Option<ValueTable>,
    prediction: i32,
    /// Rows of blocks in a row of MCUs.
    rows: usize,
}

/// A block of an MCU.
struct Slot {
    /// Index of its channel.
    channel: usize,
    /// Where the first of a row goes, and how far behind it the next one.
    offset: usize,
    step: usize,
}

/// Decodes a scan, and hands over its planes row by row. Says what ended it.
pub(super) fn decode(
    header: &Header,
    scan: &Scan,
    planes: &mut [Plane],
    sink: &mut Sink<'_>,
    window: &mut Window,
    reader: &mut SourceReader<'_>,
) -> Result<End, Failure> {
    let frame = header
        .frame
        .as_ref()
        .ok_or(Damage("a scan comes before the frame header"))?;
    let mut channels = Vec::new();
    let mut slots = Vec::new();
    let mut size = frame.mcus();
    for entry in &scan.components {
        let (Some(declared), Some(plane)) = (frame.components.get(entry.index), planes.get_mut(entry.index)) else {
            return Err(Damage("a scan names a component that the frame lacks").into());
        };
        plane.quantise(header.quantisation_of(declared)?);
        let ac = header.ac_code(entry.ac)?;
        let mut step = (declared.sampling.0 as usize, declared.sampling.1 as usize);
        if scan.components.len() == 1 {
            step = (1, 1);
            size = frame.blocks(declared);
        }
        let places = (0..step.1).flat_map(|y| (0..step.0).map(move |x| (x, y)));
        slots.extend(places.map(|(x, y)| Slot {
            channel: channels.len(),
            offset: plane.offset(x, y),
            step: plane.offset(step.0, 0),
        }));
        channels.push(Channel {
            plane: entry.index,
            dc: DcTable::new(header.dc_code(entry.dc)?),
            skip: SkipTable::new(ac),
            values: (plane.last > 0).then(|| ValueTable::new(ac)),
            prediction: 0,
            rows: step.1,
        });
    }
    let mut bits = window.start(reader)?;
    let mut restarts = Restarts::new(header.restart_interval);
    let mut block = Coefficients::new();
    for _ in 0..size.1 {
        for column in 0..size.0 as usize {
            if restarts.is_due() {
                bits = restarts.pass(window, reader)?;
                channels.iter_mut().for_each(|channel| channel.prediction = 0);
            }
            bits = window.top_up(bits, reader)?;
            for slot in &slots {
                let Some(channel) = channels.get_mut(slot.channel) else {
                    continue;
                };
                let Some(plane) = planes.get_mut(channel.plane) else {
                    continue;
                };
                let offset = slot.offset + column * slot.step;
                read_block(&mut bits, window.bytes(), channel, plane, offset, &mut block)
                    .ok_or(Damage("bits that are no code"))?;
            }
            if window.is_overrun(&bits) {
                return Err(Damage("a scan's data end too early").into());
            }
        }
        for channel in &channels {
            if let Some(plane) = planes.get_mut(channel.plane) {
                plane.hand_over(channel.plane, channel.rows, sink)?;
            }
        }
    }
    Ok(window.finish(reader)?)
}

#[inline(always)]
fn read_block(
    bits: &mut Bits,
    bytes: &[u8],
    channel: &mut Channel,
    plane: &mut Plane,
    offset: usize,
    block: &mut Coefficients,
) -> Option<()> {
    bits.refill(bytes);
    let dc = channel.prediction.wrapping_add(channel.dc.read(bits)?);
    channel.prediction = dc;
    // The difference may have taken 31 bits; three entries of a table take 54.
    bits.refill(bytes);
    let Some(values) = &channel.values else {
        plane.put_dc(offset, dc);
        return channel.skip.skip(bits, bytes, 1);
    };
    let mut index = 1;
    'all: loop {
        for _ in 0..3 {
            match values.read(bits, bytes, index)? {
                Coefficient::Value { index: at, value } => {
                    plane.set(block, at, value);
                    index = at + 1;
                }
                Coefficient::Zeroes { next } => index = next,
                Coefficient::End { .. } => {
                    plane.put(offset, dc, block);
                    return Some(());
                }
            }
            if index > plane.last {
                break 'all;
            }
        }
        bits.refill(bytes);
    }
    plane.put(offset, dc, block);
    if index < 64 {
        bits.refill(bytes);
        channel.skip.skip(bits, bytes, index)?;
    }
    Some(())
}
