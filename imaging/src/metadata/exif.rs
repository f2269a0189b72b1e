//! EXIF, which is a TIFF file without pixels: read within bounds, and written anew.

use crate::probe::{Entry, Tiff};

/// Bytes of the EXIF that is written. With its frame it fits a JPEG segment, of 65,533 bytes.
pub(super) const MOST_BYTES: usize = 60 * 1024;

/// Bytes of an artist's name, and of a copyright notice.
pub(super) const MOST_TEXT: usize = 1024;

/// Entries of a directory that are looked at.
const MOST_ENTRIES: usize = 512;

const ARTIST: u16 = 0x013b;
const COPYRIGHT: u16 = 0x8298;
const ORIENTATION: u16 = 0x0112;
const EXIF_DIRECTORY: u16 = 0x8769;

/// Who made a picture, and whose it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Notice {
    pub(super) artist: Option<Vec<u8>>,
    pub(super) copyright: Option<Vec<u8>>,
}

impl Notice {
    pub(super) fn read(exif: &[u8]) -> Self {
        let mut notice = Self::default();
        let Some(tiff) = Tiff::open(exif) else { return notice };
        for entry in tiff.entries().take(MOST_ENTRIES) {
            match entry.tag {
                ARTIST => notice.artist = text(&tiff, &entry),
                COPYRIGHT => notice.copyright = text(&tiff, &entry),
                _ => {}
            }
        }
        notice
    }

    /// This, and what it lacks from another.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            artist: self.artist.or(other.artist),
            copyright: self.copyright.or(other.copyright),
        }
    }

    /// An EXIF block with nothing else.
    pub(super) fn write(self) -> Option<Vec<u8>> {
        let mut fields = Fields::new(true);
        for (tag, text) in [(ARTIST, self.artist), (COPYRIGHT, self.copyright)] {
            if let Some(mut text) = text {
                text.push(0);
                fields.push(tag, 2, text.len() as u32, &text);
            }
        }
        fields.write(None)
    }
}

/// An ASCII value without its terminator; `None` where it is empty or not all there.
fn text(tiff: &Tiff<'_>, entry: &Entry) -> Option<Vec<u8>> {
    let bytes = tiff.bytes_of(entry).filter(|_| entry.kind == 2)?;
    let end = bytes.iter().rposition(|byte| *byte != 0 && *byte != b' ')? + 1;
    Some(bytes.get(..end.min(MOST_TEXT))?.to_vec())
}

/// EXIF without what must not leave, or would no longer be true: where the picture was taken and with which very device,
/// what the camera's maker wrote for itself, thumbnails, and how the pixels were stored.
pub(super) fn kept(exif: &[u8]) -> Option<Vec<u8>> {
    let tiff = Tiff::open(exif)?;
    let mut picture = Fields::new(tiff.is_big_endian());
    let mut camera = Fields::new(tiff.is_big_endian());
    let mut seen = false;
    for entry in tiff.entries().take(MOST_ENTRIES) {
        if entry.tag == ORIENTATION {
            picture.push(ORIENTATION, 3, 1, &picture.short(1));
        } else if entry.tag == EXIF_DIRECTORY && !seen {
            // Once: a directory that points to itself, or several that share one, gain nothing.
            seen = true;
            let at = tiff.number(&entry).unwrap_or(u32::MAX);
            for entry in tiff
                .entries_at(at)
                .take(MOST_ENTRIES)
                .filter(|entry| stays_of_camera(entry.tag))
            {
                camera.copy(&tiff, &entry);
            }
        } else if stays_of_picture(entry.tag) {
            picture.copy(&tiff, &entry);
        }
    }
    picture.write(Some(camera).filter(|camera| !camera.entries.is_empty()))
}

/// Of the first directory: description, maker, model, resolution, program, times, and the like. The numbers above are
/// private ones, of raw files, among them serial numbers and pointers.
fn stays_of_picture(tag: u16) -> bool {
    matches!(
        tag,
        0x010d..=0x0110 | 0x011a | 0x011b | 0x011d | 0x0128 | 0x0129 | 0x0131 | 0x0132 | ARTIST | 0x013c | COPYRIGHT
            | 0x4746 | 0x4749 | 0x9c9b..=0x9c9f
    )
}

/// Of the camera's directory all that the standard names, but: what is a place or a serial number, makers' notes, pointers,
/// and size and colour space, which are the answer's now.
fn stays_of_camera(tag: u16) -> bool {
    matches!(tag, 0x829a | 0x829d | 0x8822..=0x8835 | 0x9000..=0x9292 | 0xa000..=0xa4ff)
        && !matches!(
            tag,
            0x8825 | 0x927c | 0xa001..=0xa003 | 0xa005 | 0xa420 | 0xa430 | 0xa431 | 0xa435
        )
}

/// Fields of a directory that is written.
struct Fields {
    big_endian: bool,
    /// Tag, type, count, and the value's bytes in this order of bytes.
    entries: Vec<(u16, u16, u32, Vec<u8>)>,
    bytes: usize,
}

impl Fields {
    fn new(big_endian: bool) -> Self {
        Self {
            big_endian,
            entries: Vec::new(),
            bytes: 0,
        }
    }

    /// A value as it stands, where all of it is there. What repeats, or does not fit any more, is left out.
    fn copy(&mut self, tiff: &Tiff<'_>, entry: &Entry) {
        if let Some(value) = tiff.bytes_of(entry) {
            self.push(entry.tag, entry.kind, entry.count, value);
        }
    }

    fn push(&mut self, tag: u16, kind: u16, count: u32, value: &[u8]) {
        let bytes = 12 + value.len().next_multiple_of(2);
        // Half for each of two directories.
        let fits = self.bytes + bytes <= MOST_BYTES / 2 - 64;
        if fits && self.entries.iter().all(|(known, ..)| *known != tag) {
            self.bytes += bytes;
            self.entries.push((tag, kind, count, value.to_vec()));
        }
    }

    fn short(&self, value: u16) -> [u8; 2] {
        if self.big_endian {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        }
    }

    fn long(&self, value: usize) -> [u8; 4] {
        let value = value as u32;
        if self.big_endian {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        }
    }

    /// A block of this directory and the camera's; `None` where there is nothing in it.
    fn write(mut self, camera: Option<Self>) -> Option<Vec<u8>> {
        if camera.is_some() {
            let nowhere = self.long(0);
            self.entries.push((EXIF_DIRECTORY, 4, 1, nowhere.to_vec()));
        }
        if self.entries.is_empty() {
            return None;
        }
        let mut block = if self.big_endian {
            b"MM\0*".to_vec()
        } else {
            b"II*\0".to_vec()
        };
        block.extend(self.long(8));
        let first = 8 + self.size();
        if let Some(pointer) = self.entries.iter_mut().find(|(tag, ..)| *tag == EXIF_DIRECTORY) {
            let first = first as u32;
            pointer.3 = if self.big_endian {
                first.to_be_bytes()
            } else {
                first.to_le_bytes()
            }
            .to_vec();
        }
        self.append(&mut block);
        if let Some(camera) = camera {
            camera.append(&mut block);
        }
        Some(block)
    }

    /// Bytes of the directory and of the values that do not stand in it.
    fn size(&self) -> usize {
        let outside = |value: &Vec<u8>| {
            if value.len() > 4 {
                value.len().next_multiple_of(2)
            } else {
                0
            }
        };
        6 + self
            .entries
            .iter()
            .map(|(.., value)| 12 + outside(value))
            .sum::<usize>()
    }

    /// Entries in the order of their tags, the end mark, and the longer values, each at an even offset.
    fn append(mut self, block: &mut Vec<u8>) {
        self.entries.sort_by_key(|(tag, ..)| *tag);
        let mut outside_at = block.len() + 6 + 12 * self.entries.len();
        let mut outside = Vec::new();
        block.extend(self.short(self.entries.len() as u16));
        for (tag, kind, count, value) in &self.entries {
            block.extend(self.short(*tag));
            block.extend(self.short(*kind));
            block.extend(self.long(*count as usize));
            if value.len() <= 4 {
                let mut inside = [0; 4];
                for (to, from) in inside.iter_mut().zip(value) {
                    *to = *from;
                }
                block.extend(inside);
            } else {
                block.extend(self.long(outside_at));
                outside.extend(value);
                outside.resize(outside.len().next_multiple_of(2), 0);
                outside_at += value.len().next_multiple_of(2);
            }
        }
        block.extend([0; 4]);
        block.extend(outside);
    }
}
