//! BMP, row by row.

use super::{Job, reading};
use crate::pixels::{Channels, Raster};
use crate::probe::{BmpCoding, BmpHeader, bmp_header};
use crate::source::SourceReader;
use crate::{Format, ImageError};
use std::io::{self, Read, Seek, SeekFrom};

pub(super) fn decode(job: &Job<'_>) -> Result<Raster, ImageError> {
    let header = bmp_header(job.source)?;
    let Some(coding) = header.coding else {
        return Err(ImageError::unsupported(Format::Bmp, "it is not read by this engine"));
    };
    let channels = if header.alpha() { Channels::Rgba } else { Channels::Rgb };
    let mut raster = Raster::zeroed(header.width, header.height, channels)?;
    let reader = SourceReader::new(job.source, job.cancel).releasing();
    reading(Format::Bmp, reader, |reader| {
        reader.seek(SeekFrom::Start(header.pixels))?;
        if coding == BmpCoding::Runs {
            runs(reader, &header, &mut raster)?;
        } else {
            rows(reader, &header, coding, &mut raster)?;
        }
        Ok(())
    })?;
    Ok(raster)
}

/// The stored row's pixels in the picture.
fn row_of<'a>(raster: &'a mut Raster, header: &BmpHeader, stored: u32) -> &'a mut [u8] {
    let y = if header.top_down {
        stored as usize
    } else {
        (header.height as usize).saturating_sub(stored as usize + 1)
    };
    let stride = raster.stride();
    raster.data.get_mut(y * stride..(y + 1) * stride).unwrap_or_default()
}

fn color(header: &BmpHeader, index: u8) -> [u8; 3] {
    header.palette.get(usize::from(index)).copied().unwrap_or_default()
}

fn rows(reader: &mut impl Read, header: &BmpHeader, coding: BmpCoding, raster: &mut Raster) -> io::Result<()> {
    // Rows are filled up to four bytes.
    let bytes = (u64::from(header.width) * u64::from(header.bits)).div_ceil(32) * 4;
    let mut stored = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
    let size = raster.channels.count();
    for y in 0..header.height {
        reader.read_exact(&mut stored)?;
        let row = row_of(raster, header, y).chunks_exact_mut(size);
        match coding {
            BmpCoding::Indexed | BmpCoding::Runs => indices(header, &stored, row),
            BmpCoding::Bytes => {
                for (to, from) in row.zip(stored.chunks_exact(3)) {
                    if let ([r, g, b], [blue, green, red]) = (to, from) {
                        (*r, *g, *b) = (*red, *green, *blue);
                    }
                }
            }
            BmpCoding::Masks(masks) => {
                for (to, from) in row.zip(stored.chunks_exact(usize::from(header.bits / 8))) {
                    let value = from.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte));
                    for (channel, mask) in to.iter_mut().zip(masks) {
                        *channel = masked(value, mask);
                    }
                }
            }
        }
    }
    Ok(())
}

/// Indices of fewer than 8 bits begin at the highest.
fn indices<'a>(header: &BmpHeader, stored: &[u8], row: impl Iterator<Item = &'a mut [u8]>) {
    let bits = usize::from(header.bits);
    for (x, to) in row.enumerate() {
        let byte = stored.get(x * bits / 8).copied().unwrap_or(0);
        let below = 8 - bits - x * bits % 8;
        let index = (u32::from(byte) >> below & ((1 << bits) - 1)) as u8;
        to.copy_from_slice(&color(header, index));
    }
}

/// The bits under a mask, as part of 255, rounded.
fn masked(value: u32, mask: u32) -> u8 {
    if mask == 0 {
        return 0;
    }
    let shift = mask.trailing_zeros();
    let (value, most) = (u64::from((value & mask) >> shift), u64::from(mask >> shift));
    ((value * 255 + most / 2) / most) as u8
}

/// Where runs go.
struct Pen<'a> {
    header: &'a BmpHeader,
    raster: &'a mut Raster,
    x: u32,
    y: u32,
}

impl Pen<'_> {
    /// Paints one pixel; what lies beyond the row's end is lost.
    fn paint(&mut self, index: u8) {
        let (at, rgb) = (self.x as usize * 3, color(self.header, index));
        if let Some(pixel) = row_of(self.raster, self.header, self.y).get_mut(at..at + 3) {
            pixel.copy_from_slice(&rgb);
        }
        self.x = self.x.saturating_add(1);
    }

    /// Paints so many pixels of packed indices.
    fn paint_packed(&mut self, count: u8, byte: impl Fn(usize) -> u8) {
        for position in 0..usize::from(count) {
            if self.header.bits == 8 {
                self.paint(byte(position));
            } else {
                let pair = byte(position / 2);
                self.paint(if position % 2 == 0 { pair >> 4 } else { pair & 15 });
            }
        }
    }
}

fn runs(reader: &mut impl Read, header: &BmpHeader, raster: &mut Raster) -> io::Result<()> {
    // What is not painted is the first colour.
    let first = color(header, 0);
    for pixel in raster.data.chunks_exact_mut(3) {
        pixel.copy_from_slice(&first);
    }
    let mut pen = Pen {
        header,
        raster,
        x: 0,
        y: 0,
    };
    let mut literal = [0u8; 256];
    while pen.y < header.height {
        let mut pair = [0; 2];
        reader.read_exact(&mut pair)?;
        match pair {
            [0, 0] => (pen.x, pen.y) = (0, pen.y + 1),
            [0, 1] => break,
            [0, 2] => {
                reader.read_exact(&mut pair)?;
                let [right, up] = pair;
                pen.x = pen.x.saturating_add(u32::from(right));
                pen.y = pen.y.saturating_add(u32::from(up));
            }
            [0, count] => {
                // Filled up to two bytes.
                let bytes = (usize::from(count) * usize::from(header.bits)).div_ceil(16) * 2;
                let stored = literal.get_mut(..bytes).unwrap_or_default();
                reader.read_exact(stored)?;
                pen.paint_packed(count, |at| stored.get(at).copied().unwrap_or(0));
            }
            [count, value] => pen.paint_packed(count, |_| value),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Job, decode_whole};
    use crate::pixels::{Channels, Raster};
    use crate::samples::bmp_with_data;
    use crate::{Format, ImageError, Limits, Resolved, plan, probe};

    fn decoded(bytes: &Vec<u8>) -> Result<Raster, ImageError> {
        let info = probe(bytes, &Limits::EDGE)?;
        let plan = plan(&info, &Resolved::parse("").unwrap(), &Limits::EDGE)?;
        let expected = if info.alpha { Format::Png } else { Format::Jpeg };
        assert_eq!(plan.encoding.format, expected);
        decode_whole(&Job {
            source: bytes,
            plan: &plan,
            limits: &Limits::EDGE,
            codecs: &crate::NativeCodecs,
            cancel: &|| false,
            observe: &|_| (),
            overlays: &crate::draw::Overlays::default(),
        })
    }

    fn pixels(bytes: &Vec<u8>) -> Vec<u8> {
        decoded(bytes).unwrap().data
    }

    /// Black, red, green, blue as blue, green, red and nothing.
    const PALETTE: [u8; 16] = [0, 0, 0, 0, 0, 0, 255, 0, 0, 255, 0, 0, 255, 0, 0, 0];

    fn named(indices: &[usize]) -> Vec<u8> {
        let colors = [[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]];
        indices.iter().flat_map(|index| colors[*index]).collect()
    }

    fn palette(colors: usize) -> Vec<u8> {
        let mut palette = PALETTE.to_vec();
        palette.resize(colors * 4, 0);
        palette
    }

    #[test]
    fn rows_of_every_depth_are_read_either_way_up() {
        let one = bmp_with_data((3, 2), 1, 0, &palette(2), &[0b0100_0000, 0, 0, 0, 0b1010_0000, 0, 0, 0]);
        assert_eq!(pixels(&one), named(&[1, 0, 1, 0, 1, 0]));
        let upside = bmp_with_data(
            (3, -2),
            1,
            0,
            &palette(2),
            &[0b0100_0000, 0, 0, 0, 0b1010_0000, 0, 0, 0],
        );
        assert_eq!(pixels(&upside), named(&[0, 1, 0, 1, 0, 1]));
        let four = bmp_with_data((3, 1), 4, 0, &palette(16), &[0x12, 0x30, 0, 0]);
        assert_eq!(pixels(&four), named(&[1, 2, 3]));
        let eight = bmp_with_data((3, 1), 8, 0, &palette(256), &[3, 2, 1, 0]);
        assert_eq!(pixels(&eight), named(&[3, 2, 1]));
        let sixteen = bmp_with_data((2, 1), 16, 0, &[], &[0x00, 0x7c, 0x1f, 0x00]);
        assert_eq!(pixels(&sixteen), named(&[1, 3]));
        let thin = bmp_with_data(
            (2, 1),
            16,
            3,
            &[0x00, 0xf8, 0, 0, 0xe0, 0x07, 0, 0, 0x1f, 0, 0, 0],
            &[0xe0, 0x07, 0x00, 0x80],
        );
        assert_eq!(pixels(&thin), [0, 255, 0, 132, 0, 0]);
        let plain = bmp_with_data((1, 1), 32, 0, &[], &[1, 2, 3, 0]);
        assert_eq!(pixels(&plain), [3, 2, 1]);
    }

    #[test]
    fn alpha_counts_where_there_is_a_mask_for_it() {
        let masks: Vec<u8> = [0x00ff_0000u32, 0xff00, 0xff, 0xff00_0000]
            .iter()
            .flat_map(|mask| mask.to_le_bytes())
            .collect();
        let bytes = bmp_with_data((1, 1), 32, 6, &masks, &[1, 2, 3, 128]);
        let raster = decoded(&bytes).unwrap();
        assert_eq!((raster.channels, raster.data), (Channels::Rgba, vec![3, 2, 1, 128]));
    }

    #[test]
    fn runs_literals_and_jumps_are_followed() {
        let eight = [2, 1, 0, 3, 2, 3, 1, 0, 0, 0, 0, 2, 1, 0, 9, 3, 0, 1];
        assert_eq!(
            pixels(&bmp_with_data((5, 2), 8, 1, &palette(256), &eight)),
            named(&[0, 3, 3, 3, 3, 1, 1, 2, 3, 1])
        );
        let four = [3, 0x12, 0, 3, 0x31, 0x20, 0, 1];
        assert_eq!(
            pixels(&bmp_with_data((6, 1), 4, 2, &palette(16), &four)),
            named(&[1, 2, 1, 3, 1, 2])
        );
    }

    #[test]
    fn what_is_not_read_is_said() {
        let jpeg_inside = bmp_with_data((1, 1), 24, 4, &[], &[0; 4]);
        assert_eq!(decoded(&jpeg_inside).unwrap_err().code(), "unsupported-format");
    }
}
