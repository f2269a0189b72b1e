//! Scans of sequential files: each block whole, from its DC value to its end.

use super::bits::{Bits, End, Window};
use super::header::{Header, Scan};
use super::huffman::{Coefficient, DcTable, SkipTable, ValueTable};
use super::layout::{Coefficients, Plane};
use super::{Damage, Failure, Restarts};
use crate::pixels::Sink;
use crate::source::SourceReader;

/// Tables of one component of a scan.
struct Tables {
    dc: DcTable,
    skip: SkipTable,
    values: Option<ValueTable>,
}

/// A block of an MCU.
struct Slot {
    /// Index among the scan's components.
    component: usize,
    /// Index of its plane.
    plane: usize,
    /// Its place in the MCU, in blocks, and the size of the MCU.
    at: (usize, usize),
    step: (usize, usize),
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
    let mut tables = Vec::new();
    let mut slots = Vec::new();
    let mut size = frame.mcus();
    for (component, entry) in scan.components.iter().enumerate() {
        let (Some(declared), Some(plane)) = (frame.components.get(entry.index), planes.get_mut(entry.index)) else {
            return Err(Damage("a scan names a component that the frame lacks").into());
        };
        plane.quantise(header.quantisation_of(declared)?);
        let ac = header.ac_code(entry.ac)?;
        tables.push(Tables {
            dc: DcTable::new(header.dc_code(entry.dc)?),
            skip: SkipTable::new(ac),
            values: (plane.last > 0).then(|| ValueTable::new(ac)),
        });
        let mut step = (declared.sampling.0 as usize, declared.sampling.1 as usize);
        if scan.components.len() == 1 {
            step = (1, 1);
            size = frame.blocks(declared);
        }
        for y in 0..step.1 {
            for x in 0..step.0 {
                slots.push(Slot {
                    component,
                    plane: entry.index,
                    at: (x, y),
                    step,
                });
            }
        }
    }
    let mut bits = window.start(reader)?;
    let mut restarts = Restarts::new(header.restart_interval);
    let mut predictions = [0i32; 4];
    let mut block = Coefficients::new();
    for _ in 0..size.1 {
        for column in 0..size.0 as usize {
            if restarts.is_due() {
                bits = restarts.pass(window, reader)?;
                predictions = [0; 4];
            }
            bits = window.top_up(bits, reader)?;
            for slot in &slots {
                let (Some(plane), Some(tables), Some(prediction)) = (
                    planes.get_mut(slot.plane),
                    tables.get(slot.component),
                    predictions.get_mut(slot.component),
                ) else {
                    continue;
                };
                let offset = plane.offset(column * slot.step.0 + slot.at.0, slot.at.1);
                read_block(&mut bits, window.bytes(), tables, prediction, plane, offset, &mut block)
                    .ok_or(Damage("bits that are no code"))?;
            }
            if window.is_overrun(&bits) {
                return Err(Damage("a scan's data end too early").into());
            }
        }
        for slot in slots.iter().filter(|slot| slot.at == (0, 0)) {
            if let Some(plane) = planes.get_mut(slot.plane) {
                plane.hand_over(slot.plane, slot.step.1, sink)?;
            }
        }
    }
    Ok(window.finish(reader)?)
}

#[inline(always)]
fn read_block(
    bits: &mut Bits,
    bytes: &[u8],
    tables: &Tables,
    prediction: &mut i32,
    plane: &mut Plane,
    offset: usize,
    block: &mut Coefficients,
) -> Option<()> {
    bits.refill(bytes);
    *prediction = prediction.wrapping_add(tables.dc.read(bits)?);
    let Some(values) = &tables.values else {
        plane.put_dc(offset, *prediction);
        // The DC value may have taken 31 bits; three entries of the table take 54.
        bits.refill(bytes);
        return tables.skip.skip(bits, bytes, 1);
    };
    let mut index = 1;
    while index <= plane.last {
        bits.refill(bytes);
        match values.read(bits, index)? {
            Coefficient::Value { index: at, value } => {
                plane.set(block, at, value);
                index = at + 1;
            }
            Coefficient::Zeroes { next } => index = next,
            Coefficient::End { .. } => {
                plane.put(offset, *prediction, block);
                return Some(());
            }
        }
    }
    plane.put(offset, *prediction, block);
    if index < 64 {
        bits.refill(bytes);
        tables.skip.skip(bits, bytes, index)?;
    }
    Some(())
}
