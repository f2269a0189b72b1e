//! Removing a plain background: what can be reached from the edges without leaving its colour becomes transparent.
//!
//! Distances are Euclidean in OKLab (<https://bottosson.github.io/posts/oklab/>), in hundredths of its lightness. Roots and
//! powers come from `libm`, so that every lane computes the same bits.

use super::{Raster, exhausted, zeroed};
use crate::ImageError;
use std::collections::VecDeque;

/// A pixel that is more transparent belongs to the background whatever its colour.
const HALF_VISIBLE: u8 = 128;

/// Bits of a channel that are kept to find the colour that is most frequent at the edges.
const BIN_BITS: u32 = 4;

struct Background {
    color: [u8; 3],
    lab: [f32; 3],
    /// Linear light of each sRGB value.
    linear: Vec<f32>,
}

impl Background {
    /// The colour that most of the edge's pixels have, or nearly have.
    fn of_edges(raster: &Raster) -> Option<Self> {
        let mut bins = vec![[0u32; 4]; 1 << (3 * BIN_BITS)];
        let (columns, rows) = (raster.width as usize, raster.height as usize);
        let ends = (0..columns).flat_map(|x| [x, (rows - 1) * columns + x]);
        let sides = (0..rows).flat_map(|y| [y * columns, y * columns + columns - 1]);
        for index in ends.chain(sides) {
            let Some([r, g, b, a]) = raster.data.get(index * 4..index * 4 + 4) else {
                continue;
            };
            if *a < HALF_VISIBLE {
                continue;
            }
            let part = |value: &u8| usize::from(value >> (8 - BIN_BITS));
            let bin = part(r) << (2 * BIN_BITS) | part(g) << BIN_BITS | part(b);
            if let Some([count, red, green, blue]) = bins.get_mut(bin) {
                *count += 1;
                *red += u32::from(*r);
                *green += u32::from(*g);
                *blue += u32::from(*b);
            }
        }
        // The first of equals, so that it does not depend on anything else.
        let [count, r, g, b] = bins.iter().rev().max_by_key(|bin| bin[0]).copied()?;
        let mean = |sum: u32| Some(((sum + count / 2).checked_div(count)?).min(255) as u8);
        let mut background = Self {
            color: [mean(r)?, mean(g)?, mean(b)?],
            lab: [0.0; 3],
            linear: (0..=255u8).map(linear).collect(),
        };
        background.lab = background.lab(background.color);
        Some(background)
    }

    fn lab(&self, rgb: [u8; 3]) -> [f32; 3] {
        let [r, g, b] = rgb.map(|value| self.linear.get(usize::from(value)).copied().unwrap_or(0.0));
        let l = libm::cbrtf(0.412_221_46 * r + 0.536_332_55 * g + 0.051_445_995 * b);
        let m = libm::cbrtf(0.211_903_5 * r + 0.680_699_5 * g + 0.107_396_96 * b);
        let s = libm::cbrtf(0.088_302_46 * r + 0.281_718_85 * g + 0.629_978_7 * b);
        [
            0.210_454_26 * l + 0.793_617_8 * m - 0.004_072_047 * s,
            1.977_998_5 * l - 2.428_592_2 * m + 0.450_593_7 * s,
            0.025_904_037 * l + 0.782_771_77 * m - 0.808_675_77 * s,
        ]
    }

    /// How far a pixel is from the background, in hundredths.
    fn distance(&self, pixel: &[u8]) -> f32 {
        match pixel {
            [_, _, _, a] if *a < HALF_VISIBLE => 0.0,
            [r, g, b, ..] => {
                let lab = self.lab([*r, *g, *b]);
                let square = |(a, b): (f32, f32)| (a - b) * (a - b);
                100.0 * libm::sqrtf(lab.into_iter().zip(self.lab).map(square).sum())
            }
            _ => 0.0,
        }
    }
}

fn linear(value: u8) -> f32 {
    let value = f32::from(value) / 255.0;
    if value <= 0.040_45 {
        value / 12.92
    } else {
        libm::powf((value + 0.055) / 1.055, 2.4)
    }
}

/// What is known of a pixel.
const UNSEEN: u8 = 0;
const FOREGROUND: u8 = 1;
const BACKGROUND: u8 = 2;

struct Flood<'a> {
    raster: &'a Raster,
    background: &'a Background,
    tolerance: f32,
    marks: Vec<u8>,
    /// Pixels from which the flood still has to go on: its front, which is short where a stack would not be.
    open: VecDeque<u32>,
}

impl Flood<'_> {
    /// Whether a pixel is background that the flood has not reached yet; what is not is marked.
    fn is_open(&mut self, index: usize) -> bool {
        if self.marks.get(index) != Some(&UNSEEN) {
            return false;
        }
        let pixel = self.raster.data.get(index * 4..index * 4 + 4).unwrap_or_default();
        let is_open = self.background.distance(pixel) <= self.tolerance;
        if !is_open {
            self.mark(index, FOREGROUND);
        }
        is_open
    }

    fn mark(&mut self, index: usize, mark: u8) {
        if let Some(slot) = self.marks.get_mut(index) {
            *slot = mark;
        }
    }

    /// Reaches a pixel, if it is background.
    fn reach(&mut self, index: usize) -> Result<(), ImageError> {
        if self.is_open(index) {
            self.mark(index, BACKGROUND);
            if self.open.len() == self.open.capacity() {
                let more = self.open.capacity().max(1024);
                self.open
                    .try_reserve_exact(more)
                    .map_err(|_| exhausted(more * size_of::<u32>()))?;
            }
            self.open.push_back(index as u32);
        }
        Ok(())
    }

    /// Marks everything that is reached from the edges over sides, not corners.
    fn run(&mut self, cancel: &dyn Fn() -> bool) -> Result<(), ImageError> {
        let (columns, rows) = (self.raster.width as usize, self.raster.height as usize);
        for x in 0..columns {
            self.reach(x)?;
            self.reach((rows - 1) * columns + x)?;
        }
        for y in 0..rows {
            self.reach(y * columns)?;
            self.reach(y * columns + columns - 1)?;
        }
        let mut steps = 0u32;
        while let Some(index) = self.open.pop_front() {
            steps = steps.wrapping_add(1);
            if steps.is_multiple_of(1 << 16) && cancel() {
                return Err(ImageError::Cancelled);
            }
            let (index, column) = (index as usize, index as usize % columns);
            if column > 0 {
                self.reach(index - 1)?;
            }
            if column + 1 < columns {
                self.reach(index + 1)?;
            }
            if index >= columns {
                self.reach(index - columns)?;
            }
            self.reach(index + columns)?;
        }
        Ok(())
    }
}

/// Marks, by their places.
struct Marks<'a> {
    marks: &'a [u8],
    raster: &'a Raster,
}

impl Marks<'_> {
    /// Indices of the pixels around one, itself included.
    fn around(&self, index: usize, reach: usize) -> impl Iterator<Item = usize> {
        let (columns, rows) = (self.raster.width as usize, self.raster.height as usize);
        let (x, y) = (index % columns, index / columns);
        let xs = x.saturating_sub(reach)..(x + reach + 1).min(columns);
        let ys = y.saturating_sub(reach)..(y + reach + 1).min(rows);
        ys.flat_map(move |y| xs.clone().map(move |x| y * columns + x))
    }

    fn is_background(&self, index: usize) -> bool {
        self.marks.get(index) == Some(&BACKGROUND)
    }

    /// How much of a pixel is not background, 0 to 255. Where both meet, a pixel is a mixture: it is as much foreground as
    /// it is on the way from the background to the foreground next to it that is furthest away.
    fn share(&self, index: usize, background: &Background, noise: f32) -> u8 {
        let is_background = self.is_background(index);
        if self.around(index, 1).all(|at| self.is_background(at) == is_background) {
            return if is_background { 0 } else { 255 };
        }
        let distance = |at: usize| {
            let pixel = self.raster.data.get(at * 4..at * 4 + 4).unwrap_or_default();
            (background.distance(pixel) - noise).max(0.0)
        };
        let furthest = self
            .around(index, 2)
            .filter(|at| !self.is_background(*at))
            .map(distance)
            .fold(0.0, f32::max);
        if furthest <= 0.0 {
            return 0;
        }
        (255.0 * (distance(index) / furthest).min(1.0) + 0.5) as u8
    }
}

/// Takes the background's part out of a colour, and gives the pixel its share of alpha.
fn clear(pixel: &mut [u8], share: u8, background: [u8; 3]) {
    let [r, g, b, a] = pixel else {
        return;
    };
    if share == 255 {
        return;
    }
    let part = i32::from(share);
    for (value, behind) in [&mut *r, &mut *g, &mut *b].into_iter().zip(background) {
        let mixed = 255 * i32::from(*value) - (255 - part) * i32::from(behind);
        *value = mixed.checked_div(part).map_or(0, |value| value.clamp(0, 255) as u8);
    }
    *a = ((u32::from(*a) * u32::from(share) + 127) / 255) as u8;
}

/// Makes the background transparent: pixels within `tolerance`, in hundredths of OKLab's lightness, of the colour that is
/// most frequent at the edges, as far as they hang together with the edges. What they enclose stays.
pub(crate) fn remove_background(
    raster: Raster,
    tolerance: u8,
    cancel: &dyn Fn() -> bool,
) -> Result<Raster, ImageError> {
    let mut raster = raster.with_alpha()?;
    let Some(background) = Background::of_edges(&raster) else {
        return Ok(raster);
    };
    let pixels = raster.data.len() / 4;
    let mut flood = Flood {
        raster: &raster,
        background: &background,
        tolerance: f32::from(tolerance),
        marks: zeroed(pixels)?,
        open: VecDeque::new(),
    };
    flood.run(cancel)?;
    let Flood { marks, open, .. } = flood;
    drop(open);
    let seen = Marks {
        marks: &marks,
        raster: &raster,
    };
    // A quarter of the tolerance is the background's own noise.
    let noise = f32::from(tolerance) / 4.0;
    let mut shares = zeroed(pixels)?;
    for (index, share) in shares.iter_mut().enumerate() {
        *share = seen.share(index, &background, noise);
    }
    if cancel() {
        return Err(ImageError::Cancelled);
    }
    for (pixel, share) in raster.data.chunks_exact_mut(4).zip(shares) {
        clear(pixel, share, background.color);
    }
    Ok(raster)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pixels::Channels;
    use proptest::prelude::*;

    const PAPER: [u8; 3] = [244, 243, 240];

    fn drawn(width: u32, height: u32, color: impl Fn(u32, u32) -> [u8; 3]) -> Raster {
        let places = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let data = places.flat_map(|(x, y)| color(x, y)).collect();
        Raster::from_data(width, height, Channels::Rgb, data).unwrap()
    }

    fn alpha(raster: &Raster, x: u32, y: u32) -> u8 {
        raster.data[((y * raster.width + x) * 4 + 3) as usize]
    }

    /// A ring with soft edges: how much of a pixel it covers, 0 to 1.
    fn ring(x: u32, y: u32) -> f32 {
        let radius = ((x as f32 - 30.0).powi(2) + (y as f32 - 30.0).powi(2)).sqrt();
        (20.5 - radius).clamp(0.0, 1.0) * (radius - 7.5).clamp(0.0, 1.0)
    }

    fn ring_on_paper() -> Raster {
        drawn(61, 61, |x, y| {
            let cover = ring(x, y);
            let mix = |paper: u8, ink: f32| (f32::from(paper) * (1.0 - cover) + ink * cover + 0.5) as u8;
            [mix(PAPER[0], 150.0), mix(PAPER[1], 40.0), mix(PAPER[2], 30.0)]
        })
    }

    #[test]
    fn a_background_goes_and_an_enclosed_hole_stays() {
        let cut = remove_background(ring_on_paper(), 12, &|| false).unwrap();
        assert_eq!(
            (alpha(&cut, 0, 0), alpha(&cut, 30, 15), alpha(&cut, 30, 30)),
            (0, 255, 255)
        );
    }

    #[test]
    fn edges_are_soft_and_hold_nothing_of_the_background() {
        let cut = remove_background(ring_on_paper(), 12, &|| false).unwrap();
        let (mut soft, mut error) = (0, 0.0);
        for y in 0..61 {
            for x in 0..61u32 {
                let radius = (x as f32 - 30.0).hypot(y as f32 - 30.0);
                let alpha = alpha(&cut, x, y);
                if radius > 15.0 && (1..=254).contains(&alpha) {
                    soft += 1;
                    error += (f32::from(alpha) / 255.0 - ring(x, y)).abs();
                    let at = ((y * 61 + x) * 4) as usize;
                    let near = |value: u8, ink: u8| value.abs_diff(ink) < 60;
                    let color = &cut.data[at..at + 3];
                    assert!(alpha < 40 || near(color[1], 40), "{x}, {y}: {color:?} at {alpha}");
                }
            }
        }
        assert!(
            soft > 40 && error / (soft as f32) < 0.15,
            "{soft}: {}",
            error / soft as f32
        );
    }

    #[test]
    fn tolerance_is_in_hundredths_of_lightness() {
        // OKLab's lightness of white is 1, of grey 218 about 0.886.
        let grey = |tolerance| {
            let raster = drawn(20, 20, |x, _| if x < 17 { [255; 3] } else { [218; 3] });
            alpha(&remove_background(raster, tolerance, &|| false).unwrap(), 19, 10)
        };
        assert_eq!((grey(12), grey(11), grey(60), grey(0)), (0, 255, 0, 255));
    }

    #[test]
    fn transparent_edges_are_background() {
        let mut raster = drawn(9, 9, |x, y| {
            if (3..6).contains(&x) && (3..6).contains(&y) {
                [9, 9, 9]
            } else {
                PAPER
            }
        })
        .with_alpha()
        .unwrap();
        for x in 0..9 {
            raster.data[x * 4 + 3] = 0;
        }
        let cut = remove_background(raster, 12, &|| false).unwrap();
        assert_eq!((alpha(&cut, 0, 0), alpha(&cut, 8, 8), alpha(&cut, 4, 4)), (0, 0, 255));
        let clear = Raster::zeroed(3, 3, Channels::Rgba).unwrap();
        assert_eq!(remove_background(clear.clone(), 12, &|| false).unwrap(), clear);
    }

    proptest! {
        #[test]
        fn a_planted_rectangle_stays_and_the_rest_goes(
            left in 2u32..20, top in 2u32..20, width in 3u32..15, height in 3u32..15, seed in any::<u32>(), ink in 0u8..120,
        ) {
            let inside = |x: u32, y: u32| (left..left + width).contains(&x) && (top..top + height).contains(&y);
            let raster = drawn(40, 40, |x, y| {
                let noise = ((x * 40 + y + 1).wrapping_mul(seed | 1) >> 29) as u8;
                if inside(x, y) { [ink, 200 - ink, 90] } else { PAPER.map(|value| value - noise) }
            });
            let cut = remove_background(raster, 12, &|| false).unwrap();
            for y in 0..40 {
                for x in 0..40 {
                    prop_assert_eq!(alpha(&cut, x, y) > 127, inside(x, y));
                }
            }
        }

        #[test]
        fn any_picture_is_answered(width in 1u32..20, height in 1u32..20, tolerance in 0u8..=60, seed in any::<u32>()) {
            let mut raster = Raster::zeroed(width, height, Channels::Rgba).unwrap();
            for (index, value) in raster.data.iter_mut().enumerate() {
                *value = ((index as u32 + 1).wrapping_mul(seed | 1) >> 24) as u8;
            }
            let alphas = |raster: &Raster| raster.data.chunks(4).map(|pixel| pixel[3]).collect::<Vec<_>>();
            let before = alphas(&raster);
            let after = alphas(&remove_background(raster, tolerance, &|| false).unwrap());
            prop_assert!(after.iter().zip(before).all(|(after, before)| *after <= before));
        }
    }
}
