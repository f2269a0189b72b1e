//! The ratios as bars, in SVG.

use std::fmt::Write as _;

use super::measure::Measured;

/// Height of a case's two bars with the space around them, in pixels.
const ROW: usize = 26;
/// Where the bars begin.
const LEFT: f64 = 260.0;
/// Length of sharp's own time.
const UNIT: f64 = 260.0;
/// Ratios beyond this are cut, with their number beside them.
const MOST: f64 = 2.0;
/// Space above the first case.
const TOP: usize = 54;
const WIDTH: f64 = LEFT + UNIT * MOST + 70.0;

/// The chart: for each case the Worker's and the native engine's time in parts of sharp's, and a line at sharp's.
pub(super) fn svg(measured: &[Measured]) -> String {
    let height = TOP + measured.len() * ROW + 16;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"12\" y=\"20\" font-size=\"14\">Time in parts of sharp's; shorter is faster</text>\n"
    );
    legend(&mut text, 12.0, "#2563a8", "Worker, in workerd");
    legend(&mut text, 160.0, "#7db1dd", "native, one thread");
    for (index, case) in measured.iter().enumerate() {
        let y = TOP + index * ROW;
        let _infallible = writeln!(
            text,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            y + 15,
            escaped(&case.case.name())
        );
        match case.worker_ratio() {
            Some(ratio) => bar(&mut text, y + 2, "#2563a8", ratio),
            None => label(&mut text, LEFT + 4.0, y + 10, "heavy lane"),
        }
        bar(&mut text, y + 12, "#7db1dd", case.native / case.sharp);
    }
    let _infallible = writeln!(
        text,
        "<path d=\"M{x} {} V{}\" stroke=\"#b3261e\" stroke-dasharray=\"4 3\"/>\n\
         <text x=\"{x}\" y=\"{}\" text-anchor=\"middle\" fill=\"#b3261e\">sharp</text>\n</svg>",
        TOP - 4,
        height - 10,
        TOP - 8,
        x = LEFT + UNIT,
    );
    text
}

fn legend(text: &mut String, x: f64, color: &str, what: &str) {
    let _infallible = writeln!(
        text,
        "<rect x=\"{x}\" y=\"28\" width=\"10\" height=\"10\" fill=\"{color}\"/><text x=\"{}\" y=\"37\">{what}</text>",
        x + 14.0
    );
}

fn bar(text: &mut String, y: usize, color: &str, ratio: f64) {
    let length = UNIT * ratio.clamp(0.0, MOST);
    let _infallible = writeln!(
        text,
        "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{length:.1}\" height=\"9\" fill=\"{color}\"/>"
    );
    label(text, LEFT + length + 4.0, y + 8, &format!("{ratio:.2}"));
}

fn label(text: &mut String, x: f64, y: usize, what: &str) {
    let _infallible = writeln!(
        text,
        "<text x=\"{x:.1}\" y=\"{y}\" font-size=\"9\" fill=\"#444\">{what}</text>"
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::cases::tests::case;
    use super::*;

    #[test]
    fn every_case_has_its_bars_and_names_are_escaped() {
        let case = Measured {
            case: case("jpeg", 400, "png"),
            input_bytes: 1,
            worker: None,
            native: 500.0,
            sharp: 100.0,
            our_bytes: 1,
            their_bytes: 1,
        };
        let svg = svg(&[case]);
        assert!(svg.contains("12 MP jpeg -&gt; 400 png"));
        assert!(svg.contains("heavy lane") && svg.contains(">5.00<"));
        assert!(svg.contains("width=\"520.0\""), "{svg}");
        assert!(svg.ends_with("</svg>\n"));
    }
}
