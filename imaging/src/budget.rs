//! `max-bytes`: the best quality that stays below a number of bytes, then the largest size.

use crate::{ImageError, LimitKind};

/// Encodes that are spent on one answer.
const ENCODES: u32 = 8;

/// Below this quality, fewer pixels look better than worse ones.
const LEAST_QUALITY: u8 = 30;

/// What fits.
pub(crate) struct Fitted {
    pub(crate) bytes: Vec<u8>,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// One encode of the picture, at a size and a quality.
type Encode<'a> = &'a mut dyn FnMut((u32, u32), u8) -> Result<Vec<u8>, ImageError>;

struct Search<'a> {
    most: u64,
    /// Fewest bytes so far.
    least: u64,
    left: u32,
    encode: Encode<'a>,
    cancel: &'a dyn Fn() -> bool,
}

impl Search<'_> {
    /// Encodes once; `Err` of the bytes' number where they are too many.
    fn attempt(&mut self, (width, height): (u32, u32), quality: u8) -> Result<Result<Fitted, u64>, ImageError> {
        if (self.cancel)() {
            return Err(ImageError::Cancelled);
        }
        self.left = self.left.saturating_sub(1);
        let bytes = (self.encode)((width, height), quality)?;
        let length = bytes.len() as u64;
        self.least = self.least.min(length);
        Ok(if length <= self.most {
            Ok(Fitted { bytes, width, height })
        } else {
            Err(length)
        })
    }

    /// The best quality between one that fits and one that does not.
    fn better(&mut self, size: (u32, u32), fitted: Fitted, fits: u8, fails: u8) -> Result<Fitted, ImageError> {
        let (mut best, mut fits, mut fails) = (fitted, fits, fails);
        while self.left > 0 && fails - fits > 1 {
            let middle = fits + (fails - fits) / 2;
            match self.attempt(size, middle)? {
                Ok(fitted) => (best, fits) = (fitted, middle),
                Err(_) => fails = middle,
            }
        }
        Ok(best)
    }

    /// Ever smaller pictures; the last one that may be tried is a single pixel.
    fn smaller(&mut self, size: (u32, u32), quality: u8, bytes: u64) -> Result<Fitted, ImageError> {
        let (mut bytes, mut size) = (bytes, size);
        while self.left > 0 && size != (1, 1) {
            size = if self.left == 1 {
                (1, 1)
            } else {
                shrunk(size, self.most, bytes)
            };
            match self.attempt(size, quality)? {
                Ok(fitted) => return Ok(fitted),
                Err(length) => bytes = length,
            }
        }
        Err(ImageError::TooLarge {
            what: LimitKind::OutputBytes,
            limit: self.most,
            value: self.least,
        })
    }
}

/// Encodes a picture into at most so many bytes, with the quality that is asked for where that is possible.
///
/// # Errors
/// [`ImageError::TooLarge`] with the fewest bytes that were reached, and what `encode` says.
pub(crate) fn fit(
    size: (u32, u32),
    most: u64,
    quality: u8,
    has_quality: bool,
    encode: Encode<'_>,
    cancel: &dyn Fn() -> bool,
) -> Result<Fitted, ImageError> {
    let mut search = Search {
        most,
        least: u64::MAX,
        left: ENCODES,
        encode,
        cancel,
    };
    let mut bytes = match search.attempt(size, quality)? {
        Ok(fitted) => return Ok(fitted),
        Err(bytes) => bytes,
    };
    let floor = quality.min(LEAST_QUALITY);
    if has_quality && floor < quality {
        match search.attempt(size, floor)? {
            Ok(fitted) => return search.better(size, fitted, floor, quality),
            Err(length) => bytes = length,
        }
    }
    search.smaller(size, floor, bytes)
}

/// Refuses an answer that is no picture, and so cannot be made smaller, where it has more bytes than it may.
pub(crate) fn within(bytes: Vec<u8>, most: Option<u64>) -> Result<Vec<u8>, ImageError> {
    match most {
        Some(most) if bytes.len() as u64 > most => Err(ImageError::TooLarge {
            what: LimitKind::OutputBytes,
            limit: most,
            value: bytes.len() as u64,
        }),
        _ => Ok(bytes),
    }
}

/// A size at which a picture should have a little less than `most` bytes: they go with the pixels.
fn shrunk((width, height): (u32, u32), most: u64, bytes: u64) -> (u32, u32) {
    let factor = (0.95 * (most as f64 / bytes.max(1) as f64).sqrt()).min(0.9);
    let side = |side: u32| ((f64::from(side) * factor) as u32).max(1);
    (side(width), side(height))
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::RefCell;
    use proptest::prelude::*;

    /// An encoder whose files have a head and then as many bytes as pixels and quality say.
    fn run(
        size: (u32, u32),
        most: u64,
        quality: u8,
        head: u64,
        has_quality: bool,
    ) -> (Result<Fitted, ImageError>, Vec<(u32, u8)>) {
        let asked = RefCell::new(Vec::new());
        let mut encode = |(width, height): (u32, u32), quality: u8| {
            asked.borrow_mut().push((width, quality));
            let pixels = u64::from(width) * u64::from(height);
            let share = if has_quality { u64::from(quality) } else { 100 };
            Ok(vec![0; (head + pixels * share / 100) as usize])
        };
        let fitted = fit(size, most, quality, has_quality, &mut encode, &|| false);
        (fitted, asked.into_inner())
    }

    #[test]
    fn what_fits_is_encoded_once() {
        let (fitted, asked) = run((50, 40), 5_000, 85, 10, true);
        assert_eq!((fitted.unwrap().bytes.len(), asked), (1_710, vec![(50, 85)]));
    }

    #[test]
    fn quality_goes_before_size() {
        let (fitted, asked) = run((50, 40), 1_010, 85, 10, true);
        let fitted = fitted.unwrap();
        assert_eq!((fitted.width, fitted.bytes.len()), (50, 1_010), "{asked:?}");
        let (fitted, asked) = run((50, 40), 310, 85, 10, true);
        let fitted = fitted.unwrap();
        assert!(fitted.width < 50 && fitted.width > 30, "{asked:?}");
        let (fitted, _) = run((50, 40), 310, 85, 10, false);
        assert!(fitted.unwrap().width < 30);
    }

    #[test]
    fn what_cannot_be_done_says_how_near_it_came() {
        let (fitted, asked) = run((50, 40), 10, 85, 400, true);
        let error = fitted.err().unwrap();
        assert_eq!(
            error,
            ImageError::TooLarge {
                what: LimitKind::OutputBytes,
                limit: 10,
                value: 400
            }
        );
        assert_eq!((error.status(), error.is_heavy()), (413, false));
        assert!(asked.len() <= 8, "{asked:?}");
    }

    proptest! {
        #[test]
        fn the_answer_never_has_more_bytes(
            size in (1u32..400, 1u32..400), most in 1u64..200_000, quality in 1u8..=100, head in 0u64..2_000, has_quality in any::<bool>(),
        ) {
            let (fitted, asked) = run(size, most, quality, head, has_quality);
            prop_assert!((1..=8).contains(&asked.len()));
            match fitted {
                Ok(fitted) => prop_assert!(fitted.bytes.len() as u64 <= most),
                Err(ImageError::TooLarge { value, .. }) => prop_assert!(value > most && head + 1 > most),
                Err(error) => prop_assert!(false, "{}", error),
            }
        }
    }
}
