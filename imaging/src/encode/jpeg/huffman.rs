//! The shortest code for symbols of given frequencies that a JPEG can have.

/// How often each symbol comes.
#[derive(Clone)]
pub(super) struct Frequencies(pub(super) [u32; 256]);

impl Frequencies {
    pub(super) const fn new() -> Self {
        Self([0; 256])
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|frequency| *frequency == 0)
    }

    /// Bits of all symbols by their best code, of what is behind them, and of the code's segment.
    pub(super) fn bits(&self) -> u64 {
        let code = Code::new(self);
        let symbols = self
            .0
            .iter()
            .zip(0u8..=255)
            .map(|(frequency, symbol)| u64::from(*frequency) * u64::from(code.of(symbol).1 + behind(symbol)));
        symbols.sum::<u64>() + 8 * (4 + code.table(0).len() as u64)
    }
}

/// Bits behind a symbol of either kind: as many as its value has, or its run of blocks without any.
pub(super) const fn behind(symbol: u8) -> u8 {
    match (symbol >> 4, symbol & 15) {
        (15, 0) => 0,
        (run, 0) => run,
        (_, size) => size,
    }
}

/// A prefix code: for each symbol its bits and their number, 0 for one that has none.
pub(super) struct Code {
    /// Symbols of each length from 1 on.
    counts: [u8; 16],
    /// Symbols by length, then value.
    symbols: Vec<u8>,
    codes: [(u16, u8); 256],
}

/// The longest code.
const LONGEST: usize = 16;

impl Code {
    pub(super) fn new(frequencies: &Frequencies) -> Self {
        let mut symbols: Vec<(u32, usize)> = Vec::new();
        for (symbol, frequency) in frequencies.0.iter().enumerate() {
            if *frequency > 0 {
                symbols.push((*frequency, symbol));
            }
        }
        let lengths = lengths(&symbols);
        let mut by_length: Vec<(u8, u8)> = symbols
            .iter()
            .zip(lengths)
            .map(|((_, symbol), length)| (length, *symbol as u8))
            .collect();
        by_length.sort_unstable();
        let (mut counts, mut codes) = ([0u8; 16], [(0, 0); 256]);
        let (mut code, mut last) = (0u16, 0);
        for (length, symbol) in &by_length {
            code <<= length - last;
            last = *length;
            if let Some(entry) = codes.get_mut(usize::from(*symbol)) {
                *entry = (code, *length);
            }
            if let Some(count) = counts.get_mut(usize::from(*length) - 1) {
                *count += 1;
            }
            code += 1;
        }
        Self {
            counts,
            symbols: by_length.into_iter().map(|(_, symbol)| symbol).collect(),
            codes,
        }
    }

    /// The payload of a DHT segment.
    pub(super) fn table(&self, class_and_number: u8) -> Vec<u8> {
        let mut table = vec![class_and_number];
        table.extend(self.counts);
        table.extend(&self.symbols);
        table
    }

    #[inline(always)]
    pub(super) fn of(&self, symbol: u8) -> (u16, u8) {
        self.codes.get(usize::from(symbol)).copied().unwrap_or((0, 0))
    }
}

/// Lengths by package-merge: of all codes of at most sixteen bits the shortest. One more symbol, which never comes, takes
/// the code of all ones, which JPEG forbids.
fn lengths(symbols: &[(u32, usize)]) -> Vec<u8> {
    let count = symbols.len();
    // A package is a weight and how often each symbol is in it; the forbidden one is the last.
    let mut leaves: Vec<(u64, Vec<u16>)> = Vec::with_capacity(count + 1);
    leaves.push((0, vec![count as u16]));
    for (index, (frequency, _)) in symbols.iter().enumerate() {
        leaves.push((u64::from(*frequency), vec![index as u16]));
    }
    leaves.sort_by_key(|(weight, _)| *weight);
    let mut packages: Vec<(u64, Vec<u16>)> = Vec::new();
    for _ in 0..LONGEST {
        let mut merged = leaves.clone();
        merged.extend(packages.chunks_exact(2).filter_map(|pair| match pair {
            [(a, first), (b, second)] => Some((a + b, [first.as_slice(), second].concat())),
            _ => None,
        }));
        merged.sort_by_key(|(weight, _)| *weight);
        packages = merged;
    }
    let mut lengths = vec![0u8; count + 1];
    for (_, members) in packages.iter().take(2 * count) {
        for member in members {
            if let Some(length) = lengths.get_mut(usize::from(*member)) {
                *length += 1;
            }
        }
    }
    lengths.truncate(count);
    lengths
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn codes_are_free_of_prefixes_and_leave_the_ones(
            entries in proptest::collection::vec((any::<u8>(), prop_oneof![1u32..9, 1u32..1_000_000]), 1..256),
        ) {
            let mut frequencies = Frequencies::new();
            for (symbol, frequency) in &entries { frequencies.0[usize::from(*symbol)] = *frequency; }
            let code = Code::new(&frequencies);
            let used: Vec<(u16, u8)> = (0..=255).filter(|symbol| frequencies.0[usize::from(*symbol)] > 0).map(|symbol| code.of(symbol)).collect();
            prop_assert!(used.iter().all(|(_, length)| (1..=16).contains(length)));
            let sum: u32 = used.iter().map(|(_, length)| 1u32 << (16 - length)).sum();
            prop_assert!(sum < 1 << 16, "there is room for the code of all ones");
            for (bits, length) in &used {
                prop_assert!(u32::from(*bits) != (1 << length) - 1, "all ones");
            }
        }
    }

    #[test]
    fn the_commonest_symbol_is_the_shortest() {
        let mut frequencies = Frequencies::new();
        for (symbol, frequency) in [(7, 100), (9, 30), (200, 20), (3, 1)] {
            frequencies.0[symbol] = frequency;
        }
        let code = Code::new(&frequencies);
        assert_eq!([7, 9, 200, 3].map(|symbol| code.of(symbol).1), [1, 2, 3, 4]);
        assert_eq!(code.table(0x10)[..6], [0x10, 1, 1, 1, 1, 0]);
    }
}
