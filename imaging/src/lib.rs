//! The transform engine: options, plan, decode, geometry, encode.
//!
//! What lives here is a function from options and bytes to bytes and facts. No I/O, no clock, no globals: the same crate
//! runs in the Worker, in the native heavy lane and in the tests. Sources are read through [`Source`], C and WASM codecs come
//! in through [`Codecs`], and a caller's cancellation hook is asked wherever work is long.
//!
//! ```text
//! ImageOptions::parse -> Preset::fill -> negotiate -> Resolved              (gateway)
//! Resolved::parse -> probe -> plan -> transform                                            (transform role, heavy lane)
//! ```
//!
//! Where the plan names a stored picture to draw ([`Plan::overlay`]), its header joins it first ([`Plan::with_overlay`]).
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod animation;
mod budget;
mod codecs;
mod color;
mod dct;
mod decode;
mod draw;
mod ease;
mod encode;
mod error;
mod facts;
mod format;
mod limits;
mod metadata;
mod negotiate;
pub mod options;
mod orientation;
mod pixels;
mod placeholder;
mod plan;
mod probe;
#[cfg(any(test, feature = "samples"))]
pub mod samples;
mod settle;
mod source;
mod stage;
mod svg;
mod transform;

#[cfg(feature = "native-codecs")]
pub use codecs::NativeCodecs;
pub use codecs::{Av1Layout, Av1Picture, Av1Plane, AvifSettings, CodecError, Codecs, NoCodecs, WebpSettings};
pub use ease::{Ease, Effort};
pub use error::{ImageError, LimitKind};
pub use format::Format;
pub use limits::Limits;
pub use negotiate::{Best, ClientHints, Encoders, FormatChoice, Negotiated, Resolved, negotiate};
pub use options::{Fault, ImageOptions, OptionError, SignedPath};
pub use orientation::{Orientation, Region};
pub use plan::{Codec, Effects, Encoding, Memory, Placement, Plan, place, plan};
pub use probe::{ImageInfo, Probe, probe, probe_head};
pub use source::{Source, SourceError, Sources};
pub use stage::Stage;
pub use transform::{Output, process, transform, transform_observed};

/// Which answers this engine gives, as a part of cache keys: raised whenever the same options and bytes give other bytes
/// than before. `tests/engine.rs` compares answers with those of the number and says how it is raised.
pub const ENGINE: &str = "9";
