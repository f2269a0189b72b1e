//! A landscape with soft gradients, edges, texture and sensor noise: the mixture that photographs have.

/// A hash with no pattern that an eye finds.
fn hash(x: u32, y: u32, seed: u32) -> u32 {
    let mut value = x.wrapping_mul(0x9e37_79b1) ^ y.wrapping_mul(0x85eb_ca6b) ^ seed.wrapping_mul(0xc2b2_ae35);
    value = (value ^ (value >> 15)).wrapping_mul(0x2c1b_3c6d);
    value = (value ^ (value >> 12)).wrapping_mul(0x297a_2d39);
    value ^ (value >> 15)
}

fn unit(x: u32, y: u32, seed: u32) -> f32 {
    (hash(x, y, seed) >> 8) as f32 / 16_777_216.0
}

/// Value noise: smooth between the points of a lattice. 0 to 1.
fn noise(x: f32, y: f32, seed: u32) -> f32 {
    let (column, row) = (x.floor(), y.floor());
    let smooth = |t: f32| t * t * (3.0 - 2.0 * t);
    let (u, v) = (smooth(x - column), smooth(y - row));
    let at = |dx: u32, dy: u32| unit((column as u32).wrapping_add(dx), (row as u32).wrapping_add(dy), seed);
    let mix = |a: f32, b: f32, t: f32| a + (b - a) * t;
    mix(mix(at(0, 0), at(1, 0), u), mix(at(0, 1), at(1, 1), u), v)
}

/// Several octaves of it.
fn clouds(x: f32, y: f32, octaves: u32, seed: u32) -> f32 {
    let (mut sum, mut weight, mut frequency) = (0.0, 0.5, 1.0);
    for octave in 0..octaves {
        sum += weight * noise(x * frequency, y * frequency, seed + octave);
        weight *= 0.5;
        frequency *= 2.0;
    }
    sum
}

type Rgb = [f32; 3];

fn mix(a: Rgb, b: Rgb, part: f32) -> Rgb {
    let part = part.clamp(0.0, 1.0);
    core::array::from_fn(|index| {
        let (a, b) = (
            a.get(index).copied().unwrap_or(0.0),
            b.get(index).copied().unwrap_or(0.0),
        );
        a + (b - a) * part
    })
}

fn scaled(color: Rgb, factor: f32) -> Rgb {
    color.map(|value| value * factor)
}

/// Height of a ridge over the horizon at `x`, in parts of the picture.
fn ridge(x: f32, seed: u32, size: f32) -> f32 {
    size * clouds(x, 0.5, 5, seed)
}

/// What stands at a point; `x` runs from 0 to the aspect ratio, `y` from 0 to 1.
fn land(x: f32, y: f32) -> Rgb {
    const HORIZON: f32 = 0.62;
    let sun = ((x - 0.95).powi(2) + (y - 0.34).powi(2)).sqrt();
    let sky = mix([58.0, 116.0, 190.0], [250.0, 205.0, 150.0], (y / HORIZON).powi(2));
    let glow = mix(sky, [255.0, 240.0, 205.0], 0.8 - 2.2 * sun);
    let cloud = clouds(x * 3.0, y * 9.0, 6, 11);
    let sky = mix(glow, [252.0, 246.0, 240.0], (cloud - 0.52) * 3.2);
    let sky = if sun < 0.055 { [255.0, 250.0, 232.0] } else { sky };
    if y < HORIZON {
        let far = HORIZON - ridge(x * 2.3, 31, 0.26);
        let near = HORIZON - ridge(x * 4.1, 57, 0.17);
        if y > near {
            let bark = clouds(x * 60.0, y * 60.0, 4, 71);
            return mix([26.0, 44.0, 30.0], [74.0, 96.0, 52.0], bark);
        }
        if y > far {
            let haze = clouds(x * 14.0, y * 14.0, 4, 43);
            return mix(mix([86.0, 96.0, 118.0], [132.0, 138.0, 150.0], haze), sky, 0.25);
        }
        return sky;
    }
    if y < 0.8 {
        let ripple = noise(x * 22.0, y * 260.0, 91) - 0.5;
        let mirrored = HORIZON - (y - HORIZON) * 1.8 + ripple * 0.02;
        let sky = mix(
            [58.0, 116.0, 190.0],
            [250.0, 205.0, 150.0],
            (mirrored / HORIZON).powi(2),
        );
        let path = (x - 0.95).abs() < 0.05 + 0.3 * (y - HORIZON) && ripple > 0.12;
        return if path {
            [255.0, 232.0, 188.0]
        } else {
            mix(scaled(sky, 0.72), [20.0, 44.0, 60.0], 0.35 + ripple)
        };
    }
    let meadow = clouds(x * 26.0, y * 26.0, 6, 113);
    let grass = noise(x * 420.0, y * 90.0, 131);
    let base = mix([44.0, 82.0, 26.0], [150.0, 160.0, 62.0], meadow * 0.75 + grass * 0.35);
    let flower = unit((x * 110.0) as u32, (y * 110.0) as u32, 151);
    let inside = ((x * 110.0).fract() - 0.5).powi(2) + ((y * 110.0).fract() - 0.5).powi(2) < 0.07;
    if flower > 0.9 && inside {
        if flower > 0.95 {
            [226.0, 58.0, 70.0]
        } else {
            [250.0, 226.0, 90.0]
        }
    } else {
        base
    }
}

/// The scene, RGB, `width * height * 3` bytes. The same at every size, but for the noise, which is per pixel.
#[must_use]
pub fn scene(width: u32, height: u32) -> Vec<u8> {
    let scale = 1.0 / height.max(1) as f32;
    // Everything in the scene happens within one and a half heights; wider pictures show it stretched.
    let stretch = (1.5 / (width.max(1) as f32 * scale)).min(1.0);
    let mut data = Vec::with_capacity(width as usize * height as usize * 3);
    for y in 0..height {
        for x in 0..width {
            let color = land((x as f32 + 0.5) * scale * stretch, (y as f32 + 0.5) * scale);
            let grain = (unit(x, y, 171) + unit(x, y, 172) - 1.0) * 7.0;
            data.extend(color.map(|value| (value + grain + 0.5) as u8));
        }
    }
    data
}

/// The scene with an alpha channel: opaque in the middle, clear in the corners, a soft edge between.
#[must_use]
pub fn scene_rgba(width: u32, height: u32) -> Vec<u8> {
    let half = |side: u32| side.max(1) as f32 / 2.0;
    let pixels = scene(width, height);
    let mut data = Vec::with_capacity(pixels.len() / 3 * 4);
    for (index, pixel) in pixels.chunks_exact(3).enumerate() {
        let (x, y) = (index % width.max(1) as usize, index / width.max(1) as usize);
        let (dx, dy) = (
            (x as f32 + 0.5) / half(width) - 1.0,
            (y as f32 + 0.5) / half(height) - 1.0,
        );
        let alpha = (1.25 - (dx * dx + dy * dy).sqrt()) * 3.0 * 255.0;
        data.extend_from_slice(pixel);
        data.push(alpha as u8);
    }
    data
}
