//! When is a system ready? When a client is told so: 200 from `/api/health`, through the edge.

use std::time::Duration;

use anyhow::{Result, bail};

use super::Part;
use super::services::Plan;
use crate::http::Client;
use crate::interrupt::Interrupt;
use crate::supervisor::{Supervisor, tail};
use crate::wait;

/// A cold start with migrations takes seconds; past this something is wrong, and what it is stands in the logs.
const LIMIT: Duration = Duration::from_secs(60);
/// A service that ended this often at its start will not come up by being tried again.
const ENDS: u32 = 3;

/// Waits until the edge answers that all is ready.
pub(super) fn wait_until_ready(supervisor: &Supervisor, plan: &Plan, interrupt: &Interrupt) -> Result<()> {
    let health = format!("{}/api/health", plan.public_url);
    let client = Client::new(Duration::from_secs(5));
    let mut last = String::from("no answer yet");
    let result = wait::until(LIMIT, || {
        match client.get(&health, &[]) {
            Ok(answer) if answer.status == 200 => return Some(Ok(())),
            Ok(answer) => last = format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body)),
            Err(error) => last = format!("{error:#}"),
        }
        let failed = [Part::Origin, Part::Cache, Part::Edge]
            .into_iter()
            .find(|part| supervisor.status(part.name()).starts > ENDS);
        failed.map(Err).or_else(|| interrupt.requested().map(|_| Ok(())))
    });
    interrupt.check()?;
    match result {
        Some(Ok(())) => Ok(()),
        Some(Err(part)) => bail!(
            "{} ends again and again ({}); the end of {}:{}",
            part.name(),
            supervisor.status(part.name()).last_end.unwrap_or_default(),
            plan.log(part).display(),
            tail(&plan.log(part), 15)
        ),
        None => bail!(
            "not ready after {} s; {health} says: {last}\nthe logs are in {}; the end of the edge's:{}",
            LIMIT.as_secs(),
            plan.data.join("logs").display(),
            tail(&plan.log(Part::Edge), 15)
        ),
    }
}
