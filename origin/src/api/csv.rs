//! Lists as CSV (RFC 4180), for `Accept: text/csv` or `?format=csv`: all of a list, fetched and sent batch by batch, so that
//! a list of any length takes the memory of one.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use futures_util::stream;

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

/// One line. A cell that a spreadsheet would take for a formula is quoted with an apostrophe, which makes it text.
pub(crate) fn line<'a>(cells: impl IntoIterator<Item = &'a str>) -> String {
    let mut line = String::new();
    for (index, cell) in cells.into_iter().enumerate() {
        if index > 0 {
            line.push(',');
        }
        let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
        if formula || cell.contains([',', '"', '\r', '\n']) {
            line.push('"');
            if formula {
                line.push('\'');
            }
            line.push_str(&cell.replace('"', "\"\""));
            line.push('"');
        } else {
            line.push_str(cell);
        }
    }
    line.push_str("\r\n");
    line
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
            ("\t=1", "\"'\t=1\""),
            ("\r=1", "\"'\r=1\""),
            ("=HYPERLINK(\"a\")", "\"'=HYPERLINK(\"\"a\"\")\""),
        ] {
            assert_eq!(line(["a", cell]), format!("a,{written}\r\n"));
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
