//! Programs of others that some tests need: real ones, where the machine has them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

/// The first of these programs that the machine has. Without one a test says so and ends; with `KADO_REQUIRE_ALL=1` its
/// absence is a failure.
///
/// # Errors
/// When none is there and all are required.
pub fn program(names: &[&str]) -> Result<Option<PathBuf>> {
    let found = names.iter().find_map(|name| xtask::invoke::find_on_path(name));
    let required = std::env::var("KADO_REQUIRE_ALL").is_ok_and(|value| value == "1");
    ensure!(
        found.is_some() || !required,
        "{} is not installed, and all tests are required",
        names.join(" or ")
    );
    if found.is_none() {
        xtask::progress::say(format_args!("not run: {} is not installed", names.join(" or ")));
    }
    Ok(found)
}

/// A Redis that keeps nothing.
///
/// # Errors
/// When it cannot be started.
pub fn redis(program: &Path, port: u16) -> Result<Running> {
    let mut command = Command::new(program);
    command
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no"]);
    Running::start(&mut command)
}

/// A process that ends with the test.
#[derive(Debug)]
pub struct Running(Child);

impl Running {
    /// Starts a program.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        child
            .map(Self)
            .with_context(|| format!("starting {}", command.get_program().to_string_lossy()))
    }

    /// kill -9, and waits for the end.
    ///
    /// # Errors
    /// When there is nothing to kill.
    pub fn kill(&mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have been killed by the test.
        let _ = self.kill();
    }
}
