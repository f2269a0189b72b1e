//! JPEG through jpeg-decoder, with its scaled inverse transforms.

use super::scans::ScanCounter;
use super::{Job, from_io};
use crate::color::Inks;
use crate::pixels::{Channels, Raster};
use crate::source::SourceReader;
use crate::{Format, ImageError};
use jpeg_decoder::{Decoder, Error, PixelFormat};

pub(super) fn decode(job: &Job<'_>) -> Result<Raster, ImageError> {
    let inks = Inks::of(job.source, &job.plan.info, job.limits)?;
    let mut reader = SourceReader::inspecting(job.source, job.cancel, ScanCounter::new(job.limits.scans)).releasing();
    let decoded = run(job, &mut Decoder::new(&mut reader), inks.as_ref());
    let offset = reader.stood_at();
    decoded.map_err(|error| match error {
        Failure::Decoder(error) => translate(&error, offset),
        Failure::Engine(error) => error,
    })
}

enum Failure {
    Decoder(Error),
    Engine(ImageError),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Decoder(error)
    }
}

fn run<R: std::io::Read>(job: &Job<'_>, decoder: &mut Decoder<R>, inks: Option<&Inks>) -> Result<Raster, Failure> {
    let info = &job.plan.info;
    decoder.set_max_decoding_buffer_size(usize::try_from(job.limits.memory_bytes).unwrap_or(usize::MAX));
    let scale = u32::from(job.plan.decode_scale);
    let wanted = |side: u32| u16::try_from(side.div_ceil(scale)).unwrap_or(u16::MAX);
    // The decoder takes the smallest scale at which one side is large enough, so only the longer may decide.
    let (width, height) = if info.width >= info.height {
        (wanted(info.width), u16::MAX)
    } else {
        (u16::MAX, wanted(info.height))
    };
    let (width, height) = decoder.scale(width, height)?;
    let pixels = decoder.decode()?;
    let format = decoder.info().map(|info| info.pixel_format);
    let (channels, pixels) = match format {
        Some(PixelFormat::L8) => (Channels::Grey, pixels),
        Some(PixelFormat::RGB24) => (Channels::Rgb, pixels),
        Some(PixelFormat::CMYK32) => {
            let rgb = match inks {
                Some(inks) => inks.to_rgb(pixels, !info.inverted_cmyk).map_err(Failure::Engine)?,
                None => cmyk_to_rgb(pixels, info.inverted_cmyk),
            };
            (Channels::Rgb, rgb)
        }
        Some(PixelFormat::L16) | None => {
            return Err(Failure::Engine(ImageError::unsupported(
                Format::Jpeg,
                "lossless JPEG of more than 8 bits is not read",
            )));
        }
    };
    Raster::from_data(u32::from(width), u32::from(height), channels, pixels).ok_or(Failure::Engine(
        ImageError::Internal("the JPEG decoder gave another number of pixels"),
    ))
}

fn translate(error: &Error, offset: u64) -> ImageError {
    match error {
        Error::Io(error) => from_io(Format::Jpeg, offset, error),
        Error::Unsupported(feature) => ImageError::unsupported(Format::Jpeg, format!("{feature:?} is not read")),
        Error::Format(detail) => ImageError::corrupt(Format::Jpeg, offset, detail.clone()),
        Error::Internal(_) => ImageError::corrupt(Format::Jpeg, offset, "the decoder gave up"),
    }
}

/// Ink to light, in place. The decoder has inverted what it read, which is right where Adobe's marker says that the file
/// stores light already; elsewhere it is undone. Without a profile the inks are ideal: each takes away its share.
fn cmyk_to_rgb(mut pixels: Vec<u8>, stored_inverted: bool) -> Vec<u8> {
    let count = pixels.len() / 4;
    for pixel in 0..count {
        let Some([c, m, y, k]) = pixels
            .get(pixel * 4..pixel * 4 + 4)
            .and_then(|ink| <[u8; 4]>::try_from(ink).ok())
        else {
            break;
        };
        let light = |ink: u8| u32::from(if stored_inverted { 255 - ink } else { ink });
        let mix = |ink: u8| ((light(ink) * light(k) + 127) / 255) as u8;
        if let Some(to) = pixels.get_mut(pixel * 3..pixel * 3 + 3) {
            to.copy_from_slice(&[mix(c), mix(m), mix(y)]);
        }
    }
    pixels.truncate(count * 3);
    pixels
}
