//! Pictures of all users, as administrators see and delete them.

pub(crate) mod delete;
pub(crate) mod list;
