//! What edge and origin must agree on: wire types, claims, limit rules, settings, header names, errors, redaction.
//!
//! Everything here is a pure rule: no I/O, no clock, no randomness of its own. Times are Unix seconds or milliseconds
//! handed in by the caller; random bytes too. What only one side needs does not belong here.

pub mod address_signature;
pub mod api_key;
pub mod api_route;
pub mod breaker;
pub mod cache_key;
pub mod claims;
pub mod client_ip;
pub mod conditional;
pub mod cors;
pub mod edge_config;
pub mod edge_token;
pub mod event;
pub mod exposition;
pub mod gateways;
pub mod headers;
pub mod ip_guard;
pub mod job;
pub mod lifetime;
pub mod limits;
pub mod maintenance;
pub mod path_guard;
pub mod problem;
pub mod purge;
pub mod quota;
pub mod recent;
pub mod redact;
pub mod request_id;
pub mod rotation;
pub mod secret;
pub mod security_headers;
pub mod setting_shape;
pub mod settings;
pub mod signature;
pub mod site_files;
pub mod source;
pub mod span;
pub mod tenant;
pub mod trace;
