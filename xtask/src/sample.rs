//! The proof at the end of a start: a picture goes in by the API, comes out transformed, and the second time from the
//! cache.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::http::{Answer, Client};
use crate::system::RunFile;
use crate::{picture, progress, wait};

/// The size that is drawn and uploaded.
const SIZE: (u16, u16) = (1600, 1200);
/// What the link asks for.
const OPTIONS: &str = "width=640,format=auto";
/// What a browser of today says that it takes.
const ACCEPT: (&str, &str) = ("Accept", "image/avif,image/webp,image/*;q=0.8");
/// The answer is stored after it was sent; so long it may take until the next request finds it.
const STORE_LIMIT: Duration = Duration::from_secs(5);

/// What was shown.
#[derive(Debug)]
pub struct Shown {
    /// An address that a browser can open.
    pub link: String,
    /// One line about the first answer, e.g. `MISS in 84.1 ms, image/webp, 23,104 bytes`.
    pub first: String,
    /// One line about the second.
    pub second: String,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    id: String,
}

/// Uploads the sample unless an earlier start did, and asks for it twice. `None` when it is not there and cannot be
/// uploaded any more because the admin has another password by now.
///
/// # Errors
/// When an answer is wrong, or the second does not come from the cache.
pub fn show(run: &RunFile, admin_password: &str, data: &Path) -> Result<Option<Shown>> {
    let client = Client::new(Duration::from_secs(40));
    let kept_in = data.join("sample.json");
    let kept = fs::read(&kept_in)
        .ok()
        .and_then(|text| serde_json::from_slice::<Kept>(&text).ok());
    if let Some(Kept { id }) = kept
        && let Some(shown) = request_twice(&client, run, &id, false)?
    {
        return Ok(Some(shown));
    }
    let Some(id) = upload(&client, run, admin_password)? else {
        return Ok(None);
    };
    let text = serde_json::to_vec(&Kept { id: id.clone() }).context("writing the sample's id")?;
    fs::write(&kept_in, text).with_context(|| format!("writing {}", kept_in.display()))?;
    request_twice(&client, run, &id, true)?
        .map(Some)
        .ok_or_else(|| anyhow!("the sample was stored and is not found"))
}

/// The id of the stored picture; `None` when the password is not the admin's any more.
fn upload(client: &Client, run: &RunFile, admin_password: &str) -> Result<Option<String>> {
    let Some(token) = login(client, run, admin_password)? else {
        return Ok(None);
    };
    let file = picture::jpeg(SIZE.0, SIZE.1)?;
    let stored = client
        .post_file(
            &format!("{}/api/images", run.edge),
            &token,
            "image",
            ("sample.jpg", "image/jpeg"),
            &file,
        )?
        .expect(201)
        .context("uploading the sample")?
        .json()?;
    let id = stored["id"]
        .as_str()
        .ok_or_else(|| anyhow!("the upload's answer has no id: {stored}"))?;
    Ok(Some(id.to_owned()))
}

/// The token of a login; `None` when the password is wrong.
///
/// # Errors
/// When the answer is neither a token nor 401.
pub fn login(client: &Client, run: &RunFile, password: &str) -> Result<Option<String>> {
    let credentials = json!({"email": run.admin_email, "password": password}).to_string();
    let url = format!("{}/api/auth/login", run.edge);
    let answer = client.post(&url, &[("Content-Type", "application/json")], credentials.as_bytes())?;
    if answer.status == 401 {
        return Ok(None);
    }
    let answer = answer.expect(200).context("logging in as the admin")?.json()?;
    let token = answer["token"]
        .as_str()
        .ok_or_else(|| anyhow!("the login's answer has no token"))?;
    Ok(Some(token.to_owned()))
}

/// `None` when the picture is not stored (any more).
fn request_twice(client: &Client, run: &RunFile, id: &str, new: bool) -> Result<Option<Shown>> {
    let link = format!("{}/img/{OPTIONS}/u/{id}", run.edge);
    let (first, first_line) = timed(client, &link)?;
    if first.status == 404 {
        return Ok(None);
    }
    let first = first.expect(200).context("transforming the sample")?;
    if new && is_hit(&first) {
        bail!(
            "the first answer to {link} came from the cache: {}",
            first.header("cache-status")
        );
    }
    let second = wait::until(STORE_LIMIT, || match timed(client, &link) {
        Ok((answer, _)) if answer.status == 200 && !is_hit(&answer) => None,
        other => Some(other),
    });
    let Some(second) = second else {
        bail!(
            "{link} never comes from the cache; its Cache-Status is `{}`",
            first.header("cache-status")
        )
    };
    let (second, second_line) = second?;
    let second = second.expect(200).context("asking for the sample again")?;
    if second.body != first.body {
        bail!("{link} answers with other bytes from the cache than before");
    }
    progress::detail(format_args!("first request   {first_line}"));
    progress::detail(format_args!("second request  {second_line}"));
    Ok(Some(Shown {
        link,
        first: first_line,
        second: second_line,
    }))
}

fn timed(client: &Client, link: &str) -> Result<(Answer, String)> {
    let started = Instant::now();
    let answer = client.get(link, &[ACCEPT])?;
    let took = started.elapsed().as_secs_f64() * 1000.0;
    let line = format!(
        "{} in {took:.1} ms, {}, {} bytes",
        if is_hit(&answer) { "HIT" } else { "MISS" },
        answer.header("content-type"),
        answer.body.len()
    );
    Ok((answer, line))
}

/// RFC 9211: the member of our cache has the parameter `hit`.
fn is_hit(answer: &Answer) -> bool {
    has_hit(answer.header("cache-status"))
}

/// Whether a `Cache-Status` value says that Kado's cache had the answer.
#[must_use]
pub fn has_hit(cache_status: &str) -> bool {
    cache_status.split(',').any(|member| {
        let mut parts = member.split(';').map(str::trim);
        parts
            .next()
            .is_some_and(|name| name.trim_matches('"').eq_ignore_ascii_case("kado"))
            && parts.any(|part| part == "hit")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_caches_hit_counts() {
        assert!(has_hit("Kado; hit; ttl=31536000"));
        assert!(has_hit("Upstream; fwd=miss, Kado; hit"));
        assert!(!has_hit("Kado; fwd=miss; stored"));
        assert!(!has_hit("Upstream; hit, Kado; fwd=uri-miss"));
        assert!(!has_hit("Kado; detail=\"hit\""));
        assert!(!has_hit(""));
    }
}
