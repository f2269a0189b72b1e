//! The copyright notice, carried over into a fresh EXIF segment that holds nothing else.

use crate::ImageInfo;

/// Artist and Copyright as an APP1 payload; `None` where the source names neither.
pub(super) fn exif(info: &ImageInfo) -> Option<Vec<u8>> {
    let tags: Vec<(u16, &[u8])> = [(0x013b, &info.artist), (0x8298, &info.copyright)]
        .into_iter()
        .filter_map(|(tag, text)| text.as_deref().map(|text| (tag, text)))
        .collect();
    if tags.is_empty() {
        return None;
    }
    // Header, directory of `count` entries, end mark, and the texts; each at an even offset.
    let mut texts_at = 8 + 2 + 12 * tags.len() + 4;
    let mut directory = (tags.len() as u16).to_be_bytes().to_vec();
    let mut texts = Vec::new();
    for (tag, text) in tags {
        let mut value = text.to_vec();
        value.push(0);
        // Shorter ones stand in the entry itself; a few more zeroes move them out of it.
        value.resize(value.len().max(6).next_multiple_of(2), 0);
        directory.extend(tag.to_be_bytes());
        directory.extend(2u16.to_be_bytes());
        directory.extend((value.len() as u32).to_be_bytes());
        directory.extend((texts_at as u32).to_be_bytes());
        texts_at += value.len();
        texts.extend(value);
    }
    let mut segment = b"Exif\0\0MM\0*\0\0\0\x08".to_vec();
    segment.extend(directory);
    segment.extend(0u32.to_be_bytes());
    segment.extend(texts);
    Some(segment)
}

#[cfg(test)]
mod tests {
    use super::exif;
    use crate::{Format, ImageInfo, probe::Exif};

    #[test]
    fn the_notice_is_read_back() {
        let mut info = ImageInfo::new(Format::Jpeg, 1, 1);
        assert_eq!(exif(&info), None);
        info.artist = Some(b"Bo".to_vec());
        info.copyright = Some("© 2026 Ann, all rights reserved".as_bytes().to_vec());
        let read = Exif::parse(&exif(&info).unwrap());
        assert_eq!((read.artist, read.copyright), (info.artist, info.copyright));
    }
}
