//! `format=blurhash` and `format=thumbhash`: a picture as a short text that a page can paint before the picture is there.
//!
//! BlurHash as of <https://github.com/woltapp/blurhash/blob/master/Algorithm.md>, ThumbHash as of
//! <https://evanw.github.io/thumbhash/>, in standard base64. Transcendental functions come from `libm`, so that every
//! lane writes the same text.

use crate::ImageError;
use crate::pixels::{Raster, reserved};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use core::f64::consts::PI;

/// Longer side of the picture that a text is made of, in pixels: ThumbHash's own limit, and more than BlurHash needs.
pub(crate) const SIDE: u32 = 100;

/// Characters of BlurHash's base 83.
const BASE_83: &[u8; 83] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~";

/// `cos(pi * frequency * (x + shift) / length)` for each `x`.
fn wave(length: usize, frequency: usize, shift: f64) -> Vec<f64> {
    let step = PI * frequency as f64 / length as f64;
    (0..length).map(|x| libm::cos(step * (x as f64 + shift))).collect()
}

/// Sum over a plane of pixels times a wave in either direction, in the order of ThumbHash's own program: what lies just
/// between two steps falls to the same side.
fn transform(plane: &[f64], horizontal: &[f64], vertical: &[f64]) -> f64 {
    let rows = plane.chunks_exact(horizontal.len().max(1)).zip(vertical);
    rows.flat_map(|(row, down)| {
        row.iter()
            .zip(horizontal)
            .map(move |(value, right)| value * right * down)
    })
    .sum()
}

/// One plane of a picture: what `value` makes of each pixel's red, green, blue and alpha, all 0 to 255.
fn plane(raster: &Raster, value: impl Fn([u8; 4]) -> f64) -> Result<Vec<f64>, ImageError> {
    let mut plane = reserved(raster.width as usize * raster.height as usize)?;
    plane.extend(
        raster
            .data
            .chunks_exact(raster.channels.count())
            .map(|pixel| match pixel {
                [grey] => value([*grey, *grey, *grey, 255]),
                [r, g, b] => value([*r, *g, *b, 255]),
                [r, g, b, a] => value([*r, *g, *b, *a]),
                _ => 0.0,
            }),
    );
    Ok(plane)
}

/// A picture's BlurHash: 4 x 3 components, 3 x 4 where it is taller than wide. Alpha has no say.
pub(crate) fn blurhash(raster: &Raster) -> Result<String, ImageError> {
    let (columns, rows) = if raster.width >= raster.height { (4, 3) } else { (3, 4) };
    let linear: Vec<f64> = (0..=255u8).map(linear).collect();
    let light = |value: u8| linear.get(usize::from(value)).copied().unwrap_or(0.0);
    let planes = [
        plane(raster, |[r, ..]| light(r))?,
        plane(raster, |[_, g, ..]| light(g))?,
        plane(raster, |[_, _, b, _]| light(b))?,
    ];
    let (width, height) = (raster.width as usize, raster.height as usize);
    let mut factors = Vec::new();
    for row in 0..rows {
        for column in 0..columns {
            let scale = if row + column == 0 { 1.0 } else { 2.0 } / (width * height) as f64;
            let (horizontal, vertical) = (wave(width, column, 0.0), wave(height, row, 0.0));
            factors.push(
                planes
                    .each_ref()
                    .map(|plane| scale * transform(plane, &horizontal, &vertical)),
            );
        }
    }
    let (mean, waves) = factors
        .split_first()
        .ok_or(ImageError::Internal("a BlurHash has components"))?;
    let mut text = String::new();
    push_83(&mut text, (columns - 1 + (rows - 1) * 9) as u32, 1);
    let most = waves
        .iter()
        .flatten()
        .fold(0.0f64, |most, factor| most.max(factor.abs()));
    let steps = (most * 166.0 - 0.5).floor().clamp(0.0, 82.0);
    push_83(&mut text, steps as u32, 1);
    let [r, g, b] = mean.map(|value| u32::from(gamma(value)));
    push_83(&mut text, r << 16 | g << 8 | b, 4);
    for factor in waves {
        let [r, g, b] = factor.map(|value| {
            let part = value / ((steps + 1.0) / 166.0);
            (libm::sqrt(part.abs()).copysign(part) * 9.0 + 9.5)
                .floor()
                .clamp(0.0, 18.0) as u32
        });
        push_83(&mut text, (r * 19 + g) * 19 + b, 2);
    }
    Ok(text)
}

fn push_83(text: &mut String, value: u32, digits: u32) {
    for place in (0..digits).rev() {
        let digit = value / 83u32.pow(place) % 83;
        text.push(char::from(BASE_83.get(digit as usize).copied().unwrap_or(b'0')));
    }
}

fn linear(value: u8) -> f64 {
    let value = f64::from(value) / 255.0;
    if value <= 0.040_45 {
        value / 12.92
    } else {
        libm::pow((value + 0.055) / 1.055, 2.4)
    }
}

fn gamma(linear: f64) -> u8 {
    let value = linear.clamp(0.0, 1.0);
    let value = if value <= 0.003_130_8 {
        value * 12.92
    } else {
        1.055 * libm::pow(value, 1.0 / 2.4) - 0.055
    };
    (value * 255.0 + 0.5) as u8
}

/// The coefficients of one of ThumbHash's channels.
struct Channel {
    mean: f64,
    waves: Vec<f64>,
    scale: f64,
}

impl Channel {
    fn new(plane: &[f64], width: usize, columns: usize, rows: usize) -> Self {
        let height = plane.len() / width.max(1);
        let pixels = plane.len().max(1) as f64;
        let (mut mean, mut waves, mut scale) = (0.0, Vec::new(), 0.0f64);
        for row in 0..rows {
            let vertical = wave(height, row, 0.5);
            for column in (0..columns).take_while(|column| column * rows < columns * (rows - row)) {
                let factor = transform(plane, &wave(width, column, 0.5), &vertical) / pixels;
                if row + column == 0 {
                    mean = factor;
                } else {
                    waves.push(factor);
                    scale = scale.max(factor.abs());
                }
            }
        }
        if scale > 0.0 {
            for factor in &mut waves {
                *factor = 0.5 + 0.5 / scale * *factor;
            }
        }
        Self { mean, waves, scale }
    }
}

/// A number from 0 to `most`, rounded.
fn steps(value: f64, most: f64) -> u32 {
    (value * most).round().clamp(0.0, most) as u32
}

/// A picture's ThumbHash, in base64.
pub(crate) fn thumbhash(raster: &Raster) -> Result<String, ImageError> {
    let share = |value: u8, alpha: u8| f64::from(value) * f64::from(alpha) / (255.0 * 255.0);
    let alpha = plane(raster, |[.., a]| f64::from(a) / 255.0)?;
    let visible: f64 = alpha.iter().sum();
    let mean = |plane: &[f64]| {
        if visible > 0.0 {
            plane.iter().sum::<f64>() / visible
        } else {
            0.0
        }
    };
    let mut colors = [
        plane(raster, |[r, _, _, a]| share(r, a))?,
        plane(raster, |[_, g, _, a]| share(g, a))?,
        plane(raster, |[_, _, b, a]| share(b, a))?,
    ];
    // Transparency shows the mean colour.
    for plane in &mut colors {
        let mean = mean(plane);
        for (value, alpha) in plane.iter_mut().zip(&alpha) {
            *value += mean * (1.0 - alpha);
        }
    }
    let [red, green, blue] = &colors;
    let mix = |function: fn(f64, f64, f64) -> f64| -> Vec<f64> {
        red.iter()
            .zip(green)
            .zip(blue)
            .map(|((r, g), b)| function(*r, *g, *b))
            .collect()
    };
    let planes = [
        mix(|r, g, b| (r + g + b) / 3.0),
        mix(|r, g, b| (r + g) / 2.0 - b),
        mix(|r, g, _| r - g),
    ];
    let has_alpha = visible < alpha.len() as f64;
    Ok(STANDARD.encode(thumbhash_bytes(
        (raster.width, raster.height),
        &planes,
        has_alpha.then_some(alpha.as_slice()),
    )))
}

fn thumbhash_bytes((width, height): (u32, u32), [l, p, q]: &[Vec<f64>; 3], alpha: Option<&[f64]>) -> Vec<u8> {
    let limit = if alpha.is_some() { 5.0 } else { 7.0 };
    let longer = f64::from(width.max(height));
    let count = |side: u32| (limit * f64::from(side) / longer).round().max(1.0) as usize;
    let (columns, rows) = (count(width), count(height));
    let columns_of = width as usize;
    let l = Channel::new(l, columns_of, columns.max(3), rows.max(3));
    let (p, q) = (Channel::new(p, columns_of, 3, 3), Channel::new(q, columns_of, 3, 3));
    let a = alpha.map(|alpha| Channel::new(alpha, columns_of, 5, 5));
    let landscape = width > height;
    let head = steps(l.mean, 63.0)
        | steps(0.5 + 0.5 * p.mean, 63.0) << 6
        | steps(0.5 + 0.5 * q.mean, 63.0) << 12
        | steps(l.scale, 31.0) << 18
        | u32::from(a.is_some()) << 23;
    let tail = (if landscape { rows } else { columns }) as u32
        | steps(p.scale, 63.0) << 3
        | steps(q.scale, 63.0) << 9
        | u32::from(landscape) << 15;
    let [h0, h1, h2, _] = head.to_le_bytes();
    let [t0, t1, ..] = tail.to_le_bytes();
    let mut bytes = vec![h0, h1, h2, t0, t1];
    if let Some(a) = &a {
        bytes.push((steps(a.mean, 15.0) | steps(a.scale, 15.0) << 4) as u8);
    }
    let channels = [Some(&l), Some(&p), Some(&q), a.as_ref()];
    let waves: Vec<u32> = channels
        .into_iter()
        .flatten()
        .flat_map(|channel| channel.waves.iter().map(|factor| steps(*factor, 15.0)))
        .collect();
    bytes.extend(waves.chunks(2).map(|pair| match pair {
        [low, high] => (low | high << 4) as u8,
        [low] => *low as u8,
        _ => 0,
    }));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pixels::Channels;
    use proptest::prelude::*;

    fn picture(width: u32, height: u32, channels: Channels, color: impl Fn(u32, u32) -> Vec<u8>) -> Raster {
        let data = (0..height)
            .flat_map(|y| (0..width).map(move |x| (x, y)))
            .flat_map(|(x, y)| color(x, y))
            .collect();
        Raster::from_data(width, height, channels, data).unwrap()
    }

    fn from_83(text: &str) -> u32 {
        let digit = |byte: u8| BASE_83.iter().position(|known| *known == byte).unwrap() as u32;
        text.bytes().fold(0, |value, byte| value * 83 + digit(byte))
    }

    #[test]
    fn they_are_what_the_reference_implementations_write() {
        for (width, height, has_alpha, thumb, blur) in [
            (
                24,
                16,
                false,
                "UmkOFZh/eHiMh4h4iIiIeH0C90h3",
                "LuF:cF|z,aw|tRoNjvj[g2flfRfk",
            ),
            (
                24,
                16,
                true,
                "TkmGC4gWT3hcd3ZvFvk1h3B3c3iHeHc=",
                "LuF:cF|z,aw|tRoNjvj[g2flfRfk",
            ),
            (
                10,
                30,
                true,
                "TKmFCggmfG83h2eHP8QHt3V3cHiHeHg=",
                "Tu6K?Ct7o3l$kVfSgef*fRknj[fR",
            ),
        ] {
            let raster = picture(width, height, Channels::Rgba, |x, y| {
                let alpha = if has_alpha { (x + y) * 5 } else { 255 };
                [
                    (width - 1 - x) * 10,
                    (height - 1 - y) * 8,
                    (width - 1 - x) * (height - 1 - y) / 2,
                    alpha,
                ]
                .map(|value| value as u8)
                .to_vec()
            });
            assert_eq!(thumbhash(&raster).unwrap(), thumb);
            assert_eq!(blurhash(&raster).unwrap(), blur);
        }
    }

    #[test]
    fn a_plain_blurhash_is_its_colour() {
        let text = blurhash(&picture(20, 10, Channels::Rgb, |_, _| vec![200, 100, 50])).unwrap();
        assert_eq!(text.len(), 6 + 2 * 11);
        assert_eq!(from_83(&text[..1]), 3 + 2 * 9);
        assert_eq!(from_83(&text[2..6]), 200 << 16 | 100 << 8 | 50);
    }

    #[test]
    fn a_blurhash_is_decoded_to_what_it_was_made_of() {
        let ramp = picture(64, 32, Channels::Grey, |x, _| vec![(x * 4) as u8]);
        let text = blurhash(&ramp).unwrap();
        let most = f64::from(from_83(&text[1..2]) + 1) / 166.0;
        let wave = |index: usize| f64::from(from_83(&text[4 + index * 2..6 + index * 2]) / 361) - 9.0;
        let mean = linear((from_83(&text[2..6]) >> 16) as u8);
        let at = |x: f64| {
            let waves = (1..4).map(|index| {
                let part = wave(index) / 9.0;
                (part * part).copysign(part) * most * (PI * index as f64 * x).cos()
            });
            gamma(mean + waves.sum::<f64>())
        };
        for x in [8u32, 20, 32, 44, 56] {
            let value = at(f64::from(x) / 64.0);
            assert!(value.abs_diff((x * 4) as u8) < 20, "{x}: {value}");
        }
    }

    #[test]
    fn a_thumbhash_tells_mean_shape_and_alpha() {
        let bytes = |raster: &Raster| STANDARD.decode(thumbhash(raster).unwrap()).unwrap();
        let white = bytes(&picture(40, 20, Channels::Rgb, |_, _| vec![255; 3]));
        let head = u32::from_le_bytes([white[0], white[1], white[2], 0]);
        assert_eq!(
            (head & 63, head >> 6 & 63, head >> 12 & 63, head >> 18),
            (63, 32, 32, 0)
        );
        assert_eq!((white[3] & 7, white[4] >> 7), (4, 1));
        let half = bytes(&picture(20, 40, Channels::Rgba, |x, _| {
            vec![10, 200, 30, if x < 10 { 255 } else { 0 }]
        }));
        assert_eq!((half[2] >> 7, half[4] >> 7, half[5] & 15), (1, 0, 8));
    }

    proptest! {
        #[test]
        fn any_picture_has_both(width in 1u32..=SIDE, height in 1u32..=SIDE, seed in any::<u32>(), alpha in any::<bool>()) {
            let channels = if alpha { Channels::Rgba } else { Channels::Rgb };
            let noise = |x: u32, y: u32| {
                let value = (x * 31 + y * 17 + 1).wrapping_mul(seed | 1);
                value.to_le_bytes()[..channels.count()].to_vec()
            };
            let raster = picture(width, height, channels, noise);
            prop_assert_eq!(blurhash(&raster).unwrap().len(), 28);
            prop_assert!((8..=36).contains(&thumbhash(&raster).unwrap().len()));
        }
    }
}
