//! What a failing endpoint answers, and what of it is logged: two different texts.
//!
//! An endpoint's own error enum converts into [`Failure`]. The response that comes of it carries the problem as an
//! extension; `context` writes the document, with the request's identifier, and logs the cause, once.

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use kado_shared::problem::{Code, FieldError, Problem};
use std::{error::Error, fmt::Write};

use crate::{
    database::DatabaseError,
    identity::{keyring::KeyringError, password::HashError},
};

/// Seconds after which a client may try again what failed for want of a component.
const RETRY_AFTER_SECONDS: u64 = 2;

/// A response that is an error.
#[derive(Clone, Debug)]
pub(crate) struct Failure(Box<Contents>);

#[derive(Clone, Debug)]
struct Contents {
    problem: Problem,
    cause: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// What `context` finds on a failed response.
#[derive(Clone, Debug)]
pub(crate) struct Failed {
    pub(crate) problem: Problem,
    /// For the log only.
    pub(crate) cause: Option<String>,
}

impl Failure {
    /// An error that the client can do something about.
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self::of(Problem::new(code, detail))
    }

    /// A problem as it is.
    pub(crate) fn of(problem: Problem) -> Self {
        Self(Box::new(Contents {
            problem,
            cause: None,
            headers: Vec::new(),
        }))
    }

    /// One wrong field.
    pub(crate) fn field(field: &str, detail: impl Into<String>) -> Self {
        Self::fields(vec![FieldError {
            field: field.to_owned(),
            detail: detail.into(),
        }])
    }

    /// All wrong fields at once.
    pub(crate) fn fields(errors: Vec<FieldError>) -> Self {
        let detail = if errors.len() == 1 {
            "1 field is not valid".to_owned()
        } else {
            format!("{} fields are not valid", errors.len())
        };
        Self::of(Problem::new(Code::ValidationFailed, detail).with_errors(errors))
    }

    /// A defect of ours: the client learns nothing, the log everything.
    pub(crate) fn internal(cause: &dyn Error) -> Self {
        Self::new(
            Code::Internal,
            "Something went wrong on our side; the request id finds it in the log",
        )
        .because(cause)
    }

    /// Something behind us is away for now.
    pub(crate) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(Code::Unavailable, detail).retry_after(RETRY_AFTER_SECONDS)
    }

    /// A limit is used up, and when it will not be.
    pub(crate) fn rate_limited(policy: &str, seconds: u64, detail: impl Into<String>) -> Self {
        Self::of(Problem::new(Code::RateLimited, detail).with_violated_policy(policy)).retry_after(seconds)
    }

    /// A user's quota is used up, and when the next hour begins.
    pub(crate) fn quota_exceeded(policy: &str, seconds: u64, detail: impl Into<String>) -> Self {
        Self::of(Problem::new(Code::QuotaExceeded, detail).with_violated_policy(policy)).retry_after(seconds)
    }

    /// Everything that could do the work is taken.
    pub(crate) fn busy(detail: impl Into<String>) -> Self {
        Self::new(Code::Busy, detail).retry_after(1)
    }

    /// With the error that led here, for the log.
    pub(crate) fn because(mut self, cause: &dyn Error) -> Self {
        self.0.cause = Some(chain(cause));
        self
    }

    /// What is logged of it.
    pub(crate) fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }

    /// With the limit that was passed and the value that passed it.
    pub(crate) fn with_limit(mut self, limit: u64, value: u64) -> Self {
        self.0.problem.limit = Some(limit);
        self.0.problem.value = Some(value);
        self
    }

    /// With a header.
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    fn retry_after(self, seconds: u64) -> Self {
        self.header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Contents {
            problem,
            cause,
            headers,
        } = *self.0;
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        for (name, value) in headers {
            response.headers_mut().append(name, value);
        }
        response.extensions_mut().insert(Failed { problem, cause });
        response
    }
}

impl From<DatabaseError> for Failure {
    fn from(error: DatabaseError) -> Self {
        match &error {
            DatabaseError::Unavailable(_) => {
                Self::unavailable("The database is not available at the moment").because(&error)
            }
            DatabaseError::Statement(_) => Self::internal(&error),
        }
    }
}

impl From<KeyringError> for Failure {
    fn from(error: KeyringError) -> Self {
        match error {
            KeyringError::Database(error) => error.into(),
            other => Self::internal(&other),
        }
    }
}

impl From<HashError> for Failure {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Busy => Self::busy("Too many sign-ins at this moment").because(&error),
            HashError::Failed => Self::internal(&error),
        }
    }
}

/// An error and everything below it, on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        // Writing to a `String` cannot fail.
        let _ = write!(text, ": {error}");
        source = error.source();
    }
    text
}

/// Answers what no route knows.
pub(crate) async fn not_found() -> Failure {
    Failure::new(Code::NotFound, "There is nothing at this address")
}

/// Answers a method that a route does not know; axum adds `Allow`.
pub(crate) async fn method_not_allowed() -> Failure {
    Failure::new(
        Code::MethodNotAllowed,
        "This address does not know that method; the Allow header names those it knows",
    )
}
