//! The tables.

use std::fmt::Write as _;

use super::fit::{Formats, QUALITIES};
use super::ladder::Ladder;
use super::resize::Resized;
use crate::commands::bench::document::Circumstances;
use crate::commands::bench::numbers::{mean, percentile};

pub(super) fn section(
    circumstances: &Circumstances,
    resized: &[Resized],
    ladders: &[Ladder],
    formats: &Formats,
) -> String {
    let Circumstances {
        command,
        date,
        machine,
        sharp,
        profile,
    } = circumstances;
    let mut text = format!(
        "`{command}`, {date}, {machine}. {sharp}, the native engine built as `{profile}`. Scores are\n\
         SSIMULACRA2's: 100 is the same picture, 90 is not told apart, 70 is good. The reference is the source, decoded at full\n\
         size, after a Lanczos3 in double precision in sRGB values, which both sides approach. Mosaics of photographs, 2400 x\n\
         1600, JPEG sources of quality 88; at equal settings of the answers.\n\n\
         | resize | mean, ours | sharp's | difference | 5th percentile, ours | sharp's | difference |\n\
         |---|---:|---:|---:|---:|---:|---:|\n"
    );
    for row in resized {
        let _infallible = writeln!(text, "{}", of_resized(row));
    }
    let headings: Vec<String> = ladders
        .first()
        .into_iter()
        .flat_map(|ladder| &ladder.at)
        .map(|(quality, _)| format!("sharp at {quality}"))
        .collect();
    let _infallible = write!(
        text,
        "\nBytes in parts of sharp's, at the score that sharp's answer has, 4:2:0; photographs at 400 px and mosaics at\n\
         1200 px, geometric means.\n\n| ours / sharp's | {} | all |\n|---|{}---:|\n",
        headings.join(" | "),
        "---:|".repeat(headings.len()),
    );
    for ladder in ladders {
        let ratios: Vec<String> = ladder.at.iter().map(|(_, ratio)| format!("{ratio:.3}")).collect();
        let _infallible = writeln!(
            text,
            "| {} | {} | {:.3} |",
            ladder.name,
            ratios.join(" | "),
            ladder.mean
        );
    }
    text.push_str("\nThe same `quality` in other formats: mean score of the same pictures, and what it differs by from JPEG's.\n\n");
    let qualities = QUALITIES.map(|quality| quality.to_string());
    let _infallible = write!(
        text,
        "| quality | {} |\n|---|{}\n| JPEG | {} |\n",
        qualities.join(" | "),
        "---:|".repeat(qualities.len()),
        joined(formats.jpeg.iter().map(|score| format!("{score:.1}"))),
    );
    for (kind, scores) in &formats.others {
        let scores = scores
            .iter()
            .zip(&formats.jpeg)
            .map(|(score, jpeg)| format!("{score:.1} ({:+.1})", score - jpeg));
        let _infallible = writeln!(text, "| {} | {} |", kind.name(), joined(scores));
    }
    text
}

fn joined(cells: impl Iterator<Item = String>) -> String {
    cells.collect::<Vec<_>>().join(" | ")
}

fn of_resized(row: &Resized) -> String {
    let [ours, theirs] = [&row.ours, &row.theirs].map(|scores| (mean(scores), percentile(scores, 5.0)));
    format!(
        "| {} | {:.2} | {:.2} | {:+.2} | {:.2} | {:.2} | {:+.2} |",
        row.name,
        ours.0,
        theirs.0,
        ours.0 - theirs.0,
        ours.1,
        theirs.1,
        ours.1 - theirs.1,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_what_is_lost() {
        let row = Resized {
            name: "png -> 400 png".to_owned(),
            ours: vec![90.0, 80.0],
            theirs: vec![91.0, 80.0],
        };
        assert_eq!(
            of_resized(&row),
            "| png -> 400 png | 85.00 | 85.50 | -0.50 | 80.50 | 80.55 | -0.05 |"
        );
    }
}
