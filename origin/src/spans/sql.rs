//! SQL as spans: sqlx tells of each statement when it is done, and how long it took.

use kado_shared::span::{Attribute, MOST_TEXT};
use std::{collections::BTreeMap, fmt};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    subscriber::Interest,
};
use tracing_subscriber::{
    Layer,
    layer::{Context, Filter},
};

use super::{CURRENT, note};

/// Where sqlx tells of statements.
const TARGET: &str = "sqlx::query";

/// Makes spans of what sqlx tells.
pub(crate) struct SqlSpans;

impl SqlSpans {
    /// The layer, which hears of statements only.
    pub(crate) fn layer<S: Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>>() -> impl Layer<S> {
        Self.with_filter(Statements)
    }
}

struct Statements;

impl<S> Filter<S> for Statements {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        // Where no request is recorded, sqlx need not write down what it does.
        metadata.target() == TARGET && CURRENT.try_with(|_| ()).is_ok()
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if metadata.target() == TARGET {
            Interest::sometimes()
        } else {
            Interest::never()
        }
    }

    fn max_level_hint(&self) -> Option<tracing_subscriber::filter::LevelFilter> {
        Some(Level::DEBUG.into())
    }
}

impl<S: Subscriber> Layer<S> for SqlSpans {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut statement = Statement::default();
        event.record(&mut statement);
        let query = if statement.text.is_empty() {
            &statement.summary
        } else {
            &statement.text
        };
        let mut attributes = BTreeMap::from([
            ("db.system.name".to_owned(), Attribute::from("postgresql")),
            ("db.query.text".to_owned(), bounded(&one_line(query)).into()),
        ]);
        if let Some(rows) = statement.returned {
            attributes.insert("db.response.returned_rows".to_owned(), rows.into());
        }
        let name = summary(query);
        attributes.insert("db.query.summary".to_owned(), bounded(&name).into());
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a statement takes minutes at most"
        )]
        note(bounded(&name), (statement.seconds * 1e6) as u64, attributes);
    }
}

/// What sqlx tells of a statement; its values are never among that.
#[derive(Default)]
struct Statement {
    summary: String,
    text: String,
    returned: Option<i64>,
    seconds: f64,
}

impl Visit for Statement {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "summary" => self.summary = format!("{value:?}"),
            "db.statement" => self.text = format!("{value:?}"),
            _ => {}
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "summary" => value.clone_into(&mut self.summary),
            "db.statement" => value.clone_into(&mut self.text),
            _ => {}
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "rows_returned" {
            self.returned = i64::try_from(value).ok();
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == "elapsed_secs" {
            self.seconds = value;
        }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What a statement does and to what, as the conventions want it: `SELECT users`.
fn summary(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let operation = words.first().map(|word| word.to_ascii_uppercase()).unwrap_or_default();
    let table = words.windows(2).find_map(|pair| match pair {
        [keyword, table]
            if ["from", "into", "update"]
                .iter()
                .any(|word| keyword.eq_ignore_ascii_case(word)) =>
        {
            let name = table.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            (!name.is_empty() && !name.eq_ignore_ascii_case("select")).then_some(name)
        }
        _ => None,
    });
    match table {
        Some(table) => format!("{operation} {table}"),
        None => operation,
    }
}

fn bounded(text: &str) -> &str {
    let mut end = text.len().min(MOST_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{SqlSpans, summary};
    use crate::spans::{Recorder, Target, Tracing};
    use crate::{clock::testing::ManualClock, entropy::SystemEntropy};
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use tracing_subscriber::layer::SubscriberExt;

    #[test]
    fn a_statement_is_told_by_what_it_does_to_what() {
        for (text, wanted) in [
            ("select id\n from users where id = $1", "SELECT users"),
            (
                "insert into image_events (a) select b from unnest($1)",
                "INSERT image_events",
            ),
            ("UPDATE sessions SET a = 1", "UPDATE sessions"),
            ("with x as (select 1) delete from y", "WITH y"),
            ("begin", "BEGIN"),
            ("", ""),
        ] {
            assert_eq!(summary(text), wanted, "{text}");
        }
    }

    #[tokio::test]
    async fn what_sqlx_tells_becomes_a_span_within_a_request_only() {
        let tracing = Tracing {
            share: 1.0,
            target: Target::Stdout,
        };
        let recorder = Recorder::new(Some(tracing), Arc::new(ManualClock::default()), Arc::new(SystemEntropy));
        let mut queue = recorder.0.as_ref().unwrap().take_queue().unwrap();
        let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(SqlSpans::layer()));
        let tell = || {
            tracing::event!(
                target: "sqlx::query",
                tracing::Level::DEBUG,
                summary = "select id from users …",
                db.statement = "select id\n from users where email = $1",
                rows_affected = 1u64,
                rows_returned = 1u64,
                elapsed_secs = 0.0025,
            );
        };
        tell();
        let begun = recorder.begin(None).unwrap();
        begun.within(async { tell() }).await;
        let span = queue.try_recv().unwrap().span;
        assert_eq!((span.name.as_str(), span.duration), ("SELECT users", 2500));
        assert_eq!(
            span.attributes["db.query.text"],
            "select id from users where email = $1".into()
        );
        assert_eq!(span.attributes["db.response.returned_rows"], 1.into());
        assert!(queue.try_recv().is_err());
        begun.end(String::new(), BTreeMap::new(), None);
    }
}
