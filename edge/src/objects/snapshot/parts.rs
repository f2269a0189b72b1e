//! A document in parts that storage takes: it bounds a value by 2 MB, and a tenant with many presets, purges and keys has
//! more than that.
//!
//! The head holds the first part, and says which others belong to it: how many, in which of two slots, of which generation.
//! A new document's parts go into the slot that the standing one does not use, then its head takes the place of the other's.
//! Whenever that ends in between, the standing one is whole. Most documents are a head and nothing else.

use serde::{Deserialize, Serialize};

/// Key of the head.
pub(super) const HEAD: &str = "snapshot";
/// Longest part in bytes of UTF-8. Storage keeps text in Latin-1 or in UTF-16, which takes two bytes at most for each of
/// these.
const PART_BYTES: usize = 900_000;
/// Parts beside the head.
const MOST_PARTS: u32 = 32;

/// What is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stored {
    /// When the origin last confirmed it, Unix milliseconds.
    pub(super) confirmed_ms: u64,
    /// The document as the origin sent it.
    pub(super) json: String,
}

/// What is read first. Without further parts, and of an edge that knew of none, it is the whole document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Head {
    confirmed_ms: u64,
    /// The first part.
    json: String,
    /// How many others there are.
    #[serde(default)]
    parts: u32,
    /// Where they are: 0 or 1.
    #[serde(default)]
    slot: u8,
    /// What they are told by.
    #[serde(default)]
    generation: String,
}

/// A part beside the head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Part {
    generation: String,
    json: String,
}

/// Why parts are no document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    #[error("part {0} is missing")]
    Missing(usize),
    #[error("part {0} is of another document")]
    Mixed(usize),
}

/// A document that no number of parts holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{bytes} bytes are more than the {} that can be kept", PART_BYTES * (MOST_PARTS as usize + 1))]
pub(super) struct TooLarge {
    bytes: usize,
}

impl Head {
    /// Keys of its parts, in their order.
    pub(super) fn keys(&self) -> Vec<String> {
        keys(self.slot, self.parts)
    }

    /// Keys of what it takes the place of.
    pub(super) fn keys_after(&self, standing: Option<&Self>) -> Vec<String> {
        let own = self.keys();
        let mut left = standing.map(Self::keys).unwrap_or_default();
        left.retain(|key| !own.contains(key));
        left
    }
}

fn keys(slot: u8, parts: u32) -> Vec<String> {
    (1..=parts.min(MOST_PARTS))
        .map(|number| format!("{HEAD}/{slot}/{number}"))
        .collect()
}

/// Splits a document that is to take the place of the standing one; `generation` is one that no other has had.
pub(super) fn split(stored: &Stored, standing: Option<&Head>, generation: &str) -> Result<(Head, Vec<Part>), TooLarge> {
    split_by(stored, standing, generation, PART_BYTES)
}

fn split_by(
    stored: &Stored,
    standing: Option<&Head>,
    generation: &str,
    part_bytes: usize,
) -> Result<(Head, Vec<Part>), TooLarge> {
    let (first, mut rest) = cut(&stored.json, part_bytes);
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let (json, left) = cut(rest, part_bytes);
        parts.push(Part {
            generation: generation.to_owned(),
            json: json.to_owned(),
        });
        rest = left;
    }
    let count = u32::try_from(parts.len()).ok().filter(|count| *count <= MOST_PARTS);
    let head = Head {
        confirmed_ms: stored.confirmed_ms,
        json: first.to_owned(),
        parts: count.ok_or(TooLarge {
            bytes: stored.json.len(),
        })?,
        slot: standing.map_or(0, |standing| 1 - standing.slot.min(1)),
        generation: generation.to_owned(),
    };
    Ok((head, parts))
}

/// At most so many bytes, no letter cut in two, but one letter at least; and what follows.
fn cut(text: &str, most: usize) -> (&str, &str) {
    let fits = |end: &usize| text.is_char_boundary(*end);
    let end = (1..=most.min(text.len()))
        .rev()
        .find(fits)
        .or_else(|| (most..=text.len()).find(fits));
    text.split_at_checked(end.unwrap_or(text.len())).unwrap_or((text, ""))
}

/// Puts a document together again; `parts` are what was found under [`Head::keys`].
pub(super) fn join(head: Head, parts: Vec<Option<Part>>) -> Result<Stored, Broken> {
    let mut json = head.json;
    let mut found = parts.into_iter();
    for number in 1..=head.parts as usize {
        let part = found.next().flatten().ok_or(Broken::Missing(number))?;
        if part.generation != head.generation {
            return Err(Broken::Mixed(number));
        }
        json.push_str(&part.json);
    }
    Ok(Stored {
        confirmed_ms: head.confirmed_ms,
        json,
    })
}

#[cfg(test)]
mod tests {
    use super::{Broken, HEAD, Head, MOST_PARTS, PART_BYTES, Part, Stored, join, split, split_by};
    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};
    use serde_json::{Value, json};
    use std::collections::HashMap;

    fn stored(json: impl Into<String>) -> Stored {
        Stored {
            confirmed_ms: 1_700_000_000_123,
            json: json.into(),
        }
    }

    /// What an object's storage has.
    #[derive(Clone, Default)]
    struct Storage(HashMap<String, Value>);

    impl Storage {
        fn head(&self) -> Option<Head> {
            let head = self.0.get(HEAD)?;
            Some(serde_json::from_value(head.clone()).unwrap())
        }

        fn read(&self) -> Option<Result<Stored, Broken>> {
            let head = self.head()?;
            let part = |key: &String| -> Option<Part> { serde_json::from_value(self.0.get(key)?.clone()).ok() };
            let parts = head.keys().iter().map(part).collect();
            Some(join(head, parts))
        }

        /// As the object writes, up to this step of it.
        fn write(&mut self, stored: &Stored, generation: &str, steps: usize) {
            let standing = self.head();
            let (head, parts) = split_by(stored, standing.as_ref(), generation, 8).unwrap();
            let puts = head.keys().into_iter().zip(parts).map(|(key, part)| (key, json!(part)));
            let puts = puts
                .chain([(HEAD.to_owned(), json!(head))])
                .map(|(key, value)| (key, Some(value)));
            let deletes = head.keys_after(standing.as_ref()).into_iter().map(|key| (key, None));
            for (key, value) in puts.chain(deletes).take(steps) {
                match value {
                    Some(value) => self.0.insert(key, value),
                    None => self.0.remove(&key),
                };
            }
        }
    }

    #[test]
    fn every_part_is_below_what_storage_takes_and_few_bytes_are_a_head_as_edges_knew_it_before() {
        let (head, parts) = split(&stored("{}"), None, "g").unwrap();
        assert!(parts.is_empty() && head.keys().is_empty());
        // So it is read by an edge that knows of no parts, and this reads that one's.
        assert_eq!(serde_json::from_value::<Stored>(json!(head)).unwrap(), stored("{}"));
        let old: Head = serde_json::from_value(json!(stored("{}"))).unwrap();
        assert_eq!(join(old, Vec::new()), Ok(stored("{}")));
        let most = PART_BYTES * (MOST_PARTS as usize + 1);
        let document = stored("x".repeat(most));
        let (head, parts) = split(&document, None, "g").unwrap();
        let longest = parts.iter().map(|part| part.json.len()).max();
        assert_eq!((parts.len(), longest), (32, Some(PART_BYTES)));
        // Two bytes for each, with key and generation.
        const { assert!(2 * (PART_BYTES + 100) < 2_000_000) };
        assert_eq!(join(head, parts.into_iter().map(Some).collect()), Ok(document));
        assert!(split(&stored("x".repeat(most + 1)), None, "g").is_err());
    }

    #[test]
    fn what_is_missing_or_of_another_document_is_noticed() {
        let (head, parts) = split_by(&stored("0123456789"), None, "new", 4).unwrap();
        let found = |change: &dyn Fn(&mut Vec<Option<Part>>)| {
            let mut parts: Vec<_> = parts.iter().cloned().map(Some).collect();
            change(&mut parts);
            join(head.clone(), parts)
        };
        assert_eq!(found(&|_| {}), Ok(stored("0123456789")));
        assert_eq!(found(&|parts| parts[0] = None), Err(Broken::Missing(1)));
        assert_eq!(found(&|parts| parts.truncate(1)), Err(Broken::Missing(2)));
        let other = |parts: &mut Vec<Option<Part>>| {
            if let Some(part) = &mut parts[1] {
                part.generation = "old".to_owned();
            }
        };
        assert_eq!(found(&other), Err(Broken::Mixed(2)));
    }

    proptest! {
        /// An object that dies between any two steps of writing has the one document or the other, and what it left hinders
        /// nothing that is written later.
        #[test]
        fn whatever_ends_in_between_one_document_is_whole(
            writes in prop::collection::vec(("[aß€😀]{0,30}", any::<prop::sample::Index>(), any::<bool>()), 1..12),
        ) {
            let (mut storage, mut standing) = (Storage::default(), None);
            for (number, (text, ended, dies)) in writes.into_iter().enumerate() {
                let next = stored(text);
                let steps = if dies { ended.index(20) } else { usize::MAX };
                storage.write(&next, &number.to_string(), steps);
                let read = storage.read().transpose();
                prop_assert!(read.is_ok(), "{read:?}");
                let read = read.unwrap_or_default();
                prop_assert!(read == standing || read.as_ref() == Some(&next));
                prop_assert!(dies || read.as_ref() == Some(&next));
                standing = read;
            }
        }

        #[test]
        fn no_letter_is_cut(text in any::<String>(), bytes in 1_usize..9) {
            if let Ok((head, parts)) = split_by(&stored(text.clone()), None, "g", bytes) {
                prop_assert_eq!(parts.len(), head.keys().len());
                prop_assert!(parts.iter().all(|part| !part.json.is_empty() && part.json.len() <= bytes.max(4)));
                prop_assert_eq!(join(head, parts.into_iter().map(Some).collect()), Ok(stored(text)));
            }
        }
    }
}
