//! Request targets that are refused before anything is signed, keyed or forwarded.
//!
//! Two servers that read one path differently are how a request reaches what it should not: so a path that could be
//! read in two ways is refused outright.

/// Longest request target, in bytes.
pub const MAX_TARGET_BYTES: usize = 8192;

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// More than [`MAX_TARGET_BYTES`].
    #[error("the address is longer than {MAX_TARGET_BYTES} bytes")]
    TooLong,
    /// A backslash, as such or encoded.
    #[error("the path has a backslash")]
    Backslash,
    /// A NUL or another control character, as such or encoded.
    #[error("the path has a control character")]
    Control,
    /// `%2F`.
    #[error("the path has an encoded slash")]
    EncodedSlash,
    /// A `.` or `..` segment, as such or encoded.
    #[error("the path has a dot segment")]
    DotSegment,
    /// `%` without two hexadecimal digits.
    #[error("the path has a broken percent escape")]
    BrokenEscape,
}

/// Checks a path that is to be forwarded or routed as it stands.
///
/// # Errors
/// The first thing that could be read in two ways.
pub fn check(path: &str) -> Result<(), PathError> {
    if path.len() > MAX_TARGET_BYTES {
        return Err(PathError::TooLong);
    }
    for segment in path.split('/') {
        let decoded = decode_segment(segment)?;
        if decoded == b"." || decoded == b".." {
            return Err(PathError::DotSegment);
        }
        for byte in &decoded {
            match byte {
                b'/' => return Err(PathError::EncodedSlash),
                b'\\' => return Err(PathError::Backslash),
                0..=0x1F | 0x7F => return Err(PathError::Control),
                _ => {}
            }
        }
        // What decodes twice into something else was meant for a server that decodes twice.
        if decoded != segment.as_bytes() {
            let again = String::from_utf8_lossy(&decoded);
            if again.contains('%')
                && decode_segment(&again)
                    .is_ok_and(|twice| twice.iter().any(|b| matches!(b, b'/' | b'\\' | 0)) || twice == b"..")
            {
                return Err(PathError::DotSegment);
            }
        }
    }
    Ok(())
}

fn decode_segment(segment: &str) -> Result<Vec<u8>, PathError> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut out = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        out.push(if byte == b'%' {
            let (high, low) = (bytes.next().and_then(digit), bytes.next().and_then(digit));
            high.zip(low)
                .map(|(high, low)| high << 4 | low)
                .ok_or(PathError::BrokenEscape)?
        } else {
            byte
        });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::{PathError, check};
    use proptest::prelude::{any, proptest};

    #[test]
    fn plain_paths_pass() {
        for path in [
            "/",
            "/api/health",
            "/api/images/abc-123",
            "/api/content/caf%C3%A9",
            "/a.b/..c/...",
            "/100%25",
        ] {
            assert_eq!(check(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn paths_that_two_servers_read_differently_are_refused() {
        for (path, error) in [
            ("/api/../internal", PathError::DotSegment),
            ("/api/./x", PathError::DotSegment),
            ("/api/%2e%2e/internal", PathError::DotSegment),
            ("/api/.%2E/internal", PathError::DotSegment),
            ("/api/%252e%252e/internal", PathError::DotSegment),
            ("/api%2finternal", PathError::EncodedSlash),
            ("/api%252finternal", PathError::DotSegment),
            ("/api\\internal", PathError::Backslash),
            ("/api/%5cinternal", PathError::Backslash),
            ("/api/%00", PathError::Control),
            ("/api/%0d%0aX: y", PathError::Control),
            ("/api/%7f", PathError::Control),
            ("/api/%", PathError::BrokenEscape),
            ("/api/%zz", PathError::BrokenEscape),
        ] {
            assert_eq!(check(path), Err(error), "{path}");
        }
        assert_eq!(check(&format!("/{}", "a".repeat(9000))), Err(PathError::TooLong));
    }

    proptest! {
        #[test]
        fn any_path_is_survived(path in any::<String>()) {
            let _ = check(&path);
        }
    }
}
