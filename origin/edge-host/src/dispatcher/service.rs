//! `POST /v1/transform`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use hyper::body::Incoming;
use kado_shared::headers::{KADO_GIVEN_UP, KADO_JOB};
use kado_shared::job::{self, TransformJob};
use kado_shared::problem::{self, Code, Problem};
use tokio::time::{Instant, timeout_at};

use super::exchange::{Buffers, Failure, Head, end_to_end, run};
use super::pool::{Busy, Pool};
use super::tickets::Tickets;
use crate::http1::{Body, Handler, Peer, full};

/// No job runs longer, whatever its header says.
const LONGEST_JOB: Duration = Duration::from_secs(120);
/// Processes that may be gone when a job reaches them before it is given up.
const UNREACHABLE_TRIES: u32 = 4;
/// What a client that met `busy` is asked to wait, in seconds.
const RETRY_AFTER: u64 = 2;

/// Hands jobs to the pool.
pub(crate) struct Dispatcher {
    pool: Arc<Pool>,
    tickets: Tickets,
    buffers: Buffers,
    pub(crate) counts: Counts,
}

/// What became of jobs, since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) answered: AtomicU64,
    pub(crate) busy: AtomicU64,
    pub(crate) deadline: AtomicU64,
    pub(crate) retried: AtomicU64,
    pub(crate) died: AtomicU64,
    pub(crate) left: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Dispatcher {
    pub(crate) fn new(pool: Arc<Pool>) -> Self {
        Self {
            pool,
            tickets: Tickets::default(),
            buffers: Buffers::new(),
            counts: Counts::default(),
        }
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    async fn dispatch(&self, job: &TransformJob, request: Request<Incoming>) -> Response<Body> {
        let time = Duration::from_millis(job.deadline_ms).min(LONGEST_JOB);
        let deadline = Instant::now() + time;
        let (parts, body) = request.into_parts();
        let has_body = !body.is_end_stream();
        let mut body = has_body.then_some(body);
        let head = Head {
            path: parts.uri,
            headers: end_to_end(&parts.headers),
        };
        let (mut died, mut unreachable, mut again) = (false, 0, false);
        loop {
            let turn = tokio::select! {
                turn = timeout_at(deadline, self.pool.acquire(job.tenant, again)) => turn,
                () = self.tickets.given_up(&parts.headers) => {
                    count(&self.counts.left);
                    let mut answer = busy(job, "nobody waits for it any more");
                    answer.headers_mut().insert(KADO_GIVEN_UP, HeaderValue::from_static("1"));
                    return answer;
                }
            };
            let lease = match turn {
                Ok(Ok(lease)) => lease,
                Ok(Err(Busy)) => {
                    count(&self.counts.busy);
                    return busy(job, "every transform process is at work and the queue is full");
                }
                Err(_) => {
                    count(&self.counts.deadline);
                    return busy(job, "no transform process became free in time");
                }
            };
            again = true;
            match run(lease, &head, &mut body, deadline, &self.buffers).await {
                Ok(answer) => {
                    count(&self.counts.answered);
                    return answer;
                }
                Err(Failure::Deadline) => {
                    count(&self.counts.deadline);
                    return busy(job, "the transform took too long and was stopped");
                }
                Err(Failure::Unreachable) if unreachable < UNREACHABLE_TRIES => unreachable += 1,
                Err(Failure::Died) if !died && !has_body => {
                    count(&self.counts.retried);
                    died = true;
                }
                Err(Failure::Unreachable | Failure::Died) => {
                    count(&self.counts.died);
                    return busy(job, "the transform process ended unexpectedly");
                }
                Err(Failure::ClientLeft) => {
                    count(&self.counts.left);
                    return refuse(Problem::new(Code::BadRequest, "the upload broke off"), job);
                }
            }
        }
    }
}

impl Handler for Dispatcher {
    async fn handle(self: Arc<Self>, request: Request<Incoming>, peer: Arc<Peer>) -> Response<Body> {
        if request.uri().path() == job::LEAVE_PATH && request.method() == Method::POST {
            let was_waiting = self.tickets.give_up(request.headers());
            return crate::http1::bare(if was_waiting {
                StatusCode::NO_CONTENT
            } else {
                StatusCode::NOT_FOUND
            });
        }
        if request.uri().path() != job::PATH {
            return answer(&Problem::new(
                Code::NotFound,
                format!("only {} is served here", job::PATH),
            ));
        }
        if request.method() != Method::POST {
            let mut refused = answer(&Problem::new(Code::MethodNotAllowed, "use POST"));
            refused
                .headers_mut()
                .insert(header::ALLOW, HeaderValue::from_static("POST"));
            return refused;
        }
        let job = match request.headers().get(KADO_JOB).map(HeaderValue::to_str) {
            Some(Ok(text)) => TransformJob::from_header(text).map_err(|e| e.to_string()),
            Some(Err(_)) => Err("the job header is not ASCII".to_owned()),
            None => Err("the job header is missing".to_owned()),
        };
        let job = match job {
            Ok(job) => job,
            Err(why) => return answer(&Problem::new(Code::BadRequest, why)),
        };
        let mut leaving = Leaving(Some(&self.counts.left));
        tokio::select! {
            done = self.dispatch(&job, request) => {
                leaving.0 = None;
                done
            }
            // Nobody reads it; the connection is closed.
            () = peer.gone() => crate::http1::bare(StatusCode::SERVICE_UNAVAILABLE),
        }
    }
}

/// Counts a client that leaves before its answer: whoever notices first ends the work by dropping it, this with it.
struct Leaving<'a>(Option<&'a AtomicU64>);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if let Some(counter) = self.0 {
            count(counter);
        }
    }
}

fn busy(job: &TransformJob, why: &str) -> Response<Body> {
    tracing::warn!(event = "busy", request_id = job.request_id, tenant = %job.tenant.0, why, "a job was refused");
    let mut refused = refuse(Problem::new(Code::Busy, why), job);
    refused
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER));
    refused
}

fn refuse(problem: Problem, job: &TransformJob) -> Response<Body> {
    answer(&problem.with_request_id(job.request_id.clone()))
}

fn answer(problem: &Problem) -> Response<Body> {
    let mut answer = Response::new(full(problem.to_json()));
    *answer.status_mut() = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(problem::MEDIA_TYPE));
    answer
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
