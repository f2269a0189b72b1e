//! The heavy lane: a picture that no isolate has the memory for is made by the origin.

use kado_shared::{headers::KADO_JOB, job::TransformJob, problem::Code};
use web_sys::Response;

use super::{Gateway, forward};
use crate::{
    answer::Refusal,
    internal::{self, Principal},
    js,
};

const PATH: &str = "/internal/transform";
/// What the answer may add to the job's deadline before the gateway stops waiting, in milliseconds.
const GRACE_MS: u64 = 2_000;

/// The answer to a job that the edge's transform role has answered: its own, or the origin's where the edge had not the
/// memory. The origin that has no such lane says so in the same words.
///
/// # Errors
/// 503 where the origin cannot be asked.
pub(super) async fn take_over(gateway: &Gateway, job: &TransformJob, answered: Response) -> Result<Response, Refusal> {
    if answered.status() != Code::Heavy.status() {
        return Ok(answered);
    }
    let (tenant, header) = (job.tenant.to_string(), job.to_header());
    let principal = Principal {
        tenant: &tenant,
        client_ip: &job.client_ip,
        request_id: &job.request_id,
        traceparent: job.traceparent.as_deref().unwrap_or_default(),
    };
    forward::admit()?;
    let service = gateway.binding("INTERNAL");
    let asked_ms = js::now_ms();
    let sent = internal::post(
        &gateway.environment,
        service.as_ref(),
        PATH,
        &principal,
        &[(KADO_JOB, header.as_str())],
        job.deadline_ms.saturating_add(GRACE_MS),
    )
    .await;
    forward::answered(&sent, false, asked_ms);
    sent.map_err(|error| {
        crate::log::line(
            &serde_json::json!({ "level": "error", "event": "heavy-lane-away", "message": js::describe(&error) }),
        );
        Refusal::new(
            Code::Unavailable,
            "what makes pictures of this size does not answer; try again shortly",
        )
        .with("retry-after", "5")
    })
}
