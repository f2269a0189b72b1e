//! Health: whether the process lives, and whether it may be sent requests.

pub(crate) mod liveness;
pub(crate) mod readiness;
