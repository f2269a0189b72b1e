//! `robots.txt`, `security.txt` and the favicon that is not there: asked for by every crawler, so cheap and cacheable.

use kado_shared::{problem::Code, site_files, tenant};

use super::snapshot::Snapshot;
use crate::{
    answer::{Answer, Refusal},
    exchange::Exchange,
    js,
};

/// For how long a client need not ask again.
const CACHE_CONTROL: &str = "public, max-age=3600";

/// `GET /robots.txt`.
pub(super) fn robots(snapshot: &Snapshot) -> Answer {
    text(site_files::robots(snapshot.settings.flag("robotsImages")).to_owned())
}

/// `GET /.well-known/security.txt`.
///
/// # Errors
/// 404 where the site names no contact.
pub(super) fn security(exchange: &Exchange, snapshot: &Snapshot) -> Result<Answer, Refusal> {
    let host = tenant::normalize_host(&exchange.host).unwrap_or_default();
    site_files::security(&snapshot.settings.text("securityContact"), &host, js::now_ms())
        .map(text)
        .ok_or_else(|| Refusal::new(Code::NotFound, "this site names no security contact"))
}

/// `GET /favicon.ico`: every browser asks, so it may remember the answer.
pub(super) fn favicon() -> Refusal {
    Refusal::new(Code::NotFound, "this site has no icon").with("cache-control", "public, max-age=86400")
}

fn text(body: String) -> Answer {
    Answer::bytes(200, "text/plain; charset=utf-8", body.into_bytes()).with("cache-control", CACHE_CONTROL)
}
