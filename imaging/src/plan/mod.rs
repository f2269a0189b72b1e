//! What will be done, decided from the header alone: sizes, decode scale, format, memory. Pure.

mod drawing;
mod fit;
mod memory;
mod open;
mod scale;

pub(crate) use drawing::Drawing;
pub use fit::{Placement, place};
pub use memory::Memory;

use self::scale::{decode_scale, full_chroma};
use crate::options::{
    Border, Brightness, Color, Compression, Contrast, Decimal, Dpr, FilterName, Fit, Gamma, MaxBytes, Metadata,
    OptionError, OutputFormat, Pixels, Saturation, Segment, Sharpen, Sides, Switch, Tolerance, Trim, Width, Zoom,
};
use crate::{
    Best, Fault, Format, FormatChoice, ImageError, ImageInfo, ImageOptions, LimitKind, Limits, Orientation, Region,
    Resolved, placeholder,
};

/// Which injected codec a plan needs; the caller may have to load it first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// libwebp's encoder.
    WebP,
    /// libaom's encoder.
    Avif,
    /// The AV1 decoder, which AVIF sources need.
    Av1,
}

/// Changes of colour after the resize, in the order they are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Effects {
    /// Standard deviation of the Gaussian blur, in pixels of the answer.
    pub blur: Option<Decimal>,
    /// Amount of the unsharp mask.
    pub sharpen: Option<Decimal>,
    /// Gamma; above 1 lightens.
    pub gamma: Option<Decimal>,
    /// Factor on lightness.
    pub brightness: Option<Decimal>,
    /// Factor on contrast.
    pub contrast: Option<Decimal>,
    /// Factor on chroma.
    pub saturation: Option<Decimal>,
    /// Named look.
    pub filter: Option<FilterName>,
}

impl Effects {
    /// Whether nothing changes.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// How the answer is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// Format of the answer.
    pub format: Format,
    /// Perceived quality, 1 to 100.
    pub quality: u8,
    /// Whether a quality was asked for, which permits a palette in PNG.
    pub quality_given: bool,
    /// Whether JPEG may be progressive.
    pub progressive: bool,
    /// Whether time matters more than bytes, or bytes more than time.
    pub compression: Option<Compression>,
    /// What of the source's metadata is kept.
    pub metadata: Metadata,
    /// Bytes that the answer may have at most.
    pub max_bytes: Option<u64>,
}

impl Encoding {
    /// Whether time matters more than bytes.
    #[must_use]
    pub fn is_fast(&self) -> bool {
        self.compression == Some(Compression::Fast)
    }

    /// Whether bytes matter more than time.
    #[must_use]
    pub fn is_small(&self) -> bool {
        self.compression == Some(Compression::Small)
    }
}

/// How far a background may be from its colour where nothing else is asked for.
const SEGMENT_TOLERANCE: u8 = 12;

/// Everything that [`crate::transform()`] will do.
///
/// What is only seen in the pixels is not in it yet: with `trim=border` and `gravity=auto` it is the plan for the whole
/// picture, and one that keeps its middle, whose memory is enough for whatever may be found.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The source.
    pub info: ImageInfo,
    /// The source is decoded at 1 / this: 1, 2, 4 or 8.
    pub decode_scale: u8,
    /// Whether chroma is wanted at the resolution of the rest: the answer keeps it, and is not that much smaller.
    pub full_chroma: bool,
    /// What is resampled, in pixels of the stored source.
    pub region: Region,
    /// What it is resampled to, in the stored orientation.
    pub resized: (u32, u32),
    /// How the resized pixels are turned: EXIF, `flip` and `rotate` together.
    pub orientation: Orientation,
    /// Size that the turned pixels are padded to.
    pub canvas: (u32, u32),
    /// Where the pixels lie on the canvas: left, top.
    pub at: (u32, u32),
    /// Where the background is removed: how far from its colour it may be, in hundredths of OKLab's lightness.
    pub segment: Option<u8>,
    /// Colour under transparency and on the rest of the canvas.
    pub background: Option<Color>,
    /// Changes of colour.
    pub effects: Effects,
    /// Frame around the canvas, already scaled by `dpr`.
    pub border: Option<Border>,
    /// Whether the answer has an alpha channel.
    pub alpha: bool,
    /// Whether every frame is answered, not the first alone.
    pub animated: bool,
    /// Width of the answer, in pixels.
    pub width: u32,
    /// Height of the answer, in pixels.
    pub height: u32,
    /// How it is encoded.
    pub encoding: Encoding,
    /// What it will take.
    pub memory: Memory,
    /// What is drawn over the canvas.
    pub(crate) drawings: Vec<Drawing>,
    /// The stored picture among it.
    pub(crate) overlay: Option<ImageInfo>,
    /// What is left of the upright picture after `trim`.
    pub(crate) kept: Rectangle,
    /// What was asked for.
    pub(crate) resolved: Resolved,
}

/// A part of a picture, in whole pixels: left, top, width, height.
pub(crate) type Rectangle = (u32, u32, u32, u32);

impl Plan {
    /// The injected codecs that are needed: at most a decoder and an encoder.
    pub fn codecs(&self) -> impl Iterator<Item = Codec> {
        let drawn = self.drawings.iter().filter_map(|drawing| drawing.picture.as_deref());
        let is_read = core::iter::once(self)
            .chain(drawn)
            .any(|plan| plan.info.format == Format::Avif);
        let decoder = (is_read && self.encoding.format != Format::Json).then_some(Codec::Av1);
        let encoder = match self.encoding.format {
            Format::WebP => Some(Codec::WebP),
            Format::Avif => Some(Codec::Avif),
            _ => None,
        };
        decoder.into_iter().chain(encoder)
    }

    /// Whether fewer bytes can be had at the same size.
    pub(crate) fn has_quality(&self) -> bool {
        match self.encoding.format {
            Format::Jpeg | Format::WebP | Format::Avif => true,
            Format::Png => self.encoding.quality_given,
            _ => false,
        }
    }

    /// `flip` and `rotate`.
    pub(crate) fn turn(&self) -> Orientation {
        self.resolved.turn()
    }
}

/// Plans a transform.
///
/// # Errors
/// [`ImageError::BadOptions`] for options that do not fit this picture, [`ImageError::UnsupportedFormat`]
/// for what cannot be read or written, [`ImageError::TooLarge`] where a limit is passed, the memory among them
/// ([`ImageError::is_heavy`]).
pub fn plan(info: &ImageInfo, resolved: &Resolved, limits: &Limits) -> Result<Plan, ImageError> {
    info.check(limits)?;
    let plan = lay_out(info, resolved, limits, trim(resolved, info.upright_size())?, None)?;
    if plan.encoding.format == Format::Json {
        return Ok(plan);
    }
    readable(info)?;
    plan.measured(limits)
}

impl Plan {
    /// With what it takes.
    fn measured(self, limits: &Limits) -> Result<Self, ImageError> {
        let plan = if self.is_open() {
            self.decode_finely(limits)
        } else {
            self.decode_well(limits)
        };
        refuse(LimitKind::Memory, plan.memory.peak, limits.memory_bytes)?;
        Ok(plan)
    }
}

fn refuse(what: LimitKind, value: u64, limit: u64) -> Result<(), ImageError> {
    if value > limit {
        Err(ImageError::TooLarge { what, limit, value })
    } else {
        Ok(())
    }
}

/// Everything of a plan but its memory, for a part of the upright picture.
fn lay_out(
    info: &ImageInfo,
    resolved: &Resolved,
    limits: &Limits,
    trimmed: Rectangle,
    overlay: Option<&ImageInfo>,
) -> Result<Plan, ImageError> {
    let options = &resolved.options;
    let turn = resolved.turn();
    let turned = turn.size((trimmed.2, trimmed.3));
    let (width, height) = resolved.size();
    let mut placed = place(turned, width, height, resolved.fit(), options.gravity);

    let mut border = options.border.map(|border| Border {
        sides: scale_sides(border.sides, resolved.dpr()),
        ..border
    });
    let region = stored_region(info, trimmed, turn, turned, &placed);
    let (mut width, mut height) = framed(placed.canvas, border);
    let longer = width.max(height);
    let is_placeholder = matches!(
        resolved.format,
        FormatChoice::Given(OutputFormat::Blurhash | OutputFormat::Thumbhash)
    );
    if is_placeholder && longer > placeholder::SIDE {
        placed = placed.shrunk(placeholder::SIDE, longer);
        border = border.map(|border| Border {
            sides: border.sides.map(|side| shrink(side, placeholder::SIDE, longer)),
            ..border
        });
        (width, height) = framed(placed.canvas, border);
    }
    refuse(
        LimitKind::OutputSide,
        u64::from(width.max(height)),
        u64::from(limits.output_side),
    )?;
    refuse(
        LimitKind::OutputPixels,
        u64::from(width) * u64::from(height),
        limits.output_pixels,
    )?;

    let orientation = info.orientation.then(turn);
    let resized = orientation.size((placed.window.2, placed.window.3));

    // A border may be found that leaves another aspect ratio, and the format is decided before it is looked for.
    let padded = placed.canvas != (placed.window.2, placed.window.3)
        || (resolved.fit() == Fit::Pad && options.trim == Some(Trim::Border));
    let translucent = |color: Color| !color.is_opaque();
    let mut background = options.background.or(padded.then_some(Color::WHITE));
    let segment = options
        .segment
        .map(|Segment::Foreground| options.tolerance.map_or(SEGMENT_TOLERANCE, Tolerance::get));
    let source_alpha = info.alpha || segment.is_some();
    let alpha = (source_alpha && background.is_none_or(translucent))
        || (padded && background.is_some_and(translucent))
        || border.is_some_and(|border| translucent(border.color));
    let encoding = encoding(info, resolved, alpha, u64::from(width) * u64::from(height))?;
    let has_no_alpha = matches!(encoding.format, Format::Jpeg | Format::Blurhash);
    let alpha = alpha && !has_no_alpha;
    if has_no_alpha && (source_alpha || background.is_some()) {
        background = Some(over_white(background.unwrap_or(Color::WHITE)));
    }

    // A placeholder is too small to show them.
    let drawings = if is_placeholder {
        Vec::new()
    } else {
        drawing::drawings(resolved, placed.canvas, overlay, limits)?
    };
    let decode_scale = decode_scale(info, region, resized);
    Ok(Plan {
        info: info.clone(),
        decode_scale,
        full_chroma: full_chroma(&encoding, decode_scale, region, resized),
        region,
        resized,
        orientation,
        canvas: placed.canvas,
        at: placed.at,
        segment,
        background,
        effects: effects(resolved, is_placeholder),
        border,
        alpha,
        animated: animated(info, options.anim) && matches!(encoding.format, Format::Gif | Format::WebP),
        width,
        height,
        encoding,
        memory: Memory::default(),
        drawings,
        overlay: overlay.cloned(),
        kept: trimmed,
        resolved: resolved.clone(),
    })
}

impl Resolved {
    pub(crate) fn dpr(&self) -> Decimal {
        self.options.dpr.map_or(Decimal::ONE, Dpr::get)
    }

    pub(crate) fn fit(&self) -> Fit {
        self.options.fit.unwrap_or(Fit::ScaleDown)
    }

    pub(crate) fn zoom(&self) -> Decimal {
        self.options.zoom.map_or(Decimal::ZERO, Zoom::get)
    }

    /// `flip` and `rotate`.
    fn turn(&self) -> Orientation {
        self.options
            .flip
            .map_or(Orientation::UPRIGHT, Orientation::from)
            .then(self.options.rotate.map_or(Orientation::UPRIGHT, Orientation::from))
    }

    /// Width and height that are asked for, scaled by `dpr`.
    pub(crate) fn size(&self) -> (Option<u32>, Option<u32>) {
        let side = |pixels: u32| self.dpr().scale(pixels).max(1);
        let width = self.options.width.and_then(|width| match width {
            Width::Pixels(pixels) => Some(side(pixels)),
            Width::Auto => None,
        });
        (width, self.options.height.map(|height| side(height.get())))
    }
}

/// What is left of the upright picture after `trim`: left, top, width, height.
fn trim(resolved: &Resolved, (width, height): (u32, u32)) -> Result<Rectangle, ImageError> {
    let (options, dpr) = (&resolved.options, resolved.dpr());
    let (left, top, right, bottom, name) = match options.trim {
        Some(Trim::Sides(sides)) => {
            let Sides {
                top,
                right,
                bottom,
                left,
            } = scale_sides(sides, dpr);
            (
                left,
                top,
                width.saturating_sub(right),
                height.saturating_sub(bottom),
                "trim",
            )
        }
        Some(Trim::Border) | None => {
            let left = dpr.scale(options.trim_left.map_or(0, Pixels::get));
            let top = dpr.scale(options.trim_top.map_or(0, Pixels::get));
            let end = |from: u32, kept: Option<u32>, whole: u32| {
                kept.map_or(whole, |kept| from.saturating_add(dpr.scale(kept).max(1)).min(whole))
            };
            let right = end(left, options.trim_width.map(Pixels::get), width);
            let bottom = end(top, options.trim_height.map(Pixels::get), height);
            (
                left,
                top,
                right,
                bottom,
                if left >= width { "trim.left" } else { "trim.top" },
            )
        }
    };
    if left >= right || top >= bottom {
        let error = OptionError::new(
            name,
            "",
            Fault::Conflict,
            "at least one pixel of the picture has to be left",
        );
        return Err(ImageError::BadOptions(vec![error]));
    }
    Ok((left, top, right - left, bottom - top))
}

fn scale_sides(sides: Sides, dpr: Decimal) -> Sides {
    sides.map(|side| dpr.scale(side))
}

/// A side of a picture that is made `most` instead of `longer` pixels long.
fn shrink(side: u32, most: u32, longer: u32) -> u32 {
    (u64::from(side) * u64::from(most) / u64::from(longer.max(1))) as u32
}

/// Size of a canvas with its border.
fn framed(canvas: (u32, u32), border: Option<Border>) -> (u32, u32) {
    border.map_or(canvas, |Border { sides, .. }| {
        let sum = |a: u32, b: u32, c: u32| a.saturating_add(b).saturating_add(c);
        (
            sum(canvas.0, sides.left, sides.right),
            sum(canvas.1, sides.top, sides.bottom),
        )
    })
}

/// Where the pixels of the placement's window come from in the stored picture.
///
/// Cutting before resampling gives the same pixels as cutting after it, because the filter still sees beyond the cut.
fn stored_region(
    info: &ImageInfo,
    trimmed: Rectangle,
    turn: Orientation,
    turned: (u32, u32),
    placed: &Placement,
) -> Region {
    let (left, top, width, height) = placed.window;
    let x = f64::from(turned.0) / f64::from(placed.scaled.0);
    let y = f64::from(turned.1) / f64::from(placed.scaled.1);
    let window = Region {
        left: f64::from(left) * x,
        top: f64::from(top) * y,
        width: f64::from(width) * x,
        height: f64::from(height) * y,
    };
    let before_turn = turn.region_before(window, (f64::from(turned.0), f64::from(turned.1)));
    let upright = Region {
        left: before_turn.left + f64::from(trimmed.0),
        top: before_turn.top + f64::from(trimmed.1),
        ..before_turn
    };
    let (upright_width, upright_height) = info.upright_size();
    info.orientation
        .region_before(upright, (f64::from(upright_width), f64::from(upright_height)))
}

/// A translucent background under a format without alpha lies on white itself.
fn over_white(color: Color) -> Color {
    let channel =
        |value: u8| ((u32::from(value) * u32::from(color.a) + 255 * (255 - u32::from(color.a)) + 127) / 255) as u8;
    Color {
        r: channel(color.r),
        g: channel(color.g),
        b: channel(color.b),
        a: 255,
    }
}

/// What a placeholder shows is softer than any blur that makes sense, and its size is not the one that was asked for.
fn effects(resolved: &Resolved, is_placeholder: bool) -> Effects {
    let options = &resolved.options;
    let none = |value: Decimal| value != Decimal::ONE && value != Decimal::ZERO;
    Effects {
        blur: options.blur.filter(|_| !is_placeholder).map(|blur| blur.get().half()),
        sharpen: options
            .sharpen
            .map(Sharpen::get)
            .filter(|amount| *amount != Decimal::ZERO && !is_placeholder),
        gamma: options.gamma.map(Gamma::get).filter(|gamma| none(*gamma)),
        brightness: options.brightness.map(Brightness::get).filter(|factor| none(*factor)),
        contrast: options.contrast.map(Contrast::get).filter(|factor| none(*factor)),
        saturation: options
            .saturation
            .map(Saturation::get)
            .filter(|factor| *factor != Decimal::ONE),
        filter: options.filter,
    }
}

fn encoding(info: &ImageInfo, resolved: &Resolved, alpha: bool, pixels: u64) -> Result<Encoding, ImageError> {
    let classic = if alpha { Format::Png } else { Format::Jpeg };
    let format = match resolved.format {
        FormatChoice::Given(OutputFormat::Avif) => Format::Avif,
        FormatChoice::Auto(Best::Avif)
            if pixels <= crate::encode::AUTOMATIC_AVIF_PIXELS && !animated(info, resolved.options.anim) =>
        {
            Format::Avif
        }
        FormatChoice::Given(OutputFormat::WebP) | FormatChoice::Auto(Best::Avif | Best::WebP) => Format::WebP,
        FormatChoice::Given(OutputFormat::Jpeg | OutputFormat::BaselineJpeg) => Format::Jpeg,
        FormatChoice::Given(OutputFormat::Png | OutputFormat::PngForce) => Format::Png,
        FormatChoice::Given(OutputFormat::Gif) => Format::Gif,
        FormatChoice::Given(OutputFormat::Json) => Format::Json,
        FormatChoice::Given(OutputFormat::Blurhash) => Format::Blurhash,
        FormatChoice::Given(OutputFormat::Thumbhash) => Format::Thumbhash,
        FormatChoice::Given(OutputFormat::Svg) => sanitised(info, resolved)?,
        FormatChoice::Given(OutputFormat::Auto) => {
            return Err(ImageError::Internal("an unsettled format was let through"));
        }
        // The one classic format that moves.
        FormatChoice::Auto(Best::Classic) if animated(info, resolved.options.anim) => Format::Gif,
        FormatChoice::Auto(Best::Classic) => classic,
        FormatChoice::Source => match info.format {
            // What has just been made transparent is not painted over because of where it came from.
            Format::Jpeg if alpha && resolved.options.segment.is_some() => Format::Png,
            same @ (Format::Jpeg | Format::Png | Format::WebP | Format::Gif | Format::Avif) => same,
            _ => classic,
        },
    };
    Ok(Encoding {
        format,
        quality: resolved.quality().get(),
        quality_given: resolved.options.quality.is_some()
            && resolved.format != FormatChoice::Given(OutputFormat::PngForce),
        progressive: resolved.format != FormatChoice::Given(OutputFormat::BaselineJpeg),
        compression: resolved.options.compression,
        metadata: resolved.options.metadata.unwrap_or(Metadata::Copyright),
        max_bytes: resolved.options.max_bytes.map(MaxBytes::get),
    })
}

/// `format=svg`: the document itself, sanitised. There is nothing else that could be done to it.
fn sanitised(info: &ImageInfo, resolved: &Resolved) -> Result<Format, ImageError> {
    if info.format != Format::Svg {
        return Err(ImageError::unsupported(
            info.format,
            "only an SVG source is answered as SVG",
        ));
    }
    let options = ImageOptions {
        anim: None,
        compression: None,
        max_bytes: None,
        metadata: None,
        onerror: None,
        quality: None,
        ..resolved.options.clone()
    };
    let ignored = |(name, value): (&'static str, String)| {
        OptionError::new(
            name,
            &value,
            Fault::Conflict,
            "format=svg answers the document as it is",
        )
    };
    let mut errors: Vec<OptionError> = options.parts().into_iter().map(ignored).collect();
    errors.extend(
        resolved
            .branding
            .as_ref()
            .map(|draw| ignored(("branding", draw.to_string()))),
    );
    if errors.is_empty() {
        Ok(Format::Svg)
    } else {
        Err(ImageError::BadOptions(errors))
    }
}

/// Whether a source moves and is not to be stopped.
fn animated(info: &ImageInfo, anim: Option<Switch<true>>) -> bool {
    info.frames != Some(1) && anim.is_none_or(|anim| anim.0)
}

/// Refuses sources that the decoders would refuse, before any of their bytes are read.
fn readable(info: &ImageInfo) -> Result<(), ImageError> {
    if !info.decodable {
        let what = match info.format {
            Format::Jpeg => {
                "only baseline and progressive Huffman-coded JPEG of 8 bits with 1, 3 or 4 components is read"
                    .to_owned()
            }
            other => format!("{other} is not read by this engine"),
        };
        return Err(ImageError::unsupported(info.format, what));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
