//! Which options this engine does not do. They are parsed and checked like the others, and then refused, never ignored.

use super::{Fault, ImageOptions, OptionError, OutputFormat};

impl ImageOptions {
    /// Every option here that the engine would have to ignore. Empty for options that it can carry out.
    ///
    /// To be asked once presets are merged in.
    #[must_use]
    pub fn unsupported(&self) -> Vec<OptionError> {
        let mut errors = Vec::new();
        let mut refuse = |name: &str, value: String, instead: &'static str| {
            errors.push(OptionError::new(name, &value, Fault::Unsupported, instead));
        };
        if let Some(format @ OutputFormat::Svg) = self.format {
            refuse(
                "format",
                format.to_string(),
                "auto, avif, webp, jpeg, baseline-jpeg, png, png-force, gif, json, blurhash or thumbhash",
            );
        }
        let mut without = |given: bool, name: &str| {
            if given {
                refuse(name, String::new(), "leave it out");
            }
        };
        without(self.draw.is_some(), "draw");
        without(self.branding.is_some_and(|branding| branding.0), "branding");
        errors
    }
}
