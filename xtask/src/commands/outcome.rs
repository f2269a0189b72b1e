//! What a list of checks came to, as a table with times, and the line that CI reads.

use std::fmt::Write as _;
use std::time::Duration;

use xtask::progress;

/// How one step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    Passed,
    Failed(String),
    /// Something that the machine lacks; the text names it.
    NotRun(String),
}

/// One row of the table.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) took: Duration,
    pub(super) ending: Ending,
}

/// How many tests a runner counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) skipped: u64,
}

impl Count {
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
        }
    }

    /// The counts of nextest's line `Summary [ 1.2s] 12 tests run: 10 passed (1 slow), 2 failed, 3 skipped`.
    pub(super) fn of_nextest(output: &str) -> Option<(Self, String)> {
        let plain = strip_colours(output);
        let line = plain
            .lines()
            .map(str::trim)
            .rfind(|line| line.starts_with("Summary ["))?;
        let counts = line.split_once("run:")?.1;
        Some((Self::of_words(counts), line.to_owned()))
    }

    /// The sum over cargo test's lines `test result: ok. 3 passed; 0 failed; 1 ignored; ...`.
    pub(super) fn of_cargo_test(output: &str) -> Self {
        strip_colours(output)
            .lines()
            .filter_map(|line| line.trim().strip_prefix("test result:"))
            .fold(Self::default(), |sum, line| sum.and(Self::of_words(line)))
    }

    fn of_words(text: &str) -> Self {
        let words: Vec<&str> = text
            .split(|character: char| !character.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .collect();
        let mut count = Self::default();
        for pair in words.windows(2) {
            let Ok(number) = pair[0].parse::<u64>() else { continue };
            match pair[1] {
                "passed" => count.passed += number,
                "failed" | "timed" => count.failed += number,
                "skipped" | "ignored" => count.skipped += number,
                _ => {}
            }
        }
        count
    }
}

fn strip_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            // A sequence ends with a letter.
            for rest in characters.by_ref() {
                if rest.is_ascii_alphabetic() {
                    break;
                }
            }
        } else {
            plain.push(character);
        }
    }
    plain
}

/// The table, widest name first in width only.
pub(super) fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or_default();
    let mut table = String::new();
    for Row { name, took, ending } in rows {
        let (mark, note) = match ending {
            Ending::Passed => (progress::paint("32", "ok"), String::new()),
            Ending::Failed(why) => (progress::paint("1;31", "FAILED"), format!("  {why}")),
            Ending::NotRun(why) => (progress::paint("33", "not run:"), format!(" {why}")),
        };
        let _infallible = writeln!(table, "  {name:<width$}  {:>7}  {mark}{note}", progress::seconds(*took));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nextests_summary_is_read_with_and_without_colours() {
        let plain = "noise\n     Summary [  12.3s] 20 tests run: 18 passed (2 slow, 1 flaky), 1 failed, 1 timed out, 4 skipped\n";
        let wanted = Count {
            passed: 18,
            failed: 2,
            skipped: 4,
        };
        assert_eq!(Count::of_nextest(plain).unwrap().0, wanted);
        let coloured = plain
            .replace("Summary", "\u{1b}[32;1mSummary\u{1b}[0m")
            .replace("18", "\u{1b}[1m18\u{1b}[0m");
        assert_eq!(Count::of_nextest(&coloured).unwrap().0, wanted);
    }

    #[test]
    fn without_a_summary_nothing_was_counted() {
        assert_eq!(Count::of_nextest("error: could not compile"), None);
    }

    #[test]
    fn doc_tests_of_several_crates_are_summed() {
        let output = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s\n\
            test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured\n";
        assert_eq!(
            Count::of_cargo_test(output),
            Count {
                passed: 5,
                failed: 1,
                skipped: 1
            }
        );
    }

    #[test]
    fn the_table_names_what_was_not_run() {
        let rows = [Row {
            name: "browser".to_owned(),
            took: Duration::ZERO,
            ending: Ending::NotRun("no chromium".to_owned()),
        }];
        assert!(table(&rows).contains("browser") && table(&rows).contains("not run: no chromium"));
    }
}
