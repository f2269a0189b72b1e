//! The container of WebP files that are more than one bitstream.

/// Bits of a VP8X header.
pub(super) const ANIMATED: u8 = 0x02;
pub(super) const XMP: u8 = 0x04;
pub(super) const EXIF: u8 = 0x08;
pub(super) const ALPHA: u8 = 0x10;

pub(super) fn u24(value: u32) -> [u8; 3] {
    let [a, b, c, _] = value.to_le_bytes();
    [a, b, c]
}

pub(super) fn chunk(bytes: &mut Vec<u8>, name: &[u8; 4], parts: &[&[u8]]) {
    let size: usize = parts.iter().map(|part| part.len()).sum();
    bytes.extend_from_slice(name);
    bytes.extend((size as u32).to_le_bytes());
    for part in parts {
        bytes.extend_from_slice(part);
    }
    if size % 2 == 1 {
        bytes.push(0);
    }
}

/// The beginning of an extended file, whose size is not known yet.
pub(super) fn extended((width, height): (u32, u32), flags: u8) -> Vec<u8> {
    let mut bytes = b"RIFF\0\0\0\0WEBP".to_vec();
    let (width, height) = (u24(width.saturating_sub(1)), u24(height.saturating_sub(1)));
    chunk(&mut bytes, b"VP8X", &[&[flags, 0, 0, 0], &width, &height]);
    bytes
}

/// A file that says its size.
pub(super) fn finished(mut bytes: Vec<u8>) -> Vec<u8> {
    let size = (bytes.len() - 8) as u32;
    if let Some(field) = bytes.get_mut(4..8) {
        field.copy_from_slice(&size.to_le_bytes());
    }
    bytes
}

/// The chunks of a still file that a frame consists of: alpha and the bitstream.
pub(super) fn picture(file: &[u8]) -> Option<Vec<u8>> {
    if file.get(..4)? != b"RIFF" || file.get(8..12)? != b"WEBP" {
        return None;
    }
    let mut found = Vec::new();
    let mut rest = file.get(12..)?;
    while rest.len() >= 8 {
        let size = u32::from_le_bytes(rest.get(4..8)?.try_into().ok()?) as usize;
        let end = 8usize.checked_add(size)?;
        let content = rest.get(8..end)?;
        match rest.get(..4)? {
            b"ALPH" => chunk(&mut found, b"ALPH", &[content]),
            b"VP8 " => chunk(&mut found, b"VP8 ", &[content]),
            b"VP8L" => chunk(&mut found, b"VP8L", &[content]),
            _ => {}
        }
        rest = rest.get(end + size % 2..).unwrap_or_default();
    }
    (!found.is_empty()).then_some(found)
}
