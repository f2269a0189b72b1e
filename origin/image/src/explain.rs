//! `--explain`: what is planned, and what it took, for a person to read.

use kado_imaging::{Format, ImageInfo, Memory, Output, Plan, Resolved};
use std::{fmt::Write, time::Duration};

use crate::picture::Timed;

/// The plan, a fact a line.
pub(crate) fn plan(name: &str, wish: &Resolved, plan: &Plan) -> String {
    let region = &plan.region;
    let options = wish.normal_form();
    let mut text = String::new();
    let mut line = |label: &str, value: String| {
        let _infallible = writeln!(text, "{label:<12}{value}");
    };
    line("source", format!("{name}: {}", facts(&plan.info)));
    line("options", if options.is_empty() { "none".to_owned() } else { options });
    if plan.encoding.format == Format::Json {
        line("answer", "facts as JSON; nothing is decoded".to_owned());
        return text;
    }
    line("decode", format!("at 1/{}", plan.decode_scale));
    line(
        "region",
        format!(
            "{:.1} x {:.1} from {:.1}, {:.1} of the stored picture",
            region.width, region.height, region.left, region.top
        ),
    );
    line("resize", format!("to {} x {}", plan.resized.0, plan.resized.1));
    line("turn", format!("EXIF {}", plan.orientation.exif()));
    line(
        "canvas",
        format!(
            "{} x {}, picture at {}, {}",
            plan.canvas.0, plan.canvas.1, plan.at.0, plan.at.1
        ),
    );
    line("answer", answer(plan));
    line("memory", memory(&plan.memory));
    text
}

fn facts(info: &ImageInfo) -> String {
    let mut text = format!("{} x {} {}", info.width, info.height, info.format);
    if info.progressive {
        text += ", progressive";
    }
    let _infallible = write!(
        text,
        ", {} components of {} bits, {}",
        info.components,
        info.bit_depth,
        size(info.bytes)
    );
    for (given, what) in [(info.alpha, ", alpha"), (info.color_profile, ", colour profile")] {
        if given {
            text += what;
        }
    }
    if info.orientation.exif() != 1 {
        let _infallible = write!(text, ", EXIF orientation {}", info.orientation.exif());
    }
    text
}

fn answer(plan: &Plan) -> String {
    let encoding = &plan.encoding;
    let alpha = if plan.alpha { " with alpha" } else { "" };
    format!(
        "{} x {} {}{alpha}, quality {}",
        plan.width, plan.height, encoding.format, encoding.quality
    )
}

fn memory(memory: &Memory) -> String {
    format!(
        "at most {} estimated: source {}, decode {}, resample {}, encode {}",
        size(memory.peak),
        size(memory.source),
        size(memory.decode),
        size(memory.resample),
        size(memory.encode)
    )
}

/// A table of the stages.
pub(crate) fn stages(stages: &[Timed], output: &Output) -> String {
    let peak = |peak: Option<u64>| peak.map_or_else(|| "-".to_owned(), size);
    let mut text = format!("\n{:<12}{:>12}{:>16}\n", "stage", "time", "resident peak");
    for timed in stages {
        let (took, peak) = (milliseconds(timed.took), peak(timed.peak));
        let _infallible = writeln!(text, "{:<12}{took:>12}{peak:>16}", timed.stage);
    }
    let whole = stages.iter().map(|timed| timed.took).sum();
    let most = stages.iter().filter_map(|timed| timed.peak).max();
    let (whole, most) = (milliseconds(whole), peak(most));
    let _infallible = writeln!(
        text,
        "{:<12}{whole:>12}{most:>16}\n\n{:<12}{} bytes",
        "all",
        "written",
        output.bytes.len()
    );
    text
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// Bytes in MiB, rounded up to a tenth.
fn size(bytes: u64) -> String {
    let tenths = (bytes * 10).div_ceil(1024 * 1024);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_never_understated() {
        assert_eq!(size(0), "0.0 MiB");
        assert_eq!(size(1), "0.1 MiB");
        assert_eq!(size(10 * 1024 * 1024 + 1), "10.1 MiB");
    }
}
