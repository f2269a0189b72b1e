//! Named looks. Names and amounts are photon-rs's; the kernels are ours, because its take only whole RGBA frames, drop
//! alpha, and panic on small pictures.

use super::Raster;
use crate::ImageError;
use crate::options::FilterName;

type Rgb = [u8; 3];

/// A step of a look.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// So many hundredths of the way to a colour.
    Mix(Rgb, i32),
    /// The mean of the channels, in all three.
    Mean,
    /// The weighted sum of the channels in hundredths, in all three.
    Grey([i32; 3]),
    /// More of each channel.
    Add(Rgb),
    /// Away from the middle: -255 to 255.
    Contrast(i32),
    /// From one colour for black to another for white, by luminance.
    Duotone(Rgb, Rgb),
    /// The inverse of those channels.
    Invert([bool; 3]),
    /// Red below this value turns round.
    Solarize(u8),
    /// Every channel to nothing or all.
    Threshold,
    /// Every channel from its least value to its most onto the whole range.
    Stretch,
    /// Saturation as HSL has it, by so many hundredths more.
    Saturate(i32),
    /// The sum of three by three weights.
    Convolve([i32; 9]),
    /// The strength of the edges.
    Edges,
    /// Cells of one colour, this part of the longer side wide.
    Cells(u32),
    /// Cells of two by two dots, as many of them white as the cell is light.
    Dots,
    /// Each pixel as the mean of the commonest lightness within this distance.
    Oil(u32),
}

use Step::{
    Add, Cells, Contrast, Convolve, Dots, Duotone, Edges, Grey, Invert, Mean, Mix, Oil, Saturate, Solarize, Stretch,
    Threshold,
};

fn steps(name: FilterName) -> &'static [Step] {
    match name.as_str() {
        "bluechrome" => &[Mean, Add([20, 30, 60])],
        "cali" => &[Mix([255, 45, 75], 10), Contrast(50)],
        "diamante" => &[Mix([30, 82, 87], 10)],
        "dramatic" => &[Mean, Contrast(60)],
        "duotone_horizon" => &[Duotone([169, 167, 132], [150, 24, 149])],
        "duotone_lilac" => &[Duotone([45, 3, 3], [163, 134, 224])],
        "duotone_ochre" => &[Duotone([25, 36, 88], [236, 119, 0])],
        "duotone_violette" => &[Duotone([16, 228, 248], [116, 54, 221])],
        "emboss" => &[Convolve([-2, -1, 0, -1, 1, 1, 0, 1, 2])],
        "firenze" => &[Mix([255, 47, 78], 10), Add([30; 3]), Contrast(50)],
        "flagblue" => &[Mix([0, 0, 131], 20)],
        "golden" => &[Mix([235, 145, 50], 20), Contrast(30)],
        "grayscale" => &[Mean],
        "halftone" => &[Dots],
        "invert" => &[Invert([true; 3])],
        "islands" => &[Mix([0, 24, 95], 20)],
        "laplace" => &[Convolve([0, -1, 0, -1, 4, -1, 0, -1, 0])],
        "liquid" => &[Mix([0, 10, 75], 20)],
        "lix" => &[Invert([true, true, false])],
        "lofi" => &[Contrast(30), Saturate(20)],
        "marine" => &[Mix([0, 14, 119], 20)],
        "mauve" => &[Mean, Add([90, 40, 80])],
        "monochrome" => &[Grey([30, 59, 11])],
        "neue" => &[Invert([false, false, true])],
        "normalize" => &[Stretch],
        "obsidian" => &[Mean, Contrast(25)],
        "oceanic" => &[Mix([0, 89, 173], 20)],
        "oil" => &[Oil(4)],
        "pastel_pink" => &[Add([80, 12, 20]), Contrast(30)],
        "perfume" => &[Mix([80, 40, 120], 20)],
        "pixelize" => &[Cells(64)],
        "primary" => &[Threshold],
        "radio" => &[Mean, Add([5, 40, 20])],
        "rosetint" => &[Mean, Add([80, 20, 31])],
        "ryo" => &[Invert([true, false, true])],
        "seagreen" => &[Mix([0, 68, 62], 20)],
        "sepia" => &[Grey([30, 59, 11]), Add([100, 50, 0])],
        "serenity" => &[Mix([10, 40, 90], 20)],
        "sobel_global" => &[Edges],
        "solarize" => &[Solarize(200)],
        "twenties" => &[Mean, Add([18, 12, 20])],
        "vintage" => &[Mix([120, 70, 13], 20)],
        _ => &[],
    }
}

/// Carries out a look. Alpha stays as it is.
///
/// # Errors
/// Where there is no memory, and [`ImageError::Cancelled`].
pub(crate) fn filter(raster: Raster, name: FilterName, cancel: &dyn Fn() -> bool) -> Result<Raster, ImageError> {
    let mut raster = raster.colored()?;
    for step in steps(name) {
        crate::transform::stop_if(cancel)?;
        apply(&mut raster, *step, cancel)?;
    }
    Ok(raster)
}

fn apply(raster: &mut Raster, step: Step, cancel: &dyn Fn() -> bool) -> Result<(), ImageError> {
    match step {
        Mix(color, share) => by_channel(raster, |channel, value| {
            (i32::from(of(color, channel)) * share + i32::from(value) * (100 - share) + 50) / 100
        }),
        Add(more) => by_channel(raster, |channel, value| i32::from(value) + i32::from(of(more, channel))),
        Contrast(amount) => {
            let (up, down) = (259 * (amount + 255), 255 * (259 - amount));
            by_channel(raster, |_, value| {
                ((i32::from(value) - 128) * up + 128 * down + down / 2).div_euclid(down)
            });
        }
        Invert(which) => by_channel(raster, |channel, value| {
            let inverted = which.get(channel) == Some(&true);
            i32::from(if inverted { 255 - value } else { value })
        }),
        Solarize(below) => by_channel(raster, |channel, value| {
            let turns = channel == 0 && value < below;
            i32::from(if turns { below - value } else { value })
        }),
        Threshold => by_channel(raster, |_, value| if value > 128 { 255 } else { 0 }),
        Stretch => stretch(raster),
        Mean => by_pixel(raster, |rgb| [(sum(rgb, [1; 3]) / 3) as u8; 3]),
        Grey(weights) => by_pixel(raster, |rgb| [((sum(rgb, weights) + 50) / 100) as u8; 3]),
        Duotone(dark, light) => by_pixel(raster, |rgb| {
            let luminance = (sum(rgb, [2126, 7152, 722]) + 5000) / 10_000;
            core::array::from_fn(|channel| {
                let (dark, light) = (i32::from(of(dark, channel)), i32::from(of(light, channel)));
                ((dark * (255 - luminance) + light * luminance + 127) / 255) as u8
            })
        }),
        Saturate(more) => by_pixel(raster, |rgb| saturate(rgb, more)),
        Convolve(weights) => {
            let weighted = |around: &[i32; 9]| around.iter().zip(weights).map(|(value, weight)| value * weight).sum();
            by_neighbours(raster, weighted, cancel)?;
        }
        Edges => by_neighbours(raster, edge, cancel)?,
        Cells(parts) => cells(raster, parts),
        Dots => dots(raster),
        Oil(radius) => oil(raster, radius as usize, cancel)?,
    }
    Ok(())
}

fn of(color: Rgb, channel: usize) -> u8 {
    color.get(channel).copied().unwrap_or(0)
}

fn sum(rgb: Rgb, weights: [i32; 3]) -> i32 {
    rgb.iter()
        .zip(weights)
        .map(|(value, weight)| i32::from(*value) * weight)
        .sum()
}

fn clamp(value: i32) -> u8 {
    value.clamp(0, 255) as u8
}

/// A function of a channel and its value, through tables.
fn by_channel(raster: &mut Raster, function: impl Fn(usize, u8) -> i32) {
    let tables: [[u8; 256]; 3] =
        core::array::from_fn(|channel| core::array::from_fn(|value| clamp(function(channel, value as u8))));
    for pixel in raster.data.chunks_exact_mut(raster.channels.count()) {
        for (value, table) in pixel.iter_mut().zip(&tables) {
            *value = table.get(usize::from(*value)).copied().unwrap_or(*value);
        }
    }
}

/// A function of a colour.
fn by_pixel(raster: &mut Raster, function: impl Fn(Rgb) -> Rgb) {
    for pixel in raster.data.chunks_exact_mut(raster.channels.count()) {
        if let [r, g, b, ..] = pixel {
            [*r, *g, *b] = function([*r, *g, *b]);
        }
    }
}

/// A function of a value and its eight neighbours, row by row; the edges are repeated.
fn by_neighbours(
    raster: &mut Raster,
    function: impl Fn(&[i32; 9]) -> i32,
    cancel: &dyn Fn() -> bool,
) -> Result<(), ImageError> {
    let source = raster.copy()?;
    let (stride, count) = (source.stride().max(1), source.channels.count());
    let last = source.width.saturating_sub(1) as usize;
    let row = |y: usize| {
        let start = y.min(source.height.saturating_sub(1) as usize) * stride;
        source.data.get(start..start + stride).unwrap_or_default()
    };
    for (y, target) in raster.data.chunks_exact_mut(stride).enumerate() {
        if y % 64 == 0 {
            crate::transform::stop_if(cancel)?;
        }
        let rows = [row(y.saturating_sub(1)), row(y), row(y + 1)];
        for (x, pixel) in target.chunks_exact_mut(count).enumerate() {
            let columns = [x.saturating_sub(1), x, (x + 1).min(last)];
            for (channel, value) in pixel.iter_mut().take(3).enumerate() {
                let around = core::array::from_fn(|index| {
                    let (row, column) = (rows.get(index / 3), columns.get(index % 3).copied().unwrap_or(x));
                    row.and_then(|row| row.get(column * count + channel))
                        .map_or(0, |value| i32::from(*value))
                });
                *value = clamp(function(&around));
            }
        }
    }
    Ok(())
}

/// Sobel's two gradients together, each as far as a byte goes.
fn edge(&[a, b, c, d, _, f, g, h, i]: &[i32; 9]) -> i32 {
    let across = (c + 2 * f + i - a - 2 * d - g).clamp(0, 255);
    let down = (g + 2 * h + i - a - 2 * b - c).clamp(0, 255);
    (across * across + down * down).isqrt()
}

fn stretch(raster: &mut Raster) {
    let count = raster.channels.count();
    let mut range = [(255u8, 0u8); 3];
    for pixel in raster.data.chunks_exact(count) {
        if count == 4 && pixel.last() == Some(&0) {
            continue;
        }
        for ((least, most), value) in range.iter_mut().zip(pixel) {
            (*least, *most) = ((*least).min(*value), (*most).max(*value));
        }
    }
    by_channel(raster, |channel, value| match range.get(channel) {
        Some((least, most)) if most > least => {
            (i32::from(value) - i32::from(*least)) * 255 / (i32::from(*most) - i32::from(*least))
        }
        _ => i32::from(value),
    });
}

/// Keeps hue and lightness of HSL: every channel moves away from the middle of the largest and the smallest.
fn saturate(rgb: Rgb, more: i32) -> Rgb {
    let values = rgb.map(i32::from);
    let (most, least) = (
        values.iter().max().copied().unwrap_or(0),
        values.iter().min().copied().unwrap_or(0),
    );
    let chroma = most - least;
    let doubled = most + least;
    // Chroma that this lightness has at full saturation.
    let full = 255 - (doubled - 255).abs();
    if chroma == 0 || full == 0 {
        return rgb;
    }
    let wanted = (chroma + full * more / 100).min(full);
    values.map(|value| {
        let offset = (2 * value - doubled) * wanted;
        clamp((doubled * chroma + offset + chroma).div_euclid(2 * chroma))
    })
}

fn cells(raster: &mut Raster, parts: u32) {
    let size = (raster.width.max(raster.height) / parts).max(2) as usize;
    let (stride, count) = (raster.stride().max(1), raster.channels.count());
    for band in raster.data.chunks_mut(size * stride) {
        let mut left = 0;
        while left < stride {
            let right = (left + size * count).min(stride);
            // Straight colours count as much as they are seen.
            let (mut sums, mut weight, mut pixels) = ([0u64; 4], 0u64, 0u64);
            for row in band.chunks_exact(stride) {
                for pixel in row.get(left..right).unwrap_or_default().chunks_exact(count) {
                    let alpha = pixel.get(3).map_or(255, |alpha| u64::from(*alpha));
                    for (sum, value) in sums.iter_mut().zip(pixel.iter().take(3)) {
                        *sum += u64::from(*value) * alpha;
                    }
                    weight += alpha;
                    pixels += 1;
                }
            }
            let mean = [0, 1, 2]
                .map(|channel: usize| sums.get(channel).map_or(0, |sum| (sum + weight / 2) / weight.max(1)) as u8);
            let alpha = ((weight + pixels / 2) / pixels.max(1)) as u8;
            let color = [of(mean, 0), of(mean, 1), of(mean, 2), alpha];
            for row in band.chunks_exact_mut(stride) {
                for pixel in row.get_mut(left..right).unwrap_or_default().chunks_exact_mut(count) {
                    pixel.iter_mut().zip(color).for_each(|(to, from)| *to = from);
                }
            }
            left = right;
        }
    }
}

fn dots(raster: &mut Raster) {
    /// From this lightness on, so many dots are white, in this order.
    const STEPS: [i32; 4] = [32, 95, 159, 200];
    /// The dot's number by row and column: diagonals first.
    const ORDER: [[usize; 2]; 2] = [[0, 2], [3, 1]];
    let (stride, count) = (raster.stride().max(1), raster.channels.count());
    for band in raster.data.chunks_mut(2 * stride) {
        for x in (0..stride).step_by(2 * count) {
            let right = (x + 2 * count).min(stride);
            let (mut light, mut pixels) = (0, 0);
            for row in band.chunks_exact(stride) {
                for pixel in row.get(x..right).unwrap_or_default().chunks_exact(count) {
                    if let [r, g, b, ..] = *pixel {
                        light += (sum([r, g, b], [299, 587, 114]) + 500) / 1000;
                        pixels += 1;
                    }
                }
            }
            let light = light / pixels.max(1);
            let white = STEPS.iter().filter(|step| light >= **step).count();
            for (row, order) in band.chunks_exact_mut(stride).zip(ORDER) {
                let cell = row.get_mut(x..right).unwrap_or_default();
                for (pixel, number) in cell.chunks_exact_mut(count).zip(order) {
                    let value = if number < white { 255 } else { 0 };
                    pixel.iter_mut().take(3).for_each(|channel| *channel = value);
                }
            }
        }
    }
}

/// Levels of lightness that oil paint tells apart.
const LEVELS: usize = 55;

/// What a window has of a level.
type Level = [u32; 4];

fn oil(raster: &mut Raster, radius: usize, cancel: &dyn Fn() -> bool) -> Result<(), ImageError> {
    let source = raster.copy()?;
    let (width, height, count) = (source.width as usize, source.height as usize, source.channels.count());
    let stride = source.stride().max(1);
    let pixel = |x: usize, y: usize| source.data.get(y * stride + x * count..y * stride + x * count + 3);
    for (y, row) in raster.data.chunks_exact_mut(stride).enumerate() {
        crate::transform::stop_if(cancel)?;
        let rows = y.saturating_sub(radius)..(y + radius + 1).min(height);
        // The window moves along the row: a column comes in, another goes out.
        let mut levels: [Level; LEVELS + 1] = [[0; 4]; LEVELS + 1];
        let column = |levels: &mut [Level; LEVELS + 1], x: usize, comes: bool| {
            for y in rows.clone() {
                let Some([r, g, b]) = pixel(x, y) else { continue };
                let rgb = [*r, *g, *b];
                let level = (sum(rgb, [1; 3]) as usize * LEVELS + 382) / 765;
                if let Some(level) = levels.get_mut(level) {
                    let values = [1, u32::from(*r), u32::from(*g), u32::from(*b)];
                    for (total, value) in level.iter_mut().zip(values) {
                        *total = if comes { *total + value } else { *total - value };
                    }
                }
            }
        };
        for x in 0..radius.min(width) {
            column(&mut levels, x, true);
        }
        for (x, target) in row.chunks_exact_mut(count).enumerate() {
            if x + radius < width {
                column(&mut levels, x + radius, true);
            }
            if let Some(gone) = x.checked_sub(radius + 1) {
                column(&mut levels, gone, false);
            }
            // Of equally common ones the darkest.
            let commonest = levels
                .iter()
                .rev()
                .max_by_key(|level| level[0])
                .copied()
                .unwrap_or_default();
            let [pixels, totals @ ..] = commonest;
            for (value, total) in target.iter_mut().zip(totals) {
                *value = (total + pixels / 2)
                    .checked_div(pixels)
                    .map_or(*value, |mean| mean as u8);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::OptionValue;
    use crate::pixels::Channels;
    use proptest::prelude::*;

    fn filtered(name: &str, size: (u32, u32), channels: Channels, data: &[u8]) -> Raster {
        let raster = Raster::from_data(size.0, size.1, channels, data.to_vec()).unwrap();
        filter(raster, FilterName::parse(name).unwrap(), &|| false).unwrap()
    }

    #[track_caller]
    fn assert_pixel(name: &str, before: Rgb, after: Rgb) {
        assert_eq!(filtered(name, (1, 1), Channels::Rgb, &before).data, after, "{name}");
        let alpha = filtered(name, (1, 1), Channels::Rgba, &[before[0], before[1], before[2], 77]);
        assert_eq!(alpha.data, [after[0], after[1], after[2], 77], "{name}");
    }

    #[test]
    fn colours_become_what_the_look_says() {
        assert_pixel("oceanic", [100, 100, 100], [80, 98, 115]);
        assert_pixel("grayscale", [10, 20, 60], [30; 3]);
        assert_pixel("monochrome", [10, 20, 60], [21; 3]);
        assert_pixel("sepia", [10, 20, 60], [121, 71, 21]);
        assert_pixel("radio", [10, 20, 60], [35, 70, 50]);
        assert_pixel("mauve", [250, 250, 250], [255, 255, 255]);
        assert_pixel("invert", [0, 100, 255], [255, 155, 0]);
        assert_pixel("neue", [0, 100, 255], [0, 100, 0]);
        assert_pixel("lix", [0, 100, 255], [255, 155, 255]);
        assert_pixel("ryo", [0, 100, 255], [255, 100, 0]);
        assert_pixel("solarize", [50, 50, 50], [150, 50, 50]);
        assert_pixel("primary", [128, 129, 255], [0, 255, 255]);
        assert_pixel("duotone_lilac", [0; 3], [45, 3, 3]);
        assert_pixel("duotone_lilac", [255; 3], [163, 134, 224]);
        // 259 * (60 + 255) / (255 * (259 - 60)) = 1.6077.
        assert_pixel("dramatic", [128; 3], [128; 3]);
        assert_pixel("dramatic", [158; 3], [176; 3]);
        assert_pixel("dramatic", [0; 3], [0; 3]);
    }

    #[test]
    fn saturation_keeps_hue_and_lightness() {
        assert_eq!(saturate([100; 3], 20), [100; 3]);
        assert_eq!(saturate([255, 0, 0], 20), [255, 0, 0]);
        // Lightness 1/2 of 200 + 100; chroma 100 of 210 possible, and 42 more.
        assert_eq!(saturate([200, 150, 100], 20), [221, 150, 79]);
    }

    #[test]
    fn flat_pictures_have_no_edges() {
        for name in ["laplace", "sobel_global"] {
            assert_eq!(filtered(name, (3, 3), Channels::Rgb, &[90; 27]).data, [0; 27], "{name}");
        }
        assert_eq!(filtered("emboss", (3, 3), Channels::Rgb, &[90; 27]).data, [90; 27]);
        assert_eq!(filtered("oil", (3, 3), Channels::Rgb, &[90; 27]).data, [90; 27]);
        let step = [0, 0, 0, 255, 255, 255].repeat(3);
        assert_eq!(filtered("sobel_global", (2, 3), Channels::Rgb, &step).data, [255; 18]);
    }

    #[test]
    fn oil_takes_the_commonest_lightness() {
        let mut pixels = [[10u8, 20, 30]; 25].concat();
        pixels[36..39].copy_from_slice(&[250, 0, 250]);
        assert_eq!(
            filtered("oil", (5, 5), Channels::Rgb, &pixels).data,
            [[10u8, 20, 30]; 25].concat()
        );
    }

    #[test]
    fn cells_and_dots_are_as_light_as_the_picture() {
        let pixels = [[0u8; 3], [255; 3], [255; 3], [0; 3]].concat();
        assert_eq!(filtered("pixelize", (2, 2), Channels::Rgb, &pixels).data, [128; 12]);
        let clear = [[9u8, 9, 9, 255], [200, 200, 200, 0], [9, 9, 9, 255], [200, 200, 200, 0]].concat();
        assert_eq!(
            filtered("pixelize", (2, 2), Channels::Rgba, &clear).data,
            [9, 9, 9, 128].repeat(4)
        );
        for (light, white) in [(0, 0), (40, 1), (100, 2), (160, 3), (220, 4)] {
            let dots = filtered("halftone", (2, 2), Channels::Rgb, &[light; 12]).data;
            assert_eq!(dots.iter().filter(|value| **value == 255).count(), 3 * white, "{light}");
        }
    }

    #[test]
    fn stretching_reaches_both_ends() {
        let stretched = filtered("normalize", (2, 1), Channels::Rgb, &[50, 7, 100, 100, 7, 200]);
        assert_eq!(stretched.data, [0, 7, 0, 255, 7, 255]);
    }

    proptest! {
        #[test]
        fn every_look_takes_every_size(
            name in 0..FilterName::ALL.len(), width in 1u32..12, height in 1u32..12, kind in 0usize..3, seed in any::<u8>(),
        ) {
            let name = FilterName::ALL[name];
            let channels = [Channels::Grey, Channels::Rgb, Channels::Rgba][kind];
            let length = (width * height) as usize * channels.count();
            let data: Vec<u8> = (0..length).map(|at| (at as u8).wrapping_mul(37).wrapping_add(seed)).collect();
            prop_assert!(!steps(FilterName::parse(name).unwrap()).is_empty(), "{}", name);
            let before = Raster::from_data(width, height, channels, data).unwrap().colored().unwrap();
            let after = filter(before.clone(), FilterName::parse(name).unwrap(), &|| false).unwrap();
            prop_assert_eq!((after.width, after.height, after.channels), (width, height, before.channels));
            if after.channels == Channels::Rgba && name != "pixelize" {
                let alphas = |raster: &Raster| raster.data.iter().skip(3).step_by(4).copied().collect::<Vec<_>>();
                prop_assert_eq!(alphas(&before), alphas(&after));
            }
        }
    }
}
