//! How a token is handed over.

use axum::{
    Json,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use kado_shared::claims::AccessClaims;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

use super::UserView;
use crate::http::authentication::COOKIE;

/// How long a browser keeps the cookie. The session decides whether what is in it counts; an expired token may still be
/// rotated, so the cookie outlives it.
const COOKIE_LIFE: Duration = Duration::days(30);

/// Where a client keeps its token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum SessionMode {
    /// In the body, for clients that keep it themselves.
    #[default]
    Token,
    /// As a cookie that scripts cannot read.
    Cookie,
}

impl SessionMode {
    pub(super) const fn of(is_cookie: bool) -> Self {
        if is_cookie { Self::Cookie } else { Self::Token }
    }
}

/// A token, or word of its cookie.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = IssuedToken)]
pub(super) struct Issued {
    /// Absent in cookie mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[schema(format = DateTime)]
    expires_at: String,
    /// Seconds: clocks of devices are wrong.
    expires_in: u64,
    user: UserView,
}

/// The answer to whoever is given a token.
pub(super) fn answer(user: UserView, claims: &AccessClaims, token: &str, mode: SessionMode) -> Response {
    let expires_at = i64::try_from(claims.exp)
        .ok()
        .and_then(|exp| OffsetDateTime::from_unix_timestamp(exp).ok());
    let body = Issued {
        token: (mode == SessionMode::Token).then(|| token.to_owned()),
        expires_at: expires_at
            .and_then(|time| time.format(&Rfc3339).ok())
            .unwrap_or_default(),
        expires_in: claims.exp.saturating_sub(claims.iat),
        user,
    };
    let mut response = Json(body).into_response();
    if mode == SessionMode::Cookie
        && let Ok(cookie) = HeaderValue::from_str(&format!(
            "{COOKIE}={token}; Path=/; Max-Age={}; Secure; HttpOnly; SameSite=Strict",
            COOKIE_LIFE.whole_seconds()
        ))
    {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}
