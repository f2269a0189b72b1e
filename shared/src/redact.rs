//! What logs, traces and error reports may never show.

use serde_json::Value;

/// What stands in the place of a secret.
pub const REDACTED: &str = "[redacted]";

/// Fragments of names whose values are secret, lower-case, without separators.
const SENSITIVE: [&str; 16] = [
    "password",
    "passwd",
    "passphrase",
    "token",
    "authorization",
    "cookie",
    "secret",
    "apikey",
    "privatekey",
    "signingkey",
    "credential",
    "dsn",
    "jwt",
    "databaseurl",
    "redisurl",
    "connectionstring",
];
/// Names that are secret only as a whole: as fragments they are in harmless words.
const SENSITIVE_WHOLE: [&str; 4] = ["key", "sig", "mac", "auth"];

/// Whether a value under this name is secret.
#[must_use]
pub fn is_sensitive(name: &str) -> bool {
    let plain: String = name
        .bytes()
        .filter(u8::is_ascii_alphanumeric)
        .map(|byte| char::from(byte.to_ascii_lowercase()))
        .collect();
    SENSITIVE.iter().any(|fragment| plain.contains(fragment)) || SENSITIVE_WHOLE.contains(&plain.as_str())
}

/// Redacts a document in place, at any depth: values under sensitive names, and secrets inside texts.
pub fn redact_json(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                if is_sensitive(name) && !value.is_null() && !value.is_boolean() {
                    *value = Value::from(REDACTED);
                } else {
                    redact_json(value);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(redact_json),
        Value::String(text) => {
            if let Some(redacted) = redact_text(text) {
                *text = redacted;
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A document as a line of a log: redacted, with no character in it that could forge a line or a colour, nor turn the
/// direction of writing. Without the line's end.
#[must_use]
pub fn log_line(mut value: Value) -> String {
    redact_json(&mut value);
    let text = value.to_string();
    // Of ASCII the document has no control characters left but the last.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text;
    }
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            line.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            line.push(c);
        }
    }
    line
}

/// Redacts secrets inside running text: bearer tokens, JWTs, API keys, `sig=` and `password=` pairs, passwords in
/// addresses, and the local part of e-mail addresses. `None` where nothing had to change.
#[must_use]
pub fn redact_text(text: &str) -> Option<String> {
    if may_hold_secrets(text) { redacted(text) } else { None }
}

fn redacted(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut changed = false;
    let mut after_scheme_word = false;
    for piece in text.split_inclusive(|c: char| {
        c.is_whitespace() || matches!(c, ',' | ';' | '&' | '?' | '"' | '\'' | '(' | ')' | '<' | '>')
    }) {
        let end = piece.trim_end_matches(|c: char| {
            c.is_whitespace() || matches!(c, ',' | ';' | '&' | '?' | '"' | '\'' | '(' | ')' | '<' | '>')
        });
        let tail = piece.get(end.len()..).unwrap_or_default();
        if end.is_empty() {
            out.push_str(piece);
            continue;
        }
        match redact_word(end, after_scheme_word) {
            Some(word) => {
                changed = true;
                out.push_str(&word);
            }
            None => out.push_str(end),
        }
        out.push_str(tail);
        after_scheme_word = end.eq_ignore_ascii_case("bearer") || end.eq_ignore_ascii_case("basic");
    }
    changed.then_some(out)
}

/// Whether a text is worth a closer look: most values of a log line are numbers, words and identifiers.
fn may_hold_secrets(text: &str) -> bool {
    let of_interest = |byte: u8| b"=:@_,;&?\"'()<>".contains(&byte) || byte.is_ascii_whitespace() || !byte.is_ascii();
    text.bytes().any(of_interest) || text.contains("eyJ")
}

fn redact_word(word: &str, after_scheme_word: bool) -> Option<String> {
    if after_scheme_word {
        return Some(REDACTED.to_owned());
    }
    if let Some((name, value)) = word.split_once(['=', ':'])
        && !value.is_empty()
        && !value.starts_with("//")
        && name.len() <= 40
        && is_sensitive(name)
    {
        return Some(format!("{name}={REDACTED}"));
    }
    if word.starts_with("eyJ") && word.matches('.').count() == 2
        || word.starts_with("kado_") && word.matches('_').count() >= 2
    {
        return Some(REDACTED.to_owned());
    }
    if let Some((scheme, rest)) = word.split_once("://") {
        let authority_end = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(authority_end)?;
        let (_, host) = authority.rsplit_once('@')?;
        return Some(format!("{scheme}://{REDACTED}@{host}{path}"));
    }
    redact_email(word)
}

/// `alice@example.com` as `a***@example.com`.
fn redact_email(word: &str) -> Option<String> {
    let (local, domain) = word.split_once('@')?;
    let plausible = !local.is_empty() && domain.contains('.') && !domain.contains('@') && !local.ends_with("***");
    let first = local.chars().next().filter(|_| plausible)?;
    Some(format!("{first}***@{domain}"))
}

#[cfg(test)]
mod tests {
    use super::{REDACTED, is_sensitive, redact_json, redact_text, redacted};
    use proptest::prelude::{Just, any, prop_assert_eq, prop_oneof, proptest};
    use serde_json::json;

    #[test]
    fn sensitive_names_are_known_in_any_spelling() {
        for name in [
            "password",
            "newPassword",
            "Authorization",
            "Set-Cookie",
            "api_key",
            "X-API-Key",
            "JWT_SECRET",
            "sentryDsn",
            "sig",
            "key",
            "accessToken",
            "DATABASE_URL",
        ] {
            assert!(is_sensitive(name), "{name}");
        }
        for name in [
            "route",
            "status",
            "cacheKeyHits",
            "signal",
            "author",
            "monkey",
            "ms",
            "keyboard",
        ] {
            assert!(!is_sensitive(name), "{name}");
        }
    }

    #[test]
    fn secrets_are_redacted_wherever_they_appear() {
        let mut value = json!({
            "password": "p", "nested": [{"token": "t", "deep": {"cookie": ["a"]}}], "ok": "fine",
            "message": "login of alice@example.com with Bearer abc.def failed",
            "url": "postgres://kado:hunter2@db:5432/kado", "path": "/img/w=1,sig=abcdef/u/1",
            "jwt-like": "eyJhbGciOi.eyJzdWIi.c2ln", "empty": null,
        });
        redact_json(&mut value);
        let text = value.to_string();
        for secret in [
            "\"p\"", "\"t\"", "[\"a\"]", "alice", "abc.def", "hunter2", "abcdef", "c2ln",
        ] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        assert!(
            text.contains("a***@example.com")
                && text.contains("fine")
                && text.contains(REDACTED)
                && text.contains("@db:5432/kado")
        );
    }

    #[test]
    fn plain_text_is_left_alone() {
        for text in [
            "GET /api/health 200 in 3 ms",
            "https://example.com/a?b=c",
            "12:30:05",
            "a@b",
            "",
        ] {
            assert_eq!(redact_text(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in any::<String>()) {
            let _ = redact_text(&text);
        }

        #[test]
        fn a_text_that_is_not_looked_at_closely_holds_nothing(
            parts in proptest::collection::vec(
                prop_oneof!["[ -~]", "[a-zA-Z0-9.-]{1,8}", Just("bearer".to_owned()), Just("eyJa.b.c".to_owned()), Just("kado_a_b".to_owned()),
                    Just("secret".to_owned()), Just("\u{a0}".to_owned()), Just("a@b.c".to_owned())],
                0..6,
            ),
        ) {
            let text = parts.concat();
            prop_assert_eq!(redact_text(&text), redacted(&text));
        }
    }
}
