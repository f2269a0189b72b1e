//! Encoders that are modules of their own, each with a linear memory of its own.

use js_sys::Uint8Array;
use kado_imaging::{AvifSettings, Codec, CodecError, Codecs, WebpSettings};

use crate::js::{self, CodecModule};

/// What is loaded for a job: a picture has one format, so one encoder at most.
#[derive(Default)]
pub(super) struct EdgeCodecs(Option<(Codec, CodecModule)>);

impl EdgeCodecs {
    pub(super) fn of(codec: Codec, module: CodecModule) -> Self {
        Self(Some((codec, module)))
    }

    /// Memory of the loaded module, in bytes.
    pub(super) fn memory_bytes(&self) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a byte length is a positive integer"
        )]
        let bytes = self.0.as_ref().map_or(0, |(_, module)| module.memory_bytes() as u64);
        bytes
    }

    fn encode(
        &self,
        (wanted, name): (Codec, &'static str),
        rgba: &[u8],
        (width, height): (u32, u32),
        settings: &impl serde::Serialize,
    ) -> Result<Vec<u8>, CodecError> {
        let module = match &self.0 {
            Some((codec, module)) if *codec == wanted => module,
            _ => return Err(CodecError::Missing(name)),
        };
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

/// Lets go of a module whose memory has grown beyond what is worth keeping, whatever came of the job.
impl Drop for EdgeCodecs {
    fn drop(&mut self) {
        if let Some((_, module)) = &self.0 {
            module.release();
        }
    }
}

impl Codecs for EdgeCodecs {
    fn webp(&self, rgba: &[u8], width: u32, height: u32, settings: &WebpSettings) -> Result<Vec<u8>, CodecError> {
        self.encode((Codec::WebP, "webp"), rgba, (width, height), settings)
    }

    fn avif(&self, rgba: &[u8], width: u32, height: u32, settings: &AvifSettings) -> Result<Vec<u8>, CodecError> {
        self.encode((Codec::Avif, "avif"), rgba, (width, height), settings)
    }
}
