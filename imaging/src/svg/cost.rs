//! What drawing a tree takes, in bytes and in pixels, before it is drawn.
//!
//! A group with opacity, a mask, a clip or a filter is drawn on a layer of its own, a pattern on a tile: of any size, and
//! within each other. The renderer asks nobody and cannot be stopped, so what it will do is added up first.

use crate::{ImageError, LimitKind};
use resvg::tiny_skia::{PathSegment, Point, Transform};
use resvg::usvg::{ClipPath, Group, ImageKind, Mask, Node, Paint, Path, Pattern, Rect, Stroke, filter};

/// Pixels that a document may paint, some of them many times: the worst of it takes some ten seconds.
const MAX_PAINTED: u64 = 2_000_000_000;

/// Pixels from the corner to the farthest side of a shape. Farther away the renderer's numbers do not tell one pixel from the
/// next: edges come out of order, and it writes beyond its rows and panics.
const MAX_DISTANCE: u64 = 1_000_000;

/// A layer reaches this many canvases beyond the canvas on each side at most.
const BEYOND: f64 = 5.0;

/// What a pixel of a filter's result costs, in pixels painted.
const FILTERED: u64 = 30;

/// Bytes that a dash takes on its way, and what it costs in pixels painted.
const DASH: u64 = 250;

/// Bytes of a pixel.
const PIXEL: u64 = 4;

/// Bytes of layers at a time, pixels painted in all, and how far away the farthest of them are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Cost {
    pub(super) bytes: u64,
    pub(super) painted: u64,
    pub(super) distance: u64,
}

impl Cost {
    /// One after the other: what the first one took is there again.
    fn then(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.max(other.bytes),
            painted: self.painted.saturating_add(other.painted),
            distance: self.distance.max(other.distance),
        }
    }

    /// One inside the other.
    fn around(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            painted: self.painted.saturating_add(other.painted),
            distance: self.distance.max(other.distance),
        }
    }

    const fn pixels(count: u64, layers: u64, times: u64) -> Self {
        Self {
            bytes: count.saturating_mul(PIXEL).saturating_mul(layers),
            painted: count.saturating_mul(times),
            distance: 0,
        }
    }
}

/// Refuses a tree that takes more bytes than there are, or paints for too long.
///
/// # Errors
/// [`ImageError::TooLarge`].
pub(super) fn check(root: &Group, transform: Transform, size: (u32, u32), room: u64) -> Result<(), ImageError> {
    let surface = Surface {
        width: f64::from(size.0),
        height: f64::from(size.1),
    };
    let cost = surface.group(root, transform);
    let refuse = |what, limit, value| {
        if value > limit {
            Err(ImageError::TooLarge { what, limit, value })
        } else {
            Ok(())
        }
    };
    refuse(LimitKind::Distance, MAX_DISTANCE, cost.distance)?;
    refuse(LimitKind::Painted, MAX_PAINTED, cost.painted)?;
    refuse(LimitKind::Memory, room, cost.bytes)
}

/// Whole pixels of an area that may be any number. `as` saturates, and makes nothing of what is none.
fn count(area: f64) -> u64 {
    area.ceil() as u64
}

/// What is drawn on.
#[derive(Clone, Copy)]
struct Surface {
    width: f64,
    height: f64,
}

impl Surface {
    /// Pixels of a rectangle, as many as the surface can show `beyond` itself.
    fn pixels(self, rect: Option<Rect>, transform: Transform, beyond: f64) -> u64 {
        let most = (self.width * beyond, self.height * beyond);
        rect.and_then(|rect| rect.transform(transform))
            .map_or(count(most.0 * most.1), |rect| {
                count((f64::from(rect.width()) + 4.0).min(most.0) * (f64::from(rect.height()) + 4.0).min(most.1))
            })
    }

    fn group(self, group: &Group, transform: Transform) -> Cost {
        let transform = transform.pre_concat(group.transform());
        if !group.should_isolate() {
            return self.nodes(group, transform);
        }
        let layer = self.pixels(Some(group.layer_bounding_box().to_rect()), transform, BEYOND);
        let mut cost = self.nodes(group, transform);
        for filter in group.filters() {
            cost = cost.then(self.filter(filter, layer, transform));
        }
        if let Some(clip) = group.clip_path() {
            cost = cost.then(self.clip(clip, layer, transform));
        }
        if let Some(mask) = group.mask() {
            cost = cost.then(self.mask(mask, layer, transform));
        }
        // It is painted, and drawn on what is below.
        Cost::pixels(layer, 1, 2).around(cost)
    }

    fn nodes(self, group: &Group, transform: Transform) -> Cost {
        group.children().iter().fold(Cost::default(), |cost, node| {
            cost.then(match node {
                Node::Group(group) => self.group(group, transform),
                Node::Path(path) => self.path(path, transform),
                Node::Text(text) => self.group(text.flattened(), transform),
                Node::Image(image) => self.image(image.kind(), image.size(), image.bounding_box(), transform),
            })
        })
    }

    fn image(self, kind: &ImageKind, size: resvg::usvg::Size, bounds: Rect, transform: Transform) -> Cost {
        let stored = match kind {
            ImageKind::SVG(_) => 0,
            ImageKind::JPEG(file) | ImageKind::PNG(file) | ImageKind::GIF(file) | ImageKind::WEBP(file) => file.len(),
        };
        let own = count(f64::from(size.width()) * f64::from(size.height()));
        let shown = self.pixels(Some(bounds), transform, 1.0);
        Cost {
            bytes: own.saturating_mul(2 * PIXEL).saturating_add(stored as u64),
            painted: own.saturating_mul(4).saturating_add(shown.saturating_mul(4)),
            distance: distance(bounds, transform),
        }
    }

    fn path(self, path: &Path, transform: Transform) -> Cost {
        let shown = self.pixels(Some(path.stroke_bounding_box()), transform, 1.0);
        let corners = path.data().len() as u64;
        // A line that goes up and down is met again on every row that it crosses.
        let rows = (shown as f64).sqrt() as u64;
        let mut cost = Cost {
            bytes: corners.saturating_mul(100),
            painted: corners.saturating_mul(20 + rows / 4),
            distance: distance(path.stroke_bounding_box(), transform),
        };
        if let Some(fill) = path.fill() {
            cost = cost.around(colored(fill.paint(), shown, transform));
        }
        if let Some(stroke) = path.stroke() {
            let dashes = dashes(path, stroke);
            cost = cost.around(colored(stroke.paint(), shown, transform)).around(Cost {
                bytes: dashes.saturating_mul(DASH),
                painted: dashes.saturating_mul(DASH),
                distance: 0,
            });
        }
        cost
    }

    fn clip(self, clip: &ClipPath, layer: u64, transform: Transform) -> Cost {
        let inner = transform.pre_concat(clip.transform());
        let own = Cost::pixels(layer, 2, 4).around(self.nodes(clip.root(), inner));
        clip.clip_path()
            .map_or(own, |next| own.around(self.clip(next, layer, transform)))
    }

    fn mask(self, mask: &Mask, layer: u64, transform: Transform) -> Cost {
        let own = Cost::pixels(layer, 2, 4).around(self.nodes(mask.root(), transform));
        mask.mask()
            .map_or(own, |next| own.around(self.mask(next, layer, transform)))
    }

    /// Every result is kept until the last one is there.
    fn filter(self, filter: &filter::Filter, layer: u64, transform: Transform) -> Cost {
        let (sx, sy) = transform.get_scale();
        let reach = |radius: f32, scale: f32| 1 + 2 * count(f64::from(radius) * f64::from(scale)).min(1 << 20);
        let mut cost = Cost::pixels(layer, 4, FILTERED);
        for primitive in filter.primitives() {
            let times = match primitive.kind() {
                filter::Kind::Morphology(it) => {
                    let reach = reach(it.radius_x().get(), sx).saturating_mul(reach(it.radius_y().get(), sy));
                    reach.min(layer)
                }
                filter::Kind::ConvolveMatrix(it) => it.matrix().data().len() as u64,
                filter::Kind::Turbulence(it) => u64::from(it.num_octaves()),
                filter::Kind::Merge(it) => it.inputs().len() as u64,
                _ => 1,
            };
            let inside = match primitive.kind() {
                filter::Kind::Image(it) => self.nodes(it.root(), transform),
                _ => Cost::default(),
            };
            let mut own = Cost::pixels(layer, 1, FILTERED.saturating_mul(times.max(1)));
            own.distance = filtered_distance(primitive.kind(), (sx, sy));
            cost = cost.around(own).around(inside);
        }
        cost
    }
}

/// Pixels to the farthest one that a filter looks at for a pixel, or moves it to: it counts them in 32 bits.
fn filtered_distance(kind: &filter::Kind, (sx, sy): (f32, f32)) -> u64 {
    let lengths = match kind {
        filter::Kind::GaussianBlur(it) => [it.std_dev_x().get() * sx, it.std_dev_y().get() * sy, 0.0, 0.0],
        filter::Kind::DropShadow(it) => {
            let blur = (it.std_dev_x().get(), it.std_dev_y().get());
            [blur.0 * sx, blur.1 * sy, it.dx() * sx, it.dy() * sy]
        }
        filter::Kind::Offset(it) => [it.dx() * sx, it.dy() * sy, 0.0, 0.0],
        filter::Kind::Morphology(it) => [it.radius_x().get() * sx, it.radius_y().get() * sy, 0.0, 0.0],
        filter::Kind::DisplacementMap(it) => [it.scale() * sx, it.scale() * sy, 0.0, 0.0],
        _ => [0.0; 4],
    };
    // What is no number is a product with an infinite one.
    let pixels = |length: f32| {
        if length.is_nan() {
            u64::MAX
        } else {
            count(f64::from(length.abs()))
        }
    };
    lengths.into_iter().map(pixels).max().unwrap_or(0)
}

/// Pixels to the farthest side of a rectangle; more than any where that is no number.
fn distance(bounds: Rect, transform: Transform) -> u64 {
    bounds.transform(transform).map_or(u64::MAX, |rect| {
        let sides = [rect.left(), rect.top(), rect.right(), rect.bottom()];
        // `as` saturates.
        sides.into_iter().map(|side| side.abs() as u64).max().unwrap_or(0)
    })
}

/// So many pixels in a colour, a gradient or a pattern.
fn colored(paint: &Paint, shown: u64, transform: Transform) -> Cost {
    match paint {
        Paint::Color(_) => Cost::pixels(shown, 0, 1),
        Paint::LinearGradient(_) | Paint::RadialGradient(_) => Cost::pixels(shown, 0, 4),
        Paint::Pattern(pattern) => Cost::pixels(shown, 0, 8).then(tile(pattern, transform)),
    }
}

/// A pattern's tile is made anew for each shape that has it, at the shape's scale, however large that makes it.
fn tile(pattern: &Pattern, transform: Transform) -> Cost {
    let (sx, sy) = transform.pre_concat(pattern.transform()).get_scale();
    let surface = Surface {
        width: f64::from(pattern.rect().width() * sx),
        height: f64::from(pattern.rect().height() * sy),
    };
    let inside = surface.nodes(pattern.root(), Transform::from_scale(sx, sy));
    Cost::pixels(count(surface.width * surface.height), 1, 1).around(inside)
}

/// How many dashes a stroke has at most.
fn dashes(path: &Path, stroke: &Stroke) -> u64 {
    let Some(pattern) = stroke.dasharray() else {
        return 0;
    };
    let period: f64 = pattern.iter().map(|length| f64::from(*length)).sum();
    if period <= 0.0 {
        return 0;
    }
    count(length(path) / period).saturating_mul(pattern.len() as u64)
}

/// Length of a path's control polygons, which its curves are not longer than.
fn length(path: &Path) -> f64 {
    let distance = |from: Point, to: Point| f64::from(from.distance(to));
    let (mut start, mut last, mut sum) = (Point::zero(), Point::zero(), 0.0);
    for segment in path.data().segments() {
        match segment {
            PathSegment::MoveTo(to) => (start, last) = (to, to),
            PathSegment::LineTo(to) => {
                sum += distance(last, to);
                last = to;
            }
            PathSegment::QuadTo(by, to) => {
                sum += distance(last, by) + distance(by, to);
                last = to;
            }
            PathSegment::CubicTo(by, then, to) => {
                sum += distance(last, by) + distance(by, then) + distance(then, to);
                last = to;
            }
            PathSegment::Close => {
                sum += distance(last, start);
                last = start;
            }
        }
    }
    sum
}
