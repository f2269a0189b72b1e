//! How each macroblock is predicted (RFC 6386, sections 10 and 11).

use super::bits::Bits;
use super::header::Header;
use super::tables::SUBMODES;
use crate::ImageError;
use crate::pixels::zeroed_of;

/// Ways of predicting a block. Whole macroblocks and chroma know the first four alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    #[default]
    Dc,
    TrueMotion,
    Vertical,
    Horizontal,
    RightDown,
    VerticalRight,
    LeftDown,
    VerticalLeft,
    HorizontalDown,
    HorizontalUp,
}

/// Prediction of luminance.
#[derive(Clone, Copy)]
pub(super) enum Luma {
    Whole(Mode),
    /// Each block of 4 x 4 on its own, row by row.
    Blocks([[Mode; 4]; 4]),
}

/// What is coded in front of a macroblock's coefficients.
#[derive(Clone, Copy)]
pub(super) struct Modes {
    pub(super) segment: usize,
    /// Whether there are no coefficients.
    pub(super) skipped: bool,
    pub(super) luma: Luma,
    pub(super) chroma: Mode,
}

/// The modes that the next ones are coded by.
pub(super) struct Neighbours {
    /// Above, for each macroblock of a row.
    above: Vec<[Mode; 4]>,
    left: [Mode; 4],
}

impl Neighbours {
    pub(super) fn new(macroblocks: usize) -> Result<Self, ImageError> {
        Ok(Self {
            above: zeroed_of(macroblocks)?,
            left: [Mode::Dc; 4],
        })
    }

    pub(super) const fn begin_row(&mut self) {
        self.left = [Mode::Dc; 4];
    }

    /// Reads what stands for the macroblock of a column.
    pub(super) fn read(&mut self, (state, bytes): (&mut Bits, &[u8]), header: &Header, column: usize) -> Modes {
        let mut bits = *state;
        let mut unknown = [Mode::Dc; 4];
        let above = self.above.get_mut(column).unwrap_or(&mut unknown);
        let segment = match header.segment_map {
            Some([first, low, high]) => match bits.read(bytes, first) {
                false => usize::from(bits.read(bytes, low)),
                true => 2 + usize::from(bits.read(bytes, high)),
            },
            None => 0,
        };
        let skipped = header.skipped.is_some_and(|probability| bits.read(bytes, probability));
        let luma = if bits.read(bytes, 145) {
            let mode = match bits.read(bytes, 156) {
                false if bits.read(bytes, 163) => Mode::Vertical,
                false => Mode::Dc,
                true if bits.read(bytes, 128) => Mode::TrueMotion,
                true => Mode::Horizontal,
            };
            *above = [mode; 4];
            self.left = [mode; 4];
            Luma::Whole(mode)
        } else {
            let mut modes = [[Mode::Dc; 4]; 4];
            for (row, left) in modes.iter_mut().zip(&mut self.left) {
                for (mode, above) in row.iter_mut().zip(above.iter_mut()) {
                    *mode = submode(&mut bits, bytes, *above, *left);
                    (*above, *left) = (*mode, *mode);
                }
            }
            Luma::Blocks(modes)
        };
        let chroma = if !bits.read(bytes, 142) {
            Mode::Dc
        } else if !bits.read(bytes, 114) {
            Mode::Vertical
        } else if bits.read(bytes, 183) {
            Mode::TrueMotion
        } else {
            Mode::Horizontal
        };
        *state = bits;
        Modes {
            segment,
            skipped,
            luma,
            chroma,
        }
    }
}

#[inline(always)]
fn submode(bits: &mut Bits, bytes: &[u8], above: Mode, left: Mode) -> Mode {
    let probabilities = SUBMODES.get(above as usize).and_then(|row| row.get(left as usize));
    let [p0, p1, p2, p3, p4, p5, p6, p7, p8] = *probabilities.unwrap_or(&[128; 9]);
    let mut read = |probability| bits.read(bytes, probability);
    if !read(p0) {
        Mode::Dc
    } else if !read(p1) {
        Mode::TrueMotion
    } else if !read(p2) {
        Mode::Vertical
    } else if !read(p3) {
        if !read(p4) {
            Mode::Horizontal
        } else if !read(p5) {
            Mode::RightDown
        } else {
            Mode::VerticalRight
        }
    } else if !read(p6) {
        Mode::LeftDown
    } else if !read(p7) {
        Mode::VerticalLeft
    } else if !read(p8) {
        Mode::HorizontalDown
    } else {
        Mode::HorizontalUp
    }
}
