//! The same database as another role.

use anyhow::{Result, bail};

/// A `postgres://` address with its role and password replaced; the password is hexadecimal and needs no encoding.
pub(super) fn as_role(url: &str, role: &str, password: &str) -> Result<String> {
    let Some((scheme, rest)) = url.split_once("://") else {
        bail!("DATABASE_URL is no address of the form postgres://role:password@host:port/database");
    };
    if !matches!(scheme, "postgres" | "postgresql") {
        bail!("DATABASE_URL begins with {scheme}://; Kado needs postgres://");
    }
    let (authority, path) = match rest.find(['/', '?']) {
        Some(end) => rest.split_at(end),
        None => (rest, ""),
    };
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    Ok(format!("{scheme}://{role}:{password}@{host}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn role_and_password_are_replaced_and_the_rest_stays() {
        let cases = [
            (
                "postgres://postgres:a%40b@127.0.0.1:5432/kado",
                "postgres://kado_app:pw@127.0.0.1:5432/kado",
            ),
            (
                "postgresql://db.example/kado?sslmode=require",
                "postgresql://kado_app:pw@db.example/kado?sslmode=require",
            ),
            ("postgres://me@[::1]:5432", "postgres://kado_app:pw@[::1]:5432"),
        ];
        for (given, wanted) in cases {
            assert_eq!(as_role(given, "kado_app", "pw").unwrap(), wanted);
        }
    }

    #[test]
    fn what_is_no_postgres_address_is_refused_without_being_shown() {
        for bad in ["mysql://root:hush@localhost/kado", "localhost/hush"] {
            let text = as_role(bad, "kado_app", "pw").unwrap_err().to_string();
            assert!(text.contains("postgres://") && !text.contains("hush"), "{text}");
        }
    }
}
