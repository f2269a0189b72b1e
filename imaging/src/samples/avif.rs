//! Sample AVIF files of every coding: planes of the scene through rav1e, in boxes of our own.
#![expect(
    clippy::indexing_slicing,
    reason = "pixels of four channels, and positions that were counted just before"
)]

use super::scene::scene_rgba;
use rav1e::color;
use rav1e::color::MatrixCoefficients;
use rav1e::prelude::{
    ChromaSampling, ColorDescription, Config, EncoderConfig, EncoderStatus, Pixel, PixelRange, SpeedSettings,
};

/// How chroma is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AvifSampling {
    /// 4:0:0.
    Grey,
    /// 4:2:0.
    Quarter,
    /// 4:2:2.
    Half,
    /// 4:4:4.
    Full,
}

/// How a sample AVIF is coded. Next to nothing is lost.
#[derive(Clone, Debug)]
pub struct AvifSample {
    /// Chroma.
    pub sampling: AvifSampling,
    /// 8, 10 or 12 bits.
    pub depth: u8,
    /// Whether samples use all of their range.
    pub full_range: bool,
    /// `MatrixCoefficients` of ITU-T H.273 in `colr`: 0 (identity), 1 (BT.709), 6 (BT.601) or 9 (BT.2020).
    pub matrix: u16,
    /// `ColourPrimaries` and `TransferCharacteristics` in `colr`.
    pub colors: (u16, u16),
    /// Whether there is a picture of alpha.
    pub alpha: bool,
    /// Whether colours are multiplied by it.
    pub premultiplied: bool,
    /// Columns and rows of a grid.
    pub grid: (u32, u32),
    /// Right angles against the clock.
    pub turned: u8,
    /// 0 swaps top and bottom, 1 left and right.
    pub mirrored: Option<u8>,
    /// What is shown: left, top, width, height.
    pub shown: Option<(u32, u32, u32, u32)>,
    /// Bytes of an EXIF item, from the TIFF header on.
    pub exif: Vec<u8>,
}

impl Default for AvifSample {
    fn default() -> Self {
        Self {
            sampling: AvifSampling::Full,
            depth: 8,
            full_range: true,
            matrix: 6,
            colors: (1, 13),
            alpha: false,
            premultiplied: false,
            grid: (1, 1),
            turned: 0,
            mirrored: None,
            shown: None,
            exif: Vec::new(),
        }
    }
}

impl AvifSample {
    /// The scene at this size, as coded. A grid is of parts of equal size, the last of which reach over the edges.
    #[must_use]
    pub fn encode(&self, width: u32, height: u32) -> Vec<u8> {
        let mut rgba = scene_rgba(width, height);
        if self.premultiplied {
            for pixel in rgba.chunks_exact_mut(4) {
                let alpha = u32::from(pixel[3]);
                for channel in &mut pixel[..3] {
                    *channel = ((u32::from(*channel) * alpha + 127) / 255) as u8;
                }
            }
        }
        let tile = (width.div_ceil(self.grid.0), height.div_ceil(self.grid.1));
        let mut items = Vec::new();
        for is_alpha in [false, true].into_iter().take(1 + usize::from(self.alpha)) {
            for row in 0..self.grid.1 {
                for column in 0..self.grid.0 {
                    let part = cut(&rgba, (width, height), (column * tile.0, row * tile.1), tile);
                    items.push(self.code(&part, tile, is_alpha));
                }
            }
        }
        self.container((width, height), tile, &items)
    }

    fn code(&self, rgba: &[u8], size: (u32, u32), is_alpha: bool) -> Vec<u8> {
        if self.depth == 8 {
            self.code_as::<u8>(rgba, size, is_alpha)
        } else {
            self.code_as::<u16>(rgba, size, is_alpha)
        }
    }

    fn code_as<T: Pixel>(&self, rgba: &[u8], (width, height): (u32, u32), is_alpha: bool) -> Vec<u8> {
        let sampling = if is_alpha { AvifSampling::Grey } else { self.sampling };
        let (chroma_sampling, across, down) = match sampling {
            AvifSampling::Grey => (ChromaSampling::Cs400, 1, 1),
            AvifSampling::Quarter => (ChromaSampling::Cs420, 2, 2),
            AvifSampling::Half => (ChromaSampling::Cs422, 2, 1),
            AvifSampling::Full => (ChromaSampling::Cs444, 1, 1),
        };
        let encoder = EncoderConfig {
            width: width as usize,
            height: height as usize,
            bit_depth: self.depth.into(),
            chroma_sampling,
            pixel_range: if self.full_range || is_alpha {
                PixelRange::Full
            } else {
                PixelRange::Limited
            },
            // The identity matrix is rav1e's to refuse for anything but 4:4:4; what is said in `colr` counts.
            color_description: Some(ColorDescription {
                color_primaries: color::ColorPrimaries::BT709,
                transfer_characteristics: color::TransferCharacteristics::SRGB,
                matrix_coefficients: MatrixCoefficients::BT601,
            }),
            still_picture: true,
            quantizer: 4,
            min_quantizer: 4,
            speed_settings: SpeedSettings::from_preset(10),
            ..EncoderConfig::default()
        };
        let mut context = Config::new()
            .with_encoder_config(encoder)
            .new_context::<T>()
            .expect("rav1e takes the settings");
        let mut frame = context.new_frame();
        let planes = if is_alpha {
            [
                rgba.chunks_exact(4).map(|pixel| f32::from(pixel[3]) / 255.0).collect(),
                Vec::new(),
                Vec::new(),
            ]
        } else {
            self.planes(rgba)
        };
        for (index, (plane, samples)) in frame.planes.iter_mut().zip(&planes).enumerate() {
            let (across, down) = if index == 0 { (1, 1) } else { (across, down) };
            let rows = reduced(samples, (width as usize, height as usize), (across, down));
            let columns = (width as usize).div_ceil(across);
            let bytes: Vec<u8> = rows
                .iter()
                .flat_map(|sample| {
                    let level = self.level(*sample, index > 0, is_alpha);
                    if self.depth > 8 {
                        level.to_le_bytes().to_vec()
                    } else {
                        vec![level as u8]
                    }
                })
                .collect();
            let size = if self.depth > 8 { 2 } else { 1 };
            plane.copy_from_raw_u8(&bytes, columns * size, size);
        }
        context.send_frame(frame).expect("rav1e takes the frame");
        context.flush();
        let mut bytes = Vec::new();
        loop {
            match context.receive_packet() {
                Ok(packet) => bytes.extend(packet.data),
                Err(EncoderStatus::LimitReached) => return bytes,
                Err(status) => assert_eq!(status, EncoderStatus::Encoded, "rav1e encodes a scene"),
            }
        }
    }

    /// Luminance of 0 to 1, chroma of -0.5 to 0.5; of the identity green, blue and red.
    fn planes(&self, rgba: &[u8]) -> [Vec<f32>; 3] {
        let mut planes = [Vec::new(), Vec::new(), Vec::new()];
        let (red, blue) = match self.matrix {
            1 => (0.2126, 0.0722),
            9 => (0.2627, 0.0593),
            _ => (0.299, 0.114),
        };
        for pixel in rgba.chunks_exact(4) {
            let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(|channel| f32::from(channel) / 255.0);
            let y = red * r + (1.0 - red - blue) * g + blue * b;
            let samples = if self.matrix == 0 {
                [g, b, r]
            } else {
                [y, (b - y) / (2.0 * (1.0 - blue)), (r - y) / (2.0 * (1.0 - red))]
            };
            for (plane, sample) in planes.iter_mut().zip(samples) {
                plane.push(sample);
            }
        }
        planes
    }

    fn level(&self, sample: f32, is_chroma: bool, is_alpha: bool) -> u16 {
        let unit = f32::from(1u16 << (self.depth - 8));
        let is_chroma = is_chroma && self.matrix != 0;
        let level = match (self.full_range || is_alpha, is_chroma) {
            (true, false) => sample * (256.0 * unit - 1.0),
            (true, true) => sample * (256.0 * unit - 1.0) + 128.0 * unit,
            (false, false) => (sample * 219.0 + 16.0) * unit,
            (false, true) => (sample * 224.0 + 128.0) * unit,
        };
        (level + 0.5).clamp(0.0, 256.0 * unit - 1.0) as u16
    }

    /// The boxes: the primary picture is item 1, its alpha 2; behind them the parts of grids, and EXIF last.
    fn container(&self, size: (u32, u32), tile: (u32, u32), data: &[Vec<u8>]) -> Vec<u8> {
        let is_grid = self.grid != (1, 1);
        let parts = (self.grid.0 * self.grid.1) as usize;
        let pictures = 1 + usize::from(self.alpha);
        // Item numbers of coded pictures, in the order of `data`.
        let coded: Vec<u16> = (0..data.len() as u16)
            .map(|index| if is_grid { 3 + index } else { 1 + index })
            .collect();
        let exif_id = 3 + data.len() as u16;
        let grid = |id: usize| {
            let [width, height] = [size.0, size.1].map(|side| (side as u16).to_be_bytes());
            (
                id as u16 + 1,
                [
                    &[0, 0, self.grid.1 as u8 - 1, self.grid.0 as u8 - 1],
                    width.as_slice(),
                    &height,
                ]
                .concat(),
            )
        };
        let mut contents: Vec<(u16, &[u8; 4], Vec<u8>)> = Vec::new();
        if is_grid {
            contents.extend((0..pictures).map(grid).map(|(id, content)| (id, b"grid", content)));
        }
        contents.extend(coded.iter().zip(data).map(|(id, data)| (*id, b"av01", data.clone())));
        if !self.exif.is_empty() {
            contents.push((exif_id, b"Exif", [[0; 4].as_slice(), &self.exif].concat()));
        }

        let full =
            |kind: &[u8; 4], version: u8, content: &[u8]| iso_box(kind, &[&[version, 0, 0, 0], content].concat());
        let entries: Vec<u8> = contents
            .iter()
            .flat_map(|(id, kind, _)| {
                full(
                    b"infe",
                    2,
                    &[id.to_be_bytes().as_slice(), &[0, 0], kind.as_slice(), &[0]].concat(),
                )
            })
            .collect();
        let mut references = Vec::new();
        let refer = |kind: &[u8; 4], from: u16, to: &[u16]| {
            let ids = [from, to.len() as u16].into_iter().chain(to.iter().copied());
            iso_box(kind, &ids.flat_map(u16::to_be_bytes).collect::<Vec<u8>>())
        };
        if self.alpha {
            references.extend(refer(b"auxl", 2, &[1]));
        }
        if self.premultiplied {
            references.extend(refer(b"prem", 1, &[2]));
        }
        if is_grid {
            for (id, parts) in (1..).zip(coded.chunks(parts)) {
                references.extend(refer(b"dimg", id, parts));
            }
        }
        if !self.exif.is_empty() {
            references.extend(refer(b"cdsc", exif_id, &[1]));
        }
        let meta = |places: &[u8]| {
            let count = (contents.len() as u16).to_be_bytes();
            full(
                b"meta",
                0,
                &[
                    full(b"hdlr", 0, b"\0\0\0\0pict\0\0\0\0\0\0\0\0\0\0\0\0\0"),
                    full(b"pitm", 0, &[0, 1]),
                    full(b"iloc", 0, &[[0x44, 0].as_slice(), &count, places].concat()),
                    full(b"iinf", 0, &[count.as_slice(), &entries].concat()),
                    if references.is_empty() {
                        Vec::new()
                    } else {
                        full(b"iref", 0, &references)
                    },
                    self.properties(size, tile, &coded, parts),
                ]
                .concat(),
            )
        };
        let head = iso_box(b"ftyp", b"avif\0\0\0\0avifmif1miaf");
        // Places take the same bytes whatever they say.
        let mut offset = head.len() + meta(&vec![0; contents.len() * 14]).len() + 8;
        let mut places = Vec::new();
        for (id, _, content) in &contents {
            places.extend(id.to_be_bytes());
            places.extend([0, 0, 0, 1]);
            places.extend((offset as u32).to_be_bytes());
            places.extend((content.len() as u32).to_be_bytes());
            offset += content.len();
        }
        let all: Vec<u8> = contents.iter().flat_map(|(.., content)| content.clone()).collect();
        [head, meta(&places), iso_box(b"mdat", &all)].concat()
    }

    fn properties(&self, size: (u32, u32), tile: (u32, u32), coded: &[u16], parts: usize) -> Vec<u8> {
        let ispe = |(width, height): (u32, u32)| {
            iso_box(
                b"ispe",
                &[&[0; 4], width.to_be_bytes().as_slice(), &height.to_be_bytes()].concat(),
            )
        };
        let av1c = |sampling: AvifSampling| {
            let flags = match sampling {
                AvifSampling::Grey => 0x1c,
                AvifSampling::Quarter => 0x0c,
                AvifSampling::Half => 0x08,
                AvifSampling::Full => 0x00,
            };
            let depth = match self.depth {
                12 => 0x60,
                10 => 0x40,
                _ => 0x00,
            };
            iso_box(b"av1C", &[0x81, 0, flags | depth, 0])
        };
        let mut properties = vec![
            ispe(size),
            ispe(tile),
            av1c(self.sampling),
            av1c(AvifSampling::Grey),
            iso_box(b"auxC", b"\0\0\0\0urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0"),
        ];
        let nclx = [self.colors.0, self.colors.1, self.matrix]
            .map(u16::to_be_bytes)
            .concat();
        properties.push(iso_box(
            b"colr",
            &[b"nclx", nclx.as_slice(), &[u8::from(self.full_range) << 7]].concat(),
        ));
        let mut of_primary = vec![1, 6];
        if let Some((left, top, width, height)) = self.shown {
            // Twice the distance of the middles, over two.
            let middle = |start: u32, length: u32, whole: u32| (2 * start + length) as i32 - whole as i32;
            let numbers = [
                width as i32,
                1,
                height as i32,
                1,
                middle(left, width, size.0),
                2,
                middle(top, height, size.1),
                2,
            ];
            properties.push(iso_box(b"clap", &numbers.map(i32::to_be_bytes).concat()));
            of_primary.push(0x80 | properties.len() as u8);
        }
        if self.turned > 0 {
            properties.push(iso_box(b"irot", &[self.turned]));
            of_primary.push(0x80 | properties.len() as u8);
        }
        if let Some(axis) = self.mirrored {
            properties.push(iso_box(b"imir", &[axis]));
            of_primary.push(0x80 | properties.len() as u8);
        }
        let is_grid = self.grid != (1, 1);
        let mut associations: Vec<(u16, Vec<u8>)> = vec![(1, of_primary)];
        if self.alpha {
            associations.push((2, vec![1, 5]));
        }
        for (index, id) in coded.iter().enumerate() {
            let coding = if index < parts { 0x83 } else { 0x84 };
            if is_grid {
                associations.push((*id, vec![2, coding]));
            } else {
                associations[index].1.push(coding);
            }
        }
        let mut map = (associations.len() as u32).to_be_bytes().to_vec();
        for (id, indices) in associations {
            map.extend(id.to_be_bytes());
            map.push(indices.len() as u8);
            map.extend(indices);
        }
        let ipma = iso_box(b"ipma", &[[0; 4].as_slice(), &map].concat());
        iso_box(b"iprp", &[iso_box(b"ipco", &properties.concat()), ipma].concat())
    }
}

fn iso_box(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    [&(content.len() as u32 + 8).to_be_bytes(), kind.as_slice(), content].concat()
}

/// A part of a picture; behind the edges the last pixels are repeated.
fn cut(rgba: &[u8], (width, height): (u32, u32), at: (u32, u32), size: (u32, u32)) -> Vec<u8> {
    let pixel = |x: u32, y: u32| {
        let start = ((y.min(height - 1) * width + x.min(width - 1)) * 4) as usize;
        rgba[start..start + 4].to_vec()
    };
    (0..size.1)
        .flat_map(|y| (0..size.0).flat_map(move |x| pixel(at.0 + x, at.1 + y)))
        .collect()
}

/// The means of as many samples as one stands for.
fn reduced(samples: &[f32], (width, height): (usize, usize), (across, down): (usize, usize)) -> Vec<f32> {
    if samples.is_empty() {
        return Vec::new();
    }
    let mean = |x: usize, y: usize| {
        let (columns, rows) = (x..(x + across).min(width), y..(y + down).min(height));
        let count = (columns.len() * rows.len()) as f32;
        rows.flat_map(|y| columns.clone().map(move |x| samples[y * width + x]))
            .sum::<f32>()
            / count
    };
    (0..height)
        .step_by(down)
        .flat_map(|y| (0..width).step_by(across).map(move |x| mean(x, y)))
        .collect()
}
