//! The first page of a TIFF through the tiff crate, one strip or tile at a time.

use super::{Failure, Job, reading};
use crate::pixels::{Channels, Raster};
use crate::source::SourceReader;
use crate::{Format, ImageError, ImageInfo};
use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::tags::{PhotometricInterpretation, Tag};
use tiff::{ColorType, TiffError};

pub(super) fn decode(job: &Job<'_>) -> Result<Raster, ImageError> {
    // Strips lie in any order, so nothing can be released.
    let reader = SourceReader::new(job.source, job.cancel);
    reading(Format::Tiff, reader, |reader| run(job, reader))
}

impl From<TiffError> for Failure {
    fn from(error: TiffError) -> Self {
        match error {
            TiffError::IoError(error) => Self::Io(error),
            TiffError::UnsupportedError(what) => Self::Engine(ImageError::unsupported(Format::Tiff, what.to_string())),
            error => Self::Damage(error.to_string()),
        }
    }
}

/// Bytes that the largest strip or tile may take, and that the largest table may: all samples, and room for tiles that reach
/// beyond a small picture.
pub(crate) fn buffer_bytes(info: &ImageInfo) -> u64 {
    let samples = u64::from(info.width) * u64::from(info.height) * u64::from(info.components);
    samples * u64::from(info.bit_depth).div_ceil(8) + 1024 * 1024
}

fn run(job: &Job<'_>, reader: &mut SourceReader<'_>) -> Result<Raster, Failure> {
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let mut limits = Limits::default();
    limits.decoding_buffer_size = size(buffer_bytes(&job.plan.info));
    limits.intermediate_buffer_size = size(job.plan.info.bytes);
    let mut decoder = Decoder::new(reader)?.with_limits(limits);
    let (width, height) = decoder.dimensions()?;
    // What is allocated below follows from this size, and the limits were asked about the other.
    if (width, height) != (job.plan.info.width, job.plan.info.height) {
        return Err(ImageError::corrupt(Format::Tiff, 0, "the header says two different sizes").into());
    }
    let layout = Layout::of(&mut decoder, job.plan.info.alpha)?;
    let mut raster = Raster::zeroed(width, height, layout.channels())?;
    let (chunk_width, chunk_height) = decoder.chunk_dimensions();
    if chunk_width == 0 || chunk_height == 0 {
        return Err(ImageError::corrupt(Format::Tiff, 0, "its parts have no size").into());
    }
    let across = width.div_ceil(chunk_width);
    let chunks = across.saturating_mul(height.div_ceil(chunk_height));
    for index in 0..chunks {
        if (job.cancel)() {
            return Err(ImageError::Cancelled.into());
        }
        let (left, top) = (index % across * chunk_width, index / across * chunk_height);
        let size = (chunk_width.min(width - left), chunk_height.min(height - top));
        let chunk = decoder.read_chunk(index)?;
        layout.place(&chunk, (left, top), size, &mut raster)?;
    }
    if layout.premultiplied {
        crate::pixels::unpremultiply(&mut raster.data);
    }
    Ok(raster)
}

/// What a sample means.
enum Kind {
    Grey,
    Rgb,
    Inks,
}

struct Layout {
    kind: Kind,
    alpha: bool,
    premultiplied: bool,
    bits: u8,
    samples: usize,
}

impl Layout {
    fn of(decoder: &mut Decoder<&mut SourceReader<'_>>, alpha: bool) -> Result<Self, Failure> {
        let color = decoder.colortype()?;
        let photometric: u16 = decoder.get_tag_unsigned(Tag::PhotometricInterpretation)?;
        let inverted = photometric == PhotometricInterpretation::WhiteIsZero.to_u16();
        let (kind, bits, samples) = match color {
            ColorType::Gray(bits) => (Kind::Grey, bits, 1),
            ColorType::GrayA(bits) => (Kind::Grey, bits, 2),
            ColorType::Multiband {
                bit_depth,
                num_samples: 2,
            } if photometric <= 1 && !inverted => (Kind::Grey, bit_depth, 2),
            ColorType::RGB(bits) => (Kind::Rgb, bits, 3),
            ColorType::RGBA(bits) => (Kind::Rgb, bits, 4),
            ColorType::CMYK(8) => (Kind::Inks, 8, 4),
            other => return Err(ImageError::unsupported(Format::Tiff, format!("{other:?} is not read")).into()),
        };
        if !matches!(bits, 1 | 2 | 4 | 8 | 16) || (bits < 8 && samples > 1) {
            return Err(ImageError::unsupported(Format::Tiff, format!("{bits} bits a channel are not read")).into());
        }
        let alpha = alpha && matches!((&kind, samples), (Kind::Grey, 2) | (Kind::Rgb, 4));
        let extra: Option<Vec<u16>> = decoder.find_tag_unsigned_vec(Tag::ExtraSamples)?;
        let premultiplied = alpha && extra.is_some_and(|kinds| kinds.first() == Some(&1));
        Ok(Self {
            kind,
            alpha,
            premultiplied,
            bits,
            samples,
        })
    }

    fn channels(&self) -> Channels {
        match self.kind {
            _ if self.alpha => Channels::Rgba,
            Kind::Grey => Channels::Grey,
            Kind::Rgb | Kind::Inks => Channels::Rgb,
        }
    }

    fn place(
        &self,
        chunk: &DecodingResult,
        (left, top): (u32, u32),
        (width, height): (u32, u32),
        raster: &mut Raster,
    ) -> Result<(), ImageError> {
        let samples = width as usize * self.samples;
        let (stride, count) = (raster.stride(), raster.channels.count());
        let inset = left as usize * count;
        let rows = raster
            .data
            .chunks_exact_mut(stride.max(1))
            .skip(top as usize)
            .take(height as usize);
        let mut line = vec![0u8; samples];
        for (y, row) in rows.enumerate() {
            self.line(chunk, y, &mut line)?;
            let to = row.get_mut(inset..).unwrap_or_default().chunks_exact_mut(count);
            for (pixel, from) in to.zip(line.chunks_exact(self.samples.max(1))) {
                self.pixel(from, pixel);
            }
        }
        Ok(())
    }

    /// A row's samples in 8 bits.
    fn line(&self, chunk: &DecodingResult, y: usize, line: &mut [u8]) -> Result<(), ImageError> {
        let missing = || ImageError::corrupt(Format::Tiff, 0, "a part is shorter than its size says");
        match chunk {
            DecodingResult::U16(values) => {
                let from = values.get(y * line.len()..(y + 1) * line.len()).ok_or_else(missing)?;
                for (to, from) in line.iter_mut().zip(from) {
                    *to = ((u32::from(*from) * 255 + 32_767) / 65_535) as u8;
                }
            }
            DecodingResult::U8(values) if self.bits == 8 => {
                let from = values.get(y * line.len()..(y + 1) * line.len()).ok_or_else(missing)?;
                line.copy_from_slice(from);
            }
            DecodingResult::U8(values) => {
                let bits = usize::from(self.bits);
                let bytes = (line.len() * bits).div_ceil(8);
                let from = values.get(y * bytes..(y + 1) * bytes).ok_or_else(missing)?;
                let most = (1u32 << bits) - 1;
                let scale = 255 / most.max(1);
                for (x, to) in line.iter_mut().enumerate() {
                    let byte = from.get(x * bits / 8).copied().unwrap_or(0);
                    let below = 8 - bits - x * bits % 8;
                    *to = ((u32::from(byte) >> below & most) * scale) as u8;
                }
            }
            _ => {
                return Err(ImageError::unsupported(
                    Format::Tiff,
                    "only whole numbers of at most 16 bits are read",
                ));
            }
        }
        Ok(())
    }

    fn pixel(&self, from: &[u8], to: &mut [u8]) {
        match (&self.kind, from, to) {
            (Kind::Grey, [grey, ..], [to]) => *to = *grey,
            (Kind::Grey, [grey, alpha], [r, g, b, a]) => (*r, *g, *b, *a) = (*grey, *grey, *grey, *alpha),
            (Kind::Inks, [c, m, y, k], [r, g, b]) => {
                let mix = |ink: u8| ((u32::from(255 - ink) * u32::from(255 - *k) + 127) / 255) as u8;
                (*r, *g, *b) = (mix(*c), mix(*m), mix(*y));
            }
            (Kind::Rgb, from, to) => {
                for (to, from) in to.iter_mut().zip(from) {
                    *to = *from;
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Job, decode_whole};
    use crate::pixels::Raster;
    use crate::{ImageError, Limits, Resolved, plan, probe, samples};
    use tiff::encoder::{Compression, TiffEncoder, colortype};
    use tiff::tags::Tag;

    fn decoded(bytes: &Vec<u8>) -> Result<Raster, ImageError> {
        let info = probe(bytes, &Limits::EDGE)?;
        let plan = plan(&info, &Resolved::parse("").unwrap(), &Limits::EDGE)?;
        decode_whole(&Job {
            source: bytes,
            plan: &plan,
            limits: &Limits::EDGE,
            codecs: &crate::NativeCodecs,
            cancel: &|| false,
            observe: &|_| (),
            overlays: &crate::draw::Overlays::default(),
        })
    }

    fn written<C: colortype::ColorType>(size: (u32, u32), data: &[C::Inner], compression: Compression) -> Vec<u8>
    where
        [C::Inner]: tiff::encoder::TiffValue,
    {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let mut encoder = TiffEncoder::new(&mut bytes).unwrap().with_compression(compression);
        encoder.write_image::<C>(size.0, size.1, data).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn every_packing_gives_the_same_pixels() {
        let scene = samples::scene(301, 207);
        for compression in [
            Compression::Uncompressed,
            Compression::Lzw,
            Compression::Deflate(tiff::encoder::DeflateLevel::Balanced),
            Compression::Packbits,
        ] {
            let bytes = written::<colortype::RGB8>((301, 207), &scene, compression);
            assert!(decoded(&bytes).unwrap().data == scene);
        }
    }

    #[test]
    fn every_kind_of_pixel_is_read() {
        let grey = written::<colortype::Gray8>((3, 1), &[1, 2, 3], Compression::Lzw);
        assert_eq!(decoded(&grey).unwrap().data, [1, 2, 3]);
        let wide = written::<colortype::Gray16>((3, 1), &[0, 0x8080, 0xffff], Compression::Lzw);
        assert_eq!(decoded(&wide).unwrap().data, [0, 128, 255]);
        let wide = written::<colortype::RGB16>((1, 1), &[0, 0x8080, 0xffff], Compression::Uncompressed);
        assert_eq!(decoded(&wide).unwrap().data, [0, 128, 255]);
        let inks = written::<colortype::CMYK8>((2, 1), &[0, 0, 0, 0, 255, 0, 0, 0], Compression::Lzw);
        assert_eq!(decoded(&inks).unwrap().data, [255, 255, 255, 0, 255, 255]);
        let float = written::<colortype::Gray32Float>((1, 1), &[0.5], Compression::Lzw);
        assert_eq!(decoded(&float).unwrap_err().code(), "unsupported-format");
    }

    #[test]
    fn alpha_and_profiles_are_found() {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let mut encoder = TiffEncoder::new(&mut bytes).unwrap();
        let mut image = encoder.new_image::<colortype::RGBA8>(2, 1).unwrap();
        image.encoder().write_tag(Tag::ExtraSamples, [2u16].as_slice()).unwrap();
        let profile = moxcms::ColorProfile::new_display_p3().encode().unwrap();
        image.encoder().write_tag(Tag::IccProfile, profile.as_slice()).unwrap();
        image.write_data(&[200, 60, 60, 255, 1, 2, 3, 0]).unwrap();
        let bytes = bytes.into_inner();
        let info = probe(&bytes, &Limits::EDGE).unwrap();
        assert_eq!(
            (info.alpha, info.color_profile, info.profile_bytes),
            (true, true, profile.len() as u64)
        );
        assert_eq!(decoded(&bytes).unwrap().data, [200, 60, 60, 255, 1, 2, 3, 0]);
        let declared = probe::declared(&bytes, &info, &Limits::EDGE).unwrap();
        assert_eq!(declared, Some(probe::Declared::Icc(profile)));
    }

    /// Little-endian, one strip, its directory right after the header.
    fn small(tags: &[(u16, u16, u32, u32)], tail: &[u8]) -> Vec<u8> {
        let mut bytes = b"II*\0\x08\0\0\0".to_vec();
        bytes.extend((tags.len() as u16).to_le_bytes());
        for (tag, kind, count, value) in tags {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(kind.to_le_bytes());
            bytes.extend(count.to_le_bytes());
            bytes.extend(value.to_le_bytes());
        }
        bytes.extend([0; 4]);
        bytes.extend(tail);
        bytes
    }

    #[test]
    fn bits_are_spread_out() {
        // Nine tags: the tail begins at 8 + 2 + 108 + 4.
        let page = |bits: u32, photometric: u32, strip: u32, length: u32| {
            [
                (256, 3, 1, 5),
                (257, 3, 1, 1),
                (258, 3, 1, bits),
                (259, 3, 1, 1),
                (262, 3, 1, photometric),
                (273, 4, 1, strip),
                (277, 3, 1, 1),
                (278, 3, 1, 1),
                (279, 4, 1, length),
            ]
        };
        let fax = small(&page(1, 0, 122, 1), &[0b1010_1000]);
        assert_eq!(decoded(&fax).unwrap().data, [0, 255, 0, 255, 0]);
        let black = small(&page(1, 1, 122, 1), &[0b1010_1000]);
        assert_eq!(decoded(&black).unwrap().data, [255, 0, 255, 0, 255]);
        let indexed = small(&page(8, 3, 122, 5), &[0; 5]);
        assert_eq!(decoded(&indexed).unwrap_err().code(), "unsupported-format");
    }
}
