//! Presets: options under a name, which fill what an address does not give.

use super::segment::{Part, split};
use super::value::{OptionValue, Switch};
use super::{Fault, ImageOptions, MAX_PARTS, OptionError};
use core::fmt;

/// Name of a preset.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PresetName(String);

impl PresetName {
    /// What a name is, for people.
    pub const RULE: &'static str = "a preset's name: 1 to 64 of a-z, 0-9, _ and -";

    /// A name; `None` for what cannot be one.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
        ((1..=64).contains(&text.len()) && text.bytes().all(name)).then(|| Self(text.to_owned()))
    }

    /// 1 to 64 of `a-z 0-9 _ -`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PresetName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl OptionValue for PresetName {
    const ALLOWED: &'static str = Self::RULE;

    fn parse(text: &str) -> Option<Self> {
        Self::new(text)
    }
}

/// What a preset's name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preset {
    options: ImageOptions,
}

impl Preset {
    /// Reads a preset's options, written as in an address. `branding` is whether pictures made by it may carry the
    /// tenant's mark; where it is not, an address that asks for the mark gets none.
    ///
    /// # Errors
    /// Every fault, among them what only an address can have: a preset, `exp` and `sig`.
    pub fn parse(text: &str, branding: bool) -> Result<Self, Vec<OptionError>> {
        let mut errors: Vec<OptionError> = split(text)
            .take(MAX_PARTS)
            .filter_map(|part| only_in_addresses(Part::read(part).ok()?.name))
            .map(|(name, rule)| OptionError::new(name, "", Fault::Conflict, rule))
            .collect();
        errors.dedup();
        match ImageOptions::parse(text) {
            Ok(mut options) => {
                if !branding {
                    if options.branding == Some(Switch(true)) {
                        let rule = "only counts in a preset that allows branding";
                        errors.push(OptionError::new("branding", "true", Fault::Conflict, rule));
                    }
                    options.branding = Some(Switch(false));
                }
                if errors.is_empty() {
                    return Ok(Self { options });
                }
            }
            Err(found) => errors.extend(
                found
                    .into_iter()
                    .filter(|error| only_in_addresses(&error.option).is_none()),
            ),
        }
        Err(errors)
    }

    /// The one spelling of its options. Whether branding is allowed is no part of it.
    #[must_use]
    pub fn normal_form(&self) -> String {
        self.options.normal_form()
    }

    /// Its options, `branding` being `false` where it is not allowed.
    #[must_use]
    pub const fn options(&self) -> &ImageOptions {
        &self.options
    }

    /// Fills what an address does not give: see [`ImageOptions::merge_under`].
    #[must_use]
    pub fn fill(&self, address: ImageOptions) -> ImageOptions {
        address.merge_under(&self.options)
    }
}

/// An option that only an address can have, and why.
fn only_in_addresses(name: &str) -> Option<(&'static str, &'static str)> {
    const SIGNED: &str = "addresses are signed, not presets";
    match name {
        "preset" | "p" => Some(("preset", "a preset cannot name another one")),
        "exp" => Some(("exp", SIGNED)),
        "sig" => Some(("sig", SIGNED)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, ImageOptions, Preset, PresetName};

    fn faults(text: &str, branding: bool) -> Vec<(String, Fault)> {
        Preset::parse(text, branding)
            .expect_err(text)
            .into_iter()
            .map(|error| (error.option, error.fault))
            .collect()
    }

    #[test]
    fn every_fault_is_listed_with_what_only_addresses_have() {
        let sig = "0".repeat(64);
        assert_eq!(
            faults(&format!("w=0,p=a,preset=b,q=80,exp=1,sig={sig}"), true),
            [
                ("preset", Fault::Conflict),
                ("exp", Fault::Conflict),
                ("sig", Fault::Conflict),
                ("width", Fault::Value),
            ]
            .map(|(name, fault)| (name.to_owned(), fault))
        );
        assert_eq!(faults("preset=A", true), [("preset".to_owned(), Fault::Conflict)]);
        assert_eq!(
            faults("branding=true", false),
            [("branding".to_owned(), Fault::Conflict)]
        );
        assert_eq!(faults(&"w=1,".repeat(10_000), true).len(), 1);
    }

    #[test]
    fn its_text_has_one_spelling() {
        let preset = Preset::parse("h=1080,w=1080,f=jpg,bg=white,fit=scale-down", false).unwrap();
        assert_eq!(
            preset.normal_form(),
            "background=%23ffffff,format=jpeg,height=1080,width=1080"
        );
        let again = Preset::parse(&preset.normal_form(), false).unwrap();
        assert_eq!(again.normal_form(), preset.normal_form());
    }

    #[test]
    fn the_mark_needs_the_address_and_the_preset() {
        let branded = |address: &str, preset: &str, allowed| {
            let options = ImageOptions::parse(address).unwrap();
            let filled = Preset::parse(preset, allowed).unwrap().fill(options);
            filled.branding.is_some_and(|on| on.0)
        };
        assert!(branded("preset=a,branding=true", "w=40", true));
        assert!(!branded("preset=a,branding=true", "w=40", false));
        assert!(!branded("preset=a", "w=40", true));
        assert!(branded("preset=a", "branding=true", true));
        assert!(!branded("preset=a,branding=false", "branding=true", true));
    }

    #[test]
    fn a_name_is_a_name() {
        assert!(
            ["gofood", "grabfood_cover", "a-1"]
                .iter()
                .all(|name| PresetName::new(name).is_some())
        );
        assert!(
            ["", "A", "a.b", "a b", &"a".repeat(65)]
                .iter()
                .all(|name| PresetName::new(name).is_none())
        );
    }
}
