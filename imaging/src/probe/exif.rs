//! EXIF, which is a TIFF directory: only the few tags that matter here, each read within bounds.

use crate::Orientation;

/// What we take out of EXIF.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Exif {
    /// How the stored pixels have to be turned.
    pub(crate) orientation: Orientation,
    /// Tag 0x013b.
    pub(crate) artist: Option<Vec<u8>>,
    /// Tag 0x8298.
    pub(crate) copyright: Option<Vec<u8>>,
    seen: bool,
}

/// Longest text that is kept of a tag.
const MAX_TEXT: usize = 1024;

/// One entry of a directory.
pub(super) struct Entry {
    pub(super) tag: u16,
    pub(super) kind: u16,
    pub(super) count: u32,
    /// The value itself where it has at most four bytes, else its offset.
    pub(super) value: [u8; 4],
}

pub(super) struct Tiff<'a> {
    data: &'a [u8],
    big_endian: bool,
}

impl<'a> Tiff<'a> {
    pub(super) fn open(data: &'a [u8]) -> Option<Self> {
        let big_endian = match data.get(..4)? {
            b"II*\0" => false,
            b"MM\0*" => true,
            _ => return None,
        };
        Some(Self { data, big_endian })
    }

    fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.data.get(offset..offset.checked_add(N)?)?.try_into().ok()
    }

    pub(super) fn u16_of(&self, bytes: [u8; 2]) -> u16 {
        if self.big_endian {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        }
    }

    pub(super) fn u32_of(&self, bytes: [u8; 4]) -> u32 {
        if self.big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        }
    }

    /// Entries of the first directory. At most 65,535, each of twelve bytes that have to be there.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        let start = self
            .bytes(4)
            .map(|bytes| self.u32_of(bytes))
            .and_then(|offset| usize::try_from(offset).ok());
        let count = start
            .and_then(|start| self.bytes(start))
            .map_or(0, |bytes| self.u16_of(bytes));
        let first = start.and_then(|start| start.checked_add(2)).unwrap_or(usize::MAX);
        (0..usize::from(count)).map_while(move |index| {
            let at = first.checked_add(index * 12)?;
            Some(Entry {
                tag: self.u16_of(self.bytes(at)?),
                kind: self.u16_of(self.bytes(at + 2)?),
                count: self.u32_of(self.bytes(at + 4)?),
                value: self.bytes(at + 8)?,
            })
        })
    }

    /// A SHORT or LONG.
    pub(super) fn number(&self, entry: &Entry) -> Option<u32> {
        let [a, b, ..] = entry.value;
        match (entry.kind, entry.count) {
            (3, 1..) => Some(u32::from(self.u16_of([a, b]))),
            (4, 1..) => Some(self.u32_of(entry.value)),
            _ => None,
        }
    }

    /// An ASCII value without its terminator; `None` where it is empty or not all there.
    fn text(&self, entry: &Entry) -> Option<Vec<u8>> {
        if entry.kind != 2 {
            return None;
        }
        let count = usize::try_from(entry.count).ok()?;
        let inline = entry.value.get(..count);
        let text = match inline {
            Some(text) if count <= 4 => text,
            _ => {
                let offset = usize::try_from(self.u32_of(entry.value)).ok()?;
                self.data.get(offset..offset.checked_add(count)?)?
            }
        };
        let end = text
            .iter()
            .rposition(|byte| *byte != 0 && *byte != b' ')
            .map_or(0, |last| last + 1);
        let text = text.get(..end.min(MAX_TEXT))?;
        (!text.is_empty()).then(|| text.to_vec())
    }
}

impl Exif {
    /// Reads EXIF from its TIFF header on. Damaged EXIF is no reason to refuse a picture: what cannot be read is absent.
    pub(crate) fn parse(data: &[u8]) -> Self {
        let data = data.strip_prefix(b"Exif\0\0").unwrap_or(data);
        let mut exif = Self {
            seen: true,
            ..Self::default()
        };
        let Some(tiff) = Tiff::open(data) else { return exif };
        for entry in tiff.entries() {
            match entry.tag {
                0x0112 => {
                    let value = tiff
                        .number(&entry)
                        .and_then(|value| u16::try_from(value).ok())
                        .unwrap_or(1);
                    exif.orientation = Orientation::from_exif(value);
                }
                0x013b => exif.artist = tiff.text(&entry),
                0x8298 => exif.copyright = tiff.text(&entry),
                _ => {}
            }
        }
        exif
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::Exif;
    use proptest::prelude::*;

    fn exif(big_endian: bool, entries: &[(u16, u16, u32, [u8; 4])], tail: &[u8]) -> Vec<u8> {
        let (two, four) = if big_endian {
            (
                u16::to_be_bytes as fn(u16) -> [u8; 2],
                u32::to_be_bytes as fn(u32) -> [u8; 4],
            )
        } else {
            (
                u16::to_le_bytes as fn(u16) -> [u8; 2],
                u32::to_le_bytes as fn(u32) -> [u8; 4],
            )
        };
        let mut data = if big_endian {
            b"MM\0*".to_vec()
        } else {
            b"II*\0".to_vec()
        };
        data.extend(four(8));
        data.extend(two(entries.len() as u16));
        for (tag, kind, count, value) in entries {
            data.extend(two(*tag));
            data.extend(two(*kind));
            data.extend(four(*count));
            data.extend(value);
        }
        data.extend(four(0));
        data.extend(tail);
        data
    }

    #[test]
    fn both_byte_orders_are_read() {
        assert_eq!(
            Exif::parse(&exif(true, &[(0x0112, 3, 1, [0, 6, 0, 0])], b""))
                .orientation
                .exif(),
            6
        );
        assert_eq!(
            Exif::parse(&exif(false, &[(0x0112, 3, 1, [8, 0, 0, 0])], b""))
                .orientation
                .exif(),
            8
        );
        let prefixed = [
            b"Exif\0\0".as_slice(),
            &exif(false, &[(0x0112, 4, 1, [3, 0, 0, 0])], b""),
        ]
        .concat();
        assert_eq!(Exif::parse(&prefixed).orientation.exif(), 3);
    }

    #[test]
    fn texts_are_read_within_bounds() {
        let offset = (8 + 2 + 2 * 12 + 4) as u8;
        let data = exif(
            false,
            &[(0x013b, 2, 3, *b"Bo\0\0"), (0x8298, 2, 9, [offset, 0, 0, 0])],
            b"(c) Me \0\0",
        );
        let read = Exif::parse(&data);
        assert_eq!(
            (read.artist.as_deref(), read.copyright.as_deref()),
            (Some(b"Bo".as_slice()), Some(b"(c) Me".as_slice()))
        );
        let outside = exif(
            false,
            &[(0x8298, 2, u32::MAX, [255; 4]), (0x8298, 2, 100, [offset, 0, 0, 0])],
            b"",
        );
        assert_eq!(Exif::parse(&outside).copyright, None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), little in any::<bool>()) {
            let mut data = if little { b"II*\0".to_vec() } else { b"MM\0*".to_vec() };
            data.extend(bytes);
            let value = Exif::parse(&data).orientation.exif();
            prop_assert!((1..=8).contains(&value));
        }
    }
}
