//! SSIMULACRA2 and the references that it is taken against, asked line by line; the other end is `cargo xtask bench
//! quality`. Pictures are files of RGB rows without anything around them: bytes, or for a reference numbers of 32 bits.
//!
//! `{"reference": .., "source": .., "from": [w, h], "to": [w, h]}` resizes a source's bytes. `{"score": .., "reference": ..,
//! "size": [w, h]}` compares a picture's bytes with a reference.

use serde_json::{Value, json};
use ssimulacra2::{ColorPrimaries, LinearRgb, Rgb, TransferCharacteristic, compute_frame_ssimulacra2};
use std::{
    error::Error,
    f64::consts::PI,
    fs,
    io::{self, BufRead, Write},
    num::NonZeroUsize,
};

type Answer<T> = Result<T, Box<dyn Error>>;

fn main() -> Answer<()> {
    for line in io::stdin().lock().lines() {
        let answer = answer(&line?).unwrap_or_else(|error| json!({ "error": error.to_string() }));
        writeln!(io::stdout(), "{answer}")?;
    }
    Ok(())
}

fn answer(question: &str) -> Answer<Value> {
    let question: Value = serde_json::from_str(question)?;
    let reference = text(&question, "reference")?;
    if question.get("source").is_some() {
        let (from, to) = (size(&question, "from")?, size(&question, "to")?);
        let source = fs::read(text(&question, "source")?)?;
        let resized = resized(&source, from, to)?;
        let bytes: Vec<u8> = resized.iter().flat_map(|value| value.to_le_bytes()).collect();
        fs::write(reference, bytes)?;
        if let Ok(rounded) = text(&question, "rounded") {
            let bytes: Vec<u8> = resized.iter().map(|value| (value * 255.0).round() as u8).collect();
            fs::write(rounded, bytes)?;
        }
        return Ok(json!({}));
    }
    let size = size(&question, "size")?;
    let reference = fs::read(reference)?;
    let reference = reference.as_chunks::<4>().0.iter().copied().map(f32::from_le_bytes);
    let picture = fs::read(text(&question, "score")?)?;
    let picture = picture.iter().map(|value| f32::from(*value) / 255.0);
    let score = compute_frame_ssimulacra2(linear(reference, size)?, linear(picture, size)?)?;
    Ok(json!({ "score": score }))
}

fn text<'a>(question: &'a Value, name: &str) -> Answer<&'a str> {
    let text = question.get(name).and_then(Value::as_str);
    Ok(text.ok_or_else(|| format!("`{name}` is missing"))?)
}

fn size(question: &Value, name: &str) -> Answer<[usize; 2]> {
    let size = question.get(name).and_then(|size| serde_json::from_value(size.clone()).ok());
    Ok(size.ok_or_else(|| format!("`{name}` is missing"))?)
}

fn linear(values: impl Iterator<Item = f32>, [width, height]: [usize; 2]) -> Answer<LinearRgb> {
    let values: Vec<f32> = values.collect();
    let pixels = values.as_chunks::<3>().0.to_vec();
    let side = |side| NonZeroUsize::new(side).ok_or("a picture without pixels");
    let (transfer, primaries) = (TransferCharacteristic::SRGB, ColorPrimaries::BT709);
    let coded = Rgb::new(pixels, side(width)?.into(), side(height)?.into(), transfer, primaries)?;
    Ok(LinearRgb::try_from(coded)?)
}

/// Lanczos of three lobes in double precision, in the values as they are stored: what both sides approach. From 0 to 1.
fn resized(source: &[u8], from: [usize; 2], to: [usize; 2]) -> Answer<Vec<f32>> {
    if source.len() != from[0] * from[1] * 3 {
        return Err("the source has not the pixels of its size".into());
    }
    let (across, down) = (weights(from[0], to[0]), weights(from[1], to[1]));
    let mut narrow = vec![[0.0f64; 3]; to[0] * from[1]];
    for (row, into) in source.chunks_exact(from[0] * 3).zip(narrow.chunks_exact_mut(to[0])) {
        let row = row.as_chunks::<3>().0;
        for ((start, weights), into) in across.iter().zip(into) {
            for (pixel, weight) in row[*start..].iter().zip(weights) {
                for (sum, value) in into.iter_mut().zip(pixel) {
                    *sum += weight * f64::from(*value);
                }
            }
        }
    }
    let mut values = Vec::with_capacity(to[0] * to[1] * 3);
    for (start, weights) in &down {
        for x in 0..to[0] {
            let mut sums = [0.0f64; 3];
            for (row, weight) in narrow[*start * to[0]..].chunks_exact(to[0]).zip(weights) {
                for (sum, value) in sums.iter_mut().zip(row[x]) {
                    *sum += weight * value;
                }
            }
            values.extend(sums.map(|sum| (sum / 255.0).clamp(0.0, 1.0) as f32));
        }
    }
    Ok(values)
}

/// For each of the samples that there will be the first one that it is made of, and their weights.
fn weights(from: usize, to: usize) -> Vec<(usize, Vec<f64>)> {
    let ratio = from as f64 / to as f64;
    let stretch = ratio.max(1.0);
    let lanczos = |x: f64| match x.abs() {
        0.0 => 1.0,
        x if x >= 3.0 => 0.0,
        x => 3.0 * (PI * x).sin() * (PI * x / 3.0).sin() / (PI * x).powi(2),
    };
    let of = |sample: usize| {
        let center = (sample as f64 + 0.5) * ratio;
        let first = (center - 3.0 * stretch).floor().max(0.0) as usize;
        let end = ((center + 3.0 * stretch).ceil() as usize).min(from);
        let weights: Vec<f64> = (first..end)
            .map(|at| lanczos((at as f64 + 0.5 - center) / stretch))
            .collect();
        let sum: f64 = weights.iter().sum();
        (first, weights.iter().map(|weight| weight / sum).collect())
    };
    (0..to).map(of).collect()
}
