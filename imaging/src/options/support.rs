//! Which options this engine does not do. They are parsed and checked like the others, and then refused, never ignored.

use super::{Fault, ImageOptions, Metadata, OptionError};

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
        if let Some(metadata @ Metadata::Keep) = self.metadata {
            refuse("metadata", metadata.to_string(), "copyright or none");
        }
        errors
    }
}
