//! The fonts that texts are set in. There are no others, so that every lane writes the same glyphs.

use resvg::usvg::{FontResolver, fontdb};
use std::sync::Arc;

/// Family of the first font: Latin, Greek and Cyrillic.
pub(super) const FAMILY: &str = "Noto Sans";

/// In the order in which a glyph is looked for.
const FONTS: [&[u8]; 3] = [
    include_bytes!("../../assets/NotoSans.ttf"),
    include_bytes!("../../assets/NotoSansArabic.ttf"),
    include_bytes!("../../assets/NotoSansHebrew.ttf"),
];

/// All fonts. They are read where they lie; what is made of them here are a few names and numbers.
pub(super) fn database() -> Arc<fontdb::Database> {
    let mut database = fontdb::Database::new();
    for font in FONTS {
        database.load_font_source(fontdb::Source::Binary(Arc::new(font)));
    }
    Arc::new(database)
}

/// Every family is the embedded one: a document names fonts that its author had.
pub(super) fn resolver() -> FontResolver<'static> {
    FontResolver {
        select_font: Box::new(|_, database| database.faces().next().map(|face| face.id)),
        select_fallback: FontResolver::default_fallback_selector(),
    }
}
