//! Bytes at equal score: two encoders, each over a ladder of qualities.

use anyhow::Result;
use serde_json::{Value, json};

use super::encoder::Kind;
use super::studio::{Picture, Scored, Studio};
use crate::commands::bench::numbers::{along, geometric_mean};

/// Qualities of ours; the first and the last are there to reach as far as the others do. JPEG has halved chroma throughout.
const LADDER: [u8; 7] = [35, 45, 55, 65, 75, 83, 89];
/// AVIF's scales are further apart.
const AVIF_LADDER: [u8; 7] = [20, 35, 50, 65, 80, 90, 96];
/// Where the other side is met.
const MEETING: [u8; 4] = [50, 60, 70, 80];

/// Two encoders.
struct Pair {
    ours: Kind,
    theirs: &'static str,
    format: &'static str,
    settings: fn(u8) -> Value,
    ladder: [u8; 7],
}

const PAIRS: [Pair; 5] = [
    Pair {
        ours: Kind::Jpeg,
        theirs: "JPEG, progressive",
        format: "jpeg",
        settings: |quality| json!({ "quality": quality, "progressive": true, "chromaSubsampling": "4:2:0" }),
        ladder: LADDER,
    },
    Pair {
        ours: Kind::SmallJpeg,
        theirs: "JPEG, `mozjpeg: true`",
        format: "jpeg",
        settings: |quality| json!({ "quality": quality, "mozjpeg": true, "chromaSubsampling": "4:2:0" }),
        ladder: LADDER,
    },
    Pair {
        ours: Kind::WebP,
        theirs: "WebP, effort 4",
        format: "webp",
        settings: |quality| json!({ "quality": quality, "effort": 4 }),
        ladder: LADDER,
    },
    Pair {
        ours: Kind::SmallWebP,
        theirs: "WebP, effort 6",
        format: "webp",
        settings: |quality| json!({ "quality": quality, "effort": 6 }),
        ladder: LADDER,
    },
    Pair {
        ours: Kind::Libaom,
        theirs: "AVIF, effort 4",
        format: "avif",
        settings: |quality| json!({ "quality": quality, "effort": 4, "chromaSubsampling": "4:2:0" }),
        ladder: AVIF_LADDER,
    },
];

/// Our bytes in parts of theirs, at each quality of theirs and over all.
pub(super) struct Ladder {
    pub(super) name: String,
    pub(super) at: Vec<(u8, f64)>,
    pub(super) mean: f64,
}

pub(super) fn measure(studio: &mut Studio, pictures: &[Picture]) -> Result<Vec<Ladder>> {
    PAIRS.iter().map(|pair| compare(studio, pictures, pair)).collect()
}

fn compare(studio: &mut Studio, pictures: &[Picture], pair: &Pair) -> Result<Ladder> {
    let mut ratios: Vec<Vec<f64>> = vec![Vec::new(); MEETING.len()];
    for picture in pictures {
        let ours = pair
            .ladder
            .iter()
            .map(|quality| pair.ours.answer(studio, picture, *quality))
            .collect::<Result<Vec<_>>>()?;
        for (quality, ratios) in MEETING.iter().zip(&mut ratios) {
            let theirs = studio.theirs(picture, pair.format, &(pair.settings)(*quality))?;
            ratios.extend(bytes_at(&ours, theirs.score).map(|bytes| bytes / theirs.bytes));
        }
    }
    Ok(Ladder {
        name: format!("{} / sharp's {}", pair.ours.name(), pair.theirs),
        mean: geometric_mean(&ratios.concat()),
        at: MEETING
            .into_iter()
            .zip(ratios.iter().map(|ratios| geometric_mean(ratios)))
            .collect(),
    })
}

/// Between two rungs the logarithm of bytes is a straight line over the score. `None` beyond the ladder.
fn bytes_at(ladder: &[Scored], score: f64) -> Option<f64> {
    let mut points: Vec<(f64, f64)> = ladder.iter().map(|rung| (rung.score, rung.bytes.ln())).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    along(&points, score).map(f64::exp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_between_two_rungs_are_their_geometric_mean() {
        let rung = |score, bytes| Scored { bytes, score };
        let ladder = [rung(50.0, 1000.0), rung(70.0, 4000.0)];
        assert!((bytes_at(&ladder, 60.0).unwrap() - 2000.0).abs() < 1e-6);
        assert!(bytes_at(&ladder, 71.0).is_none());
    }
}
