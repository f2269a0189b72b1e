//! A child's standard output and error, line by line into the log.

use std::io::Write;

use serde::de::IgnoredAny;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

/// A longer line is cut, so that a child that never ends its line takes no memory.
const MAX_LINE: u64 = 64 * 1024;

/// Forwards until the stream ends. A line that is a JSON object is a log line of the Worker and passes unchanged;
/// any other becomes one that says where it came from.
pub(crate) async fn forward(from: impl AsyncRead + Unpin, process: String, stream: &'static str) {
    let mut reader = BufReader::new(from);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(line.trim_ascii_end());
        if text.is_empty() {
            continue;
        }
        if is_json_object(&text) {
            // Nobody to tell when the log itself is gone.
            let _ = writeln!(std::io::stdout().lock(), "{text}");
        } else {
            tracing::info!(event = "process-output", process, stream, line = %text, "a process wrote");
        }
    }
}

fn is_json_object(text: &str) -> bool {
    text.starts_with('{') && text.ends_with('}') && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_objects_pass_unchanged() {
        assert!(is_json_object(r#"{"event":"request","status":200}"#));
        for other in ["", "{", "{}x}", "[1]", "\"a\"", "{not json}", "Error: {\"a\":1}"] {
            assert!(!is_json_object(other), "{other}");
        }
    }

    #[tokio::test]
    async fn a_line_without_end_is_read_in_bounded_pieces() {
        let (mut writer, reader) = tokio::io::duplex(1024);
        let reading = tokio::spawn(forward(reader, "test".to_owned(), "stdout"));
        for _ in 0..200 {
            tokio::io::AsyncWriteExt::write_all(&mut writer, &[b'x'; 1024])
                .await
                .unwrap();
        }
        drop(writer);
        reading.await.unwrap();
    }
}
