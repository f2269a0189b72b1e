//! OPTIONS and OUTPUT's extension, brought together.

use kado_imaging::{ClientHints, Encoders, ImageOptions, Resolved, negotiate, options::OutputFormat};
use std::path::Path;

use crate::ImageCommandError;

/// Encoders that are linked in.
const ENCODERS: Encoders = Encoders { webp: true, avif: true };
/// Who runs a command takes every kind of picture.
const ACCEPT: &str = "image/avif,image/webp";

/// Options that were read, without a format where none was named.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    options: ImageOptions,
}

impl Wish {
    pub(crate) fn parse(text: &str) -> Result<Self, ImageCommandError> {
        let options = ImageOptions::parse(text).map_err(|errors| ImageCommandError::options(&errors))?;
        if options.preset.is_some() {
            return Err(ImageCommandError::usage(
                "preset: presets are a tenant's settings, which this command does not read",
            ));
        }
        Ok(Self { options })
    }

    /// Options for an answer whose name does not matter.
    pub(crate) fn resolve(&self) -> Resolved {
        resolved(self.options.clone())
    }

    /// Options for an answer of this name, whose extension decides the format where nothing else does.
    pub(crate) fn resolve_for(&self, output: &Path) -> Result<Resolved, ImageCommandError> {
        let by_name = extension(output).and_then(|extension| by_extension(&extension));
        let asked = self.options.format.filter(|format| *format != OutputFormat::Auto);
        let format = match (asked, by_name) {
            (Some(asked), Some(by_name)) if kind(asked) != kind(by_name) => {
                return Err(ImageCommandError::usage(format!(
                    "format={asked} contradicts the name {}",
                    output.display()
                )));
            }
            (Some(asked), _) => asked,
            (None, Some(by_name)) => by_name,
            (None, None) => {
                return Err(ImageCommandError::usage(format!(
                    "{}: the extension names no format that is written; name one, as in format=webp",
                    output.display()
                )));
            }
        };
        Ok(resolved(ImageOptions {
            format: Some(format),
            ..self.options.clone()
        }))
    }
}

fn resolved(options: ImageOptions) -> Resolved {
    let hints = ClientHints {
        accept: Some(ACCEPT.to_owned()),
        ..ClientHints::default()
    };
    negotiate(options, &hints, ENCODERS).resolved
}

/// Lower-case, without the dot.
fn extension(path: &Path) -> Option<String> {
    Some(path.extension()?.to_str()?.to_ascii_lowercase())
}

fn by_extension(extension: &str) -> Option<OutputFormat> {
    Some(match extension {
        "jpg" | "jpeg" | "jpe" | "jfif" => OutputFormat::Jpeg,
        "png" => OutputFormat::Png,
        "webp" => OutputFormat::WebP,
        "avif" => OutputFormat::Avif,
        "gif" => OutputFormat::Gif,
        "svg" => OutputFormat::Svg,
        "json" => OutputFormat::Json,
        _ => return None,
    })
}

/// The format without how it is coded.
fn kind(format: OutputFormat) -> OutputFormat {
    match format {
        OutputFormat::BaselineJpeg => OutputFormat::Jpeg,
        OutputFormat::PngForce => OutputFormat::Png,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::Wish;
    use std::path::Path;

    fn format(options: &str, output: &str) -> Result<String, String> {
        let resolved = Wish::parse(options).and_then(|wish| wish.resolve_for(Path::new(output)));
        resolved
            .map(|resolved| resolved.normal_form())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_name_decides_where_the_options_do_not() {
        assert_eq!(format("width=4", "a.WEBP").unwrap(), "format=webp,width=4");
        assert_eq!(format("format=auto", "a.jpeg").unwrap(), "format=jpeg");
        assert_eq!(format("format=baseline-jpeg", "a.jpg").unwrap(), "format=baseline-jpeg");
        assert_eq!(format("format=png", "a.bin").unwrap(), "format=png");
    }

    #[test]
    fn contradictions_and_names_that_say_nothing_are_refused() {
        assert!(format("format=png", "a.webp").unwrap_err().contains("contradicts"));
        assert!(format("width=4", "a.bin").unwrap_err().contains("format=webp"));
        assert!(format("preset=card", "a.png").unwrap_err().contains("preset"));
        assert!(format("width=none", "a.png").unwrap_err().starts_with("width:"));
    }
}
