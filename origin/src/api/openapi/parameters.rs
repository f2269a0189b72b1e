//! Parameters that several routes have, as the document tells of them. They are read elsewhere, which the attributes name.

#![expect(
    dead_code,
    reason = "described here, and read by the extractors of `http` and `api::page`"
)]

use utoipa::IntoParams;
use uuid::Uuid;

use super::schemas;

/// A page of a list: `api::page::parse_page`.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// Items of the page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<i64>,
    /// `nextCursor` of the page before; of no other form.
    #[param(pattern = "^[A-Za-z0-9_-]{32}$")]
    cursor: Option<String>,
}

/// One thing by its identifier, in its one spelling: `http::extract::IdInPath`.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct IdInPath {
    /// Identifier: a UUID in lower case.
    id: Uuid,
}

/// A request that may come again: `idempotency::Attempt`.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct IdempotencyKey {
    /// Drawn anew for each thing that is asked for. For 24 hours the same request with the same key is answered as the
    /// first time, with `Idempotent-Replayed: true`, and does nothing more.
    #[param(
        rename = "Idempotency-Key",
        min_length = 1,
        max_length = 255,
        pattern = "^[!-~]{1,255}$"
    )]
    key: Option<String>,
}

/// A change of what was read: `http::conditional`.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct IfMatch {
    /// Entity tags of what was read, or `*`; without one the change is made in any case.
    #[param(rename = "If-Match", example = "*")]
    tag: Option<String>,
}

/// What the client has: `serve`.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct IfNoneMatch {
    /// Entity tags of what the client has: 304 if it is one of them.
    #[param(rename = "If-None-Match")]
    tag: Option<String>,
}

/// A preset by its name: `http::extract::NameInPath`.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct PresetInPath {
    /// Name of the preset.
    #[param(pattern = "^[a-z0-9_-]{1,64}$")]
    name: String,
}

/// A section of the content: `http::extract::NameInPath`.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct SectionInPath {
    /// Name of the section.
    #[param(pattern = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    section: String,
}

/// A session of a user: `http::extract::TwoIdsInPath`.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct SessionOfUserInPath {
    /// Identifier of the user: a UUID in lower case.
    id: Uuid,
    /// Identifier of the session, likewise.
    session: Uuid,
}

/// What the content is filtered by: `admin::content::list`.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ContentFilters {
    /// Items of this section alone; none for a section that there is not.
    #[param(pattern = r"^[^\u0000\ufffd]*$")]
    section: Option<String>,
}

/// A list that is answered as CSV as well: `api::csv`.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListFormat {
    /// Decides over `Accept`. CSV has all of the list, and takes neither `limit` nor `cursor`.
    #[param(schema_with = schemas::list_format)]
    format: Option<String>,
}

/// What pictures are filtered by: `admin::images::list`.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ImageFilters {
    /// Identifier of the user who stored them.
    user: Option<Uuid>,
    /// Format of the original.
    #[param(schema_with = schemas::original_format)]
    format: Option<String>,
}

/// What tenants are filtered by: `admin::tenants::list`.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct TenantFilters {
    /// Tenants that are answered for, or that are suspended.
    active: Option<bool>,
}

/// What users are filtered by: `admin::users::list`.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct UserFilters {
    /// Users of this role.
    #[param(schema_with = schemas::role)]
    role: Option<String>,
    /// Users who may sign in, or who may not.
    active: Option<bool>,
    /// What the address begins with, in any case.
    #[param(pattern = r"^[^\u0000\ufffd]*$")]
    email: Option<String>,
}

/// Moments between which something was: `api::page::parse_moment`.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Period {
    /// Not before; this moment is included.
    #[param(format = DateTime)]
    from: Option<String>,
    /// Before; this moment is not included.
    #[param(format = DateTime)]
    to: Option<String>,
}

/// What usage is filtered by: `admin::usage`.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct UsageFilters {
    /// Identifier of a user.
    user: Option<Uuid>,
    /// One action alone; the other's count is left out then.
    #[param(schema_with = schemas::quota_action)]
    action: Option<String>,
}

/// What the audit log is filtered by, and its order: `admin::audit`.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditFilters {
    /// What was done, as a whole: `settings.update`.
    #[param(max_length = 300, pattern = r"^[^\u0000\ufffd]*$")]
    action: Option<String>,
    /// What kind of actor, or the identifier of a user.
    #[param(schema_with = schemas::actor)]
    actor: Option<String>,
    /// What it was done to, as a whole.
    #[param(max_length = 300, pattern = r"^[^\u0000\ufffd]*$")]
    target: Option<String>,
    /// Oldest first, or newest first. A cursor goes with the order that it was answered to.
    #[param(schema_with = schemas::list_order)]
    order: Option<String>,
}
