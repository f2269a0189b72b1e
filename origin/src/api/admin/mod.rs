//! Administration of a tenant, for its users of role ADMIN; `tenants` is of all tenants where theirs is an operator. Every
//! change is audited with before and after.

pub(crate) mod api_keys;
pub(crate) mod audit;
pub(crate) mod content;
pub(crate) mod images;
pub(crate) mod keys;
pub(crate) mod maintenance;
pub(crate) mod presets;
pub(crate) mod purge;
pub(crate) mod sessions;
pub(crate) mod settings;
pub(crate) mod tenants;
pub(crate) mod usage;
pub(crate) mod users;
