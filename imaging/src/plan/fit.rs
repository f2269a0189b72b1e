//! `fit` and `gravity`: where the source's pixels go. Pure arithmetic on sizes.

use crate::options::{Fit, Gravity};

/// How a source meets its box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The whole source is scaled to this.
    pub scaled: (u32, u32),
    /// What is kept of the scaled picture: left, top, width, height.
    pub window: (u32, u32, u32, u32),
    /// Size of the answer.
    pub canvas: (u32, u32),
    /// Where the window lies on the canvas: left, top.
    pub at: (u32, u32),
}

impl Placement {
    fn plain(scaled: (u32, u32)) -> Self {
        Self {
            scaled,
            window: (0, 0, scaled.0, scaled.1),
            canvas: scaled,
            at: (0, 0),
        }
    }

    /// The same at a smaller size: `most` instead of `longer` pixels.
    pub(super) fn shrunk(self, most: u32, longer: u32) -> Self {
        let side = |side: u32| super::shrink(side, most, longer);
        let (_, _, width, height) = self.window;
        let canvas = (side(self.canvas.0).max(1), side(self.canvas.1).max(1));
        let (width, height) = (side(width).clamp(1, canvas.0), side(height).clamp(1, canvas.1));
        Self {
            scaled: self.scaled,
            window: (0, 0, width, height),
            canvas,
            at: (
                side(self.at.0).min(canvas.0 - width),
                side(self.at.1).min(canvas.1 - height),
            ),
        }
    }

    fn cut(scaled: (u32, u32), kept: (u32, u32), gravity: (f64, f64)) -> Self {
        let kept = (kept.0.min(scaled.0), kept.1.min(scaled.1));
        let left = share(scaled.0 - kept.0, gravity.0);
        let top = share(scaled.1 - kept.1, gravity.1);
        Self {
            scaled,
            window: (left, top, kept.0, kept.1),
            canvas: kept,
            at: (0, 0),
        }
    }
}

/// Part of a remainder that lies before what is kept. Half a pixel goes to the far side, as libvips has it.
fn share(remainder: u32, part: f64) -> u32 {
    (f64::from(remainder) * part + 1e-9).floor() as u32
}

/// Whole pixels, at least one. `as` saturates, so an absurd scale stays absurdly large and is refused by its size.
fn pixels(value: f64) -> u32 {
    (value + 0.5).floor().max(1.0) as u32
}

fn scaled(source: (u32, u32), scale: f64) -> (u32, u32) {
    (pixels(f64::from(source.0) * scale), pixels(f64::from(source.1) * scale))
}

/// Places a source of this size, upright and rotated, in a box. A missing side follows from the aspect ratio.
#[must_use]
pub fn place(
    source: (u32, u32),
    width: Option<u32>,
    height: Option<u32>,
    fit: Fit,
    gravity: Option<Gravity>,
) -> Placement {
    let (source_width, source_height) = (f64::from(source.0), f64::from(source.1));
    let point = match gravity {
        Some(Gravity::Point { x, y }) => (x.to_f64(), y.to_f64()),
        _ => (0.5, 0.5),
    };
    let (width, height) = match (width, height) {
        (None, None) => return Placement::plain(source),
        (Some(width), Some(height)) => (width, height),
        (width, height) => {
            let scale = width.map_or(1.0, |width| f64::from(width) / source_width)
                * height.map_or(1.0, |height| f64::from(height) / source_height);
            let scale = match fit {
                Fit::ScaleDown | Fit::Crop | Fit::AspectCrop => scale.min(1.0),
                Fit::ScaleUp => scale.max(1.0),
                Fit::Contain | Fit::Cover | Fit::Pad | Fit::Squeeze => scale,
            };
            return Placement::plain(scaled(source, scale));
        }
    };
    let wanted = (width, height);
    let (horizontal, vertical) = (f64::from(width) / source_width, f64::from(height) / source_height);
    let (inside, outside) = (horizontal.min(vertical), horizontal.max(vertical));
    // Where the scale is the box's, rounding must not miss the box.
    let contained = |scale: f64| {
        let size = scaled(source, scale);
        (size.0.min(width), size.1.min(height))
    };
    let covering = || {
        let size = scaled(source, outside);
        (size.0.max(width), size.1.max(height))
    };
    match fit {
        Fit::ScaleDown => Placement::plain(if inside >= 1.0 { source } else { contained(inside) }),
        Fit::Contain => Placement::plain(contained(inside)),
        Fit::ScaleUp => Placement::plain(if inside <= 1.0 { source } else { contained(inside) }),
        Fit::Squeeze => Placement::plain(wanted),
        Fit::Cover => Placement::cut(covering(), wanted, point),
        Fit::Crop | Fit::AspectCrop if outside <= 1.0 => Placement::cut(covering(), wanted, point),
        Fit::Crop => Placement::cut(source, wanted, point),
        Fit::AspectCrop => {
            let aspect = f64::from(width) / f64::from(height);
            let kept = (
                pixels(source_height * aspect).min(source.0),
                pixels(source_width / aspect).min(source.1),
            );
            Placement::cut(source, kept, point)
        }
        Fit::Pad => {
            let size = contained(inside);
            let at = (share(width - size.0, point.0), share(height - size.1, point.1));
            Placement {
                canvas: wanted,
                at,
                ..Placement::plain(size)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::ImageOptions;
    use proptest::prelude::*;

    const FITS: [Fit; 8] = [
        Fit::ScaleDown,
        Fit::Contain,
        Fit::Cover,
        Fit::Crop,
        Fit::AspectCrop,
        Fit::Pad,
        Fit::Squeeze,
        Fit::ScaleUp,
    ];

    fn canvas(source: (u32, u32), wanted: (u32, u32), fit: Fit) -> (u32, u32) {
        place(source, Some(wanted.0), Some(wanted.1), fit, None).canvas
    }

    #[test]
    fn the_contract_s_golden_cases() {
        assert_eq!(canvas((1080, 720), (500, 500), Fit::ScaleDown), (500, 333));
        assert_eq!(canvas((1080, 720), (2000, 2000), Fit::ScaleDown), (1080, 720));
        assert_eq!(canvas((200, 100), (50, 50), Fit::Contain), (50, 25));
        assert_eq!(canvas((200, 100), (500, 500), Fit::Contain), (500, 250));
        let cover = place((1080, 720), Some(500), Some(500), Fit::Cover, None);
        assert_eq!(
            (cover.scaled, cover.window, cover.canvas),
            ((750, 500), (125, 0, 500, 500), (500, 500))
        );
        assert_eq!(canvas((100, 100), (400, 200), Fit::Cover), (400, 200));
        assert_eq!(canvas((1080, 720), (1296, 1296), Fit::Crop), (1080, 720));
        assert_eq!(canvas((1080, 720), (500, 500), Fit::Crop), (500, 500));
        assert_eq!(canvas((1080, 720), (500, 1000), Fit::Crop), (500, 720));
        assert_eq!(canvas((612, 613), (1920, 1120), Fit::AspectCrop), (612, 357));
        assert_eq!(canvas((1080, 720), (300, 300), Fit::AspectCrop), (300, 300));
        let pad = place((200, 100), Some(100), Some(100), Fit::Pad, None);
        assert_eq!((pad.scaled, pad.canvas, pad.at), ((100, 50), (100, 100), (0, 25)));
        assert_eq!(canvas((1080, 720), (33, 999), Fit::Squeeze), (33, 999));
        assert_eq!(canvas((1080, 720), (500, 500), Fit::ScaleUp), (1080, 720));
        assert_eq!(canvas((100, 50), (500, 500), Fit::ScaleUp), (500, 250));
    }

    #[test]
    fn one_side_keeps_the_aspect_ratio() {
        for fit in FITS {
            let half = place((1080, 720), Some(540), None, fit, None).canvas;
            assert_eq!(
                half,
                if fit == Fit::ScaleUp { (1080, 720) } else { (540, 360) },
                "{fit}"
            );
            let double = place((1080, 720), None, Some(1440), fit, None).canvas;
            let enlarges = !matches!(fit, Fit::ScaleDown | Fit::Crop | Fit::AspectCrop);
            assert_eq!(double, if enlarges { (2160, 1440) } else { (1080, 720) }, "{fit}");
            assert_eq!(place((1080, 720), None, None, fit, None).canvas, (1080, 720), "{fit}");
        }
    }

    #[test]
    fn gravity_says_which_part_stays() {
        let window = |gravity: &str| {
            let gravity = ImageOptions::parse(&format!("g={gravity}")).unwrap().gravity;
            let placement = place((1000, 500), Some(100), Some(100), Fit::Cover, gravity);
            (
                placement.window.0,
                place((500, 1000), Some(100), Some(100), Fit::Cover, gravity).window.1,
            )
        };
        for (gravity, expected) in [
            ("center", (50, 50)),
            ("left", (0, 50)),
            ("right", (100, 50)),
            ("top", (50, 0)),
            ("bottom", (50, 100)),
            ("top-left", (0, 0)),
            ("bottom-right", (100, 100)),
            ("0.25x0.1", (25, 10)),
        ] {
            assert_eq!(window(gravity), expected, "{gravity}");
        }
    }

    #[test]
    fn a_picture_never_loses_a_whole_side() {
        assert_eq!(canvas((12_000, 1), (100, 100), Fit::ScaleDown), (100, 1));
        assert_eq!(canvas((1, 12_000), (100, 100), Fit::Contain), (1, 100));
        assert_eq!(canvas((1, 1), (12_000, 1), Fit::Cover), (12_000, 1));
    }

    proptest! {
        #[test]
        fn sizes_obey_the_fit(
            source in (1u32..12_000, 1u32..12_000), wanted in (1u32..12_000, 1u32..12_000),
            fit in 0..FITS.len(), x in 0u32..=10, y in 0u32..=10,
        ) {
            let fit = FITS[fit];
            let gravity = ImageOptions::parse(&format!("g={}x{}", f64::from(x) / 10.0, f64::from(y) / 10.0)).unwrap().gravity;
            let placed = place(source, Some(wanted.0), Some(wanted.1), fit, gravity);
            let (left, top, width, height) = placed.window;
            prop_assert!(width >= 1 && height >= 1);
            prop_assert!(left + width <= placed.scaled.0 && top + height <= placed.scaled.1);
            prop_assert!(placed.at.0 + width <= placed.canvas.0 && placed.at.1 + height <= placed.canvas.1);
            prop_assert!(fit == Fit::ScaleUp || (placed.canvas.0 <= wanted.0 && placed.canvas.1 <= wanted.1));
            match fit {
                Fit::ScaleDown | Fit::Crop | Fit::AspectCrop => prop_assert!(placed.scaled.0 <= source.0 && placed.scaled.1 <= source.1),
                Fit::ScaleUp => prop_assert!(placed.scaled.0 >= source.0 && placed.scaled.1 >= source.1),
                Fit::Cover | Fit::Pad | Fit::Squeeze => prop_assert_eq!(placed.canvas, wanted),
                Fit::Contain => prop_assert!(placed.canvas.0 == wanted.0 || placed.canvas.1 == wanted.1),
            }
        }
    }
}
