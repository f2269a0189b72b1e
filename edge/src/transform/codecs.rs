//! Codecs that are modules of their own, each with a linear memory of its own.

use std::cell::Cell;

use js_sys::Uint8Array;
use kado_imaging::{Av1Layout, Av1Picture, Av1Plane, AvifSettings, Codec, CodecError, Codecs, WebpSettings};

use crate::js::{self, CodecModule};

/// What is loaded for a job: at most a decoder and an encoder.
#[derive(Default)]
pub(super) struct EdgeCodecs {
    modules: Vec<(Codec, CodecModule)>,
    /// Most bytes that modules had when they were done with a picture: some let go of them at once.
    peak: Cell<u64>,
    /// Bytes of the largest picture that was copied for a module.
    copied: Cell<u64>,
}

impl EdgeCodecs {
    pub(super) fn add(&mut self, codec: Codec, module: CodecModule) {
        self.modules.push((codec, module));
    }

    /// Peak of the loaded modules' memory and of what is copied for them, in bytes.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.note();
        self.peak.get().saturating_add(self.copied.get())
    }

    /// Looks at the modules' memory.
    fn note(&self) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a byte length is a positive integer"
        )]
        let bytes = self
            .modules
            .iter()
            .map(|(_, module)| module.memory_bytes() as u64)
            .sum();
        self.peak.set(self.peak.get().max(bytes));
    }

    fn module(&self, wanted: Codec, name: &'static str) -> Result<&CodecModule, CodecError> {
        let found = self.modules.iter().find(|(codec, _)| *codec == wanted);
        found.map(|(_, module)| module).ok_or(CodecError::Missing(name))
    }

    fn encode(
        &self,
        (wanted, name): (Codec, &'static str),
        rgba: &[u8],
        (width, height): (u32, u32),
        settings: &impl serde::Serialize,
    ) -> Result<Vec<u8>, CodecError> {
        let module = self.module(wanted, name)?;
        let failed = |error: wasm_bindgen::JsValue| CodecError::Failed(js::describe(&error));
        let settings = serde_wasm_bindgen::to_value(settings).map_err(|error| CodecError::Failed(error.to_string()))?;
        // A copy on the JavaScript side, of the output's size: the module cannot read our memory.
        let pixels = Uint8Array::from(rgba);
        self.copied.set(self.copied.get().max(rgba.len() as u64));
        module
            .encode(&pixels, width, height, &settings)
            .map(|bytes| bytes.to_vec())
            .map_err(failed)
    }
}

/// Lets go of modules whose memory has grown beyond what is worth keeping, whatever came of the job.
impl Drop for EdgeCodecs {
    fn drop(&mut self) {
        for (_, module) in &self.modules {
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

    fn av1(&self, data: &[u8], most_bytes: usize) -> Result<Av1Picture, CodecError> {
        let module = self.module(Codec::Av1, "av1")?;
        // Whatever the decoder threw, and be it that it has trapped, is the data's fault.
        let refused = |error: wasm_bindgen::JsValue| CodecError::Refused(js::describe(&error));
        let picture = module
            .decode(&Uint8Array::from(data), most_bytes as f64)
            .map_err(refused)?;
        let mut planes = Vec::new();
        for view in picture.planes() {
            let (bytes, stride) = (view.bytes(), view.stride() as usize);
            let mut data = Vec::new();
            let count = bytes.length() as usize;
            data.try_reserve_exact(count)
                .map_err(|_| CodecError::Failed("there is not enough memory for the picture".to_owned()))?;
            data.resize(count, 0);
            bytes.copy_to(&mut data);
            planes.push(Av1Plane { data, stride });
        }
        let decoded = Av1Picture {
            width: picture.width(),
            height: picture.height(),
            layout: match picture.layout() {
                0 => Av1Layout::Grey,
                1 => Av1Layout::Quarter,
                2 => Av1Layout::Half,
                _ => Av1Layout::Full,
            },
            depth: picture.depth(),
            matrix: picture.matrix(),
            full_range: picture.full_range() != 0,
            planes,
        };
        self.note();
        // The planes are copied; a large picture's memory is wanted for what comes next.
        module.release();
        Ok(decoded)
    }
}
