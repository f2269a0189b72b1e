//! EXIF, which is a TIFF directory: only the few tags that matter here, each read within bounds.

use super::ImageInfo;
use super::peek::{Peek, Stopped};
use crate::{Format, Orientation};

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
struct Entry {
    tag: u16,
    kind: u16,
    count: u32,
    /// The value itself where it has at most four bytes, else its offset.
    value: [u8; 4],
}

struct Tiff<'a> {
    data: &'a [u8],
    big_endian: bool,
}

impl<'a> Tiff<'a> {
    fn open(data: &'a [u8]) -> Option<Self> {
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

    fn u16_of(&self, bytes: [u8; 2]) -> u16 {
        if self.big_endian {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        }
    }

    fn u32_of(&self, bytes: [u8; 4]) -> u32 {
        if self.big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        }
    }

    /// Entries of the first directory. At most 65,535, each of twelve bytes that have to be there.
    fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
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
    fn number(&self, entry: &Entry) -> Option<u32> {
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

/// A TIFF picture's own directory. Only as much of it as lies in the first 64 KiB or at the directory's offset is read.
pub(super) fn read_tiff(peek: &mut Peek<'_>) -> Result<ImageInfo, Stopped> {
    let header = peek.array::<8>(0)?;
    let big_endian = header.starts_with(b"MM");
    let [_, _, _, _, offset @ ..] = header;
    let directory = u64::from(if big_endian {
        u32::from_be_bytes(offset)
    } else {
        u32::from_le_bytes(offset)
    });
    let count = peek.array::<2>(directory)?;
    let count = if big_endian {
        u16::from_be_bytes(count)
    } else {
        u16::from_le_bytes(count)
    };
    // The directory as if it came right after the header: values of at most four bytes are in it.
    let mut data = header.get(..4).unwrap_or_default().to_vec();
    data.extend(if big_endian {
        8u32.to_be_bytes()
    } else {
        8u32.to_le_bytes()
    });
    data.extend_from_slice(peek.exactly(directory, 2 + 12 * usize::from(count))?);
    let Some(tiff) = Tiff::open(&data) else {
        return Err(peek.corrupt(0, "the TIFF header is not valid"));
    };
    let mut info = ImageInfo::new(Format::Tiff, 0, 0);
    for entry in tiff.entries() {
        if entry.tag == 0x8773 && entry.kind == 7 {
            (info.color_profile, info.profile_bytes) = (true, u64::from(entry.count));
        }
        let Some(number) = tiff.number(&entry) else { continue };
        let small = u16::try_from(number).unwrap_or(u16::MAX);
        match entry.tag {
            0x0100 => info.width = number,
            0x0101 => info.height = number,
            0x0102 if entry.count <= 2 => info.bit_depth = u8::try_from(number).unwrap_or(u8::MAX),
            0x0112 => info.orientation = Orientation::from_exif(small),
            0x0115 => info.components = u8::try_from(number).unwrap_or(u8::MAX),
            0x0152 => info.alpha = true,
            _ => {}
        }
    }
    Ok(info)
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
