//! The shortest codes of limited length, and the codes of given lengths as deflate has them (RFC 1951, 3.2.2).
//!
//! JPEG's codes are made by package-merge, which loses nothing where codes are cut. It takes 300 microseconds for as many
//! symbols and this takes 5, of which a PNG of a megapixel has a hundred.

/// A code of a symbol, turned round as a stream has it, and its length.
pub(super) type Code = (u16, u8);

/// Lengths of a prefix code of at most `longest` bits, 0 for what never comes: Huffman's, of which those that are longer are
/// cut and paid for by the longest of the others.
pub(super) fn lengths(frequencies: &[u32], longest: u8) -> Vec<u8> {
    let mut leaves: Vec<(u32, usize)> = frequencies
        .iter()
        .zip(0..)
        .filter(|(frequency, _)| **frequency > 0)
        .map(|(frequency, symbol)| (*frequency, symbol))
        .collect();
    leaves.sort_unstable();
    let mut lengths = vec![0; frequencies.len()];
    // How many codes there are of each length, from what Huffman's tree says of its leaves.
    let mut counts = vec![0u32; usize::from(longest) + 1];
    for depth in depths(&leaves.iter().map(|(frequency, _)| *frequency).collect::<Vec<u32>>()) {
        if let Some(count) = counts.get_mut(usize::from(depth.min(longest))) {
            *count += 1;
        }
    }
    // In parts of the longest code: what is over one whole has to be given back.
    let mut over: i64 = counts
        .iter()
        .zip(0u32..)
        .skip(1)
        .map(|(count, length)| i64::from(*count) << (u32::from(longest) - length))
        .sum::<i64>()
        - (1_i64 << longest);
    while over > 0 {
        // One of the longest takes the place next to a shorter one, which becomes a bit longer.
        let Some(shorter) = (1..usize::from(longest))
            .rev()
            .find(|length| counts.get(*length).is_some_and(|count| *count > 0))
        else {
            break;
        };
        for (length, change) in [(shorter, -1), (shorter + 1, 2), (usize::from(longest), -1)] {
            if let Some(count) = counts.get_mut(length) {
                *count = count.wrapping_add_signed(change);
            }
        }
        over -= 1;
    }
    let longest_first = (0..=longest)
        .zip(counts)
        .rev()
        .flat_map(|(length, count)| std::iter::repeat_n(length, count as usize));
    for ((_, symbol), length) in leaves.iter().zip(longest_first) {
        if let Some(entry) = lengths.get_mut(*symbol) {
            *entry = length;
        }
    }
    lengths
}

/// How deep the leaves of Huffman's tree are. They are given from the rarest on.
fn depths(frequencies: &[u32]) -> Vec<u8> {
    let count = frequencies.len();
    if count < 2 {
        return vec![1; count];
    }
    // The parents' frequencies come in order as well, so each is made of the two first of two queues.
    let mut parent_of = vec![0usize; 2 * count - 1];
    let mut weights: Vec<u64> = frequencies.iter().map(|frequency| u64::from(*frequency)).collect();
    let (mut leaf, mut parent) = (0, count);
    for node in count..2 * count - 1 {
        let mut weight = 0;
        for _ in 0..2 {
            let (of_leaf, of_parent) = (weights.get(leaf).filter(|_| leaf < count), weights.get(parent));
            let from_leaf = match (of_leaf, of_parent) {
                (Some(leaf), Some(parent)) => leaf <= parent,
                (leaf, _) => leaf.is_some(),
            };
            let next = if from_leaf { &mut leaf } else { &mut parent };
            weight += weights.get(*next).copied().unwrap_or_default();
            if let Some(entry) = parent_of.get_mut(*next) {
                *entry = node;
            }
            *next += 1;
        }
        weights.push(weight);
    }
    let mut depths = vec![0u8; 2 * count - 1];
    for node in (0..2 * count - 2).rev() {
        let above = parent_of
            .get(node)
            .and_then(|parent| depths.get(*parent))
            .copied()
            .unwrap_or_default();
        if let Some(depth) = depths.get_mut(node) {
            *depth = above.saturating_add(1);
        }
    }
    depths.truncate(count);
    depths
}

/// The codes of these lengths, turned round as a stream has them, each with its length.
pub(super) fn codes(lengths: &[u8]) -> Vec<Code> {
    let mut codes = vec![(0, 0); lengths.len()];
    let (mut code, mut last) = (0u16, 0);
    let longest = lengths.iter().copied().max().unwrap_or_default();
    for length in 1..=longest {
        code <<= length - last;
        last = length;
        for (entry, of) in codes.iter_mut().zip(lengths) {
            if *of == length {
                *entry = (code.reverse_bits() >> (16 - length), length);
                code += 1;
            }
        }
    }
    codes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LONGEST: u8 = 14;
    const SYMBOLS: usize = 286;

    proptest! {
        #[test]
        fn codes_are_complete_and_no_longer_than_they_may_be(
            frequencies in proptest::collection::vec(prop_oneof![Just(0u32), 1u32..9, 1u32..1_000_000], 2..=SYMBOLS), few in any::<bool>(),
        ) {
            let longest = if few { 7 } else { LONGEST };
            let frequencies = &frequencies[..if few { frequencies.len().min(19) } else { frequencies.len() }];
            prop_assume!(frequencies.iter().filter(|frequency| **frequency > 0).count() >= 2);
            let lengths = lengths(frequencies, longest);
            let mut whole = 0u32;
            for (length, frequency) in lengths.iter().zip(frequencies) {
                prop_assert_eq!(*length > 0, *frequency > 0);
                prop_assert!(*length <= longest);
                if *length > 0 { whole += 1 << (longest - length); }
            }
            prop_assert_eq!(whole, 1 << longest);
        }
    }

    #[test]
    fn frequencies_that_grow_like_fibonaccis_are_cut_to_the_longest_code() {
        let mut frequencies = [0u32; SYMBOLS];
        let (mut a, mut b) = (1, 1);
        for frequency in frequencies.iter_mut().take(40) {
            *frequency = a;
            (a, b) = (b, a + b);
        }
        let lengths = lengths(&frequencies, LONGEST);
        assert_eq!(lengths.iter().copied().max(), Some(LONGEST));
        let whole: u32 = lengths
            .iter()
            .filter(|length| **length > 0)
            .map(|length| 1 << (LONGEST - length))
            .sum();
        assert_eq!(whole, 1 << LONGEST);
    }
}
