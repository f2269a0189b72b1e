//! The segment itself: commas, the first equals sign, and percent-encoding exactly once.

use super::{Fault, OptionError};
use std::borrow::Cow;

/// Parts between commas; empty ones are skipped.
pub(super) fn split(raw_segment: &str) -> impl Iterator<Item = &str> {
    raw_segment.split(',').filter(|part| !part.is_empty())
}

/// One `name=value`, not decoded yet.
pub(crate) struct Part<'a> {
    pub(crate) name: &'a str,
    raw: &'a str,
}

impl<'a> Part<'a> {
    pub(crate) fn read(part: &'a str) -> Result<Self, OptionError> {
        let (name, raw) = part
            .split_once('=')
            .ok_or_else(|| OptionError::new(part, "", Fault::Conflict, "an option is written name=value"))?;
        Ok(Self { name, raw })
    }

    /// The value, percent-decoded once.
    pub(crate) fn decode(&self) -> Result<Cow<'a, str>, OptionError> {
        let malformed = || {
            OptionError::new(
                self.name,
                self.raw,
                Fault::Value,
                "UTF-8, with each % followed by two hexadecimal digits",
            )
        };
        if !self.raw.contains('%') {
            return Ok(Cow::Borrowed(self.raw));
        }
        let mut bytes = Vec::with_capacity(self.raw.len());
        let mut rest = self.raw.bytes();
        while let Some(byte) = rest.next() {
            if byte != b'%' {
                bytes.push(byte);
                continue;
            }
            let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
            let (high, low) = digit().zip(digit()).ok_or_else(malformed)?;
            bytes.push((high << 4 | low) as u8);
        }
        String::from_utf8(bytes).map(Cow::Owned).map_err(|_| malformed())
    }
}

/// Writes parts, which come sorted, with everything encoded that could be read as something else.
pub(crate) fn join(parts: Vec<(&'static str, String)>) -> String {
    let mut joined = String::new();
    for (name, value) in parts {
        if !joined.is_empty() {
            joined.push(',');
        }
        joined.push_str(name);
        joined.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~:;=".contains(&byte) {
                joined.push(char::from(byte));
            } else {
                let digit = |nibble: u8| {
                    char::from_digit(u32::from(nibble), 16)
                        .unwrap_or('0')
                        .to_ascii_uppercase()
                };
                joined.extend(['%', digit(byte >> 4), digit(byte & 0xf)]);
            }
        }
    }
    joined
}
