//! One JSON object a line on the runtime's log, redacted.

use kado_shared::redact;
use serde_json::Value;

/// Writes a line.
pub(crate) fn line(value: &Value) {
    let mut value = value.clone();
    redact::redact_json(&mut value);
    crate::js::log(&value.to_string());
}
