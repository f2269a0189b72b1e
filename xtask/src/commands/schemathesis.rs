//! `cargo xtask schemathesis`

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};
use xtask::edge_build::{self, Profile};
use xtask::http::Client;
use xtask::system::{Binaries, Options, System};
use xtask::temporary::TemporaryFolder;
use xtask::workspace::Workspace;
use xtask::{invoke, progress, tools};

/// What changes the rules for all else, or keeps the administrator from signing in for a while. It comes last.
const UNSETTLING: &str = "^/api/(auth/(login|password)|admin/(settings|maintenance))$";

/// Try the API by its own document: requests that it allows, requests that it does not, and chains of them. Every answer
/// must be one that the document tells of.
///
/// Builds and starts a system of its own, and asks as an administrator, with limits that nothing reaches. Needs python3.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Seconds in all, after the start
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u32).range(10..))]
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
    let folder = TemporaryFolder::new("schemathesis")?;
    let system = progress::step("Starting a system", || {
        System::start(Options::throwaway(binaries, folder.path().join("data")))
    })?;
    let edge = system.run_file().edge;
    let token = sign_in(&edge, &system)?;
    lift_limits(&edge, &token)?;
    let last = (arguments.seconds / 4).max(1);
    let parts = [
        ("--exclude-path-regex", arguments.seconds - last),
        ("--include-path-regex", last),
    ];
    let mut is_good = true;
    for (choice, seconds) in parts {
        let mut command = invoke::command(&program);
        command
            .current_dir(folder.path())
            .arg("--config-file")
            .arg(workspace.path("tests/schemathesis.toml"))
            .args(["run", &format!("{edge}/api/openapi.json")])
            .args([choice, UNSETTLING])
            .args(["--max-time", &seconds.to_string()])
            .env("KADO_EMAIL", system.run_file().admin_email)
            .env("KADO_PASSWORD", &system.secrets().admin_password);
        progress::say(format_args!("\n{choice} {UNSETTLING}, {seconds} s"));
        is_good &= command.status().context("running schemathesis")?.success();
    }
    system.stop();
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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

/// Edges know it within 5 s; what is asked until then is far below the usual limits.
fn lift_limits(edge: &str, token: &str) -> Result<()> {
    let limit = json!({ "quota": 100_000, "windowSeconds": 1, "mode": "fast" });
    let strict = json!({ "quota": 10_000, "windowSeconds": 1, "mode": "strict" });
    let body = json!({ "limitApi": limit, "limitLogin": strict, "limitProcess": strict });
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
