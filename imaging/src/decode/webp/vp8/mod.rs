//! Key frames of VP8 (RFC 6386), which lossy WebP is made of, bit for bit as libwebp decodes them.
//!
//! ```text
//! partitions: windows of the file -> bits -> modes, residual -> predict, transform: a row of macroblocks
//!     -> loop_filter, one row later -> finished rows of each plane
//! ```
//! A few rows of macroblocks are all that is kept. Prediction looks at samples that have not been filtered, so the last
//! ones of each macroblock are kept apart from the rows that the filter works on.

mod bits;
mod frame;
mod header;
mod lanes;
mod loop_filter;
mod modes;
mod partition;
mod predict;
mod residual;
mod rows;
mod tables;
pub(super) mod transform;

pub(super) use self::frame::decode;
pub(crate) use self::frame::memory;
