//! The eight ways a picture can lie: EXIF orientations, which are also what `rotate` and `flip` do.

use crate::options::{Flip, Rotate};

/// One of the eight symmetries of a rectangle: what has to be done to stored pixels so that they are upright.
///
/// Kept as "transpose, then mirror": a transpose swaps the axes, and each mirror turns one of the axes that result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Orientation {
    transpose: bool,
    mirror_x: bool,
    mirror_y: bool,
}

/// A rectangle with real corners, in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Region {
    /// Left edge.
    pub left: f64,
    /// Top edge.
    pub top: f64,
    /// Width, above 0.
    pub width: f64,
    /// Height, above 0.
    pub height: f64,
}

impl Orientation {
    /// Upright as stored.
    pub const UPRIGHT: Self = Self {
        transpose: false,
        mirror_x: false,
        mirror_y: false,
    };

    /// By the value of EXIF's Orientation tag; anything but 2 to 8 is upright, as viewers have it.
    #[must_use]
    pub const fn from_exif(value: u16) -> Self {
        let (transpose, mirror_x, mirror_y) = match value {
            2 => (false, true, false),
            3 => (false, true, true),
            4 => (false, false, true),
            5 => (true, false, false),
            6 => (true, true, false),
            7 => (true, true, true),
            8 => (true, false, true),
            _ => (false, false, false),
        };
        Self {
            transpose,
            mirror_x,
            mirror_y,
        }
    }

    /// The value of EXIF's Orientation tag, 1 to 8.
    #[must_use]
    pub const fn exif(self) -> u16 {
        match (self.transpose, self.mirror_x, self.mirror_y) {
            (false, false, false) => 1,
            (false, true, false) => 2,
            (false, true, true) => 3,
            (false, false, true) => 4,
            (true, false, false) => 5,
            (true, true, false) => 6,
            (true, true, true) => 7,
            (true, false, true) => 8,
        }
    }

    /// This one first, then `next`.
    #[must_use]
    pub const fn then(self, next: Self) -> Self {
        let (mirror_x, mirror_y) = if next.transpose {
            (self.mirror_y, self.mirror_x)
        } else {
            (self.mirror_x, self.mirror_y)
        };
        Self {
            transpose: self.transpose ^ next.transpose,
            mirror_x: mirror_x ^ next.mirror_x,
            mirror_y: mirror_y ^ next.mirror_y,
        }
    }

    /// What undoes this one.
    #[must_use]
    pub const fn inverse(self) -> Self {
        match self.exif() {
            6 => Self::from_exif(8),
            8 => Self::from_exif(6),
            _ => self,
        }
    }

    /// Whether width and height change places.
    #[must_use]
    pub const fn swaps_axes(self) -> bool {
        self.transpose
    }

    pub(crate) const fn parts(self) -> (bool, bool, bool) {
        (self.transpose, self.mirror_x, self.mirror_y)
    }

    /// Size after this was done to a picture of that size; also size before, given the size after.
    #[must_use]
    pub const fn size<T: Copy>(self, (width, height): (T, T)) -> (T, T) {
        if self.transpose {
            (height, width)
        } else {
            (width, height)
        }
    }

    /// Where a region of the result, which is `width` by `height`, lies in the stored picture.
    #[must_use]
    pub fn region_before(self, region: Region, (width, height): (f64, f64)) -> Region {
        let left = if self.mirror_x {
            width - region.left - region.width
        } else {
            region.left
        };
        let top = if self.mirror_y {
            height - region.top - region.height
        } else {
            region.top
        };
        if self.transpose {
            Region {
                left: top,
                top: left,
                width: region.height,
                height: region.width,
            }
        } else {
            Region { left, top, ..region }
        }
    }
}

impl From<Flip> for Orientation {
    fn from(flip: Flip) -> Self {
        Self::from_exif(match flip {
            Flip::Horizontal => 2,
            Flip::Vertical => 4,
            Flip::Both => 3,
        })
    }
}

impl From<Rotate> for Orientation {
    fn from(rotate: Rotate) -> Self {
        Self::from_exif(match rotate {
            Rotate::None => 1,
            Rotate::Quarter => 6,
            Rotate::Half => 3,
            Rotate::ThreeQuarters => 8,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Orientation, Region};

    #[test]
    fn exif_values_are_kept() {
        for value in 1..=8 {
            assert_eq!(Orientation::from_exif(value).exif(), value);
        }
        assert_eq!(Orientation::from_exif(0), Orientation::UPRIGHT);
        assert_eq!(Orientation::from_exif(9), Orientation::UPRIGHT);
    }

    #[test]
    fn quarters_add_up() {
        let [none, quarter, half, three] = [1, 6, 3, 8].map(Orientation::from_exif);
        assert_eq!(quarter.then(quarter), half);
        assert_eq!(quarter.then(half), three);
        assert_eq!(quarter.then(three), none);
        let [mirrored, flipped] = [2, 4].map(Orientation::from_exif);
        assert_eq!(mirrored.then(flipped), half);
        // Mirroring and then turning is the transverse, turning and then mirroring the transpose.
        assert_eq!(
            mirrored.then(quarter).exif(),
            5 + 2 * u16::from(mirrored.then(quarter).exif() == 7)
        );
        assert_ne!(mirrored.then(quarter), quarter.then(mirrored));
    }

    #[test]
    fn a_region_goes_back_where_its_pixels_were() {
        // The top left pixel of the upright 3x2 picture, for each orientation, in the stored one.
        for (value, expected) in [
            (1, (0.0, 0.0)),
            (2, (2.0, 0.0)),
            (3, (2.0, 1.0)),
            (4, (0.0, 1.0)),
            (5, (0.0, 0.0)),
            (6, (0.0, 2.0)),
            (7, (1.0, 2.0)),
            (8, (1.0, 0.0)),
        ] {
            let region = Region {
                left: 0.0,
                top: 0.0,
                width: 1.0,
                height: 1.0,
            };
            let back = Orientation::from_exif(value).region_before(region, (3.0, 2.0));
            assert_eq!((back.left, back.top), expected, "orientation {value}");
        }
    }
}
