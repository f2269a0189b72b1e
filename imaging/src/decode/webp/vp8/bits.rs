//! The boolean decoder: bits of known probability out of an arithmetic code (RFC 6386, section 7).

/// Where decoding stands. Who reads much takes a copy for it: what a reference to is given away cannot stay in registers.
#[derive(Clone, Copy)]
pub(super) struct Bits {
    /// The next bits of the data, first one on top, less what has been decoded of them.
    value: u64,
    /// How many of them are valid.
    count: u32,
    /// The size of the interval, 1 to 255. It is made at least 128 large, and the value moved with it, by the next read:
    /// so the shift need not be known before the next product is begun.
    size: u32,
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
            size: 255,
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

    /// With at least 8 valid bits, where there were fewer. By value, and a call: it is made for every seventh byte only.
    #[cold]
    #[inline(never)]
    fn refilled(mut self, bytes: &[u8]) -> Self {
        let rest = bytes.get(self.position..).unwrap_or_default();
        if let Some(next) = rest.first_chunk() {
            // Of the eighth byte only the top bits fit. They come again with the next refill.
            self.value |= u64::from_be_bytes(*next) >> self.count;
            self.position += 7;
            self.count += 56;
            return self;
        }
        if rest.is_empty() {
            self.position = OVERRUN;
            self.count += 56;
            return self;
        }
        for byte in rest {
            self.value |= u64::from(*byte) << (56 - self.count);
            self.count += 8;
            self.position += 1;
        }
        self
    }

    /// Makes the interval large enough; says by which power of 2.
    #[inline(always)]
    fn normalise(&mut self, bytes: &[u8]) -> u32 {
        // The size is never 0; said so, counting takes no test for that.
        let shift = 7 ^ (self.size | 1).ilog2();
        self.value <<= shift;
        self.count -= shift;
        if self.count < 8 {
            *self = self.refilled(bytes);
        }
        shift
    }

    /// Halves the interval at `split` of its places, and says which part the value lies in. Each way to its end: joined,
    /// they would wait for the comparison, which the processor can guess instead.
    #[inline(always)]
    const fn divide(&mut self, split: u32, size: u32) -> bool {
        let threshold = (split as u64) << 56;
        if self.value >= threshold {
            self.value -= threshold;
            self.size = size - split;
            true
        } else {
            self.size = split;
            false
        }
    }

    /// A bit that is 0 with a probability of so many in 256.
    #[inline(always)]
    pub(super) fn read(&mut self, bytes: &[u8], probability: u8) -> bool {
        let (size, probability) = (self.size, u32::from(probability));
        let product = size * probability;
        let shift = self.normalise(bytes);
        self.divide(1 + (((product << shift) - probability) >> 8), size << shift)
    }

    /// A bit that is as often 0 as 1.
    #[inline(always)]
    pub(super) fn read_sign(&mut self, bytes: &[u8]) -> bool {
        let size = self.size;
        let size = size << self.normalise(bytes);
        self.divide((size + 1) >> 1, size)
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
            mut bytes in proptest::collection::vec(any::<u8>(), 2..200), probabilities in proptest::collection::vec(any::<u8>(), 1..900),
        ) {
            // What an encoder never begins with: it lies beyond the first interval.
            bytes[0] = bytes[0].min(254);
            let mut plain = Plain { bytes: &bytes[2..], value: u32::from(bytes[0]) << 8 | u32::from(bytes[1]), range: 255, shifts: 0 };
            let mut bits = Bits::start();
            for probability in probabilities {
                if probability == 128 {
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
