//! Bodies, queries and path parameters, refused as problems that say what would be right.

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Path, Request},
    http::{HeaderMap, header, request::Parts},
};
use kado_shared::problem::{Code, FieldError};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;
use uuid::Uuid;

use super::{context::read_limited, failure::Failure};

/// Largest JSON body, in bytes.
const JSON_LIMIT: usize = 64 * 1024;
/// Longest query string, in bytes.
const QUERY_LIMIT: usize = 4096;

/// A JSON body. Unknown fields are the type's to refuse (`deny_unknown_fields`).
#[derive(Debug)]
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        read_value(json_value(request).await?).map(Self)
    }
}

/// The JSON of a request's body.
pub(crate) async fn json_value(request: Request) -> Result<Value, Failure> {
    require_json(request.headers())?;
    let bytes = read_limited(Body::new(request.into_body()), JSON_LIMIT).await?;
    parse(&bytes)
}

fn require_json(headers: &HeaderMap) -> Result<(), Failure> {
    let refuse = |detail: &str| Failure::new(Code::UnsupportedMediaType, detail);
    let media_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(refuse("The body must be application/json"));
    }
    let encoding = headers
        .get(header::CONTENT_ENCODING)
        .map_or(Some("identity"), |value| value.to_str().ok());
    if encoding.is_some_and(|encoding| encoding.eq_ignore_ascii_case("identity")) {
        Ok(())
    } else {
        Err(refuse("The body must not be compressed"))
    }
}

fn parse(bytes: &[u8]) -> Result<Value, Failure> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        Failure::new(
            Code::BadRequest,
            format!("The body is not UTF-8 after byte {}", error.valid_up_to()),
        )
    })?;
    serde_json::from_str(text).map_err(|error| Failure::new(Code::BadRequest, format!("The body is not JSON: {error}")))
}

/// Reads JSON as what an endpoint expects.
pub(crate) fn read_value<T: DeserializeOwned>(value: Value) -> Result<T, Failure> {
    if let Some(field) = find_nul(&value) {
        return Err(Failure::field(&field, "must not contain U+0000"));
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let (path, inner) = (error.path().to_string(), error.inner().to_string());
        let field = if path == "." {
            unknown_field(&inner).unwrap_or(path)
        } else {
            path
        };
        Failure::field(&field, inner)
    })
}

/// The field that serde complains of, where its path stops at the object around it.
fn unknown_field(message: &str) -> Option<String> {
    let rest = message
        .strip_prefix("unknown field `")
        .or_else(|| message.strip_prefix("missing field `"))?;
    rest.split_once('`').map(|(name, _)| name.to_owned())
}

/// PostgreSQL's text cannot hold U+0000, and no field has a use for it.
fn find_nul(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => text.contains('\0').then(String::new),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .find_map(|(index, value)| find_nul(value).map(|rest| join(&format!("[{index}]"), &rest))),
        Value::Object(map) => map.iter().find_map(|(name, value)| {
            if name.contains('\0') {
                return Some("a field's name".to_owned());
            }
            find_nul(value).map(|rest| join(name, &rest))
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

fn join(name: &str, rest: &str) -> String {
    let dot = if rest.is_empty() || rest.starts_with('[') {
        ""
    } else {
        "."
    };
    format!("{name}{dot}{rest}")
}

/// The query, as pairs; each name at most once, and no name that the endpoint does not know.
pub(crate) fn query_pairs<const N: usize>(
    query: Option<&str>,
    known: [&str; N],
) -> Result<[Option<String>; N], Failure> {
    let query = query.unwrap_or_default();
    if query.len() > QUERY_LIMIT {
        return Err(Failure::new(
            Code::BadRequest,
            format!("The query may have at most {QUERY_LIMIT} bytes"),
        ));
    }
    let mut found = [const { None }; N];
    let mut errors = Vec::new();
    let mut complain = |field: &str, detail: String| {
        errors.push(FieldError {
            field: field.chars().take(100).collect(),
            detail,
        });
    };
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match known
            .iter()
            .position(|known| *known == name)
            .and_then(|index| found.get_mut(index))
        {
            None => complain(
                &name,
                format!("is not a parameter here; known are {}", known.join(", ")),
            ),
            Some(Some(_)) => complain(&name, "may be given once".to_owned()),
            Some(_) if value.contains(['\0', char::REPLACEMENT_CHARACTER]) => {
                complain(&name, "must be UTF-8 without U+0000".to_owned());
            }
            Some(slot) => *slot = Some(value.into_owned()),
        }
    }
    if errors.is_empty() {
        Ok(found)
    } else {
        Err(Failure::fields(errors))
    }
}

/// An identifier in the path. What is no identifier names nothing: 404.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdInPath(pub(crate) Uuid);

impl<S: Send + Sync> FromRequestParts<S> for IdInPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| nothing_there())?;
        identifier(&text).map(Self)
    }
}

/// Two identifiers in the path, likewise.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TwoIdsInPath(pub(crate) Uuid, pub(crate) Uuid);

impl<S: Send + Sync> FromRequestParts<S> for TwoIdsInPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Path((first, second)) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(|_| nothing_there())?;
        Ok(Self(identifier(&first)?, identifier(&second)?))
    }
}

fn identifier(text: &str) -> Result<Uuid, Failure> {
    let id = Uuid::try_parse(text).map_err(|_| nothing_there())?;
    // One spelling, so that one address names one thing.
    if id.hyphenated().to_string() == text {
        Ok(id)
    } else {
        Err(nothing_there())
    }
}

fn nothing_there() -> Failure {
    Failure::new(Code::NotFound, "There is nothing at this address")
}

/// A name in the path. What is no text names nothing: 404.
#[derive(Clone, Debug)]
pub(crate) struct NameInPath(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for NameInPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(name)) if !name.contains('\0') => Ok(Self(name)),
            _ => Err(nothing_there()),
        }
    }
}

/// A field of a change: absent it stays as it is, so `null` must not mean the same.
pub(crate) fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(field: D) -> Result<Option<T>, D::Error> {
    T::deserialize(field).map(Some)
}

#[cfg(test)]
mod tests {
    use super::{Failure, find_nul, query_pairs};
    use axum::response::IntoResponse;
    use proptest::prelude::{any, prop_assert, proptest};
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        #[serde(rename = "name")]
        _name: String,
    }

    fn parse(body: &[u8]) -> Result<Body, Failure> {
        super::parse(body).and_then(super::read_value)
    }

    fn refused(body: &[u8]) -> (u16, String) {
        let failure = parse(body).unwrap_err();
        let text = format!("{failure:?}");
        (failure.into_response().status().as_u16(), text)
    }

    #[test]
    fn a_refusal_names_the_field() {
        for (body, hint) in [
            (&br#"{"name":1}"#[..], "name"),
            (br#"{"name":"a","other":1}"#, "other"),
            (b"{}", "name"),
            (br#"{"name":"a\u0000b"}"#, "U+0000"),
            (b"\xff", "UTF-8"),
            (b"{", "JSON"),
            (b"", "JSON"),
        ] {
            let (status, text) = refused(body);
            assert_eq!(status, 400, "{text}");
            assert!(text.contains(hint), "{text}");
        }
        assert_eq!(refused("[".repeat(10_000).as_bytes()).0, 400);
    }

    #[test]
    fn nul_is_found_at_any_depth() {
        assert_eq!(
            find_nul(&json!({"a": [{"b": "x"}, {"b": "\0"}]})),
            Some("a[1].b".to_owned())
        );
        assert_eq!(find_nul(&json!({"a": ["x", 1, null]})), None);
    }

    #[test]
    fn a_query_is_strict() {
        assert_eq!(
            query_pairs(Some("b=2&a=1"), ["a", "b"]).unwrap(),
            [Some("1".into()), Some("2".into())]
        );
        assert_eq!(query_pairs(None, ["a"]).unwrap(), [None]);
        for bad in ["c=1", "a=1&a=2", "a=%00", "a=%FF"] {
            assert!(query_pairs(Some(bad), ["a", "b"]).is_err(), "{bad}");
        }
        assert!(query_pairs(Some(&format!("a={}", "x".repeat(5000))), ["a"]).is_err());
    }

    proptest! {
        #[test]
        fn any_body_is_survived(bytes in any::<Vec<u8>>()) {
            prop_assert!(parse(&bytes).is_ok() || refused(&bytes).0 == 400);
        }
    }
}
