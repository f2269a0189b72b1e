//! From what is asked and what the client says of itself to options that depend on nothing else.
//!
//! Everything is quantised, so that a client's exact numbers never split the cache.

use crate::options::{Decimal, Draw, Fault, ImageOptions, OptionError, OptionValue, OutputFormat, Part, Width};

/// What a client says of itself, from its request headers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClientHints {
    /// `Accept`, raw.
    pub accept: Option<String>,
    /// `Save-Data: on`.
    pub save_data: bool,
    /// `ECT`, raw: `slow-2g`, `2g`, `3g` or `4g`.
    pub ect: Option<String>,
    /// `RTT`, in milliseconds.
    pub rtt: Option<f64>,
    /// `Downlink`, in megabits a second.
    pub downlink: Option<f64>,
    /// `Sec-CH-DPR` or `DPR`.
    pub dpr: Option<f64>,
    /// `Sec-CH-Width` or `Width`: wanted width, in physical pixels.
    pub width: Option<f64>,
    /// `Sec-CH-Viewport-Width` or `Viewport-Width`: in CSS pixels.
    pub viewport_width: Option<f64>,
    /// `Sec-CH-UA-Mobile`.
    pub mobile: Option<bool>,
}

const ACCEPT: &str = "Accept";
const SLOW_CONNECTION: [&str; 4] = ["Save-Data", "ECT", "RTT", "Downlink"];
const AUTOMATIC_WIDTH: [&str; 7] = [
    "Sec-CH-Width",
    "Width",
    "Sec-CH-Viewport-Width",
    "Viewport-Width",
    "Sec-CH-DPR",
    "DPR",
    "Sec-CH-UA-Mobile",
];

impl ClientHints {
    /// Reads the hints out of request headers; `header` is asked for lower-case names. Malformed hints count as absent.
    pub fn from_headers(header: impl Fn(&str) -> Option<String>) -> Self {
        let number = |names: &[&str]| {
            let value = names.iter().find_map(|name| header(name))?;
            value
                .trim()
                .parse::<f64>()
                .ok()
                .filter(|number| number.is_finite() && *number >= 0.0)
        };
        Self {
            accept: header("accept"),
            save_data: header("save-data").is_some_and(|value| value.trim().eq_ignore_ascii_case("on")),
            ect: header("ect").map(|value| value.trim().to_ascii_lowercase()),
            rtt: number(&["rtt"]),
            downlink: number(&["downlink"]),
            dpr: number(&["sec-ch-dpr", "dpr"]),
            width: number(&["sec-ch-width", "width"]),
            viewport_width: number(&["sec-ch-viewport-width", "viewport-width"]),
            mobile: header("sec-ch-ua-mobile").and_then(|value| match value.trim() {
                "?1" => Some(true),
                "?0" => Some(false),
                _ => None,
            }),
        }
    }

    /// Whether the client says that its connection is slow or dear.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        self.save_data
            || matches!(self.ect.as_deref(), Some("slow-2g" | "2g"))
            || self.rtt.is_some_and(|rtt| rtt > 150.0)
            || self.downlink.is_some_and(|downlink| downlink < 5.0)
    }

    /// Whether `Accept` names this media type with a weight above 0. Wildcards do not count: every client sends them.
    #[must_use]
    pub fn accepts(&self, media_type: &str) -> bool {
        self.accept.as_deref().unwrap_or_default().split(',').any(|range| {
            let mut parts = range.split(';').map(str::trim);
            parts.next().is_some_and(|name| name.eq_ignore_ascii_case(media_type))
                && parts
                    .filter_map(|parameter| parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q=")))
                    .all(|weight| weight.parse::<f32>().is_ok_and(|weight| weight > 0.0))
        })
    }

    /// The width for `width=auto`: the wanted width rounded up to a step, or the device class's.
    fn automatic_width(&self) -> u32 {
        const STEPS: [u32; 4] = [320, 768, 960, 1200];
        let viewport = self
            .viewport_width
            .map(|width| width * self.dpr.filter(|dpr| *dpr > 0.0).unwrap_or(1.0));
        match self.width.or(viewport).filter(|width| *width > 0.0) {
            Some(wanted) => STEPS
                .into_iter()
                .find(|step| f64::from(*step) >= wanted)
                .unwrap_or(1200),
            None if self.mobile == Some(true) => 768,
            None => 1200,
        }
    }
}

/// Encoders that the caller can provide beyond JPEG and PNG, which are built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Encoders {
    /// WebP.
    pub webp: bool,
    /// AVIF.
    pub avif: bool,
}

/// The best format that `format=auto` may choose for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Best {
    /// AVIF, or a lesser one where AVIF does not pay.
    Avif,
    /// WebP, or a lesser one where WebP does not pay.
    WebP,
    /// JPEG, or PNG where there is alpha.
    Classic,
}

impl Best {
    const ALL: [Self; 3] = [Self::Avif, Self::WebP, Self::Classic];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Avif => "auto-avif",
            Self::WebP => "auto-webp",
            Self::Classic => "auto-classic",
        }
    }
}

/// Which format is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FormatChoice {
    /// The source's kind, or JPEG or PNG where that kind is not written.
    Source,
    /// This one.
    Given(OutputFormat),
    /// The best for the client.
    Auto(Best),
}

/// Options that no longer depend on the client: what the cache key and the transform job carry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Resolved {
    /// The options: `format`, `preset`, `slow_connection_quality`, `exp` and `sig` are `None`, and no width is `auto`.
    pub options: ImageOptions,
    /// The format.
    pub format: FormatChoice,
    /// The tenant's mark, which `branding` in the options no longer asks for.
    pub branding: Option<Draw>,
    /// What the quality is multiplied by, below 1; see [`crate::Ease`].
    pub quality_factor: Option<Decimal>,
}

/// [`Resolved`] options and which request headers went into them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The options.
    pub resolved: Resolved,
    /// For `Vary`: every header that was looked at, whether it was there or not.
    pub vary: Vec<&'static str>,
}

/// Settles everything that depends on the client. Presets have to be merged in before.
#[must_use]
pub fn negotiate(mut options: ImageOptions, hints: &ClientHints, encoders: Encoders) -> Negotiated {
    let mut vary = Vec::new();
    let format = match options.format.take() {
        None => FormatChoice::Source,
        Some(OutputFormat::Auto) => {
            vary.push(ACCEPT);
            FormatChoice::Auto(if encoders.avif && hints.accepts("image/avif") {
                Best::Avif
            } else if encoders.webp && hints.accepts("image/webp") {
                Best::WebP
            } else {
                Best::Classic
            })
        }
        Some(given) => FormatChoice::Given(given),
    };
    if let Some(slow) = options.slow_connection_quality.take() {
        vary.extend(SLOW_CONNECTION);
        if hints.is_slow() {
            options.quality = Some(slow);
        }
    }
    if options.width == Some(Width::Auto) {
        vary.extend(AUTOMATIC_WIDTH);
        options.width = Some(Width::Pixels(hints.automatic_width()));
    }
    options.preset = None;
    options.exp = None;
    options.sig = None;
    Negotiated {
        resolved: Resolved {
            options,
            format,
            branding: None,
            quality_factor: None,
        },
        vary,
    }
}

const BRANDING: &str = "branding";
const QUALITY_FACTOR: &str = "quality-factor";

/// The mark that a part of a normal form holds.
fn mark(part: &str) -> Option<Draw> {
    let part = Part::read(part).ok().filter(|part| part.name == BRANDING)?;
    Draw::parse(&part.decode().ok()?)
}

/// The factor that a part of a normal form holds.
fn factor(part: &str) -> Option<Decimal> {
    let text = part.strip_prefix(QUALITY_FACTOR)?.strip_prefix('=')?;
    Decimal::parse(text).filter(|factor| !factor.is_zero() && *factor < Decimal::ONE)
}

impl Resolved {
    /// Puts the tenant's mark in where it is asked for; a tenant that has none draws none.
    #[must_use]
    pub fn branded(mut self, mark: impl FnOnce() -> Option<Draw>) -> Self {
        if self.options.branding.take().is_some_and(|asked| asked.0) {
            self.branding = mark();
        }
        self
    }

    /// The one spelling of these options, for the cache key and the transform job.
    ///
    /// It is the options' normal form with additions that an address cannot ask for: the format that was negotiated is
    /// `auto-avif`, `auto-webp` or `auto-classic`, `branding` is the mark, written as `draw` is, and `quality-factor` what
    /// the quality is multiplied by.
    #[must_use]
    pub fn normal_form(&self) -> String {
        let mut parts = self.options.parts();
        match self.format {
            FormatChoice::Source => {}
            FormatChoice::Given(format) => parts.push(("format", format.to_string())),
            FormatChoice::Auto(best) => parts.push(("format", best.as_str().to_owned())),
        }
        if let Some(mark) = &self.branding {
            parts.push((BRANDING, mark.to_string()));
        }
        if let Some(factor) = self.quality_factor {
            parts.push((QUALITY_FACTOR, factor.to_string()));
        }
        parts.sort_unstable();
        crate::options::join(parts)
    }

    /// Reads what [`Self::normal_form`] wrote.
    ///
    /// # Errors
    /// Every fault, among them `auto` values and presets, which must not reach this point.
    pub fn parse(normal_form: &str) -> Result<Self, Vec<OptionError>> {
        let negotiated = |part: &str| {
            Best::ALL
                .into_iter()
                .find(|best| part.strip_prefix("format=") == Some(best.as_str()))
        };
        let best = normal_form.split(',').find_map(negotiated);
        let branding = normal_form.split(',').find_map(mark);
        let quality_factor = normal_form.split(',').find_map(factor);
        let rest: Vec<&str> = normal_form
            .split(',')
            .filter(|part| negotiated(part).is_none() && mark(part).is_none() && factor(part).is_none())
            .collect();
        let mut options = ImageOptions::parse(&rest.join(","))?;
        let unresolved = [
            ("width", options.width == Some(Width::Auto)),
            (
                "format",
                options.format == Some(OutputFormat::Auto) || (best.is_some() && options.format.is_some()),
            ),
            ("preset", options.preset.is_some()),
            (BRANDING, options.branding.is_some_and(|asked| asked.0)),
            ("slow-connection-quality", options.slow_connection_quality.is_some()),
            ("sig", options.sig.is_some()),
        ];
        let errors: Vec<_> = unresolved
            .into_iter()
            .filter(|(_, is)| *is)
            .map(|(name, _)| OptionError::new(name, "", Fault::Conflict, "has to be resolved before the transform"))
            .collect();
        if !errors.is_empty() {
            return Err(errors);
        }
        let format = match (best, options.format.take()) {
            (Some(best), _) => FormatChoice::Auto(best),
            (None, Some(given)) => FormatChoice::Given(given),
            (None, None) => FormatChoice::Source,
        };
        Ok(Self {
            options,
            format,
            branding,
            quality_factor,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Encoders = Encoders { webp: true, avif: true };

    fn resolve(segment: &str, headers: &[(&str, &str)]) -> (String, Vec<&'static str>) {
        let hints = ClientHints::from_headers(|name| {
            headers
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        });
        let negotiated = negotiate(ImageOptions::parse(segment).unwrap(), &hints, ALL);
        (negotiated.resolved.normal_form(), negotiated.vary)
    }

    #[test]
    fn format_follows_accept_and_nothing_else_does() {
        let chrome = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8";
        assert_eq!(
            resolve("f=auto", &[("accept", chrome)]),
            ("format=auto-avif".to_owned(), vec!["Accept"])
        );
        assert_eq!(
            resolve("f=auto", &[("accept", "image/webp;q=0.5,image/avif;q=0")]).0,
            "format=auto-webp"
        );
        assert_eq!(resolve("f=auto", &[("accept", "image/*,*/*")]).0, "format=auto-classic");
        assert_eq!(resolve("f=auto", &[]).0, "format=auto-classic");
        assert_eq!(
            resolve("f=webp", &[("accept", "image/png")]),
            ("format=webp".to_owned(), vec![])
        );
        assert_eq!(resolve("w=5", &[("accept", chrome)]), ("width=5".to_owned(), vec![]));
        let hints = ClientHints {
            accept: Some(chrome.to_owned()),
            ..ClientHints::default()
        };
        let options = ImageOptions::parse("f=auto").unwrap();
        let without_avif = negotiate(
            options,
            &hints,
            Encoders {
                webp: true,
                avif: false,
            },
        );
        assert_eq!(without_avif.resolved.format, FormatChoice::Auto(Best::WebP));
    }

    #[test]
    fn widths_are_steps() {
        for (headers, width) in [
            (vec![], 1200),
            (vec![("sec-ch-ua-mobile", "?1")], 768),
            (vec![("sec-ch-width", "100")], 320),
            (vec![("width", "321")], 768),
            (vec![("sec-ch-viewport-width", "400"), ("sec-ch-dpr", "2")], 960),
            (vec![("sec-ch-width", "9000")], 1200),
            (vec![("sec-ch-width", "NaN"), ("sec-ch-viewport-width", "-5")], 1200),
        ] {
            let (normal, vary) = resolve("w=auto", &headers);
            assert_eq!(normal, format!("width={width}"), "{headers:?}");
            assert_eq!(vary, AUTOMATIC_WIDTH);
        }
    }

    #[test]
    fn slow_connections_get_their_quality() {
        for headers in [
            ("save-data", "on"),
            ("ect", "2g"),
            ("ect", "slow-2g"),
            ("rtt", "151"),
            ("downlink", "4.9"),
        ] {
            assert_eq!(resolve("q=80,scq=40", &[headers]).0, "quality=40", "{headers:?}");
        }
        for headers in [
            ("save-data", "off"),
            ("ect", "4g"),
            ("rtt", "150"),
            ("downlink", "5"),
            ("rtt", "quick"),
        ] {
            assert_eq!(
                resolve("q=80,scq=40", &[headers]),
                ("quality=80".to_owned(), SLOW_CONNECTION.to_vec()),
                "{headers:?}"
            );
        }
    }

    #[test]
    fn the_normal_form_is_read_back() {
        for segment in ["f=auto,w=auto,fit=cover,h=300", "f=png-force", "w=4,bg=%23ff000080", ""] {
            let negotiated = negotiate(ImageOptions::parse(segment).unwrap(), &ClientHints::default(), ALL);
            let normal = negotiated.resolved.normal_form();
            let read = Resolved::parse(&normal).unwrap();
            assert_eq!(read.normal_form(), normal);
            assert_eq!(read.format, negotiated.resolved.format);
        }
        for unresolved in [
            "width=auto",
            "format=auto",
            "preset=a",
            "slow-connection-quality=5",
            "format=auto-webp,format=png",
            "format=auto-jxl",
        ] {
            assert!(Resolved::parse(unresolved).is_err(), "{unresolved}");
        }
        assert!(ImageOptions::parse("format=auto-webp").is_err());
    }
}
