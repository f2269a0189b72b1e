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
    let (width, height) = (f64::from(size.0), f64::from(size.1));
    let surface = Surface {
        width,
        height,
        most: (width * BEYOND, height * BEYOND),
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
    /// Sides of the area beyond which no layer reaches.
    most: (f64, f64),
}

impl Surface {
    const fn area(self) -> f64 {
        self.width * self.height
    }

    /// Its pixels, so many layers of them, so often painted.
    fn cost(self, layers: u64, times: u64) -> Cost {
        Cost::pixels(count(self.area()), layers, times)
    }

    /// Pixels that a rectangle covers of it.
    fn pixels(self, rect: Rect, transform: Transform) -> u64 {
        count(rect.transform(transform).map_or(self.area(), |rect| {
            (f64::from(rect.width()) + 4.0).min(self.width) * (f64::from(rect.height()) + 4.0).min(self.height)
        }))
    }

    /// The layer of a group, and the transformation of what is drawn on it.
    ///
    /// Filters know no slanting: the layer of a filtered group lies straight, and is turned when it is done. What it may
    /// reach grows by that. `None` where a transformation cannot be undone: nothing is drawn.
    fn layer(self, group: &Group, transform: Transform) -> Option<(Self, Transform)> {
        let back = if group.filters().is_empty() {
            Transform::identity()
        } else {
            let (sx, sy) = (transform.sx.hypot(transform.ky), transform.kx.hypot(transform.sy));
            let turn = Transform::from_row(
                transform.sx / sx,
                transform.ky / sx,
                transform.kx / sy,
                transform.sy / sy,
                0.0,
                0.0,
            );
            turn.invert()?
        };
        let absolute = |number: f32| f64::from(number.abs());
        // Whole pixels on both sides.
        let most = (
            self.most.0 * absolute(back.sx) + self.most.1 * absolute(back.kx) + 2.0,
            self.most.0 * absolute(back.ky) + self.most.1 * absolute(back.sy) + 2.0,
        );
        let transform = back.pre_concat(transform);
        let bounds = group.layer_bounding_box().to_rect().transform(transform);
        let (width, height) = bounds.map_or(most, |bounds| {
            let side = |side: f32, most: f64| (f64::from(side) + 4.0).min(most);
            (side(bounds.width(), most.0), side(bounds.height(), most.1))
        });
        Some((Self { width, height, most }, transform))
    }

    fn group(self, group: &Group, transform: Transform) -> Cost {
        let transform = transform.pre_concat(group.transform());
        if !group.should_isolate() {
            return self.nodes(group, transform);
        }
        let Some((layer, inner)) = self.layer(group, transform) else {
            return Cost::default();
        };
        let mut cost = layer.nodes(group, inner);
        for filter in group.filters() {
            cost = cost.then(layer.filter(filter, inner));
        }
        if let Some(clip) = group.clip_path() {
            cost = cost.then(layer.clip(clip, inner));
        }
        if let Some(mask) = group.mask() {
            cost = cost.then(layer.mask(mask, inner));
        }
        // It is painted, and drawn on what is below.
        let mut own = layer.cost(1, 2);
        own.distance = count(layer.width.max(layer.height));
        own.around(cost)
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
        let shown = self.pixels(bounds, transform);
        Cost {
            bytes: own.saturating_mul(2 * PIXEL).saturating_add(stored as u64),
            painted: own.saturating_mul(4).saturating_add(shown.saturating_mul(4)),
            distance: distance(bounds, transform),
        }
    }

    fn path(self, path: &Path, transform: Transform) -> Cost {
        let shown = self.pixels(path.stroke_bounding_box(), transform);
        let corners = path.data().len() as u64;
        // A line that goes up and down is met again on every row that it crosses.
        let rows = (shown as f64).sqrt() as u64;
        let mut cost = Cost {
            bytes: corners.saturating_mul(100),
            painted: corners.saturating_mul(20 + rows / 4),
            distance: distance(path.stroke_bounding_box(), transform),
        };
        if let Some(fill) = path.fill() {
            cost = cost.around(self.colored(fill.paint(), shown, transform));
        }
        if let Some(stroke) = path.stroke() {
            let dashes = dashes(path, stroke);
            cost = cost
                .around(self.colored(stroke.paint(), shown, transform))
                .around(Cost {
                    bytes: dashes.saturating_mul(DASH),
                    painted: dashes.saturating_mul(DASH),
                    distance: 0,
                });
        }
        cost
    }

    fn clip(self, clip: &ClipPath, transform: Transform) -> Cost {
        let inner = transform.pre_concat(clip.transform());
        let own = self.cost(2, 4).around(self.clipping(clip.root(), inner));
        clip.clip_path()
            .map_or(own, |next| own.around(self.clip(next, transform)))
    }

    /// What is in a clip is drawn on one layer, but for groups that are clipped themselves: they have as large a one.
    fn clipping(self, group: &Group, transform: Transform) -> Cost {
        group.children().iter().fold(Cost::default(), |cost, node| {
            cost.then(match node {
                Node::Group(group) => {
                    let inner = transform.pre_concat(group.transform());
                    let inside = self.clipping(group, inner);
                    group.clip_path().map_or(inside, |clip| {
                        self.cost(1, 2).around(inside.then(self.clip(clip, inner)))
                    })
                }
                Node::Path(path) => self.path(path, transform),
                Node::Text(text) => self.clipping(text.flattened(), transform),
                Node::Image(_) => Cost::default(),
            })
        })
    }

    fn mask(self, mask: &Mask, transform: Transform) -> Cost {
        let own = self.cost(2, 4).around(self.nodes(mask.root(), transform));
        mask.mask().map_or(own, |next| own.around(self.mask(next, transform)))
    }

    /// Every result is kept until the last one is there.
    fn filter(self, filter: &filter::Filter, transform: Transform) -> Cost {
        let (sx, sy) = transform.get_scale();
        let reach = |radius: f32, scale: f32| 1 + 2 * count(f64::from(radius) * f64::from(scale)).min(1 << 20);
        let mut cost = self.cost(4, FILTERED);
        for primitive in filter.primitives() {
            let times = match primitive.kind() {
                filter::Kind::Morphology(it) => {
                    let reach = reach(it.radius_x().get(), sx).saturating_mul(reach(it.radius_y().get(), sy));
                    reach.min(count(self.area()))
                }
                filter::Kind::ConvolveMatrix(it) => it.matrix().data().len() as u64,
                filter::Kind::Turbulence(it) => u64::from(it.num_octaves()),
                filter::Kind::Merge(it) => it.inputs().len() as u64,
                _ => 1,
            };
            let inside = match primitive.kind() {
                // It is drawn on a surface of its own.
                filter::Kind::Image(it) => {
                    let most = (self.width, self.height);
                    Self { most, ..self }.nodes(it.root(), transform)
                }
                _ => Cost::default(),
            };
            let mut own = self.cost(1, FILTERED.saturating_mul(times.max(1)));
            own.distance = filtered_distance(primitive.kind(), (sx, sy));
            cost = cost.around(own).around(inside);
        }
        cost
    }

    /// So many pixels in a colour, a gradient or a pattern.
    fn colored(self, paint: &Paint, shown: u64, transform: Transform) -> Cost {
        match paint {
            Paint::Color(_) => Cost::pixels(shown, 0, 1),
            Paint::LinearGradient(_) | Paint::RadialGradient(_) => Cost::pixels(shown, 0, 4),
            Paint::Pattern(pattern) => Cost::pixels(shown, 0, 8).then(self.tile(pattern, transform)),
        }
    }

    /// A pattern's tile is made anew for each shape that has it, at the shape's scale, however large that makes it. Layers in it
    /// reach as far as those of the surface that it is for.
    fn tile(self, pattern: &Pattern, transform: Transform) -> Cost {
        let (sx, sy) = transform.pre_concat(pattern.transform()).get_scale();
        let tile = Self {
            width: f64::from(pattern.rect().width() * sx),
            height: f64::from(pattern.rect().height() * sy),
            ..self
        };
        let inside = tile.nodes(pattern.root(), Transform::from_scale(sx, sy));
        tile.cost(1, 1).around(inside)
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
