//! A document as a source: read, checked, and drawn at whatever size is asked for.

use super::document::Document;
use super::sanitize::sanitize;
use super::{corrupt, cost, paint, reading, weight};
use crate::decode::Job;
use crate::pixels::Raster;
use crate::{Format, ImageError, LimitKind, Limits, NoCodecs, Region, Resolved};
use core::fmt;
use resvg::tiny_skia::Transform;
use resvg::usvg::{ImageHrefResolver, ImageKind, Options, Tree, roxmltree};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Pixels of all the pictures in a document, each as often as it is drawn.
const MAX_PICTURE_PIXELS: u64 = 16_000_000;

/// How a picture in a document is handed to the renderer.
const PICTURE: &str = "anim=false,compression=fast,format=png";

/// A document that has passed all checks but that of its drawing.
pub(crate) struct Vector {
    tree: Box<Tree>,
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Bytes that there are for layers.
    room: u64,
}

impl fmt::Debug for Vector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Vector({} x {})", self.width, self.height)
    }
}

impl Document {
    /// The document with nothing in it but what is known.
    ///
    /// # Errors
    /// As [`sanitize()`].
    pub(crate) fn sanitized(&self, cancel: &dyn Fn() -> bool) -> Result<String, ImageError> {
        Ok(self.checked(cancel)?.0)
    }

    /// The same, and the bytes that the renderer's copy of it takes.
    fn checked(&self, cancel: &dyn Fn() -> bool) -> Result<(String, u64), ImageError> {
        let text = sanitize(self, cancel)?;
        let bytes = weight::check(&parse(&text)?)?;
        Ok((text, bytes))
    }
}

impl Vector {
    /// Reads and checks a source.
    ///
    /// # Errors
    /// As [`sanitize()`] and [`weight::check()`], and [`ImageError::TooLarge`] for pictures in it.
    pub(crate) fn open(job: &Job<'_>) -> Result<Self, ImageError> {
        let (text, bytes) = Document::read(job.source, job.cancel)?.checked(job.cancel)?;
        let limits = *job.limits;
        let room = limits.memory_bytes.saturating_sub(job.plan.memory.peak);
        if bytes > room {
            return Err(ImageError::TooLarge {
                what: LimitKind::Memory,
                limit: room,
                value: bytes,
            });
        }
        let pixels = AtomicU64::new(0);
        let options = Options {
            image_href_resolver: ImageHrefResolver {
                resolve_data: Box::new(|_, file, _| picture(&file, &limits, &pixels)),
                resolve_string: Box::new(|_, _| None),
            },
            ..reading()
        };
        crate::transform::stop_if(job.cancel)?;
        let tree = Tree::from_xmltree(&parse(&text)?, &options).map_err(|error| corrupt(0, error.to_string()))?;
        drop(options);
        let pixels = pixels.into_inner();
        if pixels > MAX_PICTURE_PIXELS {
            return Err(ImageError::TooLarge {
                what: LimitKind::Pixels,
                limit: MAX_PICTURE_PIXELS,
                value: pixels,
            });
        }
        Ok(Self {
            tree: Box::new(tree),
            width: job.plan.info.width,
            height: job.plan.info.height,
            room: room - bytes,
        })
    }

    /// Draws a part of it at a size.
    ///
    /// # Errors
    /// As [`cost::check()`].
    pub(crate) fn draw(&self, region: Region, size: (u32, u32)) -> Result<Raster, ImageError> {
        let own = self.tree.size();
        // The header's whole pixels, from the document's own units.
        let (across, down) = (
            f64::from(self.width) / f64::from(own.width()),
            f64::from(self.height) / f64::from(own.height()),
        );
        let (x, y) = (f64::from(size.0) / region.width, f64::from(size.1) / region.height);
        let transform = Transform::from_row(
            (across * x) as f32,
            0.0,
            0.0,
            (down * y) as f32,
            (-region.left * x) as f32,
            (-region.top * y) as f32,
        );
        cost::check(self.tree.root(), transform, size, self.room)?;
        paint(&self.tree, transform, size)
    }
}

/// What was sanitised is well-formed.
fn parse(text: &str) -> Result<roxmltree::Document<'_>, ImageError> {
    roxmltree::Document::parse(text).map_err(|_| ImageError::Internal("the sanitised document is not well-formed"))
}

/// A picture inside a document, by our own decoders. One that cannot be read is not shown, as browsers have it.
fn picture(file: &[u8], limits: &Limits, pixels: &AtomicU64) -> Option<ImageKind> {
    let info = crate::probe(&file, limits)
        .ok()
        .filter(|info| info.format != Format::Svg)?;
    let own = u64::from(info.width) * u64::from(info.height);
    if pixels.fetch_add(own, Ordering::Relaxed).saturating_add(own) > MAX_PICTURE_PIXELS {
        return None;
    }
    let resolved = Resolved::parse(PICTURE).ok()?;
    let output = crate::process(&file, &resolved, limits, &NoCodecs, &|| false).ok()?;
    Some(ImageKind::PNG(Arc::new(output.bytes)))
}
