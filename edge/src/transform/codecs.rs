//! Encoders that are modules of their own, each with a linear memory of its own.

use js_sys::Uint8Array;
use kado_imaging::{CodecError, Codecs, WebpSettings};

use crate::js::{self, WebpModule};

/// What is loaded for a job.
#[derive(Default)]
pub(super) struct EdgeCodecs {
    pub(super) webp: Option<WebpModule>,
}

impl EdgeCodecs {
    /// Memory of the loaded modules, in bytes.
    pub(super) fn memory_bytes(&self) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a byte length is a positive integer"
        )]
        let bytes = self.webp.as_ref().map_or(0, |module| module.memory_bytes() as u64);
        bytes
    }
}

/// Lets go of modules whose memory has grown beyond what is worth keeping, whatever came of the job.
impl Drop for EdgeCodecs {
    fn drop(&mut self) {
        if let Some(module) = &self.webp {
            module.release();
        }
    }
}

impl Codecs for EdgeCodecs {
    fn webp(&self, rgba: &[u8], width: u32, height: u32, settings: &WebpSettings) -> Result<Vec<u8>, CodecError> {
        let module = self.webp.as_ref().ok_or(CodecError::Missing("webp"))?;
        let failed = |error: wasm_bindgen::JsValue| CodecError::Failed(js::describe(&error));
        let settings = serde_wasm_bindgen::to_value(settings).map_err(|error| CodecError::Failed(error.to_string()))?;
        // A copy on the JavaScript side, of the output's size: the module cannot read our memory.
        let pixels = Uint8Array::from(rgba);
        module
            .encode(&pixels, width, height, &settings)
            .map(|bytes| bytes.to_vec())
            .map_err(failed)
    }
}
