//! What is wrong with an option, and what would be right.

use core::fmt;

/// Kind of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// There is no such option.
    Unknown,
    /// It was given before.
    Duplicate,
    /// The value is malformed or out of range.
    Value,
    /// It does not go with another option or with its place.
    Conflict,
}

/// One fault of the options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionError {
    /// Long name of the option, or what stands in its place; at most 64 characters.
    pub option: String,
    /// The value that was given, at most 64 characters; empty where it does not matter.
    pub value: String,
    /// What kind of fault it is.
    pub fault: Fault,
    /// What would be right.
    pub allowed: &'static str,
}

/// Names and values come from addresses of any length, and end up in answers and logs.
fn shorten(text: &str) -> String {
    text.chars()
        .map(|character| if character.is_control() { '\u{fffd}' } else { character })
        .take(64)
        .collect()
}

impl OptionError {
    pub(crate) fn new(option: &str, value: &str, fault: Fault, allowed: &'static str) -> Self {
        Self {
            option: shorten(option),
            value: shorten(value),
            fault,
            allowed,
        }
    }

    /// What is wrong and what would be right, without the option's name.
    #[must_use]
    pub fn detail(&self) -> String {
        match self.fault {
            Fault::Unknown => "there is no such option".to_owned(),
            Fault::Duplicate => "the option is given more than once".to_owned(),
            Fault::Value => format!("'{}' is not valid: {}", self.value, self.allowed),
            Fault::Conflict => self.allowed.to_owned(),
        }
    }
}

impl fmt::Display for OptionError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.option, self.detail())
    }
}

impl core::error::Error for OptionError {}

pub(crate) fn describe(errors: &[OptionError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
