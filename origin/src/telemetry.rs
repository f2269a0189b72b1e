//! Logs: one JSON object a line on stdout, with nothing secret in it.

use kado_shared::redact::log_line;
use serde_json::{Map, Value};
use std::{
    fmt,
    io::Write,
    sync::{Mutex, PoisonError},
};
use time::format_description::well_known::Rfc3339;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter, Layer,
    layer::{Context, SubscriberExt},
    util::SubscriberInitExt,
};

use crate::{clock::SharedClock, spans::SqlSpans};

/// What is logged where `KADO_LOG` says nothing.
const DEFAULT_FILTER: &str = "info,sqlx=warn,hyper=warn";

/// Sends events to stdout from here on, and where `traced` what sqlx tells of statements to the spans. Later calls change
/// nothing.
pub(crate) fn init(clock: SharedClock, traced: bool) {
    let filter = EnvFilter::try_from_env("KADO_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let lines = JsonLines {
        clock,
        out: Mutex::new(std::io::stdout()),
    };
    let _ = tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(traced.then(SqlSpans::layer))
        .try_init();
}

struct JsonLines<W> {
    clock: SharedClock,
    out: Mutex<W>,
}

impl<S: Subscriber, W: Write + Send + 'static> Layer<S> for JsonLines<W> {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields(Map::new());
        fields.0.insert(
            "time".into(),
            self.clock.now().format(&Rfc3339).unwrap_or_default().into(),
        );
        fields.0.insert(
            "level".into(),
            event.metadata().level().as_str().to_ascii_lowercase().into(),
        );
        fields.0.insert("target".into(), event.metadata().target().into());
        event.record(&mut fields);
        let line = log_line(Value::Object(fields.0)) + "\n";
        // Nobody is left to tell that the log cannot be written.
        let _ = self
            .out
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write_all(line.as_bytes());
    }
}

struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::JsonLines;
    use crate::clock::testing::ManualClock;
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };
    use tracing_subscriber::layer::SubscriberExt;

    /// The lines logged while its guard lives, on this thread.
    #[derive(Clone, Default)]
    pub(crate) struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Captured {
        /// Begins to capture.
        pub(crate) fn start() -> (Self, tracing::subscriber::DefaultGuard) {
            let captured = Self::default();
            let lines = JsonLines {
                clock: Arc::new(ManualClock::default()),
                out: Mutex::new(captured.clone()),
            };
            let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(lines));
            (captured, guard)
        }

        /// Every line so far, parsed.
        pub(crate) fn lines(&self) -> Vec<serde_json::Value> {
            let bytes = self.0.lock().unwrap().clone();
            String::from_utf8(bytes)
                .unwrap()
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect()
        }
    }

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::Captured;
    use kado_shared::redact::log_line;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
    use serde_json::json;

    #[test]
    fn an_event_is_one_object_without_secrets() {
        let (captured, _guard) = Captured::start();
        tracing::info!(
            event = "login",
            password = "hunter2",
            ms = 3_u64,
            email = "alice@example.com",
            "Bearer abc.def tried"
        );
        let lines = captured.lines();
        assert_eq!(lines.len(), 1);
        assert_eq!(
            (&lines[0]["event"], &lines[0]["ms"], &lines[0]["level"]),
            (&json!("login"), &json!(3), &json!("info"))
        );
        let text = lines[0].to_string();
        assert!(
            !text.contains("hunter2") && !text.contains("alice") && !text.contains("abc.def"),
            "{text}"
        );
    }

    proptest! {
        #[test]
        fn no_value_forges_a_line(text in any::<String>()) {
            let line = log_line(json!({ "route": text }));
            prop_assert_eq!(line.lines().count(), 1);
            prop_assert!(!line.chars().any(char::is_control));
            prop_assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok());
        }
    }
}
