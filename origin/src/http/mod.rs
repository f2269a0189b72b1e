//! The shell around the endpoints: connections, signatures of the edge, errors, extractors, the log line of a request.
//!
//! Nothing here knows what an endpoint does.

pub(crate) mod authentication;
pub(crate) mod conditional;
pub(crate) mod connection;
pub(crate) mod context;
pub(crate) mod edge;
pub(crate) mod extract;
pub(crate) mod failure;
pub(crate) mod gate;
pub(crate) mod linger;
