//! Nothing: the build of rav1d names this crate, and calls it only for assembly that is off.
