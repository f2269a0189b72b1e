//! What an AVIF file's picture is made of: its parts and how they lie, its colours, and how it is turned.

use super::fields::Fields;
use super::items::{Extent, Item, Items};
use crate::Orientation;

/// Parts of a grid.
const MAX_TILES: usize = 1024;

/// What a file says of its picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AvifPicture {
    pub(crate) color: Part,
    pub(crate) alpha: Option<Part>,
    /// Whether colours are multiplied by alpha.
    pub(crate) premultiplied: bool,
    /// What is shown of it: left, top, width, height.
    pub(crate) shown: (u32, u32, u32, u32),
    pub(crate) orientation: Orientation,
    /// Whether there is an ICC profile, and where: the bytes of the `meta` box's content that it takes.
    pub(crate) profile: Option<core::ops::Range<usize>>,
    /// The bytes of the EXIF item, behind four of its own.
    pub(crate) exif: Vec<Extent>,
    /// The bytes of the XMP item.
    pub(crate) xmp: Vec<Extent>,
}

/// A picture of one colour, or of alpha: one AV1 picture, or a grid of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Columns of the grid; 1 where there is none.
    pub(crate) columns: u32,
    /// Size of every AV1 picture.
    pub(crate) tile: (u32, u32),
    /// The bytes of each, row by row.
    pub(crate) tiles: Vec<Vec<Extent>>,
    pub(crate) coding: Coding,
    /// What `colr` says in place of the sequence header.
    pub(crate) colors: Option<Colors>,
}

/// What `av1C` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Coding {
    pub(crate) depth: u8,
    /// Samples per pixel, in quarters.
    pub(crate) quarters: u8,
}

impl Coding {
    /// Bytes of all samples of a picture of this size.
    pub(crate) fn bytes(self, (width, height): (u32, u32)) -> u64 {
        let of_four = u64::from(self.quarters) * if self.depth > 8 { 2 } else { 1 };
        (u64::from(width) * u64::from(height)).div_ceil(4) * of_four
    }
}

/// Code points of ITU-T H.273.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Colors {
    pub(crate) primaries: u16,
    pub(crate) transfer: u16,
    pub(crate) matrix: u16,
    pub(crate) full_range: bool,
}

/// Why a picture is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// The boxes contradict themselves, or something is missing.
    Damaged(&'static str),
    /// It is asked for what is not done here.
    Unsupported(&'static str),
}

impl AvifPicture {
    /// Reads the content of a `meta` box, which begins at `offset` in the file.
    pub(super) fn parse(meta: &[u8], offset: u64) -> Result<Self, Unreadable> {
        let damaged = |what| Unreadable::Damaged(what);
        let items = Items::parse(meta, offset).ok_or(damaged("the boxes of its meta box are damaged"))?;
        let primary = items
            .item(items.primary)
            .ok_or(damaged("there is no primary picture"))?;
        let color = Part::of(&items, primary)?;
        let alpha = items
            .iter()
            .find(|item| items.refers(b"auxl", item.id, primary.id) && item.property(b"auxC").is_some_and(says_alpha));
        let premultiplied = alpha.is_some_and(|alpha| items.refers(b"prem", primary.id, alpha.id));
        let alpha = alpha.map(|item| Part::of(&items, item)).transpose()?;
        if alpha
            .as_ref()
            .is_some_and(|alpha| (alpha.width, alpha.height) != (color.width, color.height))
        {
            return Err(Unreadable::Unsupported(
                "alpha of another size than the colours is not read",
            ));
        }
        let shown = match primary.property(b"clap") {
            Some(aperture) => {
                clean_aperture(aperture, (color.width, color.height)).ok_or(damaged("its clean aperture is damaged"))?
            }
            None => (0, 0, color.width, color.height),
        };
        let profile = primary
            .all(b"colr")
            .filter_map(|content| content.strip_prefix(b"prof").or(content.strip_prefix(b"rICC")))
            .find_map(|profile| {
                let start = (profile.as_ptr() as usize).checked_sub(meta.as_ptr() as usize)?;
                Some(start..start + profile.len())
            });
        let described = |is: &dyn Fn(&Item<'_>) -> bool| {
            let found = items
                .iter()
                .find(|item| items.refers(b"cdsc", item.id, primary.id) && is(item));
            found.map_or_else(Vec::new, |item| item.extents.clone())
        };
        Ok(Self {
            color,
            alpha,
            premultiplied,
            shown,
            orientation: orientation(primary),
            profile,
            exif: described(&|item| item.kind == *b"Exif"),
            xmp: described(&|item| item.kind == *b"mime" && item.media_type == b"application/rdf+xml"),
        })
    }
}

impl Part {
    /// Pixels of all AV1 pictures together, of which not all need be shown.
    pub(crate) fn coded_pixels(&self) -> u64 {
        u64::from(self.tile.0) * u64::from(self.tile.1) * self.tiles.len() as u64
    }

    fn of(items: &Items<'_>, item: &Item<'_>) -> Result<Self, Unreadable> {
        const KNOWN: [&[u8; 4]; 8] = [b"av1C", b"ispe", b"pixi", b"colr", b"auxC", b"irot", b"imir", b"clap"];
        if item
            .properties
            .iter()
            .any(|(kind, _, essential)| *essential && !KNOWN.contains(&kind))
        {
            return Err(Unreadable::Unsupported(
                "it has a property that has to be known and is not",
            ));
        }
        let damaged = |what| Unreadable::Damaged(what);
        let (width, height) = size(item).ok_or(damaged("a picture has no size"))?;
        let tiles: Vec<&Item<'_>> = match &item.kind {
            b"av01" => vec![item],
            b"grid" => {
                let parts = items.references_of(b"dimg", item.id);
                if parts.len() > MAX_TILES {
                    return Err(Unreadable::Unsupported("its grid has too many parts"));
                }
                parts.iter().filter_map(|id| items.item(*id)).collect()
            }
            _ => return Err(Unreadable::Unsupported("only AV1 pictures and grids of them are read")),
        };
        let first = tiles.first().ok_or(damaged("its grid is empty"))?;
        let tile = size(first).ok_or(damaged("a picture has no size"))?;
        // Parts are of one size, and the last ones still show something: so the sizes alone tell how they lie.
        let (columns, rows) = (width.div_ceil(tile.0), height.div_ceil(tile.1));
        let alike = tiles
            .iter()
            .all(|part| part.kind == *b"av01" && size(part) == Some(tile));
        if u64::from(columns) * u64::from(rows) != tiles.len() as u64 || !alike {
            return Err(damaged("its parts do not cover it"));
        }
        Ok(Self {
            width,
            height,
            columns,
            tile,
            coding: first
                .property(b"av1C")
                .and_then(coding)
                .ok_or(damaged("a picture does not say how it is coded"))?,
            colors: item
                .all(b"colr")
                .chain(first.all(b"colr"))
                .find_map(|content| colors(content.strip_prefix(b"nclx")?)),
            tiles: tiles.iter().map(|tile| tile.extents.clone()).collect(),
        })
    }
}

/// `ispe`: width and height, neither of them 0.
fn size(item: &Item<'_>) -> Option<(u32, u32)> {
    let mut fields = Fields(item.property(b"ispe")?);
    fields.version()?;
    let size = (fields.u32()?, fields.u32()?);
    (size.0 > 0 && size.1 > 0).then_some(size)
}

/// `auxC`: a name that ends with a zero.
fn says_alpha(content: &[u8]) -> bool {
    let mut fields = Fields(content);
    let name = fields.version().and_then(|_| fields.text());
    name == Some(b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha")
}

/// `av1C`: flags of depth and of chroma's sampling in its third byte.
fn coding(content: &[u8]) -> Option<Coding> {
    let flags = *content.get(2)?;
    let has = |bit: u8| flags >> bit & 1 == 1;
    Some(Coding {
        depth: match (has(6), has(5)) {
            (false, _) => 8,
            (true, false) => 10,
            (true, true) => 12,
        },
        quarters: match (has(4), has(3), has(2)) {
            (true, ..) => 4,
            (_, true, true) => 6,
            (_, true, false) => 8,
            (_, false, _) => 12,
        },
    })
}

/// `colr` behind `nclx`.
fn colors(content: &[u8]) -> Option<Colors> {
    let mut fields = Fields(content);
    Some(Colors {
        primaries: fields.u16()?,
        transfer: fields.u16()?,
        matrix: fields.u16()?,
        full_range: fields.u8()? >> 7 == 1,
    })
}

/// `irot` turns against the clock by right angles, and `imir` then swaps top and bottom (0) or left and right (1).
fn orientation(item: &Item<'_>) -> Orientation {
    let first = |kind| item.property(kind).and_then(|content| content.first()).copied();
    let turned = Orientation::from_exif(match first(b"irot").map_or(0, |angle| angle & 3) {
        1 => 8,
        2 => 3,
        3 => 6,
        _ => 1,
    });
    turned.then(Orientation::from_exif(match first(b"imir").map(|axis| axis & 1) {
        Some(0) => 4,
        Some(_) => 2,
        None => 1,
    }))
}

/// `clap`: the size of what is shown, and how far its middle is from the picture's, as fractions. `None` where it is not in
/// whole pixels within the picture.
fn clean_aperture(content: &[u8], (width, height): (u32, u32)) -> Option<(u32, u32, u32, u32)> {
    let mut fields = Fields(content);
    let mut fraction = || Some((i64::from(fields.u32()? as i32), i64::from(fields.u32()? as i32)));
    let [shown_width, shown_height, x, y] = [fraction()?, fraction()?, fraction()?, fraction()?];
    let along = |shown: (i64, i64), offset: (i64, i64), whole: u32| {
        let whole = i64::from(whole);
        if shown.1 <= 0 || offset.1 <= 0 || shown.0 % shown.1 != 0 {
            return None;
        }
        let length = shown.0 / shown.1;
        // (whole - length) / 2 + offset, which both are at most 2^31 wide.
        let twice = (whole - length)
            .checked_mul(offset.1)?
            .checked_add(offset.0.checked_mul(2)?)?;
        let start = (twice % (2 * offset.1) == 0).then_some(twice / (2 * offset.1))?;
        let inside = length > 0 && start >= 0 && start.checked_add(length)? <= whole;
        inside.then_some((start as u32, length as u32))
    };
    let (left, width) = along(shown_width, x, width)?;
    let (top, height) = along(shown_height, y, height)?;
    Some((left, top, width, height))
}
