//! Credentials as the edge checks them: enough to turn away what cannot be right. The origin checks again, against the
//! database.

use std::{cell::RefCell, rc::Rc};

use kado_shared::{
    api_key::{Requirement, START, requirement},
    claims::{Expiry, Role, TokenError, Verifier},
    edge_token::Verified,
    problem::Code,
    recent::Recent,
};
use sha2::{Digest, Sha256};

use super::{
    Gateway, api_keys,
    limits::Who,
    route::Credentials,
    snapshot::{self, Snapshot},
};
use crate::{answer::Refusal, exchange::Exchange, js};

/// Name of the session cookie.
const COOKIE: &str = "__Host-kado";
/// Challenge to whoever sent no credentials, or none that this is the place for.
const CHALLENGE: &str = "Bearer realm=\"kado\"";
/// Tokens whose signature an isolate remembers to be right.
const MOST_TOKENS: usize = 4096;

thread_local! {
    /// By SHA-256, so that no token lies in memory longer than its request. Whether one still counts is asked at each use.
    static VERIFIED: RefCell<Recent<[u8; 32], Rc<Verified>>> = RefCell::new(Recent::new(MOST_TOKENS));
}

/// A credential as it was presented.
#[derive(Debug, PartialEq, Eq)]
enum Presented {
    Bearer(String),
    Cookie(String),
    /// `Bearer` without a token, or with something behind it.
    Malformed,
    /// None, or one of a scheme that is none of ours.
    None,
}

/// Checks a request's credentials and says whose they are.
///
/// # Errors
/// 401, 400 and 403 with `WWW-Authenticate` (RFC 6750), 403 for a cookie on a cross-site request.
pub(crate) async fn check(
    gateway: &Gateway,
    exchange: &Exchange,
    snapshot: &Snapshot,
    wanted: Credentials,
) -> Result<Who, Refusal> {
    let token = match presented(
        exchange.header("authorization").as_deref(),
        exchange.header("cookie").as_deref(),
    ) {
        Presented::None => {
            return Err(
                Refusal::new(Code::Unauthorized, "send a token: Authorization: Bearer <token>")
                    .with("www-authenticate", CHALLENGE),
            );
        }
        Presented::Malformed => {
            let detail = "the Authorization header must be: Bearer <token>";
            return Err(Refusal::new(Code::BadRequest, detail)
                .with("www-authenticate", format!("{CHALLENGE}, error=\"invalid_request\"")));
        }
        Presented::Bearer(key) if key.starts_with(START) => {
            return api_keys::check(gateway, exchange, snapshot, &key).await;
        }
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
    let verified = match judge(&token, snapshot, expiry) {
        Err(TokenError::UnknownKey) if Verifier::key_id(&token).is_some() => {
            // A key younger than the snapshot: look once more, but not for everybody who invents a key.
            match snapshot::renew_for_unknown_key(gateway, &exchange.host).await {
                Some(newer) => judge(&token, &newer, expiry),
                None => Err(TokenError::UnknownKey),
            }
        }
        judged => judged,
    };
    verified
        .map(|verified| Who {
            user: Some(verified.claims.sub.to_string()),
            ..Who::default()
        })
        .map_err(invalid)
}

/// What credentials a request must have: where a key is sent to a route that is open but that keys have a scope for, the
/// key must be right, and its limit holds.
pub(crate) fn wanted(exchange: &Exchange, by_route: Credentials) -> Credentials {
    let sends_key = || {
        let authorization = exchange.header("authorization");
        matches!(presented(authorization.as_deref(), None), Presented::Bearer(key) if key.starts_with(START))
    };
    let has_scope = matches!(requirement(&exchange.method, &exchange.path), Requirement::Scope(_));
    if by_route == Credentials::None && has_scope && sends_key() {
        Credentials::Required
    } else {
        by_route
    }
}

/// Role of whoever presents a token that is good now; `None` for everybody else, and for API keys, which only the origin
/// knows.
pub(super) fn role(exchange: &Exchange, snapshot: &Snapshot) -> Option<Role> {
    let authorization = exchange.header("authorization");
    match presented(authorization.as_deref(), exchange.header("cookie").as_deref()) {
        Presented::Bearer(token) | Presented::Cookie(token) => judge(&token, snapshot, Expiry::Required)
            .ok()
            .map(|verified| verified.claims.role),
        Presented::Malformed | Presented::None => None,
    }
}

/// Who asks, on a route that is open to all: credentials that do not count are those of nobody.
pub(crate) async fn who_if_told(gateway: &Gateway, exchange: &Exchange, snapshot: &Snapshot) -> Who {
    check(gateway, exchange, snapshot, Credentials::Required)
        .await
        .unwrap_or_default()
}

/// Judges a token, and checks its signature only where that is not remembered.
fn judge(token: &str, snapshot: &Snapshot, expiry: Expiry) -> Result<Rc<Verified>, TokenError> {
    let now = js::now_ms() / 1000;
    let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
    if let Some(verified) = VERIFIED.with_borrow_mut(|known| known.get_mut(&hash).cloned()) {
        return snapshot.judge.accept(&verified, now, expiry).map(|()| verified);
    }
    let verified = Rc::new(snapshot.judge.verify(token, now)?);
    VERIFIED.with_borrow_mut(|known| known.insert(hash, Rc::clone(&verified)));
    snapshot.judge.accept(&verified, now, expiry).map(|()| verified)
}

fn invalid(error: TokenError) -> Refusal {
    let challenge = format!("{CHALLENGE}, error=\"invalid_token\", error_description=\"{error}\"");
    Refusal::new(Code::InvalidToken, error.to_string()).with("www-authenticate", challenge)
}

/// A browser sends the cookie from anywhere; an unsafe method counts only from the site's own pages.
fn refuse_cross_site(exchange: &Exchange) -> Result<(), Refusal> {
    if matches!(exchange.method.as_str(), "GET" | "HEAD" | "OPTIONS") {
        return Ok(());
    }
    let site = exchange.header("sec-fetch-site");
    let same_site = site.as_deref().is_none_or(|site| site == "same-origin");
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
        let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
        let token = rest.trim();
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Presented::None;
        }
        return if token.is_empty() || token.contains([' ', ',']) {
            Presented::Malformed
        } else {
            Presented::Bearer(token.to_owned())
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
        for malformed in ["Bearer", "Bearer ", "bearer a b", "Bearer a, Bearer b"] {
            assert_eq!(
                presented(Some(malformed), Some("__Host-kado=x")),
                Presented::Malformed,
                "{malformed}"
            );
        }
        for foreign in ["Basic abc", "a.b.c", ""] {
            assert_eq!(
                presented(Some(foreign), Some("__Host-kado=x")),
                Presented::None,
                "{foreign}"
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
