//! Counts a JPEG's scans as its bytes pass, so that a decoder never starts on one too many.

use crate::source::{Inspect, Stop};

/// Where in the marker structure the next byte lies.
#[derive(Clone, Copy)]
enum State {
    /// Between segments, and inside entropy-coded data: looking for 0xff.
    Seeking,
    /// After 0xff.
    Marker,
    /// Before the first byte of a segment's length.
    LengthHigh,
    /// Before the second one.
    LengthLow(u8),
    /// Inside a segment's content, with so many bytes left.
    Content(u16),
}

/// Follows the marker structure of a JPEG.
pub(super) struct ScanCounter {
    state: State,
    scans: u64,
    limit: u64,
}

impl ScanCounter {
    pub(super) fn new(limit: u32) -> Self {
        Self {
            state: State::Seeking,
            scans: 0,
            limit: u64::from(limit),
        }
    }
}

impl Inspect for ScanCounter {
    fn inspect(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let mut rest = bytes;
        while let Some((byte, tail)) = rest.split_first() {
            rest = tail;
            self.state = match self.state {
                State::Seeking if *byte == 0xff => State::Marker,
                State::Seeking => {
                    let next = rest.iter().position(|byte| *byte == 0xff).unwrap_or(rest.len());
                    rest = rest.get(next..).unwrap_or_default();
                    State::Seeking
                }
                State::Marker => match byte {
                    0xff => State::Marker,
                    // Stuffed zeroes, restarts, start, end and TEM have no content.
                    0x00 | 0x01 | 0xd0..=0xd9 => State::Seeking,
                    0xda => {
                        self.scans += 1;
                        if self.scans > self.limit {
                            return Err(Stop::TooManyScans { limit: self.limit });
                        }
                        State::LengthHigh
                    }
                    _ => State::LengthHigh,
                },
                State::LengthHigh => State::LengthLow(*byte),
                State::LengthLow(high) => match u16::from_be_bytes([high, *byte]).saturating_sub(2) {
                    0 => State::Seeking,
                    left => State::Content(left),
                },
                State::Content(left) => {
                    // This byte and as many of the following as there are.
                    let skipped = rest.len().min(usize::from(left) - 1);
                    rest = rest.get(skipped..).unwrap_or_default();
                    match usize::from(left) - 1 - skipped {
                        0 => State::Seeking,
                        left => State::Content(u16::try_from(left).unwrap_or(u16::MAX)),
                    }
                }
            };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::ScanCounter;
    use crate::source::Inspect;

    /// A marker structure with `count` scans, and scan markers where they do not count.
    fn file(count: usize) -> Vec<u8> {
        let mut bytes = vec![0xff, 0xd8, 0xff, 0xe1, 0, 6, 0xff, 0xda, 0xff, 0xda];
        for _ in 0..count {
            bytes.extend([0xff, 0xff, 0xda, 0, 4, 0xff, 0xda, 1, 2, 0xff, 0x00, 3, 0xff, 0xd0, 4]);
        }
        bytes.extend([0xff, 0xd9]);
        bytes
    }

    #[test]
    fn scans_are_counted_across_any_cut() {
        for size in [1, 2, 3, 7, 1000] {
            let run = |count: usize| {
                let mut counter = ScanCounter::new(64);
                file(count).chunks(size).try_for_each(|chunk| counter.inspect(chunk))
            };
            assert!(run(64).is_ok(), "in chunks of {size}");
            assert!(run(65).is_err(), "in chunks of {size}");
        }
    }
}
