//! The Worker. One binary, two roles, chosen by the variable `ROLE`:
//!
//! * `gateway`: request ids, limits, tokens, cache, forwarding; what the world talks to;
//! * `transform`: one picture at a time; only the gateway talks to it.
//!
//! What lives here is thin: policy is in `kado-shared`, pixels are in `kado-imaging`, and this crate translates between
//! them and the runtime. A panic would end every request of the isolate, so nothing here may panic.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod answer;
mod environment;
mod exchange;
mod gateway;
mod internal;
mod js;
mod log;
mod objects;
mod transform;

use environment::{Environment, Role};
use kado_shared::problem::{Code, Problem};
use worker::{Context, Env, Error, event};

/// Entry of every request.
///
/// The runtime's own types are taken and given, so that a body which is only passed on never enters linear memory and
/// keeps its Content-Length.
#[event(fetch)]
async fn fetch(request: web_sys::Request, env: Env, context: Context) -> Result<web_sys::Response, Error> {
    let environment = match Environment::of(&env) {
        Ok(environment) => environment,
        Err(error) => {
            log::line(&serde_json::json!({ "level": "error", "event": "misconfigured", "message": error.to_string() }));
            let problem = Problem::new(Code::Unavailable, "the edge is misconfigured; its log says how");
            return answer::Answer::problem(&problem).into_response().map_err(Error::from);
        }
    };
    match environment.role {
        Role::Gateway => gateway::handle(request, environment, env, context)
            .await
            .map_err(Error::from),
        Role::Transform => transform::handle(request, environment, env).await.map_err(Error::from),
    }
}
