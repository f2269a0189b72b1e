//! Colours times their alpha, and back: transparent pixels lend no colour to their neighbours.

/// `x / 255`, rounded, for `x` up to `255 * 255`.
fn divide_by_255(x: u32) -> u8 {
    ((x + 128 + ((x + 128) >> 8)) >> 8) as u8
}

pub(crate) fn premultiply(rgba: &mut [u8]) {
    for pixel in rgba.chunks_exact_mut(4) {
        if let [r, g, b, a] = pixel {
            let alpha = u32::from(*a);
            for channel in [r, g, b] {
                *channel = divide_by_255(u32::from(*channel) * alpha);
            }
        }
    }
}

pub(crate) fn unpremultiply(rgba: &mut [u8]) {
    for pixel in rgba.chunks_exact_mut(4) {
        if let [r, g, b, a] = pixel {
            let alpha = u32::from(*a);
            if alpha == 255 {
                continue;
            }
            for channel in [r, g, b] {
                // The filter's overshoot can leave a channel above its alpha.
                *channel = (u32::from(*channel) * 255 + alpha / 2)
                    .checked_div(alpha)
                    .map_or(0, |value| value.min(255) as u8);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn premultiplication_is_the_rounded_product() {
        for value in 0..=255u8 {
            for alpha in 0..=255u8 {
                let mut pixel = [value, 0, 255, alpha];
                premultiply(&mut pixel);
                let exact = (f64::from(value) * f64::from(alpha) / 255.0).round() as u8;
                assert_eq!(pixel, [exact, 0, alpha, alpha]);
            }
        }
    }

    #[test]
    fn what_shows_comes_back_from_premultiplication() {
        for alpha in [255u8, 254, 128] {
            for value in 0..=255u8 {
                let mut pixel = [value, value, value, alpha];
                premultiply(&mut pixel);
                unpremultiply(&mut pixel);
                assert!(pixel[0].abs_diff(value) <= 1, "{value} at {alpha}");
            }
        }
        let mut clear = [9, 9, 9, 0];
        unpremultiply(&mut clear);
        assert_eq!(clear, [0; 4]);
    }
}
