//! The API's routes by template and method, as the edge needs to know them without asking: for log lines and metrics, and
//! for telling what is not there from what is down for maintenance. A test of the origin compares it with its router.

/// Templates, and the methods that each answers, `HEAD` with `GET`.
pub const ROUTES: &[(&str, &[&str])] = &[
    ("/.well-known/jwks.json", &["GET"]),
    ("/api/docs", &["GET"]),
    ("/api/openapi.json", &["GET"]),
    ("/api/auth/login", &["POST"]),
    ("/api/auth/logout", &["POST"]),
    ("/api/auth/me", &["GET"]),
    ("/api/auth/password", &["POST"]),
    ("/api/auth/register", &["POST"]),
    ("/api/auth/revoke-all", &["POST"]),
    ("/api/auth/rotate", &["POST"]),
    ("/api/auth/sessions", &["GET"]),
    ("/api/auth/sessions/{id}", &["DELETE"]),
    ("/api/admin/api-keys", &["GET", "POST"]),
    ("/api/admin/api-keys/{id}", &["DELETE"]),
    ("/api/admin/images", &["GET"]),
    ("/api/admin/images/{id}", &["DELETE"]),
    ("/api/admin/keys", &["GET"]),
    ("/api/admin/purge", &["POST"]),
    ("/api/admin/sessions/revoke-all", &["POST"]),
    ("/api/admin/settings", &["GET", "PATCH"]),
    ("/api/admin/usage", &["GET"]),
    ("/api/admin/audit", &["GET"]),
    ("/api/admin/users", &["GET", "POST"]),
    ("/api/admin/users/{id}", &["GET", "PATCH"]),
    ("/api/admin/users/{id}/password", &["POST"]),
    ("/api/admin/users/{id}/sessions", &["GET", "DELETE"]),
    ("/api/admin/users/{id}/sessions/{session}", &["DELETE"]),
    ("/api/admin/maintenance", &["GET", "PUT", "DELETE"]),
    ("/api/admin/presets", &["GET", "POST"]),
    ("/api/admin/presets/{name}", &["GET", "PATCH", "DELETE"]),
    ("/api/admin/content", &["GET", "POST"]),
    ("/api/admin/content/{id}", &["GET", "PATCH", "DELETE"]),
    ("/api/admin/tenants", &["GET", "POST"]),
    ("/api/admin/tenants/{id}", &["GET", "PATCH"]),
    ("/api/content/{section}", &["GET"]),
    ("/api/images", &["GET", "POST"]),
    ("/api/images/{id}", &["DELETE"]),
];

/// What is known of a request's target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// This route.
    Known(&'static str),
    /// This route, which does not answer the method.
    OtherMethod(&'static str, &'static [&'static str]),
    /// None.
    Unknown,
}

/// Finds the route of a request.
#[must_use]
pub fn find(method: &str, path: &str) -> Target {
    let Some((template, methods)) = ROUTES.iter().find(|(template, _)| matches(template, path)) else {
        return Target::Unknown;
    };
    let asked = if method == "HEAD" { "GET" } else { method };
    if methods.contains(&asked) {
        Target::Known(template)
    } else {
        Target::OtherMethod(template, methods)
    }
}

fn matches(template: &str, path: &str) -> bool {
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some(wanted), Some(given)) if wanted == given => {}
            (Some(wanted), Some(given)) if wanted.starts_with('{') && !given.is_empty() => {}
            _ => return false,
        }
    }
}

/// `Allow` of a route's methods.
#[must_use]
pub fn allow(methods: &[&str]) -> String {
    let with_head = methods.iter().flat_map(|method| {
        let head = (*method == "GET").then_some("HEAD");
        [Some(*method), head]
    });
    with_head.flatten().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::{Target, allow, find};

    #[test]
    fn a_target_is_known_by_its_template() {
        assert_eq!(find("HEAD", "/api/images"), Target::Known("/api/images"));
        assert_eq!(find("DELETE", "/api/images/1"), Target::Known("/api/images/{id}"));
        for unknown in [
            "/api/images/",
            "/api/images/1/2",
            "/api",
            "/api/nowhere",
            "",
            "/api/auth/login/",
        ] {
            assert_eq!(find("GET", unknown), Target::Unknown, "{unknown}");
        }
        let Target::OtherMethod("/api/images", methods) = find("PUT", "/api/images") else {
            panic!("PUT is no method of /api/images");
        };
        assert_eq!(allow(methods), "GET, HEAD, POST");
    }
}
