//! The items of a `meta` box: what they are, where their bytes lie, and what is said of them.

use super::fields::Fields;

/// Items, references and properties that are looked at; a picture has a handful, a grid a few hundred. Each is looked up
/// among the others, so a file of more is damaged.
const MAX_ITEMS: usize = 4096;

/// Items that all references together name.
const MAX_REFERENCES: usize = 65_536;

/// Properties of one item.
const MAX_PROPERTIES: usize = 64;

/// Pieces that an item's bytes may be in.
const MAX_EXTENTS: usize = 32;

/// A piece of the file: its offset and its length. A length of 0 reaches to the end.
pub(crate) type Extent = (u64, u64);

/// One item.
#[derive(Debug, Default)]
pub(super) struct Item<'a> {
    pub(super) id: u32,
    pub(super) kind: [u8; 4],
    /// The media type, where the item's type is `mime`.
    pub(super) media_type: &'a [u8],
    pub(super) extents: Vec<Extent>,
    /// Properties in the order in which they apply: type, content, and whether who does not know it must not go on.
    pub(super) properties: Vec<([u8; 4], &'a [u8], bool)>,
}

impl<'a> Item<'a> {
    /// The content of the first property of a type.
    pub(super) fn property(&self, kind: &[u8; 4]) -> Option<&'a [u8]> {
        self.all(kind).next()
    }

    pub(super) fn all(&self, kind: &[u8; 4]) -> impl Iterator<Item = &'a [u8]> {
        self.properties
            .iter()
            .filter(move |(found, ..)| found == kind)
            .map(|(_, content, _)| *content)
    }
}

/// All items, and how they refer to each other.
#[derive(Debug, Default)]
pub(super) struct Items<'a> {
    pub(super) primary: u32,
    items: Vec<Item<'a>>,
    /// Type, from, and to.
    references: Vec<([u8; 4], u32, Vec<u32>)>,
}

impl<'a> Items<'a> {
    /// Reads the content of a `meta` box, which begins at `offset` in the file. `None` where it is damaged.
    pub(super) fn parse(meta: &'a [u8], offset: u64) -> Option<Self> {
        let mut fields = Fields(meta);
        fields.version()?;
        let boxes = fields;
        let mut items = Self::default();
        let mut primary = Fields(boxes.find(b"pitm")?);
        items.primary = id(&mut primary)?;
        items.kinds(Fields(boxes.find(b"iinf")?))?;
        let inside = boxes.find(b"idat").unwrap_or_default();
        let inside = (inside.as_ptr() as usize)
            .checked_sub(meta.as_ptr() as usize)
            .map_or(0, |at| at as u64);
        items.places(Fields(boxes.find(b"iloc")?), offset + inside)?;
        if let Some(references) = boxes.find(b"iref") {
            items.references(Fields(references))?;
        }
        items.properties(Fields(boxes.find(b"iprp")?))?;
        Some(items)
    }

    pub(super) fn item(&self, id: u32) -> Option<&Item<'a>> {
        self.items.iter().find(|item| item.id == id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Item<'a>> {
        self.items.iter()
    }

    /// What an item refers to.
    pub(super) fn references_of(&self, kind: &[u8; 4], from: u32) -> &[u32] {
        let found = self
            .references
            .iter()
            .find(|(found, item, _)| found == kind && *item == from);
        found.map_or(&[], |(_, _, to)| to)
    }

    /// Whether an item refers to another.
    pub(super) fn refers(&self, kind: &[u8; 4], from: u32, to: u32) -> bool {
        self.references
            .iter()
            .any(|(found, item, all)| found == kind && *item == from && all.contains(&to))
    }

    fn at(&mut self, id: u32) -> Option<&mut Item<'a>> {
        self.items.iter_mut().find(|item| item.id == id)
    }

    fn kinds(&mut self, mut fields: Fields<'a>) -> Option<()> {
        let (version, _) = fields.version()?;
        let count = fields.number(if version == 0 { 2 } else { 4 })?;
        for _ in 0..within(count)? {
            let (kind, entry) = fields.next_box()?;
            let mut entry = Fields(entry);
            let (version, _) = entry.version()?;
            if kind != *b"infe" || version < 2 {
                continue;
            }
            let id = entry.number(if version == 2 { 2 } else { 4 })? as u32;
            entry.take(2)?;
            let kind = entry.take(4)?.try_into().ok()?;
            let media_type = match (&kind, entry.text()) {
                (b"mime", Some(_)) => entry.text().unwrap_or_default(),
                _ => &[],
            };
            self.items.push(Item {
                id,
                kind,
                media_type,
                ..Item::default()
            });
        }
        Some(())
    }

    /// Offsets and lengths; `inside` is where the `idat` box's content begins.
    fn places(&mut self, mut fields: Fields<'_>, inside: u64) -> Option<()> {
        let (version, _) = fields.version()?;
        let sizes = fields.u16()?;
        let nibble = |shift: u32| usize::from(sizes >> shift & 15);
        let (offset_size, length_size, base_size) = (nibble(12), nibble(8), nibble(4));
        let index_size = if version == 0 { 0 } else { nibble(0) };
        let count = fields.number(if version < 2 { 2 } else { 4 })?;
        for _ in 0..within(count)? {
            let id = fields.number(if version < 2 { 2 } else { 4 })? as u32;
            let method = if version == 0 { 0 } else { fields.u16()? & 15 };
            let reference = fields.u16()?;
            let base = fields.number(base_size)?;
            let pieces = fields.u16()?;
            let mut extents = Vec::new();
            for _ in 0..pieces {
                fields.take(index_size)?;
                let offset = fields.number(offset_size)?.checked_add(base)?;
                let length = fields.number(length_size)?;
                if extents.len() < MAX_EXTENTS {
                    let start = if method == 1 { inside } else { 0 };
                    extents.push((offset.checked_add(start)?, length));
                }
            }
            // Bytes of other files, and of other items, are not looked for.
            let here = method < 2 && reference == 0 && usize::from(pieces) <= MAX_EXTENTS;
            if let Some(item) = self.at(id).filter(|_| here) {
                item.extents = extents;
            }
        }
        Some(())
    }

    fn references(&mut self, mut fields: Fields<'_>) -> Option<()> {
        let (version, _) = fields.version()?;
        let size = if version == 0 { 2 } else { 4 };
        let mut named = 0;
        while let Some((kind, content)) = fields.next_box() {
            let mut content = Fields(content);
            let from = content.number(size)? as u32;
            let count = content.u16()?;
            let to = (0..count)
                .map(|_| content.number(size).map(|id| id as u32))
                .collect::<Option<Vec<u32>>>()?;
            named += to.len();
            self.references.push((kind, from, to));
            if self.references.len() > MAX_ITEMS || named > MAX_REFERENCES {
                return None;
            }
        }
        Some(())
    }

    fn properties(&mut self, boxes: Fields<'a>) -> Option<()> {
        let mut container = Fields(boxes.find(b"ipco")?);
        let mut all = Vec::new();
        while let Some(property) = container.next_box() {
            all.push(property);
            within(all.len() as u64)?;
        }
        let mut fields = Fields(boxes.find(b"ipma")?);
        let (version, flags) = fields.version()?;
        for _ in 0..within(fields.u32()?.into())? {
            let id = fields.number(if version == 0 { 2 } else { 4 })? as u32;
            let count = fields.u8()?;
            let mut found = Vec::new();
            for _ in 0..count {
                let (essential, index) = if flags & 1 == 1 {
                    let both = fields.u16()?;
                    (both >> 15 == 1, both & 0x7fff)
                } else {
                    let both = fields.u8()?;
                    (both >> 7 == 1, u16::from(both & 0x7f))
                };
                let property = usize::from(index).checked_sub(1).and_then(|index| all.get(index));
                if let Some((kind, content)) = property {
                    found.push((*kind, *content, essential));
                }
            }
            if let Some(item) = self.at(id) {
                item.properties.extend(found);
                if item.properties.len() > MAX_PROPERTIES {
                    return None;
                }
            }
        }
        Some(())
    }
}

/// A count, where it is not out of all proportion.
fn within(count: u64) -> Option<u64> {
    (count <= MAX_ITEMS as u64).then_some(count)
}

/// An item's number in a box whose version says how long it is.
fn id(fields: &mut Fields<'_>) -> Option<u32> {
    let (version, _) = fields.version()?;
    fields.number(if version == 0 { 2 } else { 4 }).map(|id| id as u32)
}
