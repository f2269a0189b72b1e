//! What a plan leaves to the pixels: the border that `trim=border` cuts off.

use crate::options::{Pixels, Tolerance, Trim};
use crate::pixels::{Raster, inside};
use crate::plan::Rectangle;
use crate::{ImageError, Limits, Plan, Region};

/// Steps of a channel that a border may differ from its colour by where nothing else is asked for: what JPEG does to a
/// plain area, as sharp has it.
const TOLERANCE: u8 = 10;

/// The plan as it is once the pixels are known; `None` where it stays as it was.
pub(crate) fn settle(decoded: &Raster, plan: &Plan, limits: &Limits) -> Result<Option<Plan>, ImageError> {
    if plan.resolved.options.trim != Some(Trim::Border) {
        return Ok(None);
    }
    plan.keeping(without_border(decoded, plan), limits).map(Some)
}

/// What is inside the border, in the upright picture; all of it where it is all border.
fn without_border(decoded: &Raster, plan: &Plan) -> Rectangle {
    let (options, info) = (&plan.resolved.options, &plan.info);
    let upright = info.upright_size();
    let pixel = Region {
        left: 0.0,
        top: 0.0,
        width: 1.0,
        height: 1.0,
    };
    let size = info.orientation.size((decoded.width, decoded.height));
    let corner = info
        .orientation
        .region_before(pixel, (f64::from(size.0), f64::from(size.1)));
    let tolerance = options.trim_border_tolerance.map_or(TOLERANCE, Tolerance::get);
    let color = options.trim_border_color;
    let Some(found) = inside(decoded, color, (corner.left as u32, corner.top as u32), tolerance) else {
        return plan.kept;
    };
    let keep = plan
        .resolved
        .dpr()
        .scale(options.trim_border_keep.map_or(0, Pixels::get));
    let scale = u32::from(plan.decode_scale);
    // In the stored picture, then as people see it.
    let side = |start: u32, length: u32, full: u32| {
        let from = (start * scale).saturating_sub(keep).min(full - 1);
        let to = ((start + length) * scale).saturating_add(keep).min(full);
        (f64::from(from), f64::from(to - from))
    };
    let (left, width) = side(found.0, found.2, info.width);
    let (top, height) = side(found.1, found.3, info.height);
    let stored = Region {
        left,
        top,
        width,
        height,
    };
    let region = info
        .orientation
        .inverse()
        .region_before(stored, (f64::from(info.width), f64::from(info.height)));
    within(region, (0, 0, upright.0, upright.1))
}

/// A region of whole pixels, moved into a rectangle and kept in it.
fn within(region: Region, (left, top, width, height): Rectangle) -> Rectangle {
    let x = (region.left.max(0.0).round() as u32).min(width.saturating_sub(1));
    let y = (region.top.max(0.0).round() as u32).min(height.saturating_sub(1));
    let side = |length: f64, room: u32| (length.round() as u32).clamp(1, room.max(1));
    (
        left + x,
        top + y,
        side(region.width, width - x),
        side(region.height, height - y),
    )
}
