//! `format=json`: what a picture is, never where it was taken or with which camera.

use crate::{ImageError, ImageInfo, Plan};
use serde::Serialize;

/// Facts as they are answered.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Facts<'a> {
    /// Of the picture that the other options would give.
    width: u32,
    height: u32,
    original: Original<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Original<'a> {
    /// As stored.
    width: u32,
    height: u32,
    format: &'a str,
    bytes: u64,
    frames: Option<u32>,
    orientation: u16,
    color_profile: bool,
    alpha: bool,
    bit_depth: u8,
    components: u8,
    progressive: bool,
}

impl<'a> Original<'a> {
    fn of(info: &'a ImageInfo) -> Self {
        Self {
            width: info.width,
            height: info.height,
            format: info.format.media_type(),
            bytes: info.bytes,
            frames: info.frames,
            orientation: info.orientation.exif(),
            color_profile: info.color_profile,
            alpha: info.alpha,
            bit_depth: info.bit_depth,
            components: info.components,
            progressive: info.progressive,
        }
    }
}

pub(crate) fn json(plan: &Plan) -> Result<Vec<u8>, ImageError> {
    let facts = Facts {
        width: plan.width,
        height: plan.height,
        original: Original::of(&plan.info),
    };
    serde_json::to_vec(&facts).map_err(|_| ImageError::Internal("the facts could not be written"))
}
