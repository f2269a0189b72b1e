//! Exact palettes: pictures of at most 256 colours are the same as indices.

use crate::pixels::Raster;

/// A picture as indices into a palette of RGBA colours, those with alpha first.
pub(super) struct Indexed {
    pub(super) colors: Vec<[u8; 4]>,
    pub(super) indices: Vec<u8>,
}

/// Open addressing over at most 256 colours: at a quarter full, probes are short.
const SLOTS: usize = 1024;

struct Table {
    slots: Vec<Option<(u32, u8)>>,
    colors: Vec<[u8; 4]>,
}

impl Table {
    /// Index of a colour, which is added where it is new; `None` where there is no room.
    fn index(&mut self, color: [u8; 4]) -> Option<u8> {
        let key = u32::from_le_bytes(color);
        let mut slot = (key.wrapping_mul(0x9e37_79b1) >> 22) as usize;
        loop {
            match self.slots.get_mut(slot % SLOTS)? {
                Some((known, index)) if *known == key => return Some(*index),
                Some(_) => slot += 1,
                empty => {
                    let index = u8::try_from(self.colors.len()).ok()?;
                    *empty = Some((key, index));
                    self.colors.push(color);
                    return Some(index);
                }
            }
        }
    }
}

/// Finds the palette of a picture, or gives up at the 257th colour.
pub(super) fn exact(raster: &Raster) -> Option<Indexed> {
    let count = raster.channels.count();
    let mut table = Table {
        slots: vec![None; SLOTS],
        colors: Vec::new(),
    };
    let mut last: Option<([u8; 4], u8)> = None;
    let mut indices = Vec::new();
    for pixel in raster.data.chunks_exact(count) {
        let color = match pixel {
            [grey] => [*grey, *grey, *grey, 255],
            [r, g, b] => [*r, *g, *b, 255],
            // What is fully transparent has no colour.
            [_, _, _, 0] => [0; 4],
            [r, g, b, a] => [*r, *g, *b, *a],
            _ => return None,
        };
        let index = match last {
            Some((known, index)) if known == color => index,
            _ => table.index(color)?,
        };
        last = Some((color, index));
        indices.push(index);
    }
    Some(
        Indexed {
            colors: table.colors,
            indices,
        }
        .in_order(),
    )
}

impl Indexed {
    /// PNG lists transparency from the palette's start, and its end may be left out.
    pub(super) fn in_order(mut self) -> Self {
        let mut order: Vec<(u8, [u8; 4])> = (0..=255).zip(self.colors.iter().copied()).collect();
        order.sort_by_key(|(_, color)| color[3] == 255);
        let mut renamed = [0u8; 256];
        for (new, (old, _)) in (0..=255).zip(&order) {
            if let Some(slot) = renamed.get_mut(usize::from(*old)) {
                *slot = new;
            }
        }
        for index in &mut self.indices {
            *index = renamed.get(usize::from(*index)).copied().unwrap_or(0);
        }
        self.colors = order.into_iter().map(|(_, color)| color).collect();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::exact;
    use crate::pixels::{Channels, Raster};

    #[test]
    fn transparent_colours_come_first_and_count_once() {
        let data = vec![1, 2, 3, 255, 9, 9, 9, 0, 4, 4, 4, 0, 5, 5, 5, 128];
        let indexed = exact(&Raster::from_data(4, 1, Channels::Rgba, data).unwrap()).unwrap();
        assert_eq!(indexed.colors, [[0, 0, 0, 0], [5, 5, 5, 128], [1, 2, 3, 255]]);
        assert_eq!(indexed.indices, [2, 0, 0, 1]);
    }

    #[test]
    fn the_257th_colour_is_one_too_many() {
        let colors = |count: u32| {
            let data = (0..count)
                .flat_map(|value| [(value % 256) as u8, (value / 256) as u8, 7])
                .collect();
            Raster::from_data(count, 1, Channels::Rgb, data).unwrap()
        };
        assert_eq!(exact(&colors(256)).unwrap().colors.len(), 256);
        assert!(exact(&colors(257)).is_none());
    }
}
