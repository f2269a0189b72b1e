//! Problem documents (RFC 9457) and the one list of error codes.

use serde::{Deserialize, Serialize};

/// Media type of a problem document.
pub const MEDIA_TYPE: &str = "application/problem+json";
/// Prefix of every problem `type` of ours; the code follows.
pub const TYPE_PREFIX: &str = "https://kado.dev/problems/";
/// Problem type that the HTTPAPI working group registered for a used-up quota.
pub const QUOTA_EXCEEDED_TYPE: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $variant:ident = $status:literal, $code:literal, $title:literal;)*) => {
        /// Every error that Kado answers: its code, its status and its title are one thing.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[doc = $doc])* $variant,)* }

        impl Code {
            /// All codes, for documentation and tests.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// HTTP status; always 400 or above.
            #[must_use]
            pub const fn status(self) -> u16 { match self { $(Self::$variant => $status,)* } }

            /// Stable machine-readable code; the problem's `type` ends in it.
            #[must_use]
            pub const fn as_str(self) -> &'static str { match self { $(Self::$variant => $code,)* } }

            /// Short human-readable summary that does not change from case to case.
            #[must_use]
            pub const fn title(self) -> &'static str { match self { $(Self::$variant => $title,)* } }

            /// The code with this text, if it is one of ours.
            #[must_use]
            pub fn from_code(code: &str) -> Option<Self> { match code { $($code => Some(Self::$variant),)* _ => None } }
        }
    };
}

codes! {
    /// An image option is unknown, duplicated, out of range or not available.
    BadOptions = 400, "bad-options", "The image options are not valid";
    /// The source part of an image address is not valid.
    BadSource = 400, "bad-source", "The image source is not valid";
    /// The request target is malformed or hostile.
    BadPath = 400, "bad-path", "The request path is not valid";
    /// A request body or parameter is malformed.
    BadRequest = 400, "bad-request", "The request is not valid";
    /// A multi-field body failed validation; `errors` names the fields.
    ValidationFailed = 400, "validation-failed", "The request has invalid fields";
    /// No credentials, or credentials that do not count.
    Unauthorized = 401, "unauthorized", "Authentication is required";
    /// The access token is malformed, expired, revoked or of another site.
    InvalidToken = 401, "invalid-token", "The access token is not valid";
    /// Name or password is wrong, or the account may not sign in.
    InvalidCredentials = 401, "invalid-credentials", "The credentials are not valid";
    /// Signed in, but not allowed.
    Forbidden = 403, "forbidden", "This is not allowed";
    /// The credential is right, but not for this (RFC 6750).
    InsufficientScope = 403, "insufficient-scope", "The credential is not good for this";
    /// A cross-site request where only the site's own pages may ask.
    CrossSite = 403, "cross-site-request", "The request came from another site";
    /// The first password must be changed before anything else.
    PasswordChangeRequired = 403, "password-change-required", "The password must be changed first";
    /// The source's host is not on the tenant's list.
    SourceNotAllowed = 403, "source-not-allowed", "The image source is not allowed";
    /// An image address carries a wrong signature.
    BadSignature = 403, "bad-signature", "The signature is not valid";
    /// Nothing is here.
    NotFound = 404, "not-found", "Not found";
    /// The source answered that there is no such picture.
    SourceNotFound = 404, "source-not-found", "The source image was not found";
    /// The method is not one this resource knows.
    MethodNotAllowed = 405, "method-not-allowed", "The method is not allowed";
    /// The resource is in a state that does not allow this.
    Conflict = 409, "conflict", "The request conflicts with the current state";
    /// The picture is for the heavy lane.
    Heavy = 409, "heavy", "The transform exceeds the edge's budget";
    /// A signed address has expired.
    Expired = 410, "expired", "The address has expired";
    /// The resource changed since it was read.
    PreconditionFailed = 412, "precondition-failed", "The resource has changed";
    /// More bytes, pixels, frames or memory than allowed.
    TooLarge = 413, "too-large", "The content is too large";
    /// The request target is too long.
    UriTooLong = 414, "uri-too-long", "The address is too long";
    /// The body's media type is not one this resource takes.
    UnsupportedMediaType = 415, "unsupported-media-type", "The media type is not supported";
    /// The bytes are no picture.
    NotAnImage = 415, "not-an-image", "The source is not an image";
    /// A picture of a kind that cannot be read or written.
    UnsupportedFormat = 415, "unsupported-format", "The image format is not supported";
    /// The range asked for lies outside the representation.
    RangeNotSatisfiable = 416, "range-not-satisfiable", "The range cannot be satisfied";
    /// The host is not one of this site's.
    MisdirectedRequest = 421, "misdirected-request", "This host is not served here";
    /// The picture is truncated or damaged.
    CorruptImage = 422, "corrupt-image", "The image is damaged";
    /// An idempotency key was used before with another body.
    IdempotencyMismatch = 422, "idempotency-mismatch", "The idempotency key was used for another request";
    /// A condition is needed for this change.
    PreconditionRequired = 428, "precondition-required", "A condition is required";
    /// A rate limit refused the request.
    RateLimited = 429, "rate-limited", "Too many requests";
    /// A user's quota is used up.
    QuotaExceeded = 429, "quota-exceeded", "The quota is used up";
    /// Header fields are too many or too long.
    HeadersTooLarge = 431, "headers-too-large", "The request header is too large";
    /// A defect of ours.
    Internal = 500, "internal", "Internal error";
    /// The source failed in some way that is not ours to tell.
    SourceFailed = 502, "source-failed", "The source image could not be fetched";
    /// Everything that could do the work is taken.
    Busy = 503, "busy", "The service is busy";
    /// Something behind this service is away.
    Unavailable = 503, "unavailable", "The service is temporarily unavailable";
    /// Announced maintenance.
    Maintenance = 503, "maintenance", "The service is down for maintenance";
    /// The source took too long.
    SourceTimeout = 504, "source-timeout", "The source image took too long";
}

/// One field that is wrong, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldError {
    /// Name of the field, option or parameter.
    pub field: String,
    /// What is wrong with it and what would be right.
    pub detail: String,
}

/// A problem document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// Address that names the kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// Summary of the kind.
    pub title: &'static str,
    /// HTTP status.
    pub status: u16,
    /// What happened this time.
    pub detail: String,
    /// Machine-readable code.
    pub code: &'static str,
    /// Request identifier, to find the log line by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Every field at fault.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Names of the limit policies that refused (RFC draft ratelimit-headers).
    #[serde(rename = "violated-policies", skip_serializing_if = "Vec::is_empty")]
    pub violated_policies: Vec<String>,
    /// The limit that was passed, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// The value that passed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<u64>,
}

impl Problem {
    /// A problem of this kind, with what happened this time.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let kind = match code {
            Code::RateLimited | Code::QuotaExceeded => QUOTA_EXCEEDED_TYPE.to_owned(),
            _ => format!("{TYPE_PREFIX}{}", code.as_str()),
        };
        Self {
            kind,
            title: code.title(),
            status: code.status(),
            detail: detail.into(),
            code: code.as_str(),
            request_id: None,
            errors: Vec::new(),
            violated_policies: Vec::new(),
            limit: None,
            value: None,
        }
    }

    /// With every field at fault.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors;
        self
    }

    /// With the request's identifier.
    #[must_use]
    pub fn with_request_id(mut self, request_id: impl Into<String>) -> Self {
        self.request_id = Some(request_id.into());
        self
    }

    /// With the limit that was passed and the value that passed it.
    #[must_use]
    pub const fn with_limit(mut self, limit: u64, value: u64) -> Self {
        self.limit = Some(limit);
        self.value = Some(value);
        self
    }

    /// With the names of the policies that refused.
    #[must_use]
    pub fn with_violated_policy(mut self, policy: impl Into<String>) -> Self {
        self.violated_policies.push(policy.into());
        self
    }

    /// The document's bytes.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // A struct of strings and numbers always serialises; an empty body would still carry the right status.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::{Code, FieldError, Problem, QUOTA_EXCEEDED_TYPE};

    #[test]
    fn no_code_has_a_success_status_and_all_differ() {
        let mut seen = std::collections::HashSet::new();
        for code in Code::ALL {
            assert!((400..600).contains(&code.status()), "{code:?}");
            assert!(seen.insert(code.as_str()), "{code:?} twice");
            assert_eq!(Code::from_code(code.as_str()), Some(*code));
        }
    }

    #[test]
    fn a_document_has_the_members_of_the_contract() {
        let problem = Problem::new(Code::BadOptions, "2 options are not valid")
            .with_request_id("abc-12345")
            .with_errors(vec![FieldError {
                field: "width".into(),
                detail: "must be 1 to 12000".into(),
            }]);
        let json: serde_json::Value = serde_json::from_slice(&problem.to_json()).unwrap();
        assert!(json["type"].as_str().unwrap().ends_with("bad-options"));
        assert_eq!(json["status"], 400);
        assert_eq!(json["requestId"], "abc-12345");
        assert_eq!(json["errors"][0]["field"], "width");
        assert!(json.get("violated-policies").is_none());
    }

    #[test]
    fn a_rate_limit_uses_the_registered_type() {
        let problem = Problem::new(Code::RateLimited, "wait").with_violated_policy("process");
        let json: serde_json::Value = serde_json::from_slice(&problem.to_json()).unwrap();
        assert_eq!(json["type"], QUOTA_EXCEEDED_TYPE);
        assert_eq!(json["code"], "rate-limited");
        assert_eq!(json["violated-policies"][0], "process");
    }
}
