//! The option grammar of `/img/<options>/<source>`: parsed once, range-checked, and printed in one normal form.
//!
//! What the values mean lives with the code that does it; what is not done by this build is named in `support`.

mod color;
mod decimal;
mod draw;
mod edges;
mod effects;
mod error;
mod geometry;
mod output;
mod preset;
mod segment;
mod signed;
mod value;

pub use color::Color;
pub use decimal::Decimal;
pub use draw::{Draw, Extent, Overlay, Repeat};
pub use edges::{Border, Pixels, Segment, Sides, Tolerance, Trim};
pub use effects::{Blur, Brightness, Contrast, FilterName, Gamma, Saturation, Sharpen};
pub(crate) use error::describe;
pub use error::{Fault, OptionError};
pub use geometry::{Dpr, Fit, Flip, Gravity, Height, MAX_SIDE, Rotate, Upscale, Width, Zoom};
pub use output::{Compression, MaxBytes, Metadata, OnError, OutputFormat, Quality};
pub use preset::{Preset, PresetName};
pub use signed::SignedPath;
pub use value::Switch;

pub(crate) use segment::{Part, join};
use signed::{Expiry, Signature};
pub(crate) use value::OptionValue;

/// One list of all options: fields, names, parsing, precedence and normal form follow from it.
macro_rules! options {
    ($($(#[$meta:meta])* $field:ident: $type:ty = $name:literal $(| $alias:literal)*;)*) => {
        /// What a request asks for. A field is `None` where the address says nothing, so that a preset can say it.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
        pub struct ImageOptions {
            $($(#[$meta])* pub $field: Option<$type>,)*
            /// When the address expires, in Unix seconds. Not part of the normal form.
            pub exp: Option<u64>,
            /// The address's signature, lower-case hexadecimal. Not part of the normal form.
            pub sig: Option<String>,
        }

        impl ImageOptions {
            fn set(&mut self, part: &Part<'_>, value: &str) -> Result<(), OptionError> {
                match part.name {
                    $($name $(| $alias)* => fill(&mut self.$field, $name, value),)*
                    _ => Err(OptionError::new(part.name, value, Fault::Unknown, "")),
                }
            }

            /// Puts these options over a preset's: where both speak, these win.
            ///
            /// The preset's name is gone afterwards: what it stood for is in. What contradicts these options is not: who
            /// says how to trim is not answered with what is left of the preset's way.
            #[must_use]
            pub fn merge_under(self, preset: &Self) -> Self {
                let preset = &preset.beside(&self);
                let mut merged = Self {
                    $($field: self.$field.or_else(|| preset.$field.clone()),)*
                    exp: self.exp,
                    sig: self.sig,
                };
                merged.preset = None;
                // A preset that goes without the mark stays without it; an address can only do without it too.
                if let (Some(asked), Some(allowed)) = (self.branding, preset.branding) {
                    merged.branding = Some(Switch(asked.0 && allowed.0));
                }
                merged
            }

            /// Normal form's parts, by long name.
            pub(crate) fn parts(&self) -> Vec<(&'static str, String)> {
                let mut parts = Vec::new();
                // Until a named preset is merged in, a given default still overrides what the preset says.
                let keep_defaults = self.preset.is_some();
                $(if let Some(value) = &self.$field && (keep_defaults || !value.is_default()) {
                    parts.push(($name, value.to_string()));
                })*
                parts
            }

            /// Long names of all options but `exp` and `sig`.
            pub const NAMES: &'static [&'static str] = &[$($name,)*];
        }
    };
}

options! {
    /// Whether the animation is kept.
    anim: Switch<true> = "anim";
    /// Colour under transparency and in padding.
    background: Color = "background" | "bg";
    /// Gaussian blur.
    blur: Blur = "blur";
    /// Frame added after the resize.
    border: Border = "border";
    /// The tenant's watermark, where the preset allows it too.
    branding: Switch<false> = "branding";
    /// Factor on lightness.
    brightness: Brightness = "brightness";
    /// Cheaper encoding.
    compression: Compression = "compression";
    /// Factor on contrast.
    contrast: Contrast = "contrast";
    /// Device pixels per CSS pixel; scales width, height, trim and border.
    dpr: Dpr = "dpr";
    /// Watermark picture or text.
    draw: Draw = "draw";
    /// Named filter.
    filter: FilterName = "filter";
    /// How the picture meets its box.
    fit: Fit = "fit";
    /// Mirroring.
    flip: Flip = "flip";
    /// Output format.
    format: OutputFormat = "format" | "f";
    /// Gamma.
    gamma: Gamma = "gamma";
    /// Where cutting keeps.
    gravity: Gravity = "gravity" | "g";
    /// Height of the box.
    height: Height = "height" | "h";
    /// Bytes that the answer may have.
    max_bytes: MaxBytes = "max-bytes";
    /// Which metadata is kept.
    metadata: Metadata = "metadata";
    /// What is answered instead of an error.
    onerror: OnError = "onerror";
    /// Preset that fills what is not given.
    preset: PresetName = "preset" | "p";
    /// Perceived quality.
    quality: Quality = "quality" | "q";
    /// Rotation before the resize.
    rotate: Rotate = "rotate";
    /// Factor on chroma.
    saturation: Saturation = "saturation";
    /// Background removal.
    segment: Segment = "segment";
    /// Unsharp mask.
    sharpen: Sharpen = "sharpen";
    /// Quality on slow connections.
    slow_connection_quality: Quality = "slow-connection-quality" | "scq";
    /// Tolerance of the background removal.
    tolerance: Tolerance<60> = "tolerance";
    /// What is cut off first.
    trim: Trim = "trim";
    /// Colour of the border that `trim=border` looks for.
    trim_border_color: Color = "trim.border.color";
    /// Pixels of the found border that stay.
    trim_border_keep: Pixels<0> = "trim.border.keep";
    /// How far from its colour the border may be.
    trim_border_tolerance: Tolerance<255> = "trim.border.tolerance";
    /// Height that is kept.
    trim_height: Pixels<1> = "trim.height";
    /// Pixels cut off on the left.
    trim_left: Pixels<0> = "trim.left";
    /// Pixels cut off at the top.
    trim_top: Pixels<0> = "trim.top";
    /// Width that is kept.
    trim_width: Pixels<1> = "trim.width";
    /// How enlarging makes pixels.
    upscale: Upscale = "upscale";
    /// Width of the box.
    width: Width = "width" | "w";
    /// How closely `gravity=auto` crops.
    zoom: Zoom = "zoom" | "face-zoom";
}

fn fill<T: OptionValue>(slot: &mut Option<T>, name: &'static str, value: &str) -> Result<(), OptionError> {
    if slot.is_some() {
        return Err(OptionError::new(name, value, Fault::Duplicate, ""));
    }
    match T::parse(value) {
        Some(parsed) => {
            *slot = Some(parsed);
            Ok(())
        }
        None => Err(OptionError::new(name, value, Fault::Value, T::ALLOWED)),
    }
}

/// Options that an address may hold: each long name once, and some room for repetitions to be named.
const MAX_PARTS: usize = 64;

impl ImageOptions {
    /// Reads the raw, still percent-encoded options segment of an address.
    ///
    /// # Errors
    /// Every fault of the segment, in the order of the address.
    pub fn parse(raw_segment: &str) -> Result<Self, Vec<OptionError>> {
        let mut options = Self::default();
        let mut errors = Vec::new();
        let parts: Vec<&str> = segment::split(raw_segment).take(MAX_PARTS + 1).collect();
        if parts.len() > MAX_PARTS {
            return Err(vec![OptionError::new(
                "options",
                "",
                Fault::Value,
                "at most 64 options",
            )]);
        }
        for (index, raw) in parts.iter().enumerate() {
            let from_end = parts.len() - 1 - index;
            if let Err(error) = options.read(raw, from_end) {
                errors.push(error);
            }
        }
        if options.exp.is_some() && options.sig.is_none() && !parts.iter().any(|part| part.starts_with("sig=")) {
            errors.push(OptionError::new(
                "exp",
                "",
                Fault::Conflict,
                "exp only counts in a signed address: exp and then sig, the two last",
            ));
        }
        errors.extend(options.conflicts());
        if errors.is_empty() { Ok(options) } else { Err(errors) }
    }

    fn read(&mut self, raw: &str, from_end: usize) -> Result<(), OptionError> {
        let part = Part::read(raw)?;
        let value = part.decode()?;
        match part.name {
            "exp" | "sig" if from_end != usize::from(part.name == "exp") && from_end != 0 => Err(OptionError::new(
                part.name,
                &value,
                Fault::Conflict,
                "exp and then sig are the two last options",
            )),
            "exp" => {
                let mut slot = self.exp.map(Expiry);
                fill(&mut slot, "exp", &value)?;
                self.exp = slot.map(|expiry| expiry.0);
                Ok(())
            }
            "sig" => {
                let mut slot = self.sig.take().map(Signature);
                let filled = fill(&mut slot, "sig", &value);
                self.sig = slot.map(|signature| signature.0);
                filled
            }
            _ => self.set(&part, &value),
        }
    }

    /// What of a preset does not contradict an address.
    fn beside(&self, address: &Self) -> Self {
        let mut rest = self.clone();
        let rectangle = address.trims_to_rectangle();
        if rectangle {
            rest.trim = None;
        }
        if address.trim.is_some() {
            rest.trim_left = None;
            rest.trim_top = None;
            rest.trim_width = None;
            rest.trim_height = None;
        }
        if rectangle || address.trim.as_ref().is_some_and(|trim| *trim != Trim::Border) {
            rest.trim_border_color = None;
            rest.trim_border_keep = None;
            rest.trim_border_tolerance = None;
        }
        rest
    }

    const fn trims_to_rectangle(&self) -> bool {
        self.trim_left.is_some() || self.trim_top.is_some() || self.trim_width.is_some() || self.trim_height.is_some()
    }

    /// Options that contradict each other.
    fn conflicts(&self) -> Vec<OptionError> {
        let mut errors = Vec::new();
        let mut conflict = |given: bool, name: &str, rule: &'static str| {
            if given {
                errors.push(OptionError::new(name, "", Fault::Conflict, rule));
            }
        };
        conflict(
            self.trims_to_rectangle() && self.trim.is_some(),
            "trim",
            "either trim or trim.left, trim.top, trim.width and trim.height",
        );
        let border = self.trim == Some(Trim::Border);
        let rule = "only counts with trim=border";
        conflict(self.trim_border_color.is_some() && !border, "trim.border.color", rule);
        conflict(self.trim_border_keep.is_some() && !border, "trim.border.keep", rule);
        conflict(
            self.trim_border_tolerance.is_some() && !border,
            "trim.border.tolerance",
            rule,
        );
        errors
    }

    /// The one spelling of these options: long names, sorted, defaults dropped, values in their shortest form.
    ///
    /// It parses to options with the same normal form. `exp` and `sig` are no part of it.
    #[must_use]
    pub fn normal_form(&self) -> String {
        join(self.parts())
    }
}

#[cfg(test)]
mod tests;
