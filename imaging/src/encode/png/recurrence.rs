//! Whether filtered rows have enough in them twice for a search to be worth its time: texts and screens have, photographs not.

use super::filter::Filters;
use crate::pixels::Raster;

/// Of so many groups of rows one is looked at.
const OF_GROUPS: usize = 4;
/// Bytes of a group at least, as long as there are rows.
const GROUP: usize = 8 << 10;
/// Bytes of a group that are looked at: what a window of deflate holds.
const LOOKED_AT: usize = 32 << 10;
/// Bytes that have to be the same to be found.
const SAME: usize = 8;
const HASH_BITS: u32 = 12;
/// What a length and a distance take, about, in bits.
const MATCH: f32 = 22.0;
/// The part of all bits that has to be saved.
const SAVED: f32 = 0.025;
/// Bits of a byte below which there is so little in the picture that a search is soon done.
const FEW: f32 = 1.5;

/// Looks at some rows for what comes twice, but for runs, and whether saying that it does takes fewer bits than saying it again.
pub(super) fn is_worth_a_search(raster: &Raster) -> bool {
    let (size, length) = (raster.channels.count(), raster.stride());
    let mut filters = Filters::new(size, length);
    let mut found = Found::default();
    let (mut group, mut above) = (Vec::new(), None);
    let rows_of_group = GROUP.div_ceil(length);
    for (number, rows) in raster.data.chunks(length * rows_of_group).enumerate() {
        // The first rows of a picture are often a border, unless there are no others.
        if number % OF_GROUPS == OF_GROUPS / 2 || raster.data.len() <= length * rows_of_group * OF_GROUPS {
            group.clear();
            for row in rows.chunks_exact(length) {
                filters.smallest(above, row, &mut group);
                above = Some(row);
            }
            found.look(group.get(..LOOKED_AT).unwrap_or(&group));
        }
        above = rows.rchunks_exact(length).next();
    }
    found.saved > SAVED * found.bits || found.bits < FEW * found.bytes as f32
}

#[derive(Default)]
struct Found {
    /// What was looked at.
    bytes: usize,
    /// What all literals that are no run take.
    bits: f32,
    /// What of that is saved.
    saved: f32,
}

impl Found {
    fn look(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        let mut frequencies = [0u32; 256];
        for byte in bytes {
            if let Some(frequency) = frequencies.get_mut(usize::from(*byte)) {
                *frequency += 1;
            }
        }
        let all = libm::log2f(bytes.len() as f32);
        let costs = frequencies.map(|frequency| all - libm::log2f(frequency.max(1) as f32));
        let cost = |bytes: &[u8]| -> f32 {
            let costs = bytes.iter().filter_map(|byte| costs.get(usize::from(*byte)));
            costs.sum()
        };
        let mut seen = [0u16; 1 << HASH_BITS];
        let (mut at, mut before) = (0, 0);
        while let Some(next) = word(bytes, at) {
            let mut step = 1;
            if next == u64::from_ne_bytes([before; SAME]) {
                step = SAME;
            } else {
                let hash = next.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (u64::BITS - HASH_BITS);
                let earlier = seen
                    .get_mut(hash as usize)
                    .map(|place| std::mem::replace(place, at as u16));
                let earlier = earlier.map_or(0, usize::from);
                let rest = bytes.get(at..).unwrap_or_default();
                // What is found may reach into what is being looked for.
                let earlier = bytes.get(earlier..).filter(|_| earlier < at).unwrap_or_default();
                if word(earlier, 0) == Some(next) {
                    step = rest.iter().zip(earlier).take_while(|(a, b)| a == b).count();
                    self.saved += (cost(rest.get(..step).unwrap_or_default()) - MATCH).max(0.0);
                }
                self.bits += cost(rest.get(..step).unwrap_or_default());
            }
            before = bytes.get(at + step - 1).copied().unwrap_or_default();
            at += step;
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pixels::Channels;

    fn raster(width: u32, height: u32, color: impl Fn(u32, u32) -> [u8; 3]) -> Raster {
        let colors = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let data = colors.flat_map(|(x, y)| color(x, y)).collect();
        Raster::from_data(width, height, Channels::Rgb, data).expect("as many bytes as pixels")
    }

    /// A number without a pattern.
    fn noise(x: u32, y: u32) -> u32 {
        let mut state = x.wrapping_mul(0x9E37_79B9) ^ y.wrapping_mul(0x85EB_CA6B);
        for _ in 0..3 {
            state = (state ^ state >> 15).wrapping_mul(0x2C1B_3C6D);
        }
        state >> 24
    }

    #[test]
    fn letters_are_searched_for_and_grain_is_not() {
        // Grain on a slope, as a photograph of the sky has it.
        let sky = raster(500, 400, |x, y| {
            let value = (x / 8 + y / 5) as u8;
            [
                value,
                value + (noise(x, y) % 4) as u8,
                200 - value + (noise(y, x) % 3) as u8,
            ]
        });
        assert!(!is_worth_a_search(&sky));
        // Letters of nine by twelve pixels, of which there are twenty, on a coloured slope.
        let page = raster(500, 400, |x, y| {
            let letter = noise(x / 9, y / 12) % 20;
            let ink = noise(letter * 16 + x % 9, y % 12) as u8;
            [ink, ink, (x * 255 / 500) as u8]
        });
        assert!(is_worth_a_search(&page));
        assert!(is_worth_a_search(&raster(640, 480, |x, y| [
            (x * 255 / 640) as u8,
            (y * 255 / 480) as u8,
            200
        ])));
    }

    #[test]
    fn pictures_of_any_size_are_looked_at() {
        for (width, height) in [(1, 1), (4, 4), (1, 2_000), (20_000, 1), (40_000, 3)] {
            let grain = raster(width, height, |x, y| {
                [noise(x, y), noise(y, x + 7), noise(x + 9, y)].map(|value| value as u8)
            });
            // In a few pixels there is nothing that could be found, and nothing that a search would cost.
            assert_eq!(is_worth_a_search(&grain), width * height == 1, "{width}x{height}");
        }
    }
}
