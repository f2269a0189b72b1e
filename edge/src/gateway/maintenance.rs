//! Announced maintenance at the edge: told beforehand, then 503 for everybody whose role is not let through. What is not
//! there and what is asked for wrongly is told as ever, pictures in the cache go on, and so do signing in and out: without
//! them nobody could end it.

use kado_shared::{
    api_route::{self, Target},
    headers::KADO_MAINTENANCE,
    maintenance::{Maintenance, State},
    problem::Code,
};

use super::{Facts, credentials, snapshot::Snapshot};
use crate::{answer::Refusal, exchange::Exchange, js};

/// Routes that go on: who signs in may be somebody that is let through.
const GO_ON: [&str; 4] = [
    "/.well-known/jwks.json",
    "/api/auth/login",
    "/api/auth/logout",
    "/api/auth/rotate",
];

/// Lets an API request through, or says why not. An announcement is noted for the answer.
///
/// # Errors
/// 503 `maintenance` with `Retry-After`; 404 and 405 where the request would never be served.
pub(super) fn check(exchange: &Exchange, snapshot: &Snapshot, facts: &mut Facts) -> Result<(), Refusal> {
    let Some((maintenance, retry_after)) = active(snapshot, facts) else {
        return Ok(());
    };
    match api_route::find(&exchange.method, &exchange.path) {
        Target::Known(template) if GO_ON.contains(&template) => Ok(()),
        Target::Known(_) => {
            if credentials::role(exchange, snapshot).is_some_and(|role| maintenance.lets_through(role)) {
                return Ok(());
            }
            Err(refused(&maintenance, retry_after))
        }
        Target::OtherMethod(_, methods) => {
            let allow = api_route::allow(methods);
            let refusal = Refusal::new(Code::MethodNotAllowed, format!("this address answers {allow}"));
            Err(refusal.with("allow", allow))
        }
        Target::Unknown => Err(Refusal::new(Code::NotFound, "nothing is at this address")),
    }
}

/// The same for a picture that is not in the cache.
///
/// # Errors
/// 503 `maintenance` with `Retry-After`.
pub(super) fn check_picture(snapshot: &Snapshot, facts: &mut Facts) -> Result<(), Refusal> {
    active(snapshot, facts).map_or(Ok(()), |(maintenance, retry_after)| {
        Err(refused(&maintenance, retry_after))
    })
}

/// Maintenance that is under way, and for how many seconds more.
fn active(snapshot: &Snapshot, facts: &mut Facts) -> Option<(Maintenance, u64)> {
    let maintenance = snapshot.settings.maintenance()?;
    match maintenance.state(js::now_ms()) {
        State::Quiet => None,
        State::Announced => {
            facts.announcement = Some((KADO_MAINTENANCE, maintenance.announcement()));
            None
        }
        State::Active { retry_after } => Some((maintenance, retry_after)),
    }
}

fn refused(maintenance: &Maintenance, retry_after: u64) -> Refusal {
    let detail = if maintenance.message.is_empty() {
        format!("this site is down for maintenance until {}", maintenance.ends_at)
    } else {
        maintenance.message.clone()
    };
    Refusal::new(Code::Maintenance, detail).with("retry-after", retry_after.to_string())
}
