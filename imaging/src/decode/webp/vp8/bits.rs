//! The boolean decoder: bits of known probability out of an arithmetic code (RFC 6386, section 7).

/// Where decoding stands. By value wherever a call is not inlined: what a reference to is given away cannot stay in
/// registers.
#[derive(Clone, Copy)]
pub(super) struct Bits {
    /// The next bits of the data, first one on top, less what has been decoded of them.
    value: u64,
    /// How many of them are valid.
    count: u32,
    /// One less than the size of the interval, which is 128 to 255.
    range: u32,
    /// Index of the next byte that has not been taken.
    position: usize,
}

/// Position of a decoder that took more than there was.
const OVERRUN: usize = usize::MAX;

impl Bits {
    pub(super) const fn start() -> Self {
        Self {
            value: 0,
            count: 0,
            range: 254,
            position: 0,
        }
    }

    /// Bytes that have been taken.
    pub(super) const fn position(&self) -> usize {
        self.position
    }

    /// Whether bits were read that the data do not have.
    pub(super) const fn is_overrun(&self) -> bool {
        self.position == OVERRUN
    }

    /// The same, with so many of the first bytes gone.
    pub(super) const fn without(mut self, bytes: usize) -> Self {
        self.position = self.position.saturating_sub(bytes);
        self
    }

    #[inline(always)]
    fn refill(&mut self, bytes: &[u8]) {
        match bytes.get(self.position..).and_then(<[u8]>::first_chunk) {
            Some(next) => {
                // Of the eighth byte only the top bits fit. They come again with the next refill.
                self.value |= u64::from_be_bytes(*next) >> self.count;
                self.position += 7;
                self.count += 56;
            }
            None => *self = self.refilled_at_end(bytes),
        }
    }

    #[cold]
    #[inline(never)]
    fn refilled_at_end(mut self, bytes: &[u8]) -> Self {
        let rest = bytes.get(self.position..).unwrap_or_default();
        if rest.is_empty() {
            self.position = OVERRUN;
            self.count += 56;
            return self;
        }
        for byte in rest {
            if self.count > 56 {
                break;
            }
            self.value |= u64::from(*byte) << (56 - self.count);
            self.count += 8;
            self.position += 1;
        }
        self
    }

    /// A bit that is 0 with a probability of so many in 256.
    #[inline(always)]
    pub(super) fn read(&mut self, bytes: &[u8], probability: u8) -> bool {
        if self.count < 8 {
            self.refill(bytes);
        }
        let split = (self.range * u32::from(probability)) >> 8;
        let threshold = u64::from(split + 1) << 56;
        // Each way to its end: joined, they would wait for the comparison, which the processor can guess instead.
        if self.value >= threshold {
            self.value -= threshold;
            self.normalise(self.range - split);
            true
        } else {
            self.normalise(split + 1);
            false
        }
    }

    /// Makes an interval of `size` at least 128 large.
    #[inline(always)]
    const fn normalise(&mut self, size: u32) {
        // It is never 0; said so, counting takes no test for that.
        let shift = 7 ^ (size | 1).ilog2();
        self.range = (size << shift) - 1;
        self.value <<= shift;
        self.count -= shift;
    }

    /// A bit that is as often 0 as 1, not as the first of the data: then the interval is halved exactly once.
    #[inline(always)]
    pub(super) fn read_sign(&mut self, bytes: &[u8]) -> bool {
        if self.count < 8 {
            self.refill(bytes);
        }
        let split = self.range >> 1;
        let threshold = u64::from(split + 1) << 56;
        let bit = self.value >= threshold;
        if bit {
            self.value -= threshold;
        }
        self.range = (self.range - u32::from(bit)) | 1;
        self.value <<= 1;
        self.count -= 1;
        bit
    }

    /// A flag.
    pub(super) fn flag(&mut self, bytes: &[u8]) -> bool {
        self.read(bytes, 128)
    }

    /// A number of so many bits, the highest one first.
    pub(super) fn literal(&mut self, bytes: &[u8], bits: u32) -> u8 {
        (0..bits).fold(0, |value, _| value << 1 | u8::from(self.flag(bytes)))
    }

    /// A number and then its sign, where a flag says that there is one; 0 otherwise.
    pub(super) fn optional_signed(&mut self, bytes: &[u8], bits: u32) -> i32 {
        if !self.flag(bytes) {
            return 0;
        }
        let value = i32::from(self.literal(bytes, bits));
        if self.flag(bytes) { -value } else { value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The decoder as the RFC has it: two bytes at hand, and a shift for every bit.
    struct Plain<'a> {
        bytes: &'a [u8],
        value: u32,
        range: u32,
        shifts: u32,
    }

    impl Plain<'_> {
        fn read(&mut self, probability: u8) -> bool {
            let split = 1 + (((self.range - 1) * u32::from(probability)) >> 8);
            let bit = self.value >= split << 8;
            if bit {
                self.range -= split;
                self.value -= split << 8;
            } else {
                self.range = split;
            }
            while self.range < 128 {
                self.range <<= 1;
                self.value <<= 1;
                self.shifts += 1;
                if self.shifts == 8 {
                    self.shifts = 0;
                    let (next, rest) = self.bytes.split_first().unwrap_or((&0, &[]));
                    self.value |= u32::from(*next);
                    self.bytes = rest;
                }
            }
            bit
        }
    }

    proptest! {
        #[test]
        fn bits_are_those_of_the_plain_decoder(
            bytes in proptest::collection::vec(any::<u8>(), 2..200), probabilities in proptest::collection::vec(any::<u8>(), 1..900),
        ) {
            let mut plain = Plain { bytes: &bytes[2..], value: u32::from(bytes[0]) << 8 | u32::from(bytes[1]), range: 255, shifts: 0 };
            let mut bits = Bits::start();
            for (index, probability) in probabilities.into_iter().enumerate() {
                if index > 0 && probability == 128 {
                    prop_assert_eq!(bits.read_sign(&bytes), plain.read(128));
                } else {
                    prop_assert_eq!(bits.read(&bytes, probability), plain.read(probability));
                }
            }
        }
    }

    #[test]
    fn reading_past_the_end_is_seen() {
        let bytes = [0; 20];
        let mut bits = Bits::start();
        // A bit of this probability takes one bit of the data, and eight have to be at hand.
        let readable = (0..400).take_while(|_| {
            bits.read(&bytes, 128);
            !bits.is_overrun()
        });
        assert_eq!(readable.count(), 8 * 20 - 7 + 1);
    }
}
