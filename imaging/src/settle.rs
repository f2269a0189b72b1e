//! What a plan leaves to the pixels: the border that `trim=border` cuts off, and the part that `gravity=auto` and `entropy` keep.

use crate::options::{Gravity, Pixels, Tolerance, Trim};
use crate::pixels::{Raster, entropic, inside, salient, small, turn};
use crate::plan::{Rectangle, place};
use crate::{ImageError, Limits, Plan, Region};

/// Steps of a channel that a border may differ from its colour by where nothing else is asked for: what JPEG does to a
/// plain area, as sharp has it.
const TOLERANCE: u8 = 10;

/// The plan as it is once the pixels are known; `None` where it stays as it was.
pub(crate) fn settle(decoded: &Raster, plan: &Plan, limits: &Limits) -> Result<Option<Plan>, ImageError> {
    let mut kept = plan.kept;
    if plan.resolved.options.trim == Some(Trim::Border) {
        kept = without_border(decoded, plan);
    }
    if plan.chooses() {
        kept = most_telling(decoded, plan, kept)?;
    }
    if kept == plan.kept {
        return Ok(None);
    }
    plan.keeping(kept, limits).map(Some)
}

/// The part of `kept` that fills the box and that the gravity asks for, in the upright picture.
fn most_telling(decoded: &Raster, plan: &Plan, kept: Rectangle) -> Result<Rectangle, ImageError> {
    let turned = plan.turn().size((kept.2, kept.3));
    let (width, height) = plan.resolved.size();
    let placed = place(turned, width, height, plan.resolved.fit(), None);
    // In pixels of the turned picture, before it is scaled.
    let unscaled = |window: u32, scaled: u32, full: u32| {
        ((f64::from(window) * f64::from(full) / f64::from(scaled)).round() as u32).clamp(1, full)
    };
    let wanted = (
        unscaled(placed.window.2, placed.scaled.0, turned.0),
        unscaled(placed.window.3, placed.scaled.1, turned.1),
    );
    let zoom = plan.resolved.zoom();
    let entropy = plan.resolved.options.gravity == Some(Gravity::Entropy);
    if wanted == turned && (entropy || zoom.is_zero()) {
        return Ok(kept);
    }
    let small = turn(small(decoded, decoded_region(plan, kept))?, plan.orientation)?;
    let cells = |wanted: u32, full: u32, cells: u32| {
        let share = f64::from(wanted) * f64::from(cells) / f64::from(full);
        (share.round() as u32).clamp(1, cells)
    };
    let size = (
        cells(wanted.0, turned.0, small.width),
        cells(wanted.1, turned.1, small.height),
    );
    let found = if entropy {
        entropic(&small, size)?
    } else {
        salient(&small, size, zoom.scale(10_000))?
    };
    let across = unfold((found.0, found.2), size.0, small.width, wanted.0, turned.0);
    let down = unfold((found.1, found.3), size.1, small.height, wanted.1, turned.1);
    let region = Region {
        left: f64::from(across.0),
        top: f64::from(down.0),
        width: f64::from(across.1),
        height: f64::from(down.1),
    };
    let upright = plan
        .turn()
        .region_before(region, (f64::from(turned.0), f64::from(turned.1)));
    Ok(within(upright, kept))
}

/// One axis of a found window in pixels: start and length. A window of the size that was looked for gets exactly the
/// wanted length, and at either end of the small picture it lies at that end of the large one.
fn unfold((start, length): (u32, u32), looked_for: u32, cells: u32, wanted: u32, full: u32) -> (u32, u32) {
    let side = (u64::from(wanted) * u64::from(length) / u64::from(looked_for.max(1))) as u32;
    let side = side.clamp(1, full);
    let start = match cells - length {
        0 => (full - side) / 2,
        room => (u64::from(full - side) * u64::from(start) / u64::from(room)) as u32,
    };
    (start.min(full - side), side)
}

/// A part of the upright picture in pixels of the decoded one.
fn decoded_region(plan: &Plan, (left, top, width, height): Rectangle) -> Region {
    let upright = plan.info.upright_size();
    let region = Region {
        left: f64::from(left),
        top: f64::from(top),
        width: f64::from(width),
        height: f64::from(height),
    };
    let stored = plan
        .info
        .orientation
        .region_before(region, (f64::from(upright.0), f64::from(upright.1)));
    let scale = f64::from(plan.decode_scale);
    Region {
        left: stored.left / scale,
        top: stored.top / scale,
        width: stored.width / scale,
        height: stored.height / scale,
    }
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
