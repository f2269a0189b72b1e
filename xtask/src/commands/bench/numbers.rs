//! Medians, means, percentiles and lines between points.

/// The middle value, or the mean of the two in the middle; `NaN` of nothing.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.len(), sorted.len() % 2) {
        (0, _) => f64::NAN,
        (_, 1) => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// The geometric mean, which for ratios is the one that means something; `NaN` of nothing.
pub(super) fn geometric_mean(values: &[f64]) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    #[expect(clippy::cast_precision_loss, reason = "there are dozens of cases")]
    let count = values.len() as f64;
    (values.iter().map(|value| value.ln()).sum::<f64>() / count).exp()
}

/// The arithmetic mean; `NaN` of nothing.
#[expect(clippy::cast_precision_loss, reason = "there are dozens of values")]
pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The value that `percent` of all are below, on a straight line between the two next to it; `NaN` of nothing.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "there are dozens of values"
)]
pub(super) fn percentile(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = percent / 100.0 * sorted.len().saturating_sub(1) as f64;
    let value = |at: f64| sorted.get(at as usize).copied().unwrap_or(f64::NAN);
    let (below, above) = (value(at.floor()), value(at.ceil()));
    below + at.fract() * (above - below)
}

/// Where a line through points, by x, is at `x`; `None` before the first and after the last.
pub(super) fn along(points: &[(f64, f64)], x: f64) -> Option<f64> {
    points.windows(2).find_map(|pair| match *pair {
        [(x0, y0), (x1, y1)] if (x0..=x1).contains(&x) => Some(y0 + (x - x0) / (x1 - x0) * (y1 - y0)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slow_run_does_not_move_the_median() {
        assert!((median(&[3.0, 1.0, 900.0]) - 3.0).abs() < f64::EPSILON);
        assert!((median(&[4.0, 1.0, 2.0, 900.0]) - 3.0).abs() < f64::EPSILON);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn twice_as_fast_and_twice_as_slow_even_out() {
        assert!((geometric_mean(&[0.5, 2.0]) - 1.0).abs() < 1e-9);
        assert!(geometric_mean(&[]).is_nan());
    }

    #[test]
    fn a_percentile_lies_between_its_neighbours() {
        assert!((percentile(&[30.0, 10.0, 20.0], 75.0) - 25.0).abs() < 1e-9);
        assert!((percentile(&[7.0], 5.0) - 7.0).abs() < 1e-9);
        assert!(percentile(&[], 5.0).is_nan());
        assert!((mean(&[1.0, 2.0, 6.0]) - 3.0).abs() < 1e-9);
    }

    #[test]
    fn a_line_ends_with_its_points() {
        let points = [(0.0, 10.0), (2.0, 20.0), (4.0, 0.0)];
        assert_eq!(along(&points, 3.0), Some(10.0));
        assert_eq!(along(&points, -1.0), None);
        assert_eq!(along(&points, 4.1), None);
    }
}
