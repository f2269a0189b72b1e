//! The tenant that is measured: its picture, its limits, and what is changed about it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};
use xtask::http::Client;
use xtask::system::{Part, RunFile, System};
use xtask::{picture, sample, wait};

use super::super::load::{Clients, Until};
use super::bare::Kept;

/// Long enough for what a system does when it is asked the first time.
const PATIENCE: Duration = Duration::from_secs(60);
/// A path that each address may ask for once a minute.
const REFUSED: &str = "/api/content/refused";
/// A limit that changes, and by which a change is seen.
const SEEN_BY: u64 = 90_000;

/// What users may ask for in so many seconds, where a limit is to tell whose a request is: fewer than an address may.
pub(super) const OF_USERS: (u32, u32) = (500, 60);

pub(super) struct Target<'a> {
    system: &'a System,
    run: RunFile,
    client: Client,
    pub(super) gateway: SocketAddr,
    pub(super) host: String,
    /// A picture's address that is cached.
    pub(super) picture: String,
    /// An address that everybody may ask for once.
    pub(super) refused: &'static str,
    /// `Bearer …` of the admin.
    pub(super) bearer: String,
    /// A large picture's identifier.
    large: String,
    /// Settings that were changed so far.
    changes: AtomicU64,
}

/// The text of a GET request.
pub(super) fn request(path: &str, host: &str, headers: &[(&str, &str)]) -> String {
    let mut text = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n");
    for (name, value) in headers {
        text.push_str(name);
        text.push_str(": ");
        text.push_str(value);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    text
}

/// Whether a `Cache-Status` says that it was in our cache.
pub(super) fn is_cached(status: &str) -> bool {
    sample::has_hit(status)
}

impl<'a> Target<'a> {
    pub(super) fn prepare(system: &'a System) -> Result<Self> {
        let run = system.run_file();
        let client = Client::new(PATIENCE);
        let host = run.edge.trim_start_matches("http://").to_owned();
        let gateway = host.parse().with_context(|| format!("{host} is no address"))?;
        let mut target = Self {
            system,
            client,
            gateway,
            host,
            picture: String::new(),
            refused: REFUSED,
            bearer: String::new(),
            large: String::new(),
            changes: AtomicU64::new(0),
            run,
        };
        target.bearer = target.login()?;
        let plenty = json!({ "quota": 100_000, "windowSeconds": 1, "mode": "fast" });
        target.set(&json!({
            "limitTransform": plenty,
            "limitTransformTenant": plenty,
            "limitLogin": { "quota": 10_000, "windowSeconds": 60, "mode": "strict" },
            "limitRules": [rule("refused", REFUSED, "ip", &json!({ "quota": 1, "windowSeconds": 3600, "mode": "strict" }))],
        }))?;
        let id = target.upload(1600, 1200)?;
        target.picture = format!("/img/width=400,format=jpeg/u/{id}");
        target.large = target.upload(4000, 3000)?;
        target.wait_for_hit()?;
        Ok(target)
    }

    fn login(&self) -> Result<String> {
        let token = sample::login(&self.client, &self.run, &self.system.secrets().admin_password)?
            .ok_or_else(|| anyhow!("the first admin's password is refused"))?;
        Ok(format!("Bearer {token}"))
    }

    /// Changes settings and waits until the gateway goes by them, as a limit tells that changes with them.
    pub(super) fn set(&self, settings: &Value) -> Result<()> {
        let mut settings = settings.clone();
        let quota = SEEN_BY + self.next();
        settings["limitApi"] = json!({ "quota": quota, "windowSeconds": 60, "mode": "fast" });
        self.patch(&settings)?;
        wait::until(Duration::from_secs(20), || {
            self.api_limit().ok().filter(|seen| *seen == quota).map(|_| ())
        })
        .ok_or_else(|| anyhow!("the gateway does not learn of {settings}"))
    }

    fn patch(&self, settings: &Value) -> Result<()> {
        let headers = [
            ("authorization", self.bearer.as_str()),
            ("if-match", "*"),
            ("content-type", "application/json"),
            ("x-real-ip", "198.19.0.1"),
        ];
        let url = format!("{}/api/admin/settings", self.run.edge);
        self.client
            .patch(&url, &headers, settings.to_string().as_bytes())?
            .expect(200)?;
        Ok(())
    }

    fn next(&self) -> u64 {
        self.changes.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// What the gateway says the limit of API requests is.
    fn api_limit(&self) -> Result<u64> {
        let url = format!("{}/api/content/none", self.run.edge);
        let answer = self.client.get(&url, &[("x-real-ip", "198.19.0.2")])?;
        answer.header("x-ratelimit-limit").parse().context("X-RateLimit-Limit")
    }

    fn upload(&self, width: u16, height: u16) -> Result<String> {
        let file = picture::jpeg(width, height)?;
        let token = self.bearer.trim_start_matches("Bearer ");
        let url = format!("{}/api/images", self.run.edge);
        let stored = self
            .client
            .post_file(&url, token, "image", ("picture.jpg", "image/jpeg"), &file)?
            .expect(201)?
            .json()?;
        Ok(stored["id"]
            .as_str()
            .context("the upload's answer has no id")?
            .to_owned())
    }

    fn wait_for_hit(&self) -> Result<()> {
        let url = format!("{}{}", self.run.edge, self.picture);
        let found = wait::until(Duration::from_secs(30), || {
            let answer = self.client.get(&url, &[("x-real-ip", "198.19.0.3")]).ok()?;
            is_cached(answer.header("cache-status")).then_some(())
        });
        found.ok_or_else(|| anyhow!("{url} never comes from the cache"))
    }

    fn kept(&self, path: &str, address: &str) -> Result<Kept> {
        let kept = Mutex::new(None);
        let clients = Clients {
            server: self.gateway,
            count: 1,
            pace: None,
        };
        clients.run(
            Until::Requests(1),
            |_| request(path, &self.host, &[("x-real-ip", address)]),
            |_, answer| {
                *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(Kept::of(answer));
                Ok(())
            },
        )?;
        kept.into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .context("no answer")
    }

    /// The gateway's answer from the cache.
    pub(super) fn kept_picture(&self) -> Result<Kept> {
        self.wait_for_hit()?;
        let kept = self.kept(&self.picture, "198.18.0.1")?;
        if kept.status != 200 {
            bail!("the picture is answered with {}", kept.status);
        }
        Ok(kept)
    }

    /// The gateway's refusal of an address that has used up its limit.
    pub(super) fn kept_refusal(&self, address: &str) -> Result<Kept> {
        let kept = self.kept(self.refused, address)?;
        if kept.status != 429 {
            bail!("{} is answered with {} instead of 429", self.refused, kept.status);
        }
        Ok(kept)
    }

    /// Counts pictures for users too, so many in so many seconds: so that a token is looked at.
    pub(super) fn count_users(&self, wanted: Option<(u32, u32)>) -> Result<()> {
        let refused = rule(
            "refused",
            REFUSED,
            "ip",
            &json!({ "quota": 1, "windowSeconds": 3600, "mode": "strict" }),
        );
        let rules = match wanted {
            Some((quota, seconds)) => {
                let limit = json!({ "quota": quota, "windowSeconds": seconds, "mode": "fast" });
                json!([refused, rule("users", "/img/**", "user", &limit)])
            }
            None => json!([refused]),
        };
        self.set(&json!({ "limitRules": rules }))
    }

    /// The admin's token with a signature that no key made, another one for each number. Its second half is that of the right
    /// one: of a number that is too large nothing would be calculated.
    pub(super) fn forged(&self, number: u64) -> String {
        const CHANGED: usize = 20;
        let (signed, signature) = self.bearer.rsplit_once('.').unwrap_or((&self.bearer, ""));
        let kept = signature.get(CHANGED..).unwrap_or_default();
        format!("{signed}.{number:0>CHANGED$}{kept}")
    }

    /// Requests of all sorts.
    pub(super) fn mixed(&self, number: u64, address: &str) -> String {
        let from = ("x-real-ip", address);
        let ask = |path: &str| request(path, &self.host, &[from]);
        match number % 100 {
            // A picture that was never made, of a size that few have asked for.
            0 => ask(&format!(
                "/img/width={},height={}/u/{}",
                16 + number / 100 % 40,
                16 + number / 4000 % 40,
                self.small()
            )),
            1 => ask(&format!("/img/width=0{number}/u/{}", self.small())),
            2 => ask("/api/auth/me"),
            3 => request(
                "/api/auth/me",
                &self.host,
                &[from, ("authorization", &self.forged(number))],
            ),
            4 => ask(&format!("/nothing/{number}")),
            5 => ask("/api/content/none"),
            6..20 => ask(REFUSED),
            20..30 => request(&self.picture, &self.host, &[from, ("authorization", &self.bearer)]),
            30..35 => request(&self.picture, &self.host, &[from, ("range", "bytes=10-99")]),
            _ => ask(&self.picture),
        }
    }

    fn small(&self) -> &str {
        self.picture.rsplit('/').next().unwrap_or_default()
    }

    /// A picture that has to be made, another one for each number.
    pub(super) fn miss(&self, number: u64, address: &str) -> String {
        let (width, quality) = (300 + number % 900, 40 + number / 900 % 50);
        let path = format!("/img/width={width},quality={quality},format=jpeg/u/{}", self.large);
        request(&path, &self.host, &[("x-real-ip", address)])
    }

    /// Starts the gateway's isolate anew.
    pub(super) fn restart_gateway(&self) -> Result<()> {
        self.system.suspend(Part::Edge)?;
        self.system.resume(Part::Edge)?;
        self.wait_for_hit()
    }

    /// Bytes of the gateway's linear memory, as its metrics say.
    pub(super) fn gateway_memory(&self) -> Result<u64> {
        let answer = self.client.get(&self.run.edge_metrics, &[])?.expect(200)?;
        let text = String::from_utf8(answer.body).context("metrics")?;
        let sample = text
            .lines()
            .find_map(|line| line.strip_prefix("kado_gateway_memory_bytes "));
        let bytes: f64 = sample.context("no kado_gateway_memory_bytes")?.parse()?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a memory's size")]
        Ok(bytes as u64)
    }

    /// Changes a limit; whether the gateway goes by it.
    pub(super) fn change_setting(&self) -> Result<Box<dyn FnMut() -> Result<bool> + '_>> {
        let quota = SEEN_BY + self.next();
        self.patch(&json!({ "limitApi": { "quota": quota, "windowSeconds": 60, "mode": "fast" } }))?;
        Ok(Box::new(move || Ok(self.api_limit()? == quota)))
    }

    /// Purges the cached picture; whether the gateway has to make it again.
    pub(super) fn purge(&self) -> Result<Box<dyn FnMut() -> Result<bool> + '_>> {
        self.wait_for_hit()?;
        let headers = [
            ("authorization", self.bearer.as_str()),
            ("content-type", "application/json"),
        ];
        let body = json!({ "address": self.picture }).to_string();
        self.client
            .post(&format!("{}/api/admin/purge", self.run.edge), &headers, body.as_bytes())?
            .expect(200)?;
        Ok(Box::new(|| {
            let answer = self
                .client
                .get(&format!("{}{}", self.run.edge, self.picture), &[])?
                .expect(200)?;
            Ok(!is_cached(answer.header("cache-status")))
        }))
    }

    /// Revokes a token; whether the gateway counts it for nobody any more.
    pub(super) fn revoke(&self) -> Result<Box<dyn FnMut() -> Result<bool> + '_>> {
        let bearer = self.login()?;
        let url = format!("{}{}", self.run.edge, self.picture);
        let policy = move |bearer: &str| -> Result<bool> {
            let answer = self
                .client
                .get(&url, &[("authorization", bearer), ("x-real-ip", "198.19.0.4")])?
                .expect(200)?;
            // The limit that is nearest to its end is the one that is told.
            Ok(answer.header("x-ratelimit-limit") == OF_USERS.0.to_string())
        };
        if !policy(&bearer)? {
            bail!("a good token is not counted for its user");
        }
        let logout = format!("{}/api/auth/logout", self.run.edge);
        let answer = self.client.post(&logout, &[("authorization", &bearer)], b"")?;
        if answer.status >= 300 {
            bail!("the logout is answered with {}", answer.status);
        }
        Ok(Box::new(move || Ok(!policy(&bearer)?)))
    }
}

fn rule(name: &str, path: &str, key: &str, limit: &Value) -> Value {
    let mut rule = limit.clone();
    rule["name"] = json!(name);
    rule["paths"] = json!([path]);
    rule["key"] = json!(key);
    rule
}

#[cfg(test)]
mod tests {
    use super::request;

    #[test]
    fn a_request_is_what_http_wants() {
        assert_eq!(
            request("/a", "b:1", &[("c", "d")]),
            "GET /a HTTP/1.1\r\nHost: b:1\r\nc: d\r\n\r\n"
        );
    }
}
