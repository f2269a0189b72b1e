//! IPTC's fields of old, in Photoshop's resources: who made a picture, and whose it is.

use super::exif::{MOST_TEXT, Notice};

/// The resource that holds IPTC's record.
const IPTC: [u8; 2] = [0x04, 0x04];

/// Byline (2:80) and copyright notice (2:116) of the resources behind `Photoshop 3.0`.
pub(super) fn notice(resources: &[u8]) -> Notice {
    let mut notice = Notice::default();
    let mut rest = resources;
    while let Some((id, content, next)) = resource(rest) {
        if id == IPTC {
            fields(content, &mut notice);
        }
        rest = next;
    }
    notice
}

/// The first resource: its number, its content, and what follows. Name and content are padded to even lengths.
fn resource(bytes: &[u8]) -> Option<([u8; 2], &[u8], &[u8])> {
    let rest = bytes.strip_prefix(b"8BIM")?;
    let (id, rest) = rest.split_first_chunk::<2>()?;
    let name = usize::from(*rest.first()?) + 1;
    let (size, rest) = rest.get(name.next_multiple_of(2)..)?.split_first_chunk::<4>()?;
    let size = usize::try_from(u32::from_be_bytes(*size)).ok()?;
    let (content, rest) = rest.split_at_checked(size)?;
    Some((*id, content, rest.get(size % 2..).unwrap_or_default()))
}

fn fields(record: &[u8], notice: &mut Notice) {
    let mut rest = record;
    while let [0x1c, record, field, high, low, tail @ ..] = rest {
        // A length of more than 15 bits has another form, which no text of these has.
        let size = usize::from(u16::from_be_bytes([*high, *low]));
        let Some((text, next)) = tail.split_at_checked(size) else {
            return;
        };
        let text = Some(text.get(..size.min(MOST_TEXT)).unwrap_or_default().to_vec()).filter(|text| !text.is_empty());
        match (record, field) {
            (2, 80) => notice.artist = notice.artist.take().or(text),
            (2, 116) => notice.copyright = notice.copyright.take().or(text),
            _ => {}
        }
        rest = next;
    }
}
