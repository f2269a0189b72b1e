//! Running another program to its end, with an error that says which, how it ended and what it said.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::tether;

/// How many of a failed program's last lines an error quotes.
const QUOTED_LINES: usize = 25;

/// A command for a program of the build, without the variables that cargo sets for the one package that it runs:
/// they would reach build scripts and make them run again.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let of_one_package = [
            "CARGO_PKG_",
            "CARGO_MANIFEST_",
            "CARGO_BIN_",
            "CARGO_CRATE_",
            "NEXTEST_",
            "OUT_DIR",
        ];
        if of_one_package.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// Runs a program whose output the person at the terminal wants to see as it comes.
///
/// # Errors
/// When it cannot be started or ends with a failure.
pub fn run(command: &mut Command) -> Result<()> {
    tether::tie(command, Signal::TERM);
    let status = command
        .status()
        .with_context(|| format!("starting `{}`", line_of(command)))?;
    if !status.success() {
        bail!("`{}` ended with {status}", line_of(command));
    }
    Ok(())
}

/// Runs a program silently and gives its standard output; what it wrote is quoted only if it fails.
///
/// # Errors
/// When it cannot be started, ends with a failure, or writes something that is not UTF-8.
pub fn read(command: &mut Command) -> Result<String> {
    let output = collect(command)?;
    if !output.status.success() {
        bail!("`{}` ended with {}{}", line_of(command), output.status, quote(&output));
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{}` wrote no UTF-8", line_of(command)))
}

/// Runs a program silently to its end, whatever that is.
///
/// # Errors
/// When it cannot be started.
pub fn collect(command: &mut Command) -> Result<Output> {
    tether::tie(command, Signal::TERM);
    command
        .output()
        .with_context(|| format!("starting `{}`", line_of(command)))
}

/// Starts a program that the calling thread will wait for.
///
/// # Errors
/// When it cannot be started.
pub fn spawn(command: &mut Command) -> Result<Child> {
    tether::tie(command, Signal::TERM);
    command
        .spawn()
        .with_context(|| format!("starting `{}`", line_of(command)))
}

/// The last lines of what a program wrote, indented, for an error message; empty when it wrote nothing.
#[must_use]
pub fn quote(output: &Output) -> String {
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    last_lines(&text, QUOTED_LINES)
}

/// The last `count` lines of `text`, each indented, with a line break before each.
#[must_use]
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let mut quoted = String::new();
    for line in &lines[lines.len().saturating_sub(count)..] {
        let _infallible = write!(quoted, "\n    {line}");
    }
    quoted
}

/// Where a program of this name is found by `PATH`.
#[must_use]
pub fn find_on_path(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|candidate| is_executable(candidate))
}

/// Whether a file is there and has an execute bit.
#[must_use]
pub fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// A command as a person would type it. Its environment is left out: secrets travel there.
fn line_of(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        let _infallible = write!(line, " {}", argument.to_string_lossy());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_quotes_its_end() {
        let error = read(command("sh").args(["-c", "echo first; echo went wrong >&2; exit 3"])).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("exit status: 3"), "{text}");
        assert!(text.contains("went wrong"), "{text}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = read(&mut command("kado-no-such-program")).unwrap_err();
        assert!(format!("{error:#}").contains("kado-no-such-program"));
    }

    #[test]
    fn only_the_last_lines_are_quoted() {
        assert_eq!(last_lines("a\nb\n\nc\n", 2), "\n    b\n    c");
    }

    #[test]
    fn the_environment_is_not_part_of_the_line() {
        let mut secret = command("sh");
        secret.env("JWT_SECRET", "hush").args(["-c", "exit 1"]);
        assert!(!format!("{:#}", read(&mut secret).unwrap_err()).contains("hush"));
    }
}
