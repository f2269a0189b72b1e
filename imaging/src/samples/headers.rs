//! Files that say more than they hold, and EXIF for those that hold it.

/// CRC-32 as PNG has it, bit by bit: samples are small.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 }
        })
    })
}

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let body = [kind.as_slice(), data].concat();
    [
        &(data.len() as u32).to_be_bytes(),
        body.as_slice(),
        &crc(&body).to_be_bytes(),
    ]
    .concat()
}

/// A valid PNG header for any size, followed by next to no data: the beginning of a decompression bomb.
#[must_use]
pub fn png_claiming(width: u32, height: u32) -> Vec<u8> {
    let header = [&width.to_be_bytes(), &height.to_be_bytes(), [8, 2, 0, 0, 0].as_slice()].concat();
    // An empty zlib stream.
    let data = chunk(b"IDAT", &[0x78, 0x9c, 0x03, 0x00, 0x00, 0x00, 0x00, 0x01]);
    [
        b"\x89PNG\r\n\x1a\n".as_slice(),
        &chunk(b"IHDR", &header),
        &data,
        &chunk(b"IEND", b""),
    ]
    .concat()
}

/// A PNG of given filtered rows, stored without compression; `tail` is what follows the size in IHDR. For codings that
/// the encoder does not write.
#[must_use]
pub fn png_with_data(width: u32, height: u32, tail: [u8; 5], rows: &[u8]) -> Vec<u8> {
    let header = [&width.to_be_bytes(), &height.to_be_bytes(), tail.as_slice()].concat();
    let mut zlib = vec![0x78, 0x01];
    for (index, block) in rows.chunks(65_535).enumerate() {
        let length = block.len() as u16;
        zlib.push(u8::from((index + 1) * 65_535 >= rows.len()));
        zlib.extend(length.to_le_bytes());
        zlib.extend((!length).to_le_bytes());
        zlib.extend(block);
    }
    let (a, b) = rows.iter().fold((1u32, 0u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    zlib.extend((b << 16 | a).to_be_bytes());
    [
        b"\x89PNG\r\n\x1a\n".as_slice(),
        &chunk(b"IHDR", &header),
        &chunk(b"IDAT", &zlib),
        &chunk(b"IEND", b""),
    ]
    .concat()
}

/// A black interlaced PNG, which is small as a file and has to be decoded whole.
#[must_use]
pub fn png_interlaced(width: u32, height: u32) -> Vec<u8> {
    let header = [&width.to_be_bytes(), &height.to_be_bytes(), [8, 2, 0, 0, 1].as_slice()].concat();
    // Rows of all passes, each behind the number of its filter; a pass without columns has no rows.
    let rows: usize = [
        (0, 8, 0, 8),
        (4, 8, 0, 8),
        (0, 4, 4, 8),
        (2, 4, 0, 4),
        (0, 2, 2, 4),
        (1, 2, 0, 2),
        (0, 1, 1, 2),
    ]
    .into_iter()
    .map(|(first_column, column_step, first_row, row_step)| {
        let columns = width.saturating_sub(first_column).div_ceil(column_step) as usize;
        let rows = height.saturating_sub(first_row).div_ceil(row_step) as usize;
        if columns == 0 { 0 } else { rows * (1 + 3 * columns) }
    })
    .sum();
    let zlib = miniz_oxide::deflate::compress_to_vec_zlib(&vec![0; rows], 1);
    [
        b"\x89PNG\r\n\x1a\n".as_slice(),
        &chunk(b"IHDR", &header),
        &chunk(b"IDAT", &zlib),
        &chunk(b"IEND", b""),
    ]
    .concat()
}

/// A JPEG frame header for any size, then an empty scan.
#[must_use]
pub fn jpeg_claiming(width: u16, height: u16) -> Vec<u8> {
    let mut bytes = vec![0xff, 0xd8, 0xff, 0xc0, 0, 17, 8];
    bytes.extend(height.to_be_bytes());
    bytes.extend(width.to_be_bytes());
    bytes.extend([3, 1, 0x22, 0, 2, 0x11, 0, 3, 0x11, 0]);
    bytes.extend([0xff, 0xda, 0, 12, 3, 1, 0, 2, 0, 3, 0, 0, 63, 0, 0xff, 0xd9]);
    bytes
}

/// A JPEG with an EXIF segment that holds an orientation, and a place, which must never come out again.
#[must_use]
pub fn with_orientation(jpeg: &[u8], orientation: u16) -> Vec<u8> {
    let mut exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x03".to_vec();
    let mut entry = |tag: u16, kind: u16, count: u32, value: [u8; 4]| {
        exif.extend(tag.to_be_bytes());
        exif.extend(kind.to_be_bytes());
        exif.extend(count.to_be_bytes());
        exif.extend(value);
    };
    let [high, low] = orientation.to_be_bytes();
    // The directory is 2 + 3 * 12 + 4 bytes long and begins at 8.
    entry(0x0112, 3, 1, [high, low, 0, 0]);
    entry(0x8298, 2, 10, [0, 0, 0, 50]);
    entry(0x8825, 4, 1, [0, 0, 0, 60]);
    exif.extend([0; 4]);
    exif.extend(b"(c) Kado\0\0");
    // A GPS directory with a latitude reference.
    exif.extend([0, 1, 0, 1, 0, 2, 0, 0, 0, 2, b'N', 0, 0, 0, 0, 0, 0, 0]);
    let length = (exif.len() + 2) as u16;
    let (start, rest) = jpeg.split_at(2.min(jpeg.len()));
    [start, &[0xff, 0xe1], &length.to_be_bytes(), &exif, rest].concat()
}

/// A BMP of given bits, compression, tables (masks, palette) and stored rows; a negative height is from top to bottom.
#[must_use]
pub fn bmp_with_data((width, height): (i32, i32), bits: u16, compression: u32, tables: &[u8], rows: &[u8]) -> Vec<u8> {
    let pixels = 54 + tables.len() as u32;
    let mut bytes = b"BM".to_vec();
    bytes.extend((pixels + rows.len() as u32).to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(pixels.to_le_bytes());
    bytes.extend(40u32.to_le_bytes());
    bytes.extend(width.to_le_bytes());
    bytes.extend(height.to_le_bytes());
    bytes.extend(1u16.to_le_bytes());
    bytes.extend(bits.to_le_bytes());
    bytes.extend(compression.to_le_bytes());
    bytes.extend((rows.len() as u32).to_le_bytes());
    bytes.extend([0; 16]);
    [&bytes, tables, rows].concat()
}
