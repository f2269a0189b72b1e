//! What every route but health waits behind: start-up, and a time limit.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use std::time::Duration;
use tokio::time::timeout;

use super::failure::Failure;
use crate::service::App;

/// Longest time an answer may take to begin, uploads apart.
const DEADLINE: Duration = Duration::from_secs(12);

/// Refuses everything until start-up is complete.
pub(crate) async fn require_started(State(app): State<App>, request: Request, next: Next) -> Result<Response, Failure> {
    match app.readiness.obstacle() {
        None => Ok(next.run(request).await),
        Some(obstacle) => Err(Failure::unavailable(format!("The service is starting: {obstacle}"))),
    }
}

/// A database that hangs without a word must not hang its clients.
pub(crate) async fn within_deadline(request: Request, next: Next) -> Result<Response, Failure> {
    timeout(DEADLINE, next.run(request))
        .await
        .map_err(|_| Failure::unavailable("The answer took too long").because(&TookTooLong))
}

#[derive(Debug, thiserror::Error)]
#[error("no answer within {} s", DEADLINE.as_secs())]
struct TookTooLong;
