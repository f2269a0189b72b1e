//! The text of a document: where its root element begins, and the tree of its elements.

use super::corrupt;
use crate::source::SourceReader;
use crate::{Format, ImageError, LimitKind, Source};
use resvg::usvg::roxmltree::{self, ParsingOptions};
use std::collections::HashMap;
use std::io::Read;

/// Most elements, counting what a reference draws again as often as it does.
pub(super) const MAX_ELEMENTS: u64 = 10_000;

/// Elements within elements, references followed. The parser and the renderer call themselves for each, and a WebAssembly
/// stack is small.
pub(super) const MAX_DEPTH: u32 = 64;

/// Text between the elements and comments count for the parser, but draw nothing.
const MAX_NODES: u32 = 4 * MAX_ELEMENTS as u32;

/// A document from its root element on, still unchecked.
pub(crate) struct Document {
    text: String,
    /// Bytes before the root element.
    start: usize,
}

impl Document {
    /// Reads a whole source.
    ///
    /// # Errors
    /// What the source says, and [`ImageError::Corrupt`] for text that is not UTF-8 or has no root element.
    pub(crate) fn read(source: &dyn Source, cancel: &dyn Fn() -> bool) -> Result<Self, ImageError> {
        let length = usize::try_from(source.len()).unwrap_or(usize::MAX);
        let mut bytes = crate::pixels::zeroed(length)?;
        let mut reader = SourceReader::new(source, cancel).releasing();
        let read = reader.read_exact(&mut bytes);
        let offset = reader.stood_at();
        read.map_err(|error| crate::decode::from_io(Format::Svg, offset, &error))?;
        let text = String::from_utf8(bytes)
            .map_err(|error| corrupt(error.utf8_error().valid_up_to(), "the document is not UTF-8"))?;
        Self::new(text)
    }

    pub(super) fn new(text: String) -> Result<Self, ImageError> {
        match prolog(&text) {
            Prolog::Ends(start) => Ok(Self { text, start }),
            Prolog::Declares(at) => Err(ImageError::unsupported(
                Format::Svg,
                format!("its document type has declarations, at byte {at}; without them it is read"),
            )),
            Prolog::Endless => Err(corrupt(text.len(), "there is no root element")),
        }
    }

    /// The tree of its elements.
    ///
    /// # Errors
    /// [`ImageError::Corrupt`] for what is not well-formed, [`ImageError::TooLarge`] for too many elements or too many
    /// within each other.
    pub(super) fn parse(&self) -> Result<roxmltree::Document<'_>, ImageError> {
        let body = self.text.get(self.start..).unwrap_or_default();
        let options = ParsingOptions {
            nodes_limit: MAX_NODES,
            ..ParsingOptions::default()
        };
        let tree = roxmltree::Document::parse_with_options(body, options).map_err(|error| match error {
            roxmltree::Error::NodesLimitReached => too_many(u64::from(MAX_NODES)),
            other => corrupt(
                self.start + offset(body, other.pos()),
                without_position(&other.to_string()),
            ),
        })?;
        bounded(&tree)?;
        Ok(tree)
    }
}

pub(super) fn too_many(value: u64) -> ImageError {
    ImageError::TooLarge {
        what: LimitKind::Elements,
        limit: MAX_ELEMENTS,
        value,
    }
}

pub(super) fn too_deep() -> ImageError {
    ImageError::TooLarge {
        what: LimitKind::Depth,
        limit: u64::from(MAX_DEPTH),
        value: u64::from(MAX_DEPTH) + 1,
    }
}

/// Refuses a tree that it would take too long to walk, or too deep.
fn bounded(tree: &roxmltree::Document<'_>) -> Result<(), ImageError> {
    let elements = || tree.descendants().filter(roxmltree::Node::is_element);
    let count = elements().count() as u64;
    if count > MAX_ELEMENTS {
        return Err(too_many(count));
    }
    let mut depths: HashMap<roxmltree::NodeId, u32> = HashMap::new();
    for element in elements() {
        let parent = element.parent().and_then(|parent| depths.get(&parent.id()));
        let depth = parent.map_or(1, |depth| depth + 1);
        if depth > MAX_DEPTH {
            return Err(too_deep());
        }
        depths.insert(element.id(), depth);
    }
    Ok(())
}

/// Byte offset of a row and column that count from 1.
fn offset(text: &str, position: roxmltree::TextPos) -> usize {
    let rows = text.split_inclusive('\n');
    let before: usize = rows.take(position.row.saturating_sub(1) as usize).map(str::len).sum();
    (before + position.col.saturating_sub(1) as usize).min(text.len())
}

/// The parser's words end with its row and column, which count from the root element; ours end with the byte.
fn without_position(words: &str) -> &str {
    words.rsplit_once(" at ").map_or(words, |(what, _)| what)
}

/// What comes before the root element.
pub(crate) enum Prolog {
    /// The root element begins here.
    Ends(usize),
    /// A document type declares something, here: entities, which grow when they are read.
    Declares(usize),
    /// The text ends before the root element begins.
    Endless,
}

/// Passes byte order mark, XML declaration, comments, instructions, and a document type that declares nothing: it only
/// names the language. None of them is ever read again.
pub(crate) fn prolog(text: &str) -> Prolog {
    let mut at = 0;
    let after = |at: usize, end: &str| Some(at + text.get(at..)?.find(end)? + end.len());
    loop {
        let Some(rest) = text.get(at..) else {
            return Prolog::Endless;
        };
        let trimmed = rest.trim_start_matches('\u{feff}').trim_start();
        at += rest.len() - trimmed.len();
        let end = if trimmed.starts_with("<!--") {
            after(at, "-->")
        } else if trimmed.starts_with("<?") {
            after(at, "?>")
        } else if trimmed.starts_with("<!DOCTYPE") {
            let end = after(at, ">");
            let declares = trimmed.find('[');
            if let Some(bracket) = declares
                && end.is_none_or(|end| at + bracket < end)
            {
                return Prolog::Declares(at + bracket);
            }
            end
        } else if trimmed.starts_with('<') {
            return Prolog::Ends(at);
        } else {
            None
        };
        let Some(end) = end else { return Prolog::Endless };
        at = end;
    }
}
