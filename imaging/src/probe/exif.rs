//! EXIF, which is a TIFF directory: its entries, each read within bounds, and the one tag that matters to a header.

use crate::Orientation;

/// Whether EXIF was seen, and how it says that the stored pixels have to be turned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Exif {
    pub(super) orientation: Orientation,
    seen: bool,
}

/// One entry of a directory.
pub(crate) struct Entry {
    pub(crate) tag: u16,
    pub(crate) kind: u16,
    pub(crate) count: u32,
    /// The value itself where it has at most four bytes, else its offset.
    pub(super) value: [u8; 4],
    /// Where that stands.
    value_at: usize,
}

/// A TIFF file, or a part of another that has its form.
pub(crate) struct Tiff<'a> {
    data: &'a [u8],
    big_endian: bool,
}

impl<'a> Tiff<'a> {
    pub(crate) fn open(data: &'a [u8]) -> Option<Self> {
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

    pub(crate) const fn is_big_endian(&self) -> bool {
        self.big_endian
    }

    /// Entries of the first directory.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        self.entries_at(self.bytes(4).map_or(u32::MAX, |bytes| self.u32_of(bytes)))
    }

    /// Entries of the directory at an offset. At most 65,535, each of twelve bytes that have to be there.
    pub(crate) fn entries_at(&self, offset: u32) -> impl Iterator<Item = Entry> + '_ {
        let start = usize::try_from(offset).ok();
        let count = start
            .and_then(|start| self.bytes(start))
            .map_or(0, |bytes| self.u16_of(bytes));
        let first = start.and_then(|start| start.checked_add(2)).unwrap_or(usize::MAX);
        (0..usize::from(count)).map_while(move |index| {
            let at = first.checked_add(index * 12)?;
            let value_at = at.checked_add(8)?;
            Some(Entry {
                tag: self.u16_of(self.bytes(at)?),
                kind: self.u16_of(self.bytes(at + 2)?),
                count: self.u32_of(self.bytes(at + 4)?),
                value: self.bytes(value_at)?,
                value_at,
            })
        })
    }

    /// A SHORT or LONG.
    pub(crate) fn number(&self, entry: &Entry) -> Option<u32> {
        let [a, b, ..] = entry.value;
        match (entry.kind, entry.count) {
            (3, 1..) => Some(u32::from(self.u16_of([a, b]))),
            (4, 1..) => Some(self.u32_of(entry.value)),
            _ => None,
        }
    }

    /// All bytes of a value, wherever they lie; `None` where they are not all there, or of no known type.
    pub(crate) fn bytes_of(&self, entry: &Entry) -> Option<&'a [u8]> {
        let size = match entry.kind {
            1 | 2 | 6 | 7 => 1,
            3 | 8 => 2,
            4 | 9 | 11 | 13 => 4,
            5 | 10 | 12 => 8,
            _ => return None,
        };
        let bytes = usize::try_from(entry.count).ok()?.checked_mul(size)?;
        let start = if bytes <= 4 {
            entry.value_at
        } else {
            usize::try_from(self.u32_of(entry.value)).ok()?
        };
        self.data.get(start..start.checked_add(bytes)?)
    }
}

impl Exif {
    /// Reads EXIF from its TIFF header on. Damaged EXIF is no reason to refuse a picture: what cannot be read is absent.
    pub(super) fn parse(data: &[u8]) -> Self {
        let data = data.strip_prefix(b"Exif\0\0").unwrap_or(data);
        let mut exif = Self {
            seen: true,
            ..Self::default()
        };
        let Some(tiff) = Tiff::open(data) else { return exif };
        for entry in tiff.entries() {
            if entry.tag == 0x0112 {
                let value = tiff.number(&entry).and_then(|value| u16::try_from(value).ok());
                exif.orientation = Orientation::from_exif(value.unwrap_or(1));
            }
        }
        exif
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::{Exif, Tiff};
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
    fn values_are_read_within_bounds() {
        let offset = (8 + 2 + 2 * 12 + 4) as u8;
        let entries = [(0x013b, 2, 3, *b"Bo\0\0"), (0x8298, 2, 9, [offset, 0, 0, 0])];
        let data = exif(false, &entries, b"(c) Me \0\0");
        let values = |data: &[u8]| {
            let tiff = Tiff::open(data).unwrap();
            let found = tiff.entries().map(|entry| tiff.bytes_of(&entry).map(<[u8]>::to_vec));
            found.collect::<Vec<Option<Vec<u8>>>>()
        };
        assert_eq!(values(&data), [Some(b"Bo\0".to_vec()), Some(b"(c) Me \0\0".to_vec())]);
        let outside = [
            (0x8298, 2, u32::MAX, [255; 4]),
            (0x8298, 2, 100, [offset, 0, 0, 0]),
            (0x8298, 12, u32::MAX / 8 + 2, [8, 0, 0, 0]),
            (0x8298, 77, 1, [8, 0, 0, 0]),
        ];
        assert_eq!(values(&exif(false, &outside, b"")), [None, None, None, None]);
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
