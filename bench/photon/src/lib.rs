//! What is measured: photon-rs from a JPEG to a smaller JPEG.

use photon_rs::PhotonImage;
use photon_rs::transform::{SamplingFilter, resize};
use wasm_bindgen::prelude::wasm_bindgen;

/// Makes a JPEG `width` pixels wide, at its own shape. Anything that is no picture panics within photon-rs.
#[wasm_bindgen]
#[must_use]
pub fn thumbnail(picture: Vec<u8>, width: u32, quality: u8) -> Vec<u8> {
    let decoded = PhotonImage::new_from_byteslice(picture);
    let (from, height) = (u64::from(decoded.get_width()), u64::from(decoded.get_height()));
    let height = (height * u64::from(width) + from / 2) / from.max(1);
    let height = u32::try_from(height).unwrap_or(u32::MAX).max(1);
    resize(&decoded, width, height, SamplingFilter::Lanczos3).get_bytes_jpeg(quality)
}
