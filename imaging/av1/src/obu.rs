//! The units of AV1 data (OBUs), as far as counting them.

const SEQUENCE_HEADER: u8 = 1;
const FRAME_HEADER: u8 = 3;
const FRAME: u8 = 6;

/// Whether the data hold together, and are one frame with one sequence header, as AVIF wants it.
///
/// What has more could make a decoder work for long on few bytes, and keep several pictures at a time.
pub(crate) fn is_still(data: &[u8]) -> bool {
    let (mut headers, mut frames) = (0, 0);
    let mut rest = data;
    while !rest.is_empty() {
        let Some((kind, next)) = unit(rest) else { return false };
        match kind {
            SEQUENCE_HEADER => headers += 1,
            FRAME_HEADER | FRAME => frames += 1,
            _ => {}
        }
        rest = next;
    }
    headers == 1 && frames == 1
}

/// The type of the first unit, and what follows it.
fn unit(data: &[u8]) -> Option<(u8, &[u8])> {
    let (first, rest) = data.split_first()?;
    let has = |bit: u8| first >> bit & 1 == 1;
    let rest = if has(2) { rest.get(1..)? } else { rest };
    let next = if has(1) {
        let (length, rest) = length(rest)?;
        rest.get(length..)?
    } else {
        &[]
    };
    Some((first >> 3 & 15, next))
}

/// A length in groups of seven bits, the lowest first.
fn length(data: &[u8]) -> Option<(usize, &[u8])> {
    let mut length = 0u64;
    for (index, byte) in data.iter().enumerate().take(8) {
        length |= u64::from(byte & 0x7f) << (7 * index);
        if byte >> 7 == 0 {
            return Some((usize::try_from(length).ok()?, data.get(index + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: [u8; 3] = [SEQUENCE_HEADER << 3 | 2, 1, 0];
    const PICTURE: [u8; 5] = [FRAME << 3 | 6, 0, 0x82, 0x00, 9];

    #[test]
    fn one_frame_is_a_still_picture() {
        let delimiter = [2 << 3 | 2, 0];
        let mut picture = PICTURE.to_vec();
        picture.push(9);
        assert!(is_still(&[&delimiter, HEADER.as_slice(), &picture].concat()));
        // Without a length it reaches to the end.
        assert!(is_still(&[HEADER.as_slice(), &[FRAME << 3, 1, 2, 3]].concat()));
    }

    #[test]
    fn anything_else_is_not() {
        let picture = [FRAME << 3 | 2, 0];
        for units in [
            [].as_slice(),
            &[HEADER.as_slice()],
            &[&picture],
            &[&HEADER, &picture, &picture],
            &[&HEADER, &HEADER, &picture],
            // Cut short, and lengths that reach too far, among them one that is 0 beside its own bytes.
            &[&HEADER, &PICTURE],
            &[&HEADER, &[FRAME << 3 | 2, 0xff, 0xff, 0xff, 0xff, 0x0f]],
            &[&HEADER, &[FRAME << 3 | 2, 0x80]],
        ] {
            assert!(!is_still(&units.concat()), "{units:?}");
        }
    }
}
