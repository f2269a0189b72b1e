//! Which part of a picture matters, told from a small version of it.
//!
//! `auto` weighs what draws the eye, after the smartcrop algorithm <https://github.com/jwagner/smartcrop.js>: edges, the
//! colour of skin, strong colours. `entropy` looks for the most varied luminance. Whole numbers throughout.

use super::{Channels, Raster, reserved};
use crate::{ImageError, Region};

/// Longer side of the small version, in pixels.
const SIDE: u32 = 96;

/// Steps on an axis at which entropy is looked at.
const ENTROPY_STEPS: u32 = 24;

/// A window in the small picture: left, top, width, height.
pub(crate) type Window = (u32, u32, u32, u32);

/// The mean colour of each cell of a region, transparency on white.
pub(crate) fn small(raster: &Raster, region: Region) -> Result<Raster, ImageError> {
    let start = |from: f64, full: u32| (from.max(0.0) as u32).min(full.saturating_sub(1));
    let (left, top) = (start(region.left, raster.width), start(region.top, raster.height));
    let length = |length: f64, room: u32| (length.round() as u32).clamp(1, room.max(1));
    let (width, height) = (
        length(region.width, raster.width - left),
        length(region.height, raster.height - top),
    );
    let longer = width.max(height).max(SIDE);
    let cells = |side: u32| (u64::from(side) * u64::from(SIDE) / u64::from(longer)).max(1) as u32;
    let (columns, rows) = (cells(width), cells(height));
    let count = raster.channels.count();
    let mut small = Raster::zeroed(columns, rows, Channels::Rgb)?;
    let bounds = |cell: u32, cells: u32, side: u32| {
        let at = |cell: u32| (u64::from(cell) * u64::from(side) / u64::from(cells.max(1))) as usize;
        at(cell)..at(cell + 1).max(at(cell) + 1)
    };
    let mut sums: Vec<[u64; 4]> = reserved(columns as usize)?;
    for (cell_row, out) in (0..rows).zip(small.data.chunks_exact_mut(columns as usize * 3)) {
        sums.clear();
        sums.resize(columns as usize, [0; 4]);
        for y in bounds(cell_row, rows, height) {
            let row = (top as usize + y) * raster.stride();
            for (column, sum) in (0..columns).zip(&mut sums) {
                let span = bounds(column, columns, width);
                let from = row + (left as usize + span.start) * count;
                let pixels = raster.data.get(from..from + span.len() * count).unwrap_or_default();
                pixels.chunks_exact(count).for_each(|pixel| add(sum, pixel));
            }
        }
        for (to, [r, g, b, pixels]) in out.chunks_exact_mut(3).zip(&sums) {
            let mean = |sum: &u64| (sum / (pixels * 255).max(1)) as u8;
            to.copy_from_slice(&[mean(r), mean(g), mean(b)]);
        }
    }
    Ok(small)
}

/// Adds a pixel on white to a cell's sums, which are in units of 1/255.
fn add([r, g, b, pixels]: &mut [u64; 4], pixel: &[u8]) {
    let [red, green, blue, alpha] = match pixel {
        [grey] => [*grey, *grey, *grey, 255],
        [red, green, blue] => [*red, *green, *blue, 255],
        [red, green, blue, alpha] => [*red, *green, *blue, *alpha],
        _ => return,
    };
    let on_white = |value: u8| u64::from(value) * u64::from(alpha) + 255 * u64::from(255 - alpha);
    *r += on_white(red);
    *g += on_white(green);
    *b += on_white(blue);
    *pixels += 1;
}

/// A number for each cell, and the sums over all rectangles from the upper left corner.
struct Map {
    width: u32,
    height: u32,
    /// One row and one column more than the map, which begin with zeroes.
    sums: Vec<u64>,
}

impl Map {
    fn new(width: u32, height: u32, value: impl Fn(u32, u32) -> u64) -> Result<Self, ImageError> {
        let stride = width as usize + 1;
        let mut sums: Vec<u64> = reserved(stride * (height as usize + 1))?;
        sums.resize(stride, 0);
        for y in 0..height {
            let mut row = 0;
            sums.push(0);
            for x in 0..width {
                row += value(x, y);
                let above = sums.get(sums.len() - stride).copied().unwrap_or(0);
                sums.push(above + row);
            }
        }
        Ok(Self { width, height, sums })
    }

    fn sum(&self, (left, top, width, height): Window) -> u64 {
        let at = |x: u32, y: u32| {
            let index = y as usize * (self.width as usize + 1) + x as usize;
            self.sums.get(index).copied().unwrap_or(0)
        };
        let (right, bottom) = (left + width, top + height);
        (at(right, bottom) + at(left, top)) - at(left, bottom) - at(right, top)
    }

    /// Centre of gravity and mean distance from it on both axes, in hundredths of a cell.
    fn spread(&self, window: Window) -> Option<[(u64, u64); 2]> {
        let total = self.sum(window);
        let (left, top, width, height) = window;
        let column = |x: u32| (u64::from(x) * 100 + 50, self.sum((x, top, 1, height)));
        let row = |y: u32| (u64::from(y) * 100 + 50, self.sum((left, y, width, 1)));
        let axis = |cells: Vec<(u64, u64)>| {
            let center = cells.iter().map(|(at, sum)| at * sum).sum::<u64>().checked_div(total)?;
            let distance = cells.iter().map(|(at, sum)| at.abs_diff(center) * sum).sum::<u64>() / total;
            Some((center, distance))
        };
        Some([
            axis((left..left + width).map(column).collect())?,
            axis((top..top + height).map(row).collect())?,
        ])
    }
}

/// Colours at a cell, those of the nearest one beyond the edges.
fn color(small: &Raster, x: i64, y: i64) -> [i64; 3] {
    let column = x.clamp(0, i64::from(small.width) - 1);
    let row = y.clamp(0, i64::from(small.height) - 1);
    let at = ((row * i64::from(small.width) + column) * 3) as usize;
    match small.data.get(at..at + 3) {
        Some([r, g, b]) => [i64::from(*r), i64::from(*g), i64::from(*b)],
        _ => [0; 3],
    }
}

/// Luma of ITU-R BT.709 in whole steps of 255.
fn luma([r, g, b]: [i64; 3]) -> i64 {
    (2_126 * r + 7_152 * g + 722 * b) / 10_000
}

/// How much a cell draws the eye.
fn weight(small: &Raster, x: u32, y: u32) -> u64 {
    let (x, y) = (i64::from(x), i64::from(y));
    let here = color(small, x, y);
    let around: i64 = [(-1, 0), (1, 0), (0, -1), (0, 1)]
        .into_iter()
        .map(|(right, down)| luma(color(small, x + right, y + down)))
        .sum();
    let edge = (4 * luma(here) - around).abs().min(255);
    // Below, there is noise and slow shading.
    let edge = if edge < 8 { 0 } else { edge };
    (edge * 2 + skin(here) * 3 + saturation(here)) as u64
}

/// Nearness of a colour's direction to that of skin, 0 to 255.
fn skin(rgb @ [r, g, b]: [i64; 3]) -> i64 {
    const SKIN: [i64; 3] = [780, 570, 440];
    let brightness = luma(rgb);
    if !(51..=245).contains(&brightness) || r <= g || g < b {
        return 0;
    }
    // Squared sine of the angle between both, in ten-thousandths.
    let dot = r * SKIN[0] + g * SKIN[1] + b * SKIN[2];
    let squares = (r * r + g * g + b * b) * SKIN.iter().map(|part| part * part).sum::<i64>();
    let sine = 10_000 - dot * dot / (squares / 10_000).max(1);
    (255 - sine * 255 / 200).clamp(0, 255)
}

/// How much stronger than usual a colour is, 0 to 255.
fn saturation(rgb: [i64; 3]) -> i64 {
    let (most, least) = (rgb.into_iter().max().unwrap_or(0), rgb.into_iter().min().unwrap_or(0));
    if !(13..=230).contains(&luma(rgb)) {
        return 0;
    }
    let saturation = (most - least) * 255 / most.max(1);
    ((saturation - 102) * 255 / 153).max(0)
}

/// The window with the highest score; of equal ones, the one nearest to the middle.
fn best(room: (u32, u32), step: (u32, u32), mut score: impl FnMut(u32, u32) -> u64) -> (u32, u32) {
    let off = |at: u32, room: u32| u64::from((2 * at).abs_diff(room)).pow(2);
    let mut best = None;
    for y in positions(room.1, step.1) {
        for x in positions(room.0, step.0) {
            let rank = (score(x, y), u64::MAX - off(x, room.0) - off(y, room.1));
            if best.is_none_or(|(known, _)| rank > known) {
                best = Some((rank, (x, y)));
            }
        }
    }
    best.map_or((room.0 / 2, room.1 / 2), |(_, at)| at)
}

/// From 0 to `room` in steps, with both ends and the middle.
fn positions(room: u32, step: u32) -> impl Iterator<Item = u32> {
    (0..=room).filter(move |at| at % step.max(1) == 0 || *at == room || *at == room / 2)
}

/// The window of a size that holds most of what draws the eye, as near to its middle as can be; `zoom` of 0 to 10,000
/// makes it smaller, down to what holds the subject.
pub(crate) fn salient(small: &Raster, (width, height): (u32, u32), zoom: u32) -> Result<Window, ImageError> {
    let map = Map::new(small.width, small.height, |x, y| weight(small, x, y))?;
    let room = (small.width - width, small.height - height);
    // What lies in the inner half counts twice.
    let inner = |x: u32, y: u32| (x + width / 4, y + height / 4, width - width / 2, height - height / 2);
    let (left, top) = best(room, (1, 1), |x, y| {
        map.sum((x, y, width, height)) + map.sum(inner(x, y))
    });
    let window = (left, top, width, height);
    Ok(match map.spread(window) {
        Some(spread) if zoom > 0 => closer(&map, window, spread, zoom),
        _ => window,
    })
}

/// Shrinks a window around what it holds: at full zoom to five mean distances, but not below a quarter.
fn closer(map: &Map, (_, _, width, height): Window, [x, y]: [(u64, u64); 2], zoom: u32) -> Window {
    // Both in ten-thousandths of the window.
    let needed = |(_, distance): (u64, u64), side: u32| 5 * distance * 100 / u64::from(side.max(1));
    let tightest = needed(x, width).max(needed(y, height)).clamp(2_500, 10_000);
    let part = 10_000 - u64::from(zoom.min(10_000)) * (10_000 - tightest) / 10_000;
    let side = |side: u32| ((u64::from(side) * part / 10_000) as u32).max(1);
    let start = |(center, _): (u64, u64), side: u32, full: u32| {
        let start = (center.saturating_sub(u64::from(side) * 50) + 50) / 100;
        (start as u32).min(full - side)
    };
    let (width, height) = (side(width), side(height));
    (start(x, width, map.width), start(y, height, map.height), width, height)
}

/// The window of a size whose luminance varies most: the highest entropy over 32 levels.
pub(crate) fn entropic(small: &Raster, (width, height): (u32, u32)) -> Result<Window, ImageError> {
    const LEVELS: usize = 32;
    let cells = width * height;
    // `n * log2(n)` in 1/1024 of a bit.
    let information: Vec<u64> = (0..=cells)
        .map(|count| (f64::from(count) * libm::log2(f64::from(count.max(1))) * 1024.0).round() as u64)
        .collect();
    let levels: Vec<usize> = small
        .data
        .chunks_exact(3)
        .map(|pixel| match pixel {
            [r, g, b] => (luma([i64::from(*r), i64::from(*g), i64::from(*b)]) / 8) as usize,
            _ => 0,
        })
        .collect();
    let room = (small.width - width, small.height - height);
    let step = (room.0.div_ceil(ENTROPY_STEPS), room.1.div_ceil(ENTROPY_STEPS));
    let most = information.last().copied().unwrap_or(0);
    let (left, top) = best(room, step, |left, top| {
        let mut counts = [0usize; LEVELS];
        let rows = levels.chunks_exact(small.width as usize).skip(top as usize);
        for row in rows.take(height as usize) {
            for level in row.iter().skip(left as usize).take(width as usize) {
                if let Some(count) = counts.get_mut(*level) {
                    *count += 1;
                }
            }
        }
        let known: u64 = counts.iter().filter_map(|count| information.get(*count)).sum();
        most.saturating_sub(known)
    });
    Ok((left, top, width, height))
}
