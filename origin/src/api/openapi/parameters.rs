//! Parameters that several routes have, as the document tells of them. They are read elsewhere, which the attributes name.

#![expect(
    dead_code,
    reason = "described here, and read by the extractors of `http` and `api::page`"
)]

use utoipa::IntoParams;
use uuid::Uuid;

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

/// A change of what was read: of the settings.
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
