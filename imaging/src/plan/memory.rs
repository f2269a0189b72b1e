//! How much memory a plan takes, from sizes alone. Never under what is measured; over it by less than two.

use super::{Drawing, Plan};
use crate::{Format, ImageInfo};

/// Bytes of memory, by what they are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Memory {
    /// The source's own bytes, wherever they lie.
    pub source: u64,
    /// The colour profile with what is read from it, before anything is decoded.
    pub profile: u64,
    /// Decoder, with its result where that is there whole.
    pub decode: u64,
    /// The same with the resampler, its rows and its result.
    pub resample: u64,
    /// Result, what the encoder makes of it, and the answer.
    pub encode: u64,
    /// The answer to an animation at most, which grows while everything above is there; 0 for stills, whose encoders count it.
    pub answer: u64,
    /// The most that is taken at any time.
    pub peak: u64,
}

/// Tables, windows and small change.
const FIXED: u64 = 1024 * 1024;

/// Bytes that an SVG document takes for each of its own, at most.
const DOCUMENT: u64 = 24;

impl Memory {
    pub(super) fn estimate(plan: &Plan) -> Self {
        let info = &plan.info;
        let scale = u64::from(plan.decode_scale);
        let (width, height) = (
            u64::from(info.width).div_ceil(scale),
            u64::from(info.height).div_ceil(scale),
        );
        let channels = decoded_channels(plan);
        // A vector picture is drawn at its size, and at its own only where its pixels are looked at.
        let decoded = match info.format {
            Format::Svg if !plan.looks_at_pixels() => 0,
            _ => width * height * channels,
        };
        let decode = match info.format {
            Format::Jpeg => {
                // Blocks reach over the edges, by at most an MCU of 32 pixels.
                let pixels = (u64::from(info.width) + 32) * (u64::from(info.height) + 32);
                let chroma = pixels * (u64::from(info.samples_per_pixel_quarters).saturating_sub(4)) / 4;
                let reduced = chroma < 2 * pixels && info.components == 3;
                // Reduced chroma is transformed to more samples than its share.
                let finer = if reduced && plan.full_chroma { 4 } else { 1 };
                // Samples of all components, which are only there at once where pixels decide.
                let planes = (pixels + chroma * finer.min(scale * scale)) / (scale * scale);
                let rows = (width + 32) * u64::from(info.components) * (32 / scale);
                // A progressive file keeps the coefficients that the scale needs until its last scan.
                let kept = |finer: u64| {
                    [63, 24, 4, 0]
                        .into_iter()
                        .zip([1, 2, 4, 8])
                        .find(|(_, at)| at * finer >= scale)
                };
                let stored = |samples: u64, finer: u64| {
                    let last = kept(finer).map_or(63, |(last, _)| last);
                    crate::decode::store_bytes(samples / 64, last)
                };
                let coefficients = if info.progressive {
                    stored(pixels, 1) + stored(chroma, if finer == 4 { 2 } else { 1 })
                } else {
                    0
                };
                coefficients + if plan.looks_at_pixels() { planes } else { rows }
            }
            // Planes with chroma at half the size, and a few rows of the decoder's.
            Format::WebP if stays_planes(plan) => {
                let planes = width * height + 2 * width.div_ceil(2) * height.div_ceil(2);
                crate::decode::frame_memory(width, info.bytes) + if plan.looks_at_pixels() { planes } else { 0 }
            }
            // The same, joined with alpha, whose data are copied and made pixels of four bytes before.
            Format::WebP if info.samples_per_pixel_quarters == 6 => {
                decoded + 5 * width * height / 2 + crate::decode::frame_memory(width, info.bytes) + info.bytes
            }
            // The decoder keeps pixels of four bytes beside those that it returns, and a copy of the compressed data.
            Format::WebP => decoded + width * height * u64::from(info.samples_per_pixel_quarters) / 4 + info.bytes,
            Format::Gif => decoded + info.auxiliary_bytes,
            // The whole picture may be one strip, whose samples lie beside the pixels; the tables are read before.
            Format::Tiff => {
                let samples = crate::decode::tiff_buffer_bytes(info);
                (decoded + samples).max(2 * samples) + info.auxiliary_bytes
            }
            Format::Avif => decoded + av1(info),
            Format::Png => {
                let sample_bits = u64::from(info.components) * u64::from(info.bit_depth);
                let row = (width * sample_bits).div_ceil(8);
                let whole = if streams(plan) { 0 } else { decoded };
                whole + crate::decode::png_buffer_bytes(row) + width * channels
            }
            // The text, twice, and what is made of its elements: a few times as much.
            Format::Svg => decoded + DOCUMENT * info.bytes + 1024 * 1024,
            _ => decoded + 2 * width * 8,
        };
        let (out_width, out_height) = (u64::from(plan.resized.0), u64::from(plan.resized.1));
        let resized = out_width * out_height * channels;
        let pixels = u64::from(plan.width) * u64::from(plan.height);
        let output = pixels * (3 + u64::from(plan.alpha || channels == 4));
        let encoder = match plan.encoding.format {
            Format::Jpeg => {
                // A growing buffer is for a moment there twice.
                let answer = if plan.encoding.quality < 90 { 1 } else { 3 };
                let size = (u64::from(plan.width), u64::from(plan.height));
                crate::encode::jpeg_coefficient_bytes(&plan.encoding, size, channels == 1) + 2 * answer * pixels
            }
            // RGBA twice (here, and in the module's heap), planes, tokens, and the answer.
            Format::WebP => 8 * pixels + 4 * pixels + pixels,
            // RGBA here and on the way; the module's heap, measured with noise, from 1x1 to 1.6 megapixels and in strips
            // 100 pixels wide.
            Format::Avif => {
                let heap = if plan.encoding.quality > 90 { 40 } else { 31 };
                8 * pixels + heap * pixels + 20 * 1024 * 1024
            }
            // Indices, the compressed frame and the answer, growing; the palette's tables.
            Format::Gif => 4 * output + 2 * 1024 * 1024,
            // Planes of floats, and the text.
            Format::Blurhash | Format::Thumbhash => 10 * 8 * pixels,
            // Colours in floating point, indices and the answer.
            Format::Png if plan.encoding.quality_given => output + (crate::encode::BYTES_PER_INDEX + 3) * pixels,
            // Filtered rows and an answer that does not compress, growing.
            _ => 3 * output + 1024 * 1024,
        };
        // Planes are there at their new size before they are joined.
        let resample = match info.format {
            // One layer; more of them are counted when the document is known.
            Format::Svg => decode + 2 * resized,
            _ if plan.looks_at_pixels() => {
                let planes = if stays_planes(plan) && info.components > 1 {
                    u64::from(info.components) * width * height
                } else {
                    0
                };
                let rows = scaler(plan, (width, height), channels);
                // Decoders that give all rows at once give the picture that is looked at; of the others it is made.
                let joined = match info.format {
                    Format::Gif | Format::Bmp | Format::Tiff | Format::Avif => 0,
                    _ => decoded,
                };
                (decode + planes + joined).max(decoded + resized + rows)
            }
            _ if stays_planes(plan) => {
                let components = u64::from(info.components);
                decode + scaler(plan, (width, height), components) + (components + 3) * out_width * out_height
            }
            _ => decode + scaler(plan, (width, height), channels) + resized,
        };
        let blur = match plan.effects.blur {
            Some(_) => crate::pixels::blur_memory(out_width.max(out_height)),
            None => 0,
        };
        // The search keeps the picture, a copy to shrink with the resampler's rows, and the best answer so far.
        let search = if plan.encoding.max_bytes.is_some() {
            3 * output
        } else {
            0
        };
        // The picture with alpha, what is known of each pixel, its share, and the flood's front, which is growing and at
        // worst every second pixel.
        let segment = if plan.segment.is_some() {
            out_width * out_height * (4 + 2 + 6)
        } else {
            0
        };
        // The result is turned or padded into a second one before it is encoded.
        let encode = search + output + encoder.max(output + resized).max(blur).max(segment);
        let marks = |bytes: fn(&Drawing) -> u64| plan.drawings.iter().map(bytes).sum::<u64>();
        let most = plan.drawings.iter().map(Drawing::working_bytes).max();
        // What is drawn is made when the picture has its size, beside a copy of it that is being padded.
        let draw = most.map_or(0, |working| 2 * output + working);
        let source = info.bytes + marks(Drawing::source_bytes);
        let (profile, tables) = profile(plan);
        let answer = answer(plan, pixels);
        let peak = if plan.animated {
            // The decoder keeps its canvas, and for WebP another one; each frame is a copy, for GIF beside what it covers.
            let canvas = decode + 2 * 4 * width * height;
            // The last two pictures, and the part that is written.
            canvas + resample.max(encode.max(draw) + 2 * output) + 2 * answer
        } else {
            decode.max(resample).max(encode).max(draw)
        } + marks(Drawing::bytes);
        Self {
            source,
            profile,
            decode,
            resample,
            encode,
            answer,
            peak: FIXED + source + profile.max(tables + peak),
        }
    }
}

/// Whether rows are resized as they are decoded.
fn streams(plan: &Plan) -> bool {
    let whole = plan.looks_at_pixels() || plan.info.progressive;
    plan.info.format == Format::Png && !whole
}

/// What the resampler holds of a decoded picture: the rows that one resized row is made of, sums and weights.
fn scaler(plan: &Plan, (width, height): (u64, u64), channels: u64) -> u64 {
    let taps = |length: f64, to: u32| (6.0 * (length / f64::from(to.max(1))).max(1.0)).ceil() as u64 + 3;
    let scale = f64::from(plan.decode_scale);
    let least = plan.canvas.0.min(plan.canvas.1);
    let rows = if !plan.looks_at_pixels() {
        taps(plan.region.height / scale, plan.resized.1)
    } else if plan.resolved.options.trim.is_none() {
        // A part that fills the canvas is not made smaller than that.
        taps(width.max(height) as f64, least)
    } else {
        height
    };
    // Weights in double precision until they are rounded: of each sample at most seven, or those of one that is enlarged.
    let weights = |full: u64, to: u32| 12 * 7 * full.max(to.into()) + 64 * u64::from(to);
    let row = width * channels + 64;
    (rows.min(height) + 1) * row
        + 4 * row
        + 24 * (width + 16) * channels
        + weights(width, plan.resized.0)
        + weights(height, plan.resized.1)
}

/// Whether the decoder returns luminance and chroma apart.
fn stays_planes(plan: &Plan) -> bool {
    let info = &plan.info;
    match info.format {
        Format::Jpeg => true,
        Format::WebP => info.samples_per_pixel_quarters == 6 && !info.alpha,
        _ => false,
    }
}

/// The AV1 decoder with its planes, another set where it adds film grain, a copy, and one of the data. The parts of a grid
/// are decoded one by one, but how large they are is not known here.
fn av1(info: &ImageInfo) -> u64 {
    let pixels = u64::from(info.width) * u64::from(info.height);
    let bytes = if info.bit_depth > 8 { 2 } else { 1 };
    let planes = pixels.max(info.coded_pixels) * u64::from(info.samples_per_pixel_quarters) / 4 * bytes;
    3 * planes + planes / 8 + info.bytes + AV1_DECODER
}

/// The decoder's tables and what it knows of a row of blocks.
const AV1_DECODER: u64 = 6 * 1024 * 1024;

/// Bytes that an animated answer may have: far more than pictures take, far less than noise does.
fn answer(plan: &Plan, pixels: u64) -> u64 {
    if !plan.animated {
        return 0;
    }
    let all = pixels.saturating_mul(u64::from(plan.info.frames.unwrap_or(1)));
    let bytes = if plan.encoding.format == Format::Gif {
        all
    } else {
        all / 2
    };
    bytes.max(1024 * 1024)
}

/// The profile while its conversion is made, and the conversion's tables.
fn profile(plan: &Plan) -> (u64, u64) {
    let info = &plan.info;
    if !info.color_profile {
        return (0, 0);
    }
    // Compressed it says nothing of its size but that the limit holds.
    let bytes = if info.format == Format::Png {
        4 * 1024 * 1024
    } else {
        info.profile_bytes
    };
    // The file's tables are read as floating-point numbers, of which there are up to four bytes for each of its own.
    (5 * bytes + TABLES, TABLES)
}

/// Curves, or a grid of colours where the profile has one.
const TABLES: u64 = 3 * 1024 * 1024;

/// Channels of the decoded picture, alpha included.
fn decoded_channels(plan: &Plan) -> u64 {
    match (plan.info.format, plan.info.components) {
        (Format::Jpeg | Format::Tiff | Format::Avif, 1) => 1,
        (Format::Jpeg, _) => 3,
        (Format::Png, 1) if !plan.info.alpha => 3,
        (Format::Png, _) if plan.info.alpha => 4,
        (Format::Gif, _) => 4,
        _ => 3 + u64::from(plan.info.alpha),
    }
}
