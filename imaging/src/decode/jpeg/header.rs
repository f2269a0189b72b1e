//! Marker segments: what the scans need to know.

use super::huffman::Code;
use super::{Damage, Failure};
use crate::LimitKind;
use crate::source::SourceReader;
use std::io::{BufRead as _, Read as _};

/// Divisors of a block's coefficients, in zigzag order.
pub(super) type Quantisation = [u16; 64];

/// A component as the frame header declares it.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameComponent {
    pub(super) id: u8,
    /// Samples relative to the other components', across and down.
    pub(super) sampling: (u32, u32),
    quantisation: u8,
}

/// The frame header.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) progressive: bool,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) components: Vec<FrameComponent>,
}

impl Frame {
    /// The largest sampling factors.
    pub(super) fn largest_sampling(&self) -> (u32, u32) {
        let largest = |side: fn(&FrameComponent) -> u32| self.components.iter().map(side).max().unwrap_or(1);
        (largest(|c| c.sampling.0), largest(|c| c.sampling.1))
    }

    /// MCUs of a scan of several components, across and down.
    pub(super) fn mcus(&self) -> (u32, u32) {
        let (across, down) = self.largest_sampling();
        (self.width.div_ceil(8 * across), self.height.div_ceil(8 * down))
    }

    /// Blocks of a component that hold pixels, across and down.
    pub(super) fn blocks(&self, component: &FrameComponent) -> (u32, u32) {
        let (across, down) = self.largest_sampling();
        (
            (self.width * component.sampling.0).div_ceil(8 * across),
            (self.height * component.sampling.1).div_ceil(8 * down),
        )
    }
}

/// A component of a scan: its place in the frame, and its tables.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScanComponent {
    pub(super) index: usize,
    pub(super) dc: u8,
    pub(super) ac: u8,
}

/// A scan header.
#[derive(Clone, Debug)]
pub(super) struct Scan {
    pub(super) components: Vec<ScanComponent>,
    /// First and last coefficient, in zigzag order.
    pub(super) band: (u32, u32),
    /// Bit position of an earlier scan's values, 0 for a first one.
    pub(super) high: u32,
    /// Bit position of this scan's values.
    pub(super) low: u32,
}

/// Everything that segments have set so far.
#[derive(Default)]
pub(super) struct Header {
    pub(super) frame: Option<Frame>,
    quantisations: [Option<Box<Quantisation>>; 4],
    dc_codes: [Option<Code>; 4],
    ac_codes: [Option<Code>; 4],
    /// MCUs between restart markers; 0 for none.
    pub(super) restart_interval: u32,
    pub(super) jfif: bool,
    /// The transform that Adobe's marker names.
    pub(super) adobe: Option<u8>,
    scans: u32,
}

/// What a walk over segments came to.
pub(super) enum Found {
    Scan(Scan),
    End,
}

impl Header {
    /// Reads segments up to and with the next scan header. `marker` is one that has been read already.
    pub(super) fn next_scan(
        &mut self,
        reader: &mut SourceReader<'_>,
        mut marker: Option<u8>,
        scan_limit: u32,
    ) -> Result<Found, Failure> {
        loop {
            let found = match marker.take() {
                Some(marker) => marker,
                None => next_marker(reader)?,
            };
            match found {
                0xd9 => return Ok(Found::End),
                0xd8 | 0xd0..=0xd7 | 0x01 => continue,
                _ => {}
            }
            let mut length = [0; 2];
            reader.read_exact(&mut length)?;
            let Some(length) = usize::from(u16::from_be_bytes(length)).checked_sub(2) else {
                return Err(Damage("a segment is shorter than its own length field").into());
            };
            match found {
                0xc0..=0xc2 => self.frame(&content(reader, length)?, found == 0xc2)?,
                0xc4 => self.huffman(&content(reader, length)?)?,
                0xdb => self.quantisation(&content(reader, length)?)?,
                0xdd => {
                    self.restart_interval = match *content(reader, length)? {
                        [high, low] => u32::from(u16::from_be_bytes([high, low])),
                        _ => return Err(Damage("the restart interval has another size").into()),
                    }
                }
                0xda => {
                    self.scans += 1;
                    if self.scans > scan_limit {
                        return Err(Failure::TooLarge(LimitKind::Scans, scan_limit, self.scans));
                    }
                    return Ok(Found::Scan(self.scan(&content(reader, length)?)?));
                }
                0xe0 => self.jfif |= content(reader, length)?.starts_with(b"JFIF\0"),
                0xee => {
                    let content = content(reader, length)?;
                    if content.starts_with(b"Adobe") {
                        self.adobe = content.get(11).copied();
                    }
                }
                _ => pass(reader, length)?,
            }
        }
    }

    pub(super) fn dc_code(&self, table: u8) -> Result<&Code, Damage> {
        let code = self.dc_codes.get(usize::from(table)).and_then(Option::as_ref);
        code.ok_or(Damage("a scan's table of DC codes is missing"))
    }

    pub(super) fn ac_code(&self, table: u8) -> Result<&Code, Damage> {
        let code = self.ac_codes.get(usize::from(table)).and_then(Option::as_ref);
        code.ok_or(Damage("a scan's table of AC codes is missing"))
    }

    pub(super) fn quantisation_of(&self, component: &FrameComponent) -> Result<&Quantisation, Damage> {
        let table = self.quantisations.get(usize::from(component.quantisation));
        let table = table.and_then(Option::as_deref);
        table.ok_or(Damage("a component's quantisation table is missing"))
    }

    fn frame(&mut self, content: &[u8], progressive: bool) -> Result<(), Damage> {
        if self.frame.is_some() {
            return Err(Damage("there are two frame headers"));
        }
        let Some(([precision, high, low, left, right, count], components)) = content.split_first_chunk() else {
            return Err(Damage("the frame header is too short"));
        };
        let components = components
            .chunks_exact(3)
            .take(usize::from(*count))
            .filter_map(|entry| {
                let [id, sampling, quantisation] = *entry else {
                    return None;
                };
                Some(FrameComponent {
                    id,
                    sampling: (u32::from(sampling >> 4), u32::from(sampling & 15)),
                    quantisation,
                })
            });
        let frame = Frame {
            progressive,
            height: u32::from(u16::from_be_bytes([*high, *low])),
            width: u32::from(u16::from_be_bytes([*left, *right])),
            components: components.collect(),
        };
        let in_range = |factor: u32| (1..=4).contains(&factor);
        let sane = frame
            .components
            .iter()
            .all(|component| in_range(component.sampling.0) && in_range(component.sampling.1));
        if *precision != 8
            || frame.width == 0
            || frame.height == 0
            || !sane
            || !matches!(*count, 1 | 3 | 4)
            || frame.components.len() != usize::from(*count)
        {
            return Err(Damage("the frame header is none that can be read"));
        }
        self.frame = Some(frame);
        Ok(())
    }

    fn huffman(&mut self, mut content: &[u8]) -> Result<(), Damage> {
        let bad = Damage("a table of Huffman codes is damaged");
        while let Some((kind, rest)) = content.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>().ok_or(bad)?;
            let total = counts.iter().map(|count| usize::from(*count)).sum();
            let (values, rest) = rest.split_at_checked(total).ok_or(bad)?;
            let tables = match kind >> 4 {
                0 => &mut self.dc_codes,
                1 => &mut self.ac_codes,
                _ => return Err(bad),
            };
            *tables.get_mut(usize::from(kind & 15)).ok_or(bad)? = Some(Code::new(counts, values).ok_or(bad)?);
            content = rest;
        }
        Ok(())
    }

    fn quantisation(&mut self, mut content: &[u8]) -> Result<(), Damage> {
        let bad = Damage("a quantisation table is damaged");
        while let Some((kind, rest)) = content.split_first() {
            let wide = match kind >> 4 {
                0 => 1,
                1 => 2,
                _ => return Err(bad),
            };
            let (values, rest) = rest.split_at_checked(64 * wide).ok_or(bad)?;
            let mut table = Box::new([0; 64]);
            for (to, from) in table.iter_mut().zip(values.chunks_exact(wide)) {
                *to = from.iter().fold(0, |value, byte| value << 8 | u16::from(*byte));
            }
            *self.quantisations.get_mut(usize::from(kind & 15)).ok_or(bad)? = Some(table);
            content = rest;
        }
        Ok(())
    }

    fn scan(&self, content: &[u8]) -> Result<Scan, Damage> {
        let bad = Damage("a scan header is damaged");
        let frame = self
            .frame
            .as_ref()
            .ok_or(Damage("a scan comes before the frame header"))?;
        let (count, rest) = content.split_first().ok_or(bad)?;
        let (selectors, rest) = rest.split_at_checked(2 * usize::from(*count)).ok_or(bad)?;
        let [first, last, bits] = *rest.first_chunk().ok_or(bad)?;
        let mut components: Vec<ScanComponent> = Vec::new();
        for selector in selectors.chunks_exact(2) {
            let [id, tables] = *selector else { return Err(bad) };
            let index = frame.components.iter().position(|component| component.id == id);
            let index = index.ok_or(Damage("a scan names a component that the frame lacks"))?;
            if components.iter().any(|other| other.index == index) {
                return Err(Damage("a scan names a component twice"));
            }
            components.push(ScanComponent {
                index,
                dc: tables >> 4,
                ac: tables & 15,
            });
        }
        let scan = Scan {
            components,
            band: (u32::from(first), u32::from(last)),
            high: u32::from(bits >> 4),
            low: u32::from(bits & 15),
        };
        let blocks: u32 = scan
            .components
            .iter()
            .filter_map(|component| frame.components.get(component.index))
            .map(|component| component.sampling.0 * component.sampling.1)
            .sum();
        if scan.components.is_empty() || (scan.components.len() > 1 && blocks > 10) {
            return Err(bad);
        }
        if frame.progressive {
            let dc = scan.band == (0, 0);
            let ac = scan.band.0 >= 1 && scan.band.1 <= 63 && scan.band.0 <= scan.band.1 && scan.components.len() == 1;
            if !(dc || ac) || scan.low > 13 || (scan.high != 0 && scan.high != scan.low + 1) {
                return Err(bad);
            }
        }
        Ok(scan)
    }
}

fn content(reader: &mut SourceReader<'_>, length: usize) -> Result<Vec<u8>, Failure> {
    let mut content = vec![0; length];
    reader.read_exact(&mut content)?;
    Ok(content)
}

fn pass(reader: &mut SourceReader<'_>, mut length: usize) -> Result<(), Failure> {
    while length > 0 {
        let here = reader.fill_buf()?.len().min(length);
        if here == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        reader.consume(here);
        length -= here;
    }
    Ok(())
}

/// Passes bytes up to the next marker, a scan's data among them: stuffed zeroes and restart markers are none.
pub(super) fn next_marker(reader: &mut SourceReader<'_>) -> Result<u8, Failure> {
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        let Some(at) = memchr::memchr(0xff, bytes) else {
            let passed = bytes.len();
            reader.consume(passed);
            continue;
        };
        reader.consume(at + 1);
        let mut byte = [0xff];
        while byte == [0xff] {
            reader.read_exact(&mut byte)?;
        }
        let [marker] = byte;
        if !matches!(marker, 0x00 | 0xd0..=0xd7) {
            return Ok(marker);
        }
    }
}
