//! The same `quality` in every format: what comes of the tables, and what they should be.

use std::fmt::Write as _;

use anyhow::Result;

use super::encoder::Kind;
use super::studio::{Picture, Studio};
use crate::commands::bench::numbers::{along, mean};

/// JPEG's, where the others are compared with it.
pub(super) const QUALITIES: [u8; 5] = [30, 50, 65, 80, 90];

/// Where an encoder is tried for its points.
const STEPS: [u8; 9] = [20, 32, 42, 52, 60, 68, 76, 84, 92];

/// Those that a quality is translated for.
pub(super) const KINDS: [Kind; 4] = [Kind::SmallJpeg, Kind::WebP, Kind::Libaom, Kind::Rav1e];

/// Mean scores at [`QUALITIES`], of JPEG and then of [`KINDS`].
pub(super) struct Formats {
    pub(super) jpeg: Vec<f64>,
    pub(super) others: Vec<(Kind, Vec<f64>)>,
}

pub(super) fn measure(studio: &mut Studio, pictures: &[Picture]) -> Result<Formats> {
    let mut of = |kind: Kind| {
        QUALITIES
            .into_iter()
            .map(|quality| over(pictures, |picture| Ok(kind.answer(studio, picture, quality)?.score)))
            .collect::<Result<Vec<f64>>>()
    };
    Ok(Formats {
        jpeg: of(Kind::Jpeg)?,
        others: KINDS
            .into_iter()
            .map(|kind| Ok((kind, of(kind)?)))
            .collect::<Result<_>>()?,
    })
}

/// A line for each format: the numbers whose mean score is JPEG's. Of WebP and libaom the encoder's own; of the others the
/// quality of ours that would have to be given.
pub(super) fn points(studio: &mut Studio, pictures: &[Picture], formats: &Formats) -> Result<String> {
    let mut text = String::new();
    for kind in KINDS {
        let curve = STEPS
            .into_iter()
            .map(|number| {
                let score = over(pictures, |picture| kind.score_at(studio, picture, number))?;
                Ok((score, f64::from(number)))
            })
            .collect::<Result<Vec<_>>>()?;
        let numbers: Vec<String> = QUALITIES
            .iter()
            .zip(&formats.jpeg)
            .map(|(quality, score)| match along(&curve, *score) {
                Some(number) => format!("{quality}: {number:.1}"),
                None => format!("{quality}: beyond"),
            })
            .collect();
        let _infallible = writeln!(text, "{}: {}", kind.name(), numbers.join(", "));
    }
    Ok(text)
}

fn over(pictures: &[Picture], score: impl FnMut(&Picture) -> Result<f64>) -> Result<f64> {
    Ok(mean(&pictures.iter().map(score).collect::<Result<Vec<f64>>>()?))
}
