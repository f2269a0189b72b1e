//! What a job may take at most.

const MIB: u64 = 1024 * 1024;

/// Limits of one job. They are settings; the defaults are the contract's.
///
/// All but [`Limits::memory_bytes`] are refused from the picture's header, before any pixel is allocated; the memory is
/// refused from the plan, which comes from the header as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the source.
    pub source_bytes: u64,
    /// Pixels of the source, all frames of an animation together.
    pub pixels: u64,
    /// Either side of the source, in pixels.
    pub side: u32,
    /// Frames of an animation.
    pub frames: u32,
    /// Scans of a JPEG. A progressive file can make a decoder go over all its blocks for a few bytes a scan.
    pub scans: u32,
    /// Bytes of metadata in front of the pixels.
    pub metadata_bytes: u64,
    /// Bytes of the colour profile, unpacked.
    pub profile_bytes: u64,
    /// Pixels of the answer.
    pub output_pixels: u64,
    /// Either side of the answer, in pixels.
    pub output_side: u32,
    /// Memory that the work may take, the source's own bytes included.
    pub memory_bytes: u64,
}

impl Limits {
    /// At the edge: one isolate.
    pub const EDGE: Self = Self {
        source_bytes: 100 * MIB,
        pixels: 100_000_000,
        side: 12_000,
        frames: 1_000,
        scans: 64,
        metadata_bytes: 16 * MIB,
        profile_bytes: 4 * MIB,
        output_pixels: 25_000_000,
        output_side: 12_000,
        memory_bytes: 80 * MIB,
    };

    /// In the heavy lane: a native process with memory of its own.
    pub const HEAVY: Self = Self {
        output_pixels: 40_000_000,
        memory_bytes: 1024 * MIB,
        ..Self::EDGE
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::EDGE
    }
}
