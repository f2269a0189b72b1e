//! What an operator takes off every new picture in times of high load.

use crate::{
    negotiate::Resolved,
    options::{Compression, Decimal, Quality},
};

/// Most effort that encoders make for a file's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// As `compression=fast`.
    Fast,
    /// As without `compression`.
    Usual,
    /// As `compression=small`.
    Small,
}

/// How much easier pictures are to be made than they were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ease {
    /// What their quality is multiplied by, above 0 and up to 1.
    pub quality_factor: Decimal,
    /// The most effort.
    pub most_effort: Effort,
}

impl Ease {
    /// As they were asked for.
    pub const NONE: Self = Self {
        quality_factor: Decimal::ONE,
        most_effort: Effort::Small,
    };
}

impl Resolved {
    /// These options, made easier. Nothing lossless becomes lossy: a quality that was not given still is not.
    #[must_use]
    pub fn eased(mut self, ease: Ease) -> Self {
        self.quality_factor = (ease.quality_factor < Decimal::ONE).then_some(ease.quality_factor);
        let asked = self.options.compression;
        self.options.compression = match (ease.most_effort, asked) {
            (Effort::Fast, _) => Some(Compression::Fast),
            (Effort::Usual, Some(Compression::Small)) => None,
            (Effort::Usual | Effort::Small, asked) => asked,
        };
        self
    }

    /// Quality to encode with.
    #[must_use]
    pub fn quality(&self) -> Quality {
        let asked = self.options.quality.unwrap_or(Quality::DEFAULT);
        self.quality_factor.map_or(asked, |factor| asked.times(factor))
    }
}

#[cfg(test)]
mod tests {
    use super::{Ease, Effort};
    use crate::{
        ClientHints, Encoders, ImageOptions, Resolved, negotiate,
        options::{Compression, Decimal},
    };

    fn resolved(options: &str) -> Resolved {
        let options = ImageOptions::parse(options).unwrap();
        negotiate(options, &ClientHints::default(), Encoders::default()).resolved
    }

    fn ease(thousandths: u32, most_effort: Effort) -> Ease {
        Ease {
            quality_factor: Decimal::thousandths(thousandths),
            most_effort,
        }
    }

    #[test]
    fn quality_is_multiplied_and_a_job_takes_it_along() {
        for (asked, factor, wanted) in [("q=80", 500, 40), ("", 500, 43), ("q=1", 500, 1), ("q=90", 1000, 90)] {
            let eased = resolved(asked).eased(ease(factor, Effort::Small));
            assert_eq!(eased.quality().get(), wanted, "{asked} times {factor}");
            assert_eq!(Resolved::parse(&eased.normal_form()).unwrap(), eased);
            // So that a PNG stays one of all its colours.
            assert_eq!(eased.options.quality, resolved(asked).options.quality);
        }
    }

    #[test]
    fn effort_is_never_more_than_was_asked_for() {
        use Compression::{Fast, Small};
        for (asked, most, wanted) in [
            ("compression=small", Effort::Small, Some(Small)),
            ("compression=small", Effort::Usual, None),
            ("compression=small", Effort::Fast, Some(Fast)),
            ("", Effort::Usual, None),
            ("", Effort::Fast, Some(Fast)),
            ("compression=fast", Effort::Small, Some(Fast)),
        ] {
            let eased = resolved(asked).eased(ease(1000, most));
            assert_eq!(eased.options.compression, wanted, "{asked} {most:?}");
        }
    }

    #[test]
    fn without_ease_nothing_changes_and_no_address_asks_for_it() {
        let asked = resolved("q=80,compression=small,width=100");
        assert_eq!(asked.clone().eased(Ease::NONE), asked);
        assert!(ImageOptions::parse("quality-factor=0.5").is_err());
        assert!(Resolved::parse("quality-factor=0").is_err() && Resolved::parse("quality-factor=2").is_err());
    }
}
