//! Credentials as the edge checks them: enough to turn away what cannot be right. The origin checks again, against the
//! database.

use kado_shared::{
    claims::{AccessClaims, Expiry, Role, TokenError, Verifier},
    problem::Code,
};

use super::{
    Gateway,
    route::Credentials,
    snapshot::{self, Snapshot},
};
use crate::{answer::Refusal, exchange::Exchange, js};

/// Name of the session cookie.
const COOKIE: &str = "__Host-kado";

/// A credential as it was presented.
#[derive(Debug, PartialEq, Eq)]
enum Presented {
    Bearer(String),
    Cookie(String),
    /// Something else than `Bearer`, or an empty token.
    Malformed,
    None,
}

/// Checks a request's credentials and says whose they are; `None` for an API key, which only the origin knows.
///
/// # Errors
/// 401 with `WWW-Authenticate` (RFC 6750), 403 for a cookie on a cross-site request.
pub(crate) async fn check(
    gateway: &Gateway,
    exchange: &Exchange,
    snapshot: &Snapshot,
    wanted: Credentials,
) -> Result<Option<String>, Refusal> {
    let token = match presented(
        exchange.header("authorization").as_deref(),
        exchange.header("cookie").as_deref(),
    ) {
        Presented::None => {
            return Err(
                Refusal::new(Code::Unauthorized, "send a token: Authorization: Bearer <token>")
                    .with("www-authenticate", "Bearer realm=\"kado\""),
            );
        }
        Presented::Malformed => {
            let detail = "the Authorization header must be: Bearer <token>";
            return Err(Refusal::new(Code::Unauthorized, detail)
                .with("www-authenticate", "Bearer realm=\"kado\", error=\"invalid_request\""));
        }
        Presented::Bearer(key) if key.starts_with("kado_") => return Ok(None),
        Presented::Bearer(token) => token,
        Presented::Cookie(token) => {
            refuse_cross_site(exchange)?;
            token
        }
    };
    let expiry = if wanted == Credentials::SignatureOnly {
        Expiry::Ignored
    } else {
        Expiry::Required
    };
    let claims = match judge(&token, snapshot, expiry) {
        Err(TokenError::UnknownKey) if Verifier::key_id(&token).is_some() => {
            // A key younger than the snapshot: look once more, but not for everybody who invents a key.
            match snapshot::renew_for_unknown_key(gateway, &exchange.host).await {
                Some(newer) => judge(&token, &newer, expiry),
                None => Err(TokenError::UnknownKey),
            }
        }
        judged => judged,
    };
    claims.map(|claims| Some(claims.sub.to_string())).map_err(invalid)
}

/// Role of whoever presents a token that is good now; `None` for everybody else, and for API keys, which only the origin
/// knows.
pub(super) fn role(exchange: &Exchange, snapshot: &Snapshot) -> Option<Role> {
    let authorization = exchange.header("authorization");
    match presented(authorization.as_deref(), exchange.header("cookie").as_deref()) {
        Presented::Bearer(token) | Presented::Cookie(token) => {
            judge(&token, snapshot, Expiry::Required).ok().map(|claims| claims.role)
        }
        Presented::Malformed | Presented::None => None,
    }
}

fn judge(token: &str, snapshot: &Snapshot, expiry: Expiry) -> Result<AccessClaims, TokenError> {
    let config = &snapshot.config;
    let claims =
        Verifier::new(&config.keys, config.global.issuer.as_str()).verify(token, js::now_ms() / 1000, expiry)?;
    if claims.tenant != config.tenant.id {
        return Err(TokenError::Foreign);
    }
    if claims.epoch < config.global.epoch || config.revoked.contains(&claims.sid) {
        return Err(TokenError::Expired);
    }
    Ok(claims)
}

fn invalid(error: TokenError) -> Refusal {
    let challenge = format!("Bearer realm=\"kado\", error=\"invalid_token\", error_description=\"{error}\"");
    Refusal::new(Code::InvalidToken, error.to_string()).with("www-authenticate", challenge)
}

/// A browser sends the cookie from anywhere; an unsafe method counts only from the site's own pages.
fn refuse_cross_site(exchange: &Exchange) -> Result<(), Refusal> {
    if matches!(exchange.method.as_str(), "GET" | "HEAD" | "OPTIONS") {
        return Ok(());
    }
    let site = exchange.header("sec-fetch-site");
    let same_site = site
        .as_deref()
        .is_none_or(|site| matches!(site, "same-origin" | "none"));
    let origin = exchange.header("origin");
    let same_origin = origin.as_deref().is_some_and(|origin| {
        origin
            .split_once("://")
            .is_some_and(|(_, host)| host.eq_ignore_ascii_case(&exchange.host))
    });
    if same_site && same_origin {
        Ok(())
    } else {
        Err(Refusal::new(
            Code::CrossSite,
            "a cookie counts only with an Origin of this site; send a Bearer token from elsewhere",
        ))
    }
}

/// The credential of a request; a bearer token decides where both come.
fn presented(authorization: Option<&str>, cookie: Option<&str>) -> Presented {
    if let Some(value) = authorization {
        return match value.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty() => {
                Presented::Bearer(token.trim().to_owned())
            }
            _ => Presented::Malformed,
        };
    }
    let token = cookie.and_then(|cookie| {
        cookie
            .split(';')
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(name, _)| *name == COOKIE)
            .map(|(_, value)| value.to_owned())
    });
    token.map_or(Presented::None, Presented::Cookie)
}

#[cfg(test)]
mod tests {
    use super::{Presented, presented};

    #[test]
    fn a_bearer_token_decides() {
        assert_eq!(
            presented(Some("Bearer a.b.c"), Some("__Host-kado=x")),
            Presented::Bearer("a.b.c".to_owned())
        );
        assert_eq!(presented(Some("bearer  a"), None), Presented::Bearer("a".to_owned()));
        for malformed in ["Basic abc", "Bearer", "Bearer ", "a.b.c", ""] {
            assert_eq!(
                presented(Some(malformed), Some("__Host-kado=x")),
                Presented::Malformed,
                "{malformed}"
            );
        }
        assert_eq!(
            presented(None, Some("a=b; __Host-kado=x.y.z; c=d")),
            Presented::Cookie("x.y.z".to_owned())
        );
        assert_eq!(presented(None, Some("kado=x")), Presented::None);
        assert_eq!(presented(None, None), Presented::None);
    }
}
