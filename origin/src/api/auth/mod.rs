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

use super::openapi::schemas;

/// A user as they see themselves.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = User)]
struct UserView {
    id: Uuid,
    #[schema(example = "name@example.com")]
    email: String,
    #[schema(schema_with = schemas::role)]
    role: Role,
    must_change_password: bool,
}
