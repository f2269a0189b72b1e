//! Metrics as text: Prometheus' exposition format 0.0.4, and OpenMetrics 1.0 with exemplars for whoever asks for it.

use std::fmt::Write;

/// Where the gateway shows its own metrics to `kado edge`, which signs its request with the internal key; to everybody
/// else nothing is there.
pub const GATEWAY_PATH: &str = "/__kado/metrics";

/// Which of the two is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text, version 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// The format for an `Accept` header: OpenMetrics only where it is named.
    #[must_use]
    pub fn accepted(accept: Option<&str>) -> Self {
        let names = accept.is_some_and(|accept| {
            let types = accept.split(',').filter_map(|range| range.split(';').next());
            types
                .into_iter()
                .any(|kind| kind.trim().eq_ignore_ascii_case("application/openmetrics-text"))
        });
        if names { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// `Content-Type` of the text.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Kind of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises; its name ends in `_total`.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Buckets, sum and count.
    Histogram,
}

/// An observation that stands for others of its bucket.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// Trace in which it was made.
    pub trace_id: String,
    /// What was observed.
    pub value: f64,
    /// When, Unix milliseconds.
    pub at_ms: u64,
}

/// Upper bounds of durations, in seconds: from a cached hit to the longest transform.
pub const SECONDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Durations in the buckets of [`SECONDS`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Durations {
    /// Observations up to each bound and above the one before; the last is above all bounds.
    buckets: [u64; SECONDS.len() + 1],
    sum: f64,
    exemplars: [Option<Exemplar>; SECONDS.len() + 1],
}

impl Durations {
    /// Counts a duration. The newest exemplar of a bucket is kept.
    pub fn observe(&mut self, seconds: f64, exemplar: Option<Exemplar>) {
        let bucket = SECONDS
            .iter()
            .position(|bound| seconds <= *bound)
            .unwrap_or(SECONDS.len());
        if let Some(count) = self.buckets.get_mut(bucket) {
            *count += 1;
        }
        if let (Some(place), Some(_)) = (self.exemplars.get_mut(bucket), &exemplar) {
            *place = exemplar;
        }
        self.sum += seconds;
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// The text under construction.
#[derive(Debug)]
pub struct Exposition {
    format: Format,
    text: String,
}

impl Exposition {
    /// An empty text.
    #[must_use]
    pub const fn new(format: Format) -> Self {
        Self {
            format,
            text: String::new(),
        }
    }

    /// Begins a family: all its samples follow before the next one begins.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let declared = match (self.format, kind) {
            (Format::OpenMetrics, Kind::Counter) => name.strip_suffix("_total").unwrap_or(name),
            _ => name,
        };
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        // Writing to a `String` does not fail.
        let _ = writeln!(self.text, "# HELP {declared} {help}\n# TYPE {declared} {kind}");
    }

    /// A sample of a counter or a gauge.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels = braced(labels, None);
        let _ = writeln!(self.text, "{name}{labels} {value}");
    }

    /// A whole number as a sample. Beyond 2^53 it is rounded, as everything is that Prometheus stores.
    pub fn count(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        let labels = braced(labels, None);
        let _ = writeln!(self.text, "{name}{labels} {value}");
    }

    /// All samples of one histogram.
    pub fn durations(&mut self, name: &str, labels: &[(&str, &str)], durations: &Durations) {
        let mut below = 0;
        let bounds = SECONDS
            .iter()
            .map(|bound| format!("{bound:?}"))
            .chain(["+Inf".to_owned()]);
        for ((bound, count), exemplar) in bounds.zip(&durations.buckets).zip(&durations.exemplars) {
            below += count;
            let labels = braced(labels, Some(&bound));
            let _ = write!(self.text, "{name}_bucket{labels} {below}");
            if let (Format::OpenMetrics, Some(exemplar)) = (self.format, exemplar) {
                let seconds = exemplar.at_ms / 1000;
                let trace = braced(&[("trace_id", &exemplar.trace_id)], None);
                let _ = write!(
                    self.text,
                    " # {trace} {} {seconds}.{:03}",
                    exemplar.value,
                    exemplar.at_ms % 1000
                );
            }
            self.text.push('\n');
        }
        let labels = braced(labels, None);
        let _ = writeln!(
            self.text,
            "{name}_sum{labels} {}\n{name}_count{labels} {below}",
            durations.sum
        );
    }

    /// Families of another process, in the same format and without an end of their own.
    pub fn append(&mut self, families: &str) {
        self.text.push_str(families);
    }

    /// The text without the end that OpenMetrics wants, to be appended to another.
    #[must_use]
    pub fn into_part(self) -> String {
        self.text
    }

    /// The whole text.
    #[must_use]
    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

fn braced(labels: &[(&str, &str)], bound: Option<&str>) -> String {
    let pairs: Vec<String> = labels
        .iter()
        .copied()
        .chain(bound.map(|bound| ("le", bound)))
        .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
        .collect();
    if pairs.is_empty() {
        String::new()
    } else {
        format!("{{{}}}", pairs.join(","))
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    fn example(format: Format) -> String {
        let mut text = Exposition::new(format);
        text.family("kado_requests_total", Kind::Counter, "Requests.");
        text.count("kado_requests_total", &[("route", "/img")], 3);
        text.family("kado_seconds", Kind::Histogram, "Durations.");
        let mut durations = Durations::default();
        let exemplar = Exemplar {
            trace_id: "abc".into(),
            value: 0.02,
            at_ms: 1_500,
        };
        durations.observe(0.02, Some(exemplar));
        durations.observe(99.0, None);
        text.durations("kado_seconds", &[], &durations);
        text.finish()
    }

    #[test]
    fn prometheus_has_no_exemplars_and_no_end() {
        let text = example(Format::Prometheus);
        assert!(
            text.contains("# TYPE kado_requests_total counter\nkado_requests_total{route=\"/img\"} 3\n"),
            "{text}"
        );
        assert!(text.contains("kado_seconds_bucket{le=\"0.025\"} 1\n"), "{text}");
        assert!(
            text.contains("kado_seconds_bucket{le=\"+Inf\"} 2\nkado_seconds_sum 99.02\nkado_seconds_count 2\n"),
            "{text}"
        );
        assert!(!text.contains("abc") && !text.contains("EOF"), "{text}");
    }

    #[test]
    fn openmetrics_has_both() {
        let text = example(Format::OpenMetrics);
        assert!(
            text.contains("# TYPE kado_requests counter\nkado_requests_total{route=\"/img\"} 3\n"),
            "{text}"
        );
        assert!(
            text.contains("kado_seconds_bucket{le=\"0.025\"} 1 # {trace_id=\"abc\"} 0.02 1.500\n"),
            "{text}"
        );
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn openmetrics_comes_only_where_it_is_named() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3";
        assert_eq!(Format::accepted(Some(prometheus)), Format::OpenMetrics);
        for other in [None, Some("*/*"), Some("text/plain")] {
            assert_eq!(Format::accepted(other), Format::Prometheus);
        }
    }

    proptest! {
        #[test]
        fn no_label_ends_its_line(value in any::<String>()) {
            let mut text = Exposition::new(Format::Prometheus);
            text.count("a", &[("b", &value)], 1);
            prop_assert_eq!(text.finish().matches('\n').count(), 1);
        }
    }
}
