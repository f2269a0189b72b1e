//! Signing in and out.

pub(crate) mod jwks;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod me;
pub(crate) mod password;
pub(crate) mod register;
pub(crate) mod revoke_all;
pub(crate) mod rotate;
pub(crate) mod sessions;
mod token;

use kado_shared::claims::Role;
use serde::Serialize;
use uuid::Uuid;

/// A user as they see themselves.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct UserView {
    id: Uuid,
    email: String,
    role: Role,
    must_change_password: bool,
}
