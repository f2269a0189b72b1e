//! Samples of AV1 to pixels: depth, range, the matrix, and chroma at full resolution.
//!
//! In single precision, each operation rounded on its own, in one order: all lanes come to the same bits.

use crate::pixels::{Channels, Raster};
use crate::{Av1Layout, Av1Picture, Av1Plane};

/// How luminance and chroma become red, green and blue of 0 to 255.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Matrix {
    kind: Kind,
    /// What black is, and what one step is worth.
    luma: (f32, f32),
    /// What no colour is, and what one step is worth.
    chroma: (f32, f32),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Green, blue and red themselves.
    Identity,
    /// `YCgCo`.
    Rotation,
    /// What chroma adds: the second to red, both to green, the first to blue.
    Weighted { red: f32, green: (f32, f32), blue: f32 },
}

impl Matrix {
    /// By the code points of ITU-T H.273; `None` for those that are not done.
    pub(super) fn new(code: u16, primaries: u16, full_range: bool, depth: u8) -> Option<Self> {
        // Weights of red and blue in luminance.
        let weights = match code {
            0 | 8 => None,
            1 => Some((0.2126, 0.0722)),
            4 => Some((0.30, 0.11)),
            // Where nothing is said, it is JPEG's.
            2 | 5 | 6 => Some((0.299, 0.114)),
            7 => Some((0.212, 0.087)),
            9 => Some((0.2627, 0.0593)),
            // By the primaries.
            12 => Some(match primaries {
                1 => (0.2126, 0.0722),
                4 => (0.30, 0.11),
                5 | 6 => (0.299, 0.114),
                7 => (0.212, 0.087),
                9 => (0.2627, 0.0593),
                // Of P3 with D65.
                12 => (0.228_974_6, 0.079_286_9),
                _ => return None,
            }),
            _ => return None,
        };
        let kind = match (code, weights) {
            (0, _) => Kind::Identity,
            (_, None) => Kind::Rotation,
            (_, Some((red, blue))) => {
                let green = 1.0 - red - blue;
                Kind::Weighted {
                    red: 2.0 * (1.0 - red),
                    green: (-2.0 * blue * (1.0 - blue) / green, -2.0 * red * (1.0 - red) / green),
                    blue: 2.0 * (1.0 - blue),
                }
            }
        };
        let unit = f32::from(1u16 << (depth.clamp(8, 12) - 8));
        let most = 256.0 * unit - 1.0;
        let (luma, chroma) = if full_range {
            ((0.0, 255.0 / most), (128.0 * unit, 255.0 / most))
        } else {
            (
                (16.0 * unit, 255.0 / (219.0 * unit)),
                (128.0 * unit, 255.0 / (224.0 * unit)),
            )
        };
        // Of colours themselves each is in the range of luminance.
        let chroma = if kind == Kind::Identity { luma } else { chroma };
        Some(Self { kind, luma, chroma })
    }

    pub(super) fn is_identity(&self) -> bool {
        self.kind == Kind::Identity
    }

    fn rgb(&self, luma: f32, first: f32, second: f32) -> [f32; 3] {
        let y = (luma - self.luma.0) * self.luma.1;
        let (u, v) = (
            (first - self.chroma.0) * self.chroma.1,
            (second - self.chroma.0) * self.chroma.1,
        );
        match self.kind {
            Kind::Identity => [v, y, u],
            Kind::Rotation => {
                let rest = y - u;
                [rest + v, y + u, rest - v]
            }
            Kind::Weighted { red, green, blue } => [y + red * v, y + green.0 * u + green.1 * v, y + blue * u],
        }
    }
}

/// Where a part of a picture belongs.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// Its upper left corner in the coded picture.
    pub(super) at: (u32, u32),
    /// The upper left corner of what is shown of that.
    pub(super) shown: (u32, u32),
}

impl Place {
    /// Of one axis: the first sample that is shown, the first pixel of it, and how many there are.
    fn along(at: u32, shown: u32, samples: u32, pixels: u32) -> (usize, usize, usize) {
        let skipped = shown.saturating_sub(at);
        let first = at.saturating_sub(shown);
        let count = samples.saturating_sub(skipped).min(pixels.saturating_sub(first));
        (skipped as usize, first as usize, count as usize)
    }

    /// Visits each row of a picture that is shown: its number, the first sample, and the pixels.
    fn rows<'a>(
        self,
        picture: &Av1Picture,
        raster: &'a mut Raster,
    ) -> impl Iterator<Item = (usize, usize, &'a mut [u8])> {
        let (column, left, count) = Self::along(self.at.0, self.shown.0, picture.width, raster.width);
        let (row, top, rows) = Self::along(self.at.1, self.shown.1, picture.height, raster.height);
        let (stride, channels) = (raster.stride(), raster.channels.count());
        raster
            .data
            .chunks_exact_mut(stride.max(1))
            .skip(top)
            .take(rows)
            .zip(row..)
            .filter_map(move |(pixels, row)| {
                let pixels = pixels.get_mut(left * channels..(left + count) * channels)?;
                Some((row, column, pixels))
            })
    }
}

/// Writes a picture's colours; alpha stays.
pub(super) fn paint(picture: &Av1Picture, matrix: &Matrix, place: Place, raster: &mut Raster) {
    let width = picture.width as usize;
    let (mut luma, mut first, mut second) = (vec![0.0; width], vec![0.0; width], vec![0.0; width]);
    let mut finer = Chroma::new(picture);
    let channels = raster.channels;
    for (row, column, pixels) in place.rows(picture, raster) {
        let Some(plane) = picture.planes.first() else { return };
        load(plane, picture.depth, row, &mut luma);
        if let [_, cb, cr] = picture.planes.as_slice() {
            finer.row(cb, row, &mut first);
            finer.row(cr, row, &mut second);
        } else {
            first.fill(matrix.chroma.0);
            second.fill(matrix.chroma.0);
        }
        let samples = luma.iter().zip(&first).zip(&second).skip(column);
        match channels {
            Channels::Grey => {
                for (pixel, ((y, _), _)) in pixels.iter_mut().zip(samples) {
                    *pixel = rounded((y - matrix.luma.0) * matrix.luma.1);
                }
            }
            Channels::Rgb | Channels::Rgba => {
                for (pixel, ((y, u), v)) in pixels.chunks_exact_mut(channels.count()).zip(samples) {
                    let rgb = matrix.rgb(*y, *u, *v);
                    for (channel, value) in pixel.iter_mut().zip(rgb) {
                        *channel = rounded(value);
                    }
                }
            }
        }
    }
}

/// Writes a picture's luminance as alpha.
pub(super) fn paint_alpha(picture: &Av1Picture, full_range: bool, place: Place, raster: &mut Raster) {
    let Some(matrix) = Matrix::new(2, 2, full_range, picture.depth) else {
        return;
    };
    let mut luma = vec![0.0; picture.width as usize];
    for (row, column, pixels) in place.rows(picture, raster) {
        let Some(plane) = picture.planes.first() else { return };
        load(plane, picture.depth, row, &mut luma);
        for (pixel, y) in pixels.chunks_exact_mut(4).zip(luma.iter().skip(column)) {
            if let [_, _, _, alpha] = pixel {
                *alpha = rounded((y - matrix.luma.0) * matrix.luma.1);
            }
        }
    }
}

/// Rounds half up, and keeps to 0 to 255, as conversions of numbers do by themselves.
fn rounded(value: f32) -> u8 {
    (value + 0.5) as u8
}

/// A row of samples as numbers. Rows behind the last are the last.
fn load(plane: &Av1Plane, depth: u8, row: usize, to: &mut [f32]) {
    let rows = plane.data.len() / plane.stride.max(1);
    let start = row.min(rows.saturating_sub(1)) * plane.stride;
    let bytes = plane.data.get(start..).unwrap_or_default();
    if depth > 8 {
        for (to, pair) in to.iter_mut().zip(bytes.chunks_exact(2)) {
            if let [low, high] = pair {
                *to = f32::from(u16::from_le_bytes([*low, *high]));
            }
        }
    } else {
        for (to, byte) in to.iter_mut().zip(bytes) {
            *to = f32::from(*byte);
        }
    }
}

/// Chroma at the resolution of luminance: each new sample is three parts of the nearest one and one of the next.
struct Chroma {
    layout: Av1Layout,
    depth: u8,
    near: Vec<f32>,
    far: Vec<f32>,
    rows: usize,
}

impl Chroma {
    fn new(picture: &Av1Picture) -> Self {
        let (width, height) = (picture.width as usize, picture.height as usize);
        let columns = match picture.layout {
            Av1Layout::Quarter | Av1Layout::Half => width.div_ceil(2),
            Av1Layout::Grey | Av1Layout::Full => 0,
        };
        Self {
            layout: picture.layout,
            depth: picture.depth,
            near: vec![0.0; columns],
            far: vec![0.0; columns],
            rows: height.div_ceil(2),
        }
    }

    fn row(&mut self, plane: &Av1Plane, row: usize, to: &mut [f32]) {
        match self.layout {
            Av1Layout::Grey | Av1Layout::Full => load(plane, self.depth, row, to),
            Av1Layout::Half => {
                load(plane, self.depth, row, &mut self.near);
                widen(&self.near, to);
            }
            Av1Layout::Quarter => {
                let nearest = row / 2;
                let next = if row.is_multiple_of(2) {
                    nearest.saturating_sub(1)
                } else {
                    (nearest + 1).min(self.rows.saturating_sub(1))
                };
                load(plane, self.depth, nearest, &mut self.near);
                load(plane, self.depth, next, &mut self.far);
                for (near, far) in self.near.iter_mut().zip(&self.far) {
                    *near = 0.75 * *near + 0.25 * far;
                }
                widen(&self.near, to);
            }
        }
    }
}

/// Twice as many samples, or one fewer.
fn widen(from: &[f32], to: &mut [f32]) {
    let mut before = from.first().copied().unwrap_or(0.0);
    let after = from.iter().skip(1).chain(from.last());
    for ((pair, nearest), next) in to.chunks_mut(2).zip(from).zip(after) {
        if let Some(left) = pair.first_mut() {
            *left = 0.75 * nearest + 0.25 * before;
        }
        if let Some(right) = pair.get_mut(1) {
            *right = 0.75 * nearest + 0.25 * next;
        }
        before = *nearest;
    }
}
