//! The tenant's users, as its administrators see and change them.

pub(crate) mod change;
pub(crate) mod create;
pub(crate) mod list;
pub(crate) mod password;
pub(crate) mod read;
pub(crate) mod sessions;

use kado_shared::claims::Role;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    api::{openapi::schemas, page::timestamp},
    database::DatabaseError,
    hex,
    quota::Granted,
};

/// A user as administrators see one.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ManagedUser)]
pub(crate) struct UserView {
    id: Uuid,
    #[schema(example = "name@example.com")]
    email: String,
    #[schema(schema_with = schemas::role)]
    role: String,
    /// Whether the user may sign in.
    active: bool,
    must_change_password: bool,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
    /// Quotas in place of those of the settings, while they hold.
    #[serde(rename = "override")]
    granted: Option<OverrideView>,
}

/// A user as administrators see one, with a password where one was drawn.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = UserWithPassword)]
struct WithPassword {
    /// The password that was drawn, in this one answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, pattern = "^[A-Za-z0-9_-]{24}$")]
    password: Option<String>,
    #[serde(flatten)]
    view: UserView,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Override)]
struct OverrideView {
    /// Pictures an hour; `null` for what the settings say.
    #[schema(minimum = 0, maximum = 1_000_000)]
    image_process: Option<i32>,
    /// API calls an hour, likewise.
    #[schema(minimum = 0, maximum = 1_000_000)]
    api_call: Option<i32>,
    #[schema(format = DateTime)]
    expires_at: String,
    /// Seconds.
    expires_in: i64,
}

/// What a view is made of.
#[derive(Clone, Debug)]
struct Row {
    id: Uuid,
    email: String,
    role: String,
    active: bool,
    must_change_password: bool,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
    quota_image_process: Option<i32>,
    quota_api_call: Option<i32>,
    quota_until: Option<OffsetDateTime>,
}

impl Row {
    fn view(self, now: OffsetDateTime) -> UserView {
        let granted = self.quota_until.filter(|until| *until > now).map(|until| OverrideView {
            image_process: self.quota_image_process,
            api_call: self.quota_api_call,
            expires_at: timestamp(until),
            expires_in: (until - now).whole_seconds(),
        });
        UserView {
            id: self.id,
            email: self.email,
            role: self.role,
            active: self.active,
            must_change_password: self.must_change_password,
            created_at: timestamp(self.created_at),
            updated_at: timestamp(self.updated_at),
            granted,
        }
    }

    const fn granted(&self) -> Granted {
        Granted {
            image_process: self.quota_image_process,
            api_call: self.quota_api_call,
            until: self.quota_until,
        }
    }

    /// Whether this one can administer.
    fn administers(&self) -> bool {
        self.active && self.role == name_of(Role::Admin)
    }

    /// What an audit entry tells of it.
    fn audited(&self) -> Value {
        let granted = self.quota_until.map(|until| {
            json!({
                "imageProcess": self.quota_image_process,
                "apiCall": self.quota_api_call,
                "expiresAt": timestamp(until),
            })
        });
        json!({ "role": self.role, "active": self.active, "override": granted })
    }

    /// Strong entity tag: changes with whatever an administrator may change.
    fn etag(&self) -> String {
        let content = format!("{}\n{}\n{}", self.id, timestamp(self.updated_at), self.audited());
        format!("\"{}\"", hex::encode(&Sha256::digest(content)[..16]))
    }
}

/// Reads a user of the transaction's tenant.
async fn load(connection: &mut PgConnection, id: Uuid) -> Result<Option<Row>, DatabaseError> {
    Ok(sqlx::query_as!(
        Row,
        "select id, email, role, active, must_change_password, created_at, updated_at,
                quota_image_process, quota_api_call, quota_until
         from users where id = $1",
        id,
    )
    .fetch_optional(connection)
    .await?)
}

const fn name_of(role: Role) -> &'static str {
    match role {
        Role::User => "USER",
        Role::Premium => "PREMIUM",
        Role::Admin => "ADMIN",
    }
}

/// The name of a role, as the table has it.
fn role_name(text: &str) -> Result<&'static str, String> {
    let names = [Role::User, Role::Premium, Role::Admin].map(name_of);
    names
        .into_iter()
        .find(|name| *name == text)
        .ok_or_else(|| format!("must be one of {}", names.join(", ")))
}
