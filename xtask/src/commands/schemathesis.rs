//! `cargo xtask schemathesis`

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};
use xtask::edge_build::{self, Profile};
use xtask::http::Client;
use xtask::system::{Binaries, Options, System};
use xtask::temporary::TemporaryFolder;
use xtask::workspace::Workspace;
use xtask::{invoke, progress, tools};

/// What is tried on a system of its own, so that nothing starves another.
#[derive(Clone, Copy)]
enum Part {
    /// All that leaves the rest as it is.
    Settled,
    /// Keeps the administrator from signing in for a while.
    SigningIn,
    /// Takes the administrator's role, once there is another one.
    Users,
    /// Changes the rules for all else, but for the limits, which the document does not tell of here.
    Settings,
    /// Changes those as well. Most of it is refused by what it has just set, also without credentials, until the limits are
    /// put back.
    Limits,
}

impl Part {
    const UNSETTLING: [Self; 4] = [Self::SigningIn, Self::Users, Self::Settings, Self::Limits];

    /// Paths, as a regular expression; all that no other part has for the settled one.
    const fn paths(self) -> &'static str {
        match self {
            Self::Settled => "",
            Self::SigningIn => "^/api/auth/(login|password)$",
            Self::Users => "^/api/admin/users(/.*)?$",
            Self::Settings => "^/api/admin/(settings|maintenance)$",
            Self::Limits => "^/api/admin/settings$",
        }
    }

    /// Arguments that choose it.
    fn choice(self) -> Vec<String> {
        match self {
            Self::Settled => vec![
                "--exclude-path-regex".to_owned(),
                Self::UNSETTLING.map(Self::paths).join("|"),
            ],
            Self::Limits => ["--include-path-regex", self.paths(), "--exclude-checks", "ignored_auth"]
                .map(str::to_owned)
                .to_vec(),
            _ => vec!["--include-path-regex".to_owned(), self.paths().to_owned()],
        }
    }
}

/// How often the limits are put back while settings are changed at random. Edges know within 5 s.
const MENDING: Duration = Duration::from_secs(1);

/// Try the API by its own document: requests that it allows, requests that it does not, and chains of them. Every answer
/// must be one that the document tells of.
///
/// Builds and starts systems of its own, one for each part, and asks as an administrator, with limits that nothing
/// reaches. Needs python3.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Seconds in all, the starts not counted
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u32).range(16..))]
    seconds: u32,
    /// Cargo's profile for the system under test
    #[arg(long, default_value = "dev", value_name = "PROFILE")]
    profile: String,
}

pub(super) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    tools::require_bare_machine()?;
    let program = tools::schemathesis().ensure(workspace)?;
    let modules = tools::ensure_npm_packages(workspace)?;
    edge_build::build(workspace, &modules, Profile::Release)?;
    let binaries = Binaries::build(workspace, &arguments.profile)?;
    let config = workspace.path("tests/schemathesis.toml");
    let each = arguments.seconds / 8;
    let mut is_good = try_part(
        &program,
        &config,
        binaries.clone(),
        Part::Settled,
        arguments.seconds - 4 * each,
    )?;
    for part in Part::UNSETTLING {
        is_good &= try_part(&program, &config, binaries.clone(), part, each)?;
    }
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Tries a part on a system of its own; whether all was well.
fn try_part(program: &Path, config: &Path, binaries: Binaries, part: Part, seconds: u32) -> Result<bool> {
    let folder = TemporaryFolder::new("schemathesis")?;
    let system = progress::step("Starting a system", || {
        System::start(Options::throwaway(binaries, folder.path().join("data")))
    })?;
    let edge = system.run_file().edge;
    open_up(&edge, &sign_in(&edge, &system)?)?;
    let mut document = format!("{edge}/api/openapi.json");
    if matches!(part, Part::Settings) {
        document = without_limits(&document, folder.path())?;
    }
    let choice = part.choice();
    let mut command = invoke::command(program);
    command
        .current_dir(folder.path())
        .arg("--config-file")
        .arg(config)
        .arg("run")
        .arg(&document)
        .args(["--url", &edge])
        .args(&choice)
        .args(["--max-time", &seconds.to_string()])
        .env("KADO_EMAIL", system.run_file().admin_email)
        .env("KADO_PASSWORD", &system.secrets().admin_password);
    progress::say(format_args!("\n{}, {seconds} s", choice.join(" ")));
    let is_good = thread::scope(|scope| -> Result<bool> {
        let (over, is_over) = mpsc::channel::<()>();
        let running = &system;
        let mending = matches!(part, Part::Limits).then(|| scope.spawn(move || mend(running, &is_over)));
        let status = command.status().context("running schemathesis");
        drop(over);
        let mended = mending.map_or(Ok(()), |mending| mending.join().unwrap_or(Ok(())));
        let is_good = status?.success();
        mended?;
        Ok(is_good)
    })?;
    system.stop();
    Ok(is_good)
}

/// The document in a file, without the limits in what it says of a change of settings.
fn without_limits(address: &str, folder: &Path) -> Result<String> {
    let mut document = Client::new(Duration::from_secs(10))
        .get(address, &[])?
        .expect(200)?
        .json()?;
    let change = &mut document["components"]["schemas"]["SettingsChange"];
    let is_other = |name: &String| !name.starts_with("limit");
    if let Some(properties) = change["properties"].as_object_mut() {
        properties.retain(|name, _| is_other(name));
    }
    for example in change["examples"].as_array_mut().into_iter().flatten() {
        if let Some(example) = example.as_object_mut() {
            example.retain(|name, _| is_other(name));
        }
    }
    let file = folder.join("openapi.json");
    fs::write(&file, document.to_string()).with_context(|| format!("writing {}", file.display()))?;
    Ok(file.display().to_string())
}

fn sign_in(edge: &str, system: &System) -> Result<String> {
    let body = json!({ "email": system.run_file().admin_email, "password": system.secrets().admin_password });
    let answer = Client::new(Duration::from_secs(10))
        .post(
            &format!("{edge}/api/auth/login"),
            &[("Content-Type", "application/json")],
            body.to_string().as_bytes(),
        )?
        .expect(200)?
        .json()?;
    let token = answer.get("token").and_then(Value::as_str);
    token.map(str::to_owned).context("no token in the answer")
}

/// Limits that nothing reaches, by the names of their settings. Their window is that of the usual ones: what was counted under
/// those reaches beyond a shorter one.
fn limits() -> [(&'static str, Value); 4] {
    let fast = json!({ "quota": 100_000, "windowSeconds": 60, "mode": "fast" });
    let strict = json!({ "quota": 10_000, "windowSeconds": 60, "mode": "strict" });
    [
        ("limitApi", fast),
        ("limitLogin", strict.clone()),
        ("limitProcess", strict),
        ("limitRules", json!([])),
    ]
}

/// Lifts the limits and admits registration. Edges know it within 5 s; what is asked until then is far below the usual limits.
fn open_up(edge: &str, token: &str) -> Result<()> {
    let mut body: Value = limits()
        .into_iter()
        .map(|(name, limit)| (name.to_owned(), limit))
        .collect();
    body["allowRegistration"] = true.into();
    let bearer = format!("Bearer {token}");
    Client::new(Duration::from_secs(10))
        .patch(
            &format!("{edge}/api/admin/settings"),
            &[("Content-Type", "application/json"), ("Authorization", &bearer)],
            body.to_string().as_bytes(),
        )?
        .expect(200)?;
    Ok(())
}

/// Puts the limits back, again and again until it is over: a random change of them would refuse all that comes after it. At
/// the shell, where no limit counts.
fn mend(system: &System, is_over: &mpsc::Receiver<()>) -> Result<()> {
    while is_over.recv_timeout(MENDING) == Err(RecvTimeoutError::Timeout) {
        for (name, limit) in limits() {
            let mut command = system.kado();
            command.args(["settings", "set", name, &limit.to_string(), "--tenant", "localhost"]);
            let output = command.output().context("putting limits back")?;
            ensure!(
                output.status.success(),
                "putting {name} back: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
    Ok(())
}
