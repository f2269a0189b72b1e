//! XMP: markup of which little is understood, and what is not wanted is cut out.

use super::exif::{MOST_TEXT, Notice};
use quick_xml::escape::{escape, resolve_predefined_entity};
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, Writer};

/// Bytes of the XMP that is written. With its frame it fits a JPEG segment.
pub(super) const MOST_BYTES: usize = 60 * 1024;

/// Names of one creator each.
const MOST_CREATORS: usize = 16;

/// Who made a picture, and whose it is, by Dublin Core.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Credit {
    creators: Vec<String>,
    rights: Option<String>,
}

impl Credit {
    pub(super) fn read(xmp: &[u8]) -> Self {
        Self::parse(xmp).unwrap_or_default()
    }

    fn parse(xmp: &[u8]) -> Option<Self> {
        let mut credit = Self::default();
        let mut reader = Reader::from_str(core::str::from_utf8(xmp).ok()?);
        // What is open: `dc:creator` or `dc:rights`, and the text of an entry in it.
        let mut property: Option<Vec<u8>> = None;
        let mut text = String::new();
        loop {
            match reader.read_event().ok()? {
                Event::Start(start) => {
                    let name = start.name();
                    if matches!(name.as_ref(), b"dc:creator" | b"dc:rights") {
                        property = Some(name.as_ref().to_vec());
                    }
                    text.clear();
                }
                Event::Text(part) if property.is_some() => text.push_str(&part.decode().ok()?),
                Event::GeneralRef(reference) if property.is_some() => match reference.resolve_char_ref().ok()? {
                    Some(character) => text.push(character),
                    None => text.push_str(resolve_predefined_entity(&reference.decode().ok()?)?),
                },
                Event::End(end) => {
                    let entry = core::mem::take(&mut text);
                    credit.add(property.as_deref(), entry.trim());
                    if property.as_deref() == Some(end.name().as_ref()) {
                        property = None;
                    }
                }
                Event::Eof => return Some(credit),
                _ => {}
            }
        }
    }

    fn add(&mut self, property: Option<&[u8]>, entry: &str) {
        if entry.is_empty() {
            return;
        }
        let end = entry.floor_char_boundary(MOST_TEXT);
        let entry = entry.get(..end).unwrap_or_default().to_owned();
        match property {
            Some(b"dc:creator") if self.creators.len() < MOST_CREATORS => self.creators.push(entry),
            Some(b"dc:rights") if self.rights.is_none() => self.rights = Some(entry),
            _ => {}
        }
    }

    /// The same for EXIF.
    pub(super) fn notice(&self) -> Notice {
        let artist = self.creators.join("; ");
        Notice {
            artist: (!artist.is_empty()).then(|| artist.into_bytes()),
            copyright: self.rights.clone().map(String::into_bytes),
        }
    }

    /// A packet with nothing else.
    pub(super) fn write(&self) -> Option<String> {
        if self == &Self::default() {
            return None;
        }
        let mut properties = String::new();
        if !self.creators.is_empty() {
            let entries: String = self
                .creators
                .iter()
                .map(|creator| format!("<rdf:li>{}</rdf:li>", escape(creator)))
                .collect();
            properties += &format!("<dc:creator><rdf:Seq>{entries}</rdf:Seq></dc:creator>");
        }
        if let Some(rights) = &self.rights {
            let entry = escape(rights);
            properties +=
                &format!("<dc:rights><rdf:Alt><rdf:li xml:lang=\"x-default\">{entry}</rdf:li></rdf:Alt></dc:rights>");
        }
        Some(format!(
            "<x:xmpmeta xmlns:x=\"adobe:ns:meta/\"><rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\">\
             <rdf:Description rdf:about=\"\" xmlns:dc=\"http://purl.org/dc/elements/1.1/\">{properties}\
             </rdf:Description></rdf:RDF></x:xmpmeta>"
        ))
    }
}

/// XMP without properties that must not leave, or would no longer be true. `None` where it cannot be read to its end: what
/// is not understood cannot be cut.
pub(super) fn kept(xmp: &[u8]) -> Option<String> {
    let mut reader = Reader::from_str(core::str::from_utf8(xmp).ok()?);
    let mut writer = Writer::new(Vec::new());
    loop {
        let event = match reader.read_event().ok()? {
            Event::Start(start) if is_unwanted(start.local_name().as_ref()) => {
                reader.read_to_end(start.to_end().name()).ok()?;
                continue;
            }
            Event::Empty(start) if is_unwanted(start.local_name().as_ref()) => continue,
            Event::Start(start) => Event::Start(with_wanted(&start)?),
            Event::Empty(start) => Event::Empty(with_wanted(&start)?),
            // Definitions of entities, and remarks, are nobody's metadata.
            Event::DocType(_) | Event::Comment(_) => continue,
            Event::Eof => break,
            other => other,
        };
        writer.write_event(event).ok()?;
    }
    let text = String::from_utf8(writer.into_inner()).ok()?;
    let text = text.trim_end();
    (!text.is_empty() && text.len() <= MOST_BYTES).then(|| text.to_owned())
}

fn with_wanted<'a>(start: &BytesStart<'a>) -> Option<BytesStart<'a>> {
    let mut kept = start.to_owned();
    kept.clear_attributes();
    for attribute in start.attributes() {
        let attribute = attribute.ok()?;
        if !is_unwanted(attribute.key.local_name().as_ref()) {
            kept.push_attribute(attribute);
        }
    }
    Some(kept)
}

/// By the name without its prefix, which a file may choose: places, serial numbers, thumbnails, the orientation, and the
/// reference to parts that are not carried over.
fn is_unwanted(name: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    let has = |part: &[u8]| name.windows(part.len()).any(|window| window == part);
    let places: [&[u8]; 9] = [
        b"gps",
        b"latitude",
        b"longitude",
        b"altitude",
        b"serialnumber",
        b"thumbnail",
        b"extendedxmp",
        b"locationcreated",
        b"locationshown",
    ];
    name == b"orientation" || places.iter().any(|part| has(part))
}
