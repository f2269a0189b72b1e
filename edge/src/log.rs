//! One JSON object a line on the runtime's log, redacted.

use kado_shared::redact;
use serde_json::Value;

/// Writes a line.
pub(crate) fn line(value: &Value) {
    crate::js::log(&redact::log_line(value.clone()));
}
