//! Tenants in the running system, and systems of a test's own.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use uuid::Uuid;
use xtask::system::{Binaries, Options, RunFile, Secrets, System};
use xtask::tools;
use xtask::workspace::Workspace;

use crate::{
    http::{Answer, Client},
    tomorrow,
};

/// Variable that names the `run.json` of the system that all tests of a run share.
const RUN_FILE: &str = "KADO_RUN_FILE";

/// A fresh tenant, with an admin who is signed in.
#[derive(Debug)]
pub struct Site {
    /// Speaks to the edge as this tenant's host.
    pub client: Client,
    /// The tenant's host.
    pub host: String,
    /// The tenant's identifier.
    pub tenant: String,
    /// `Bearer …` of the admin.
    pub bearer: String,
    /// The admin's address.
    pub email: String,
    /// The admin's password.
    pub password: String,
    run: RunFile,
}

impl Site {
    /// A fresh tenant in the system that all tests share.
    ///
    /// # Errors
    /// When no system runs, or it refuses.
    pub fn fresh() -> Result<Self> {
        Self::in_system(&shared()?)
    }

    /// A fresh tenant in any running system.
    ///
    /// # Errors
    /// When it refuses.
    pub fn in_system(run: &RunFile) -> Result<Self> {
        let mut site = Self::without_session(run)?;
        let answer = site.login(&site.email, &site.password)?;
        ensure!(
            answer.status == 200,
            "the new admin cannot sign in: {} {}",
            answer.status,
            answer.json()
        );
        let token = answer
            .json()
            .get("token")
            .and_then(Value::as_str)
            .context("no token in the answer")?
            .to_owned();
        site.bearer = format!("Bearer {token}");
        Ok(site)
    }

    /// A fresh tenant whose admin has not signed in yet.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn without_session(run: &RunFile) -> Result<Self> {
        let name = format!("t-{}", Uuid::new_v4().simple());
        let host = format!("{name}.localhost");
        let (email, password) = (format!("admin@{host}"), format!("pw-{}", Uuid::new_v4()));
        let arguments = [
            "tenants",
            "create",
            &name,
            "--host",
            &host,
            "--admin-email",
            &email,
            "--admin-password",
            &password,
            "--json",
        ];
        let created: Value =
            serde_json::from_str(&kado(run, &arguments)?).context("`kado tenants create --json` gave no JSON")?;
        let tenant = created
            .get("id")
            .and_then(Value::as_str)
            .context("the new tenant has no id")?
            .to_owned();
        let client = Client::new(&run.edge, &host);
        Ok(Self {
            client,
            host,
            tenant,
            bearer: String::new(),
            email,
            password,
            run: run.clone(),
        })
    }

    /// Sets a setting of this tenant. Edges know it within 5 s.
    ///
    /// # Errors
    /// When the value is refused.
    pub fn set(&self, name: &str, value: &Value) -> Result<()> {
        self.patch(&json!({ name: value }))
    }

    fn patch(&self, settings: &Value) -> Result<()> {
        let headers = [("authorization", self.bearer.as_str()), ("if-match", "*")];
        let answer = self
            .client
            .send_json("PATCH", "/api/admin/settings", &headers, settings)?;
        ensure!(answer.status == 200, "{settings}: {} {}", answer.status, answer.json());
        Ok(())
    }

    /// Changes several settings at once, and waits until the edge goes by them. The limit of API requests is what the
    /// edge tells of its settings; where `settings` does not change it, it becomes an unusual one.
    ///
    /// # Errors
    /// When one of the values is refused, or the edge does not learn of them.
    pub fn settle(&self, mut settings: Value) -> Result<()> {
        const UNUSUAL: u64 = 299;
        if settings.get("limitApi").is_none() {
            settings["limitApi"] = json!({ "quota": UNUSUAL, "windowSeconds": 60, "mode": "fast" });
        }
        let quota = settings["limitApi"]["quota"].to_string();
        self.patch(&settings)?;
        wait_until("the edge knows the settings", Duration::from_secs(5), || {
            let answer = self.client.get("/api/content/none").ok()?;
            (answer.header("x-ratelimit-limit") == Some(quota.as_str())).then_some(())
        })
    }

    /// Signs in.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn login(&self, email: &str, password: &str) -> Result<Answer> {
        self.client.send_json(
            "POST",
            "/api/auth/login",
            &[],
            &json!({ "email": email, "password": password }),
        )
    }

    /// Uploads a picture and gives back its identifier.
    ///
    /// # Errors
    /// When it is refused.
    pub fn upload(&self, picture: &[u8]) -> Result<String> {
        let answer = self.try_upload(picture)?;
        ensure!(
            answer.status == 201,
            "the upload was refused: {} {}",
            answer.status,
            answer.json()
        );
        answer
            .json()
            .get("id")
            .and_then(Value::as_str)
            .map(str::to_owned)
            .context("no id in the answer")
    }

    /// Uploads a picture and gives back the whole answer.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn try_upload(&self, picture: &[u8]) -> Result<Answer> {
        self.client
            .upload("/api/images", &[("authorization", &self.bearer)], "image", picture)
    }

    /// A picture, transformed.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn image(&self, options: &str, source: &str) -> Result<Answer> {
        self.client.get(&format!("/img/{options}/{source}"))
    }

    /// The system's run file.
    #[must_use]
    pub fn run(&self) -> &RunFile {
        &self.run
    }
}

/// The system that all tests of a run share.
///
/// # Errors
/// When none runs.
pub fn shared() -> Result<RunFile> {
    let started_for_tests = std::env::var_os(RUN_FILE);
    let path = match &started_for_tests {
        Some(path) => PathBuf::from(path),
        None => Workspace::locate()?.path(".kado/run.json"),
    };
    let run = RunFile::read(&path)
        .context("these tests need a running system: `cargo xtask test` starts one, `cargo xtask up` too")?;
    // What somebody works with is left as it is.
    if started_for_tests.is_some() {
        tomorrow::lay_out(&run)?;
    }
    Ok(run)
}

/// Runs a `kado` command with a system's database and secrets, and gives back what it printed.
///
/// # Errors
/// When it fails, with what it said.
pub fn kado(run: &RunFile, arguments: &[&str]) -> Result<String> {
    let secrets = Secrets::read(&run.secrets)?.context("the system's secrets are gone")?;
    let mut command = Command::new(&run.kado);
    secrets.give_to(&mut command);
    let output = command
        .args(arguments)
        .env("DATABASE_URL", &run.database_url)
        .output()
        .context("starting kado")?;
    if output.status.success() {
        Ok(String::from_utf8(output.stdout)?)
    } else {
        bail!(
            "kado {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        )
    }
}

/// A system of the test's own, for tests that break things.
///
/// # Errors
/// When it does not start.
pub fn own_system(change: impl FnOnce(&mut Options)) -> Result<System> {
    let workspace = Workspace::locate()?;
    let modules = tools::ensure_npm_packages(&workspace)?;
    // The shared system's programs were built for this run.
    let binaries = Binaries::with(shared()?.kado, workspace.path("build"), &modules)?;
    let system = System::temporary(binaries, change)?;
    tomorrow::lay_out(&system.run_file())?;
    Ok(system)
}

/// Waits until something is so, and gives back what was found.
///
/// # Errors
/// When it is not so within the time.
pub fn wait_until<T>(what: &str, limit: Duration, ask: impl FnMut() -> Option<T>) -> Result<T> {
    xtask::wait::until(limit, ask).with_context(|| format!("not within {limit:?}: {what}"))
}
