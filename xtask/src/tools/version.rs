//! Versions as tools print them: three numbers, somewhere in a line.

/// Major, minor, patch.
pub(super) type Version = (u64, u64, u64);

/// The first `a.b.c` in a text, as in `cargo-nextest 0.9.143 (60fa45f63 2026-08-04)` or `v20.20.2`.
pub(super) fn find(text: &str) -> Option<Version> {
    text.split(|character: char| character.is_whitespace() || character == '(')
        .find_map(|word| {
            let mut numbers = word
                .trim_start_matches('v')
                .split(['.', '-', '+'])
                .map(|part| part.parse().ok());
            Some((numbers.next()??, numbers.next()??, numbers.next()??))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_tools_print() {
        assert_eq!(find("wasm-bindgen 0.2.130\n"), Some((0, 2, 130)));
        assert_eq!(find("v20.20.2"), Some((20, 20, 2)));
        assert_eq!(find("worker-build 0.8.7 (abc)"), Some((0, 8, 7)));
        assert_eq!(find("1.2.3-beta.1"), Some((1, 2, 3)));
    }

    #[test]
    fn what_is_no_version_is_none() {
        assert_eq!(find("usage: tool [options]"), None);
        assert_eq!(find("1.2"), None);
        assert_eq!(find(""), None);
    }
}
