//! Which part of the gateway a request is for. Pure: method and path in, route out.

use kado_shared::{
    cache_key,
    path_guard::{self, PathError},
};

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    /// Answered here, touching nothing.
    Liveness,
    /// The origin's readiness, or the edge's own word that the origin is away.
    Readiness,
    /// `/img/<options>/<source>`: both as sent.
    Image { options: &'a str, source: &'a str },
    /// `GET /robots.txt`.
    Robots,
    /// `GET /.well-known/security.txt`.
    Security,
    /// `GET /favicon.ico`, which is not there.
    Favicon,
    /// Passed on to the origin.
    Origin(Forwarded),
}

/// What the gateway does with a request before it passes it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forwarded {
    /// Setting that holds its limit, and the limit's public name.
    pub(crate) limit: (&'static str, &'static str),
    /// Whether a token is asked for before anything is passed on.
    pub(crate) credentials: Credentials,
    /// Largest body, in bytes; `None` for the upload limit of the settings.
    pub(crate) max_body: Option<u64>,
}

/// What credentials a route wants at the edge. The origin asks again, and knows more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Credentials {
    /// None.
    None,
    /// A token that is good now.
    Required,
    /// A token that is rightly signed, though it may have expired.
    SignatureOnly,
}

/// Why there is no route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoRoute {
    /// The path could be read in two ways.
    Hostile(PathError),
    /// Nothing is here.
    NotFound,
    /// Something is here, but not for this method.
    Method { allow: &'static str },
}

/// Body of an API request that is no upload.
const API_BODY: u64 = 256 * 1024;

/// Finds the route of a request.
pub(crate) fn find<'a>(method: &str, path: &'a str) -> Result<Route<'a>, NoRoute> {
    if let Some(rest) = path.strip_prefix("/img/") {
        // A source keeps its own rules; only what nothing may have is refused here.
        if path.len() > path_guard::MAX_TARGET_BYTES {
            return Err(NoRoute::Hostile(PathError::TooLong));
        }
        let (options, source) = rest.split_once('/').ok_or(NoRoute::NotFound)?;
        return read_only(method).map(|()| Route::Image { options, source });
    }
    path_guard::check(path).map_err(NoRoute::Hostile)?;
    if path.starts_with(cache_key::PATH_PREFIX) {
        return Err(NoRoute::NotFound);
    }
    match path {
        "/api/health/liveness" => read_only(method).map(|()| Route::Liveness),
        "/api/health" => read_only(method).map(|()| Route::Readiness),
        "/robots.txt" => read_only(method).map(|()| Route::Robots),
        "/.well-known/security.txt" => read_only(method).map(|()| Route::Security),
        "/favicon.ico" => read_only(method).map(|()| Route::Favicon),
        "/.well-known/jwks.json" => {
            read_only(method).map(|()| Route::Origin(forwarded("limitApi", "api", Credentials::None)))
        }
        _ if path.starts_with("/api/") => Ok(Route::Origin(api(method, path))),
        _ => Err(NoRoute::NotFound),
    }
}

fn read_only(method: &str) -> Result<(), NoRoute> {
    match method {
        "GET" | "HEAD" => Ok(()),
        _ => Err(NoRoute::Method { allow: "GET, HEAD" }),
    }
}

const fn forwarded(setting: &'static str, name: &'static str, credentials: Credentials) -> Forwarded {
    Forwarded {
        limit: (setting, name),
        credentials,
        max_body: Some(API_BODY),
    }
}

fn api(method: &str, path: &str) -> Forwarded {
    let under = |prefix: &str| {
        path.strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match path {
        "/api/auth/login" | "/api/auth/register" if method == "POST" => {
            forwarded("limitLogin", "login", Credentials::None)
        }
        "/api/auth/rotate" => forwarded("limitApi", "api", Credentials::SignatureOnly),
        "/api/process" => Forwarded {
            max_body: None,
            ..forwarded("limitProcess", "process", Credentials::None)
        },
        "/api/images" => Forwarded {
            max_body: None,
            ..forwarded("limitApi", "api", Credentials::Required)
        },
        "/api/auth/login" | "/api/auth/register" => forwarded("limitApi", "api", Credentials::None),
        _ if under("/api/auth") || under("/api/admin") || under("/api/images") => {
            forwarded("limitApi", "api", Credentials::Required)
        }
        _ => forwarded("limitApi", "api", Credentials::None),
    }
}

#[cfg(test)]
mod tests {
    use super::{Credentials, NoRoute, Route, find};
    use kado_shared::path_guard::PathError;
    use proptest::prelude::{any, proptest};

    fn forwarded(method: &str, path: &str) -> (&'static str, Credentials) {
        match find(method, path) {
            Ok(Route::Origin(forwarded)) => (forwarded.limit.1, forwarded.credentials),
            other => panic!("{path}: {other:?}"),
        }
    }

    #[test]
    fn requests_find_their_way() {
        assert_eq!(find("GET", "/api/health/liveness"), Ok(Route::Liveness));
        assert_eq!(find("HEAD", "/api/health"), Ok(Route::Readiness));
        assert_eq!(find("GET", "/robots.txt"), Ok(Route::Robots));
        assert_eq!(find("GET", "/.well-known/security.txt"), Ok(Route::Security));
        assert_eq!(find("GET", "/favicon.ico"), Ok(Route::Favicon));
        assert_eq!(
            find("GET", "/img/w=1,f=auto/https://a/b/../c"),
            Ok(Route::Image {
                options: "w=1,f=auto",
                source: "https://a/b/../c"
            })
        );
        assert_eq!(
            find("GET", "/img//u/1"),
            Ok(Route::Image {
                options: "",
                source: "u/1"
            })
        );
    }

    #[test]
    fn what_needs_a_token_is_asked_for_one() {
        for path in [
            "/api/auth/me",
            "/api/auth/sessions/1",
            "/api/admin/settings",
            "/api/images",
            "/api/images/1",
            "/api/auth/logout",
        ] {
            assert_eq!(forwarded("GET", path).1, Credentials::Required, "{path}");
        }
        assert_eq!(forwarded("POST", "/api/auth/rotate").1, Credentials::SignatureOnly);
        assert_eq!(forwarded("POST", "/api/auth/login"), ("login", Credentials::None));
        assert_eq!(forwarded("GET", "/api/auth/login"), ("api", Credentials::None));
        assert_eq!(forwarded("GET", "/api/content/home"), ("api", Credentials::None));
        assert_eq!(forwarded("GET", "/api/administrators"), ("api", Credentials::None));
    }

    #[test]
    fn the_inside_is_not_there() {
        for path in [
            "/internal/edge-config",
            "/metrics",
            "/__kado/v1/x",
            "/",
            "/img",
            "/img/w=1",
            "/admin",
            "/api",
        ] {
            assert_eq!(find("GET", path), Err(NoRoute::NotFound), "{path}");
        }
    }

    #[test]
    fn hostile_paths_are_refused() {
        assert_eq!(
            find("GET", "/api/../internal/x"),
            Err(NoRoute::Hostile(PathError::DotSegment))
        );
        assert_eq!(
            find("GET", "/api/%2e%2e/internal"),
            Err(NoRoute::Hostile(PathError::DotSegment))
        );
        assert_eq!(
            find("GET", "/api%2f..%2finternal"),
            Err(NoRoute::Hostile(PathError::EncodedSlash))
        );
        assert_eq!(
            find("GET", &format!("/img/{}/x", "a".repeat(9000))),
            Err(NoRoute::Hostile(PathError::TooLong))
        );
    }

    #[test]
    fn a_wrong_method_is_told_the_right_one() {
        assert_eq!(
            find("POST", "/img/w=1/u/1"),
            Err(NoRoute::Method { allow: "GET, HEAD" })
        );
        assert_eq!(
            find("DELETE", "/api/health/liveness"),
            Err(NoRoute::Method { allow: "GET, HEAD" })
        );
    }

    proptest! {
        #[test]
        fn any_path_is_survived(method in any::<String>(), path in any::<String>()) {
            let _ = find(&method, &path);
        }
    }
}
