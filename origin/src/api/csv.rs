//! Lists as CSV (RFC 4180), for `Accept: text/csv` or `?format=csv`: all of a list, fetched and sent batch by batch, so that
//! a list of any length takes the memory of one.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use std::borrow::Cow;

use super::page::Cursor;
use crate::http::failure::{Failure, chain};

/// Rows of a batch.
pub(crate) const BATCH: i64 = 200;

/// Some lines, and after which row the next ones begin.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) lines: String,
    pub(crate) next: Option<Cursor>,
}

impl Batch {
    /// Rows, of which one more than [`BATCH`] was asked for.
    pub(crate) fn of<T>(mut rows: Vec<T>, line: impl Fn(&T) -> String, position: impl Fn(&T) -> Cursor) -> Self {
        let kept = usize::try_from(BATCH).unwrap_or(usize::MAX);
        let more = rows.len() > kept;
        rows.truncate(kept);
        Self {
            lines: rows.iter().map(line).collect(),
            next: rows.last().filter(|_| more).map(position),
        }
    }
}

/// Refuses pages of what is sent as a whole.
pub(crate) fn refuse_position(limit: Option<&str>, cursor: Option<&str>) -> Result<(), Failure> {
    let given = [("limit", limit), ("cursor", cursor)];
    match given.into_iter().find(|(_, value)| value.is_some()) {
        Some((name, _)) => Err(Failure::field(name, "is not for CSV, which has all of the list")),
        None => Ok(()),
    }
}

/// Whether the list is wanted as CSV. `format` decides where it is given.
///
/// # Errors
/// A format that there is not.
pub(crate) fn is_wanted(format: Option<&str>, headers: &HeaderMap) -> Result<bool, Failure> {
    match format {
        Some("csv") => Ok(true),
        Some("json") => Ok(false),
        Some(_) => Err(Failure::field("format", "must be json or csv")),
        None => {
            let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
            let first = accept.unwrap_or_default().split([',', ';']).next().unwrap_or_default();
            Ok(first.trim().eq_ignore_ascii_case("text/csv"))
        }
    }
}

/// What begins a formula.
const FORMULA: [char; 4] = ['=', '+', '-', '@'];
/// What ends a cell where cells are separated by semicolons or tabs. Such a reader knows quotes only at a cell's very
/// beginning, which ours are not for it, and so splits what is quoted.
const FOREIGN_ENDS: [char; 4] = [';', '\t', '\r', '\n'];

/// One line. A cell that a spreadsheet would take for a formula is quoted with an apostrophe, which makes it text, and so is
/// what a spreadsheet with other separators would take for a cell that is one.
pub(crate) fn line<'a>(cells: impl IntoIterator<Item = &'a str>) -> String {
    let mut line = String::new();
    for (index, cell) in cells.into_iter().enumerate() {
        if index > 0 {
            line.push(',');
        }
        let cell = without_formulas(cell);
        if matches!(cell, Cow::Owned(_)) || cell.contains([',', '"']) {
            line.push('"');
            line.push_str(&cell.replace('"', "\"\""));
            line.push('"');
        } else {
            line.push_str(&cell);
        }
    }
    line.push_str("\r\n");
    line
}

/// The cell as it is, or, where it has to be quoted, with an apostrophe in front of every formula: at its beginning, and
/// wherever a reader with other separators begins a cell. Quotes and spaces may stand before it: doubled, such a reader takes
/// quotes for nothing, and some trim.
fn without_formulas(cell: &str) -> Cow<'_, str> {
    let is_formula = |text: &str| text.trim_start_matches(['"', ' ']).starts_with(FORMULA);
    let mut at_start = is_formula(cell) || cell.starts_with(['\t', '\r', '\n']);
    if !at_start && !cell.contains(FOREIGN_ENDS) {
        return Cow::Borrowed(cell);
    }
    let mut text = String::with_capacity(cell.len() + 1);
    for part in cell.split_inclusive(FOREIGN_ENDS) {
        if std::mem::take(&mut at_start) || is_formula(part) {
            text.push('\'');
        }
        text.push_str(part);
    }
    Cow::Owned(text)
}

/// What is left to send.
enum Rest {
    Lines(Batch),
    After(Cursor),
    Nothing,
}

/// The answer: a heading, and what `fetch` finds after each position.
///
/// # Errors
/// What the first batch fails with. Where a later one fails, the answer is cut, so that nobody takes it for whole.
pub(crate) async fn answer<F, W>(name: &str, heading: &[&str], fetch: F) -> Result<Response, Failure>
where
    F: Fn(Option<Cursor>) -> W + Send + 'static,
    W: Future<Output = Result<Batch, Failure>> + Send,
{
    let mut first = fetch(None).await?;
    first.lines.insert_str(0, &line(heading.iter().copied()));
    let lines = stream::try_unfold((Rest::Lines(first), fetch), async |(rest, fetch)| {
        let batch = match rest {
            Rest::Lines(batch) => batch,
            Rest::After(cursor) => fetch(Some(cursor)).await.map_err(|failure| {
                let cut = Cut(failure.cause().unwrap_or_default().to_owned());
                tracing::error!(event = "export-cut", error = %chain(&cut));
                cut
            })?,
            Rest::Nothing => return Ok::<_, Cut>(None),
        };
        let rest = batch.next.map_or(Rest::Nothing, Rest::After);
        Ok(Some((batch.lines, (rest, fetch))))
    });
    let mut response = Body::from_stream(lines).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/csv; charset=utf-8; header=present"),
    );
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{name}.csv\"")) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

#[derive(Debug, thiserror::Error)]
#[error("the rest of the list could not be read: {0}")]
struct Cut(String);

#[cfg(test)]
mod tests {
    use super::{is_wanted, line};
    use axum::http::{HeaderMap, HeaderValue};
    use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

    #[test]
    fn no_cell_is_a_formula_and_every_cell_comes_back() {
        for (cell, written) in [
            ("plain", "plain"),
            ("", ""),
            ("a,b", "\"a,b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("=1+1", "\"'=1+1\""),
            ("+1", "\"'+1\""),
            ("-1", "\"'-1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("\t=1", "\"'\t'=1\""),
            ("\r=1", "\"'\r'=1\""),
            ("=HYPERLINK(\"a\")", "\"'=HYPERLINK(\"\"a\"\")\""),
            ("Mozilla/5.0 (X11; Linux)", "\"Mozilla/5.0 (X11; Linux)\""),
            ("a;=1+1;b", "\"a;'=1+1;b\""),
            ("a;\"=1+1", "\"a;'\"\"=1+1\""),
            (" =1+1", "\"' =1+1\""),
        ] {
            assert_eq!(line(["a", cell]), format!("a,{written}\r\n"));
        }
    }

    /// Cells as somebody reads them whose separator is this: quotes count at a cell's beginning only.
    fn read(text: &str, separator: char) -> Vec<String> {
        let (mut cells, mut cell, mut rest) = (Vec::new(), String::new(), text.chars().peekable());
        let (mut quoted, mut begun) = (false, false);
        while let Some(c) = rest.next() {
            match c {
                '"' if quoted && rest.peek() == Some(&'"') => cell.extend(rest.next()),
                '"' if quoted => quoted = false,
                '"' if !begun => quoted = true,
                c if !quoted && (c == separator || c == '\r' || c == '\n') => {
                    cells.push(std::mem::take(&mut cell));
                    begun = false;
                    continue;
                }
                c => cell.push(c),
            }
            begun = true;
        }
        cells.push(cell);
        cells
    }

    proptest! {
        #[test]
        fn nobody_finds_a_formula_whatever_separates_his_cells(
            cells in prop::collection::vec("[=+@a1,;\t\r\n\"' -]{0,12}", 1..5),
        ) {
            let text = line(cells.iter().map(String::as_str));
            for separator in [',', ';', '\t'] {
                for cell in read(&text, separator) {
                    let is_formula = cell.trim_start_matches(' ').starts_with(['=', '+', '-', '@']);
                    prop_assert!(!is_formula, "{cell:?} of {text:?} by {separator:?}");
                }
            }
            // By its own rules every cell is as it was, but for apostrophes.
            let without = |cell: &str| cell.replace('\'', "");
            let back: Vec<_> = read(text.trim_end_matches("\r\n"), ',').iter().map(|cell| without(cell)).collect();
            prop_assert_eq!(back, cells.iter().map(|cell| without(cell)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_query_decides_over_the_header() {
        let accepting =
            |value: &'static str| HeaderMap::from_iter([("accept".parse().unwrap(), HeaderValue::from_static(value))]);
        assert!(is_wanted(None, &accepting("text/csv")).unwrap());
        assert!(is_wanted(None, &accepting("Text/CSV;q=0.9, */*")).unwrap());
        assert!(!is_wanted(None, &accepting("application/json, text/csv")).unwrap());
        assert!(!is_wanted(Some("json"), &accepting("text/csv")).unwrap());
        assert!(is_wanted(Some("csv"), &HeaderMap::new()).unwrap());
        assert!(is_wanted(Some("xlsx"), &HeaderMap::new()).is_err());
    }
}
